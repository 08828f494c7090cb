"""Selectors: each picks `k` training images, given one embedding per image.

Every selector is called as `f(embeddings, k, *, labels=None, seed=0)` and returns row numbers, int64 (k,):

embeddings  (N, n), floating point or integer, finite; never written to.
k           how many rows to pick, 1 to N.
labels      (N,) integers >= 0, or None; only some selectors need them.
seed        an integer >= 0; the same input and seed give the same rows.

Anything else raises `InputError`. NumPy only: Keras and images are unknown here.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from embsel.errors import InputError, unknown

DUPLICATES = ("drop", "keep", "refill")
GROUP_ROWS = 256  # rows that share one maximum in `group_maxima`: a group fits the processor's cache
CHUNK_VALUES = 2**28  # values reduced at a time: their maxima take 1 / GROUP_ROWS of that


def _expect(ok: object, thing: str, expected: str, found: object) -> None:
    if not ok:
        raise InputError(f"{thing} must be {expected}, found {found}.")


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _door(check_finite: bool) -> Callable:
    """Decorate a selector: bad input stays outside (`check_finite=False` where its own pass checks that)."""

    def decorate(select: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        @functools.wraps(select)
        def checked(embeddings, k, *, labels=None, seed=0, **options):
            x = np.asarray(embeddings)
            _expect(x.ndim == 2 and x.size, "embeddings", "of shape (N, n), not empty", f"shape {x.shape}")
            _expect(x.dtype.kind in "fiu", "embeddings", "floating-point or integer", f"dtype {x.dtype}")
            _expect(_is_integer(k) and 1 <= k <= len(x), "k", f"an integer from 1 to N = {len(x)}", repr(k))
            _expect(_is_integer(seed) and seed >= 0, "seed", "an integer >= 0", repr(seed))
            if labels is not None:
                labels = np.asarray(labels)
                _expect(labels.shape == (len(x),), "labels", f"of shape ({len(x)},)", f"shape {labels.shape}")
                _expect(labels.dtype.kind in "iu", "labels", "integers", f"dtype {labels.dtype}")
                _expect(labels.min() >= 0, "labels", ">= 0", f"{labels.min()} in row {labels.argmin()}")
            if check_finite:
                group_maxima(x)
            return select(x, int(k), labels=labels, seed=int(seed), **options)

        return checked

    return decorate


class Best(NamedTuple):
    """The strongest rows of each embedding element, strongest first; of equal values the lowest row first."""

    values: np.ndarray  # (depth, n), dtype of the embeddings
    rows: np.ndarray  # (depth, n), int64


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` >= 1 largest of `values` (1-D), largest first; of equals the first wins."""
    count = min(count, len(values))
    cut = np.partition(values, -count)[-count]
    level = np.flatnonzero(values == cut)
    above = np.flatnonzero(values > cut)[::-1]  # sorted backwards and read backwards: equals keep their order
    above = above[np.argsort(values[above], kind="stable")][::-1]
    return np.concatenate([above, level[: count - len(above)]])


def group_maxima(chunk: np.ndarray, offset: int = 0) -> np.ndarray:
    """Maximum of each element over each GROUP_ROWS rows, (groups, n); InputError if a value is not finite."""
    groups = [chunk[i : i + GROUP_ROWS] for i in range(0, len(chunk), GROUP_ROWS)]
    highs = np.empty((len(groups), chunk.shape[1]), chunk.dtype)
    lows = np.empty(len(groups), chunk.dtype)
    for group, high, i in zip(groups, highs, range(len(groups)), strict=True):
        group.max(axis=0, out=high)  # shows NaN and +inf
        lows[i] = group.min()  # shows -inf; the group is in the cache by now, so this costs little
    if not (np.isfinite(highs).all() and np.isfinite(lows).all()):
        nan = sum(np.isnan(group).sum() for group in groups)
        bad = np.concatenate([(~np.isfinite(group)).sum(axis=1) for group in groups])  # in each row
        raise InputError(
            f"embeddings must be finite, found {nan} NaN and {bad.sum() - nan} infinite values in rows "
            f"{offset} to {offset + len(chunk) - 1}, the first in row {offset + np.flatnonzero(bad)[0]}."
        )
    return highs


def best_of_chunk(chunk: np.ndarray, depth: int, offset: int = 0) -> Best:
    """The `depth` strongest rows of each element in one chunk of rows, the first of which is row `offset`.

    They lie in the `depth` groups of the highest maxima, for these maxima all come before any row of another
    group. So one pass and a second look at a few groups are exact, in whatever order the rows are.
    """
    maxima = group_maxima(chunk, offset)
    members = np.arange(GROUP_ROWS)
    best = []
    for column, column_maxima in zip(chunk.T, maxima.T, strict=True):
        groups = np.sort(strongest(column_maxima, depth))
        rows = (groups[:, None] * GROUP_ROWS + members).ravel()
        rows = rows[: np.searchsorted(rows, len(chunk))]  # the last group may be shorter
        best.append(rows[strongest(column[rows], depth)])
    rows = np.stack(best, axis=1)
    return Best(np.take_along_axis(chunk, rows, axis=0), rows + offset)


