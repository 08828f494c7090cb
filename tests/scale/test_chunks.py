"""What need not fit in memory: one answer from every kind of source, whatever its chunks, and little memory."""

import itertools
import tempfile
import tracemalloc
from collections import deque
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from embsel.errors import InputError
from embsel.scale import chunks, topk
from embsel.selection import DUPLICATES, SELECTORS, random_subset, top_activations


@pytest.fixture(autouse=True, scope="module")
def _here():
    """Dask computes in this thread, save where a test has a cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


# --- one answer ---


def cut(x, sizes):
    ends = np.cumsum(sizes)
    return [x[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def one_buffer(x, sizes):
    """A generator that hands out the same memory again and again, as a reader with a buffer of its own does."""
    buffer = np.empty((max(sizes), x.shape[1]), x.dtype)
    for piece in cut(x, sizes):
        buffer[: len(piece)] = piece
        yield buffer[: len(piece)]
    buffer[:] = 0


def mapped(x, mode="r"):
    with tempfile.NamedTemporaryFile() as file:  # the map lives on without its name
        x.tofile(file.name)
        return np.memmap(file.name, x.dtype, mode, shape=x.shape)


def spaced(x):
    wide = np.zeros((2 * len(x) + 1, x.shape[1] + 2), x.dtype)
    wide[1::2, 1:-1] = x
    return mapped(wide)[1::2, 1:-1]


def stored(x, sizes):
    array = zarr.create_array({}, shape=x.shape, chunks=(max(sizes), max(1, x.shape[1] - 1)), dtype=x.dtype)
    array[:] = x
    return array


class Sliced:
    """What h5py's datasets are like: `chunks` is None where rows lie in a line; counts how many rows are asked for."""

    def __init__(self, x, stored=None):
        self.x, self.shape, self.dtype, self.chunks, self.asked = x, x.shape, x.dtype, stored, []

    def __getitem__(self, rows):
        self.asked.append(len(self.x[rows]))
        return self.x[rows].copy()

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all was read at once")


