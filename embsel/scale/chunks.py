"""Embeddings that need not fit in memory, read in chunks of rows.

A source is a NumPy array or memory map, a Zarr array (or what is sliced like one, as in h5py), a Dask array, or an
iterable of 2-D chunks: `stream` makes the same of all of them. Dask is imported only where such an array comes.
"""

import contextlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

import numpy as np

from embsel.errors import InputError, as_array, require

CHUNK_BYTES = 2**27  # read at a time: large beside what a chunk costs to look after, small beside any memory


def kind(source) -> str:
    """What `source` is: "dask", "sliced" by rows as a Zarr array is, "pieces", one chunk after another, or "array".

    Found without importing any of these. What is sliced, as also h5py's datasets, says in `chunks` how many rows,
    columns ... are stored together; None means that all rows lie in a line. Rows of numbers in a list are an array.
    """
    if hasattr(source, "__dask_graph__") and hasattr(source, "rechunk"):
        return "dask"
    stored = getattr(source, "chunks", ...)  # NumPy's arrays have none
    if stored is None or (isinstance(stored, tuple) and all(isinstance(size, int) for size in stored)):
        return "sliced"
    if isinstance(source, (str, bytes, memoryview, Mapping, Set)) or hasattr(source, "__array__"):
        return "array"
    if isinstance(source, Sequence):
        return "pieces" if len(source) and getattr(source[0], "ndim", None) == 2 else "array"
    return "pieces" if isinstance(source, Iterable) else "array"


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
    hold less. None is empty. A chunk is good until the next is asked for: then a memory map's pages are given back.
    """
    if isinstance(source, Iterator):
        parts = _gathered(source, least)
    elif kind(source) == "dask":
        parts = _gathered((block.compute() for block, _ in dask_blocks(source)), least)
    else:
        unit = (getattr(source, "chunks", None) or [1])[0]  # a stored chunk is decoded as a whole; NumPy has no chunks
        row_bytes = source.shape[1] * source.dtype.itemsize
        parts = _sliced(source, max(1, CHUNK_BYTES // (row_bytes * unit), -(-least // unit)) * unit)
    offset = 0
    for chunk in parts:
        yield offset, chunk
        offset += len(chunk)


def _sliced(array, step: int) -> Iterator[np.ndarray]:
    for i in range(0, array.shape[0], step):
        chunk = np.asarray(array[i : i + step])
        yield chunk
        release(chunk)


def _gathered(pieces: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    held, rows, size = [], 0, 0
    for piece in pieces:
        rows, size = rows + len(piece), size + piece.nbytes
        full = rows >= least and size >= CHUNK_BYTES
        held.append(piece if full else piece.copy())  # at once: its maker may use its memory for the next piece
        if full:
            yield np.concatenate(held) if len(held) > 1 else piece
            held, rows, size = [], 0, 0
    if rows:
        yield np.concatenate(held)


def release(chunk: np.ndarray) -> None:
    """Give back the memory of the map that a chunk is part of, unchanged; does nothing for any other array.

    What was read of a map counts as the process's memory until something needs the room: without this, reading a large
    map looks like holding it. A copy-on-write map is left alone, for its changes are nowhere else; so is any map where
    the system takes no such advice.
    """
    mapped = _map_under(chunk)
    if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        with contextlib.suppress(OSError):
            mapped._mmap.madvise(mmap.MADV_DONTNEED)


def finite_rows(source) -> int:
    """Return N after a look at every value of any source; InputError if one is not finite."""
    if kind(source) == "dask":
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
    if kind(source) != "dask":
        return _remaining(source, free, first)
    import dask.array

    array = source.rechunk({1: -1})
    counts = tuple(int(part.sum()) for part in np.split(free, np.cumsum(array.chunks[0])[:-1]))
    mask = dask.array.from_array(free[:, None], chunks=(array.chunks[0], 1))  # each block gets its part: a byte a row
    kept = {"chunks": (counts, (array.shape[1] - first,)), "dtype": array.dtype, "meta": np.empty((0, 0), array.dtype)}
    return dask.array.map_blocks(lambda block, mask: block[mask[:, 0], first:], array, mask, **kept)


def _remaining(source, free: np.ndarray, first: int) -> Iterator[tuple[int, np.ndarray]]:
    number = 0
    for offset, chunk in stream(source):
        rows = free[offset : offset + len(chunk)]
        if rows.any():
            yield number, (chunk if rows.all() else chunk[rows])[:, first:]
        number += rows.sum()


def dask_blocks(array) -> list[tuple]:
    """Return the blocks of rows of a Dask array `(N, n)`, each delayed and with the number of its first row."""
    array = array.rechunk({1: -1})  # a block has all elements
    sizes = array.chunks[0]
    offsets = np.cumsum([0, *sizes[:-1]]).tolist()
    blocks = array.to_delayed().ravel()
    return [(block, offset) for block, offset, size in zip(blocks, offsets, sizes, strict=True) if size]
