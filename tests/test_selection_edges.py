"""Corners of the filter that its callers seldom reach: short chunks, very wide rows, a great many groups."""

import itertools

import numpy as np
import pytest
from test_selection import KINDS

from embsel import chunks, selection
from embsel.errors import InputError


def pieces(embeddings, lengths):
    """Numbers of first rows and chunks, as `chunks.stream` gives them."""
    ends = np.cumsum(lengths)
    assert ends[-1] == len(embeddings)
    for end, length in zip(ends, lengths, strict=True):
        yield int(end - length), embeddings[end - length : end]


@pytest.mark.parametrize("few", [0, 1], ids=["no value waits", "every value waits"])
@pytest.mark.parametrize("kind", ["distinct", "many ties", "ascending", "descending"])
def test_lists_of_short_chunks_are_those_of_all_rows(kind, few, monkeypatch):
    monkeypatch.setattr(selection, "FEW", few)
    monkeypatch.setattr(selection, "GROUP_ROWS", 4)
    embeddings = KINDS[kind](np.random.default_rng(5), (150, 3))
    ranked = np.argsort(-embeddings, axis=0, kind="stable")
    for depth in (1, 2, 7, 40):
        found = selection.best_rows(pieces(embeddings, [3, 1, 30, 50, 8, 37, 21]), depth)
        np.testing.assert_array_equal(found, ranked[:depth])


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 170])
def test_maxima_of_groups_in_any_number_of_threads_and_blocks(rows, monkeypatch):
    chunk = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    expected = [chunk[i : i + 32].max(axis=0) for i in range(0, rows, 32)]
    for block, threads in itertools.product((1, 500, 2**21), (1, 3, 20)):
        monkeypatch.setattr(selection, "BLOCK_BYTES", block)
        monkeypatch.setattr(selection, "THREADS", threads)
        np.testing.assert_array_equal(selection.group_maxima(chunk), expected)
        for row, bad in itertools.product({0, rows // 2, rows - 1}, (np.nan, np.inf, -np.inf)):
            broken = chunk.copy()
            broken[row, 1] = bad
            with pytest.raises(InputError, match=f"the first in row {100 + row}"):
                selection.group_maxima(broken, 100)


def test_a_small_chunk_starts_no_thread(monkeypatch):
    """That took a hundred times as long as the chunk itself, and far longer on a busy machine."""
    started, pool = [], selection.ThreadPoolExecutor
    monkeypatch.setattr(selection, "ThreadPoolExecutor", lambda threads: started.append(threads) or pool(threads))
    monkeypatch.setattr(selection, "THREADS", 4)
    monkeypatch.setattr(selection, "BLOCK_BYTES", 32 * 3 * 4 * 10)
    for rows, threads in ((1, []), (319, []), (320, [2]), (960, [4]), (32 * 1000, [4])):
        selection.group_maxima(np.zeros((rows, 3), np.float32))
        assert started == threads, rows
        started.clear()


def test_picking_looks_at_few_values(monkeypatch):
    """Of 4,000 rows at the top of the pyramid at most 4 groups for each row of a share, below it the best groups."""
    seen, look = [], selection.strongest
    monkeypatch.setattr(selection, "GROUP_ROWS", 4)
    monkeypatch.setattr(selection, "strongest", lambda values, count: seen.append(len(values)) or look(values, count))
    selection.top_activations(np.random.default_rng(0).normal(size=(4000, 3)), 30)
    assert seen == [63, 80, 80, 80] * 3  # maxima of 64 rows, then twice ten groups of four at each step


def test_lists_are_made_anew_once_more_waits_than_they_hold(monkeypatch):
    """Sooner costs time, and later memory."""
    waited, insert = [], selection._insert

    def counted(best, waiting):
        waited.append(sum(len(values) for values, _, _ in waiting))
        return insert(best, waiting)

    monkeypatch.setattr(selection, "_insert", counted)
    monkeypatch.setattr(selection, "FEW", 1)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000 * 2 * 4)
    embeddings = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32)
    lists = selection.best_rows(embeddings, 20)
    assert np.array_equal(lists, np.argsort(-embeddings, axis=0, kind="stable")[:20])
    *full, last = waited
    assert len(full) >= 3
    assert min(full) > lists.size >= last
    assert max(full) < 2 * lists.size


def test_all_values_above_come_from_however_many_groups(monkeypatch):
    monkeypatch.setattr(selection, "GROUP_ROWS", 4)
    rows = 4 * 70_000 - 1
    chunk = np.random.default_rng(0).random((rows, 1))
    found = selection._above(chunk, np.ones((70_000, 1), bool), np.array([0.5]), 10)
    values, places, elements = map(np.concatenate, zip(*found, strict=True))
    np.testing.assert_array_equal(places, 10 + np.flatnonzero(chunk[:, 0] > 0.5))
    np.testing.assert_array_equal(values, chunk[places - 10, 0])
    assert not elements.any()


def test_shares_of_hundreds_of_rows_are_taken_in_parts():
    embeddings = np.random.default_rng(1).normal(size=(60_000, 64)).astype(np.float32)
    each = np.array([800] * 3 + [0] * 61)
    free = np.ones(len(embeddings), bool)
    for element, rows in enumerate(selection._picks(embeddings, each, once=True)):
        expected = np.argsort(np.where(free, -embeddings[:, element], np.inf), kind="stable")[:800]
        np.testing.assert_array_equal(rows, expected)
        free[rows] = False
