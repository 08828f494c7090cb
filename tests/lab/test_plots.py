"""Every figure, from a few numbers: closed, on white, with its axes named, and showing what it was given."""

import dataclasses
import inspect
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from embsel.lab import plots
from embsel.lab.compare import NAMES, Interval, total
from embsel.lab.records import ALL, Record, Run
from embsel.selection import SELECTORS

ARMS = [ALL, "top_activations", "random_subset"]
CLASSES = ["airplane", "bird", "cat"]
SPEC = Run("0123456789ab", ALL, 600, 128, 0.0125)
LINE = ([0, 10], [0.25, 0.5])
GAPS = {"above": Interval(0.05, 0.02, 3), "below": Interval(-0.03, 0.01, 3), "around": Interval(0.01, 0.04, 3)}
SPEEDS = {"wide": {"host": [1.0, 6.0], "device": [8.0]}, "narrow": {"device": [4.0, 4.5, 6.5]}}
PERCENT, POINTS = "test accuracy (%)", "difference (points)"


def a_run(accuracy, **seconds):
    ledger = [{"stage": stage.replace("_", " "), "seconds": value, "samples": 1} for stage, value in seconds.items()]
    curve = {"step": [100, 200], "test_accuracy": [accuracy / 2, accuracy], "test_loss": [1.5, 1.5 - accuracy]}
    return Record(SPEC, {"test_accuracy": accuracy}, ledger, {}, curve)


def groups(seeds, names=ARMS):
    return {name: [a_run(0.5 + 0.05 * n + 0.01 * seed) for seed in range(seeds)] for n, name in enumerate(names)}


def a_racer(pace=10, end=1.0, phases=(0, 0, 1)):
    """A run of 10 steps, 20 and 30, `pace` steps a second, whose losses end at `end` and twice that."""
    losses = {"test_loss": [3.0, 2.0, end], "loss": [6.0, 4.0, 2 * end]}
    seconds = [steps / pace for steps in (10, 20, 30)]
    curve = {"step": [10, 20, 30], "seconds": seconds, "phase": list(phases), **losses}
    return dataclasses.replace(a_run(0.5), curve=curve)


RACE = {  # two of one arm, the first of them twice as fast, and one that never changes over
    "filter, refill, 8.64 % first": [a_racer(), a_racer(pace=5, end=1.5)],
    "filter, refill, 86.40 % first": [a_racer(phases=(0, 1, 1))],
    "all the data": [a_racer(phases=(0, 0, 0))],
}
BILLS = {
    "all": [a_run(0.6, training=20 + seed, training_compilation=2, evaluation=9) for seed in (0, 2)],
    "filter, then all": [a_run(0.5, autoencoder=70, autoencoder_compilation=3, embedding=4, training=15)],
    "hard half (proxy)": [a_run(0.4, proxy_training=5, selection=1, training=15, evaluation=9)],
}


def images(count, *shape):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


FIGURES = {  # every function of the module, with as little and with as much as it takes
    "pictures": [([images(1, 8, 8, 3)],), ([images(4, 8, 8, 3), images(2, 5, 6)], ["a", "b"], list("wxyz"))],
    "curves": [({"a": LINE}, "training steps", PERCENT), (dict.fromkeys("abcdefgh", LINE), "training steps", "error")],
    "ladder": [({"a": ([300], [[0.1]], [0.1], 0.06)}, POINTS),
               ({n: ([300, 1250], [[-0.1, -0.12], [-0.08]], [-0.11, -0.08], 0.06) for n in ("one", "two")}, POINTS)],
    "ledgers": [({"all": BILLS["all"]},), (BILLS,)],
    "front": [({"all": BILLS["all"]}, {}), ({"all": BILLS["all"]}, BILLS)],
    "recorded_curves": [(groups(1),), (groups(3), "test_loss")],
    "race": [({"all the data": RACE["all the data"]},), (RACE,)],
    "dots": [({"a": {"b": [1.0]}}, "images per second"), (SPEEDS, "images per second")],
    "arms": [(groups(1),), (groups(3), {ALL: 0.833})],
    "gaps": [({"a": Interval.of([0.01])}, POINTS), (GAPS, POINTS)],
    "splits": [({name: {0: runs} for name, runs in groups(1).items()},),
               ({name: {0: runs, 50: runs} for name, runs in groups(3).items()}, {ALL: {0: 0.833, 50: 0.8}})],
    "kept": [({"random_subset": {36: [a_run(0.5)]}}, 400),
             ({n: {4: runs, 36: runs} for n, runs in groups(3, ARMS[1:]).items()}, 400, groups(3)[ALL])],
    "class_balance": [({"random_subset": np.array([3, 4, 5])}, CLASSES),
                      ({name: np.array([[3, 4, 5], [5, 4, 3]]) for name in NAMES}, CLASSES)],
    "histograms": [({"a": np.arange(9.0)}, "contrast"), ({name: np.arange(9.0) for name in "abcdefgh"}, "contrast")],
}  # fmt: skip


