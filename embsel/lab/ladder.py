"""The answer against the length of training: what the runs at the paper's own size show at each step that they have."""

import functools
from collections.abc import Iterable, Sequence

import pandas as pd

from embsel.lab import questions
from embsel.lab.compare import NAMES, Interval, words
from embsel.lab.profiles import profile
from embsel.lab.records import ALL, Record, Run, Store, beginning, find

FILTER, RANDOM, EVERYTHING = (NAMES[name] for name in ("top_activations", "random_subset", ALL))
# Filter minus random and random minus all the data, in the paper's Figure 4 and its text (sections 5.2 and 5.1).
PAPER = {(FILTER, RANDOM): 0.639 - 0.576, (RANDOM, EVERYTHING): 0.576 - 0.833}
LENGTH, BATCH = 10_000, 1_024  # of the paper's runs
BUDGET = round(questions.BUDGET * LENGTH)  # the steps of the paper's seven minutes, as every step takes equally long
RUNGS = (300, 600, 1_250, 2_500, 5_000, LENGTH)  # the lengths that a table shows
PARTS = ("R", "A0", "B0", "A1", "B1", "C0", "C1", "D", "G")  # one dataset, with one autoencoder for each seed


def recorded(dataset: str = "CIFAR-10") -> list[Record]:
    """Return what is recorded at the paper's size of the dataset with that name."""
    found = find(Store().records().values(), profile="paper")
    return [record for record in found if record.provenance["dataset"] == dataset]


def missing(records: Iterable[Record], *parts: str, data: str = "") -> list[str]:
    """Return the command that records what is missing of those parts, in a sentence; none if nothing is."""
    have = {record.spec: record for record in records}
    dataset = next((spec.dataset for spec in have), "unknown")
    left = [part for part in parts if not have.keys() >= _runs("paper", dataset, part)]
    command = [f"`python -m embsel record --profile paper --suite ladder-{part}{data}`" for part in left[:1]]
    others = [f"and likewise {', '.join(f'`ladder-{part}`' for part in left[1:])}"] if left[1:] else []
    return [f"Not recorded yet, or only in part: {', '.join(command + others)}."] if left else []


def longest(records: Iterable[Record], split: int = 100, parts: Sequence[str] = PARTS) -> dict[tuple, Record]:
    """Return the longest run of each arm and seed, by those two: all the data, and the runs of that `split`, for which
    up to its switch the run on the subset alone stands where it is missing. They are of those `parts` of the ladder.
    """
    runs = [run for run in records if getattr(run.spec, "split", None) in (split, 100) and _belongs(run, parts)]
    runs = sorted(runs, key=lambda run: (run.spec.split == split, run.spec.steps))
    plain = ", no augmentation"
    return {(NAMES[run.spec.selector] + ("" if run.spec.augment else plain), run.spec.seed): run for run in runs}


def table(records: Iterable[Record], split: int = 100, parts: Sequence[str] = PARTS) -> pd.DataFrame:
    """Return one row for each arm, seed and step at which the `longest` runs of one dataset were evaluated.

    The columns are `arm`, `seed`, `step` and what was measured there, `test_accuracy` of the averaged weights among it.
    """
    rows = []
    for (arm, seed), record in longest(records, split, parts).items():
        end = LENGTH if record.spec.selector == ALL or record.spec.split == split else LENGTH * split // 100
        curve = pd.DataFrame(record.curve).assign(arm=arm, seed=seed).drop_duplicates("step")
        rows.append(curve[curve["step"] <= end])
    empty = pd.DataFrame(columns=["arm", "seed", "step", "test_accuracy", "loss"])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _belongs(record: Record, parts: Sequence[str] = PARTS) -> bool:
    """Return whether a run is of those parts, or one without a switch that begins as one of them. Never one of parts P
    and S, which were made to choose the precision and to time a few steps.
    """
    spec = record.spec
    runs, trial = (_runs(record.provenance["profile"], spec.dataset, *some) for some in (parts, ("P", "S")))
    return spec in runs or (spec.split == 100 and spec not in trial and beginning(spec) in map(beginning, runs))


@functools.cache
def _runs(size: str, dataset: str, *parts: str) -> frozenset[Run]:
    asked = [questions.QUESTIONS[f"ladder-{part}"] for part in parts]
    return frozenset(run for one in asked for runs in one.runs(profile(size), dataset).values() for run in runs)


