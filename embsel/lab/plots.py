"""Figures: one function each, from arrays or records alone, in one style.

Every function returns a closed `Figure`: as the last line of a cell it is shown once.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from embsel.lab.compare import NAMES, Interval, accuracies, total
from embsel.lab.records import ALL, Record

# Okabe and Ito's colours, which people with any common colour vision tell apart; further selectors get, in the order of
# their registry, Paul Tol's, made for the same, and then Matplotlib's.
COLOURS = {
    ALL: "#000000", "random_subset": "#0072B2", "stratified_random": "#56B4E9", "top_activations": "#D55E00",
    "top_activations_drop": "#E69F00", "top_activations_keep": "#CC79A7",
}
TOL = ["#332288", "#117733", "#882255", "#44AA99", "#999933", "#AA4499", "#6699CC", "#661100", "#CC6677", "#DDCC77"]
MORE = [*TOL, *map(mpl.colors.to_hex, mpl.colormaps["tab20"].colors)]
COLOURS |= zip((name for name in NAMES if name not in COLOURS), MORE, strict=False)
GREY = "#777777"
STYLE = {  # on opaque white, so that it can be read on a dark page
    "figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110, "font.size": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "legend.frameon": False, "lines.linewidth": 2, "image.interpolation": "nearest",
}


@contextlib.contextmanager
def _figure(*grid, **options):
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(*grid, layout="constrained", **options)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def _styled(groups: dict) -> Iterator[tuple]:
    """Yield each name with its group, colour and line style: the colour of the arm whose title the name begins with, or
    a spare one; dashed where a colour comes again.
    """
    spare, used = [colour for name, colour in COLOURS.items() if name != ALL], set()
    for number, (name, group) in enumerate(groups.items()):
        alike = [arm for arm in NAMES if name.startswith(NAMES[arm])]
        arm = max(alike, key=lambda arm: len(NAMES[arm]), default=None)
        colour = COLOURS[arm] if arm else spare[number % len(spare)]
        yield name, group, colour, "--" if colour in used else "-"
        used.add(colour)


def _rows(axes, names: Iterable[str], x: str) -> None:
    """Name the rows of a figure, the first on top, and its axis."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(x)
    axes.grid(axis="y", visible=False)


def _logarithmic(axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}")
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def _diamond(axes, x=(), y=(), *, edge: str = GREY, face: str = "none", size: float = 9, **options) -> None:
    """Draw a number of the paper's; without a place, what the legend says of them."""
    options |= {} if len(np.atleast_1d(x)) else {"label": "the paper"}
    axes.plot(x, y, "D", markeredgecolor=edge, markerfacecolor=face, markersize=size, **options)


def pictures(rows: Sequence[np.ndarray], labels: Sequence[str] = (), titles: Sequence[str] = ()) -> Figure:
    """Show `rows` of pictures, each `(n, h, w, c)` or `(n, h, w)`; `labels` name the rows, `titles` the columns."""
    columns = max(len(row) for row in rows)
    size = min(1.0, 9.5 / columns)
    shape = {"figsize": (columns * size + 1.3 * bool(labels), len(rows) * size + 0.35 * bool(titles))}
    with _figure(len(rows), columns, squeeze=False, **shape) as (figure, axes):
        for line, row in zip(axes, rows, strict=True):
            for axis in line:
                axis.set_axis_off()
            for axis, picture in zip(line, row, strict=False):
                limits = {"vmin": 0, "vmax": 255} if picture.dtype == "uint8" else {}  # maps have limits of their own
                axis.imshow(picture.squeeze(), cmap="viridis" if picture.ndim == 2 else "gray", **limits)
        for line, label in zip(axes, labels, strict=bool(labels)):
            line[0].text(-0.12, 0.5, label, transform=line[0].transAxes, ha="right", va="center")
        for axis, title in zip(axes[0], titles, strict=bool(titles)):
            axis.set_title(title, fontsize=9)
    return figure


