"""An array on the disk that is filled from the first row to the last, so that a kill loses minutes."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from embsel.errors import InputError, require


class Store:
    """An array `shape` (N, n) of `dtype` at `path`, .npy or .zarr, that goes on after a kill where it was.

    Beside it, in `<path>.progress.json`, stand the rows that are done and what the array is made of: `rows` at a time,
    and whatever `made_of` says; InputError if a store was begun with something else. The order of writes makes any
    moment safe: the mark says 0 before the array is made, rows are on the disk before the mark counts them, and a new
    mark replaces the old at once or not at all. So what is counted is there, and what a kill left half written is
    written again (after a power cut, that holds for .npy: the chunks of .zarr are in the hands of Zarr).
    """

    def __init__(self, path, shape: tuple[int, int], dtype: str, rows: int, made_of: Mapping[str, str]):
        self.path = Path(path)
        known = self.path.suffix in (".npy", ".zarr")
        require(known, f"out: expected a path that ends in .npy or .zarr, found {str(path)!r}.")
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
            raise InputError(f"{self.path} is being written by another process: wait for its end, or choose another "
                             "path.") from None
        except OSError as error:
            kept = f"Its first {self.done:,} rows are kept, and the same call goes on from there."
            raise InputError(f"{self.path} cannot be written to: {error.strerror or error}. {kept}") from error

    def _begun(self) -> int:
        """Return how many rows are done; InputError if those are of something else."""
        if not self.mark.exists():
            require(not self.path.exists(), f"{self.path} is there already, and no {self.mark.name} says what it is "
                    "made of: choose another path, or remove it.")
            return 0
        try:
            known = json.loads(self.mark.read_text(encoding="utf-8"))
            done = int(known["done"])
        except (ValueError, TypeError, KeyError) as error:
            anew = f"remove it and {self.path} to start anew."
            raise InputError(f"{self.mark} cannot be read ({error}): {anew}") from None
        new = self.made_of.items()
        other = [f"{key}: then {known.get(key)}, now {now}" for key, now in new if known.get(key) != now]
        advice = f"choose another path, or remove it and {self.mark.name} to start anew"
        require(not other, f"{self.path} was begun with something else ({'; '.join(other)}): {advice}.")
        if not done or not self.path.exists():
            return 0  # killed before the first rows, or the array was removed
        good = (self.array().shape, self.array().dtype) == (self.shape, self.dtype)
        require(good, f"{self.path} has another shape or dtype than {self.mark.name} says: {advice}.")
        return done

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
                self.array("r+")[self.done : self.done + len(values)] = values
            self._count(self.done + len(values))

    def _count(self, done: int) -> None:
        part = self.mark.with_name(self.mark.name + ".part")
        with open(part, "w", encoding="utf-8") as file:
            json.dump(self.made_of | {"done": done}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.mark)
        self.done = done

    def array(self, mode: str = "r"):
        """Return the array, opened for reading: a memory map or a Zarr array `(N, n)`."""
        if self.path.suffix == ".npy":
            return np.load(self.path, mmap_mode=mode)
        import zarr

        return zarr.open_array(str(self.path), mode=mode)
