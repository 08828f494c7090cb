"""Plans: in which order a run goes through its images. The paper's is one of them, "switch": a subset, then everything.

A plan is a function `(spec, count, choose) -> stretches`. `count` is the number of training images, and
`choose(k, seed=..., now=False, among=...)` returns the `k` images that the run's selector picks, of all or `among`
some, by its embeddings or, with `now`, by what the network itself thinks of every image at that moment. A stretch is
what `training.Phase` takes: images, or a function that returns those of one pass. All stretches together have
`spec.split` percent of the steps, each as many as the others; the rest is for all the data.
"""

from collections.abc import Callable

import numpy as np

from embsel.lab.records import Run
from embsel.training import Phase

Choose = Callable[..., np.ndarray]


def switch(spec: Run, count: int, choose: Choose) -> list:
    """One subset, chosen once (the paper's section 4.4)."""
    return [choose(spec.keep, seed=spec.seed)]


def fresh(spec: Run, count: int, choose: Choose) -> list:
    """Another subset for every pass over it (RS2, Okanovic et al. 2024, if it is a random one)."""
    return [lambda rng: rng.permutation(choose(spec.keep, seed=int(rng.integers(2**31))))]


def grow(spec: Run, count: int, choose: Choose) -> list:
    """Subsets of twice the size each time, as long as that is at most half of the data, in equal stretches of steps."""
    sizes = [spec.keep]
    while 4 * sizes[-1] <= count:
        sizes.append(2 * sizes[-1])
    return [choose(size, seed=spec.seed) for size in sizes]


def sift(spec: Run, count: int, choose: Choose) -> list:
    """All the data dealt into hands, and of each hand about a batch, `keep` images a pass: what is picked depends on
    the hand that it is in. After airbench, where a proxy picks the harder half of every batch.
    """
    hands = max(1, round(spec.keep / spec.batch))
    shares = [len(part) for part in np.array_split(np.arange(spec.keep), hands)]

    def one_pass(rng: np.random.Generator) -> np.ndarray:
        dealt = np.array_split(rng.permutation(count), hands)
        return np.concatenate([choose(share, among=hand) for share, hand in zip(shares, dealt, strict=True)])

    return [one_pass]


def prune(spec: Run, count: int, choose: Choose) -> list:
    """For every pass the images that the network itself would have chosen by now (with `el2n`: not yet learned)."""
    return [lambda rng: rng.permutation(choose(spec.keep, now=True))]


PLANS = {plan.__name__: plan for plan in (switch, fresh, grow, sift, prune)}


def phases(spec: Run, count: int, choose: Choose, begin: Callable[[], None] | None = None) -> list[Phase]:
    """Return the phases of `spec`; `begin` is called where all the data comes in."""
    stretches = PLANS[spec.plan](spec, count, choose) if spec.switch else []
    ends = np.linspace(0, spec.switch, len(stretches) + 1).round().astype(int)
    planned = [Phase(rows, int(steps)) for rows, steps in zip(stretches, np.diff(ends), strict=True)]
    if spec.steps > spec.switch:
        planned.append(Phase(np.arange(count), spec.steps - spec.switch, begin=begin if spec.switch else None))
    return planned


def rate_ends(spec: Run, planned: list[Phase]) -> list[int]:
    """Return the steps by which the learning rate is down to zero: none, the last, or the last of each phase."""
    ends = np.cumsum([phase.steps for phase in planned]).tolist()
    return {"constant": [], "linear": ends[-1:], "restart": ends}[spec.schedule]
