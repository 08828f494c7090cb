"""The paper's claims, each beside what the recorded runs show and the verdict that a rule draws from the two."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from embsel.errors import InputError, require
from embsel.lab import ladder, report
from embsel.lab.compare import NAMES, Interval, accuracies, at, pace, paired, same_machine, timed, variance_ratio, words
from embsel.lab.ladder import BATCH, EVERYTHING, FILTER, LENGTH, RANDOM
from embsel.lab.profiles import profile
from embsel.lab.questions import QUESTIONS, Question
from embsel.lab.records import ALL, Record, Run, find

MORE, LESS = math.inf, -math.inf  # the paper's number where it gives a direction and no size
SLIGHT = 0.02  # "slight" and "comparable" have no size in the paper; here they mean two points, or two in a hundred
NEGLIGIBLE = 0.01  # nor has "nearly instantly"; here it means a hundredth of the seconds of a training
QUICKER = 0.05  # the least by which a step on the subset must be quicker to count as a saving of time
OPPOSITE, UNSEEN = "opposite sign", "not seen"  # what `_judged` completes by the size of the runs
ELSEWHERE, MEASURED, NOT_RECORDED = "not comparable at this size", "measured, not judged", "not recorded yet"
RACE, BILL = "7 of 12 minutes: subset first wins", "The autoencoder is one-time work"

Runs = Sequence[Record]
Seen = tuple[str, float, float]  # what the runs show in words, and the two ends of its 95 % interval
Rung = tuple[Seen, int, tuple[int, int], int, Runs]  # seen on the ladder: of how many seeds, steps and batch, `parts`


@dataclass(frozen=True)
class Claim:
    """A row of the table: what is claimed, the paper's number, this book's, the verdict, the runs behind it and, in
    words, their size, e.g. ``600 × 128, CIFAR-10``, and their length.
    """

    claim: str
    paper: str
    here: str
    verdict: str
    runs: tuple[Record, ...] = ()
    size: str = "–"
    length: str = ""


def difference(low: float, high: float, paper: float, least: float = 0.0) -> str:
    """Return the verdict on a difference that is `paper` in the paper, from its 95 % interval `low` to `high` here.

    The paper's direction counts as up. The interval ends below zero: opposite sign. It ends below `least`, the least
    that counts: not seen. It begins above zero: agrees if it contains the paper's number or there is none (MORE, LESS),
    else the same direction, smaller or larger. Otherwise: not shown, and where it ends below the paper's number any
    difference is smaller than that.
    """
    if paper < 0:
        low, high, paper = -high, -low, -paper
    if high < least:
        return OPPOSITE if high < 0 else UNSEEN
    if not low > 0:
        return "not shown; if any, smaller" if high < paper < MORE else "not shown"
    if low <= paper <= high or paper == MORE:
        return "agrees"
    return "same direction, smaller" if high < paper else "same direction, larger"


def same(low: float, high: float, paper: float, within: float = SLIGHT) -> str:
    """Return the verdict on a value that is `paper` in the paper (zero: no difference), from its 95 % interval here.

    Values at most `within` from the paper's count as the same. The interval contains only such values: agrees. It
    contains none: not seen. It contains both kinds: not shown.
    """
    if paper - within <= low and high <= paper + within:
        return "agrees"
    return UNSEEN if high < paper - within or low > paper + within else "not shown"


level = partial(same)  # for an accuracy by itself, which is judged where the runs have the paper's length


def part(samples: int, full: int = LENGTH * BATCH) -> int:
    """Return how many times as many images the paper trains on, where it trains on `full`: rounded, at least 1."""
    return max(1, round(full / samples))


def length(steps: int, batch: int, parts: int = 0) -> str:
    """Return the length of runs in words; the paper's train on `parts` times as many images, or on 10,000 × 1,024."""
    parts = parts or part(steps * batch)
    return f"{steps:,} steps of {batch:,} images" + (f" (1/{parts} of the paper's samples)" if parts > 1 else "")


def sized(verdict: str, parts: int) -> str:
    """Return the verdict with the size that it is of, where the paper trains on `parts` times as many images."""
    named = {OPPOSITE: f"{OPPOSITE} at 1/{parts} of the samples", UNSEEN: f"{UNSEEN} at this size"}
    return named.get(verdict, verdict) if parts > 1 else verdict


