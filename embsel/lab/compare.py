"""Arm against arm: what is measured of a run, intervals, differences paired by seed, and the verdict they allow."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from embsel import selection
from embsel.errors import require
from embsel.lab.records import ALL, Record

# What a selector is called in a figure or a table.
NAMES = {ALL: "all the data"} | {name: entry.title for name, entry in selection.SELECTORS.items()}
# What goes below a table whose differences are `compared` or `pooled`.
POOLED = "The spread of the differences is pooled over the table; better and worse are said with Holm's correction."


@dataclass(frozen=True, order=True)
class Interval:
    """A mean with its 95 % confidence interval (Student's t) over `n` runs; the interval is infinite for one run. In
    a table they sort by their mean.

    `p` is the probability of a mean as far from zero by chance, where it is one of several (`pooled`). As text it is in
    percent, or in points with its sign where `points`.
    """

    mean: float
    half: float
    n: int
    p: float = 0.0
    points: bool = False

    @classmethod
    def of(cls, values: Sequence[float], points: bool = False) -> "Interval":
        """Return the interval of `values` `(n,)`, n >= 1."""
        values = np.asarray(values, dtype=float)
        require(values.size, "An interval needs at least one value, and got none.")
        n = len(values)
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
        return cls(float(values.mean()), float(half), n, points=points)

    def text(self, unit: str = " %", scale: float = 100.0, sign: bool = False, digits: int = 1) -> str:
        """Return e.g. ``57.1 ± 2.0 % (n = 3)``."""
        spread = f" ± {scale * self.half:.{digits}f}" if np.isfinite(self.half) else ""
        return f"{scale * self.mean:{'+' if sign else ''}.{digits}f}{spread}{unit} (n = {self.n})"

    def __str__(self) -> str:
        return self.text(" points", sign=True) if self.points else self.text()

    def verdict(self, better: str, worse: str, neither: str) -> str:
        """Return the word that the interval allows: `neither` unless all of it lies on one side of zero, and also where
        it is one of several and that may be their number's doing.
        """
        if self.p < 0.05 and self.mean - self.half > 0:
            return better
        return worse if self.p < 0.05 and self.mean + self.half < 0 else neither


def words(values: Iterable[float], unit: str = " %", sign: str = "") -> str:
    """Return a mean with its interval, or of one or two seeds, from which none can be had, the single values."""
    values = list(values)
    if len(values) > 2:
        return Interval.of(values).text(unit, sign=bool(sign))
    each = " and ".join(f"{100 * value:{sign}.1f}" for value in values)
    return f"{each}{unit} ({'one seed' if len(values) == 1 else 'two seeds'})"


def seconds(values: Iterable[float]) -> str:
    """Return the mean of some seconds with its interval; "nothing" where none is as much as a twentieth of a second."""
    values = list(values)
    return Interval.of(values).text(" s", scale=1) if max(values, default=0) >= 0.05 else "nothing"


def said(difference: Interval, *, than: str = "random") -> str:
    """Return a difference of two arms in words: its interval, and whether it is one."""
    word = difference.verdict(f"better than {than}", f"worse than {than}", f"no difference from {than} could be shown")
    return f"{difference.text(' points', sign=True)}, {word}"


def accuracy(record: Record) -> float:
    """Return the final test accuracy of a run, as a fraction."""
    return record.metrics["test_accuracy"]


def accuracies(records: Iterable[Record]) -> np.ndarray:
    """Return the final test accuracies `(n,)` of `records`, as fractions."""
    return np.array([accuracy(record) for record in records])


def worst_class(record: Record) -> float:
    """Return the accuracy of the class that the network is worst at, as a fraction."""
    return min(value for value in record.metrics["class_accuracy"] if value is not None)


def before_fine_tuning(record: Record) -> float:
    """Return the test accuracy at the end of the subset's phase, on the images that the curve is measured on."""
    ends = [i for i, phase in enumerate(record.curve["phase"]) if phase == 0]
    return record.curve["test_accuracy"][ends[-1]]


def at(record: Record, column: str, place: float, along: str = "seconds") -> float:
    """Return a quantity of a run's curve at a place between its evaluations, by default at so many seconds."""
    return float(np.interp(place, record.curve[along], record.curve[column]))


def total(record: Record) -> float:
    """Return the seconds of all that a run needs before it can be used: every stage but the evaluation."""
    return record.seconds() - record.seconds("evaluation")


def once(record: Record) -> float:
    """Return the seconds that a run spends before its training: on an autoencoder or a proxy, and on choosing."""
    return total(record) - record.seconds("training", "training compilation")


def samples(record: Record, *stages: str) -> int:
    """Return how many images went through a network, or a choice, in the named stages of a run."""
    return sum(line["samples"] for line in record.ledger if line["stage"] in stages)


def pace(record: Record, phase: int) -> float:
    """Return the training steps per second of one phase of a run, read off its curve; NaN where it has no such phase.

    A step that straddles two phases does not exist: each phase ends in an evaluation.
    """
    steps, seconds, phases = (np.array([0, *record.curve[name]]) for name in ("step", "seconds", "phase"))
    inside = np.flatnonzero(phases[1:] == phase) + 1
    if not len(inside):
        return float("nan")
    first, last = inside[0] - 1, inside[-1]
    return float((steps[last] - steps[first]) / (seconds[last] - seconds[first]))


def images_per_second(record: Record) -> tuple[float, float]:
    """Return the images trained on per second when loading and training take turns, and when they overlap entirely."""
    training, loading = record.seconds("training"), record.seconds("loading")
    samples = next(line["samples"] for line in record.ledger if line["stage"] == "training")
    return samples / (training + loading), samples / max(training, loading)


def by_seed(first: Iterable[Record], second: Iterable[Record], measure: Callable = accuracy) -> dict[int, float]:
    """Return the difference of a measure, first minus second, for every seed that both have."""
    a, b = ({record.spec.seed: measure(record) for record in group} for group in (first, second))
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}


