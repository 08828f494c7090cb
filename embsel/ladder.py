"""The answer against the length of training: what the runs at the paper's own size show at each step that they have."""

from collections.abc import Iterable

import pandas as pd

from embsel import suites
from embsel.records import ALL, Record, Run, beginning
from embsel.report import NAMES, Interval

FILTER, RANDOM, EVERYTHING = (NAMES[name] for name in ("top_activations", "random_subset", ALL))
# Filter minus random and random minus all the data, in the paper's Figure 4 and its text (sections 5.2 and 5.1).
PAPER = {(FILTER, RANDOM): 0.639 - 0.576, (RANDOM, EVERYTHING): 0.576 - 0.833}
LENGTH, BATCH = 10_000, 1_024  # of the paper's runs


def table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row for each arm, seed and step at which a run of the ladder was evaluated.

    The columns are `arm`, `seed`, `step` and what was measured there, `test_accuracy` of the averaged weights among it.
    The runs are those of `suites.ladder` without a switch, of one dataset; where a long and a short one are recorded of
    an arm and a seed, the long one counts.
    """
    longest: dict[Run, Record] = {}
    for record in records:
        begun = beginning(record.spec)
        known = longest.get(begun)
        if begun and record.spec.split == 100 and (known is None or known.spec.steps < record.spec.steps):
            longest[begun] = record
    rows = []
    for begun, record in longest.items():
        arm = NAMES[begun.selector] + ("" if begun.augment else ", no augmentation")
        if begun in _known(record):
            rows.append(pd.DataFrame(record.curve).assign(arm=arm, seed=begun.seed))
    empty = pd.DataFrame(columns=["arm", "seed", "step", "test_accuracy"])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _known(record: Record) -> set[Run]:
    sizes = suites.profile(record.provenance["profile"])
    parts = suites.ladder(sizes, record.spec.dataset)
    return {beginning(spec) for part in parts if part not in ("E", "F") for spec in parts[part]}


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
        said.append(f"*{first}* minus *{second}* is {_words(values, ' points', '+')} (the paper: {100 * paper:+.1f})")
    at = rows[rows["step"] == step].groupby("arm")["test_accuracy"]
    levels = ", ".join(f"{arm} {_words(at.get_group(arm), ' %')}" for arm in (FILTER, RANDOM, EVERYTHING))
    return [f"**{size}** ({step:,} steps of {BATCH:,} images) {' and '.join(said)}. Test accuracy: {levels}."]


def _so_far(rows: pd.DataFrame) -> list[str]:
    said = []
    for arm in (FILTER, RANDOM, EVERYTHING):
        own = rows[rows["arm"] == arm]
        at = own[own["step"] == own["step"].max()]
        if len(at):
            said.append(f"{arm} {_words(at['test_accuracy'], ' %')} after {at['step'].iloc[0]:,} steps")
    told = f"**At the paper's batch of {BATCH:,}** not all arms are recorded yet. So far: {'; '.join(said)}."
    return [told] if said else []


def _words(values: Iterable[float], unit: str, sign: str = "") -> str:
    """Return a mean with its interval, or of one or two seeds, from which none can be had, the single values."""
    values = list(values)
    if len(values) > 2:
        return Interval.of(values).text(unit, sign=bool(sign))
    each = " and ".join(f"{100 * value:{sign}.1f}" for value in values)
    return f"{each}{unit} ({'one seed' if len(values) == 1 else 'two seeds'})"
