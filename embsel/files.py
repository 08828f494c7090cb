"""Files that are whole at any moment: written under another name, and renamed when nothing is missing."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_PART = ".embsel-part-"  # how the name of a file begins that is being written
_DAY = 24 * 60 * 60  # seconds


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file, which takes the place of `path` at the end; on an error it is removed instead.

    What a killed process left behind is removed after a day. The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(f"{_PART}*"):
        with contextlib.suppress(OSError):  # another process was faster
            if time.time() - part.stat().st_mtime > _DAY:
                part.unlink()
    part = path.with_name(f"{_PART}{secrets.token_hex(4)}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write `array` as `np.save` does; OSError on a full disk, also where only the last few kilobytes have no room."""
    with open(path, "wb") as file:  # which NumPy must not see: it would write past Python, and overlook a failing end
        np.lib.format.write_array(SimpleNamespace(write=file.write), np.asarray(array), allow_pickle=False)
