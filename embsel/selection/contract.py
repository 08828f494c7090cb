"""What every selector is made of: the door that keeps bad input out, the strongest rows, each class its share."""

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
    it cannot do without labels, `chunked` where it reads any source of `embsel.chunks`.

    A selector is given an array, or if it is `chunked` also a Dask or Zarr array or an iterator of chunks. How many
    rows the last has shows at its end: what depends on that is checked then.
    """

    def decorate(select: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        @functools.wraps(select)
        def checked(embeddings, k, *, labels=None, seed=0, **options):
            x, name = embeddings, select.__name__
            if not chunks.comes_in_chunks(x):
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
            if chunks.is_iterable(x):
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


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` >= 1 largest of `values` (1-D), largest first; of equals the first wins."""
    count = min(count, len(values))
    cut = np.partition(values, -count)[-count]
    rows = np.flatnonzero(values >= cut)[::-1]  # sorted backwards and read backwards: equals keep their order
    return rows[np.argsort(values[rows], kind="stable")][::-1][:count]


def shares(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """How many of `k` rows each of the classes of these `sizes` gets, by largest remainders.

    A class's exact share, k x its size / N, is rounded down; the rows still missing go one each to the largest
    remainders, and chance decides between equal ones. So every class is within one row of its share.
    """
    counts, remainders = np.divmod(k * sizes, sizes.sum())
    neediest = np.lexsort((rng.random(len(sizes)), -remainders))
    counts[neediest[: k - counts.sum()]] += 1
    return counts


def per_class(select: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Return the class-balanced version of any selector: it picks from each class its share (`shares`) of the k rows.

    The order is class by class. With k below the number of classes some get none. Needs labels.
    """

    @door(labelled=True)
    @functools.wraps(select)
    def balanced(embeddings, k, *, labels=None, seed=0, **options):
        classes, sizes = np.unique(labels, return_counts=True)
        picked = []
        for label, share in zip(classes, shares(sizes, k, np.random.default_rng(seed)), strict=True):
            if share:
                rows = np.flatnonzero(labels == label)
                picked.append(rows[select(embeddings[rows], share, labels=labels[rows], seed=seed, **options)])
        return np.concatenate(picked)

    return balanced


@dataclass(frozen=True)
class Selector:
    """An entry of the registry: the function, what it is called in a figure, and what it stands on.

    - `needs`: "nothing" (the number of rows and the labels are all it uses), "embedding", or "proxy": then its
      `embeddings` are the class probabilities (N, classes) that a shortly trained classifier gives the rows.
    - `labels`: whether it cannot do without labels.
    - `chance`: whether the seed decides between rows; without chance the order of the rows decides only between equals.
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
