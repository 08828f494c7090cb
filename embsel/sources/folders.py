"""What lies on a disk: folders of images, a folder for each class, which are kept decoded; and `.npz` files."""

import hashlib
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import PIL
from tqdm import tqdm

from embsel.errors import InputError, require
from embsel.files import replacing
from embsel.sources.memory import ARRAYS, named_arrays, read_objects, split_off

_SUFFIXES = [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]
_BOMB = 100  # times its own size, to which no large file of images expands
_HARMLESS = 2**30  # bytes, which may be of one colour


def read_file(path: Path, *extra: str) -> dict:
    """Return the arrays of an `.npz` file, and those named in `extra`; pickles inside are never loaded.

    A file that would expand to more than 1 GiB and 100 times its size is refused before anything in it is read. Another
    kind of file would be told apart here: what is returned may be any data in memory that `embsel.data.load` takes.
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
    require(size <= max(_HARMLESS, _BOMB * found), f"{path}: expected an .npz file that expands to at most {_BOMB} "
            f"times its size, found one of {found:,} bytes that expands to {size:,}, as a decompression bomb does. If "
            "it is what you want, write it anew with np.savez, which does not compress.")


def read_folder(root: Path, test_fraction: float, size: int | str | None) -> dict:
    """Return the arrays of a folder of images, kept ones if no file has changed; the training files; and a note."""
    train, test, notes = _scan(root, test_fraction)
    files, names = train + test, list(dict.fromkeys(path.parent.name for path in train))
    extra = ", ".join(sorted({path.parent.name for path in test} - set(names)))
    require(not extra, f"{root / 'test'}: expected the classes of the train folder, found also {extra}.")
    cache = Path(os.path.expanduser(os.environ.get("EMBSEL_CACHE") or "~/.cache/embsel"))
    entry = cache / f"{_digest(files, root, f'3 {PIL.__version__} {size} {len(train)}')}.npz"
    try:
        arrays = read_file(entry, "note")
    except InputError:  # it is not there, or damaged: then it is made again
        labels = [names.index(path.parent.name) for path in files]
        parts = train, labels[:len(train)], test, labels[len(train):], names
        arrays = read_objects(dict(zip((*ARRAYS, "class_names"), parts, strict=True)), test_fraction, size)
        try:
            with replacing(entry) as part:
                np.savez(part, **arrays)
        except OSError as error:
            warnings.warn(f"The decoded images could not be kept in {cache} ({error}); they are decoded again next "
                          "time. Set EMBSEL_CACHE to a folder that can be written.", stacklevel=3)
    # What the name of the entry does not stand for is not kept in it: files that were passed over, and the split.
    return arrays | {"note": " ".join(filter(None, [str(arrays["note"]), *notes])),
                     "train_files": tuple(path.relative_to(root).as_posix() for path in train)}


def _scan(root: Path, test_fraction: float) -> tuple[list[Path], list[Path], list[str]]:
    """Return the files of the training and of the test images, each by class and file name, and sentences on them."""
    halves = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if halves:
        require(len(halves) == 2, f"{root}: expected both 'train' and 'test' folders, found only {halves[0].name!r}. "
                                  f"To have a test split taken from it, pass {str(halves[0])!r}.")
        (train, over), (test, over_test) = map(_images, halves)
        over, split = [path for path in _visible(root) if path not in halves] + over + over_test, []
    else:
        images, over = _images(root)
        held, *split = split_off(np.array([path.parent.name for path in images]), test_fraction, str(root))
        train, test = ([images[i] for i in np.flatnonzero(part)] for part in (~held, held))
    which = "1 file or folder that is no image of a class was" if len(over) == 1 else (
        f"{len(over):,} files or folders that are no images of a class were")
    return train, test, [f"{which} passed over: {_listed(over, root)}."] * bool(over) + split


def _images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images in the class folders of `folder`, and what else there is, other than hidden files."""
    images, over = [], [path for path in _visible(folder) if not path.is_dir()]
    classes, loose = [path for path in _visible(folder) if path.is_dir()], sum(map(_is_image, over))
    require(classes, f"{folder}: expected a folder of images for each class, found no folder" + (
        f", but {loose:,} images. Move each into a folder named after its class." if loose else "."))
    for path in classes:
        found = [file for file in _visible(path) if _is_image(file)]
        others = [file for file in _visible(path) if not _is_image(file)]
        deeper = any(file.is_dir() for file in others)
        advice = (f"If these are the classes, pass {str(path)!r} instead, or move them one level up." if deeper else
                  "Add images to this folder, or remove it.")
        require(found, f"{path}: expected images ({' '.join(_SUFFIXES)}) directly in it, found "
                       f"{_listed(others, path)}. {advice}")
        images += found
        over += others
    return images, over


def _visible(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*"))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.is_dir()


def _listed(paths: list[Path], root: Path) -> str:
    """Return the first names, relative to `root`, and the number of the others."""
    names = [path.relative_to(root).as_posix() for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "") or "none"


def _digest(files: list[Path], root: Path, settings: str) -> str:
    """Return a name for the contents of all `files`; refuse one that cannot be read, or is a link out of `root`."""
    digest = hashlib.sha256(settings.encode())
    for path in tqdm(files, "Reading", unit=" files", delay=2):
        require(path.resolve().is_relative_to(root), f"{path}: expected a file in {root}, found a link that leads out.")
        try:
            require(path.is_file() or not path.exists(), f"{path}: expected a file, found a pipe or a device.")
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        head = f"\0{path.relative_to(root).as_posix()}\0{len(content)}\0"
        digest.update(head.encode(errors="surrogatepass") + content)
    return digest.hexdigest()[:32]
