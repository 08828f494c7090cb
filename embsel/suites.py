"""Which runs a question needs, and at which size: the profiles, and one suite of runs for each question."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from embsel import data, selection
from embsel.errors import unknown
from embsel.records import ALL, FEEDS, Autoencoder, Record, Run, Spec

BUDGET = 7 / 12.27  # the paper's seven minutes, as a share of its full run of 736 seconds


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile. Rates are learning rates, `keep` the images in a subset, `every` the steps between
    evaluations.
    """

    name: str
    source: str
    steps: int
    batch: int
    rate: float
    keep: int
    width: int
    embedding_steps: int
    embedding_widths: tuple[int, int, int]
    every: int
    curve_images: int
    seeds: tuple[int, ...]
    splits: tuple[int, ...]
    embedding_rate: float = 0.1


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("tiny", "shapes", 200, 64, 0.02, 360, 16, 500, (16, 16, 8), 50, 1000, (0,), (50,)),
        Profile(
            *("laptop", "cifar10", 600, 128, 0.0125, 4320, 64, 1500, (64, 32, 24), 100, 2000, (0, 1, 2, 3, 4)),
            splits=(90, 50),
        ),
        Profile(
            *("paper", "cifar10", 10_000, 1024, 0.1, 4320, 64, 40_000, (64, 32, 24), 500, 10_000, (0, 1, 2, 3, 4)),
            splits=(95, 90, 50, 80, 70, 60, 40, 30, 20, 10),
        ),
    )
}


def profile(name: str | None = None) -> Profile:
    """Return the profile of that name, by default the one that the environment variable EMBSEL_PROFILE names, or
    `tiny`.
    """
    name = name or os.environ.get("EMBSEL_PROFILE") or "tiny"
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]


def baseline(sizes: Profile, dataset: data.Dataset | str, **changes) -> Run:
    """Return the run on all the data (a dataset or its fingerprint) at a profile's sizes, with `changes` to it."""
    run = Run(
        getattr(dataset, "fingerprint", dataset),
        ALL,
        sizes.steps,
        sizes.batch,
        sizes.rate,
        width=sizes.width,
        every=sizes.every,
        curve_images=sizes.curve_images,
    )
    return dataclasses.replace(run, **changes)


def autoencoder(sizes: Profile, dataset: data.Dataset | str, seed: int = 0) -> Autoencoder:
    """Return the autoencoder at a profile's sizes, for a dataset or its fingerprint."""
    fingerprint = getattr(dataset, "fingerprint", dataset)
    return Autoencoder(
        fingerprint, sizes.embedding_steps, sizes.batch, sizes.embedding_rate, sizes.embedding_widths, seed=seed
    )


def proxy(sizes: Profile, dataset: data.Dataset | str, seed: int = 0) -> Run:
    """Return the short run of a narrow network whose class probabilities `margin` and `el2n` choose by."""
    short = {"steps": max(1, sizes.steps // 5), "width": max(1, sizes.width // 4), "every": sizes.steps}
    return baseline(sizes, dataset, seed=seed, proxy=True, **short)


def subset_run(sizes: Profile, dataset: data.Dataset | str, selector: str, seed: int, **changes) -> Run:
    """Return the run that starts on what `selector` picks; it shares its seed with its autoencoder or proxy, if any."""
    make = {"nothing": lambda *_: None, "embedding": autoencoder, "proxy": proxy}[selection.SELECTORS[selector].needs]
    usual = {"keep": sizes.keep, "embedding": make(sizes, dataset, seed)}
    if changes.get("validation") and make is proxy:  # it must not have seen the labels that are held out
        usual["embedding"] = dataclasses.replace(usual["embedding"], validation=True)
    return baseline(sizes, dataset, selector=selector, seed=seed, **usual | changes)


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
    plain = [subset_run(sizes, dataset, "top_activations", seed) for seed in _few(sizes)]
    linear = [dataclasses.replace(run, embedding=dataclasses.replace(run.embedding, final=None)) for run in plain]
    return variants | {"no ReLU at the decoder's end (the filter's subset)": list(zip(linear, plain, strict=True))}


def suspects(sizes: Profile, dataset: data.Dataset | str) -> Variants:
    """Return the full runs that might read ten percent at seven of twelve minutes, each with the run without the flaw.

    `slow` is to this profile's steps what the tutorial's decay of 0.9999 is to the paper's 10,000.
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
        for seed in _few(sizes)
        for width in (sizes.width, max(1, sizes.width // 16))
        for feed in FEEDS
        for name, keep in ((ALL, None), ("random_subset", sizes.keep))
    ]


def _few(sizes: Profile) -> tuple[int, ...]:
    return sizes.seeds[:3]


def _variants(sizes: Profile, dataset: data.Dataset | str, changes: dict[str, dict], **always) -> Variants:
    pairs = {}
    for name, change in changes.items():
        plain = [baseline(sizes, dataset, seed=seed) for seed in _few(sizes)]
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


def rivals(sizes: Profile, dataset: data.Dataset | str) -> list[Spec]:
    """Return the runs on a subset alone of every selector that `filtering` has not, with what each chooses by."""
    have = {getattr(spec, "selector", None) for spec in filtering(sizes, dataset)}
    suite = []
    for seed in _few(sizes):
        runs = [subset_run(sizes, dataset, name, seed) for name in selection.SELECTORS if name not in have]
        suite += dict.fromkeys([*(run.embedding for run in runs if run.embedding), *runs])
    return suite


SUITES: dict[str, Callable[..., list]] = {
    "learning-rate": learning_rate,
    "filtering": filtering,
    "splits": splits,
    "budget": budget,
    "suspects": lambda sizes, dataset: _changed(suspects(sizes, dataset)),
    "feeding": feeding,
    "choices": lambda sizes, dataset: _changed(choices(sizes, dataset)),
    "part-one": part_one,
    "rivals": rivals,
}


def suite(name: str, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> list:
    """Return the specs of a suite, most valuable first; `recorded` are the records that it may build on, so that a
    suite may ask for more once what it asked for is recorded.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    builds_on = (list(recorded),) if SUITES[name] in (budget, part_one) else ()
    return SUITES[name](sizes, dataset, *builds_on)
