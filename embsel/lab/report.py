"""From records to numbers in words: intervals, paired differences, and the sentences that the book's pages quote.

No page types a result. It shows what these functions make of the committed records.
"""

import contextlib
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from embsel import selection
from embsel.errors import InputError, require
from embsel.lab import suites
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store, find, key

# What a selector is called in a figure or a table.
NAMES = {ALL: "all the data"} | {name: entry.title for name, entry in selection.SELECTORS.items()}
# What goes below a table whose differences are `compared` or `pooled`.
POOLED = "The spread of the differences is pooled over the table; better and worse are said with Holm's correction."
# The arms of Part I, in the order of its figures.
FIRST = (ALL, "random_subset", "stratified_random", "top_activations", "top_activations_drop", "top_activations_keep")


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval (Student's t) over `n` runs; the interval is infinite for one run.

    `p` is the probability of a mean as far from zero by chance, where it is one of several (`pooled`).
    """

    mean: float
    half: float
    n: int
    p: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Return the interval of `values` `(n,)`, n >= 1."""
        values = np.asarray(values, dtype=float)
        if values.size == 0:
            raise InputError("An interval needs at least one value, and got none.")
        n = len(values)
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
        return cls(float(values.mean()), float(half), n)

    def text(self, unit: str = " %", scale: float = 100.0, sign: bool = False, digits: int = 1) -> str:
        """Return e.g. ``57.1 ± 2.0 % (n = 3)``."""
        spread = f" ± {scale * self.half:.{digits}f}" if np.isfinite(self.half) else ""
        return f"{scale * self.mean:{'+' if sign else ''}.{digits}f}{spread}{unit} (n = {self.n})"

    def verdict(self, better: str, worse: str, neither: str) -> str:
        """Return the word that the interval allows: `neither` unless all of it lies on one side of zero, and also where
        it is one of several and that may be their number's doing.
        """
        if self.p < 0.05 and self.mean - self.half > 0:
            return better
        return worse if self.p < 0.05 and self.mean + self.half < 0 else neither


def accuracy(record: Record) -> float:
    """Return the final test accuracy of a run, as a fraction."""
    return record.metrics["test_accuracy"]


def accuracies(records: Iterable[Record]) -> np.ndarray:
    """Return the final test accuracies `(n,)` of `records`, as fractions."""
    return np.array([accuracy(record) for record in records])


def by_seed(first: Iterable[Record], second: Iterable[Record], measure: Callable = accuracy) -> dict[int, float]:
    """Return the difference of a measure, first minus second, for every seed that both have."""
    a, b = ({record.spec.seed: measure(record) for record in group} for group in (first, second))
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}


def paired(first: Iterable[Record], second: Iterable[Record], measure: Callable = accuracy) -> Interval:
    """Return the interval of the difference in accuracy, first minus second, between runs of the same seed.

    Raises `InputError` if no two of them share a seed.
    """
    found = by_seed(first := list(first), second := list(second), measure)
    if not found:
        a, b = (sorted(record.spec.seed for record in group) for group in (first, second))
        raise InputError(f"No two runs share a seed: the first have {a}, the second {b}.")
    return Interval.of(list(found.values()))


def compared(arms: dict[Hashable, Sequence[Record]], against: Sequence[Record], measure: Callable = accuracy) -> dict:
    """Return the `pooled` intervals of every arm minus the runs `against`, paired by seed; without those, and without
    an arm that shares no seed with them.
    """
    gaps = {name: by_seed(runs, against, measure) for name, runs in arms.items() if runs is not against}
    return pooled({name: gap for name, gap in gaps.items() if gap})


