"""Selectors: each picks `k` training images, given one embedding per image.

Every selector is called as `f(embeddings, k, *, labels=None, seed=0)` and returns row numbers, int64 (k,):

embeddings  (N, n), floating point or integer, finite; never written to.
k           how many rows to pick, 1 to N.
labels      (N,) integers >= 0, or None; only some selectors need them.
seed        an integer >= 0; the same input and seed give the same rows.

Anything else raises `InputError`. The rows are distinct, save where it is said. `top_activations` and `random_subset`
also take embeddings that do not fit in memory (`embsel.chunks`). Keras and images are unknown here. The paper's filter
and its variants are in this room, selectors from the literature in `embsel.coresets`, and all of them in the registry
`SELECTORS`, at the end.
"""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from embsel import errors
from embsel.errors import unknown
from embsel.scale import chunks
from embsel.selection import literature as coresets
from embsel.selection.contract import Selector, as_floats, door, per_class, shares, strongest

DUPLICATES = ("drop", "keep", "refill")
GROUP_ROWS = 32  # rows that share one maximum in `group_maxima`; a multiple of 4
BLOCK_BYTES = 2**21  # looked at twice in a row: they fit the processor's cache
THREADS = min(4, os.cpu_count() or 1)  # one alone does not keep the memory busy; NumPy lets them work at once
DEPTHS = 4  # a chunk has at least so many times the rows of a list: less memory than that of the lists, or little more
FEW = 1 / 32  # of the groups of a chunk; what waits of them, 20 bytes for 4, is a sixth of the chunk at most


class Best(NamedTuple):
    """The strongest rows of each embedding element, strongest first; of equal values the lowest row first."""

    values: np.ndarray  # (depth, n), dtype of the embeddings
    rows: np.ndarray  # (depth, n), int64


class Level(NamedTuple):
    """A step of a pyramid: at its foot the rows, above each step the maxima of each GROUP_ROWS of its rows."""

    values: np.ndarray  # (rows, n)
    free: np.ndarray  # (rows,) whether something in or under the row may still be picked