def paired(first: Iterable[Record], second: Iterable[Record], measure: Callable = accuracy) -> Interval:
    """Return the interval of the difference in accuracy, first minus second, between runs of the same seed.

    Raises `InputError` if no two of them share a seed.
    """
    found = by_seed(first := list(first), second := list(second), measure)
    a, b = (sorted(record.spec.seed for record in group) for group in (first, second))
    require(found, f"No two runs share a seed: the first have {a}, the second {b}.")
    return Interval.of(list(found.values()), points=True)


def measured(arms: dict[Hashable, Sequence[Record]], measures: dict[str, Callable]) -> pd.DataFrame:
    """Return one row for each run of the `arms`, indexed by `arm` and `seed`, and a column for each of the measures."""
    rows = {(name, run.spec.seed): [f(run) for f in measures.values()] for name, runs in arms.items() for run in runs}
    index = pd.MultiIndex.from_tuples(rows, names=["arm", "seed"])
    return pd.DataFrame(rows.values(), index=index, columns=list(measures))


def compare(arms: dict[Hashable, Sequence[Record]], against: Hashable, measure: Callable = accuracy) -> pd.DataFrame:
    """Return a row for each arm: `n` runs, the interval of the `measure`, the interval of its `difference` from the arm
    `against`, paired by seed and `pooled`, and the `verdict`. The last two are missing where no seed is shared.
    """
    gaps = compared(arms, arms.get(against, []), measure)
    rows = [
        {
            "n": len(runs),
            measure.__name__.replace("_", " "): Interval.of([measure(run) for run in runs]),
            "difference": gaps.get(name, ""),
            "verdict": gaps[name].verdict("better", "worse", "no difference could be shown") if name in gaps else "",
        }
        for name, runs in arms.items()
    ]
    titles = pd.Index([NAMES.get(name, name) for name in arms], name="arm", tupleize_cols=False)
    return pd.DataFrame(rows, index=titles)


def compared(arms: dict[Hashable, Sequence[Record]], against: Sequence[Record], measure: Callable = accuracy) -> dict:
    """Return the `pooled` intervals of every arm minus the runs `against`, paired by seed; without those, and without
    an arm that shares no seed with them.
    """
    return pooled({name: by_seed(runs, against, measure) for name, runs in arms.items() if runs is not against})


