"""What the runs of Part II say to the reviewers' questions: numbers that chapters and the page on the reviews share."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from embsel.errors import require
from embsel.lab import referee, report
from embsel.lab.records import ALL, Record, Run
from embsel.lab.report import Interval, accuracy, pooled, same_machine, total

Runs = Sequence[Record]
FILTER, RANDOM = "top_activations", "random_subset"
AS_USUAL, OWN_RATE = "as in Part I", "each arm at its own rate"
PLACES = 9  # 3 x 3, with so many numbers each as the autoencoder's last layer is wide
SAVING = 0.2  # of the full run's total time: what a recipe has to save to count
LEVEL = 0.01  # of accuracy: a run that may be so much below another one at most is level with it


def equal_keep(chosen: Runs, random: dict[int, Runs]) -> Interval:
    """Return how many images picked at random do as well as each of the `chosen` runs, as an interval of the logarithm.

    `random` maps a number of images to runs; between two numbers the mean accuracy is a line in the logarithm. Below
    the least and above the most of them the answer is that number.
    """
    keeps = sorted(random)
    means = np.maximum.accumulate([report.accuracies(random[keep]).mean() for keep in keeps])  # more is not worse
    return Interval.of(np.interp(report.accuracies(chosen), means, np.log(keeps)))


def as_range(keep: Interval) -> str:
    """Return the interval of the logarithm of a number of images as numbers, to two digits."""
    low, high = (float(f"{np.exp(keep.mean + side * keep.half):.2g}") for side in (-1, 1))
    return f"{low:,.0f} to {high:,.0f}"


def ahead(recipe: Runs, full: dict[str, Runs]) -> dict[int, float]:
    """Return the accuracy of a recipe's runs minus what full runs reach in the same total time, by seed.

    `full` are the full runs of several lengths: between two of a seed and machine the accuracy is a line in their total
    seconds; a recipe that takes longer than the longest is set against that one.
    """
    return {
        run.spec.seed: accuracy(run) - float(np.interp(total(run), *zip(*_front(run, full), strict=True)))
        for run in recipe
    }


def _front(run: Record, full: dict[str, Runs]) -> list[tuple[float, float]]:
    """Return total seconds and accuracy of the full runs of a run's seed and machine, the quickest first."""
    same = [other for group in full.values() for _, other in same_machine([run], group)]
    place = f"seed {run.spec.seed}" + (f" on {run.provenance['hardware']}" if "hardware" in run.provenance else "")
    require(len(same) > 1, f"A front needs two full runs of {place}, found {len(same)}.")
    return sorted((total(other), accuracy(other)) for other in same)


def saved(recipe: Runs, full: Runs) -> dict[int, float]:
    """Return the share of the full run's total time that a recipe saves, by seed; negative: it costs."""
    return {run.spec.seed: 1 - total(run) / total(whole) for run, whole in same_machine(recipe, full)}


def moonshot(time: Interval, accuracy: Interval, front: Interval) -> str:
    """Return whether a recipe pays: it saves SAVING of the full run's `time`, its `accuracy` is at most LEVEL below the
    full run's, and it is `ahead` of full runs as short as itself; each by the whole of its 95 % interval, and the last
    also where it is one of many.
    """
    short = []
    if not time.mean - time.half >= SAVING:
        short.append("does not save the time")
    if not accuracy.mean - accuracy.half > -LEVEL:
        short.append("may be below the full run")
    if not front.verdict("ahead", "", ""):
        short.append("not ahead of short full runs")
    return "; ".join(short) or "pays"


class Judged(NamedTuple):
    """A recipe of `referee.recipes`: its runs, the time that they save and their accuracy minus the full run's, their
    accuracy minus that of full runs of the same total time, and the verdict; the last two only where there is a choice.

    Without `time` where the seconds are not all of one quiet machine, and then without a verdict.
    """

    runs: Runs
    time: Interval | None
    accuracy: Interval
    front: Interval | None = None
    verdict: str = ""
    full: bool = False  # one of the full runs, on the line that the others are set against


