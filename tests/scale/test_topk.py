"""The strongest rows of each element: merges, chunks of any length, a tree of tasks, little memory and work."""

import itertools
import pickle
import tracemalloc

import dask.array as da
import numpy as np
import pytest
from kinds import KINDS

from embsel.errors import InputError
from embsel.scale import chunks, topk


def ranked(embeddings):
    return np.argsort(-embeddings.astype(float), axis=0, kind="stable")


def pieces(embeddings, lengths):
    """Numbers of first rows and chunks, as `chunks.stream` gives them."""
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        yield int(end - length), embeddings[end - length : end]


def test_chunks_merge_in_any_order():
    rng = np.random.default_rng(2)
    embeddings = rng.integers(0, 4, (60, 5))
    parts = [topk.best_of_chunk(embeddings[i : i + 13], 6, i) for i in range(0, 60, 13)]
    for _ in range(10):
        best = topk.merge_all([parts[i] for i in rng.permutation(len(parts))], 6)
        assert np.array_equal(best.rows, ranked(embeddings)[:6])
        assert np.array_equal(best.values, np.take_along_axis(embeddings, best.rows, axis=0))


def test_the_tree_of_dask_is_made_of_two_functions_that_can_travel():
    x = np.random.default_rng(0).integers(0, 5, (100, 4))
    array = da.from_array(x, chunks=(7, 2))
    for split_every in (2, 3, 8, 100):
        tree = topk.best_of_dask(array, 6, split_every=split_every)
        assert np.array_equal(tree.compute(scheduler="synchronous").rows, ranked(x)[:6])
    names = [str(key) for key in topk.best_of_dask(array, 6, split_every=4).__dask_graph__()]
    assert sum("best_of_chunk" in name for name in names) == 15
    assert sum("merge_all" in name for name in names) == 4 + 1
    for thing in (topk.best_of_chunk(x, 3), topk.best_of_chunk, topk.merge_all, chunks.check_finite):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


@pytest.mark.parametrize("few", [0, 1], ids=["no value waits", "every value waits"])
@pytest.mark.parametrize("kind", ["distinct", "many ties", "ascending", "descending"])
def test_lists_of_short_chunks_are_those_of_all_rows(kind, few, monkeypatch):
    monkeypatch.setattr(topk, "FEW", few)
    monkeypatch.setattr(topk, "GROUP_ROWS", 4)
    embeddings = KINDS[kind](np.random.default_rng(5), (150, 3))
    for depth in (1, 2, 7, 40):
        found = topk.best_rows(pieces(embeddings, [3, 1, 30, 50, 8, 37, 21]), depth)
        np.testing.assert_array_equal(found, ranked(embeddings)[:depth])


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 170])
def test_maxima_of_groups_in_any_number_of_threads_and_blocks_and_what_is_not_finite(rows, monkeypatch):
    chunk = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    expected = [chunk[i : i + 32].max(axis=0) for i in range(0, rows, 32)]
    for block, threads in itertools.product((1, 500, 2**21), (1, 3, 20)):
        monkeypatch.setattr(topk, "BLOCK_BYTES", block)
        monkeypatch.setattr(topk, "THREADS", threads)
        np.testing.assert_array_equal(topk.group_maxima(chunk), expected)
        for row, bad in itertools.product({0, rows // 2, rows - 1}, (np.nan, np.inf, -np.inf)):
            broken = chunk.copy()
            broken[row, 1] = bad
            with pytest.raises(InputError, match=f"the first in row {100 + row}"):
                topk.group_maxima(broken, 100)


def test_a_small_chunk_starts_no_thread(monkeypatch):
    """That took a hundred times as long as the chunk itself, and far longer on a busy machine."""
    started, pool = [], topk.ThreadPoolExecutor
    monkeypatch.setattr(topk, "ThreadPoolExecutor", lambda threads: started.append(threads) or pool(threads))
    monkeypatch.setattr(topk, "THREADS", 4)
    monkeypatch.setattr(topk, "BLOCK_BYTES", 32 * 3 * 4 * 10)
    for rows, threads in ((1, []), (319, []), (320, [2]), (960, [4]), (32 * 1000, [4])):
        topk.group_maxima(np.zeros((rows, 3), np.float32))
        assert started == threads, rows
        started.clear()


def test_rows_are_taken_out_only_where_a_list_is_used_up(monkeypatch):
    taken, take = [], topk._take
    monkeypatch.setattr(topk, "_take", lambda *args: taken.append(args[1]) or take(*args))
    embeddings = np.random.default_rng(1).normal(size=(20_000, 12)).astype(np.float32)
    topk.pick(embeddings, 60, once=True)
    assert not taken, "in random order, no element's strongest are those of another"
    embeddings[:] = embeddings[:, :1]
    topk.pick(embeddings, 60, once=True)
    assert [len(rows) for rows in taken] == [10, 10, 10, 10, 10], "with one ranking for all, each second time"


def test_used_up_groups_give_way_where_integers_can_be_no_lower(monkeypatch):
    monkeypatch.setattr(topk, "GROUP_ROWS", 4)
    assert topk.pick(np.zeros((400, 9), np.uint8), 180, once=True).tolist() == list(range(180))


def test_shares_of_hundreds_of_rows_are_taken_in_parts():
    embeddings = np.random.default_rng(1).normal(size=(60_000, 64)).astype(np.float32)
    free = np.ones(len(embeddings), bool)
    for element, rows in enumerate(topk._pick_in_memory(embeddings, np.array([800] * 3 + [0] * 61), once=True)):
        np.testing.assert_array_equal(rows, ranked(np.where(free, embeddings[:, element], -np.inf))[:800])
        free[rows] = False


def test_values_from_a_great_many_groups_wait(monkeypatch):
    monkeypatch.setattr(topk, "GROUP_ROWS", 4)
    monkeypatch.setattr(topk, "FEW", 1)
    embeddings = np.random.default_rng(0).permutation(4 * 70_000)[:, None]
    embeddings[:90] = -1 - np.arange(90)[:, None]  # the lists of the first chunk: all groups after it are above them
    found = topk.best_rows(pieces(embeddings, [90, len(embeddings) - 90]), 90)
    np.testing.assert_array_equal(found, ranked(embeddings)[:90])


@pytest.mark.parametrize("waits", [False, True])
def test_large_input_needs_little_memory_whatever_the_order_of_its_rows(waits, monkeypatch):
    """Where half of the columns ascend, close to half of all groups hold values that are above the lists, and wait."""
    embeddings = np.sort(np.random.default_rng(0).normal(size=(200_000, 40)).astype(np.float32), axis=0)
    limit = embeddings.nbytes / 4  # not even one array of truth values of that shape
    if waits:
        embeddings[:, 20:] = embeddings[::-1, 20:]
        limit = 2**22
        monkeypatch.setattr(chunks, "CHUNK_BYTES", limit)  # 8 chunks
    tracemalloc.start()
    lists = topk.best_rows(embeddings, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit
    assert np.array_equal(lists, ranked(embeddings)[:20])