def test_no_figure_is_left_out_here():
    functions = inspect.getmembers(plots, inspect.isfunction)
    public = {name for name, f in functions if f.__module__ == plots.__name__ and not name.startswith("_")}
    assert public == FIGURES.keys() | {"as_maps"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_closed_on_opaque_white_and_names_its_axes_in_the_readers_style(name):
    for arguments in FIGURES[name]:
        before = dict(plt.rcParams)
        figure, file = getattr(plots, name)(*arguments), io.BytesIO()
        assert isinstance(figure, Figure)
        assert plt.get_fignums() == [], "a notebook would show it twice"
        assert dict(plt.rcParams) == before
        figure.savefig(file, format="png", dpi=40)
        file.seek(0)
        pixels = plt.imread(file)
        assert pixels.shape[2] == 3 or (pixels[..., 3] == 1).all()
        assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
        for axis in [axis for axes in figure.axes if axes.axison for axis in (axes.xaxis, axes.yaxis)]:
            words = [tick.get_text() for tick in axis.get_ticklabels()]
            named = words and all(word and not word.strip("−-").replace(".", "").isdigit() for word in words)
            assert axis.get_label_text() or named or not words, "numbers without a name"


def test_a_figure_that_fails_is_closed_too():
    with pytest.raises(ValueError, match=r"zip\(\)"):
        plots.pictures([images(2, 8, 8, 3)], labels=["one", "too many"])
    assert plt.get_fignums() == []


def test_every_selector_has_a_name_and_a_colour_of_its_own():
    assert set(NAMES) == plots.COLOURS.keys() == {ALL, *SELECTORS}
    colours = {to_hex(colour) for colour in plots.COLOURS.values()} - {"#ffffff"}
    assert len(colours) == len(set(NAMES.values())) == len(NAMES)


# --- what a figure shows is what it was given ---


def drawn(axes, marker=None):
    """The places of each line, `(x, y)`: of those with this marker, or of those without any."""
    lines = [line for line in axes.lines if line.get_marker() == (marker or "None") and np.size(line.get_xdata())]
    parts = [(line.get_xdata(), line.get_ydata()) for line in lines]
    return [tuple(np.ravel(part).astype(float).round(3).tolist() for part in pair) for pair in parts]


def legend(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for shown in legends if shown for text in shown.get_texts()]


def rows_of(axes):
    low, high = axes.get_ylim()
    assert low > high, "the first row stands on top"
    return [tick.get_text() for tick in axes.get_yticklabels()]


@pytest.mark.parametrize("seeds", [1, 3])
def test_arms_show_every_seed_the_mean_its_interval_and_the_papers_number(seeds):
    given = groups(seeds)
    figure = plots.arms(given, {"random_subset": 0.576, "top_activations_drop": 0.9})  # the second is not there
    (axes,) = figure.axes
    assert rows_of(axes) == [NAMES[name] for name in given]
    for place, (name, records) in enumerate(given.items()):
        interval = Interval.of(values := [100 * record.metrics["test_accuracy"] for record in records])
        lines = [line for line in axes.lines if to_hex(line.get_color()) == plots.COLOURS[name].lower()]
        wanted = [[interval.mean - interval.half, interval.mean + interval.half]] * (seeds > 1)
        wanted += [[interval.mean] * 2, values]
        assert [list(line.get_xdata()) for line in lines] == [pytest.approx(one) for one in wanted]
        assert set(lines[-1].get_ydata()) == {place}
    assert drawn(axes, "D") == [([57.6], [2])]
    assert (legend(figure), legend(plots.arms(given, {"top_activations_drop": 0.9}))) == (["the paper"], [])


def test_gaps_show_each_difference_its_interval_and_zero():
    (axes,) = plots.gaps(GAPS | {"single": Interval.of([0.02])}, POINTS).axes
    assert rows_of(axes) == [*GAPS, "single"]
    assert drawn(axes, "o") == [([5], [0]), ([-3], [1]), ([1], [2]), ([2], [3])]
    assert drawn(axes) == [([0, 0], [0, 1]), ([3, 7], [0, 0]), ([-4, -2], [1, 1]), ([-3, 5], [2, 2])]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    filled = [to_hex(dot.get_markerfacecolor()) == to_hex(dot.get_color()) for dot in dots]
    assert filled == [True, True, False, False], "filled means a difference from zero"


@pytest.mark.parametrize(("seeds", "column", "scale"), [(1, "test_accuracy", 100), (3, "test_loss", 1)])
def test_recorded_curves_show_every_run_and_the_mean(seeds, column, scale):
    given = groups(seeds, ["random_subset"])
    values = scale * np.array([record.curve[column] for record in given["random_subset"]])
    figure = plots.recorded_curves(given, column)
    (axes,) = figure.axes
    assert [y for _, y in drawn(axes)] == values.round(3).tolist()
    assert drawn(axes, "o") == [([100, 200], values.mean(axis=0).round(3).tolist())]
    assert legend(figure) == ["random"]
    assert axes.get_ylabel() == {"test_accuracy": PERCENT, "test_loss": "test loss (nats)"}[column]


def test_curves_have_the_colour_of_their_arm_and_can_be_told_apart():
    arms = {"random, balanced 100/0": "stratified_random", "random 100/0": "random_subset", "all the data 0/100": ALL,
            "filter, refill 100/0": "top_activations", "filter, refill 50/50": "top_activations"}  # fmt: skip
    figure = plots.curves(dict.fromkeys(arms, LINE), "steps", PERCENT)
    lines = figure.axes[0].lines
    assert [line.get_color() for line in lines] == [plots.COLOURS[arm] for arm in arms.values()]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "-", "-", "--"]
    assert (list(lines[0].get_ydata()), legend(figure)) == ([25, 50], [*arms])
    spare = plots.curves(dict.fromkeys("abcde", LINE), "steps", "error", percent=False).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in spare}) == 5
    assert list(spare[0].get_ydata()) == [0.25, 0.5]


