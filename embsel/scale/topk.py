"""The strongest rows of each element, of embeddings that may be larger than memory: what sorting each would give.

Of equal values the lowest row comes first. Sources are those of `embsel.scale.chunks`; what picks and why is unknown.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from embsel.scale import chunks

GROUP_ROWS = 32  # rows that share one maximum in `group_maxima`; a multiple of 4
BLOCK_BYTES = 2**21  # looked at twice in a row: they fit the processor's cache
THREADS = min(4, os.cpu_count() or 1)  # one alone does not keep the memory busy; NumPy lets them work at once
DEPTHS = 4  # a chunk has at least so many times the values of the lists: less memory than theirs, or little more
FEW = 1 / 32  # of the groups of a chunk; what waits of them, 20 bytes for 4, is a sixth of the chunk at most


def pick(embeddings, k: int, *, once: bool) -> np.ndarray:
    """The rows `(k,)` int64 that the n elements of a source `(N, n)` pick: one after the other, each its strongest.

    Each picks k / n, the first k % n of them one more; with `once`, of those that no element before has picked. In
    memory, one pass is enough, and a 32nd of the array is needed beside it. From elsewhere an array is read in chunks,
    and again if rows that are picked once used up a list. An iterator of chunks is read once, and the embeddings of k
    rows are remembered on the way. Raises InputError if a value is not finite.
    """
    if isinstance(embeddings, Iterator):
        return _pick_from_pieces(embeddings, k, once)
    n = embeddings.shape[1]
    each = k // n + (np.arange(n) < k % n)
    how = _pick_in_memory if chunks.in_memory(embeddings) else _pick_from_lists
    return np.concatenate(how(embeddings, each, once))


def _pick_in_memory(embeddings: np.ndarray, each: np.ndarray, once: bool) -> list[np.ndarray]:
    """What each element picks; others seldom rank the same rows high, and where they do, its list is made longer."""
    top, free, picked = _search(embeddings, each[0]), np.ones(len(embeddings), bool), []
    depth = each[0] * (1 + once)
    for element, share in enumerate(each[each > 0]):
        while free[rows := top(element, depth)].sum() < share:
            depth *= 2
        picked.append(rows[free[rows]][:share])
        free[picked[-1]] = not once
    return picked


def _pick_from_lists(embeddings, each: np.ndarray, once: bool) -> list[np.ndarray]:
    """What each element picks; with `once`, from lists of four times a share. Where one is used up, the source is read
    again, for longer lists of the elements that still have none: of as many at a time as the memory allows.
    """
    n, depth, free, picked = len(each), each[0] * (4 if once else 1), np.ones(embeddings.shape[0], bool), []
    room = max(n * depth, chunks.CHUNK_BYTES // 16)  # 16 bytes: value and row
    while len(picked) < n:
        lists = best_rows(embeddings, depth, len(picked), max(1, room // depth))
        for rows, share in zip(lists.T, each[len(picked) :], strict=False):
            rows = rows[free[rows]][:share]
            if len(rows) < share:
                depth = min(4 * depth, each.sum())  # no list need be longer than all that is picked
                break
            free[rows] = not once
            picked.append(rows)
    return picked


def _pick_from_pieces(pieces: Iterator[np.ndarray], k: int, once: bool) -> np.ndarray:
    """Pick from what was picked so far and the next chunk, as if it were all there is.

    This is exact: a row that is not picked from some rows is never picked when more are added. If rows may be picked
    twice, it is behind enough others in every list. If once, add one row, and let the elements take in turn: the rows
    that are free to each are those without the new one, and one more, which is new or was picked and lost its place.
    """
    pool, rows = [], np.empty(0, np.int64)
    for offset, chunk in chunks.stream(pieces, least=k):
        chunks.check_finite(chunk, offset)
        pool, rows = [np.concatenate([*pool, chunk])], np.append(rows, np.arange(offset, offset + len(chunk)))
        if len(rows) > k:
            kept = np.unique(pick(*pool, k, once=once))  # ascending, so that of equals the lowest row still wins
            pool, rows = [pool[0][kept]], rows[kept]
    return rows[pick(*pool, k, once=once)]


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` >= 1 largest of `values` (1-D), largest first; of equals the first wins."""
    count = min(count, len(values))
    cut = np.partition(values, -count)[-count]
    rows = np.flatnonzero(values >= cut)[::-1]  # sorted backwards and read backwards: equals keep their order
    return rows[np.argsort(values[rows], kind="stable")][::-1][:count]


# --- one chunk: a pyramid, at its foot the rows, above each step the maxima of each GROUP_ROWS of its rows ---


