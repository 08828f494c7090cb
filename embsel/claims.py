"""The paper's claims, each beside what the recorded runs show and the verdict that a rule draws from the two."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from embsel import report, suites
from embsel.errors import InputError, require
from embsel.records import ALL, Record, Run, find
from embsel.report import Interval

MORE, LESS = math.inf, -math.inf  # the paper's number where it gives a direction and no size
SLIGHT = 0.02  # "slight" and "comparable" have no size in the paper; here they mean two points, or two in a hundred
NEGLIGIBLE = 0.01  # nor has "nearly instantly"; here it means a hundredth of the seconds of a training
QUICKER = 0.05  # the least by which a step on the subset must be quicker to count as a saving of time
OPPOSITE, UNSEEN = "opposite sign", "not seen"  # what `_judged` completes by the size of the runs
ELSEWHERE, MEASURED, NOT_RECORDED = "not comparable at this size", "measured, not judged", "not recorded yet"

Runs = Sequence[Record]
Seen = tuple[str, float, float]  # what the runs show in words, and the two ends of its 95 % interval


@dataclass(frozen=True)
class Claim:
    """A row of the table: what is claimed, the paper's number, this book's, the verdict, and the runs behind it."""

    claim: str
    paper: str
    here: str
    verdict: str
    runs: tuple[Record, ...] = ()


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


def part(runs: Iterable[Record]) -> int:
    """Return how many times as many images the paper trains on as the longest of these runs, rounded, at least 1."""
    paper = suites.PROFILES["paper"]
    longest = max((run.spec.steps * run.spec.batch for run in runs if isinstance(run.spec, Run)), default=1)
    return max(1, round(paper.steps * paper.batch / longest))


def sized(verdict: str, runs: Iterable[Record]) -> str:
    """Return the verdict with the size that it is of, where these runs are shorter than the paper's."""
    if part(runs) == 1:
        return verdict
    words = {OPPOSITE: f"{OPPOSITE} at 1/{part(runs)} of the samples", UNSEEN: f"{UNSEEN} at this size"}
    return words.get(verdict, verdict)


def claims(records: Iterable[Record]) -> list[Claim]:
    """Return the paper's claims judged by `records` of one dataset and profile: each row says how, and on which."""
    usual = find(report.behind(records := list(records)), budget=None)
    sizes = suites.profile(records[0].provenance["profile"] if records else "paper")
    full, chosen, drawn = (find(usual, selector=name) for name in (ALL, "top_activations", "random_subset"))
    encoders = report.autoencoders(records)
    arms = {split: [find(runs, split=split) for runs in (chosen, drawn)] for split in (100, *sizes.splits)}
    alone = arms.pop(100)
    raced = [run for runs in report.fixed_budget(records).values() for run in runs]
    never, small = find(raced, selector=ALL), find(raced, keep=sizes.keep)
    first, larger = (find(runs, selector="top_activations") for runs in (small, [r for r in raced if r not in small]))
    level = same if sizes.name == "paper" else lambda *_: ELSEWHERE
    measured = lambda *_: MEASURED  # noqa: E731
    quicker, negligible = partial(difference, least=QUICKER), partial(same, within=NEGLIGIBLE)
    only = _of(report.against_random(records).get("top_activations"))
    gaps = report.at_splits(records)
    at = {split: _of(gaps.get(split)) for split in arms}
    won = _of(first and report.in_race(records).get(report.beginning(first[0])))
    training_loss, test_loss = partial(_loss, "loss"), partial(_loss, "test_loss")
    rows = [  # the claim, the paper's words, the rule, the paper's number, what is measured, and on which runs
        ("All the data, 10,000 steps of 1,024", "83.3 %", level, 0.833, _accuracy, full),
        ("Subset alone: the filter beats random", "63.9 − 57.6 = +6.3 points", difference, 0.063, only, *alone),
        *((f"{p}/{100 - p}: the filter wins", "“Arguably”", difference, MORE, at[p], *arms[p]) for p in at if p >= 90),
        *((f"{p}/{100 - p}: little difference", "“slight”", same, 0.0, at[p], *arms[p]) for p in at if p < 90),
        ("The filter's runs scatter less", "“much less variance”", difference, LESS, _scatter, chosen, drawn),
        ("7 of 12 minutes: subset first wins", "63.5 − 10.4 = +53.1 points", difference, 0.531, won, first, never),
        ("Steps on a subset take less time", "implied, no number", quicker, MORE, _pace, small),
        ("On the subset, training loss falls faster", "Figure 6", difference, LESS, training_loss, first, never),
        ("On the subset, test loss falls faster", "Figure 6", difference, LESS, test_loss, first, never),
        ("86.40 % first: loss falls as with 8.64 %", "“comparable behavior”", same, 0.0, training_loss, larger, first),
        ("Filtering is nearly instant", "“nearly instantly”", negligible, 0.0, _filtering, alone[0]),
        ("The autoencoder is one-time work", "no time; 4.0 by samples †", measured, 0.0, _bill, encoders, full),
    ]
    return [_judged(*row) for row in rows]


