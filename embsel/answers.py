"""What the runs of Part II say to the reviewers' questions: numbers that chapters and the page on the reviews share."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from embsel import referee, report
from embsel.errors import require
from embsel.records import ALL, Record
from embsel.report import Interval, accuracies, paired, total

Runs = Sequence[Record]
SAVING = 0.2  # of the full run's total time: what a recipe has to save to count
LEVEL = 0.01  # of accuracy: a run that may be so much below another one at most is level with it


def equal_keep(chosen: Runs, random: dict[int, Runs]) -> Interval:
    """Return how many images picked at random do as well as each of the `chosen` runs, as an interval of the logarithm.

    `random` maps a number of images to runs; between two numbers the mean accuracy is a line in the logarithm. Below
    the least and above the most of them the answer is that number.
    """
    keeps = sorted(random)
    means = np.maximum.accumulate([accuracies(random[keep]).mean() for keep in keeps])  # more is not worse
    return Interval.of(np.interp(accuracies(chosen), means, np.log(keeps)))


def ahead(recipe: Runs, full: dict[str, Runs]) -> Interval:
    """Return the accuracy of a recipe's runs minus what full runs reach in the same total time, by pairs of equal seed.

    `full` are the full runs of several lengths: between two of a seed the accuracy is a line in their total seconds;
    a recipe that takes longer than the longest is set against that one.
    """
    gaps = []
    for run in recipe:
        gaps.append(run.metrics["test_accuracy"] - np.interp(total(run), *zip(*_front(run, full), strict=True)))
    return Interval.of(gaps)


def _front(run: Record, full: dict[str, Runs]) -> list[tuple[float, float]]:
    """Return total seconds and accuracy of the full runs of a run's seed, the quickest first."""
    same = [other for group in full.values() for other in group if other.spec.seed == run.spec.seed]
    require(len(same) > 1, f"A front needs two full runs of seed {run.spec.seed}, found {len(same)}.")
    return sorted((total(other), other.metrics["test_accuracy"]) for other in same)


def saved(recipe: Runs, full: Runs) -> Interval:
    """Return the share of the full run's total time that a recipe saves, by pairs of equal seed; negative: it costs."""
    other = {record.spec.seed: total(record) for record in full}
    return Interval.of([1 - total(run) / other[run.spec.seed] for run in recipe])


def moonshot(time: Interval, accuracy: Interval, front: Interval) -> str:
    """Return whether a recipe pays: it saves SAVING of the full run's `time`, its `accuracy` is at most LEVEL below the
    full run's, and it is `ahead` of full runs as short as itself; each by the whole of its 95 % interval.
    """
    short = []
    if not time.mean - time.half >= SAVING:
        short.append("does not save the time")
    if not accuracy.mean - accuracy.half > -LEVEL:
        short.append("may be below the full run")
    if not front.mean - front.half > 0:
        short.append("not ahead of short full runs")
    return "; ".join(short) or "pays"


class Judged(NamedTuple):
    """A recipe of `referee.recipes`: its runs, the time that they save and their accuracy minus the full run's, their
    accuracy minus that of full runs of the same total time, and the verdict; the last two only where there is a choice.
    """

    runs: Runs
    time: Interval
    accuracy: Interval
    front: Interval | None = None
    verdict: str = ""


def judged(records: Iterable[Record], make: Callable = referee.recipes) -> dict[str, Judged]:
    """Return the recipes that are recorded together with full runs to judge them by, by name; the full runs first.

    `make` is the suite's function: `referee.recipes` or `referee.many_passes`.
    """
    ways = report.of_suite(make, records)
    if referee.FULL not in ways:
        return {}
    schedule = ways[referee.FULL][0].spec.schedule
    full = {n: runs for n, runs in ways.items() if (runs[0].spec.selector, runs[0].spec.schedule) == (ALL, schedule)}
    if len(full) < 2:
        return {}
    table = {}
    for name, runs in ways.items():
        time, accuracy = saved(runs, whole := full[referee.FULL]), paired(runs, whole)
        table[name] = Judged(runs, time, accuracy)
        if name not in full:
            front = ahead(runs, full)
            table[name] = Judged(runs, time, accuracy, front, moonshot(time, accuracy, front))
    return table


def repaid(recipe: Runs, full: dict[str, Runs]) -> tuple[Interval, Interval]:
    """Return the seconds that a recipe spends once, before its training, and the seconds that each training then saves
    against a full run as accurate, both by pairs of equal seed; a negative saving is a loss.

    Between the `full` runs of a seed, of several lengths, the time is a line in the accuracy; a recipe that is more
    accurate than the longest is set against that one.
    """
    once, saving = [], []
    for run in recipe:
        each = run.seconds("training", "training compilation")
        points = _front(run, full)
        heights = np.maximum.accumulate([accuracy for _, accuracy in points])  # a longer run is not taken for worse
        alone = np.interp(run.metrics["test_accuracy"], heights, [seconds for seconds, _ in points])
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
    return f"{least:,.0f}, or never" if np.isinf(most) else f"{least:,.0f} to {most:,.0f}"


def reuses(once: float, each: float, alone: float) -> float:
    """Return how many trainings have to share a cost of `once` seconds until one of `each` seconds with its part of the
    cost takes no longer than one of `alone` seconds without; infinite where each takes no less.
    """
    return np.ceil(once / (alone - each)) if each < alone else np.inf


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
    training seed. Raises `InputError` where one is missing.
    """
    found = {(run.spec.embedding.seed, run.spec.seed): run.metrics["test_accuracy"] for run in runs}
    rows, columns = (sorted({pair[side] for pair in found}) for side in (0, 1))
    whole = len(rows) * len(columns)
    require(len(found) == whole, f"Of {whole} runs, {len(rows)} seeds by {len(columns)}, only {len(found)} are there.")
    return np.array([[found[row, column] for column in columns] for row in rows])