def pooled(differences: dict[Hashable, dict[int, float]]) -> dict[Hashable, Interval]:
    """Return the intervals of several differences, name to seed to value, all with one standard deviation.

    It is pooled over them, each about its own mean. Its degrees of freedom are those of all together, but fewer where
    the differences of a seed rise and fall together, as they do where all are from the same run (Satterthwaite). Each
    `p` is Student's, corrected for the number of differences (Holm).
    """
    rows = [(name, seed, value) for name, of_seed in differences.items() for seed, value in of_seed.items()]
    of_name = np.array([[name == other for other in differences] for name, _, _ in rows], dtype=float)
    of_seed = np.array([[seed == other for _, other, _ in rows] for _, seed, _ in rows], dtype=float)
    if not rows:
        return {}
    values = np.array([value for _, _, value in rows])
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
        chances = _holm(np.nan_to_num(2 * stats.t.sf(np.abs(means) / errors, free), nan=1.0))
    halves = stats.t.ppf(0.975, free) * errors if free else errors
    columns = (column.tolist() for column in (means, halves, counts, chances))
    return {name: Interval(*one) for name, *one in zip(differences, *columns, strict=True)}


def _left(values: np.ndarray, design: np.ndarray) -> tuple[float, int]:
    """Return the sum of squares that `design` leaves unexplained, and its degrees of freedom."""
    fit, _, rank, _ = np.linalg.lstsq(design, values)
    return float(np.square(values - design @ fit).sum()), len(values) - int(rank)


def _holm(chances: np.ndarray) -> np.ndarray:
    """Return the probabilities corrected for their number: the smallest times n, the next times n - 1, and so on."""
    order = np.argsort(chances)
    raised = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    return np.minimum(1, raised)[np.argsort(order)]


def timed(records: Iterable[Record], among: Iterable[Record] = ()) -> list[Record]:
    """Return those of `records` whose seconds serve a claim: no other work ran beside them, nor beside the making of
    what they choose by, and that was on the same machine, as its own record `among` others says.
    """
    made = {record.spec: record for record in among}
    found = []
    for record in records:
        source = made.get(getattr(record.spec, "embedding", None), record)
        if record.quiet and source.quiet and _machine(source) == _machine(record):
            found.append(record)
    return found