def test_curves_of_seeds_are_dots_with_their_mean_and_the_papers_number_at_the_mark():
    seeds = ([0.0125, 0.1], np.array([[0.5, 0.75], [np.nan, 0.25]]))
    figure = plots.curves({"random": seeds}, "rate", PERCENT, log=True, mark=0.1, paper={"random": 0.375})
    (axes,) = figure.axes
    assert drawn(axes, "o")[2][1] == [62.5, 25]  # without those that are missing
    assert (drawn(axes, "D"), legend(figure)) == ([([0.1], [37.5])], ["random", "the paper"])
    ticks = [axes.xaxis.get_major_formatter()(x) for x in (0.0125, 0.1, 20_000)]
    assert (axes.get_xscale(), ticks) == ("log", ["0.0125", "0.1", "20,000"])


def test_a_ladder_shows_every_pair_its_mean_and_the_papers_difference():
    figure = plots.ladder({"random minus all": ([300, 1250], [[-0.1, -0.3], [0.1]], [-0.2, 0.1], 0.06)}, POINTS)
    (axes,) = figure.axes
    assert (drawn(axes, "o"), drawn(axes, "D")) == ([([300, 300], [-10, -30]), ([1250], [10])], [([10_000], [6])])
    assert ([300, 1250], [-20, 10]) in drawn(axes)
    assert ([text.get_text() for text in axes.texts], legend(figure)) == (["random minus all"], ["the paper"])


