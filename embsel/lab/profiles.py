"""The sizes of an experiment, and the runs that everything is built from: all the data, or a subset first."""

import dataclasses
import os
from dataclasses import dataclass

from embsel import data, selection
from embsel.errors import unknown
from embsel.lab.records import ALL, Autoencoder, Pixels, Run


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile. Rates are learning rates, `keep` the images in a subset, `every` the steps between
    evaluations, `marks` more steps to evaluate at, `average` how the weights are averaged; of Part II, `images` is how
    many training images the source has, `keeps` the other sizes of a subset.
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
    images: int = 50_000
    keeps: tuple[int, ...] = (500, 10_000, 25_000, 2_500, 1_000)  # the most telling first
    compared: int = 5  # the first so many of them, where each run has all the steps
    embedding_rate: float = 0.1
    marks: tuple[int, ...] = ()
    average: str = "tutorial"

    @property
    def few(self) -> tuple[int, ...]:
        """The seeds where three are enough."""
        return self.seeds[:3]


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            *("tiny", "shapes", 200, 64, 0.02, 360, 16, 500, (16, 16, 8), 50, 1000, (0,), (50,)),
            images=4_000,
            keeps=(40, 2_000),
        ),
        Profile(
            *("laptop", "cifar10", 600, 128, 0.0125, 4320, 64, 1500, (64, 32, 24), 100, 2000, (0, 1, 2, 3, 4)),
            splits=(90, 50),
            compared=3,
            average="tenth",  # its runs were recorded so
        ),
        Profile(
            *("paper", "cifar10", 10_000, 1024, 0.1, 4320, 64, 40_000, (64, 32, 24), 1000, 10_000, (0, 1, 2, 3, 4)),
            splits=(95, 90, 50, 80, 70, 60, 40, 30, 20, 10),
            marks=(300, 600, 1250, 2500, 5705, 9500),  # 5,705: the paper's seven of 12.27 minutes
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
        average=sizes.average,
        marks=sizes.marks,
    )
    return dataclasses.replace(run, **changes)


def autoencoder(sizes: Profile, dataset: data.Dataset | str, seed: int = 0) -> Autoencoder:
    """Return the autoencoder at a profile's sizes, for a dataset or its fingerprint."""
    fingerprint = getattr(dataset, "fingerprint", dataset)
    return Autoencoder(
        fingerprint,
        sizes.embedding_steps,
        sizes.batch,
        sizes.embedding_rate,
        sizes.embedding_widths,
        seed=seed,
        average=sizes.average,
    )


def proxy(sizes: Profile, dataset: data.Dataset | str, seed: int = 0) -> Run:
    """Return the short run of a narrow network whose class probabilities `margin` and `el2n` choose by."""
    short = {"steps": max(1, sizes.steps // 5), "width": max(1, sizes.width // 4), "every": sizes.steps}
    return baseline(sizes, dataset, seed=seed, proxy=True, **short)


def subset_run(sizes: Profile, dataset: data.Dataset | str, selector: str, seed: int, **changes) -> Run:
    """Return the run that starts on what `selector` picks; it shares its seed with its autoencoder or proxy, if any."""
    make = {"nothing": lambda *_: None, "embedding": autoencoder, "proxy": proxy}[selection.SELECTORS[selector].needs]
    usual = {"keep": sizes.keep, "embedding": make(sizes, dataset, seed)}
    if changes.get("plan") == "prune":  # it chooses by what the network that it trains thinks
        usual["embedding"] = None
    elif changes.get("validation") and make is proxy:  # it must not have seen the labels that are held out
        usual["embedding"] = dataclasses.replace(usual["embedding"], validation=True)
    return baseline(sizes, dataset, selector=selector, seed=seed, **usual | changes)


def made(
    sizes: Profile, dataset: data.Dataset | str, seed: int = 0, selector: str = ALL, embedding=None, **changes
) -> Run:
    """Return a run on all the data or on a subset first. `embedding` is what changes in the autoencoder that a subset
    is chosen by, as a dict, or `Pixels` for the pixels' components in its place; other selectors than those that choose
    by an embedding take no notice of it.
    """
    if selector == ALL:
        return baseline(sizes, dataset, seed=seed, **changes)
    run = subset_run(sizes, dataset, selector, seed, **changes)
    if not isinstance(run.embedding, Autoencoder) or embedding is None:
        return run
    other = Pixels(run.dataset, seed=seed) if embedding is Pixels else dataclasses.replace(run.embedding, **embedding)
    return dataclasses.replace(run, embedding=other)
