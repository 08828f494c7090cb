"""The filter against a random subset under every setting that chapter 8 changes, and where its scatter comes from."""

from collections.abc import Iterable, Sequence

import numpy as np

from embsel.errors import require
from embsel.lab import report
from embsel.lab.compare import Interval, accuracies, accuracy, by_seed, pooled
from embsel.lab.questions import FILTER, QUESTIONS, RANDOM
from embsel.lab.records import ALL, Record

Runs = Sequence[Record]
AS_USUAL, OWN_RATE = "as in Part I", "each arm at its own rate"
PLACES = 9  # 3 x 3, with so many numbers each as the autoencoder's last layer is wide


def settings(records: Iterable[Record], others: Iterable[Record] = ()) -> dict[str, dict[str, Runs]]:
    """Return what chapter 8 changes in Part I's comparison, name to arm to runs; `others` are of further datasets."""
    usual = report.comparison(records := list(records))
    plain = usual[FILTER][0].spec
    grid = QUESTIONS["sizing"].found(records)
    found = {
        f"{PLACES * width} numbers, {keep:,} images": {FILTER: runs, RANDOM: grid.get((None, keep), [])}
        for (width, keep), runs in grid.items()
        if width and (width, keep) != (plain.embedding.widths[-1], plain.keep)
    }
    for policy in ("drop", "keep"):
        found[f"duplicates: {policy}"] = {FILTER: usual.get(f"{FILTER}_{policy}", []), RANDOM: usual.get(RANDOM, [])}
    for (name, arm), runs in QUESTIONS["conditions"].found(records).items():
        found.setdefault(name, {})[arm] = runs
    own = QUESTIONS["tuned"].found(records)
    if any(runs[0].spec.rate != plain.rate for runs in own.values()):
        found[OWN_RATE] = own
    for (name, keep), arms in further(others).items():
        if keep:
            found[f"{name}, {keep:,} images"] = arms
    found.pop(AS_USUAL, None)
    return found


def further(others: Iterable[Record]) -> dict[tuple[str, int | None], dict[str, Runs]]:
    """Return what is recorded of each further dataset: its name and the images kept (None: all) to arm to runs."""
    groups, found = {}, {}
    for run in others:
        groups.setdefault((run.spec.dataset, run.provenance["dataset"]), []).append(run)
    for (_, name), group in groups.items():
        for arm, runs in QUESTIONS["other-data"].found(group).items():
            arm, keep = (arm, None) if arm == ALL else arm
            found.setdefault((name, keep), {})[arm] = runs
    return found


def gaps(records: Iterable[Record], others: Iterable[Record] = ()) -> dict[str, Interval]:
    """Return the filter's accuracy minus a random subset's: as in Part I, and `pooled` under all of the `settings`."""
    under = settings(records := list(records), others).items()
    usual = report.against_random(records)
    moved = pooled({name: by_seed(arms.get(FILTER, []), arms.get(RANDOM, [])) for name, arms in under})
    return ({AS_USUAL: usual[FILTER]} if FILTER in usual else {}) | moved


def crossed_table(runs: Runs) -> np.ndarray:
    """Return the accuracies of the question `crossed` as a table: a row for each autoencoder's seed, a column for each
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


def equal_keep(chosen: Runs, random: dict[int, Runs]) -> Interval:
    """Return how many images picked at random do as well as each of the `chosen` runs, as an interval of the logarithm.

    `random` maps a number of images to runs; between two numbers the mean accuracy is a line in the logarithm. Below
    the least and above the most of them the answer is that number.
    """
    keeps = sorted(random)
    means = np.maximum.accumulate([accuracies(random[keep]).mean() for keep in keeps])  # more is not worse
    return Interval.of(np.interp(accuracies(chosen), means, np.log(keeps)))


def as_range(keep: Interval) -> str:
    """Return the interval of the logarithm of a number of images as numbers, to two digits."""
    low, high = (float(f"{np.exp(keep.mean + side * keep.half):.2g}") for side in (-1, 1))
    return f"{low:,.0f} to {high:,.0f}"