def test_a_race_shows_every_run_its_mean_and_the_switch_in_all_four_ways():
    figure = plots.race(RACE)
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["test loss (nats)", "training loss with weight decay (nats)"]
    assert [axis.get_xlabel() for axis in axes[1]] == ["seconds of training", "training steps"]
    runs = [record.curve for records in RACE.values() for record in records]
    chosen, full = plots.COLOURS["top_activations"].lower(), plots.COLOURS[ALL].lower()
    for line, column in zip(axes, ("test_loss", "loss"), strict=True):
        for axis, along, switches in zip(line, ("seconds", "step"), ((3, 1), (20, 10)), strict=True):
            thin = [shown for shown in axis.lines if len(shown.get_xdata()) == 3]
            shown = [(list(one.get_xdata()), list(one.get_ydata())) for one in thin]
            assert shown == [(curve[along], curve[column]) for curve in runs]
            looks = [(to_hex(shown.get_color()), shown.get_linestyle()) for shown in thin]
            assert looks == [(chosen, "-"), (chosen, "-"), (chosen, "--"), (full, "-")]
            means = {one.get_label(): one.get_data() for one in axis.lines if one.get_label() in RACE}
            on_means = zip(switches, means.values(), strict=False)
            assert drawn(axis, "v") == [([x], [pytest.approx(np.interp(x, *mean), abs=1e-3)]) for x, mean in on_means]
            if (along, column) == ("seconds", "test_loss"):  # from the last start to the first end, at equal seconds
                (x, y), *_ = means.values()
                assert (x[0], x[-1], y[0], y[-1]) == pytest.approx((2, 3, (2.0 + 3.0) / 2, (1.0 + 2.5) / 2))
    assert legend(figure) == [*RACE, "all the data from here on"]


def test_dots_show_every_reading_and_its_mean_in_its_row():
    figure = plots.dots(SPEEDS, "images per second")
    (axes,) = figure.axes
    assert (rows_of(axes), legend(figure)) == (["wide", "narrow"], ["host", "device"])
    # One below the other, so that none hides another.
    assert drawn(axes, "o") == [([1, 6], [-0.15] * 2), ([8], [0.15]), ([4, 4.5, 6.5], [1.15] * 3)]
    assert drawn(axes) == [([3.5] * 2, [-0.29, -0.01]), ([8] * 2, [0.01, 0.29]), ([5] * 2, [1.01, 1.29])]
    assert (axes.get_xscale(), axes.get_xlim()[0]) == ("linear", 0)
    alone = plots.dots({"wide": {"device": [8.0]}}, "seconds", log=True)
    assert (alone.axes[0].get_xscale(), legend(alone)) == ("log", [])


def test_what_is_kept_stands_at_its_share_with_all_the_data_as_a_level():
    runs = groups(3)
    drawn_at_random = {40: runs["random_subset"][:1], 4: runs["random_subset"]}
    (axes,) = plots.kept({"random_subset": drawn_at_random}, 400, runs[ALL]).axes
    assert (axes.get_xscale(), [tick.get_text() for tick in axes.get_xticklabels()]) == ("log", ["1", "10"])
    assert drawn(axes, "o") == [([10], [60]), ([1] * 3, [60, 61, 62])]
    means, level = drawn(axes)
    assert (means, level[1]) == (([10, 1], [60, 61]), [51] * 2)
    single, three = (np.ptp(segment[:, 1]) for segment in axes.collections[0].get_segments())
    assert (single, three) == (0, pytest.approx(2 * Interval.of([60, 61, 62]).half)), "one run has no interval"


def test_splits_stand_side_by_side_but_for_the_common_start_with_the_papers_numbers():
    runs = groups(3, ["random_subset", "top_activations"])
    paper = {"top_activations": {0: 0.5, 50: 0.25}}
    (axes,) = plots.splits({name: {0: some, 50: some} for name, some in runs.items()}, paper).axes
    assert [x[0] for x, _ in drawn(axes, "o")] == [0, 49.4, 0, 50.6]
    assert drawn(axes, "D") == [([0], [50]), ([50.6], [25])]