def group_maxima(chunk: np.ndarray, offset: int = 0) -> np.ndarray:
    """Maximum of each element over each GROUP_ROWS rows, (groups, n); InputError if a value is not finite."""
    n, maxima = chunk.shape[1], np.empty((-(-len(chunk) // GROUP_ROWS), chunk.shape[1]), chunk.dtype)
    step = max(1, BLOCK_BYTES // (GROUP_ROWS * chunk[0].nbytes))  # groups of a block

    def fill(start: int):
        """Write the maxima of a block, and return its minimum."""
        block, highs = chunk[start * GROUP_ROWS : (start + step) * GROUP_ROWS], maxima[start : start + step]
        low = block.min()  # shows -inf, as maxima show NaN and +inf; first, as it fills the cache the quickest
        whole = len(block) // GROUP_ROWS  # groups; first the maxima of long rows, four in one, which is quick
        fours = block[: whole * GROUP_ROWS].reshape(whole, GROUP_ROWS // 4, 4 * n).max(axis=1)
        fours.reshape(whole, 4, n).max(axis=1, out=highs[:whole])
        if whole < len(highs):  # the last group may be shorter
            block[whole * GROUP_ROWS :].max(axis=0, out=highs[whole])
        return low

    starts = range(0, len(maxima), step)
    if len(starts) == 1:  # a thread takes longer to start than a small chunk takes
        lows = [fill(0)]
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            lows = [*pool.map(fill, starts)]
    if not (np.isfinite(maxima).all() and np.isfinite(lows).all()):
        for start, part in chunks.stream(chunk):
            chunks.check_finite(part, offset + start)
    return maxima


class Best(NamedTuple):
    """The strongest rows of each embedding element, strongest first; of equal values the lowest row first."""

    values: np.ndarray  # (depth, n), dtype of the embeddings
    rows: np.ndarray  # (depth, n), int64


def best_of_chunk(chunk: np.ndarray, depth: int, offset: int = 0, maxima: np.ndarray | None = None) -> Best:
    """The `depth` strongest rows of each element in one chunk of rows, the first of which is row `offset`.

    One pass finds the `group_maxima`, if they are not known; then only a few groups are looked at again.
    """
    top = _search(chunk, depth, offset, maxima)
    rows = np.stack([top(element, depth) for element in range(chunk.shape[1])], axis=1)
    return Best(np.take_along_axis(chunk, rows, axis=0), rows + offset)


def _search(chunk: np.ndarray, usual: int, offset: int = 0, maxima: np.ndarray | None = None) -> Callable:
    """Return what finds the strongest rows of an element, strongest first; of `usual` rows at a time the quickest."""
    steps = [chunk, group_maxima(chunk, offset) if maxima is None else maxima]
    while len(steps[-1]) > 4 * GROUP_ROWS * usual:  # as many as pay
        steps.append(group_maxima(steps[-1]))

    def top(element: int, count: int) -> np.ndarray:
        rows = strongest(steps[-1][:, element], count)
        for values in steps[-2::-1]:  # in the groups of the highest maxima: these come before any row of another group
            rows = (np.sort(rows)[:, None] * GROUP_ROWS + np.arange(GROUP_ROWS)).ravel()
            rows = rows[: np.searchsorted(rows, len(values))]  # the last group may be shorter
            rows = rows[strongest(values[rows, element], count)]
        return rows

    return top


# --- many chunks: lists of the strongest rows so far, which merge in any order ---


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


def best_rows(embeddings, depth: int, first: int = 0, count: int | None = None) -> np.ndarray:
    """The `depth` strongest rows of `count` elements from `first` on, (depth, count) int64, strongest first.

    As soon as the lists are full, a value has to be above the weakest of its list. The few that are wait until they are
    as many as the lists are long; only then the lists are made anew.
    """
    last = min(first + (count or embeddings.shape[1]), embeddings.shape[1])
    if chunks.kind(embeddings) == "dask":
        return best_of_dask(embeddings[:, first:last], depth).compute().rows
    best, waiting = None, []
    for offset, chunk in chunks.stream(embeddings, DEPTHS * depth * (last - first) // embeddings.shape[1]):
        chunk = chunk[:, first:last]
        maxima = group_maxima(chunk, offset)
        full = best is not None and len(best.rows) == depth
        promising = maxima > best.values[-1] if full else np.ones(maxima.shape, bool)
        if not full or promising.mean() > FEW:  # as where rows ascend: too many to let them wait
            here = best_of_chunk(chunk, depth, offset, maxima)
            best, waiting = merge(_insert(best, waiting), here, depth) if best else here, []
            continue
        waiting.append(_above(chunk, promising, best.values[-1], offset))
        if sum(len(rows) for _, rows, _ in waiting) > best.rows.size:
            best, waiting = _insert(best, waiting), []
    return _insert(best, waiting).rows


def _above(chunk: np.ndarray, promising: np.ndarray, weakest: np.ndarray, offset: int) -> tuple:
    """The values above `weakest` (n,) in the groups that are `promising` (groups, n): values, rows and elements."""
    groups, elements = (numbers[:, None] for numbers in np.nonzero(promising))
    rows = groups * GROUP_ROWS + np.arange(GROUP_ROWS)
    values = chunk[np.minimum(rows, len(chunk) - 1), elements]
    above = (values > weakest[elements]) & (rows < len(chunk))
    return values[above], rows[above] + offset, np.broadcast_to(elements, rows.shape)[above]


def _insert(best: Best, waiting: list[tuple]) -> Best:
    """`best`, as deep as it was, with the values that wait."""
    if not waiting:
        return best
    listed = best.values.ravel(), best.rows.ravel(), np.tile(np.arange(best.rows.shape[1]), len(best.rows))
    values, rows, elements = map(np.concatenate, zip(listed, *waiting, strict=True))
    order = np.lexsort((-rows, values, -elements))[::-1]  # by element, the strongest first, of equals the lowest row
    ends = np.cumsum(np.bincount(elements))
    order = order[ends - np.diff(ends, prepend=0) + np.arange(len(best.rows))[:, None]]
    return Best(values[order], rows[order])
