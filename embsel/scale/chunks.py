"""Embeddings that need not fit in memory: read in chunks of rows, searched by Dask, written so that a kill is no loss.

A source is a NumPy array or memory map, a Zarr array (or what is sliced like one, as in h5py), a Dask array, or an
iterable of 2-D chunks: `stream` makes the same of all of them. Dask and Zarr are imported only where one comes.
"""

import contextlib
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from embsel.errors import InputError, as_array, require

CHUNK_BYTES = 2**27  # read at a time: large beside what a chunk costs to look after, small beside any memory


def is_dask(source) -> bool:
    """Whether `source` is a Dask array; found without importing Dask."""
    return hasattr(source, "__dask_graph__") and hasattr(source, "rechunk")


def is_zarr(source) -> bool:
    """Whether `source` is a Zarr array, or sliced like one, as an h5py dataset is.

    Such arrays say in `chunks` how many rows, columns ... are stored together; None means that all rows lie in a line.
    """
    if isinstance(source, np.ndarray) or not all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        return False
    stored = getattr(source, "chunks", ...)
    return stored is None or (isinstance(stored, tuple) and all(isinstance(size, int) for size in stored))


def is_iterable(source) -> bool:
    """Whether `source` gives chunks one after the other; rows of numbers in a list are an array, not chunks."""
    if isinstance(source, (str, bytes, memoryview, Mapping, Set)) or hasattr(source, "__array__") or is_zarr(source):
        return False
    if isinstance(source, Sequence):
        return len(source) > 0 and getattr(source[0], "ndim", None) == 2
    return isinstance(source, Iterable)


def comes_in_chunks(source) -> bool:
    """Whether `source` is to be read piece by piece; memory maps are arrays to everybody, and so not meant here."""
    return is_dask(source) or is_zarr(source) or is_iterable(source)


def in_memory(source) -> bool:
    """Whether `source` is a NumPy array that is no part of a memory map."""
    return isinstance(source, np.ndarray) and _map_under(source) is None


def _map_under(array: np.ndarray) -> np.memmap | None:
    while isinstance(array, np.ndarray) and getattr(array, "_mmap", None) is None:
        array = array.base
    return array if isinstance(array, np.memmap) else None