def test_class_balance_shows_means_and_the_range_over_runs():
    counts = {"top_activations": np.array([[10, 20, 30], [20, 20, 60]]), "random_subset": np.array([7, 8, 9])}
    axes = plots.class_balance(counts, CLASSES).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [15, 20, 45, 7, 8, 9]
    assert [bar.get_x() for bar in axes.patches] == pytest.approx([-0.4, 0.6, 1.6, 0, 1, 2]), "bars overlap"
    (ranges,) = axes.collections  # one run has no range
    assert [segment[:, 1].tolist() for segment in ranges.get_segments()] == [[10, 20], [20, 20], [30, 60]]


def test_histograms_leave_no_distribution_out_and_have_equal_areas():
    random = np.random.default_rng(0)
    figure = plots.histograms({"few": random.random(50), "many": random.random(5000)}, "contrast")
    outlines = [outline.get_xy().T for outline in figure.axes[0].patches]
    areas = [abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2 for x, y in outlines]
    assert (sorted(legend(figure)), areas) == (["few", "many"], pytest.approx([1, 1], rel=0.01))


def test_pictures_are_shown_in_their_places_and_as_bright_as_they_are():
    rows = [images(3, 8, 8, 3), images(2, 8, 8, 1), images(3, 6, 9) / 1000]
    figure = plots.pictures(rows, labels=["colour", "grey", "map"], titles=["x", "y", "z"])
    for row, line in zip(rows, np.reshape(figure.axes, (3, 3)), strict=True):
        shown = [image.get_array() for axes in line for image in axes.images]
        assert [len(axes.images) for axes in line] == [1] * len(row) + [0] * (3 - len(row)), "a short row ends early"
        assert all(np.array_equal(one, picture.squeeze()) for one, picture in zip(shown, row, strict=True))
    assert [axes.images[0].get_clim() for axes in figure.axes[:5]] == [(0, 255)] * 5
    assert figure.axes[6].images[0].get_clim() == (rows[2][0].min(), rows[2][0].max())
    assert [axes.get_title() for axes in figure.axes[:3]] == ["x", "y", "z"]
    assert [axes.texts[0].get_text() for axes in figure.axes[::3]] == ["colour", "grey", "map"]


def test_maps_are_as_near_to_square_as_they_can_be():
    for n, shape in [(216, (12, 18)), (36, (6, 6)), (7, (1, 7)), (12, (3, 4))]:
        maps = plots.as_maps(np.arange(2 * n, dtype="float16").reshape(2, n))
        assert (maps.shape, maps.dtype) == ((2, *shape), np.float32)
        assert maps.ravel().tolist() == list(range(2 * n)), "they are not in reading order"


def test_ledgers_are_stacked_in_the_order_of_payment_without_the_evaluation():
    (axes,) = plots.ledgers(BILLS).axes
    bars = {bar.get_label(): bar for bar in axes.containers}
    widths = {stage: [patch.get_width() for patch in bar] for stage, bar in bars.items()}
    assert widths == {"autoencoder": [0, 73, 0], "proxy": [0, 0, 5], "embedding": [0, 4, 0], "selection": [0, 0, 1],
                      "training": [23, 15, 15]}  # fmt: skip
    assert list(widths) == [stage for stage in plots.STAGES if stage != "loading"]
    ends = [patch.get_x() + patch.get_width() for patch in bars["training"]]
    assert ends == [np.mean([total(run) for run in runs]) for runs in BILLS.values()]


def test_the_front_has_a_line_for_the_full_runs_and_a_mark_for_each_recipe():
    full = {"all": BILLS["all"], "half": [a_run(0.5, training=10), a_run(0.52, training=12)]}
    figure = plots.front(full, {name: BILLS[name] for name in list(BILLS)[1:]})
    line, *marks = figure.axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([11, 23], pytest.approx([51, 60]))  # short to full
    places = {(*np.ravel(each.get_xdata()), *np.ravel(each.get_ydata())) for each in marks}
    assert {(92, 50), (21, 40)} <= places
    assert figure.axes[0].get_xscale() == "log"
    assert legend(figure) == ["all the data, short to full", *list(BILLS)[1:]]