def judged(records: Iterable[Record], make: Callable = referee.recipes) -> dict[str, Judged]:
    """Return the recipes that are recorded together with full runs to judge them by, by name; the full runs first.

    `make` is the suite's function: `referee.recipes` or `referee.many_passes`. The spread is `pooled` over all of them.
    """
    ways = report.of_suite(make, records := list(records))
    if referee.FULL not in ways:
        return {}
    schedule = ways[referee.FULL][0].spec.schedule
    full = {n: runs for n, runs in ways.items() if (runs[0].spec.selector, runs[0].spec.schedule) == (ALL, schedule)}
    if len(full) < 2:
        return {}
    sound = {name: runs for name, group in ways.items() if (runs := report.timed(group, records))}
    whole = ways[referee.FULL]
    accuracies = report.compared(ways, whole)
    times = {name: saved(runs, whole) for name, runs in sound.items() if name != referee.FULL}
    times = pooled({name: shares for name, shares in times.items() if shares})
    fronts = pooled({name: ahead(sound[name], full) for name in times if name not in full})
    accuracies[referee.FULL] = times[referee.FULL] = Interval(0.0, 0.0, len(whole))
    table = {}
    for name, runs in ways.items():
        table[name] = Judged(runs, times.get(name), accuracies[name], fronts.get(name), full=name in full)
        if name in fronts:
            table[name] = table[name]._replace(verdict=moonshot(times[name], accuracies[name], fronts[name]))
    return table


def repaid(recipe: Runs, full: dict[str, Runs]) -> tuple[Interval, Interval]:
    """Return the seconds that a recipe spends once, before its training, and the seconds that each training then saves
    against a full run as accurate, both paired by seed; a negative saving is a loss.

    Between the `full` runs of a seed, of several lengths, the time is a line in the accuracy; a recipe that is more
    accurate than the longest is set against that one.
    """
    once, saving = [], []
    for run in recipe:
        each = run.seconds("training", "training compilation")
        points = _front(run, full)
        heights = np.maximum.accumulate([height for _, height in points])  # a longer run is not taken for worse
        alone = np.interp(accuracy(run), heights, [seconds for seconds, _ in points])
        once.append(total(run) - each)
        saving.append(alone - each)
    return Interval.of(once), Interval.of(saving)


def trainings(once: Interval, saving: Interval) -> str:
    """Return in words after how many trainings a cost of `once` seconds is paid, where each saves `saving` seconds: as
    a range, from the two ends of the interval of the saving.
    """
    least, most = (max(1.0, reuses(once.mean, 0.0, saving.mean + side * saving.half)) for side in (1, -1))
    if np.isinf(least):
        return "never"
    return f"{least:,.0f} at least, perhaps never" if np.isinf(most) else f"{least:,.0f} to {most:,.0f}"


def reuses(once: float, each: float, alone: float) -> float:
    """Return how many trainings have to share a cost of `once` seconds until one of `each` seconds with its part of the
    cost takes no longer than one of `alone` seconds without; infinite where each takes no less.
    """
    return np.ceil(once / (alone - each)) if each < alone else np.inf


def settings(records: Iterable[Record], others: Iterable[Record] = ()) -> dict[str, dict[str, Runs]]:
    """Return what chapter 8 changes in Part I's comparison, name to arm to runs; `others` are of further datasets."""
    usual = report.comparison(records := list(records))
    plain = usual[FILTER][0].spec
    grid = report.of_suite(referee.sizing, records)
    found = {
        f"{PLACES * width} numbers, {keep:,} images": {FILTER: runs, RANDOM: grid.get((None, keep), [])}
        for (width, keep), runs in grid.items()
        if width and (width, keep) != (plain.embedding.widths[-1], plain.keep)
    }
    for policy in ("drop", "keep"):
        found[f"duplicates: {policy}"] = {FILTER: usual.get(f"{FILTER}_{policy}", []), RANDOM: usual.get(RANDOM, [])}
    found |= report.of_suite(referee.conditions, records)
    own = report.of_suite(lambda *place: referee.tuned(*place, records), records)
    if any(runs[0].spec.rate != plain.rate for runs in own.values()):
        found[OWN_RATE] = own
    for (name, keep), arms in further(others).items():
        if keep:
            found[f"{name}, {keep:,} images"] = arms
    found.pop(AS_USUAL, None)
    return found


