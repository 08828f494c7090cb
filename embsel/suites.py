"""Which runs a question needs, and at which size: the profiles, and one suite of runs for each question."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from embsel import data, selection
from embsel.errors import unknown
from embsel.records import ALL, Autoencoder, Record, Run

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


def subset_run(sizes: Profile, dataset: data.Dataset | str, selector: str, seed: int, **changes) -> Run:
    """Return the run that starts on what `selector` picks; it shares its seed with its autoencoder, if it has one."""
    embedding = None if selector in selection.NEEDS_NO_EMBEDDING else autoencoder(sizes, dataset, seed)
    return baseline(sizes, dataset, selector=selector, keep=sizes.keep, seed=seed, embedding=embedding, **changes)


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


def choices(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return the baseline with one unspecified choice changed at a time, and what might read chance at seven minutes.

    A slow average still holds the starting weights; a slow normalisation tests with the statistics of the start.
    """
    slow = 1 - 1 / sizes.steps
    changes = [
        {"averaging": slow},
        {"norm_momentum": slow},
        {"rate": 8 * sizes.rate},
        {"averaging": 0.0},
        {"divide_by": "variance"},
        {"momentum": 0.0},
        {"norm_momentum": 0.99},
        {"augment": False},
    ]
    return [baseline(sizes, dataset, seed=sizes.seeds[0], **change) for change in changes]


def part_one(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> list:
    """Return all that Part I shows, most valuable first: until a budget is known, only up to the run that times it."""
    timed = budget(sizes, dataset, recorded)
    rest = [*splits(sizes, dataset), *choices(sizes, dataset)] if len(timed) > 1 else []
    return [*filtering(sizes, dataset), *timed, *rest]


SUITES: dict[str, Callable[..., list]] = {
    "learning-rate": learning_rate,
    "filtering": filtering,
    "splits": splits,
    "budget": budget,
    "choices": choices,
    "part-one": part_one,
}


def suite(name: str, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> list:
    """Return the specs of a suite, most valuable first; `recorded` are the records that it may build on, so that a
    suite may ask for more once what it asked for is recorded.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    builds_on = (list(recorded),) if SUITES[name] in (budget, part_one) else ()
    return SUITES[name](sizes, dataset, *builds_on)
