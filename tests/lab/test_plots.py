"""Every figure, from a few numbers: closed, on white, with its axes named, and showing what it was given."""

import dataclasses
import inspect
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from embsel.lab import plots
from embsel.lab.records import ALL, Autoencoder, Record, Run
from embsel.lab.report import NAMES, Interval, total
from embsel.selection import SELECTORS

ARMS = [ALL, "top_activations", "random_subset"]
CLASSES = ["airplane", "bird", "cat"]


def a_run(selector, seed, accuracy):
    needs = selector != ALL and SELECTORS[selector].needs != "nothing"
    spec = Run(
        "0123456789ab", selector, 600, 128, 0.0125, keep=36, seed=seed,
        embedding=Autoencoder("0123456789ab", 10, 8) if needs else None,
    )  # fmt: skip
    curve = {"step": [100, 200], "test_accuracy": [accuracy / 2, accuracy], "test_loss": [1.5, 1.5 - accuracy]}
    return Record(spec, {"test_accuracy": accuracy}, [], {}, curve)


def groups(seeds, names=ARMS):
    return {
        name: [a_run(name, seed, 0.5 + 0.05 * place + 0.01 * seed) for seed in range(seeds)]
        for place, name in enumerate(names)
    }


def a_racer(selector="random_subset", pace=10, end=1.0, phases=(0, 0, 1)):
    """A run of 10 steps, 20 and 30, `pace` steps a second, whose losses end at `end` and twice that."""
    losses = {"test_loss": [3.0, 2.0, end], "loss": [6.0, 4.0, 2 * end]}
    seconds = [steps / pace for steps in (10, 20, 30)]
    return dataclasses.replace(
        a_run(selector, 0, 0.5), curve={"step": [10, 20, 30], "seconds": seconds, "phase": list(phases), **losses}
    )


RACE = {  # two of one arm, the first of them twice as fast, and one that never changes over
    "filter, refill, 8.64 % first": [a_racer("top_activations"), a_racer("top_activations", pace=5, end=1.5)],
    "filter, refill, 86.40 % first": [a_racer("top_activations", phases=(0, 1, 1))],
    "all the data": [a_racer(ALL, phases=(0, 0, 0))],
}
SPEEDS = {"wide": {"host": [1.0, 6.0], "device": [8.0]}, "narrow": {"device": [4.0, 4.5, 6.5]}}


def images(count, *shape):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


LINE = ([0, 10], [0.25, 0.5])
GAPS = {"above": Interval(0.05, 0.02, 3), "below": Interval(-0.03, 0.01, 3), "around": Interval(0.01, 0.04, 3)}


def with_ledger(run, **seconds):
    lines = [{"stage": stage.replace("_", " "), "seconds": value, "samples": 1} for stage, value in seconds.items()]
    return dataclasses.replace(run, ledger=lines)


BILLS = {
    "all": [
        with_ledger(a_run(ALL, seed, 0.6), training=20 + seed, training_compilation=2, evaluation=9) for seed in (0, 2)
    ],
    "filter, then all": [
        with_ledger(
            a_run("top_activations", 0, 0.5), autoencoder=70, autoencoder_compilation=3, embedding=4, training=15
        )
    ],
    "hard half (proxy)": [
        with_ledger(a_run("random_subset", 0, 0.4), proxy_training=5, selection=1, training=15, evaluation=9)
    ],
}


