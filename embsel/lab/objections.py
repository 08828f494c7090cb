"""The reviewers' objections, each with the experiment that answers it and what the recorded runs say."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from embsel.errors import InputError, require
from embsel.lab import ablations, claims, cost, ladder, report
from embsel.lab.compare import (
    NAMES,
    Interval,
    accuracies,
    before_fine_tuning,
    images_per_second,
    paired,
    said,
    same_machine,
    two_way,
)
from embsel.lab.profiles import profile
from embsel.lab.questions import FILTER, FULL, QUESTIONS, RANDOM
from embsel.lab.records import ALL, Record, find, key

NOT_RECORDED = "not recorded yet"
Records = list[Record]
Answer = tuple[str, Records]  # in words, and the runs that it rests on


@dataclass(frozen=True)
class Objection:
    """A row of the page: what was objected and by whom, the experiment, the answer, where it is shown, the runs."""

    objection: str
    reviewers: str
    experiment: str
    answer: str
    where: str  # the chapter's file and the heading, as in an address
    runs: tuple[Record, ...] = ()


def objections(records: Iterable[Record], others: Iterable[Record] = ()) -> list[Objection]:
    """Return every objection with its answer from `records` of one dataset and profile; `others` are of other ones."""
    return [_answered(list(records), list(others), *row) for row in ROWS]


def _answered(records: Records, others: Records, words: str, who: str, experiment: str, ask: Callable, where: str):
    try:
        answer, runs = ask(records, others)
    except (InputError, KeyError):  # there are no such runs, or no two of one seed
        answer, runs = NOT_RECORDED, []
    runs = {key(run.spec): run for run in runs}
    return Objection(words, who, experiment, answer, where, tuple(runs.values()))


def _counted(gaps: Iterable[Interval], better: str, worse: str) -> str:
    """Return in words how many of some differences are one way or the other."""
    found = [gap.verdict("better", "worse", "level") for gap in gaps]
    more, less, neither = (found.count(word) for word in ("better", "worse", "level"))
    return f"{more} {better}, {less} {worse}, and for {neither} no difference could be shown"


def choosing(records: Iterable[Record]) -> dict[str, cost.Judged]:
    """Return the judged recipes that choose their images: a full run with another schedule is none."""
    judged = cost.judged(records).items()
    return {name: one for name, one in judged if one.front and one.runs[0].spec.selector != ALL}


def findings(records: Iterable[Record]) -> list[str]:
    """Return what the recorded recipes show, a sentence or none: for chapter 7."""
    judged, choices = cost.judged(records := list(records)), choosing(records)
    if not choices:
        return []
    paying = [name for name, one in choices.items() if one.verdict == "pays"]
    nearest = max(choices, key=lambda name: choices[name].front.mean)
    whole = judged[FULL].runs[0]
    passes = whole.spec.steps * whole.spec.batch / whole.metrics["kept"]
    result = f"these do: {', '.join(paying)}" if paying else "none does"
    untimed = "; ".join(name for name, one in judged.items() if not one.full and not one.time)
    return [
        "**Does any recipe pay?** It pays if it saves, the choosing included, "
        f"{100 * cost.SAVING:.0f} % of the full run's total time at its accuracy, and beats full runs as short as "
        f"itself. In {passes:.1f} passes over the data, at one length, of {len(choices)} recipes "
        f"{result}. Against short full runs of the same total time, "
        f"{_counted((one.front for one in choices.values()), 'are ahead', 'behind')}; the highest is *{nearest}*, "
        f"{said(choices[nearest].front, than='them')}."
        + (f" Not judged, as their seconds are not all of one machine: {untimed}." if untimed else "")
    ]


def front_page(records: Iterable[Record], climbed: Iterable[Record] = ()) -> list[str]:
    """Return the answer of the ladder, `climbed`, then three sentences at most with the length of their runs first, and
    last the line that says where they come from.
    """
    records, climbed = list(records), list(climbed)
    rows = {row.claim: row for row in claims.claims(records, climbed)}
    race, bill, judged, choices = rows[claims.RACE], rows[claims.BILL], cost.judged(records), choosing(records)
    told = ladder.sentences(ladder.table(climbed)) or ["**At the paper's own size** no main arm is recorded yet."]
    if race.runs:
        words = {"opposite": "is behind", "agrees": "is ahead of", "same": "is ahead of", "the": "is ahead of"}
        word = words.get(race.verdict.split()[0], "is set against")  # where its sign is not judged
        told.append(
            f"**In {race.length}** the filter's subset first {word} all the data at the paper's seven of 12.27 "
            f"minutes: {race.here}; the paper has 63.5 % against 10.4 %."
        )
    if choices:
        pay = [one.verdict for one in choices.values()].count("pays") or "none"
        ahead, behind = ([one.front.verdict("+", "-", "") for one in choices.values()].count(sign) for sign in "+-")
        spec = judged[FULL].runs[0].spec
        told.append(
            f"**In {claims.length(spec.steps, spec.batch)}** {pay} of {len(choices)} recipes that choose their images "
            f"would pay, that is, save {100 * cost.SAVING:.0f} % of the full run's total time at its accuracy and "
            f"beat full runs as short as themselves; {ahead} are ahead of those, {behind} behind."
        )
    if bill.runs:
        told.append(f"**For {bill.length}** the embeddings cost {bill.here}; the paper calls that one-time work.")
    arms = {ladder.FILTER, ladder.RANDOM, ladder.EVERYTHING}
    climbed = [run for run in climbed if arms & {*ladder.table([run])["arm"]}]
    used = [*climbed, *race.runs, *bill.runs, *(run for one in judged.values() for run in one.runs)]
    used = list({key(run.spec): run for run in used}.values())
    origin = [report.caption(find(used, profile=name)) for name in dict.fromkeys(r.provenance["profile"] for r in used)]
    pooled = "Spreads of differences are pooled over all that are compared, and winners counted by Holm (chapter 6)."
    return [*told, f"*{' '.join([*origin, pooled])}*"]


def _bill(records: Records, others: Records) -> Answer:
    price = report.price(records)
    full, encoders = report.comparison(records, names=(ALL,))[ALL], report.autoencoders(records)
    made, trained = (runs[0].spec.steps * runs[0].spec.batch for runs in (encoders, full))
    text = (
        f"making the embeddings takes {price.text('', 1)} times as long as the full run's training on the same "
        f"machine, and trains on {made / trained:.1f} times as many images"
    )
    return text, [*encoders, *full]


def _equal(records: Records, others: Records) -> Answer:
    usual, swept = report.comparison(records), QUESTIONS["fixed-steps"].found(records)
    drawn = [*usual[RANDOM], *(run for (name, _), runs in swept.items() for run in runs if name == RANDOM)]
    random = {keep: find(drawn, keep=keep) for keep in sorted({run.spec.keep for run in drawn})}
    require(len(random) > 1, "One size of a random subset is no curve.")
    keep, of = ablations.equal_keep(usual[FILTER], random), usual[ALL][0].metrics["kept"]
    shares = [100 * math.exp(keep.mean + side * keep.half) / of for side in (-1, 1)]
    text = (
        f"at these steps about {ablations.as_range(keep)} random images (n = {keep.n}), {shares[0]:.1f} to "
        f"{shares[1]:.1f} % of the data, do as well as the filter's {usual[FILTER][0].spec.keep:,}"
    )
    return text, [*usual[FILTER], *drawn]


def _rivals(records: Records, others: Records) -> Answer:
    arms = report.comparison(records, names=NAMES)
    gaps = {name: gap for name, gap in report.against_random(records).items() if name != ALL}
    require(gaps, "There is no other selector than random.")
    best = max(gaps, key=lambda name: gaps[name].mean)
    text = (
        f"of {len(gaps)} selectors {_counted(gaps.values(), 'are better than random', 'worse')}, corrected for their "
        f"number; the highest is *{NAMES[best]}*, {gaps[best]}"
    )
    return text, [run for runs in arms.values() for run in runs]


def _classes(records: Records, others: Records) -> Answer:
    arms = report.comparison(records, names=NAMES)
    plain, balanced = arms[FILTER], arms["top_activations_per_class"]
    least = min(min(run.metrics["class_counts"]) for run in plain)
    share = plain[0].spec.keep // len(plain[0].metrics["class_counts"])
    text = (
        f"the filter's smallest class has {least:,} images where {share:,} would be its share; class by class it is "
        f"{said(paired(balanced, plain), than='without')}"
    )
    return text, [*plain, *balanced]


def _sizes(records: Records, others: Records) -> Answer:
    gaps = ablations.gaps(records, others)
    gaps = [gap for name, gap in gaps.items() if name == ablations.AS_USUAL or " numbers, " in name]
    require(len(gaps) > 1, "No cell of the grid is recorded.")
    low, high = (pick(gaps, key=lambda one: one.mean) for pick in (min, max))
    few = _counted(gaps, "are better with the filter than at random", "worse")
    return f"of {len(gaps)} combinations {few}; from {low} to {high}", QUESTIONS["sizing"].behind(records)


def _under(*names: str, further: bool = False) -> Callable[[Records, Records], Answer]:
    """Return what answers with the filter beside a random subset under settings of chapter 8, and on further data."""

    def answer(records: Records, others: Records) -> Answer:
        arms, gaps, told, runs = ablations.settings(records, others), ablations.gaps(records, others), [], []
        more = [f"{name}, {keep:,} images" for name, keep in ablations.further(others) if keep] if further else []
        for name in (*names, *more):
            told.append((f"{name}: " if further else "") + said(gaps[name]))
            runs += [*arms[name][FILTER], *arms[name][RANDOM]]
        return f"the filter's subset alone{', with' if further else ''} {'; '.join(told)}", runs

    return answer


def _tuned(records: Records, others: Records) -> Answer:
    arms, gaps = QUESTIONS["tuned"].found(records), ablations.gaps(records, others)
    rates = ", ".join(f"{NAMES[name]} {runs[0].spec.rate:g}" for name, runs in arms.items())
    difference = gaps.get(ablations.OWN_RATE) or gaps[ablations.AS_USUAL]  # the same rates as there, if there is none
    return f"the filter's subset alone {said(difference)} (rates: {rates})", [*arms[FILTER], *arms[RANDOM]]


def _switch(records: Records, others: Records) -> Answer:
    split = min(profile(records[0].provenance["profile"]).splits, key=lambda split: abs(split - 50))
    arms = report.comparison(records, split=split)
    before = paired(arms[FILTER], arms[RANDOM], before_fine_tuning)
    text = f"half-way, filter minus random: {before}; at the end of the same runs {report.at_splits(records)[split]}"
    return text, [*arms[FILTER], *arms[RANDOM]]


def _encoders(records: Records, others: Records) -> Answer:
    runs = QUESTIONS["crossed"].behind(records)
    try:
        parts = two_way(ablations.crossed_table(runs))
    except InputError:
        if len(trained := ablations.trained_autoencoders(runs)) < 2:
            raise
        low, high = (100 * pick(accuracies(runs)) for pick in (min, max))
        text = (
            f"not answered yet: with up to {len(trained)} autoencoders, of {len({seed for seed, _ in trained})} seeds "
            f"on two machines, from {low:.1f} to {high:.1f} %; n = {len(runs)} runs"
        )
        return text, runs
    names = ("autoencoder seed", "training seed", "the rest")
    text = "; ".join(
        f"{name} {100 * deviation:.1f} points" + ("" if math.isnan(chance) else f" (p = {chance:.2f})")
        for name, (_, deviation, chance) in zip(names, parts, strict=True)
    )
    return f"standard deviations: {text}; n = {len(runs)} runs", runs


def _feeding(records: Records, others: Records) -> Answer:
    runs = QUESTIONS["feeding"].behind(records)
    runs, told = find(runs, width=profile(records[0].provenance["profile"]).width), []
    ways = ("the same memory", "device", "device"), ("decoded once, against decoded every time", "host", "encoded")
    for words, small, large in ways:
        pairs = same_machine(find(runs, feed=small, selector=RANDOM), find(runs, feed=large, selector=ALL))
        ratios = np.reshape([np.divide(*map(images_per_second, pair)) for pair in pairs], (-1, 2))
        turns, overlapped = (Interval.of(ratios[:, way]).text("", 1, digits=2) for way in (0, 1))
        told.append(f"from {words}: {turns} times the images a second in turns, {overlapped} overlapped")
    return "the subset, " + "; ".join(told), runs


def _short(records: Records, others: Records) -> Answer:
    fronts = [one.front for one in choosing(records).values()]
    equal = said(report.against_baseline(records)[FILTER, 50], than="all the data")
    few = _counted(fronts, "are ahead of full runs of the same total time", "behind")
    text = f"at equal steps 50/50 is {equal}; of {len(fronts)} recipes {few}"
    return text, [run for one in cost.judged(records).values() for run in one.runs]


def _losses(records: Records, others: Records) -> Answer:
    row = next(row for row in claims.claims(records) if "test loss" in row.claim)
    require(row.runs, "No race is recorded.")
    text = f"test loss on the subset minus that on all the data, {row.here}; the paper's claim: {row.verdict}"
    return text, list(row.runs)


ROWS = (
    ("The encoder's time is neither told nor charged", "R2", "a ledger of every stage, and total time", _bill,
     "07_cost#the-ledger-recorded"),
    ("A random 20 % does about as well", "R2", "the random share that equals the filter's", _equal,
     "06_baselines#which-random-share-does-as-well"),
    ("Random is the only baseline", "R1, R2", "every selector of the registry", _rivals,
     "06_baselines#all-of-them-recorded"),
    ("No class is guaranteed a place", "R2", "class counts, and the filter class by class", _classes,
     "06_baselines#does-a-class-get-lost"),
    ("No rule for the embedding's size or for k", "R2", "three sizes by three numbers of images", _sizes,
     "08_ablations#how-long-an-embedding-how-many-images"),
    ("One dataset, one network, few runs", "R3", "a second network, a second dataset",
     _under("a small ResNet", further=True), "08_ablations#more-classes"),
    ("Settings are not tuned for each arm", "R3", "a rate for each arm, on a validation split", _tuned,
     "08_ablations#a-learning-rate-for-each-arm"),
    ("Augmentation blurs what the subset does", "R3", "the arms without it", _under("neither crops, flips nor light"),
     "08_ablations#with-and-without-augmentation"),
    ("Accuracy before fine-tuning is not shown", "R3", "test accuracy where all the data comes in", _switch,
     "04_splits"),
    ("Would another encoder give the same?", "R3", "autoencoder seeds by training seeds", _encoders,
     "08_ablations#where-the-scatter-comes-from"),
    ("Fitting into memory saves no time", "R1", "images a second, three ways to feed them", _feeding,
     "05_fixed_budget"),
    ("The full run is better at equal updates", "R1", "full runs as short as a recipe", _short,
     "07_cost#accuracy-against-total-time"),
    ("SGD with momentum only", "R1", "AdamW", _under("AdamW"), "08_ablations#adamw-beside-sgd"),
    ("Figure 6 compares training losses of different sets", "R1", "test loss, with the switch marked", _losses,
     "05_fixed_budget#the-recorded-race-figure-6"),
)
