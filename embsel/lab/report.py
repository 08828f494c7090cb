"""Which records a page shows, what they cost, and the sentences that the book's pages quote.

No page types a result. It shows what these functions make of the committed records.
"""

import contextlib
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from embsel.errors import InputError
from embsel.lab import questions
from embsel.lab.compare import NAMES, Interval, accuracies, by_seed, compared, machine, pooled, same_machine
from embsel.lab.profiles import PROFILES, autoencoder, made, profile
from embsel.lab.questions import FILTER, RANDOM
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store, find, key

# The arms of Part I, in the order of its figures.
FIRST = (ALL, RANDOM, "stratified_random", FILTER, f"{FILTER}_drop", f"{FILTER}_keep")


def recorded(store: Store | None = None, wanted: str | None = None) -> list[Record]:
    """Return the records of the profile and the dataset that most is recorded of, for the pages to show; `paper` counts
    before `laptop` where they are level, and `wanted` names one of them.

    Raises `InputError` with the command that makes them where there are none.
    """
    groups = {}
    for record in (store or Store()).records().values():
        groups.setdefault((record.provenance["profile"], record.spec.dataset), []).append(record)
    places = [wanted] if wanted else ["paper", "laptop"]
    if found := [group for name in places for (its, _), group in groups.items() if its == name]:
        return max(found, key=len)
    command = f"python -m embsel record --profile {wanted or 'laptop'}"
    raise InputError(f"No runs are recorded yet: {command} makes them (at the laptop profile in about two hours).")


def elsewhere(store: Store | None = None) -> list[Record]:
    """Return the records of the profile of `recorded` that are on another dataset."""
    shown = recorded(store)[0]
    found = find((store or Store()).records().values(), profile=shown.provenance["profile"])
    return [record for record in found if record.spec.dataset != shown.spec.dataset]


def comparison(records: Iterable[Record], split: int = 100, names: Iterable[str] = FIRST) -> dict[str, list[Record]]:
    """Return the baseline and the runs of that `split`, by selector, in the order of `names`; only what is there.

    Only runs at their profile's own sizes are compared: none on a validation split, none with another learning rate.
    """
    runs = [record for record in records if isinstance(record.spec, Run) and _is_standard(record)]
    arms = {name: find(runs, selector=name, **({} if name == ALL else {"split": split})) for name in names}
    return {name: group for name, group in arms.items() if group}


def against_random(records: Iterable[Record]) -> dict[str, Interval]:
    """Return the `compared` accuracy of every selector's subset alone, and of all the data, minus a random subset's."""
    arms = comparison(records, names=NAMES)
    return compared(arms, arms.get(RANDOM, []))


def by_split(records: Iterable[Record]) -> dict[str, dict[int, list[Record]]]:
    """Return the runs of Figure 4, selector to split to runs; the split 0 is the baseline, the same for every selector.

    Only selectors of which some split between 0 and 100 is recorded.
    """
    records = list(records)
    splits = sorted({r.spec.split for r in records if isinstance(r.spec, Run) and r.spec.selector != ALL})
    arms = {split: comparison(records, split) for split in splits}
    named = {name for split in splits if split < 100 for name in arms[split] if name != ALL}
    return {
        name: {0: arms[splits[0]].get(ALL, [])} | {split: arms[split][name] for split in splits if name in arms[split]}
        for name in NAMES
        if name in named
    }


def against_baseline(records: Iterable[Record]) -> dict[tuple[str, int], Interval]:
    """Return the accuracy of every selector and split of `by_split` minus the baseline's, `pooled` over all of them."""
    groups = by_split(records)
    baseline = next(iter(groups.values()), {}).get(0, [])
    arms = {(name, split): runs for name, of_split in groups.items() for split, runs in of_split.items() if split}
    return compared(arms, baseline)


def at_splits(records: Iterable[Record]) -> dict[int, Interval]:
    """Return the filter's accuracy minus a random subset's at every split between 0 and 100, `pooled` over them."""
    groups = by_split(records)
    chosen, drawn = (groups.get(name, {}) for name in (FILTER, RANDOM))
    gaps = {split: by_seed(runs, drawn.get(split, [])) for split, runs in chosen.items() if 0 < split < 100}
    return pooled({split: gap for split, gap in sorted(gaps.items()) if gap})