def merge(a: Best, b: Best, depth: int) -> Best:
    """The `depth` strongest of two chunks' rows; exact, and chunks may be merged in any order."""
    rows, values = np.concatenate([a.rows, b.rows]), np.concatenate([a.values, b.values])
    by_row = rows.argsort(axis=0)  # so that the lowest position is the lowest row
    rows, values = np.take_along_axis(rows, by_row, axis=0), np.take_along_axis(values, by_row, axis=0)
    best = np.stack([strongest(column, depth) for column in values.T], axis=1)
    return Best(np.take_along_axis(values, best, axis=0), np.take_along_axis(rows, best, axis=0))


def best_rows(embeddings: np.ndarray, depth: int) -> np.ndarray:
    """The `depth` (at most N) strongest rows of each element, (depth, n) int64, strongest first."""
    step = max(1, CHUNK_VALUES // embeddings.shape[1])
    chunks = (best_of_chunk(embeddings[i : i + step], depth, i) for i in range(0, len(embeddings), step))
    return functools.reduce(lambda a, b: merge(a, b, depth), chunks).rows


@_door(check_finite=False)
def top_activations(embeddings, k, *, labels=None, seed=0, duplicates="refill") -> np.ndarray:
    """The k/n rows that activate each of the n embedding elements most (the paper's Equation 4).

    Where n does not divide k, the first k % n elements get one row more. Of equal values the lowest row wins.
    The order is element by element, strongest first. `labels` and `seed` change nothing.

    A row can be among the strongest of several elements, and the paper does not say what becomes of it: its
    4,320 rows are exactly 216 x 20, so it counted duplicates or made up for them. Hence three policies:

    - ``"refill"``: element by element, each walks down its list to its share of rows that nobody took before:
      k distinct rows. The default, as it keeps to k and to distinct images.
    - ``"drop"``: the plain union of the lists, each row where it comes first: k rows or fewer.
    - ``"keep"``: the lists as they are: k rows, the same row possibly several times.
    """
    if duplicates not in DUPLICATES:
        raise unknown("duplicates policy", duplicates, DUPLICATES)
    n = embeddings.shape[1]
    shares = k // n + (np.arange(n) < k % n)
    if duplicates == "refill":
        return _refill(embeddings, shares)
    lists = best_rows(embeddings, shares[0]).T
    rows = np.concatenate([rows[:share] for rows, share in zip(lists, shares, strict=True)])
    return rows if duplicates == "keep" else rows[np.sort(np.unique(rows, return_index=True)[1])]


def _refill(embeddings: np.ndarray, shares: np.ndarray) -> np.ndarray:
    lists = best_rows(embeddings, 4 * shares[0]).T
    free = np.ones(len(embeddings), bool)
    picked = []
    for column, rows, share in zip(embeddings.T, lists, shares, strict=True):
        rows = rows[free[rows]][:share]
        if len(rows) < share:  # the list is used up: rank all the rows that are still free
            rest = np.flatnonzero(free)
            rows = rest[strongest(column[rest], share)]
        free[rows] = False
        picked.append(rows)
    return np.concatenate(picked)


@_door(check_finite=True)
def random_subset(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random without replacement, every set of k equally likely; in ascending order."""
    return np.sort(np.random.default_rng(seed).choice(len(embeddings), k, replace=False))


@_door(check_finite=True)
def stratified_random(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random, each class in the proportion that it has among all rows; in ascending order.

    A class's exact share, k x its rows / N, is rounded down; the rows still missing go one each to the
    largest remainders, and chance decides between equal ones. So every class is within one row of its share,
    and with k below the number of classes some get none. Raises InputError without `labels`.
    """
    if labels is None:
        raise InputError("stratified_random needs labels, one integer for each embedding, found None.")
    rng = np.random.default_rng(seed)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares, remainders = np.divmod(k * sizes, len(labels))
    neediest = np.lexsort((rng.random(len(sizes)), -remainders))
    shares[neediest[: k - shares.sum()]] += 1

    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    place_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[place_in_class < np.repeat(shares, sizes)])


SELECTORS: dict[str, Callable[..., np.ndarray]] = {
    "random_subset": random_subset,
    "stratified_random": stratified_random,
    "top_activations": top_activations,
    "top_activations_drop": functools.partial(top_activations, duplicates="drop"),
    "top_activations_keep": functools.partial(top_activations, duplicates="keep"),
}
NEEDS_NO_EMBEDDING = frozenset({"random_subset", "stratified_random"})  # N and the labels are all they use


def selector(name: str) -> Callable[..., np.ndarray]:
    """The selector called `name`; InputError with the nearest names if there is none."""
    if name not in SELECTORS:
        raise unknown("selector", name, SELECTORS)
    return SELECTORS[name]