def as_maps(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings `(N, n)` as pictures `(N, h, w)`, as near to square as n allows, in reading order."""
    count, n = embeddings.shape
    height = max(divisor for divisor in range(1, int(n**0.5) + 1) if n % divisor == 0)
    return embeddings.astype("float32").reshape(count, height, n // height)


def curves(
    lines: dict[str, tuple[np.ndarray, np.ndarray]], x: str, y: str, *, percent: bool = True,
    mark: float | None = None, log: bool = False, paper: dict[str, float] | None = None,
) -> Figure:
    """Draw `lines`, name to `(x, y)`; fractions are shown in percent; `mark` is the place of an upright line, `log`
    the scale of x. Give labels with units.

    Where y is `(x, seeds)` the seeds are dots and the line is their mean, without those that are NaN. `paper` maps a
    name to the paper's number at the mark, a diamond. A name that begins like one of `NAMES` gets that arm's colour.
    """
    with _figure(figsize=(7.5, 3.8 + 0.3 * (len(lines) > 4) * len(lines) / 2)) as (figure, axes):
        for name, (across, up), colour, style in _styled(lines):
            up = np.asarray(up) * (100 if percent else 1)
            if up.ndim == 2:
                axes.plot(across, up, "o", markersize=4, alpha=0.4, color=colour)
            mean = np.nanmean(up, axis=1) if up.ndim == 2 else up
            axes.plot(across, mean, style, marker="o", markersize=4, label=name, color=colour)
        axes.set(xlabel=x, ylabel=y)
        if log:
            _logarithmic(axes)
        if mark is not None:
            axes.axvline(mark, color=GREY, linewidth=1, linestyle=":")
        for _, value, colour, _ in _styled(paper or {}):
            _diamond(axes, mark, 100 * value, edge=colour)
        if paper:
            _diamond(axes, face="white")
        if len(lines) > 4:
            figure.legend(loc="outside lower center", ncols=2)  # inside it would lie on the lines
        elif len(lines) > 1 or up.ndim == 2:  # beside the dots of its seeds a line has a name even alone
            axes.legend()
    return figure


def ladder(gaps: dict[str, tuple], y: str) -> Figure:
    """Draw differences in accuracy against the length of training, in steps.

    `gaps` maps a name to the steps, the differences of single pairs at each, their means, and the paper's difference at
    its 10,000 steps, a diamond. The name stands at the end of its line.
    """
    with _figure(figsize=(7.5, 4.4)) as (figure, axes):
        for name, (steps, values, means, paper), colour, style in _styled(gaps):
            for step, some in zip(steps, values, strict=True):
                axes.plot([step] * len(some), 100 * np.asarray(some), "o", color=colour, markersize=4, alpha=0.5)
            axes.plot(steps, 100 * np.asarray(means), style, color=colour)
            axes.annotate(name, (steps[-1], 100 * means[-1]), (6, 8), textcoords="offset points", color=colour)
            _diamond(axes, 10_000, 100 * paper, edge=colour, face="white")
        _diamond(axes, face="white")
        axes.axhline(0, color=GREY, linewidth=1)
        axes.set(xlabel="training steps of 1,024 images", ylabel=y, xlim=(270, 30_000))
        _logarithmic(axes)
        axes.legend(loc="lower left")
    return figure


def recorded_curves(arms: dict[str, list[Record]], column: str = "test_accuracy") -> Figure:
    """Draw a measured quantity against the training steps: every run thin, the mean of each arm thick."""
    percent = column == "test_accuracy"
    with _figure(figsize=(7, 4)) as (figure, axes):
        for name, records in arms.items():
            steps = records[0].curve["step"]
            values = np.array([record.curve[column] for record in records]) * (100 if percent else 1)
            axes.plot(steps, values.T, color=COLOURS[name], linewidth=0.8, alpha=0.45)
            axes.plot(steps, values.mean(axis=0), color=COLOURS[name], marker="o", markersize=4, label=NAMES[name])
        axes.set(xlabel="training steps", ylabel="test accuracy (%)" if percent else "test loss (nats)")
        axes.legend()
    return figure


def race(groups: dict[str, list[Record]]) -> Figure:
    """Draw Figure 6: test loss and training loss of each arm against seconds and against steps.

    Every run is thin, the mean of an arm thick up to where its first run ends; a triangle marks the mean switch of
    phases.
    """
    losses = {"test_loss": "test loss (nats)", "loss": "training loss with weight decay (nats)"}
    with _figure(2, 2, figsize=(9.5, 7), sharex="col", sharey="row") as (figure, axes):
        for line, column in zip(axes, losses, strict=True):
            line[0].set_ylabel(losses[column])
            for axis, along in zip(line, ("seconds", "step"), strict=True):
                for name, records, colour, style in _styled(groups):
                    _runner(axis, records, along, column, color=colour, linestyle=style, label=name)
        axes[1, 0].set_xlabel("seconds of training")
        axes[1, 1].set_xlabel("training steps")
        axes[0, 1].plot([], [], "v", color=GREY, markersize=9, label="all the data from here on")
        axes[0, 1].legend()
    return figure


def _runner(axis, records: Sequence[Record], along: str, column: str, *, label: str, **look) -> None:
    lines = [(np.array(record.curve[along]), np.array(record.curve[column])) for record in records]
    for x, y in lines:
        axis.plot(x, y, linewidth=0.6, alpha=0.4, **look)
    grid = np.linspace(max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines), 60)
    mean = np.mean([np.interp(grid, x, y) for x, y in lines], axis=0)
    axis.plot(grid, mean, label=label, **look)
    switched = [record.curve for record in records if 1 in record.curve["phase"]]
    if switched:
        place = np.mean([curve[along][curve["phase"].index(1) - 1] for curve in switched])
        axis.plot(place, np.interp(place, grid, mean), "v", color=look["color"], markersize=9)


def dots(rows: dict[str, dict[str, Sequence[float]]], x: str, *, log: bool = False) -> Figure:
    """Compare single readings: `rows` maps the name of a row to series to numbers; the mean is an upright line."""
    series = dict.fromkeys(name for row in rows.values() for name in row)
    with _figure(figsize=(8, 0.55 * len(rows) + 1.3)) as (figure, axes):
        for number, (name, _, colour, _) in enumerate(_styled(series)):
            shift = 0.3 * (number - (len(series) - 1) / 2)  # one below the other, so that none hides
            for place, row in enumerate(rows.values()):
                values = np.asarray(row.get(name, ()), dtype=float)
                axes.plot(values, np.full(len(values), place + shift), "o", color=colour, markersize=5, alpha=0.6)
                if len(values):
                    axes.plot([values.mean()] * 2, [place + shift - 0.14, place + shift + 0.14], color=colour)
            axes.plot([], [], "o", color=colour, label=name)
        _rows(axes, rows, x)
        if log:
            _logarithmic(axes)
        else:
            axes.set_xlim(left=0)
        if len(series) > 1:
            axes.legend()
    return figure


STAGES = {  # of a ledger, in the order in which they are paid for
    "autoencoder": "#D55E00", "proxy": "#CC79A7", "embedding": "#E69F00",
    "selection": "#009E73", "loading": "#F0E442", "training": "#0072B2",
}


def ledgers(groups: dict[str, list[Record]]) -> Figure:
    """Show what the runs of each group cost in total: the mean seconds of each stage, one after the other.

    Compilation counts with its stage; evaluation does not count.
    """

    def spent(run: Record, stage: str) -> float:
        return sum(line["seconds"] for line in run.ledger if line["stage"].split()[0] == stage)

    with _figure(figsize=(8.5, 0.36 * len(groups) + 1.3)) as (figure, axes):
        left = np.zeros(len(groups))
        for stage, colour in STAGES.items():
            seconds = [np.mean([spent(run, stage) for run in runs]) for runs in groups.values()]
            if any(seconds):
                axes.barh(range(len(groups)), seconds, left=left, color=colour, label=stage, height=0.7)
            left += seconds
        axes.set_yticks(range(len(groups)), list(groups))
        axes.invert_yaxis()
        axes.set_xlabel("seconds in total, without evaluation")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=len(STAGES))
    return figure


def front(full: dict[str, list[Record]], others: dict[str, list[Record]]) -> Figure:
    """Draw test accuracy against total seconds (`report.total`, a logarithmic axis): a line through the means of the
    full runs, and for every other recipe a dot for each run and its mean with the 95 % interval of the accuracy.
    """
    with _figure(figsize=(8.5, 6)) as (figure, axes):
        points = sorted((np.mean([*map(total, runs)]), 100 * accuracies(runs).mean()) for runs in full.values())
        axes.plot(*zip(*points, strict=True), "-o", color=COLOURS[ALL], label="all the data, short to full", zorder=3)
        spare = [colour for name, colour in COLOURS.items() if name != ALL]
        marks = zip(itertools.cycle(spare), itertools.cycle("osD^vP"), strict=True)
        for (name, runs), (colour, marker) in zip(others.items(), marks, strict=False):
            seconds, values, look = [*map(total, runs)], 100 * accuracies(runs), {"color": colour, "marker": marker}
            interval = Interval.of(values)
            axes.plot(seconds, values, linestyle="", markersize=4, alpha=0.5, **look)
            spread = interval.half if np.isfinite(interval.half) else None
            axes.errorbar(np.mean(seconds), interval.mean, spread, capsize=3, markersize=9, label=name, **look)
        _logarithmic(axes)
        axes.set(xlabel="seconds in total, choosing included (logarithmic)", ylabel="test accuracy (%)")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def arms(groups: dict[str, list[Record]], marks: dict[str, float] | None = None) -> Figure:
    """Show the final test accuracy of each arm: a dot for each seed, the mean and its 95 % interval; `marks` are the
    paper's own numbers, name to fraction. A name is a selector's or any title.
    """
    marks, titles = marks or {}, {NAMES.get(name, name): name for name in groups}
    with _figure(figsize=(7.5, 0.55 * len(groups) + 1.2)) as (figure, axes):
        for place, (_, name, colour, _) in enumerate(_styled(titles)):
            values = 100 * accuracies(groups[name])
            interval = Interval.of(values)
            if np.isfinite(interval.half):
                _span(axes, interval, place, color=colour, linewidth=7, alpha=0.25, solid_capstyle="butt")
            axes.plot([interval.mean] * 2, [place - 0.25, place + 0.25], color=colour, linewidth=2.5)
            axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=6, alpha=0.85)
            if name in marks:
                _diamond(axes, 100 * marks[name], place, edge="black", face="white", size=7)
        if marks.keys() & groups.keys():
            _diamond(axes, edge="black", face="white", size=6)
            axes.legend(loc="best")
        _rows(axes, titles, "test accuracy (%); dots: seeds, bar: mean with 95 % interval")
    return figure


def _span(axes, interval: Interval, place: float, **look) -> None:
    axes.plot([interval.mean - interval.half, interval.mean + interval.half], [place] * 2, **look)


def gaps(rows: dict[str, Interval], x: str) -> Figure:
    """Show differences with their 95 % intervals, a row each, beside an upright line at zero.

    `rows` maps a name to the interval of a difference in fractions, which is shown in points. A dot is filled where
    all of its interval lies on one side of zero; a single run has no interval.
    """
    with _figure(figsize=(8, 0.34 * len(rows) + 1.1)) as (figure, axes):
        axes.axvline(0, color=GREY, linewidth=1)
        colour = COLOURS["top_activations"]
        for place, interval in enumerate(rows.values()):
            if np.isfinite(interval.half):
                _span(axes, Interval(100 * interval.mean, 100 * interval.half, interval.n), place, color=colour)
            face = interval.verdict(colour, colour, "white")
            axes.plot(100 * interval.mean, place, "o", color=colour, markerfacecolor=face, markersize=7)
        _rows(axes, rows, x)
    return figure


def splits(groups: dict[str, dict[int, list[Record]]], marks: dict[str, dict[int, float]] | None = None) -> Figure:
    """Draw Figure 4: final test accuracy against the percentage of steps on the subset, for each selector.

    `groups` maps a selector to split to runs; a dot for each run, the mean with its 95 % interval. `marks` are the
    paper's own numbers, selector to split to fraction.
    """
    with _figure(figsize=(7.5, 4.6)) as (figure, axes):
        for number, (name, runs) in enumerate(groups.items()):
            shift = 1.2 * (number - (len(groups) - 1) / 2)  # side by side, so that no dot hides another
            _means(axes, [split + (shift if split else 0) for split in runs], runs.values(), name)
            for split, accuracy in (marks or {}).get(name, {}).items():  # hollow, so that a dot shows
                _diamond(axes, split + (shift if split else 0), 100 * accuracy, edge=COLOURS[name], size=7)
        if marks:
            _diamond(axes, edge="black", face="white", size=6)
        axes.set(xlabel="steps on the subset first (% of all steps)", ylabel="final test accuracy (%)")
        axes.legend(loc="lower left")
    return figure


def kept(groups: dict[str, dict[int, list[Record]]], images: int, full: Sequence[Record] = ()) -> Figure:
    """Draw final test accuracy against the share of all `images` that a subset keeps, for each selector.

    `groups` maps a selector to the number of images kept to runs; a dot for each run, the mean with its 95 % interval.
    The mean of the runs `full`, on all the data, is a level line.
    """
    shares = sorted({100 * keep / images for runs in groups.values() for keep in runs})
    with _figure(figsize=(7.5, 4.8)) as (figure, axes):
        for number, (name, runs) in enumerate(groups.items()):
            shift = 1.06 ** (number - (len(groups) - 1) / 2)  # side by side on a logarithmic axis
            _means(axes, [100 * keep / images * shift for keep in runs], runs.values(), name)
        if len(full):
            look = {"color": COLOURS[ALL], "linewidth": 1.5, "linestyle": "--", "label": NAMES[ALL]}
            axes.axhline(100 * accuracies(full).mean(), **look)
        axes.set_xscale("log")
        axes.set_xticks(shares, [f"{share:.3g}" for share in shares])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set(xlabel="images kept (% of all, on a logarithmic axis)", ylabel="final test accuracy (%)")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _means(axis, places: Sequence[float], groups: Iterable[Sequence[Record]], name: str) -> None:
    """Draw groups of runs of one arm at their places: a dot a run, a line through the means with 95 % intervals."""
    groups = [100 * accuracies(group) for group in groups]
    intervals = [Interval.of(group) for group in groups]
    spread = [interval.half if interval.n > 2 else 0 for interval in intervals]  # of two it says next to nothing
    look = {"color": COLOURS[name], "capsize": 3, "linewidth": 1.5, "label": NAMES[name]}
    axis.errorbar(places, [interval.mean for interval in intervals], spread, **look)
    for place, group in zip(places, groups, strict=True):
        axis.plot([place] * len(group), group, "o", color=COLOURS[name], markersize=4, alpha=0.7)


def class_balance(counts: dict[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Show how many images of each class are picked: `counts` maps a selector to `(classes,)` or `(runs, classes)`."""
    with _figure(figsize=(7.5, 3.6)) as (figure, axes):
        width = 0.8 / len(counts)
        for number, (name, value) in enumerate(counts.items()):
            value = np.atleast_2d(value)
            place = np.arange(len(class_names)) + (number - (len(counts) - 1) / 2) * width
            axes.bar(place, value.mean(axis=0), width, color=COLOURS[name], label=NAMES[name])
            if len(value) > 1:
                axes.vlines(place, value.min(axis=0), value.max(axis=0), color="black", linewidth=1)
        axes.set_xticks(range(len(class_names)), class_names, rotation=35, ha="right")
        axes.set_ylabel("images in the subset")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside upper right", ncols=2)  # inside it would lie on the bars
    return figure


def histograms(values: dict[str, np.ndarray], x: str) -> Figure:
    """Compare distributions as outlines of equal area: `values` maps a name to numbers `(n,)`."""
    with _figure(figsize=(7, 3.2)) as (figure, axes):
        edges = np.linspace(*np.percentile(np.concatenate(list(values.values())), [0.5, 99.5]), 40)
        palette = itertools.cycle(dict.fromkeys([ALL, "top_activations", "random_subset", *COLOURS]))
        for (name, numbers), key in zip(values.items(), palette, strict=False):
            axes.hist(numbers, edges, density=True, histtype="step", linewidth=2, color=COLOURS[key], label=name)
        axes.set(xlabel=x, yticks=[])
        axes.legend()
    return figure
