"""What selection costs: recipes beside full runs of the same total time, and when a subset is paid for."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from embsel.errors import require
from embsel.lab.compare import Interval, accuracy, compared, pooled, same_machine, timed, total
from embsel.lab.questions import FULL, QUESTIONS
from embsel.lab.records import ALL, Record

Runs = Sequence[Record]
SAVING = 0.2  # of the full run's total time: what a recipe has to save to count
LEVEL = 0.01  # of accuracy: a run that may be so much below another one at most is level with it


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
    """A recipe of `recipes`: its runs, the time that they save and their accuracy minus the full run's, their
    accuracy minus that of full runs of the same total time, and the verdict; the last two only where there is a choice.

    Without `time` where the seconds are not all of one quiet machine, and then without a verdict.
    """

    runs: Runs
    time: Interval | None
    accuracy: Interval
    front: Interval | None = None
    verdict: str = ""
    full: bool = False  # one of the full runs, on the line that the others are set against


def judged(records: Iterable[Record], question: str = "recipes") -> dict[str, Judged]:
    """Return the recipes that are recorded together with full runs to judge them by, by name; the full runs first.

    `question` is "recipes" or "many-passes". The spread is `pooled` over all of them.
    """
    ways = QUESTIONS[question].found(records := list(records))
    whole = ways.get(FULL, [])
    full = {name: runs for name, runs in ways.items() if runs[0].spec.selector == ALL}
    full = {name: runs for name, runs in full.items() if whole and runs[0].spec.schedule == whole[0].spec.schedule}
    if len(full) < 2:
        return {}
    sound = {name: runs for name, group in ways.items() if (runs := timed(group, records))}
    gains = compared(ways, whole)
    times = pooled({name: saved(runs, whole) for name, runs in sound.items() if name != FULL})
    fronts = pooled({name: ahead(sound[name], full) for name in times if name not in full})
    gains[FULL] = times[FULL] = Interval(0.0, 0.0, len(whole))
    table = {}
    for name, runs in ways.items():
        verdict = moonshot(times[name], gains[name], fronts[name]) if name in fronts else ""
        table[name] = Judged(runs, times.get(name), gains[name], fronts.get(name), verdict, name in full)
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