FIGURES = {  # every function of the module, with as little and with as much as it takes
    "pictures": [
        lambda: plots.pictures([images(1, 8, 8, 3)]),
        lambda: plots.pictures([images(4, 8, 8, 3), images(3, 8, 8, 1), images(2, 5, 6)], list("abc"), list("wxyz")),
    ],
    "curves": [
        lambda: plots.curves({"a": LINE}, "training steps", "test accuracy (%)"),
        lambda: plots.curves(dict.fromkeys("abcdefgh", LINE), "training steps", "error", percent=False),
    ],
    "ladder": [
        lambda: plots.ladder({"a minus b": ([300], [[0.1]], [0.1], 0.06)}, "difference (points)"),
        lambda: plots.ladder(
            {
                "filter, refill minus random": ([300, 1250], [[-0.1, -0.12], [-0.08]], [-0.11, -0.08], 0.063),
                "random minus all the data": ([300, 1250], [[-0.1], [-0.2]], [-0.1, -0.2], -0.257),
            },
            "difference (points)",
        ),
    ],
    "ledgers": [lambda: plots.ledgers({"all": BILLS["all"]}), lambda: plots.ledgers(BILLS)],
    "front": [lambda: plots.front({"all": BILLS["all"]}, {}), lambda: plots.front({"all": BILLS["all"]}, BILLS)],
    "recorded_curves": [
        lambda: plots.recorded_curves(groups(1)),
        lambda: plots.recorded_curves(groups(3), "test_loss"),
    ],
    "race": [lambda: plots.race({"all the data": [a_racer(ALL, phases=(0, 0, 0))]}), lambda: plots.race(RACE)],
    "dots": [
        lambda: plots.dots({"a": {"b": [1.0]}}, "images per second"),
        lambda: plots.dots(SPEEDS, "images per second", log=True),
    ],
    "arms": [lambda: plots.arms(groups(1)), lambda: plots.arms(groups(3), {ALL: 0.833})],
    "gaps": [
        lambda: plots.gaps({"a": Interval.of([0.01])}, "difference (points)"),
        lambda: plots.gaps(GAPS, "difference (points)"),
    ],
    "splits": [
        lambda: plots.splits({name: {0: runs} for name, runs in groups(1).items()}),
        lambda: plots.splits({name: {0: runs, 50: runs} for name, runs in groups(3).items()}, {ALL: {0: 0.833}}),
    ],
    "kept": [
        lambda: plots.kept({"random_subset": {36: [a_run("random_subset", 0, 0.5)]}}, 400),
        lambda: plots.kept({n: {4: runs, 36: runs} for n, runs in groups(3, ARMS[1:]).items()}, 400, groups(3)[ALL]),
    ],
    "class_balance": [
        lambda: plots.class_balance({"random_subset": np.array([3, 4, 5])}, CLASSES),
        lambda: plots.class_balance({name: np.array([[3, 4, 5], [5, 4, 3]]) for name in NAMES}, CLASSES),
    ],
    "histograms": [
        lambda: plots.histograms({"a": np.arange(9.0)}, "contrast"),
        lambda: plots.histograms({name: np.arange(9.0) for name in "abcdefgh"}, "contrast"),
    ],
}
WITHOUT_AXES = {"pictures"}


