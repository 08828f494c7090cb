"""Which runs a question needs: one suite of runs for each question of Part I, and all suites by name."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from embsel import data
from embsel.errors import unknown
from embsel.lab import referee
from embsel.lab.profiles import PROFILES, Profile, autoencoder, baseline, profile, proxy, subset_run
from embsel.lab.records import ALL, FEEDS, PRECISIONS, Autoencoder, Record, Run
from embsel.selection import SELECTORS

__all__ = ["PROFILES", "Profile", "autoencoder", "baseline", "profile", "proxy", "subset_run"]  # others find them here

BUDGET = 7 / 12.27  # the paper's seven minutes, as a share of its full run of 736 seconds


def learning_rate(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Which learning rate suits this profile's batch and steps? All the data, judged on a validation split."""
    return [baseline(sizes, dataset, rate=rate, validation=True) for rate in (0.05, 0.1, 0.025, 0.0125, 0.00625)]


def filtering(sizes: Profile, dataset: data.Dataset | str) -> list[Run | Autoencoder]:
    """The baseline and the 100/0 comparison: the filter with each duplicate policy against random and stratified
    subsets.
    """
    suite = []
    for seed in sizes.seeds:
        suite.append(autoencoder(sizes, dataset, seed))
        suite.append(baseline(sizes, dataset, seed=seed))
        for selector in (
            "top_activations",
            "random_subset",
            "stratified_random",
            "top_activations_drop",
            "top_activations_keep",
        ):
            suite.append(subset_run(sizes, dataset, selector, seed))
    return suite


