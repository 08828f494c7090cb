"""The strongest rows of each element, of embeddings that may be larger than memory: what sorting each would give.

Of equal values the lowest row comes first. Sources are those of `embsel.scale.chunks`; what picks and why is unknown.
"""

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from embsel.scale import chunks

GROUP_ROWS = 32  # rows that share one maximum in `group_maxima`; a multiple of 4
BLOCK_BYTES = 2**21  # looked at twice in a row: they fit the processor's cache
THREADS = min(4, os.cpu_count() or 1)  # one alone does not keep the memory busy; NumPy lets them work at once
DEPTHS = 4  # a chunk has at least so many times the rows of a list: less memory than that of the lists, or little more
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


def strongest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` >= 1 largest of `values` (1-D), largest first; of equals the first wins."""
    count = min(count, len(values))
    cut = np.partition(values, -count)[-count]
    rows = np.flatnonzero(values >= cut)[::-1]  # sorted backwards and read backwards: equals keep their order
    return rows[np.argsort(values[rows], kind="stable")][::-1][:count]


# --- in memory: a pyramid, at its foot the rows, above each step the maxima of each GROUP_ROWS of its rows ---

Pyramid = list[tuple[np.ndarray, np.ndarray]]  # a step's values (rows, n), and (rows,) where something is free below


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


def _pyramid(chunk: np.ndarray, maxima: np.ndarray, count: int) -> Pyramid:
    """The steps of a chunk with these `group_maxima`, as many as pay where `count` rows at a time are looked for."""
    steps = [chunk, maxima]
    while len(steps[-1]) > 4 * GROUP_ROWS * count:
        steps.append(group_maxima(steps[-1]))
    return [(values, np.ones(len(values), bool)) for values in steps]


def _top(pyramid: Pyramid, element: int, count: int) -> np.ndarray:
    """The `count` strongest free rows in one element, strongest first.

    They lie in the `count` groups of the highest maxima, for these maxima all come before any row of another group.
    So this is exact, in whatever order the rows are.
    """
    (values, free), *above = pyramid
    groups = np.sort(_top(above, element, count)) if above else np.arange(-(-len(values) // GROUP_ROWS))
    rows = (groups[:, None] * GROUP_ROWS + np.arange(GROUP_ROWS)).ravel()
    rows = rows[: np.searchsorted(rows, len(values))]  # the last group may be shorter
    rows = rows[free[rows]]
    return rows[strongest(values[rows, element], count)]


def _take(pyramid: Pyramid, rows: np.ndarray, first: int) -> None:
    """Let these rows no longer be free, and be in no maxima of the elements from `first` on."""
    pyramid[0][1][rows] = False
    for (values, free), (maxima, free_above) in itertools.pairwise(pyramid):
        rows = np.unique(rows // GROUP_ROWS)
        lowest = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min
        for groups in np.array_split(rows, 1 + rows.size * GROUP_ROWS * values.shape[1] // 2**20):
            members = np.minimum(groups[:, None] * GROUP_ROWS + np.arange(GROUP_ROWS), len(values) - 1)
            inside = values[members, first:]
            inside[~free[members]] = lowest
            maxima[groups, first:] = inside.max(axis=1)
            free_above[groups] = free[members].any(axis=1)


def _pick_in_memory(embeddings: np.ndarray, each: np.ndarray, once: bool) -> list[np.ndarray]:
    """What each element picks. Others seldom rank the same rows high: only where a list of twice a share is used up,
    the rows that are gone are taken out of the pyramid.
    """
    pyramid, picked, taken = _pyramid(embeddings, group_maxima(embeddings), each[0]), [], 0
    free = np.ones(len(embeddings), bool)
    for element, share in enumerate(each[each > 0]):
        rows = _top(pyramid, element, 2 * share if once else share)
        if free[rows].sum() < share:
            _take(pyramid, np.concatenate(picked[taken:]), element)
            rows, taken = _top(pyramid, element, share), element
        picked.append(rows[free[rows]][:share])
        free[picked[-1]] = not once
    return picked


# --- from anywhere else: lists of the strongest rows so far, which merge in any order ---


class Best(NamedTuple):
    """The strongest rows of each embedding element, strongest first; of equal values the lowest row first."""

    values: np.ndarray  # (depth, n), dtype of the embeddings
    rows: np.ndarray  # (depth, n), int64


def best_of_chunk(chunk: np.ndarray, depth: int, offset: int = 0, maxima: np.ndarray | None = None) -> Best:
    """The `depth` strongest rows of each element in one chunk of rows, the first of which is row `offset`.

    One pass finds the `group_maxima`, if they are not known; then only a few groups are looked at again.
    """
    pyramid = _pyramid(chunk, group_maxima(chunk, offset) if maxima is None else maxima, depth)
    rows = np.stack([_top(pyramid, element, depth) for element in range(chunk.shape[1])], axis=1)
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
    chunks that are short beside the lists take longer. As soon as the lists are full, a value has to be above the
    weakest of its list. The few that are wait until they are as many as the lists are long; only then the lists are
    made anew.
    """
    if chunks.kind(embeddings) == "dask":
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


def _pick_from_lists(embeddings, each: np.ndarray, once: bool) -> list[np.ndarray]:
    """What each element picks; with `once`, from lists of four times a share. Where one is used up, make lists of the
    rows that are still free, for the elements that still have none: the first is served then, so that this ends.

    Those lists are as long as a chunk's memory allows, for each costs a pass. No list need be longer than what is left
    to pick, as the elements before take fewer than that.
    """
    free, picked = np.ones(embeddings.shape[0], bool), []
    lists = best_rows(embeddings, 4 * each[0] if once else each[0])
    while True:
        for rows, share in zip(lists.T, each[len(picked) :], strict=True):
            rows = rows[free[rows]][:share]
            if len(rows) < share:
                break
            free[rows] = not once
            picked.append(rows)
        else:
            return picked
        left = each[len(picked) :]
        depth = min(left.sum(), max(4 * left[0], chunks.CHUNK_BYTES // (16 * len(left))))  # 16 bytes: value and row
        lists = np.flatnonzero(free)[best_rows(chunks.remaining(embeddings, free, len(picked)), depth)]


def _pick_from_pieces(pieces: Iterator[np.ndarray], k: int, once: bool) -> np.ndarray:
    """Pick from what was picked so far and the next chunk, as if it were all there is.

    This is exact: a row that is not picked from some rows is never picked when more are added. If rows may be picked
    twice, it is behind enough others in every list. If once, let one row be added, and let the elements take one after
    the other. Before each takes, the rows that are free are those that were free without the new one, and one more: the
    new one, or a row that was picked without it and lost its place. So that one too is a new row or a picked one, and
    every other row finds what it found before.
    """
    pool, rows = [], np.empty(0, np.int64)
    for offset, chunk in chunks.stream(pieces, least=k):
        chunks.check_finite(chunk, offset)
        pool, rows = [np.concatenate([*pool, chunk])], np.append(rows, np.arange(offset, offset + len(chunk)))
        if len(rows) > k:
            kept = np.unique(pick(*pool, k, once=once))  # ascending, so that of equals the lowest row still wins
            pool, rows = [pool[0][kept]], rows[kept]
    return rows[pick(*pool, k, once=once)]