def by_split(records: Iterable[Record]) -> dict[str, dict[int, list[Record]]]:
    """Return the runs of Figure 4 at their full length as `plots.splits` takes them: selector to split to runs; the
    split 0 is all the data, the same for both.
    """
    runs = [record for record in records if getattr(record.spec, "steps", 0) == LENGTH and _belongs(record)]
    groups = {name: {0: find(runs, selector=ALL)} for name in ("random_subset", "top_activations")}
    for name, group in groups.items():
        group |= {split: find(runs, selector=name, split=split) for split in (50, 90, 95, 100)}
    groups = {name: {split: runs for split, runs in group.items() if runs} for name, group in groups.items()}
    return {name: group for name, group in groups.items() if group}


def gaps(rows: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return `step`, the differences `values` in test accuracy of two arms, paired by seed, and their `interval`."""
    wide = rows.pivot(index=["step", "seed"], columns="arm", values="test_accuracy") if len(rows) else pd.DataFrame()
    if not {first, second} <= set(wide.columns):
        return pd.DataFrame(columns=["step", "values", "interval"])
    apart = (wide[first] - wide[second]).dropna().groupby("step").agg(list)
    return pd.DataFrame({"step": apart.index, "values": apart.array, "interval": apart.map(Interval.of).array})


def shown(rows: pd.DataFrame) -> dict[str, tuple]:
    """Return the differences that the paper has a number for, as `plots.ladder` takes them; only what is recorded."""
    lines = {}
    for pair, paper in PAPER.items():
        found = gaps(rows, *pair)
        if len(found):
            means = [interval.mean for interval in found["interval"]]
            lines[" minus ".join(pair)] = (found["step"].tolist(), found["values"].tolist(), means, paper)
    return lines


def sentences(rows: pd.DataFrame) -> list[str]:
    """Return what the ladder shows at the greatest length that is recorded of all three arms, in a sentence; before
    there is one, what is recorded so far.
    """
    sets = [set(gaps(rows, *pair)["step"]) for pair in PAPER]
    if not (both := set.intersection(*sets)):
        return _so_far(rows)
    step = max(both)
    share = f"At the paper's batch and 1/{LENGTH / step:.0f} of its steps"
    size = "At the paper's own size" if step == LENGTH else share
    said = []
    for (first, second), paper in PAPER.items():
        values = gaps(rows, first, second).set_index("step").loc[step, "values"]
        said.append(f"*{first}* minus *{second}* is {words(values, ' points', '+')} (the paper: {100 * paper:+.1f})")
    at = rows[rows["step"] == step].groupby("arm")["test_accuracy"]
    levels = ", ".join(f"{arm} {words(at.get_group(arm), ' %')}" for arm in (FILTER, RANDOM, EVERYTHING))
    told = f"**{size}** ({step:,} steps of {BATCH:,} images) {' and '.join(said)}. Test accuracy: {levels}."
    if (first := min(both)) < step:
        means = [gaps(rows, *pair).set_index("step").loc[first, "interval"].mean for pair in PAPER]
        both_means = " and ".join(f"{100 * mean:+.1f}" for mean in means)
        told += f" After {first:,} steps the two differences were {both_means} points."
    return [told]


def _so_far(rows: pd.DataFrame) -> list[str]:
    said = []
    for arm in (FILTER, RANDOM, EVERYTHING):
        own = rows[rows["arm"] == arm]
        at = own[own["step"] == own["step"].max()]
        if len(at):
            said.append(f"{arm} {words(at['test_accuracy'], ' %')} after {at['step'].iloc[0]:,} steps")
    told = f"**At the paper's batch of {BATCH:,}** not all arms are recorded yet. So far: {'; '.join(said)}."
    return [told] if said else []


def many_classes(hundred: pd.DataFrame, ten: pd.DataFrame) -> list[str]:
    """Return the filter minus random with 100 classes and with 10, at the greatest length that both have, and whether
    the improvement is "more prominent" with many, as the paper expects (section 5.2), in a sentence or none.
    """
    both = [gaps(rows, FILTER, RANDOM).set_index("step")["values"] for rows in (hundred, ten)]
    if not (steps := set(both[0].index) & set(both[1].index)):
        return []
    many, few = (values[max(steps)] for values in both)
    apart = Interval.of([one - other for one, other in zip(many, few, strict=False)])  # any seed of the one with any
    worse = f"the opposite sign, at 1/{LENGTH / max(steps):.0f} of its steps"
    word = apart.verdict("seen here", worse, "not seen at this size, where no difference of the two could be shown")
    gap, other = (words(values, " points", "+") for values in (many, few))
    size = f"After {max(steps):,} steps the filter minus random is {gap} with 100 classes and {other} with 10"
    return [f"**Many classes.** {size}. The paper expects more of the filter with many: {word}."]
