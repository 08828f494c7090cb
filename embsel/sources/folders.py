"""Readers of an `.npz` file and of a folder of images, as plain arrays; `embsel.data.load` calls and checks them."""

import contextlib
import hashlib
import os
import secrets
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL
from tqdm import tqdm

from embsel.errors import InputError, require
from embsel.sources.pixels import one_size

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_KERAS_NAMES = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}
_SUFFIXES = [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]
_BOMB = 100  # times its own size, to which no large file of images expands
_HARMLESS = 2**30  # bytes, which may be of one colour
_PART = ".embsel-part-"  # how the name of a file begins that is being written
_DAY = 24 * 60 * 60  # seconds


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file, which takes the place of `path` at the end; on an error it is removed instead.

    So `path` is whole at any moment, also for other processes. What a killed one left behind is removed after a day, by
    the next that writes into the folder. The folder is made if need be.
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


def read_npz(path: Path, *extra: str) -> dict:
    """Return the arrays of an `.npz` file, and those named in `extra`; pickles inside are never loaded.

    A file that would expand to more than 1 GiB and 100 times its size is refused before anything in it is read.
    """
    require(zipfile.is_zipfile(path), f"{path}: expected a folder of images or an .npz file, found something else.")
    try:
        with np.load(path, allow_pickle=False) as file:
            _refuse_bomb(file.zip.infolist(), path)
            found = named_arrays(file, str(path)) | {key: file[key] for key in extra}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise InputError(f"{path} cannot be read: {error}.") from None
    for key, array in found.items():  # elements of no bytes cost a stranger nothing, however many there are
        good = array.ndim == 0 or len(array) <= max(1, array.nbytes)
        require(good, f"{path}: expected {key} with something in it, found {array.dtype} of shape {array.shape}.")
    return found