def pooled(differences: dict[Hashable, dict[int, float]]) -> dict[Hashable, Interval]:
    """Return the intervals of several differences, name to seed to value, all with one standard deviation.

    It is pooled over them, each about its own mean. Its degrees of freedom are those of all together, but fewer where
    the differences of a seed rise and fall together, as they do where all are from the same run (Satterthwaite). Each
    `p` is Student's, corrected for the number of differences (Holm). A name without any difference is left out.
    """
    differences = {name: of_seed for name, of_seed in differences.items() if of_seed}
    rows = [(name, seed, value) for name, of_seed in differences.items() for seed, value in of_seed.items()]
    if not rows:
        return {}
    names, seeds, values = zip(*rows, strict=True)
    of_name, of_seed = (
        pd.get_dummies(pd.factorize(pd.Index(column, tupleize_cols=False))[0]) for column in (names, seeds)
    )
    within, free = _left(values, of_name)
    apart, free_apart = _left(values, np.hstack([of_name, of_seed]))
    variance = within / free if free else np.inf
    parts = [(max(0.0, within - apart), free - free_apart), (apart, free_apart)]  # what moves together, and the rest
    parts = [(square, count) for square, count in parts if count]
    if any(square > 0 for square, _ in parts):
        free = sum(square for square, _ in parts) ** 2 / sum(square**2 / count for square, count in parts)
    means, counts = (np.array([f(list(gap.values())) for gap in differences.values()]) for f in (np.mean, len))
    errors = np.sqrt(variance / counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        chances = holm(np.nan_to_num(2 * stats.t.sf(np.abs(means) / errors, free), nan=1.0))
    halves = stats.t.ppf(0.975, free) * errors if free else errors
    columns = (column.tolist() for column in (means, halves, counts, chances))
    return {name: Interval(*one, points=True) for name, *one in zip(differences, *columns, strict=True)}


def _left(values: Sequence[float], design: np.ndarray) -> tuple[float, int]:
    """Return the sum of squares that `design` leaves unexplained, and its degrees of freedom."""
    values, design = np.asarray(values), np.asarray(design, dtype=float)
    fit, _, rank, _ = np.linalg.lstsq(design, values)
    return float(np.square(values - design @ fit).sum()), len(values) - int(rank)


def holm(chances: np.ndarray) -> np.ndarray:
    """Return the probabilities corrected for their number: the smallest times n, the next times n - 1, and so on."""
    order = np.argsort(chances)
    raised = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    return np.minimum(1, raised)[np.argsort(order)]


def variance_ratio(first: Iterable[Sequence[float]], second: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    """Return the variance between runs of the first arm over that of the second, and its 95 % interval (F).

    Each arm is given as groups of accuracies, one group a split; a group's own mean does not count as spread.
    """
    pooled = []
    for groups in (first, second):
        groups = [np.asarray(group, dtype=float) for group in groups]
        freedom = sum(len(group) - 1 for group in groups)
        require(freedom > 0, "A variance needs two runs of one split at least.")
        pooled.append((sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom, freedom))
    (a, free_a), (b, free_b) = pooled
    ratio = float(a / b)
    return ratio, ratio / stats.f.ppf(0.975, free_a, free_b), ratio / stats.f.ppf(0.025, free_a, free_b)


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


def machine(record: Record) -> tuple:
    """Return what a record's seconds depend on: the hardware and the backend."""
    return tuple(record.provenance.get(name) for name in ("hardware", "backend"))


def timed(records: Iterable[Record], among: Iterable[Record] = ()) -> list[Record]:
    """Return those of `records` whose seconds serve a claim: no other work ran beside them, nor beside the making of
    what they choose by, and that was on the same machine, as its own record `among` others says.
    """
    made, found = {record.spec: record for record in among}, []
    for record in records:
        source = made.get(getattr(record.spec, "embedding", None), record)
        if record.quiet and source.quiet and machine(source) == machine(record):
            found.append(record)
    return found


def same_machine(first: Iterable[Record], second: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Return the pairs of one seed and one machine, without other work: the only ones whose seconds are compared."""
    return [
        (one, other)
        for one, other in itertools.product(timed(first), timed(second))
        if (one.spec.seed, machine(one)) == (other.spec.seed, machine(other))
    ]
