"""The strongest rows of each element: merges, a tree of tasks, maxima of groups, and no thread for a small chunk."""

import itertools
import pickle

import dask.array as da
import numpy as np
import pytest

from embsel.errors import InputError
from embsel.scale import chunks, topk


def ranked(embeddings):
    return np.argsort(-embeddings.astype(float), axis=0, kind="stable")


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
    for split_every in (2, 8, 100):
        tree = topk.best_of_dask(array, 6, split_every=split_every)
        assert np.array_equal(tree.compute(scheduler="synchronous").rows, ranked(x)[:6])
    names = [str(key) for key in topk.best_of_dask(array, 6, split_every=4).__dask_graph__()]
    assert [sum(part in name for name in names) for part in ("best_of_chunk", "merge_all")] == [15, 4 + 1]
    for thing in (topk.best_of_chunk(x, 3), topk.best_of_chunk, topk.merge_all, chunks.check_finite):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 170])
def test_maxima_of_groups_in_any_number_of_threads_and_blocks_and_what_is_not_finite(rows, monkeypatch):
    chunk = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    expected = [chunk[i : i + 32].max(axis=0) for i in range(0, rows, 32)]
    for block, threads in itertools.product((1, 500, 2**21), (1, 3)):
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
    monkeypatch.setattr(topk, "ThreadPoolExecutor", lambda *_: pytest.fail("a thread was started"))
    topk.group_maxima(np.zeros((1000, 3), np.float32))


def test_in_memory_one_pass_is_enough_also_where_all_want_the_same_rows(monkeypatch):
    passes, maxima = [], topk.group_maxima
    monkeypatch.setattr(topk, "group_maxima", lambda chunk, *rest: passes.append(len(chunk)) or maxima(chunk, *rest))
    x = np.tile(np.random.default_rng(1).permutation(20_000)[:, None], 12)
    assert topk.pick(x, 60, once=True).tolist() == ranked(x)[:60, 0].tolist()
    assert passes == [20_000]
