"""What does not fit in memory: one answer from every kind of source, little memory, a store that survives a kill."""

import functools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
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

from embsel import chunks, models, selection, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.selection import DUPLICATES, SELECTORS, random_subset, top_activations


@pytest.fixture(autouse=True, scope="module")
def _here():
    """Dask computes in this thread, save where a test has a cluster."""
    with dask.config.set(scheduler="synchronous"):
        yield


# --- sources ---


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
    """What h5py's datasets are like: `chunks` is None where rows lie in a line, and `np.asarray` reads everything."""

    def __init__(self, x, stored):
        self.x, self.shape, self.dtype, self.chunks = x, x.shape, x.dtype, stored
        self.asked = []  # how many rows at a time

    def __getitem__(self, rows):
        part = self.x[rows].copy()
        self.asked.append(len(part))
        return part

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all was read at once")


SOURCES = {
    "array": lambda x, sizes: x,
    "list of chunks": cut,
    "tuple of chunks": lambda x, sizes: tuple(cut(x, sizes)),
    "generator": lambda x, sizes: (piece for piece in cut(x, sizes)),
    "generator with one buffer": one_buffer,
    "queue": lambda x, sizes: deque(cut(x, sizes)),
    "memory map": lambda x, sizes: mapped(x),
    "writable memory map": lambda x, sizes: mapped(x, "r+"),
    "copy-on-write map": lambda x, sizes: mapped(x, "c"),
    "part of a map": lambda x, sizes: spaced(x),
    "map by columns": lambda x, sizes: mapped(np.ascontiguousarray(x.T)).T,
    "zarr": stored,
    "sliced, in chunks": lambda x, sizes: Sliced(x, (max(1, len(x) // 3), x.shape[1])),
    "sliced, in one piece": lambda x, sizes: Sliced(x, None),
    "dask": lambda x, sizes: da.from_array(x, chunks=(tuple(size for size in sizes if size), -1)),
    "dask, split both ways": lambda x, sizes: da.from_array(x, chunks=(max(sizes), max(1, x.shape[1] // 2))),
    "dask of maps with an empty block": lambda x, sizes: da.concatenate(
        [da.from_array(piece, chunks=-1) for piece in (mapped(x[:1]), x[:0], x[1:])]
    ),
}


@st.composite
def problems(draw):
    rows, elements = draw(st.integers(1, 60)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([1, 3, 50, 10_000]))
    x = rng.integers(-values, values, (rows, elements))
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
        patch.setattr(selection, "GROUP_ROWS", group_rows)
        patch.setattr(selection, "DEPTHS", 0)  # or few inputs would be more than a chunk
        patch.setattr(selection, "FEW", few)
        patch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
        for name, source in SOURCES.items():
            for policy, rows in expected.items():
                found = top_activations(source(x, sizes), k, duplicates=policy)
                assert (found.dtype, found.tolist()) == (np.int64, rows), f"{name}, {policy}"
            assert random_subset(source(x, sizes), k, seed=seed).tolist() == chance, name


@pytest.mark.parametrize("examples", [12, pytest.param(150, marks=pytest.mark.long)])
def test_every_source_gives_the_same_answer(examples):
    chunk_bytes = st.sampled_from([1, 40, 300, 2**26])
    of_any = given(problems(), st.sampled_from([4, 32]), st.sampled_from([1 / 32, 0.5]), chunk_bytes, st.integers(0, 9))
    settings(max_examples=examples)(of_any(is_the_same))()


@given(problems(), st.sampled_from([1, 40, 300, 2**26]), st.integers(1, 70))
@settings(max_examples=40)
def test_a_stream_is_the_rows_in_their_order(problem, chunk_bytes, least):
    x, sizes, _ = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
        for name, source in SOURCES.items():
            opened = source(x, sizes)
            opened = iter(opened) if chunks.is_iterable(opened) else opened
            read = [(offset, chunk.copy()) for offset, chunk in chunks.stream(opened, least=least)]
            lengths = [len(chunk) for _, chunk in read]
            assert [offset for offset, _ in read] == np.cumsum([0, *lengths[:-1]]).tolist(), name
            assert np.array_equal(np.concatenate([chunk for _, chunk in read]), x), name
            assert min(lengths) > 0, name
            assert all(size >= least for size in lengths[:-1]), name


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_bad_is_refused_whatever_the_source(source, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 10 * 3 * 4)
    for select in (top_activations, random_subset):
        for value in (np.nan, np.inf, -np.inf):
            x = np.random.default_rng(0).normal(size=(45, 3)).astype(np.float32)
            x[[37, 39], 1] = value
            with pytest.raises(InputError, match=r"expected finite values, .* the first in row 37\."):
                select(SOURCES[source](x, [10, 10, 0, 20, 5]), 4)
        for wrong, message in (
            ({"k": 10}, "k: expected a whole number of at most N = 9, found 10"),
            ({"labels": np.zeros(8, int)}, r"labels: expected shape \(9,\), found \(8,\)"),
            ({"labels": [0, 1, -1, 0, 1, 2, 0, 1, 2]}, "labels: expected integers >= 0, found -1 in row 2"),
            ({"seed": -1}, "seed: expected"),
        ):
            with pytest.raises(InputError, match=message):
                select(SOURCES[source](ones(9, 2), [4, 5]), **({"k": 3} | wrong))


@pytest.mark.parametrize(("stored_rows", "read"), [(None, 25), (4, 24), (30, 30)])
def test_what_is_only_sliced_is_read_in_whole_chunks(stored_rows, read, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 25 * 3 * 4)
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    for select in (top_activations, random_subset):
        source = Sliced(x, None if stored_rows is None else (stored_rows, 3))
        assert select(source, 3).tolist() == select(x, 3).tolist()
        assert set(source.asked[:-1]) == {read}
    source = Sliced(x, source.chunks)
    selection.best_rows(source, 10)
    assert min(source.asked[:-1]) >= 40, "chunks are several times as long as the lists"


def ones(*shape):
    return np.ones(shape, np.float32)


BAD = {
    "chunks of another width": (lambda: [ones(3, 2), ones(3, 4)], "found 4 elements of float32 after 3 rows, and 2"),
    "an empty chunk of another width": (lambda: iter([ones(3, 2), ones(0, 4)]), "found 4 elements of float32 after 3"),
    "chunks of another kind": (lambda: [ones(3, 2), np.ones((3, 2), int)], "found 2 elements of int64 after 3 rows"),
    "rows as chunks": (lambda: iter(ones(5, 2)), r"expected chunks of shape \(rows, n\), found \(2,\) after 0 rows"),
    "images as chunks": (lambda: iter([ones(5, 2), ones(5, 2, 2)]), r"chunks .* found \(5, 2, 2\) after 5 rows"),
    "no columns": (lambda: [ones(5, 0)], r"expected chunks of shape \(rows, n\), found \(5, 0\)"),
    "no chunks": (lambda: iter([]), r"expected chunks of shape \(rows, n\), found none"),
    "empty chunks": (lambda: [ones(0, 2)] * 3, r"expected chunks of shape \(rows, n\), found only empty ones"),
    "truth values": (lambda: [ones(3, 2) > 0], "expected floating point or integers, found bool"),
    "words": (lambda: iter("words"), r"expected chunks of shape \(rows, n\), found \(\)"),
    "dask images": (lambda: da.ones((4, 3, 2)), r"expected shape \(N, n\), not empty, found \(4, 3, 2\)"),
    "dask truth values": (lambda: da.ones((4, 3)) > 0, "expected floating point or integers, found bool"),
    "dask of unknown length": (lambda: (x := da.ones((4, 3)))[x[:, 0] > 0], r"does not know its shape; .*chunk_sizes"),
    "zarr without rows": (lambda: zarr.zeros((0, 3)), r"expected shape \(N, n\), not empty, found \(0, 3\)"),
    "zarr of one dimension": (lambda: zarr.zeros((9,)), r"expected shape \(N, n\), not empty, found \(9,\)"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_no_embeddings_is_refused(fault):
    make, message = BAD[fault]
    for select in (top_activations, random_subset):
        with pytest.raises(InputError, match="embeddings: .*" + message):
            select(make(), 2)


def test_chunks_of_one_kind_may_differ_in_precision():
    x = np.random.default_rng(0).integers(0, 99, (20, 3))
    pieces = [x[:7].astype(np.float16), x[7:].astype(np.float64)]
    assert top_activations(pieces, 9).tolist() == top_activations(x, 9).tolist()


def test_selectors_take_chunks_or_say_which_ones_do():
    x = np.random.default_rng(0).random((30, 4))
    x /= x.sum(axis=1, keepdims=True)
    labels = np.arange(30) % 3
    for name, select in SELECTORS.items():
        assert select(mapped(x), 6, labels=labels).tolist() == select(x, 6, labels=labels).tolist()
        for source in ([x[:10], x[10:]], iter([x]), da.from_array(x, chunks=7), stored(x, [7])):
            if name in ("random_subset", "top_activations", "top_activations_drop", "top_activations_keep"):
                assert select(source, 6).tolist() == select(x, 6).tolist()
            else:
                with pytest.raises(InputError, match=r"expected an array in memory .* only top_activations and random"):
                    select(source, 6, labels=labels)


def test_an_iterable_is_read_once_and_to_its_end():
    x = np.random.default_rng(0).normal(size=(40, 3))
    given_out = []

    def pieces():
        for i in range(0, 40, 8):
            given_out.append(i)
            yield x[i : i + 8]

    assert top_activations(pieces(), 39).tolist() == top_activations(x, 39).tolist()
    assert given_out == [0, 8, 16, 24, 32]


def test_what_a_list_of_lists_is_has_not_changed():
    x = np.random.default_rng(4).normal(size=(60, 12))
    expected = top_activations(x, 11).tolist()
    for same in (x.tolist(), list(x), deque(x.tolist())):
        assert top_activations(same, 11).tolist() == expected


# --- memory ---


def test_an_iterable_needs_the_memory_of_a_few_chunks_and_of_the_subset(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**20)
    piece = np.random.default_rng(0).normal(size=(500, 50)).astype(np.float32)  # 100 kB, 300 times
    k = 4000  # 0.8 MB
    for select in (top_activations, random_subset):
        tracemalloc.start()
        rows = select((piece + i % 7 for i in range(300)), k)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows) == k
        assert peak < 12 * 2**20


def test_refilling_far_down_the_lists_needs_no_lists_of_all_rows(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**18)
    rng = np.random.default_rng(0)
    x = np.repeat(rng.permutation(20_000)[:, None], 60, axis=1).astype(np.float32)  # all want the same rows
    source = mapped(x)  # in memory, nothing is listed
    tracemalloc.start()
    rows = top_activations(source, 5000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.tolist() == np.argsort(-x[:, 0], kind="stable")[:5000].tolist()
    assert peak < x.nbytes  # lists of 5000 for each element would be 3.6 MB of rows and values, several times over


def resident(array):
    """Bytes of the file under a memory map that the system counts as this process's."""
    begin = f"{np.frombuffer(array._mmap, np.uint8).ctypes.data:x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.startswith(begin))
    return 1024 * int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memory_map_is_read_without_staying_in_memory(mode, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**20)
    x = np.random.default_rng(0).normal(size=(80_000, 50)).astype(np.float32)  # 16 MB
    array = mapped(x, mode)
    plain = np.asarray(array)[100:, :]
    if mode != "r":
        array[50_000] = 99  # not on the disk
    top_activations(plain, 50)
    if mode != "c":
        assert resident(array) < 3 * 2**20
    if mode != "r":
        assert (array[50_000] == 99).all(), "what was written into the map is still there"
        assert top_activations(array, 50)[0] == 50_000
    assert float(array.sum()) != 0
    assert resident(array) > 12 * 2**20, "the measure measures"


def test_a_system_without_advice_is_no_trouble(monkeypatch):
    monkeypatch.delattr(chunks.mmap, "MADV_DONTNEED", raising=False)
    x = np.random.default_rng(0).normal(size=(100, 5))
    assert top_activations(mapped(x), 10).tolist() == top_activations(x, 10).tolist()


# --- Dask ---


def test_the_tree_of_dask_is_made_of_the_two_functions():
    x = np.random.default_rng(0).integers(0, 5, (100, 4))
    array = da.from_array(x, chunks=(7, 2))
    whole = selection.best_of_chunk(x, 6)
    for split_every in (2, 3, 8, 100):
        tree = selection.best_of_dask(array, 6, split_every=split_every)
        assert np.array_equal(tree.compute().rows, whole.rows)
        assert np.array_equal(tree.compute().values, whole.values)
    names = [str(key) for key in selection.best_of_dask(array, 6, split_every=4).__dask_graph__()]
    assert sum("best_of_chunk" in name for name in names) == 15
    assert sum("merge_all" in name for name in names) == 4 + 1


def test_what_remains_of_dask_takes_a_byte_for_a_row_into_the_graph():
    import cloudpickle

    free = np.random.default_rng(0).random(200_000) < 0.9
    free[20_000:40_000] = False  # a whole block
    x = da.arange(400_000, chunks=40_000).reshape(200_000, 2)
    found = chunks.remaining(x, free, 1)
    assert np.array_equal(found.compute(), x.compute()[free, 1:])
    assert len(cloudpickle.dumps(dict(found.__dask_graph__()))) < 2 * len(free)


@pytest.mark.long
def test_a_cluster_gives_the_same_answer_and_keeps_the_blocks():
    from distributed import Client

    x, here = np.random.default_rng(0).integers(0, 9, (4000, 6)), os.getpid()

    def elsewhere(block):
        assert os.getpid() != here, "a block was made by the client"
        return block

    with Client(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None):
        array = da.from_array(x, chunks=(300, 3)).map_blocks(elsewhere, dtype=x.dtype, meta=x[:0])
        with dask.config.set(scheduler="distributed"):
            for policy in DUPLICATES:
                found = top_activations(array, 3000, duplicates=policy)
                assert found.tolist() == top_activations(x, 3000, duplicates=policy).tolist()
            assert random_subset(array, 30).tolist() == random_subset(x, 30).tolist()
            with pytest.raises(InputError, match="the first in row 17"):
                top_activations(da.from_array(np.where(np.arange(40)[:, None] == 17, np.nan, ones(40, 3)), chunks=8), 2)


def test_what_travels_can_be_pickled():
    best = selection.best_of_chunk(ones(5, 2), 3)
    for thing in (best, selection.best_of_chunk, selection.merge_all, chunks.check_finite):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


# --- the store of embed ---


@functools.cache
def encoder(seed=0, n=5, activation=None):
    keras.utils.set_random_seed(seed)
    layers = keras.layers.Flatten(), keras.layers.Dense(n, activation)
    return keras.Sequential([keras.Input((24, 24, 1)), *layers])


def pictures(count=95, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 26, 25, 1), np.uint8)


def embedded(out, **changes):
    return training.embed(**({"encoder": encoder(), "pixels": pictures(), "rows": 20, "out": out} | changes))


@pytest.fixture
def computed(monkeypatch):
    """How many images each call of the encoder computed."""
    sizes, predict = [], keras.Model.predict

    def counted(self, x, **options):
        sizes.append(len(x))
        return predict(self, x, **options)

    monkeypatch.setattr(keras.Model, "predict", counted)
    return sizes


@pytest.fixture(scope="module", params=["vectors.npy", "vectors.zarr"])
def whole(request, tmp_path_factory):
    """The path of a complete store, not to be changed."""
    out = tmp_path_factory.mktemp("whole") / request.param
    embedded(out)
    return out


def opened(out):
    return np.load(out, mmap_mode="r") if out.suffix == ".npy" else zarr.open_array(str(out), mode="r")


def copied(whole, folder, **changes):
    """A copy of a store, with something else in its mark."""
    out = shutil.copytree(whole.parent, folder) / whole.name
    mark = out.with_name(f"{out.name}.progress.json")
    mark.write_text(json.dumps(json.loads(mark.read_text()) | changes))
    return out, mark


def test_embed_to_a_store_is_embed_in_memory(whole, tmp_path, computed):
    x, out, expected = pictures(), tmp_path / "new" / whole.name, training.embed(encoder(), pictures())
    for source in (mapped(x), zarr.array(x, chunks=(9, 26, 25, 1)), x):
        shutil.rmtree(out.parent, ignore_errors=True)
        computed.clear()
        found = embedded(out, pixels=source)
        assert (found.shape, found.dtype) == ((95, 5), np.float32)
        np.testing.assert_allclose(found[:], expected, rtol=1e-5, atol=1e-5)
        assert computed == [20, 20, 20, 20, 15]
    assert top_activations(found, 20).tolist() == top_activations(found[:], 20).tolist()
    again = embedded(out, encoder=encoder.__wrapped__())
    assert np.array_equal(again[:], found[:])
    assert len(computed) == 5, "what is complete is not computed again"
    assert sorted(path.name for path in out.parent.iterdir()) == [
        out.name, f"{out.name}.lock", f"{out.name}.progress.json"]  # fmt: skip
    with pytest.raises((ValueError, PermissionError)):
        again[0] = 1


class Killed(BaseException):
    pass


def die(*_, **__):
    raise Killed


def in_the_third_call_of_the_encoder(patch, computed):
    predict = keras.Model.predict
    patch.setattr(
        keras.Model, "predict", lambda self, x, **options: die() if len(computed) == 2 else predict(self, x, **options)
    )


def with_half_of_the_third_rows_written(patch, computed):
    append = chunks.Store.append

    def half(store, values):
        if store.done == 40:
            patch.setattr(chunks.Store, "_count", die)
            append(store, values[: len(values) // 2] * 0 + 7)
        append(store, values)

    patch.setattr(chunks.Store, "append", half)


def counts_60(file):
    return str(file).endswith(".progress.json.part") and '"done": 60' in Path(file).read_text()


def with_the_array_half_made(patch, computed):
    patch.setattr(chunks.np.lib.format, "open_memmap", lambda path, *_: die(Path(path).write_bytes(b"\x93NUM")))
    patch.setattr(zarr, "create_array", lambda path, **_: die(Path(path).mkdir()))


MOMENTS = {
    in_the_third_call_of_the_encoder: 40,
    with_half_of_the_third_rows_written: 40,
    with_the_array_half_made: 0,
}


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_embed_goes_on_after_it_died_at_any_moment(whole, moment, tmp_path, computed):
    with pytest.MonkeyPatch.context() as patch:
        moment(patch, computed)
        with pytest.raises(Killed):
            embedded(tmp_path / whole.name)
    computed.clear()
    assert np.array_equal(embedded(tmp_path / whole.name)[:], opened(whole)[:])
    assert sum(computed) == 95 - MOMENTS[moment]


CHILD = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import test_chunks

replace = os.replace
def killing(part, mark):
    if test_chunks.counts_60(part):  # the rows are written, and not yet counted
        os.kill(os.getpid(), signal.SIGKILL)
    replace(part, mark)
os.replace = killing
test_chunks.embedded(pathlib.Path(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["vectors.npy", pytest.param("vectors.zarr", marks=pytest.mark.long)])
def test_embed_goes_on_after_kill_9(name, tmp_path, computed, root):
    out = tmp_path / name
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(out)],
        check=False, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert json.loads((tmp_path / f"{name}.progress.json").read_text())["done"] == 40
    before = np.array(opened(out)[:40])
    found = embedded(out)
    assert computed == [20, 20, 15], "the finished chunks are not computed again"
    assert np.array_equal(found[:40], before)
    assert np.array_equal(found[:], embedded(tmp_path / f"whole_{name}")[:])


def changed():
    x = pictures()
    x[-1, 0, 0, 0] ^= 1
    return x


def test_a_store_of_something_else_is_refused(whole, tmp_path, computed):
    for other, message in (
        ({"encoder": encoder(1)}, "encoder: then .*, now "),
        ({"encoder": encoder(activation="relu")}, "encoder: then .*, now "),
        ({"encoder": encoder(0, 6)}, r"shape: then \[95, 5\], now \[95, 6\]"),
        ({"pixels": pictures(seed=1)}, "images: then .*, now "),
        ({"pixels": changed()}, "images: then .*, now "),
        ({"pixels": pictures(94)}, r"shape: then \[95, 5\], now \[94, 5\]"),
        ({"rows": 30}, "rows: then 20, now 30"),
        ({}, "dtype: then float16, now float32"),
    ):
        for done in (95, 40):
            out, mark = copied(whole, tmp_path / "copy", done=done, **({} if other else {"dtype": "float16"}))
            text = mark.read_text()
            with pytest.raises(InputError, match=f"was begun with something else.*{message}.*to start anew"):
                embedded(out, **other)
            assert mark.read_text() == text
            assert np.array_equal(opened(out)[:], opened(whole)[:])
            shutil.rmtree(out.parent)
    assert computed == []


def branched(width=3, dtype="float32", size=4):
    """Layers in a model in a model, one inside another, and a shared one."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([keras.Input((8, 4)), keras.layers.Dense(width, dtype=dtype), keras.layers.Flatten()])
    shared, x = keras.layers.Reshape((8, 4)), keras.Input((32,))
    around = keras.layers.TimeDistributed(keras.layers.LayerNormalization(epsilon=10**-size))
    return keras.Model(x, keras.layers.Add()([inner(shared(x)), inner(around(shared(x)))]))


def test_an_encoder_is_known_by_what_it_does_and_not_by_the_names_of_its_layers():
    fresh = encoder.__wrapped__
    for make in (fresh, branched, lambda: models.resnet(2, width=4), lambda: models.autoencoder(widths=(2, 2, 2))[0]):
        assert training._digest_of_encoder(make()) == training._digest_of_encoder(make())
    mixed = [branched(dtype=f"mixed_{kind}") for kind in ("bfloat16", "float16")]
    others = [*mixed, branched(), branched(size=3), branched(2), encoder(), encoder(1)]
    assert len({training._digest_of_encoder(other) for other in others}) == len(others)


def test_what_embed_did_not_begin_is_left_alone_and_a_torn_mark_is_refused(whole, tmp_path):
    out = tmp_path / whole.name
    out.write_text("precious")
    with pytest.raises(InputError, match=r"is there already, and no .*progress\.json says what it is made of"):
        embedded(out)
    assert out.read_text() == "precious"
    out, mark = copied(whole, tmp_path / "copy")
    mark.write_text('{"done": ')
    with pytest.raises(InputError, match=r"progress\.json cannot be read .* to start anew"):
        embedded(out)


def test_a_removed_array_is_made_anew_and_another_shape_is_refused(whole, tmp_path, computed):
    out, _ = copied(whole, tmp_path / "copy")
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    assert np.array_equal(embedded(out)[:], opened(whole)[:])
    assert sum(computed) == 95
    if out.suffix == ".npy":
        np.save(out, ones(3, 4))
    else:
        zarr.create_array(str(out), data=ones(3, 4), overwrite=True)
    with pytest.raises(InputError, match=r"has another shape or dtype than .*progress\.json says"):
        embedded(out)


def test_embed_refuses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options, message in (
        ({"out": "vectors.npz"}, "out: expected a path that ends in .npy or .zarr, found 'vectors.npz'"),
        ({"rows": 0}, "rows: expected a whole number of at least 1, found 0"),
        ({"rows": 2.5}, "rows: expected a whole number"),
        ({"pixels": pictures() / 255}, r"pixels: expected uint8 of shape \(N, H, W, C\), .*found float64"),
        ({"pixels": pictures()[..., 0]}, r"pixels: .* found uint8 of shape \(95, 26, 25\)"),
        ({"pixels": pictures()[:0]}, r"pixels: .*not empty, found uint8 of shape \(0, 26, 25, 1\)"),
        ({"pixels": [1, 2]}, "pixels: .*found None of shape None"),
        ({"pixels": pictures()[:, :20]}, "24 x 24 pixels, and the images have only 20 x 25"),
    ):
        with pytest.raises(InputError, match=message):
            embedded(**({"out": "vectors.npy"} | options))
    assert list(tmp_path.iterdir()) == []