def splits(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return the runs of Figure 4 between its two ends: the subset first, for so many percent of the steps."""
    return [
        subset_run(sizes, dataset, selector, seed, split=split)
        for arms in (("top_activations", "random_subset"), ("stratified_random",))  # the paper's two arms first
        for seed in sizes.seeds
        for split in sizes.splits
        for selector in arms
    ]


def timing(sizes: Profile, dataset: data.Dataset | str) -> Run:
    """Return the full run that is timed just before the runs of the suite `budget`, and evaluated as often as they."""
    return baseline(sizes, dataset, seed=sizes.seeds[0], every=max(1, sizes.every // 4))


def budget(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> list[Run]:
    """Return the runs of Figures 5 and 6: so many seconds of training, with the subset for half of the steps or never.

    The budget is the paper's share, 7 of 12.27 minutes, of what the first of them, the full run, took: until that is
    recorded it is the only one. The fourth arm has the ten times larger subset of Figure 6, 86.4 % of the data.
    """
    full = timing(sizes, dataset)
    timed = next((record for record in recorded if record.spec == full), None)
    if timed is None:
        return [full]
    limits = {"budget": float(f"{timed.seconds('training') * BUDGET:.3g}"), "every": full.every}
    larger = min(10 * sizes.keep, timed.metrics["kept"])  # no more than there are
    suite = [full]
    for seed in sizes.seeds:
        suite.append(baseline(sizes, dataset, seed=seed, **limits))
        for selector in ("top_activations", "random_subset"):
            suite.append(subset_run(sizes, dataset, selector, seed, split=50, **limits))
        suite.append(dataclasses.replace(suite[-2], keep=larger))
    return suite


LADDER = ("P", "S", "R", "A0", "B0", "A1", "C0", "B1", "C1", "D", "E", "F", "G")  # its parts


def ladder(sizes: Profile, dataset: data.Dataset | str) -> dict[str, list[Run | Autoencoder]]:
    """Return the runs at the paper's own size, by part, in the order of their value.

    Each is evaluated on its way, so that one run answers for every length of training, and goes on from a shorter one
    that is there. R: all, random and filter to an eighth of the steps; A: a tenth of the autoencoder's
    steps, then filter and random alone; B: all the data; C: the subset first, as branches of A; the number is the seed.
    D: other selectors, and no augmentation, to an eighth of the steps; E: that length for a dataset of its own, with
    half of A's autoencoder; F: all of the autoencoder's steps. G: further seeds of A and B. P: both precisions of the
    arithmetic, before that of all the others was chosen. S: a few steps of each kind, to be timed on a quiet machine.
    """
    short, arms = max(1, sizes.steps // 8), ("top_activations", "random_subset")
    first, brief = min([*sizes.marks, short]), max(1, sizes.steps // 250)

    def made(seed: int, steps: int = sizes.embedding_steps // 10) -> Autoencoder:
        return dataclasses.replace(autoencoder(sizes, dataset, seed), steps=steps)

    def run(name: str, seed: int, embedding: Autoencoder | None = None, **changes) -> Run:
        if name == ALL:
            return baseline(sizes, dataset, seed=seed, **changes)
        if SELECTORS[name].needs == "embedding":
            changes["embedding"] = embedding or made(seed)
        return subset_run(sizes, dataset, name, seed, **changes)

    def alone(seed: int) -> list:
        return [made(seed), *(run(name, seed) for name in arms)]

    def ahead(seed: int) -> list:
        return [run(name, seed, split=split) for split in (95, 90, 50) for name in arms]

    few = range(3)
    others = ("stratified_random", "kmeans_prototypes_per_class", "facility_location", "farthest_first")
    plain = [run(name, seed, steps=short, augment=False) for seed in few for name in (ALL, *arms)]
    rung = [spec for seed in few for spec in (
        run("random_subset", seed, steps=short),
        run(ALL, seed, steps=short),
        made(seed),
        run("top_activations", seed, steps=short),
    )]
    rivals = [run(name, seed, steps=short) for seed in few for name in (*others, "el2n_easiest")]
    proxies = [spec.embedding for spec in rivals if isinstance(spec.embedding, Run)]
    elsewhere = []
    for seed in few:
        encoder = made(seed, sizes.embedding_steps // 20)
        names = (ALL, "random_subset", "stratified_random", "top_activations")
        elsewhere += [encoder, *(run(name, seed, encoder, steps=short) for name in names)]
    whole, timed = autoencoder(sizes, dataset), made(0, brief)
    return {
        "P": [run("random_subset", seed, steps=first, precision=name) for seed in (0, 1) for name in PRECISIONS],
        "S": [timed, *(run(name, 0, timed, steps=brief, every=brief, marks=()) for name in (ALL, *arms))],
        "R": rung,
        "A0": alone(0),
        "B0": [run(ALL, 0)],
        "A1": alone(1),
        "C0": ahead(0),
        "B1": [run(ALL, 1)],
        "C1": ahead(1),
        "D": [*proxies, *rivals, *plain],
        "E": elsewhere,
        "F": [whole, run("top_activations", 0, whole)],
        "G": [spec for seed in sizes.seeds[2:] for spec in (*alone(seed), run(ALL, seed))],
    }


def _rungs(*parts: str) -> Callable[..., list]:
    return lambda sizes, dataset: [spec for part in parts for spec in ladder(sizes, dataset)[part]]


def averages(sizes: Profile, dataset: data.Dataset | str) -> dict[str, list[Run]]:
    """Return full runs and runs with a late switch, tested with either average of the weights, at the end alone."""
    late = {"selector": "random_subset", "keep": sizes.keep, "split": 90}
    return {
        f"{what}, {average}": [
            baseline(sizes, dataset, seed=seed, average=average, every=sizes.steps, curve_images=10_000, **changes)
            for seed in sizes.few
        ]
        for what, changes in (("90/10", late), ("all the data", {}))
        for average in ("tutorial", "tenth")
    }


Variants = dict[str, list[tuple[Run, Run]]]  # what is changed to (changed run, the run it is set against) of each seed


def choices(sizes: Profile, dataset: data.Dataset | str) -> Variants:
    """Return the runs that change one choice which the paper leaves open, each with the run it is to be set against."""
    changes = {
        "the last weights, not their average": {"averaging": 0.0},
        "divide by the variance": {"divide_by": "variance"},
        "no momentum": {"momentum": 0.0},
        "batch norm's statistics over 100 steps, not 10": {"norm_momentum": 0.99},
        "neither crops, flips nor light": {"augment": False},
    }
    variants = _variants(sizes, dataset, changes)
    plain = [subset_run(sizes, dataset, "top_activations", seed) for seed in sizes.few]
    linear = [dataclasses.replace(run, embedding=dataclasses.replace(run.embedding, final=None)) for run in plain]
    return variants | {"no ReLU at the decoder's end (the filter's subset)": list(zip(linear, plain, strict=True))}


def suspects(sizes: Profile, dataset: data.Dataset | str) -> Variants:
    """Return the full runs that might read ten percent at seven of twelve minutes, each with the run without the flaw.

    `slow` is to this profile's steps what a constant decay of 0.9999 is to the paper's 10,000.
    """
    slow = 1 - 1 / sizes.steps
    changes = {
        "weights averaged over the whole run": {"averaging": slow},
        "batch norm's statistics averaged over the whole run": {"norm_momentum": slow},
        "batch norm's statistics never updated": {"norm_momentum": 1.0},
        "a learning rate eight times as high": {"rate": 8 * sizes.rate},
        "rate and batch eight times as high, half the steps": {
            "rate": 8 * sizes.rate,
            "batch": 8 * sizes.batch,
            "steps": sizes.steps // 2,
        },
    }
    return _variants(sizes, dataset, changes, every=timing(sizes, dataset).every)


def feeding(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return short runs that differ in where their images come from, for this network and for a narrow, quick one."""
    steps = max(1, sizes.steps // 3)
    return [
        baseline(sizes, dataset, steps=steps, every=steps, seed=seed, width=width, feed=feed, selector=name, keep=keep)
        for seed in sizes.few
        for width in (sizes.width, max(1, sizes.width // 16))
        for feed in FEEDS
        for name, keep in ((ALL, None), ("random_subset", sizes.keep))
    ]


def precision(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return full runs of each precision of the arithmetic, in turns, as their seconds are compared."""
    return [
        baseline(sizes, dataset, seed=seed, every=sizes.steps, precision=precision)
        for seed in sizes.few
        for precision in PRECISIONS
    ]


def _variants(sizes: Profile, dataset: data.Dataset | str, changes: dict[str, dict], **always) -> Variants:
    pairs = {}
    for name, change in changes.items():
        plain = [baseline(sizes, dataset, seed=seed) for seed in sizes.few]
        pairs[name] = [(dataclasses.replace(run, **always | change), run) for run in plain]
    return pairs


def _changed(variants: Variants) -> list[Run]:
    """Return the changed runs, one seed of each first."""
    return [changed for group in zip(*variants.values(), strict=True) for changed, _ in group]


def part_one(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> list:
    """Return all that Part I shows, most valuable first: until a budget is known, only up to the run that times it."""
    timed = budget(sizes, dataset, recorded)
    first = [*filtering(sizes, dataset), *timed]
    if len(timed) == 1:
        return first
    rest = [*_changed(suspects(sizes, dataset)), *feeding(sizes, dataset), *_changed(choices(sizes, dataset))]
    return [*first, *splits(sizes, dataset), *rest]


SUITES: dict[str, Callable[..., list]] = {
    "learning-rate": learning_rate,
    "filtering": filtering,
    "splits": splits,
    "budget": budget,
    "suspects": lambda sizes, dataset: _changed(suspects(sizes, dataset)),
    "feeding": feeding,
    "precision": precision,
    "averages": lambda sizes, dataset: referee.in_turn(*averages(sizes, dataset).values()),
    "choices": lambda sizes, dataset: _changed(choices(sizes, dataset)),
    "part-one": part_one,
    "ladder": _rungs("R", "A0", "B0", "A1", "C0", "B1", "C1", "D"),
    **{f"ladder-{part}": _rungs(part) for part in LADDER},
} | referee.SUITES

# These ask for more once what they build on is recorded: to the function that gives those runs.
BUILDING: dict[Callable, Callable[..., list[Run]]] = {
    budget: lambda sizes, dataset: [timing(sizes, dataset)],
    part_one: lambda sizes, dataset: [timing(sizes, dataset)],
} | referee.BUILDING


def suite(name: str, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> list:
    """Return the specs of a suite, each once, most valuable first; `recorded` are the records that it may build on, so
    that a suite may ask for more once what it asked for is recorded.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    given = (list(recorded),) if SUITES[name] in BUILDING else ()
    return list(dict.fromkeys(SUITES[name](sizes, dataset, *given)))


def builds_on(name: str, sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return the runs that have to be recorded before a suite can name all of its own."""
    return BUILDING[SUITES[name]](sizes, dataset) if SUITES[name] in BUILDING else []