SOURCES = {
    "array": lambda x, sizes: x,
    "rows in a list": lambda x, sizes: list(x),
    "list of chunks": cut,
    "generator with one buffer": one_buffer,
    "queue": lambda x, sizes: deque(cut(x, sizes)),
    "memory map": lambda x, sizes: mapped(x),
    "copy-on-write map": lambda x, sizes: mapped(x, "c"),
    "part of a map": lambda x, sizes: spaced(x),
    "map by columns": lambda x, sizes: mapped(np.ascontiguousarray(x.T)).T,
    "zarr": stored,
    "sliced, in chunks": lambda x, sizes: Sliced(x, (max(1, len(x) // 3), x.shape[1])),
    "dask": lambda x, sizes: da.from_array(x, chunks=(max(sizes), max(1, x.shape[1] // 2))),
    "dask of maps with an empty block": lambda x, sizes: da.concatenate(
        [da.from_array(piece, chunks=-1) for piece in (mapped(x[:1]), x[:0], x[1:])]
    ),
}


@st.composite
def problems(draw):
    rng, rows = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(1, 60))
    values = draw(st.sampled_from([1, 3, 50, 10_000]))
    x = rng.integers(-values, values, (rows, draw(st.integers(1, 7))))
    if draw(st.booleans()):
        x = np.sort(x, axis=0)  # each chunk is better than all before
    if draw(st.booleans()):
        x[:] = x[:, :1]  # one ranking for all, so that refilling goes far down
    ends = sorted(draw(st.lists(st.integers(0, rows), max_size=9)))
    sizes = np.diff([0, *ends, rows]).tolist()  # uneven, some empty
    return x.astype(draw(st.sampled_from(["f2", "f4", "f8", "i4", ">f4"]))), sizes, draw(st.integers(1, rows))


def is_the_same(problem, group_rows, few, chunk_bytes, seed):
    x, sizes, k = problem
    expected = {policy: top_activations(x, k, duplicates=policy).tolist() for policy in DUPLICATES}
    chance = random_subset(x, k, seed=seed).tolist()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"GROUP_ROWS": group_rows, "FEW": few, "DEPTHS": 0}.items():  # or a chunk would be all
            patch.setattr(topk, name, value)
        patch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
        for name, source in SOURCES.items():
            for policy, rows in expected.items():
                found = top_activations(source(x, sizes), k, duplicates=policy)
                assert (found.dtype, found.tolist()) == (np.int64, rows), f"{name}, {policy}"
            assert random_subset(source(x, sizes), k, seed=seed).tolist() == chance, name


@pytest.mark.parametrize("examples", [12, pytest.param(150, marks=pytest.mark.long)])
def test_every_source_gives_the_same_answer(examples):
    chunk_bytes, few = st.sampled_from([1, 40, 300, 2**26]), st.sampled_from([0, 1 / 32, 0.5, 1])
    of_any = given(problems(), st.sampled_from([4, 32]), few, chunk_bytes, st.integers(0, 9))
    settings(max_examples=examples)(of_any(is_the_same))()


@pytest.mark.parametrize(("stored_rows", "read"), [(None, 25), (4, 24), (30, 30)])
def test_what_is_only_sliced_is_read_in_whole_chunks_longer_than_the_lists(stored_rows, read, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 25 * 3 * 4)
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    for select, k, least in ((top_activations, 3, read), (random_subset, 3, read), (topk.best_rows, 10, 40)):
        source = Sliced(x, stored_rows and (stored_rows, 3))
        assert np.array_equal(select(source, k), select(Sliced(x), k))
        assert {least <= rows and rows % (stored_rows or 1) == 0 for rows in source.asked[:-1]} == {True}


def test_a_source_is_read_again_only_where_a_list_is_used_up():
    for x, passes in ((np.random.default_rng(1).random((2000, 12)), 1), (np.tile(np.arange(2000.0)[:, None], 12), 2)):
        source = Sliced(x)
        assert top_activations(source, 60).tolist() == top_activations(x, 60).tolist()
        assert sum(source.asked) == passes * 2000


def test_an_iterable_is_read_once_and_to_its_end_and_may_change_its_precision():
    x, given_out = np.random.default_rng(0).integers(0, 99, (40, 3)), []

    def pieces():
        for i in range(0, 40, 8):
            given_out.append(i)
            yield x[i : i + 8].astype(np.float64 if i else np.float16)

    assert top_activations(pieces(), 39).tolist() == top_activations(x, 39).tolist()
    assert given_out == [0, 8, 16, 24, 32]


def test_selectors_take_chunks_or_say_which_ones_do():
    x = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    labels = np.arange(30) % 3
    for name, select in SELECTORS.items():
        assert select(mapped(x), 6, labels=labels).tolist() == select(x, 6, labels=labels).tolist()
        for source in ([x[:10], x[10:]], iter([x]), da.from_array(x, chunks=7), stored(x, [7])):
            if name in ("random_subset", "top_activations", "top_activations_drop", "top_activations_keep"):
                assert select(source, 6).tolist() == select(x, 6).tolist()
            else:
                with pytest.raises(InputError, match=r"expected an array in memory .* only top_activations and random"):
                    select(source, 6, labels=labels)


# --- bad input ---


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_bad_is_refused_whatever_the_source(source, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10 * 3 * 4)
    good, infinite = ones(45, 3), ones(45, 3)
    infinite[[37, 39], 1] = np.nan, -np.inf
    for select, (x, wrong, message) in itertools.product((top_activations, random_subset), (
        (infinite, {}, r"1 NaN and 1 infinite values .*, the first in row 37\.|1 NaN and 0 infinite .* in row 37\."),
        (good, {"k": 46}, "k: expected a whole number of at most N = 45, found 46"),
        (good, {"labels": np.zeros(44, int)}, r"labels: expected shape \(45,\), found \(44,\)"),
        (good, {"labels": np.arange(45) - 1}, "labels: expected integers >= 0, found -1 in row 0"),
    )):  # fmt: skip
        with pytest.raises(InputError, match=message):
            select(SOURCES[source](x, [10, 10, 0, 20, 5]), **({"k": 3} | wrong))


def ones(*shape):
    return np.ones(shape, np.float32)


BAD = {
    "an empty chunk of another width": (lambda: iter([ones(3, 2), ones(0, 4)]), "found 4 elements of float32 after 3"),
    "chunks of another kind": (lambda: [ones(3, 2), np.ones((3, 2), int)], "found 2 elements of int64 after 3 rows"),
    "images as chunks": (lambda: iter([ones(5, 2), ones(5, 2, 2)]), r"chunks .* found \(5, 2, 2\) after 5 rows"),
    "no chunks": (lambda: iter([]), r"expected chunks of shape \(rows, n\), found none"),
    "empty chunks": (lambda: [ones(0, 2)] * 3, r"expected chunks of shape \(rows, n\), found only empty ones"),
    "truth values": (lambda: [ones(3, 2) > 0], "expected floating point or integers, found bool"),
    "words": (lambda: iter("words"), r"expected chunks of shape \(rows, n\), found \(\)"),
    "dask of unknown length": (lambda: (x := da.ones((4, 3)))[x[:, 0] > 0], r"does not know its shape; .*chunk_sizes"),
    "zarr without rows": (lambda: zarr.zeros((0, 3)), r"expected shape \(N, n\), not empty, found \(0, 3\)"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_embeddings_is_refused(fault):
    make, message = BAD[fault]
    for select in (top_activations, random_subset):
        with pytest.raises(InputError, match="embeddings: .*" + message):
            select(make(), 2)


# --- memory ---


def peak_of(select, *arguments):
    tracemalloc.start()
    found = select(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, peak


def test_an_iterable_needs_the_memory_of_a_few_chunks_and_of_the_subset(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**20)
    piece = np.random.default_rng(0).normal(size=(500, 50)).astype(np.float32)  # 100 kB, 300 times
    for select in (top_activations, random_subset):
        rows, peak = peak_of(select, (piece + i % 7 for i in range(300)), 4000)  # 0.8 MB
        assert len(rows) == 4000
        assert peak < 12 * 2**20


def test_refilling_far_down_the_lists_needs_no_lists_of_all_rows(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**18)
    x = np.tile(np.random.default_rng(0).permutation(20_000)[:, None], 60).astype(np.float32)  # all want the same rows
    rows, peak = peak_of(top_activations, mapped(x), 5000)
    assert rows.tolist() == np.argsort(-x[:, 0], kind="stable")[:5000].tolist()
    assert peak < x.nbytes / 2  # lists of 5000 for each element would be 3.6 MB, several times over


@pytest.mark.parametrize("ascending", [40, 20])
def test_large_input_needs_little_memory_whatever_the_order_of_its_rows(ascending, monkeypatch):
    """Where half of the columns ascend, close to half of all groups hold values that are above the lists, and wait."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**22)  # 8 chunks
    x = np.sort(np.random.default_rng(0).normal(size=(200_000, 40)).astype(np.float32), axis=0)
    x[:, ascending:] = x[::-1, ascending:]
    expected = [*range(199_999, 199_999 - 20 * ascending, -1), *range(20 * (40 - ascending))]
    for source in (x, mapped(x)):
        rows, peak = peak_of(top_activations, source, 800)
        assert rows.tolist() == expected
        assert peak < x.nbytes / 3  # an array of truth values of that shape alone would be a quarter


def resident(array):
    """Bytes of the file under a memory map that the system counts as this process's."""
    begin = f"{np.frombuffer(array._mmap, np.uint8).ctypes.data:x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(begin))
    return 1024 * int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memory_map_is_read_without_staying_in_memory_and_keeps_what_was_written(mode, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**20)
    array = mapped(np.random.default_rng(0).normal(size=(80_000, 50)).astype(np.float32), mode)  # 16 MB
    if mode != "r":
        array[50_000] = 99  # not on the disk
    rows = top_activations(np.asarray(array)[100:], 50)
    assert mode == "c" or resident(array) < 3 * 2**20
    assert mode == "r" or (rows[0] == 49_900 and (array[50_000] == 99).all())
    assert float(array.sum()) != 0
    assert resident(array) > 12 * 2**20, "the measure measures"


def test_a_system_without_advice_is_no_trouble(monkeypatch):
    monkeypatch.delattr(chunks.mmap, "MADV_DONTNEED", raising=False)
    x = np.random.default_rng(0).normal(size=(100, 5))
    assert top_activations(mapped(x), 10).tolist() == top_activations(x, 10).tolist()