def check_array(shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise InputError unless embeddings of this shape and dtype can be selected from."""
    known = not any(np.isnan(size) for size in shape)
    require(known, "embeddings: the Dask array does not know its shape; call its compute_chunk_sizes() first.")
    require(len(shape) == 2 and 0 not in shape, f"embeddings: expected shape (N, n), not empty, found {shape}.")
    require(dtype.kind in "fiu", f"embeddings: expected floating point or integers, found {dtype}.")


def check_finite(chunk: np.ndarray, offset: int = 0) -> None:
    """Raise InputError with the first bad row unless all values are finite; `offset` is the number of the first row."""
    if np.isfinite(chunk.max()) and np.isfinite(chunk.min()):  # both show NaN, and neither needs memory
        return
    nan, bad = np.isnan(chunk).sum(), (~np.isfinite(chunk)).sum(axis=1)  # bad: in each row
    raise InputError(
        f"embeddings: expected finite values, found {nan} NaN and {bad.sum() - nan} infinite values in rows "
        f"{offset} to {offset + len(chunk) - 1}, the first in row {offset + np.flatnonzero(bad)[0]}."
    )


def checked(pieces: Iterable, at_end: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Yield the chunks of an iterable as arrays `(rows, n)` of one width and one kind of dtype, else InputError.

    A chunk may be empty, all of them may not. `at_end` is called with N, which is known only then.
    """
    total, first = 0, None
    for piece in pieces:
        chunk = as_array("embeddings", piece)
        good = chunk.ndim == 2 and chunk.shape[1]
        require(good, f"embeddings: expected chunks of shape (rows, n), found {chunk.shape} after {total} rows.")
        check_array((1, chunk.shape[1]), chunk.dtype)
        first = first or (chunk.shape[1], chunk.dtype)
        require(
            (chunk.shape[1], chunk.dtype.kind) == (first[0], first[1].kind),
            f"embeddings: expected chunks that are alike, found {chunk.shape[1]} elements of {chunk.dtype} after "
            f"{total} rows, and {first[0]} elements of {first[1]} in the first chunk.",
        )
        total += len(chunk)
        yield chunk
    require(total, f"embeddings: expected chunks of shape (rows, n), found {'only empty ones' if first else 'none'}.")
    at_end(total)


def stream(source, least: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of any source in order, as the number of a chunk's first row and the chunk `(rows, n)`.

    Chunks hold about CHUNK_BYTES, however small the pieces of the source are, and at least `least` rows; the last may
    hold less. None is empty. A chunk is good until the next is asked for:
    then the pages of a memory map are given back.
    """
    offset = 0
    for chunk in _chunks(source, least):
        yield offset, chunk
        offset += len(chunk)


def _chunks(source, least: int) -> Iterator[np.ndarray]:
    if isinstance(source, Iterator):
        return _gathered(source, least)
    if is_dask(source):
        return _gathered((block.compute() for block, _ in dask_blocks(source)), least)
    stored = getattr(source, "chunks", None)  # None also for a NumPy array
    unit = stored[0] if stored else 1  # a stored chunk is decoded as a whole
    row_bytes = source.shape[1] * source.dtype.itemsize
    return _sliced(source, max(1, CHUNK_BYTES // (row_bytes * unit), -(-least // unit)) * unit)


def _sliced(array, step: int) -> Iterator[np.ndarray]:
    for i in range(0, array.shape[0], step):
        chunk = np.asarray(array[i : i + step])
        yield chunk
        release(chunk)


def _gathered(pieces: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """Join pieces that are small. They are copied at once, as their maker may use their memory for the next."""
    held, rows, size = [], 0, 0
    for piece in pieces:
        if not rows and len(piece) >= least and piece.nbytes >= CHUNK_BYTES:
            yield piece
            continue
        if len(piece):
            held.append(piece.copy())
            rows, size = rows + len(piece), size + piece.nbytes
        if rows >= least and size >= CHUNK_BYTES:
            yield np.concatenate(held)
            held, rows, size = [], 0, 0
    if held:
        yield np.concatenate(held)


def release(chunk: np.ndarray) -> None:
    """Give back the memory of a chunk of a memory map, unchanged; does nothing for any other array.

    What was read of a map counts as the process's memory until something needs the room: without this, reading a large
    map looks like holding it. A copy-on-write map is left alone, for its changes are nowhere else; so is any map where
    the system takes no such advice.
    """
    mapped = _map_under(chunk)
    if mapped is None or mapped.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = np.frombuffer(mapped._mmap, np.uint8).ctypes.data
    low, high = (address - begin for address in np.lib.array_utils.byte_bounds(chunk))
    low -= low % mmap.PAGESIZE
    with contextlib.suppress(OSError):
        mapped._mmap.madvise(mmap.MADV_DONTNEED, low, high - low)


def finite_rows(source) -> int:
    """Return N after a look at every value of any source; InputError if one is not finite."""
    if is_dask(source):
        import dask

        look = dask.delayed(check_finite)
        dask.compute(*(look(block, offset) for block, offset in dask_blocks(source)))
        return source.shape[0]
    for offset, chunk in stream(source):
        check_finite(chunk, offset)
    return offset + len(chunk)


def remaining(source, free: np.ndarray, first: int):
    """Return the rows of a source where `free` `(N,)` is true, numbered anew, and its elements from `first` on.

    Of a Dask array that is a Dask array, and else what `stream` would give.
    """
    return (_remaining_of_dask if is_dask(source) else _remaining)(source, free, first)


def _remaining(source, free: np.ndarray, first: int) -> Iterator[tuple[int, np.ndarray]]:
    number = 0
    for offset, chunk in stream(source):
        rows = free[offset : offset + len(chunk)]
        if rows.any():
            yield number, _kept(chunk, rows, first)
        number += rows.sum()


def _remaining_of_dask(array, free: np.ndarray, first: int):
    import dask
    import dask.array

    blocks, kept = dask_blocks(array), dask.delayed(_kept)  # each gets its part of `free`, a byte for a row
    masks = np.split(free, [offset for _, offset in blocks[1:]])
    parts = [
        dask.array.from_delayed(kept(block, mask, first), (int(mask.sum()), array.shape[1] - first), array.dtype)
        for (block, _), mask in zip(blocks, masks, strict=True)
        if mask.any()
    ]
    return dask.array.concatenate(parts)


def _kept(chunk: np.ndarray, rows: np.ndarray, first: int) -> np.ndarray:
    return (chunk if rows.all() else chunk[rows])[:, first:]


def dask_blocks(array) -> list[tuple]:
    """Return the blocks of rows of a Dask array `(N, n)`, each delayed and with the number of its first row."""
    array = array.rechunk({1: -1})  # a block has all elements
    sizes = array.chunks[0]
    offsets = np.cumsum([0, *sizes[:-1]]).tolist()
    blocks = array.to_delayed().ravel()
    return [(block, offset) for block, offset, size in zip(blocks, offsets, sizes, strict=True) if size]


class Store:
    """An array on the disk that is filled from the first row to the last, and goes on after a kill where it was.

    Beside it, in `<path>.progress.json`, stand the rows that are done and what the array is made of. The order of
    writes makes any moment safe: the mark says 0 before the array is made, rows are on the disk before the mark counts
    them, and a new mark takes the place of the old at once or not at all. So what is counted is there, and what a kill
    left half written is written again. (This holds for a killed process. After a power cut it holds for .npy, while
    the chunks of .zarr are in the hands of Zarr.) Only one process at a time may fill it.
    """

    def __init__(self, path, shape: tuple[int, int], dtype: str, rows: int, made_of: Mapping[str, str]):
        self.path = Path(path)
        good = self.path.suffix in (".npy", ".zarr")
        require(good, f"out: expected a path that ends in .npy or .zarr, found {str(path)!r}.")
        self.shape, self.dtype, self.rows = shape, np.dtype(dtype), rows
        self.made_of = {**made_of, "shape": list(shape), "dtype": str(self.dtype), "rows": rows}
        self.mark = self.path.with_name(self.path.name + ".progress.json")
        self.done = self._begun()

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Keep other processes out, by a lock in `<path>.lock`; InputError if one is at it, or nothing can be written.

        A store that is complete needs no lock: it may lie where nothing can be written.
        """
        if self.done == self.shape[0]:
            yield
            return
        with self._said():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(self.path.name + ".lock")).acquire(timeout=0)
        with lock:
            self.done = self._begun()  # since it was looked at, another process may have come further
            if not self.done:
                with self._said():
                    self._make()
            yield

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            message = f"{self.path} is being written by another process: wait for its end, or choose another path."
            raise InputError(message) from None
        except OSError as error:
            kept = f"Its first {self.done:,} rows are kept, and the same call goes on from there"
            raise InputError(f"{self.path} cannot be written to: {error.strerror or error}. {kept}.") from error

    def _begun(self) -> int:
        """Return how many rows are done; InputError if those are of something else."""
        if not self.mark.exists():
            message = f"{self.path} is there already, and no {self.mark.name} says what it is made of"
            require(not self.path.exists(), f"{message}: choose another path, or remove it.")
            return 0
        try:
            known = json.loads(self.mark.read_text(encoding="utf-8"))
            done = int(known["done"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.mark} cannot be read ({error}): remove it and {self.path} to start anew."
            ) from None
        other = [
            f"{key}: then {known.get(key)}, now {new}" for key, new in self.made_of.items() if known.get(key) != new
        ]
        advice = f"choose another path, or remove it and {self.mark.name} to start anew"
        require(not other, f"{self.path} was begun with something else ({'; '.join(other)}): {advice}.")
        if done and self.path.exists():
            found = self.array()
            good = (found.shape, found.dtype) == (self.shape, self.dtype)
            require(good, f"{self.path} has another shape or dtype than {self.mark.name} says: {advice}.")
            return done
        return 0  # killed before the first rows, or the array was removed

    def _make(self) -> None:
        self._count(0)
        if self.path.suffix == ".npy":
            np.lib.format.open_memmap(self.path, "w+", self.dtype, self.shape)
        else:
            import zarr

            size = min(self.rows, self.shape[0]), self.shape[1]  # whole chunks are written: none is read to be changed
            zarr.create_array(str(self.path), shape=self.shape, chunks=size, dtype=self.dtype, overwrite=True)

    def append(self, values: np.ndarray) -> None:
        """Write the next rows, and count them; InputError if the disk is full."""
        with self._said():
            if self.path.suffix == ".npy":
                with open(self.path, "r+b") as file:  # not through a map: there a full disk would be a bus error
                    file.seek(self.array().offset + self.done * self.shape[1] * self.dtype.itemsize)
                    file.write(np.ascontiguousarray(values, self.dtype))
                    file.flush()
                    os.fsync(file.fileno())
            else:
                self._zarr("r+")[self.done : self.done + len(values)] = values
            self._count(self.done + len(values))

    def _count(self, done: int) -> None:
        part = self.mark.with_name(self.mark.name + ".part")
        with open(part, "w", encoding="utf-8") as file:
            json.dump(self.made_of | {"done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.mark)
        self.done = done

    def array(self):
        """Return the array, opened for reading: a memory map or a Zarr array `(N, n)`."""
        return np.load(self.path, mmap_mode="r") if self.path.suffix == ".npy" else self._zarr("r")

    def _zarr(self, mode: str):
        import zarr

        return zarr.open_array(str(self.path), mode=mode)