def group_maxima(chunk: np.ndarray, offset: int = 0) -> np.ndarray:
    """Maximum of each element over each GROUP_ROWS rows, (groups, n); InputError if a value is not finite."""
    maxima = np.empty((-(-len(chunk) // GROUP_ROWS), chunk.shape[1]), chunk.dtype)
    share = -(-len(maxima) // min(THREADS, 1 + chunk.nbytes // BLOCK_BYTES))
    parts = [
        (chunk[i * GROUP_ROWS : (i + share) * GROUP_ROWS], maxima[i : i + share]) for i in range(0, len(maxima), share)
    ]
    if len(parts) == 1:  # a thread takes longer to start than a small chunk takes
        lows = _fill(*parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            lows = np.concatenate([*pool.map(_fill, *zip(*parts, strict=True))])
    if not (np.isfinite(maxima).all() and np.isfinite(lows).all()):
        for start, part in chunks.stream(chunk):
            chunks.check_finite(part, offset + start)
    return maxima


def _fill(chunk: np.ndarray, maxima: np.ndarray) -> list:
    """Write the maxima of the groups of a chunk, block by block, and return the minimum of each block."""
    n, groups, lows = chunk.shape[1], max(1, BLOCK_BYTES // (GROUP_ROWS * chunk[0].nbytes)), []
    for i in range(0, len(maxima), groups):
        block, highs = chunk[i * GROUP_ROWS : (i + groups) * GROUP_ROWS], maxima[i : i + groups]
        lows.append(block.min())  # shows -inf, as maxima show NaN and +inf; first, as it fills the cache the quickest
        whole = len(block) // GROUP_ROWS  # groups; first the maxima of long rows, four in one, which is quick
        fours = block[: whole * GROUP_ROWS].reshape(whole, GROUP_ROWS // 4, 4 * n).max(axis=1)
        fours.reshape(whole, 4, n).max(axis=1, out=highs[:whole])
        if whole < len(highs):  # the last group may be shorter
            block[whole * GROUP_ROWS :].max(axis=0, out=highs[whole])
    return lows


def _pyramid(chunk: np.ndarray, maxima: np.ndarray, count: int) -> list[Level]:
    """The levels of a chunk with these `group_maxima`, as many as pay where `count` rows at a time are looked for."""
    steps = [chunk, maxima]
    while len(steps[-1]) > 4 * GROUP_ROWS * count:
        steps.append(group_maxima(steps[-1]))
    return [Level(values, np.ones(len(values), bool)) for values in steps]


def _top(levels: Sequence[Level], element: int, count: int) -> np.ndarray:
    """The `count` strongest free rows of the first level in one element, strongest first.

    They lie in the `count` groups of the highest maxima, for these maxima all come before any row of another group.
    So this is exact, in whatever order the rows are.
    """
    (values, free), *above = levels
    groups = np.sort(_top(above, element, count)) if above else np.arange(-(-len(values) // GROUP_ROWS))
    rows = (groups[:, None] * GROUP_ROWS + np.arange(GROUP_ROWS)).ravel()
    rows = rows[: np.searchsorted(rows, len(values))]  # the last group may be shorter
    rows = rows[free[rows]]
    return rows[strongest(values[rows, element], count)]


def _take(levels: Sequence[Level], rows: np.ndarray, first: int) -> None:
    """Let these rows of the first level no longer be free, and be in no maxima of the elements from `first` on."""
    levels[0].free[rows] = False
    for (values, free), (maxima, free_above) in itertools.pairwise(levels):
        rows = np.unique(rows // GROUP_ROWS)
        lowest = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min
        for groups in np.array_split(rows, 1 + rows.size * GROUP_ROWS * values.shape[1] // 2**20):
            members = np.minimum(groups[:, None] * GROUP_ROWS + np.arange(GROUP_ROWS), len(values) - 1)
            inside = values[members, first:]
            inside[~free[members]] = lowest
            maxima[groups, first:] = inside.max(axis=1)
            free_above[groups] = free[members].any(axis=1)


def best_of_chunk(chunk: np.ndarray, depth: int, offset: int = 0, maxima: np.ndarray | None = None) -> Best:
    """The `depth` strongest rows of each element in one chunk of rows, the first of which is row `offset`.

    One pass finds the `group_maxima`, if they are not known; then only a few groups are looked at again.
    """
    levels = _pyramid(chunk, group_maxima(chunk, offset) if maxima is None else maxima, depth)
    rows = np.stack([_top(levels, element, depth) for element in range(chunk.shape[1])], axis=1)
    return Best(np.take_along_axis(chunk, rows, axis=0), rows + offset)


def merge(a: Best, b: Best, depth: int) -> Best:
    """The `depth` strongest of two chunks' rows; exact, and chunks may be merged in any order."""
    rows, values = np.concatenate([a.rows, b.rows]), np.concatenate([a.values, b.values])
    by_row = rows.argsort(axis=0)  # so that the lowest position is the lowest row
    rows, values = np.take_along_axis(rows, by_row, axis=0), np.take_along_axis(values, by_row, axis=0)
    best = np.stack([strongest(column, depth) for column in values.T], axis=1)
    return Best(np.take_along_axis(values, best, axis=0), np.take_along_axis(rows, best, axis=0))


def merge_all(bests: Sequence[Best], depth: int) -> Best:
    """The `depth` strongest of any number of chunks' rows."""
    return functools.reduce(lambda a, b: merge(a, b, depth), bests)


def best_of_dask(array, depth: int, split_every: int = 8):
    """Return, as a `dask.delayed.Delayed`, the `Best` of a Dask array `(N, n)`: its `depth` strongest rows.

    Each block gives its own, and `split_every` of these at a time are merged, in a tree: the blocks stay where they
    are, and what travels is no larger than the lists. `compute()` runs it, on a cluster if there is a client.
    """
    import dask

    best, merged = dask.delayed(best_of_chunk), dask.delayed(merge_all)
    level = [best(block, depth, offset) for block, offset in chunks.dask_blocks(array)]
    while len(level) > 1:
        level = [merged(level[i : i + split_every], depth) for i in range(0, len(level), split_every)]
    return level[0]


def best_rows(embeddings, depth: int) -> np.ndarray:
    """The `depth` (at most N) strongest rows of each element, (depth, n) int64, strongest first.

    `embeddings` are a source that can be read again, or an iterator of numbers and chunks as of `chunks.stream`, where
    chunks that are short beside the lists take longer.
    As soon as the lists are full, a value has to be above the weakest of its list. The few that are wait until they are
    as many as the lists are long; only then the lists are made anew.
    """
    if chunks.is_dask(embeddings):
        return best_of_dask(embeddings, depth).compute().rows
    best, waiting = None, []
    for offset, chunk in embeddings if isinstance(embeddings, Iterator) else chunks.stream(embeddings, DEPTHS * depth):
        maxima = group_maxima(chunk, offset)
        full = best is not None and len(best.rows) == depth
        promising = maxima > best.values[-1] if full else np.ones(maxima.shape, bool)
        if not full or promising.mean() > FEW:  # as where rows ascend: too many to let them wait
            here = best_of_chunk(chunk, depth, offset, maxima)
            best, waiting = merge(_insert(best, waiting), here, depth) if best else here, []
            continue
        waiting += _above(chunk, promising, best.values[-1], offset)
        if sum(len(rows) for _, rows, _ in waiting) > best.rows.size:
            best, waiting = _insert(best, waiting), []
    return _insert(best, waiting).rows


def _above(chunk: np.ndarray, promising: np.ndarray, weakest: np.ndarray, offset: int) -> list[tuple]:
    """The values above `weakest` (n,) in the groups that are `promising` (groups, n): values, rows and elements."""
    found = []
    groups, elements = np.nonzero(promising)
    for i in range(0, len(groups), 2**15):  # so many at a time need a few megabytes
        group, element = groups[i : i + 2**15, None], elements[i : i + 2**15, None]
        rows = group * GROUP_ROWS + np.arange(GROUP_ROWS)
        values = chunk[np.minimum(rows, len(chunk) - 1), element]
        above = (values > weakest[element]) & (rows < len(chunk))
        found.append((values[above], rows[above] + offset, np.broadcast_to(element, rows.shape)[above]))
    return found


def _insert(best: Best, waiting: list[tuple]) -> Best:
    """`best` with the values that wait, all of them of later rows and in the order of their rows."""
    if not waiting:
        return best
    values, rows, elements = map(np.concatenate, zip(*waiting, strict=True))
    by_element = elements.argsort(kind="stable")
    parts = np.split(by_element, np.searchsorted(elements[by_element], np.arange(1, best.rows.shape[1])))
    new = []
    for old_values, old_rows, part in zip(best.values.T, best.rows.T, parts, strict=True):
        level, places = np.concatenate([old_values, values[part]]), np.concatenate([old_rows, rows[part]])
        order = strongest(level, len(best.rows))
        new.append((level[order], places[order]))
    return Best(*(np.stack(columns, axis=1) for columns in zip(*new, strict=True)))


@door(finite=False, chunked=True)
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

    The embeddings may also be a memory map, a Zarr or a Dask array, or an iterable of chunks (rows, n): the answer is
    the same. In memory, one pass is enough, and a 32nd of the array is needed beside it. From elsewhere an array is
    read in chunks, and again if refilling used up a list. An iterable is read once, and the embeddings of k rows are
    remembered on the way.

    :helps: meant to show every feature that the encoder knows in its purest form; it picks extremes by design.
    :knobs: `duplicates`, what becomes of a row that is in several lists.
    """
    if duplicates not in DUPLICATES:
        raise unknown("duplicates policy", duplicates, DUPLICATES)
    return (_pick_once if isinstance(embeddings, Iterator) else _pick)(embeddings, k, duplicates)


def _pick(embeddings, k: int, duplicates: str) -> np.ndarray:
    n = embeddings.shape[1]
    each = k // n + (np.arange(n) < k % n)
    if chunks.in_memory(embeddings):
        lists = _picks(embeddings, each, duplicates == "refill")
    elif duplicates == "refill":
        return _refill(embeddings, each)
    else:
        lists = [rows[:share] for rows, share in zip(best_rows(embeddings, each[0]).T, each, strict=True)]
    rows = np.concatenate(lists)
    return rows[np.sort(np.unique(rows, return_index=True)[1])] if duplicates == "drop" else rows


def _picks(embeddings: np.ndarray, each: np.ndarray, once: bool) -> list[np.ndarray]:
    """The rows that each element picks, as many as its share, and if `once` of those that none before it picked.

    Others seldom rank these high: only where a list of twice a share is used up they are taken out of the pyramid.
    """
    levels, picked, taken = _pyramid(embeddings, group_maxima(embeddings), each[0]), [], 0
    free = np.ones(len(embeddings), bool)
    for element, share in enumerate(each[each > 0]):
        rows = _top(levels, element, 2 * share if once else share)
        if free[rows].sum() < share:
            _take(levels, np.concatenate(picked[taken:]), element)
            rows, taken = _top(levels, element, share), element
        picked.append(rows[free[rows]][:share])
        free[picked[-1]] = not once
    return picked


def _refill(embeddings, each: np.ndarray) -> np.ndarray:
    """Pick from lists of four times a share. Where one is used up, make lists of the rows that are still free, for the
    elements that still have none: the first of these is served then, so that this ends.

    Those lists are as long as a chunk's memory allows, for each costs a pass. No list need be longer than what is left
    to pick, as the elements before take fewer than that.
    """
    free, picked = np.ones(embeddings.shape[0], bool), []
    lists = best_rows(embeddings, 4 * each[0])
    while True:
        for rows, share in zip(lists.T, each[len(picked) :], strict=True):
            rows = rows[free[rows]][:share]
            if len(rows) < share:
                break
            free[rows] = False
            picked.append(rows)
        else:
            return np.concatenate(picked)
        left = each[len(picked) :]
        depth = min(left.sum(), max(4 * left[0], chunks.CHUNK_BYTES // (16 * len(left))))  # 16 bytes: value and row
        lists = np.flatnonzero(free)[best_rows(chunks.remaining(embeddings, free, len(picked)), depth)]


def _pick_once(pieces: Iterator[np.ndarray], k: int, duplicates: str) -> np.ndarray:
    """Pick from what was picked so far and the next chunk, as if it were all there is.

    This is exact: a row that is not picked from some rows is never picked when more are added. Without duplicates to
    make up for, it is behind enough others in every list. With refilling, let one row be added, and let the elements
    take one after the other. Before each takes, the rows that are free are those that were free without the new one,
    and one more: the new one, or a row that was picked without it and lost its place. So that one too is a new row or
    a picked one, and every other row finds what it found before.
    """
    pool, rows = None, np.empty(0, np.int64)
    for offset, chunk in chunks.stream(pieces, least=k):
        chunks.check_finite(chunk, offset)
        pool = np.concatenate([chunk[:0] if pool is None else pool, chunk])
        rows = np.concatenate([rows, np.arange(offset, offset + len(chunk))])
        if len(pool) > k:
            kept = np.unique(_pick(pool, k, duplicates))  # ascending, so that of equals the lowest row still wins
            pool, rows = pool[kept], rows[kept]
    return rows[_pick(pool, k, duplicates)]


def _standardised(embeddings: np.ndarray) -> np.ndarray:
    """Each element less its mean, in its standard deviations: what is high in one compares with what is in another."""
    x = as_floats(embeddings)
    x = x - x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    deviations = np.sqrt(np.einsum("ij,ij->j", x, x, dtype=np.float64) / len(x))
    x /= np.where(deviations > 0, deviations, 1).astype(x.dtype)
    return x


@door()
def pair_activations(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that activate two embedding elements together most (section 4.3: "combinations of elements").

    A row is as strong in a pair as in the weaker of the two elements, each in its standard deviations: high in both.
    The pairs come round by round: each element with its neighbour, then with the next but one, and so on. A round has
    every element twice, so k pairs treat all alike. Each pair takes its strongest free row, the lowest of equals; where
    k is above the number of pairs, its share of rows. Memory: a copy of the embeddings, and one pair at a time.

    :helps: meant for embeddings that are small for the data, where a list for each element gets long and uniform.
    :knobs: none.
    """
    n, columns = embeddings.shape[1], np.ascontiguousarray(_standardised(embeddings).T)
    total = max(n * (n - 1) // 2, 1)  # a single element pairs with itself
    pairs = ((i, (i + step) % n) for step in range(1, n + 1) for i in range(n))  # after `total` they would come again
    each = k // total + (np.arange(total) < k % total)
    free, picked = np.ones(len(embeddings), bool), []
    for (a, b), share in zip(pairs, each[:k], strict=False):
        rows = strongest(np.where(free, np.minimum(columns[a], columns[b]), -np.inf), share)
        free[rows] = False
        picked.append(rows)
    return np.concatenate(picked)


@door()
def penalised_activations(embeddings, k, *, labels=None, seed=0, high=2.0, penalty=0.1) -> np.ndarray:
    """The paper's filter, less a penalty for "too many highly-active features" (its future work, section 6).

    An element is highly active in a row if it lies `high` of its standard deviations above its mean. Each that is so
    takes `penalty` standard deviations off all of the row's activations; then `top_activations`, refilled, chooses.

    :helps: meant to isolate features, where a few busy images lead many of the lists.
    :knobs: `high`, in standard deviations; `penalty`, in standard deviations for each highly active element.
    """
    activations = _standardised(embeddings)
    activations -= penalty * (activations > high).sum(axis=1, keepdims=True, dtype=activations.dtype)
    return top_activations(activations, k)


@door()
def pca_activations(embeddings, k, *, labels=None, seed=0, variance=0.95) -> np.ndarray:
    """The paper's filter on principal components ("a good precursor", section 6) instead of the elements themselves.

    The components are the first that hold `variance` of the standardised elements. A component has no natural sign,
    so each leads two lists, one of its largest and one of its smallest values; refilled as in `top_activations`.

    :helps: meant for elements that say the same: their lists would be filled with the same kind of row.
    :knobs: `variance`, the share of it that the components hold, above 0 and below 1.
    """
    from sklearn.decomposition import PCA

    errors.share("variance", variance)
    with np.errstate(invalid="ignore", divide="ignore"):  # constant embeddings have no variance to share out
        components = PCA(variance).fit_transform(_standardised(embeddings))
    return top_activations(np.hstack([components, -components]), k)


@door(finite=False, chunked=True)
def random_subset(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random without replacement, every set of k equally likely; in ascending order.

    The embeddings may also be a memory map, a Zarr or a Dask array, or an iterable of chunks (rows, n): the answer is
    the same. They are read once, to count them and to refuse bad ones.

    :helps: always the baseline: whatever a selector costs and promises is measured against it.
    :knobs: none.
    """
    rows = chunks.finite_rows(embeddings)
    return np.sort(np.random.default_rng(seed).choice(rows, k, replace=False))


@door(labelled=True)
def stratified_random(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random, each class in the proportion that it has among all rows (`rows.shares`); in ascending order.

    :helps: the fair baseline of every selector that looks at labels; with few rows a class, it keeps all of them in.
    :knobs: none.
    """
    rng = np.random.default_rng(seed)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts = shares(sizes, k, rng)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    place_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[place_in_class < np.repeat(counts, sizes)])


SELECTORS: dict[str, Selector] = {
    "random_subset": Selector(random_subset, "random", needs="nothing", chance=True),
    "stratified_random": Selector(stratified_random, "random, balanced", needs="nothing", labels=True, chance=True),
    "top_activations": Selector(top_activations, "filter, refill"),
    "top_activations_drop": Selector(functools.partial(top_activations, duplicates="drop"), "filter, drop"),
    "top_activations_keep": Selector(functools.partial(top_activations, duplicates="keep"), "filter, keep"),
    "top_activations_per_class": Selector(per_class(top_activations), "filter, per class", labels=True),
    "pair_activations": Selector(pair_activations, "filter, pairs"),
    "penalised_activations": Selector(penalised_activations, "filter, penalised"),
    "pca_activations": Selector(pca_activations, "filter, after PCA"),
    "kmeans_prototypes": Selector(coresets.kmeans_prototypes, "k-means", chance=True),
    "kmeans_prototypes_per_class": Selector(
        per_class(coresets.kmeans_prototypes), "k-means, per class", labels=True, chance=True
    ),
    "farthest_first": Selector(coresets.farthest_first, "farthest first"),
    "farthest_first_per_class": Selector(per_class(coresets.farthest_first), "farthest first, per class", labels=True),
    "facility_location": Selector(coresets.facility_location, "facility location"),
    "density_typical": Selector(coresets.density_typical, "typical", chance=True),
    "margin": Selector(coresets.margin, "smallest margin", needs="proxy"),
    "el2n": Selector(coresets.el2n, "largest error (EL2N)", needs="proxy", labels=True),
    "el2n_easiest": Selector(coresets.el2n_easiest, "smallest error", needs="proxy", labels=True),
}


def selector(name: str) -> Selector:
    """The selector called `name`; InputError with the nearest names if there is none."""
    if not isinstance(name, str) or name not in SELECTORS:
        raise unknown("selector", name, SELECTORS)
    return SELECTORS[name]