def _is_standard(record: Record) -> bool:
    """Return whether an autoencoder is its profile's, and whether a run differs from its profile's baseline in nothing
    but the subset, the split and the seed.
    """
    spec, place = record.spec, (profile(record.provenance["profile"]), record.spec.dataset)
    if isinstance(spec, Autoencoder):
        return spec == autoencoder(*place, spec.seed)
    first = {} if spec.selector == ALL else {"selector": spec.selector, "split": spec.split}
    return spec == made(*place, spec.seed, **first)


def autoencoders(records: Iterable[Record]) -> list[Record]:
    """Return the records of the autoencoders at their profile's own sizes, one for each seed."""
    return [record for record in records if isinstance(record.spec, Autoencoder) and _is_standard(record)]


def price(records: Iterable[Record]) -> Interval:
    """Return what making the embeddings takes, in trainings on all the data of the same seed and machine; `InputError`
    if there are none.
    """
    records = list(records)
    pairs = same_machine(autoencoders(records), comparison(records, names=(ALL,)).get(ALL, []))
    return Interval.of([encoder.seconds() / run.seconds("training") for encoder, run in pairs])


def choosing(runs: Iterable[Record]) -> tuple[str, str]:
    """Return in words what the subsets of `runs` cost: the images that their autoencoder or proxy was trained on, and
    the mean seconds of the choice itself, on the machine that made most of them.
    """
    runs = list(runs)
    stages = ("autoencoder", "proxy training")
    images = max(sum(line["samples"] for line in run.ledger if line["stage"] in stages) for run in runs)
    places = [machine(run) for run in runs if run.quiet]
    most = max(places, key=places.count, default=None)
    seconds = [run.seconds("selection") for run in runs if run.quiet and machine(run) == most]
    return f"{images:,}", f"{np.mean(seconds):.2f} s" if seconds else "not timed"


