"""The reviewers' objections, each with the experiment that answers it and what the recorded runs say."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from embsel.errors import InputError
from embsel.lab import answers, claims, ladder, referee, report, suites
from embsel.lab.answers import FILTER, RANDOM
from embsel.lab.records import ALL, Record, find, key
from embsel.lab.report import Interval, paired

NOT_RECORDED = "not recorded yet"
Answer = tuple[str, list[Record]]  # in words, and the runs that it rests on


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
    records, others = list(records), list(others)
    rows = [
        (
            "The encoder's time is neither told nor charged",
            "R2",
            "a ledger of every stage, and total time",
            _bill,
            "07_cost#the-ledger-recorded",
        ),
        (
            "A random 20 % does about as well",
            "R2",
            "the random share that equals the filter's",
            _equal,
            "06_baselines#which-random-share-does-as-well",
        ),
        (
            "Random is the only baseline",
            "R1, R2",
            "every selector of the registry",
            _rivals,
            "06_baselines#all-of-them-recorded",
        ),
        (
            "No class is guaranteed a place",
            "R2",
            "class counts, and the filter class by class",
            _classes,
            "06_baselines#does-a-class-get-lost",
        ),
        (
            "No rule for the embedding's size or for k",
            "R2",
            "three sizes by three numbers of images",
            _sizes(others),
            "08_ablations#how-long-an-embedding-how-many-images",
        ),
        (
            "One dataset, one network, few runs",
            "R3",
            "a second network, a second dataset",
            _elsewhere(others),
            "08_ablations#more-classes",
        ),
        (
            "Settings are not tuned for each arm",
            "R3",
            "a rate for each arm, on a validation split",
            _tuned(others),
            "08_ablations#a-learning-rate-for-each-arm",
        ),
        (
            "Augmentation blurs what the subset does",
            "R3",
            "the arms without it",
            _under("neither crops, flips nor light", others),
            "08_ablations#with-and-without-augmentation",
        ),
        (
            "Accuracy before fine-tuning is not shown",
            "R3",
            "test accuracy where all the data comes in",
            _switch,
            "04_splits",
        ),
        (
            "Would another encoder give the same?",
            "R3",
            "autoencoder seeds by training seeds",
            _encoders,
            "08_ablations#where-the-scatter-comes-from",
        ),
        (
            "Fitting into memory saves no time",
            "R1",
            "images a second, three ways to feed them",
            _feeding,
            "05_fixed_budget",
        ),
        (
            "The full run is better at equal updates",
            "R1",
            "full runs as short as a recipe",
            _short,
            "07_cost#accuracy-against-total-time",
        ),
        ("SGD with momentum only", "R1", "AdamW", _under("AdamW", others), "08_ablations#adamw-beside-sgd"),
        (
            "Figure 6 compares training losses of different sets",
            "R1",
            "test loss, with the switch marked",
            _losses,
            "05_fixed_budget#the-recorded-race-figure-6",
        ),
    ]
    return [_answered(records, *row) for row in rows]


def _answered(records: list[Record], words: str, who: str, experiment: str, ask: Callable, where: str) -> Objection:
    try:
        answer, runs = ask(records)
    except (InputError, KeyError):  # there are no such runs, or no two of one seed
        answer, runs = NOT_RECORDED, []
    runs = {key(run.spec): run for run in runs}
    return Objection(words, who, experiment, answer, where, tuple(runs.values()))


def said(difference: Interval, *, than: str = "random") -> str:
    """Return a difference of two arms in words: its interval, and whether it is one."""
    word = difference.verdict(f"better than {than}", f"worse than {than}", f"no difference from {than} could be shown")
    return f"{difference.text(' points', sign=True)}, {word}"


def choosing(records: Iterable[Record]) -> dict[str, answers.Judged]:
    """Return the judged recipes that choose their images: a full run with another schedule is none."""
    judged = answers.judged(records).items()
    return {name: one for name, one in judged if one.front and one.runs[0].spec.selector != ALL}


def findings(records: Iterable[Record]) -> list[str]:
    """Return what the recorded recipes show, a sentence or none: for chapter 7."""
    judged = answers.judged(records := list(records))
    choices = choosing(records)
    if not choices:
        return []
    paying = [name for name, one in choices.items() if one.verdict == "pays"]
    words = [one.front.verdict("ahead", "behind", "level") for one in choices.values()]
    nearest = max(choices, key=lambda name: choices[name].front.mean)
    first = choices[nearest].front
    result = f"these do: {', '.join(paying)}" if paying else "none does"
    whole = judged[referee.FULL].runs[0]
    passes = whole.spec.steps * whole.spec.batch / whole.metrics["kept"]
    untimed = "; ".join(name for name, one in judged.items() if not one.full and not one.time)
    return [
        "**Does any recipe pay?** It pays if it saves, the choosing included, "
        f"{100 * answers.SAVING:.0f} % of the full run's total time at its accuracy, and beats full runs as short as "
        f"itself. In {passes:.1f} passes over the data, at one length, of {len(choices)} recipes {result}. Against "
        f"short full runs of the same total time, {words.count('ahead')} are ahead, {words.count('behind')} behind, "
        f"and for {words.count('level')} no difference could be shown; the highest is *{nearest}*, "
        f"{said(first, than='them')}."
        + (f" Not judged, as their seconds are not all of one machine: {untimed}." if untimed else "")
    ]


def front_page(records: Iterable[Record], climbed: Iterable[Record] = ()) -> list[str]:
    """Return the answer of the ladder, `climbed`, then three sentences at most with the length of their runs first, and
    last the line that says where they come from.
    """
    records, climbed = list(records), list(climbed)
    rows = {row.claim: row for row in claims.claims(records, climbed)}
    race, bill, judged, choices = rows[claims.RACE], rows[claims.BILL], answers.judged(records), choosing(records)
    said = ladder.sentences(ladder.table(climbed)) or ["**At the paper's own size** no main arm is recorded yet."]
    if race.runs:
        words = {"opposite": "is behind", "agrees": "is ahead of", "same": "is ahead of", "the": "is ahead of"}
        word = words.get(race.verdict.split()[0], "is set against")  # where its sign is not judged
        said.append(
            f"**In {race.length}** the filter's subset first {word} all the data at the paper's seven of 12.27 "
            f"minutes: {race.here}; the paper has 63.5 % against 10.4 %."
        )
    if choices:
        pay = [one.verdict for one in choices.values()].count("pays") or "none"
        ahead, behind = ([one.front.verdict("+", "-", "") for one in choices.values()].count(sign) for sign in "+-")
        spec = judged[referee.FULL].runs[0].spec
        said.append(
            f"**In {claims.length(spec.steps, spec.batch)}** {pay} of {len(choices)} recipes that choose their images "
            f"would pay, that is, save {100 * answers.SAVING:.0f} % of the full run's total time at its accuracy and "
            f"beat full runs as short as themselves; {ahead} are ahead of those, {behind} behind."
        )
    if bill.runs:
        said.append(f"**For {bill.length}** the embeddings cost {bill.here}; the paper calls that one-time work.")
    arms = {ladder.FILTER, ladder.RANDOM, ladder.EVERYTHING}
    climbed = [run for run in climbed if arms & {*ladder.table([run])["arm"]}]
    used = [*climbed, *race.runs, *bill.runs, *(run for one in judged.values() for run in one.runs)]
    used = list({key(run.spec): run for run in used}.values())
    origin = [report.caption(find(used, profile=name)) for name in dict.fromkeys(r.provenance["profile"] for r in used)]
    pooled = "Spreads of differences are pooled over all that are compared, and winners counted by Holm (chapter 6)."
    return [*said, f"*{' '.join([*origin, pooled])}*"]


def _bill(records: list[Record]) -> Answer:
    price = report.price(records)
    full, encoders = report.comparison(records, names=(ALL,))[ALL], report.autoencoders(records)
    made, trained = (runs[0].spec.steps * runs[0].spec.batch for runs in (encoders, full))
    text = (
        f"making the embeddings takes {price.text('', 1)} times as long as the full run's training on the same "
        f"machine, and trains on {made / trained:.1f} times as many images"
    )
    return text, [*encoders, *full]


def _equal(records: list[Record]) -> Answer:
    usual, swept = report.comparison(records), report.of_suite(referee.at_fixed_steps, records)
    drawn = [*usual[RANDOM], *find(swept, selector=RANDOM)]
    random = {keep: find(drawn, keep=keep) for keep in sorted({run.spec.keep for run in drawn})}
    if len(random) < 2:
        raise InputError("One size of a random subset is no curve.")
    keep, of = answers.equal_keep(usual[FILTER], random), usual[ALL][0].metrics["kept"]
    shares = [100 * math.exp(keep.mean + side * keep.half) / of for side in (-1, 1)]
    text = (
        f"at these steps about {answers.as_range(keep)} random images (n = {keep.n}), {shares[0]:.1f} to "
        f"{shares[1]:.1f} % of the data, do as well as the filter's {usual[FILTER][0].spec.keep:,}"
    )
    return text, [*usual[FILTER], *drawn]


def _rivals(records: list[Record]) -> Answer:
    arms = report.comparison(records, names=report.NAMES)
    gaps = {name: gap for name, gap in report.against_random(records).items() if name != ALL}
    if not gaps:
        raise InputError("There is no other selector than random.")
    words = [one.verdict("better", "worse", "level") for one in gaps.values()]
    best = max(gaps, key=lambda name: gaps[name].mean)
    text = (
        f"of {len(gaps)} selectors {words.count('better')} are better than random, {words.count('worse')} worse, and "
        f"for {words.count('level')} no difference could be shown, corrected for their number; the highest is "
        f"*{report.NAMES[best]}*, {gaps[best].text(' points', sign=True)}"
    )
    return text, [run for runs in arms.values() for run in runs]


def _classes(records: list[Record]) -> Answer:
    arms = report.comparison(records, names=report.NAMES)
    plain, balanced = arms[FILTER], arms["top_activations_per_class"]
    least = min(min(run.metrics["class_counts"]) for run in plain)
    share = plain[0].spec.keep // len(plain[0].metrics["class_counts"])
    text = (
        f"the filter's smallest class has {least:,} images where {share:,} would be its share; class by class it is "
        f"{said(paired(balanced, plain), than='without')}"
    )
    return text, [*plain, *balanced]


def _sizes(others: list[Record]) -> Callable[[list[Record]], Answer]:
    def answer(records: list[Record]) -> Answer:
        grid = report.of_suite(referee.sizing, records)
        gaps = answers.gaps(records, others)
        gaps = {name: gap for name, gap in gaps.items() if name == answers.AS_USUAL or " numbers, " in name}
        if len(gaps) < 2:
            raise InputError("No cell of the grid is recorded.")
        words = [one.verdict("better", "worse", "level") for one in gaps.values()]
        low, high = (pick(gaps.values(), key=lambda one: one.mean).text(" points", sign=True) for pick in (min, max))
        text = (
            f"of {len(gaps)} combinations the filter is better than random in {words.count('better')}, worse in "
            f"{words.count('worse')}, and for {words.count('level')} no difference could be shown; from {low} to {high}"
        )
        return text, [run for runs in grid.values() for run in runs]

    return answer


def _both(records: list[Record], setting: str, others: list[Record]) -> Answer:
    """Return the filter beside a random subset under a setting of chapter 8, and the runs."""
    arms = answers.settings(records, others)[setting]
    return said(answers.gaps(records, others)[setting]), [*arms[FILTER], *arms[RANDOM]]


def _under(setting: str, others: list[Record]) -> Callable[[list[Record]], Answer]:
    def answer(records: list[Record]) -> Answer:
        text, runs = _both(records, setting, others)
        return f"the filter's subset alone {text}", runs

    return answer


def _elsewhere(others: list[Record]) -> Callable[[list[Record]], Answer]:
    def answer(records: list[Record]) -> Answer:
        more = [f"{name}, {keep:,} images" for name, keep in answers.further(others) if keep]
        told, runs = zip(*(_both(records, name, others) for name in ("a small ResNet", *more)), strict=True)
        told = [f"{name}: {text}" for name, text in zip(("a small ResNet", *more), told, strict=True)]
        return "the filter's subset alone, with " + "; ".join(told), [run for group in runs for run in group]

    return answer


def _tuned(others: list[Record]) -> Callable[[list[Record]], Answer]:
    def answer(records: list[Record]) -> Answer:
        arms = report.of_suite(lambda *place: referee.tuned(*place, records), records)
        rates = ", ".join(f"{report.NAMES[name]} {runs[0].spec.rate:g}" for name, runs in arms.items())
        runs, gaps = [*arms[FILTER], *arms[RANDOM]], answers.gaps(records, others)
        difference = gaps.get(answers.OWN_RATE) or gaps[answers.AS_USUAL]  # the same rates as there, if there is none
        return f"the filter's subset alone {said(difference)} (rates: {rates})", runs

    return answer


def _switch(records: list[Record]) -> Answer:
    split = min(suites.profile(records[0].provenance["profile"]).splits, key=lambda split: abs(split - 50))
    arms = report.comparison(records, split=split)
    seeds = sorted({run.spec.seed for run in arms[FILTER]} & {run.spec.seed for run in arms[RANDOM]})
    early = [[report.before_fine_tuning(find(arms[name], seed=seed)[0]) for seed in seeds] for name in (FILTER, RANDOM)]
    before = Interval.of(np.subtract(*early))
    after = report.at_splits(records)[split]
    text = (
        f"half-way, filter minus random: {before.text(' points', sign=True)}; at the end of the same runs "
        f"{after.text(' points', sign=True)}"
    )
    return text, [*arms[FILTER], *arms[RANDOM]]


def _encoders(records: list[Record]) -> Answer:
    runs = report.of_suite(referee.crossed, records)
    try:
        parts = answers.two_way(answers.crossed_table(runs))
    except InputError:
        if len(trained := answers.trained_autoencoders(runs)) < 2:
            raise
        low, high = (100 * pick(report.accuracies(runs)) for pick in (min, max))
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


def _feeding(records: list[Record]) -> Answer:
    runs = find(report.of_suite(suites.feeding, records), width=suites.profile(records[0].provenance["profile"]).width)
    said = []
    for words, small, large in (
        ("the same memory", "device", "device"),
        ("decoded once, against decoded every time", "host", "encoded"),
    ):
        pairs = [
            (subset, full)
            for full in find(runs, feed=large, selector=ALL)
            for subset in find(runs, feed=small, selector=RANDOM)
        ]
        pairs = [pair for pair in pairs if report.same_machine(pair[:1], pair[1:])]
        rates = [[report.images_per_second(run) for run in pair] for pair in pairs]
        turns, overlapped = (Interval.of([one[0][way] / one[1][way] for one in rates]) for way in (0, 1))
        said.append(
            f"from {words}: {turns.text('', 1, digits=2)} times the images a second in turns, "
            f"{overlapped.text('', 1, digits=2)} overlapped"
        )
    return "the subset, " + "; ".join(said), runs


def _short(records: list[Record]) -> Answer:
    judged, choices = answers.judged(records), choosing(records)
    words = [one.front.verdict("ahead", "behind", "level") for one in choices.values()]
    equal = said(report.against_baseline(records)[FILTER, 50], than="all the data")
    text = (
        f"at equal steps 50/50 is {equal}; of {len(choices)} recipes {words.count('ahead')} are ahead of full runs "
        f"of the same total time, {words.count('behind')} behind, and for {words.count('level')} no difference could "
        "be shown"
    )
    return text, [run for one in judged.values() for run in one.runs]


def _losses(records: list[Record]) -> Answer:
    row = next(row for row in claims.claims(records) if "test loss" in row.claim)
    if not row.runs:
        raise InputError("No race is recorded.")
    text = f"test loss on the subset minus that on all the data, {row.here}; the paper's claim: {row.verdict}"
    return text, list(row.runs)