def same_machine(first: Iterable[Record], second: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Return the pairs of one seed and one machine, without other work: the only ones whose seconds are compared."""
    return [
        (one, other)
        for one, other in itertools.product(timed(first), timed(second))
        if (one.spec.seed, _machine(one)) == (other.spec.seed, _machine(other))
    ]


def choosing(runs: Iterable[Record]) -> tuple[str, str]:
    """Return in words what the subsets of `runs` cost: the images that their autoencoder or proxy was trained on, and
    the mean seconds of the choice itself, on the machine that made most of them.
    """
    runs = list(runs)
    stages = ("autoencoder", "proxy training")
    images = max(sum(line["samples"] for line in run.ledger if line["stage"] in stages) for run in runs)
    places = [_machine(run) for run in runs if run.quiet]
    most = max(places, key=places.count, default=None)
    seconds = [run.seconds("selection") for run in runs if run.quiet and _machine(run) == most]
    return f"{images:,}", f"{np.mean(seconds):.2f} s" if seconds else "not timed"


def _machine(record: Record) -> tuple:
    return tuple(record.provenance.get(name) for name in ("hardware", "backend"))


def price(records: Iterable[Record]) -> Interval:
    """Return what making the embeddings takes, in trainings on all the data of the same seed and machine; `InputError`
    if there are none.
    """
    records = list(records)
    pairs = same_machine(autoencoders(records), comparison(records, names=(ALL,)).get(ALL, []))
    return Interval.of([encoder.seconds() / run.seconds("training") for encoder, run in pairs])


def recorded(store: Store | None = None, profile: str | None = None) -> list[Record]:
    """Return the records of the profile and the dataset that most is recorded of, for the pages to show; `paper` counts
    before `laptop` where they are level, and `profile` names one of them.

    Raises `InputError` with the command that makes them where there are none.
    """
    places = {name: {} for name in ([profile] if profile else ["paper", "laptop"])}
    for record in (store or Store()).records().values():
        if record.provenance["profile"] in places:
            places[record.provenance["profile"]].setdefault(record.spec.dataset, []).append(record)
    if found := [group for place in places.values() for group in place.values()]:
        return max(found, key=len)
    command = f"python -m embsel record --profile {profile or 'laptop'}"
    raise InputError(f"No runs are recorded yet: {command} makes them (at the laptop profile in about two hours).")


def elsewhere(store: Store | None = None) -> list[Record]:
    """Return the records of the profile of `recorded` that are on another dataset."""
    shown = recorded(store)[0]
    found = find((store or Store()).records().values(), profile=shown.provenance["profile"])
    return [record for record in found if record.spec.dataset != shown.spec.dataset]


def of_suite(make: Callable, records: Iterable[Record]) -> list | dict:
    """Return the records of a suite of `suites`, given as its function, at the profile and on the dataset of `records`.

    They come as the suite has them: a list stays a list, a dict of groups a dict, without what is not recorded. A group
    of pairs (a changed run, the run it is set against) becomes two lists, of the seeds that both have.
    """
    have = {record.spec: record for record in records}
    require(have, "A suite is looked up at the profile and on the dataset of some records, and there are none.")
    first = next(iter(have.values()))
    return _found(make(suites.profile(first.provenance["profile"]), first.spec.dataset), have)


def _found(specs: list | dict, have: dict) -> list | tuple | dict:
    if isinstance(specs, dict):
        return {name: found for name, part in specs.items() if (found := _found(part, have))}
    if specs and isinstance(specs[0], tuple):
        both = [(have[changed], have[plain]) for changed, plain in specs if changed in have and plain in have]
        return tuple(map(list, zip(*both, strict=True)))
    return [have[spec] for spec in specs if spec in have]


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
    return compared(arms, arms.get("random_subset", []))


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
    chosen, drawn = (groups.get(name, {}) for name in ("top_activations", "random_subset"))
    gaps = {split: by_seed(runs, drawn.get(split, [])) for split, runs in chosen.items() if 0 < split < 100}
    return pooled({split: gap for split, gap in sorted(gaps.items()) if gap})


def before_fine_tuning(record: Record) -> float:
    """Return the test accuracy at the end of the subset's phase, on the images that the curve is measured on."""
    ends = [i for i, phase in enumerate(record.curve["phase"]) if phase == 0]
    return record.curve["test_accuracy"][ends[-1]]


def variance_ratio(first: Iterable[Sequence[float]], second: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    """Return the variance between runs of the first arm over that of the second, and its 95 % interval (F).

    Each arm is given as groups of accuracies, one group a split; a group's own mean does not count as spread.
    """
    pooled = []
    for groups in (first, second):
        groups = [np.asarray(group, dtype=float) for group in groups]
        freedom = sum(len(group) - 1 for group in groups)
        if freedom < 1:
            raise InputError("A variance needs two runs of one split at least.")
        pooled.append((sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom, freedom))
    (a, free_a), (b, free_b) = pooled
    ratio = float(a / b)
    return ratio, ratio / stats.f.ppf(0.975, free_a, free_b), ratio / stats.f.ppf(0.025, free_a, free_b)


def _is_standard(record: Record) -> bool:
    """Return whether an autoencoder is its profile's, and whether a run differs from its profile's baseline in nothing
    but the subset, the split and the seed.
    """
    sizes, spec = suites.profile(record.provenance["profile"]), record.spec
    if isinstance(spec, Autoencoder):
        return spec == suites.autoencoder(sizes, spec.dataset, spec.seed)
    if spec.selector == ALL:
        return spec == suites.baseline(sizes, spec.dataset, seed=spec.seed)
    return spec == suites.subset_run(sizes, spec.dataset, spec.selector, spec.seed, split=spec.split)


def autoencoders(records: Iterable[Record]) -> list[Record]:
    """Return the records of the autoencoders at their profile's own sizes, one for each seed."""
    return [record for record in records if isinstance(record.spec, Autoencoder) and _is_standard(record)]


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


def at(record: Record, column: str, place: float, along: str = "seconds") -> float:
    """Return a quantity of a run's curve at a place between its evaluations, by default at so many seconds."""
    return float(np.interp(place, record.curve[along], record.curve[column]))


def images_per_second(record: Record) -> tuple[float, float]:
    """Return the images trained on per second when loading and training take turns, and when they overlap entirely."""
    training, loading = record.seconds("training"), record.seconds("loading")
    samples = next(line["samples"] for line in record.ledger if line["stage"] == "training")
    return samples / (training + loading), samples / max(training, loading)


def total(record: Record) -> float:
    """Return the seconds of all that a run needs before it can be used: every stage but the evaluation."""
    return record.seconds() - record.seconds("evaluation")


def worst_class(record: Record) -> float:
    """Return the accuracy of the class that the network is worst at, as a fraction."""
    return min(value for value in record.metrics["class_accuracy"] if value is not None)


def caption(records: Iterable[Record]) -> str:
    """Return the line that goes with every figure: dataset, profile, hardware, backend, runs and what they cost."""
    records = list(records)

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
        sizes = suites.PROFILES.get(place[0])
        here, fingerprints = {record.spec: record for record in found}, {record.spec.dataset for record in found}
        for name in suites.SUITES if sizes else ():
            specs = {spec for data in fingerprints for spec in suites.suite(name, sizes, data, everything.values())}
            missing = {spec for spec in specs if key(spec) not in everything}
            first = {spec for data in fingerprints for spec in suites.builds_on(name, sizes, data)}
            more = "more than " if missing & first else ""
            seconds = sum(here[spec].own_seconds() for spec in specs & here.keys())
            rows.append([*place, name, len(specs & here.keys()), f"{more}{len(missing)}", seconds])
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
    records = list(records)
    arms = comparison(records)
    said = []
    if ALL in arms:
        spec = arms[ALL][0].spec
        accuracy = Interval.of(accuracies(arms[ALL]))
        said.append(
            f"**Baseline.** All the data, {spec.steps:,} steps of {spec.batch:,} images: "
            f"test accuracy {accuracy.text()}."
        )
    if gap := against_random(records).get("top_activations"):
        spec = arms["top_activations"][0].spec
        chosen, chance = (Interval.of(accuracies(arms[name])) for name in ("top_activations", "random_subset"))
        verdict = gap.verdict(
            "the filter did better than a random subset",
            "the filter did worse than a random subset",
            "no difference between the filter and a random subset could be shown",
        )
        said.append(
            f"**The subset alone.** {spec.keep:,} images picked by the paper's filter: {chosen.text()}; as many picked "
            f"at random: {chance.text()}. Difference, paired by seed: {gap.text(' points', sign=True)}, so at "
            f"this size {verdict}. The paper has 63.9 % against 57.6 %."
        )
    gaps = {at: gap for (name, at), gap in against_baseline(records).items() if name == "top_activations" and at < 100}
    if gaps:
        each = "; ".join(f"{split}/{100 - split} {gap.text(' points', sign=True)}" for split, gap in gaps.items())
        said.append(f"**The subset first, then everything.** The filter's runs minus those on all the data: {each}.")
    raced = in_race(records)
    first = {n: runs for n, runs in fixed_budget(records).items() if runs[0].spec.selector == "top_activations"}
    if first.keys() & raced.keys():
        gap = raced[min(first.keys() & raced.keys(), key=lambda name: first[name][0].spec.keep)]
        verdict = gap.verdict("was ahead of", "was behind", "showed no difference from")
        said.append(
            f"**The race.** At the end of the paper's share of a full run's time, the filter's subset first {verdict} "
            f"all the data: {gap.text(' points', sign=True)}. The paper has 63.5 % against 10.4 %."
        )
    if "top_activations_drop" in arms:
        distinct = [record.metrics["distinct"] for record in arms["top_activations_drop"]]
        counts = np.array([record.metrics["class_counts"] for record in arms["top_activations_drop"]])
        keep = arms["top_activations_drop"][0].spec.keep
        said.append(
            f"**Duplicates.** The lists of all embedding elements together name {keep:,} images, but only "
            f"{_range(distinct)} different ones, with {_range(counts.ravel())} of a class."
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