def _judged(claim: str, paper: str, rule: Callable, number: float, measure: Callable, *groups: Runs) -> Claim:
    try:
        here, low, high = measure(*groups)
    except InputError:  # there are no such runs, or no two of one seed
        return Claim(claim, paper, "–", NOT_RECORDED)
    runs = tuple(run for runs in groups for run in runs)
    return Claim(claim, paper, here, sized(rule(low, high, number), runs), runs)


def _seen(interval: Interval, unit: str, **options) -> Seen:
    return interval.text(unit, **options), interval.mean - interval.half, interval.mean + interval.half


def _accuracy(runs: Runs) -> Seen:
    return _seen(Interval.of(report.accuracies(runs)), " %")


def _of(gap: Interval | None) -> Callable[..., Seen]:  # one of several that are compared, with their spread
    def measure(*_: Runs) -> Seen:
        require(gap, "No two runs of the two arms share a seed.")
        return _seen(gap, " points", sign=True)

    return measure


def _scatter(*arms: Runs) -> Seen:
    groups = [[report.accuracies(find(runs, split=at)) for at in {r.spec.split for r in runs}] for runs in arms]
    ratio, low, high = report.variance_ratio(*groups)
    counts = " and ".join(str(len(runs)) for runs in arms)
    return f"variances {ratio:.2f} : 1 ({low:.2f} to {high:.2f}; n = {counts})", low - 1, high - 1


def _pace(runs: Runs) -> Seen:
    runs = [run for run in report.timed(runs) if 1 in run.curve["phase"]]
    paces = [(report.pace(run, 0), report.pace(run, 1)) for run in runs]
    return _seen(Interval.of([before / after - 1 for before, after in paces]), " % steps per second", sign=True)


def _loss(column: str, first: Runs, second: Runs) -> Seen:  # at the last evaluation before all the data comes in
    pairs = report.same_machine(first, second)
    ends = [(a, b, a.curve["seconds"][a.curve["phase"].count(0) - 1]) for a, b in pairs]
    shares = [report.at(a, column, end) / report.at(b, column, end) - 1 for a, b, end in ends]
    return _seen(Interval.of(shares), " % at the switch", sign=True)


def _filtering(runs: Runs) -> Seen:
    shares = [run.seconds("selection") / run.seconds("training") for run in report.timed(runs)]
    return _seen(Interval.of(shares), " % of a training's seconds")


def _bill(encoders: Runs, full: Runs) -> Seen:
    require(encoders and full, "There are no autoencoders, or no runs on all the data.")
    encoder, run = (record.spec.steps * record.spec.batch for record in (encoders[0], full[0]))
    words = f" trainings by the clock, {encoder / run:.1f} by samples"
    return _seen(report.price([*encoders, *full]), words, scale=1)