def fixed_budget(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the runs of Figures 5 and 6, those with a budget of seconds, by what they begin with: name to runs."""
    arms = {}
    for record in records:
        if getattr(record.spec, "budget", None) is not None and record.quiet:  # seconds are what they are judged by
            arms.setdefault(beginning(record), []).append(record)
    return arms


def in_race(records: Iterable[Record]) -> dict[str, Interval]:
    """Return the `compared` accuracy of every arm of `fixed_budget` minus that of all the data."""
    race = fixed_budget(records)
    return compared(race, race.get(NAMES[ALL], []))


def beginning(record: Record) -> str:
    """Return in words what a run of the race begins with."""
    name = NAMES[record.spec.selector]
    if record.spec.selector == ALL:
        return name
    whole = next(line["samples"] for line in record.ledger if line["stage"] == "selection")  # what it chose from
    return f"{name}, {100 * record.spec.keep / whole:.2f} % first"


def caption(records: Iterable[Record]) -> str:
    """Return the line that goes with every figure: dataset, profile, hardware, backend, runs and what they cost."""
    records = list({key(record.spec): record for record in records}.values())  # each once

    def all_of(name: str) -> str:
        return ", ".join(dict.fromkeys(str(record.provenance[name]) for record in records))

    own = {key(record.spec) for record in records}
    shared = {  # the autoencoder of several runs once, and not at all where its own record is there
        key(record.spec.embedding): record.seconds() - record.own_seconds()
        for record in records
        if getattr(record.spec, "embedding", None) and key(record.spec.embedding) not in own
    }
    minutes = (sum(record.own_seconds() for record in records) + sum(shared.values())) / 60
    backends = {f"{r.provenance['backend']} {r.provenance['versions'][r.provenance['backend']]}" for r in records}
    beside = "" if all(record.quiet for record in records) else " beside other work"
    return (
        f"{all_of('dataset')}; {all_of('profile')} profile; {all_of('hardware')}; {', '.join(sorted(backends))}; "
        f"{_number(len(records), 'run')}, {_number(round(minutes), 'minute')}{beside}."
    )


def status(store: Store) -> list[list]:
    """Return one row for each profile, dataset, hardware and backend: how many records, and the minutes they took."""
    places = _by_place(store.records().values())
    return [[*place, len(found), round(sum(r.own_seconds() for r in found) / 60)] for place, found in places.items()]


def progress(store: Store) -> list[list]:
    """Return one row for each row of `status` and suite: its specs recorded there, those missing everywhere, and the
    seconds it took there. "More than" so many are missing while the suite waits for a run that it builds on.
    """
    everything, rows = store.records(), []
    for place, found in _by_place(everything.values()).items():
        here, fingerprints = {record.spec: record for record in found}, {record.spec.dataset for record in found}
        for name in questions.SUITES if place[0] in PROFILES else ():
            asked = [(name, PROFILES[place[0]], dataset, everything.values()) for dataset in fingerprints]
            specs = {spec for one in asked for spec in questions.suite(*one)}
            missing = sum(key(spec) not in everything for spec in specs)
            more = "more than " if any(questions.waits(*one) for one in asked) else ""
            seconds = sum(here[spec].own_seconds() for spec in specs & here.keys())
            rows.append([*place, name, len(specs & here.keys()), f"{more}{missing}", seconds])
    return rows


def _by_place(records: Iterable[Record]) -> dict[tuple, list[Record]]:
    groups = {}
    for record in records:
        place = tuple(str(record.provenance[name]) for name in ("profile", "dataset", "hardware", "backend"))
        groups.setdefault(place, []).append(record)
    return groups


def behind(records: Iterable[Record]) -> list[Record]:
    """Return the records that `findings` rests on, for its caption: autoencoders, the race, the arms at every split."""
    records = list(records)
    used = [*autoencoders(records), *itertools.chain.from_iterable(fixed_budget(records).values())]
    for split in sorted({record.spec.split for record in records if isinstance(record.spec, Run)}):
        used += [record for group in comparison(records, split).values() for record in group]
    return list({key(record.spec): record for record in used}.values())


def findings(records: Iterable[Record]) -> list[str]:
    """Return what the recorded runs of one profile show so far, a sentence each: for chapter 3 and parts of others."""
    arms, said = comparison(records := list(records)), []
    level = {name: Interval.of(accuracies(runs)) for name, runs in arms.items()}
    if ALL in arms:
        spec = arms[ALL][0].spec
        size = f"{spec.steps:,} steps of {spec.batch:,} images"
        said.append(f"**Baseline.** All the data, {size}: test accuracy {level[ALL]}.")
    if gap := against_random(records).get(FILTER):
        words = "the filter did better than a random subset", "the filter did worse than a random subset"
        verdict = gap.verdict(*words, "no difference between the filter and a random subset could be shown")
        said.append(
            f"**The subset alone.** {arms[FILTER][0].spec.keep:,} images picked by the paper's filter: "
            f"{level[FILTER]}; as many picked at random: {level[RANDOM]}. Difference, paired by seed: {gap}, so at "
            f"this size {verdict}. The paper has 63.9 % against 57.6 %."
        )
    if gaps := {at: gap for (name, at), gap in against_baseline(records).items() if name == FILTER and at < 100}:
        each = "; ".join(f"{split}/{100 - split} {gap}" for split, gap in gaps.items())
        said.append(f"**The subset first, then everything.** The filter's runs minus those on all the data: {each}.")
    raced = in_race(records)
    first = {n: runs[0].spec.keep for n, runs in fixed_budget(records).items() if runs[0].spec.selector == FILTER}
    if both := first.keys() & raced.keys():
        gap = raced[min(both, key=first.get)]
        verdict = gap.verdict("was ahead of", "was behind", "showed no difference from")
        said.append(
            f"**The race.** At the end of the paper's share of a full run's time, the filter's subset first {verdict} "
            f"all the data: {gap}. The paper has 63.5 % against 10.4 %."
        )
    if dropped := arms.get(f"{FILTER}_drop"):
        distinct = [record.metrics["distinct"] for record in dropped]
        counts = [count for record in dropped for count in record.metrics["class_counts"]]
        said.append(
            f"**Duplicates.** The lists of all embedding elements together name {dropped[0].spec.keep:,} images, but "
            f"only {_range(distinct)} different ones, with {_range(counts)} of a class."
        )
    with contextlib.suppress(InputError):  # no autoencoder, or no baseline of its seed and machine
        said.append(
            f"**Cost.** Making the embeddings took {price(records).text('', 1)} times as long as the baseline's "
            "training on the same machine; the paper counts it as work done once for a dataset, and gives no time."
        )
    return said


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _range(values: Sequence[int]) -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