def claims(records: Iterable[Record], climbed: Iterable[Record] = ()) -> list[Claim]:
    """Return the paper's claims judged by `records` of one dataset and profile, or by those of the ladder, `climbed`,
    where these are of a larger size: each row says how, and on which.
    """
    usual = find(report.behind(records := list(records)), budget=None)
    sizes = profile(records[0].provenance["profile"] if records else "paper")
    full, chosen, drawn = (find(usual, selector=name) for name in (ALL, "top_activations", "random_subset"))
    encoders = report.autoencoders(records)
    arms = {split: [find(runs, split=split) for runs in (chosen, drawn)] for split in (100, 95, *sizes.splits)}
    alone = arms.pop(100)
    raced = [run for runs in report.fixed_budget(records).values() for run in runs]
    never, small = find(raced, selector=ALL), find(raced, keep=sizes.keep)
    first, larger = (find(runs, selector="top_activations") for runs in (small, [r for r in raced if r not in small]))
    measured = lambda *_: MEASURED  # noqa: E731
    quicker, negligible = partial(difference, least=QUICKER), partial(same, within=NEGLIGIBLE)
    gaps, on_ladder = report.at_splits(records), partial(_rung, _rows(climbed))
    won = partial(_gap, first and report.in_race(records).get(report.beginning(first[0])))
    race = on_ladder(FILTER, EVERYTHING, split=50, full=ladder.BUDGET), won
    only = on_ladder(FILTER, RANDOM), partial(_gap, report.against_random(records).get("top_activations"))
    on = {p: (on_ladder(FILTER, RANDOM, split=p), partial(_gap, gaps.get(p)), *arms[p]) for p in arms}
    loss, test_loss = (
        (on_ladder(FILTER, EVERYTHING, column=name, full=LENGTH // 2), partial(_loss, name))
        for name in ("loss", "test_loss")
    )
    rows = [  # the claim, the paper's words, the rule, the paper's number, the ladder's, what is measured, and on which
        ("All the data, 10,000 steps of 1,024", "83.3 %", level, 0.833, on_ladder(EVERYTHING), _accuracy, full),
        ("Subset alone: the filter beats random", "63.9 − 57.6 = +6.3 points", difference, 0.063, *only, *alone),
        *((f"{p}/{100 - p}: the filter wins", "“Arguably”", difference, MORE, *on[p]) for p in on if p >= 90),
        *((f"{p}/{100 - p}: little difference", "“slight”", same, 0.0, *on[p]) for p in on if p < 90),
        ("The filter's runs scatter less", "“much less variance”", difference, LESS, None, _scatter, chosen, drawn),
        (RACE, "63.5 − 10.4 = +53.1 points", difference, 0.531, *race, first, never),
        ("Steps on a subset take less time", "implied, no number", quicker, MORE, None, _pace, small),
        ("On the subset, training loss falls faster", "Figure 6", difference, LESS, *loss, first, never),
        ("On the subset, test loss falls faster", "Figure 6", difference, LESS, *test_loss, first, never),
        ("86.40 % first: loss falls as with 8.64 %", "“comparable behavior”", same, 0.0, None, loss[1], larger, first),
        ("Filtering is nearly instant", "“nearly instantly”", negligible, 0.0, None, _filtering, alone[0]),
        (BILL, "no time; 4.0 by samples †", measured, 0.0, None, _bill, encoders, full),
    ]
    asked = [_asked(question, records, on_ladder) for question in QUESTIONS.values() if question.paper is not None]
    return [_judged(*row) for row in (*rows, *asked)]


def _asked(question: Question, records: Sequence[Record], on_ladder: Callable) -> tuple:
    """Return the row of a question that the paper answers: its first arm minus the one that it is set against."""
    arms = question.found(records) if records else {}
    pair = next(name for name in question.runs(profile("paper"), "")), question.against
    groups = [arms.get(name, []) for name in pair]
    paper = f"{100 * question.paper:+.1f} points" if math.isfinite(question.paper) else "no number"
    climbed = on_ladder(*(NAMES.get(name, name) for name in pair))
    here = lambda *groups: _gap(paired(*groups))  # noqa: E731
    return question.claim or question.words, paper, difference, question.paper, climbed, here, *groups


def _judged(claim: str, paper: str, rule: Callable, number: float, rung: Rung | None, measure: Callable, *groups: Runs):
    here, low, high, runs, n, size, parts = "–", 0.0, 0.0, (), math.inf, (0, 0), math.inf
    with contextlib.suppress(InputError):  # there are no such runs, or no two of one seed
        here, low, high = measure(*groups)
        runs = tuple(run for runs in groups for run in runs)
        size = max((run.spec.steps, run.spec.batch) for run in runs if isinstance(run.spec, Run))
        parts = part(math.prod(size))
    if rung and rung[3] < parts:
        (here, low, high), n, size, parts, runs = rung
    if not runs:
        return Claim(claim, paper, here, NOT_RECORDED)
    verdict = ELSEWHERE if rule is level and parts > 1 else sized(rule(low, high, number), parts)
    if n < 3 and verdict != ELSEWHERE:  # no interval, but the least and the greatest value
        sign = difference(low, high, math.copysign(MORE, number)) if n == 2 and rule is difference else ""
        named = {OPPOSITE: f"{sized(OPPOSITE, parts)}, both seeds", "agrees": "the paper's sign, both seeds"}
        verdict = named.get(sign, f"{'one seed' if n == 1 else 'two seeds'}, not judged")
    where = f"{size[0]:,} × {size[1]:,}, {runs[0].provenance['dataset']}"
    return Claim(claim, paper, here, verdict, runs, where, length(*size, parts))


def _rows(climbed: Iterable[Record]) -> pd.DataFrame:
    """Return the ladder's rows, each with its split and its run, of a longer and a shorter one the longer."""
    runs = sorted((run for run in climbed if isinstance(run.spec, Run)), key=lambda run: -run.spec.steps)
    parts = [ladder.table([run], split=run.spec.split).assign(split=run.spec.split, run=run) for run in runs]
    rows = pd.concat([part for part in parts if len(part)] or [ladder.table([]).assign(split=100, run=None)])
    return rows.drop_duplicates(["arm", "split", "seed", "step"])


def _rung(rows: pd.DataFrame, *arms: str, split: int = 100, column="test_accuracy", full=LENGTH) -> Rung | None:
    """Return one arm, or the first minus the second (a loss: as a share), at the last step, up to `full`, of both."""
    own = [(arm, 100 if arm == EVERYTHING else split) for arm in arms]
    rows = rows[rows["step"] <= full].reindex(columns=["arm", "split", "seed", "step", "run", column])
    wide = rows.pivot(index=["step", "seed"], columns=["arm", "split"])
    wide = wide.reindex(columns=[(what, *arm) for what in (column, "run") for arm in own]).dropna()
    if wide.empty:
        return None
    found = wide.loc[step := int(wide.index[-1][0])]
    first, *second = (found[column, *arm].to_numpy(float) for arm in own)
    values, unit = (first, " %") if not second else (first - second[0], " points")
    if column != "test_accuracy":
        values, unit = first / second[0] - 1, " %"
    text, all_of = words(values, unit, "+" * len(second)), Interval.of(values)
    ends = _seen(all_of, unit)[1:] if all_of.n > 2 else (min(values), max(values))
    return (text, *ends), all_of.n, (step, BATCH), part(step, full), tuple(found["run"].to_numpy().ravel())


def _seen(interval: Interval, unit: str, **options) -> Seen:
    return interval.text(unit, **options), interval.mean - interval.half, interval.mean + interval.half


def _accuracy(runs: Runs) -> Seen:
    return _seen(Interval.of(accuracies(runs)), " %")


def _gap(gap: Interval | None, *_: Runs) -> Seen:  # one of several that are compared, with their spread
    require(gap, "No two runs of the two arms share a seed.")
    return _seen(gap, " points", sign=True)


def _scatter(*arms: Runs) -> Seen:
    groups = [[accuracies(find(runs, split=at)) for at in {r.spec.split for r in runs}] for runs in arms]
    ratio, low, high = variance_ratio(*groups)
    counts = " and ".join(str(len(runs)) for runs in arms)
    return f"variances {ratio:.2f} : 1 ({low:.2f} to {high:.2f}; n = {counts})", low - 1, high - 1


def _pace(runs: Runs) -> Seen:
    runs = [run for run in timed(runs) if 1 in run.curve["phase"]]
    paces = [(pace(run, 0), pace(run, 1)) for run in runs]
    return _seen(Interval.of([before / after - 1 for before, after in paces]), " % steps per second", sign=True)


def _loss(column: str, first: Runs, second: Runs) -> Seen:  # at the last evaluation before all the data comes in
    pairs = same_machine(first, second)
    ends = [(a, b, a.curve["seconds"][a.curve["phase"].count(0) - 1]) for a, b in pairs]
    shares = [at(a, column, end) / at(b, column, end) - 1 for a, b, end in ends]
    return _seen(Interval.of(shares), " % at the switch", sign=True)


def _filtering(runs: Runs) -> Seen:
    shares = [run.seconds("selection") / run.seconds("training") for run in timed(runs)]
    return _seen(Interval.of(shares), " % of a training's seconds")


def _bill(encoders: Runs, full: Runs) -> Seen:
    require(encoders and full, "There are no autoencoders, or no runs on all the data.")
    encoder, run = (record.spec.steps * record.spec.batch for record in (encoders[0], full[0]))
    unit = f" trainings by the clock, {encoder / run:.1f} by samples"
    return _seen(report.price([*encoders, *full]), unit, scale=1)