def _refuse_bomb(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse what would fill the memory; no member is read beyond the size that is declared for it."""
    known = all(member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members)
    require(known, f"{path}: expected members that are stored or deflated, as np.savez and np.savez_compressed write "
                   "them, found another compression. Write the file anew with np.savez.")
    size, found = sum(member.file_size for member in members), path.stat().st_size
    good = size <= max(_HARMLESS, _BOMB * found)
    require(good, f"{path}: expected an .npz file that expands to at most {_BOMB} times its size, "
            f"found one of {found:,} bytes that expands to {size:,}, as a decompression bomb does. If it is what you "
            "want, write it anew with np.savez, which does not compress.")


def named_arrays(found: Mapping, where: str) -> dict:
    """Return the arrays in `found`, under their names or under Keras', and `class_names` if there.

    The two of the test split may be missing. `where` says in messages where they were looked for.
    """
    keys = {_KERAS_NAMES.get(key, key): key for key in found}
    wanted = ARRAYS if {*ARRAYS[2:]} & {*keys} else ARRAYS[:2]
    missing = ", ".join(key for key in wanted if key not in keys)
    require(not missing, f"{where}: expected the arrays {', '.join(ARRAYS)} (the two for testing may be left out); "
                         f"missing {missing}; found {', '.join(map(str, found)) or 'none'}.")
    return {key: found[keys[key]] for key in (*wanted, "class_names") if key in keys}


def read_folder(root: Path, test_fraction: float, size: int | str | None) -> dict:
    """Return the arrays of a folder of images, decoded or, if every file is as it was, from the cache; the names of
    the training files; and a note on what was done."""
    train, test, note = _scan(root, test_fraction)
    files, names = train + test, list(dict.fromkeys(path.parent.name for path in train))
    extra = ", ".join(sorted({path.parent.name for path in test} - set(names)))
    require(not extra, f"{root / 'test'}: expected the classes of the train folder, found also {extra}.")
    cache = Path(os.path.expanduser(os.environ.get("EMBSEL_CACHE") or "~/.cache/embsel"))
    entry = cache / f"{_digest(files, root, f'3 {PIL.__version__} {size} {len(train)}')}.npz"
    try:
        arrays = read_npz(entry, "note")
    except InputError:  # it is not there, or damaged: then it is made again
        arrays = _decoded(files, len(train), names, size)
        _keep(arrays, entry)
    # What the name of the entry does not stand for is not kept in it: files that were passed over, and the split.
    return arrays | {"note": " ".join(filter(None, [str(arrays["note"]), *note])),
                     "train_files": tuple(path.relative_to(root).as_posix() for path in train)}


def _decoded(files: list[Path], train: int, names: list[str], size: int | str | None) -> dict:
    """Return the arrays of the images in `files`, of which the first `train` are for training, and a note."""
    bar = tqdm(files, "Decoding", unit=" images", disable=len(files) < 2000)
    images, note = one_size(((str(path), path) for path in bar), size, colour=True)
    labels = np.array([names.index(path.parent.name) for path in files])
    return {"train_images": images[:train], "train_labels": labels[:train], "test_images": images[train:],
            "test_labels": labels[train:], "class_names": names, "note": note}


def _keep(arrays: dict, entry: Path) -> None:
    """Write the cache file `entry`; warn if it cannot be written."""
    try:
        with replacing(entry) as part:
            np.savez(part, **arrays)
    except OSError as error:
        warnings.warn(f"The decoded images could not be kept in {entry.parent} ({error}); they are decoded again "
                      "next time. Set EMBSEL_CACHE to a folder that can be written.", stacklevel=4)


def _scan(root: Path, test_fraction: float) -> tuple[list[Path], list[Path], list[str]]:
    """Return the files of the training and of the test images, each by class and file name, and sentences on them."""
    halves = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if halves:
        require(len(halves) == 2, f"{root}: expected both 'train' and 'test' folders, found only {halves[0].name!r}. "
                                  f"To have a test split taken from it, pass {str(halves[0])!r}.")
        (train, over), (test, over_test) = map(_images, halves)
        over = [path for path in _visible(root) if path not in halves] + over + over_test
        return train, test, _passed_over(over, root)
    images, over = _images(root)
    held, note = split_off(np.array([path.parent.name for path in images]), test_fraction, str(root))
    train, test = ([images[i] for i in np.flatnonzero(part)] for part in (~held, held))
    return train, test, [*_passed_over(over, root), note]


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images in the class folders of `folder`, and what else there is, other than hidden files."""
    inside, images = _visible(folder), []
    classes, over = [path for path in inside if path.is_dir()], [path for path in inside if not path.is_dir()]
    loose = sum(map(_is_image, over))
    require(classes, f"{folder}: expected a folder of images for each class, found no folder" + (
        f", but {loose:,} images. Move each into a folder named after its class." if loose else "."))
    for path in classes:
        inside = _visible(path)
        images += (files := [file for file in inside if _is_image(file)])
        over += (others := [file for file in inside if not _is_image(file)])
        advice = "Add images to this folder, or remove it."
        if any(file.is_dir() for file in others):
            advice = f"If these are the classes, pass {str(path)!r} instead, or move them one level up."
        require(files, f"{path}: expected images ({' '.join(_SUFFIXES)}) directly in it, found "
                       f"{_listed(others, path)}. {advice}")
    return images, over


def _visible(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*"))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.is_dir()


def _listed(paths: list[Path], root: Path) -> str:
    """Return the first names, relative to `root`, and the number of the others."""
    names = [path.relative_to(root).as_posix() for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "") or "none"


def _passed_over(paths: list[Path], root: Path) -> list[str]:
    """Return a sentence on what is no image of a class, if there is any."""
    which = "1 file or folder that is no image of a class was" if len(paths) == 1 else (
        f"{len(paths):,} files or folders that are no images of a class were")
    return [f"{which} passed over: {_listed(paths, root)}."] if paths else []


def _digest(files: list[Path], root: Path, settings: str) -> str:
    """Return a name for the contents of all `files`; refuse one that cannot be read, or is a link out of `root`."""
    digest = hashlib.sha256(settings.encode())
    for path in tqdm(files, "Reading", unit=" files", disable=len(files) < 2000):
        require(path.resolve().is_relative_to(root), f"{path}: expected a file in {root}, found a link that leads out.")
        try:
            require(path.is_file() or not path.exists(), f"{path}: expected a file, found a pipe or a device.")
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        head = f"\0{path.relative_to(root).as_posix()}\0{len(content)}\0"
        digest.update(head.encode(errors="surrogatepass") + content)
    return digest.hexdigest()[:32]


def split_off(labels: np.ndarray, fraction: float, where: str) -> tuple[np.ndarray, str]:
    """Return the mask of the test split to take from images of `labels`, always the same one, and a sentence on it."""
    held = stratified(labels, fraction, seed=0)
    require(held.any(), f"{where}: expected a class of two images or more, to split, found none.")
    return held, (f"There was no test split: {held.sum():,} of the {len(held):,} images, about {fraction:.0%} of each "
                  "class, became one.")


def stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return a mask of about `fraction` of each class; a class of two or more has images on both sides."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[:min(len(members) - 1, max(1, round(len(members) * fraction)))]] = True
    return mask