def further(others: Iterable[Record]) -> dict[tuple[str, int | None], dict[str, Runs]]:
    """Return the suite `other_data` of each dataset: its name and the images kept (None: all) to arm to runs."""
    groups, found = {}, {}
    for run in others:
        groups.setdefault((run.spec.dataset, run.provenance["dataset"]), []).append(run)
    for (_, name), group in groups.items():
        for run in report.of_suite(referee.other_data, group):
            if isinstance(run.spec, Run):
                found.setdefault((name, run.spec.keep), {}).setdefault(run.spec.selector, []).append(run)
    return found


def gaps(records: Iterable[Record], others: Iterable[Record] = ()) -> dict[str, Interval]:
    """Return the filter's accuracy minus a random subset's: as in Part I, and `pooled` under all of the `settings`."""
    records = list(records)
    found = {
        name: report.by_seed(arms.get(FILTER, []), arms.get(RANDOM, []))
        for name, arms in settings(records, others).items()
    }
    usual = report.against_random(records)
    under = pooled({name: gap for name, gap in found.items() if gap})
    return ({AS_USUAL: usual[FILTER]} if FILTER in usual else {}) | under


def two_way(table: np.ndarray) -> list[tuple[str, float, float]]:
    """Return how far the rows, the columns and what is left of a two-way `table` (rows, columns) scatter.

    For each: its name, the standard deviation of its effect by the method of moments (zero where its mean square is
    below that of what is left), and the probability of a mean square as large without any effect (F test).
    """
    table = np.asarray(table, dtype=float)
    good = table.ndim == 2 and min(table.shape) > 1
    require(good, f"A two-way table needs two rows and two columns, found {table.shape}.")
    rows, columns = table.shape
    across, down = table.mean(axis=1), table.mean(axis=0)
    free = (rows - 1) * (columns - 1)
    left = np.square(table - across[:, None] - down + table.mean()).sum() / free
    found = []
    for name, means, others in (("rows", across, columns), ("columns", down, rows)):
        square = others * means.var(ddof=1)
        ratio = square / left if left > 0 else np.inf if square > 0 else np.nan
        chance = float(stats.f.sf(ratio, len(means) - 1, free))
        found.append((name, float(np.sqrt(max(0.0, square - left) / others)), chance))
    return [*found, ("what is left", float(np.sqrt(left)), float("nan"))]


def crossed_table(runs: Runs) -> np.ndarray:
    """Return the accuracies of the suite `crossed` as a table: a row for each autoencoder's seed, a column for each
    training seed.

    Raises `InputError` where a run is missing, or where not all are of one machine: an autoencoder of one seed was
    trained on each, so that a row would not have one autoencoder.
    """
    found = {(run.spec.embedding.seed, run.spec.seed): accuracy(run) for run in runs}
    rows, columns = (sorted({pair[side] for pair in found}) for side in (0, 1))
    whole = len(rows) * len(columns)
    require(len(found) == whole, f"Of {whole} runs, {len(rows)} seeds by {len(columns)}, only {len(found)} are there.")
    trained = len(trained_autoencoders(runs))
    require(trained == len(rows), f"The rows are to have an autoencoder each, and there are up to {trained} of them.")
    return np.array([[found[row, column] for column in columns] for row in rows])


def trained_autoencoders(runs: Runs) -> set[tuple]:
    """Return seed and machine of every autoencoder behind `runs`: one seed gave another on each machine."""
    return {(run.spec.embedding.seed, run.provenance["hardware"]) for run in runs}