def test_no_figure_is_left_out_here():
    functions = inspect.getmembers(plots, inspect.isfunction)
    public = {name for name, f in functions if f.__module__ == plots.__name__ and not name.startswith("_")}
    assert public == FIGURES.keys() | {"as_maps"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_closed_on_opaque_white_and_names_its_axes_in_the_readers_style(name):
    for draw in FIGURES[name]:
        before = dict(plt.rcParams)
        figure, file = draw(), io.BytesIO()
        assert isinstance(figure, Figure)
        assert plt.get_fignums() == [], "a notebook would show it twice"
        assert dict(plt.rcParams) == before
        figure.savefig(file, format="png", dpi=40)
        file.seek(0)
        pixels = plt.imread(file)
        assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
        for axes in figure.axes:
            if name in WITHOUT_AXES:
                assert not axes.axison
                continue
            for axis in (axes.xaxis, axes.yaxis):
                words = [tick.get_text() for tick in axis.get_ticklabels()]
                named = words and all(word and not word.strip("−-").replace(".", "").isdigit() for word in words)
                assert axis.get_label_text() or named or not words, "numbers without a name"


def test_a_figure_that_fails_is_closed_too():
    with pytest.raises(ValueError, match=r"zip\(\)"):
        plots.pictures([images(2, 8, 8, 3)], labels=["one", "too many"])
    assert plt.get_fignums() == []


def test_units_are_given():
    assert plots.recorded_curves(groups(1)).axes[0].get_ylabel() == "test accuracy (%)"
    assert plots.recorded_curves(groups(1), "test_loss").axes[0].get_ylabel() == "test loss (nats)"
    assert plots.recorded_curves(groups(1)).axes[0].get_xlabel() == "training steps"
    assert "(%)" in plots.arms(groups(1)).axes[0].get_xlabel()
    assert plots.class_balance({"random_subset": np.arange(3)}, CLASSES).axes[0].get_ylabel().startswith("images")


# --- what a figure shows is what it was given ---


@pytest.mark.parametrize("seeds", [1, 3])
def test_arms_show_every_seed_the_mean_and_its_interval(seeds):
    given = groups(seeds)
    axes = plots.arms(given).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [NAMES[name] for name in given]
    for place, (name, records) in enumerate(given.items()):
        values = [100 * record.metrics["test_accuracy"] for record in records]
        lines = [line for line in axes.lines if to_hex(line.get_color()) == plots.COLOURS[name].lower()]
        assert len(lines) == (2 if seeds == 1 else 3), "one run has no interval"
        dots, mean = lines[-1], lines[-2]
        assert dots.get_xdata() == pytest.approx(values)
        assert set(dots.get_ydata()) == {place}
        assert mean.get_xdata() == pytest.approx([np.mean(values)] * 2)
        if seeds > 1:
            interval = Interval.of(values)
            ends = [interval.mean - interval.half, interval.mean + interval.half]
            assert lines[0].get_xdata() == pytest.approx(ends)
    low, high = axes.get_ylim()
    assert low > high, "the first arm stands on top"
    assert np.isfinite(axes.get_xlim()).all()
    assert axes.get_legend() is None


def diamonds(axes):
    return [(line.get_xdata(), line.get_ydata()) for line in axes.lines if line.get_marker() == "D"]


def test_marks_stand_beside_their_arm_and_nowhere_else():
    paper = {"random_subset": 0.576, "top_activations": 0.639, "top_activations_drop": 0.9}
    axes = plots.arms(groups(2), paper).axes[0]
    shown = [(float(x[0]), int(y[0])) for x, y in diamonds(axes) if len(x)]
    assert shown == [(pytest.approx(63.9), 1), (pytest.approx(57.6), 2)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["the paper"]

    axes = plots.arms(groups(2), {"top_activations_drop": 0.9}).axes[0]  # a mark for no arm that is there
    assert diamonds(axes) == []
    assert axes.get_legend() is None


def test_gaps_show_each_difference_its_interval_and_zero():
    axes = plots.gaps(GAPS | {"single": Interval.of([0.02])}, "difference (points)").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [*GAPS, "single"]
    low, high = axes.get_ylim()
    assert low > high, "the first row stands on top"
    assert axes.get_xlabel() == "difference (points)"
    zero, *lines = axes.lines
    assert list(zero.get_xdata()) == [0, 0]
    dots = [line for line in lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == pytest.approx([5, -3, 1, 2])
    assert [int(dot.get_ydata()[0]) for dot in dots] == [0, 1, 2, 3]
    filled = [to_hex(dot.get_markerfacecolor()) == to_hex(dot.get_color()) for dot in dots]
    assert filled == [True, True, False, False], "filled means told apart from zero"
    bars = [(line.get_ydata()[0], list(line.get_xdata())) for line in lines if line.get_marker() != "o"]
    assert bars == [(0, pytest.approx([3, 7])), (1, pytest.approx([-4, -2])), (2, pytest.approx([-3, 5]))]


@pytest.mark.parametrize(("seeds", "column", "scale"), [(1, "test_accuracy", 100), (3, "test_loss", 1)])
def test_recorded_curves_show_every_run_and_the_mean(seeds, column, scale):
    given = groups(seeds, ["random_subset"])
    values = scale * np.array([record.curve[column] for record in given["random_subset"]])
    axes = plots.recorded_curves(given, column).axes[0]
    thin, thick = axes.lines[:-1], axes.lines[-1]
    assert np.array([line.get_ydata() for line in thin]) == pytest.approx(values)
    assert thick.get_ydata() == pytest.approx(values.mean(axis=0))
    assert list(thick.get_xdata()) == [100, 200]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["random"]


def test_curves_have_the_colour_of_their_arm():
    names = ["random, balanced 100/0", "random 100/0", "all the data 0/100"]
    names += ["filter, refill 100/0", "filter, refill 50/50"]
    figure = plots.curves(dict.fromkeys(names, LINE), "steps", "test accuracy (%)")
    (axes,) = figure.axes
    arms = ["stratified_random", "random_subset", ALL, "top_activations", "top_activations"]
    assert [line.get_color() for line in axes.lines] == [plots.COLOURS[arm] for arm in arms]
    assert [line.get_linestyle() for line in axes.lines] == ["-", "-", "-", "-", "--"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names  # so many go below the axes
    axes_of_few = plots.curves(dict.fromkeys(names[:4], LINE), "steps", "test accuracy (%)").axes[0]
    assert [text.get_text() for text in axes_of_few.get_legend().get_texts()] == names[:4]
    assert list(axes.lines[0].get_ydata()) == [25, 50]
    assert plots.curves({"loss": LINE}, "steps", "error", percent=False).axes[0].lines[0].get_ydata()[1] == 0.5


def test_curves_can_be_told_apart_and_have_a_logarithmic_axis():
    axes = plots.curves(dict.fromkeys("abcde", LINE), "steps", "error").axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 5
    (axes,) = plots.curves({"one": ([0.0125, 0.1], [0.5, 0.6])}, "rate", "accuracy (%)", log=True).axes
    assert axes.get_xscale() == "log"
    label = axes.xaxis.get_major_formatter()
    assert [label(0.0125), label(0.1), label(20_000)] == ["0.0125", "0.1", "20,000"]


LOSSES = [("test_loss", "test loss (nats)"), ("loss", "training loss with weight decay (nats)")]
ACROSS = [("seconds", "seconds of training"), ("step", "training steps")]


def test_a_race_shows_every_run_in_all_four_ways():
    axes = np.array(plots.race(RACE).axes).reshape(2, 2)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == [label for _, label in LOSSES]
    assert [axis.get_xlabel() for axis in axes[1]] == [label for _, label in ACROSS]
    for line, (column, _) in zip(axes, LOSSES, strict=True):
        for axis, (along, _) in zip(line, ACROSS, strict=True):
            thin = [shown for shown in axis.lines if len(shown.get_xdata()) == 3]
            runs = [record.curve for records in RACE.values() for record in records]
            assert [(list(shown.get_xdata()), list(shown.get_ydata())) for shown in thin] == [
                (curve[along], curve[column]) for curve in runs
            ]
            looks = [(to_hex(shown.get_color()), shown.get_linestyle()) for shown in thin]
            chosen, full = plots.COLOURS["top_activations"].lower(), plots.COLOURS[ALL].lower()
            assert looks == [(chosen, "-"), (chosen, "-"), (chosen, "--"), (full, "-")]


def means(axis):
    """The thick lines of a race: name to places and values."""
    return {line.get_label(): line.get_data() for line in axis.lines if line.get_label() in RACE}


def test_the_mean_of_a_race_reaches_from_the_last_start_to_the_first_end():
    axes, name = plots.race(RACE).axes, "filter, refill, 8.64 % first"
    x, y = means(axes[0])[name]
    assert (x[0], x[-1]) == (2, 3)
    assert (y[0], y[-1]) == pytest.approx(((2.0 + 3.0) / 2, (1.0 + 2.5) / 2))  # at equal seconds, not at equal steps
    x, y = means(axes[3])[name]
    assert (x[0], x[-1]) == (10, 30)
    assert (y[0], y[-1]) == pytest.approx((6.0, (2.0 + 3.0) / 2))


def test_a_triangle_on_the_mean_marks_the_switch_of_phases():
    axes = plots.race(RACE).axes
    for axis, places in zip(axes, [(3, 1), (20, 10)] * 2, strict=True):
        shown = [line for line in axis.lines if line.get_marker() == "v" and len(line.get_xdata())]
        assert [float(line.get_xdata()[0]) for line in shown] == list(places)  # none for what has a single phase
        for line, mean, place in zip(shown, means(axis).values(), places, strict=False):
            assert float(line.get_ydata()[0]) == pytest.approx(np.interp(place, *mean))
    (legend,) = [axis.get_legend() for axis in axes if axis.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == [*RACE, "all the data from here on"]


def test_dots_show_every_reading_and_its_mean_in_its_row():
    axes = plots.dots(SPEEDS, "images per second").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["wide", "narrow"]
    assert axes.get_xlabel() == "images per second"
    low, high = axes.get_ylim()
    assert low > high, "the first row stands on top"
    legend = axes.get_legend()
    colours = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    assert list(colours) == ["host", "device"]
    assert len({to_hex(handle.get_color()) for handle in colours.values()}) == 2
    heights = {}
    for place, row in enumerate(SPEEDS.values()):
        for name, values in row.items():
            alike = [line for line in axes.lines if line.get_color() == colours[name].get_color()]
            near = [line for line in alike if len(line.get_xdata()) and abs(np.mean(line.get_ydata()) - place) < 0.5]
            readings, mean = near
            assert (readings.get_marker(), list(readings.get_xdata())) == ("o", values)
            assert list(mean.get_xdata()) == pytest.approx([np.mean(values)] * 2)
            (height,) = set(readings.get_ydata())
            assert min(mean.get_ydata()) < height < max(mean.get_ydata())
            heights[place, name] = height
    assert heights[0, "host"] < heights[0, "device"]  # in the order of the legend, and none hides another
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o") == 6


def test_dots_begin_at_nothing_unless_their_axis_is_logarithmic():
    plain, log = plots.dots(SPEEDS, "seconds").axes[0], plots.dots(SPEEDS, "seconds", log=True).axes[0]
    assert (plain.get_xscale(), plain.get_xlim()[0]) == ("linear", 0)
    assert log.get_xscale() == "log"
    for axes in (plain, log):
        assert axes.get_xlim()[0] < 1.0
        assert axes.get_xlim()[1] > 8.0
    assert plots.dots({"wide": {"device": [8.0]}}, "seconds").axes[0].get_legend() is None


def test_what_is_kept_stands_at_its_share_with_all_the_data_as_a_level():
    runs, full = groups(3), groups(3)[ALL]
    axes = plots.kept({"random_subset": {40: runs["random_subset"][:1], 4: runs["random_subset"]}}, 400, full).axes[0]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10"]
    means, _, _, *dots, level = axes.lines  # the two are the ends of the intervals
    accuracy = [100 * record.metrics["test_accuracy"] for record in runs["random_subset"]]
    assert means.get_xdata() == pytest.approx([10, 1])
    assert means.get_ydata() == pytest.approx([accuracy[0], np.mean(accuracy)])
    assert [list(line.get_ydata()) for line in dots] == [pytest.approx(accuracy[:1]), pytest.approx(accuracy)]
    assert level.get_ydata() == pytest.approx([100 * np.mean([record.metrics["test_accuracy"] for record in full])] * 2)
    (bars,) = axes.collections
    assert np.ptp(bars.get_segments()[0][:, 1]) == 0, "one run has no interval"
    assert np.ptp(bars.get_segments()[1][:, 1]) == pytest.approx(2 * Interval.of(accuracy).half)


def test_class_balance_shows_means_and_the_range_over_runs():
    counts = {"top_activations": np.array([[10, 20, 30], [20, 20, 60]]), "random_subset": np.array([7, 8, 9])}
    axes = plots.class_balance(counts, CLASSES).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [15, 20, 45, 7, 8, 9]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == CLASSES
    (ranges,) = axes.collections  # one run has no range
    assert [segment[:, 1].tolist() for segment in ranges.get_segments()] == [[10, 20], [20, 20], [30, 60]]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in itertools.pairwise(spans)), "bars overlap"


def test_histograms_leave_no_distribution_out_and_have_equal_areas():
    random = np.random.default_rng(0)
    axes = plots.histograms({"few": random.random(50), "many": random.random(5000)}, "contrast").axes[0]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"few", "many"}
    assert axes.get_xlabel() == "contrast"

    def area(outline):
        (x, y) = outline.get_xy().T
        return abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2

    assert [area(outline) for outline in axes.patches] == pytest.approx([1, 1], rel=0.01)


def test_pictures_are_shown_in_their_places():
    rows = [images(3, 8, 8, 3), images(2, 8, 8, 1), images(3, 6, 9)]
    figure = plots.pictures(rows, labels=["colour", "grey", "map"], titles=["x", "y", "z"])
    lines = [figure.axes[i : i + 3] for i in (0, 3, 6)]
    shown = [[axes.images[0].get_array() if axes.images else None for axes in line] for line in lines]
    for row, line in zip(rows, shown, strict=True):
        for position, picture in enumerate(line):
            if position >= len(row):
                assert picture is None, "a short row ends early"
            else:
                assert np.array_equal(picture, row[position].squeeze())
    assert [axes.get_title() for axes in figure.axes[:3]] == ["x", "y", "z"]
    assert [line[0].texts[0].get_text() for line in lines] == ["colour", "grey", "map"]


def test_grey_pictures_are_as_bright_as_they_are():
    pale, dim = images(2, 8, 8, 1) // 4 + np.uint8([[[[190]]], [[[0]]]])
    figure = plots.pictures([[pale, dim], [pale[..., 0] / 1000]])
    assert [axes.images[0].get_clim() for axes in figure.axes[:2]] == [(0, 255)] * 2
    assert figure.axes[2].images[0].get_clim() == (pale.min() / 1000, pale.max() / 1000)


def test_maps_are_as_near_to_square_as_they_can_be():
    for n, shape in [(216, (12, 18)), (36, (6, 6)), (7, (1, 7)), (12, (3, 4))]:
        embeddings = np.arange(2 * n, dtype="float16").reshape(2, n)
        maps = plots.as_maps(embeddings)
        assert maps.shape == (2, *shape)
        assert maps.dtype == np.float32
        assert np.array_equal(maps.reshape(2, n), embeddings), "they are not in reading order"


# --- names and colours ---


def test_every_selector_has_a_name_and_a_colour_of_its_own():
    assert set(NAMES) == {ALL, *SELECTORS}
    assert plots.COLOURS.keys() == NAMES.keys()
    assert len(set(NAMES.values())) == len(NAMES)
    assert len({to_hex(colour) for colour in plots.COLOURS.values()}) == len(plots.COLOURS)
    assert "#ffffff" not in map(to_hex, plots.COLOURS.values())


def test_ledgers_are_stacked_in_the_order_of_payment_without_the_evaluation():
    (axes,) = plots.ledgers(BILLS).axes
    bars = {bar.get_label(): bar for bar in axes.containers}
    assert list(bars) == ["autoencoder", "proxy", "embedding", "selection", "training"]
    widths = {stage: [patch.get_width() for patch in bar] for stage, bar in bars.items()}
    assert widths["training"] == [23, 15, 15]  # with the compiler, the mean of two runs
    assert widths["autoencoder"] == [0, 73, 0]
    assert widths["proxy"] == [0, 0, 5]
    ends = [patch.get_x() + patch.get_width() for patch in bars["training"]]
    assert ends == [np.mean([total(run) for run in runs]) for runs in BILLS.values()]


def test_the_front_has_a_line_for_the_full_runs_and_a_mark_for_each_recipe():
    full = {
        "all": BILLS["all"],
        "half": [with_ledger(a_run(ALL, 0, 0.5), training=10), with_ledger(a_run(ALL, 1, 0.52), training=12)],
    }
    others = {name: BILLS[name] for name in list(BILLS)[1:]}
    (axes,) = plots.front(full, others).axes
    line = axes.lines[0]
    assert list(line.get_xdata()) == [11, 23]  # short to full
    assert list(line.get_ydata()) == pytest.approx([51, 60])
    dots = [tuple(np.ravel(each.get_data())) for each in axes.lines[1:]]
    assert (92, 50) in [tuple(map(round, dot)) for dot in dots if len(dot) == 2]
    assert (21, 40) in [tuple(map(round, dot)) for dot in dots if len(dot) == 2]
    assert axes.get_xscale() == "log"
