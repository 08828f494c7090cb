"""What every selector is made of: the door that keeps bad input out, each class its share, an entry of the registry."""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embsel.errors import InputError, as_array, require, whole
from embsel.scale import chunks

TOO_LARGE = 1e15  # float32 holds the squared distance of values below it, whatever their number


def door(*, finite: bool = True, labelled: bool = False, chunked: bool = False) -> Callable:
    """Decorate a selector: bad input stays outside; `finite=False` where its own pass checks that, `labelled` where
    it cannot do without labels, `chunked` where it takes any source of `embsel.scale.chunks`, not only arrays. How many
    rows an iterator of chunks has shows at its end: what depends on that is checked then.
    """

    def decorate(select: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        @functools.wraps(select)
        def checked(embeddings, k, *, labels=None, seed=0, **options):
            x, name, kind = embeddings, select.__name__, chunks.kind(embeddings)
            if kind == "array":
                x = as_array("embeddings", x)
            elif not chunked:
                found = f"{type(x).__module__.partition('.')[0]} {type(x).__name__}".removeprefix("builtins ")
                raise InputError(
                    f"embeddings: expected an array in memory or a memory map, found a {found}; of the selectors only "
                    "top_activations and random_subset, and not class by class, take Dask and Zarr arrays and chunks."
                )
            k, seed = whole("k", k, 1), whole("seed", seed, 0)
            require(labels is not None or not labelled, f"labels: {name} needs one integer for each row, found None.")
            labels = None if labels is None else as_array("labels", labels)
            if kind == "pieces":
                x = chunks.checked(x, functools.partial(_check_size, k=k, labels=labels))
            else:
                chunks.check_array(x.shape, x.dtype)
                _check_size(x.shape[0], k, labels)
            if finite:
                chunks.check_finite(x)
            return select(x, k, labels=labels, seed=seed, **options)

        return checked

    return decorate


def _check_size(rows: int, k: int, labels: np.ndarray | None) -> None:
    require(k <= rows, f"k: expected a whole number of at most N = {rows}, found {k}.")
    if labels is not None:
        require(labels.shape == (rows,), f"labels: expected shape ({rows},), found {labels.shape}.")
        require(labels.dtype.kind in "iu", f"labels: expected integers, found {labels.dtype}.")
        low = labels.argmin()
        require(labels[low] >= 0, f"labels: expected integers >= 0, found {labels[low]} in row {low}.")


def as_floats(embeddings: np.ndarray) -> np.ndarray:
    """`embeddings` to calculate with: float32 or, from float64 and integers, float64; not copied if they are that."""
    largest = max(float(embeddings.max()), -float(embeddings.min()))
    require(largest < TOO_LARGE, f"embeddings: expected values below {TOO_LARGE:.0e} in size, found {largest:.1e}.")
    return np.ascontiguousarray(embeddings, np.float32 if embeddings.dtype in (np.float16, np.float32) else np.float64)


def shares(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """How many of `k` rows each of the classes of these `sizes` gets: its exact share, k x its size / N, rounded down,
    and one of the rows still missing where the remainder is among the largest; chance decides between equal ones.
    """
    counts, remainders = np.divmod(k * sizes, sizes.sum())
    neediest = np.lexsort((rng.random(len(sizes)), -remainders))
    counts[neediest[: k - counts.sum()]] += 1
    return counts


def per_class(select: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return the class-balanced version of any selector: class by class, it picks from each its share of the k rows.

    With k below the number of classes some get none. Needs labels.
    """

    @door(labelled=True)
    @functools.wraps(select)
    def balanced(embeddings, k, *, labels=None, seed=0, **options):
        classes, sizes = np.unique(labels, return_counts=True)
        counts, picked = shares(sizes, k, np.random.default_rng(seed)), []
        for label, count in zip(classes[counts > 0], counts[counts > 0], strict=True):
            rows = np.flatnonzero(labels == label)
            picked.append(rows[select(embeddings[rows], count, labels=labels[rows], seed=seed, **options)])
        return np.concatenate(picked)

    return balanced


@dataclass(frozen=True)
class Selector:
    """An entry of the registry: the function, what it is called in a figure, and what it stands on.

    - `needs`: "nothing" but the number of rows and perhaps labels, an "embedding", or a "proxy": then its `embeddings`
      are the class probabilities (N, classes) that a shortly trained classifier gives the rows.
    - `labels`, `chance`: whether it cannot do without labels; whether the seed decides, not only between equal rows.
    """

    select: Callable[..., np.ndarray]
    title: str
    needs: str = "embedding"
    labels: bool = False
    chance: bool = False

    def __call__(self, embeddings, k, *, labels=None, seed=0) -> np.ndarray:
        return self.select(embeddings, k, labels=labels, seed=seed)

    def card(self) -> dict[str, str]:
        """What its docstring says, by heading: "what" in words, then "helps", "knobs" and whatever fields there are."""
        what, *fields = re.split(r"\n+:(\w+): ", inspect.getdoc(getattr(self.select, "func", self.select)))
        return {"what": what} | {fields[i]: " ".join(fields[i + 1].split()) for i in range(0, len(fields), 2)}
