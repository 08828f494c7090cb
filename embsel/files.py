"""Readers of an `.npz` file and of a folder of images, as plain arrays; `embsel.data.load` calls and checks them."""

import contextlib
import hashlib
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps
from tqdm import tqdm

from embsel.errors import InputError, require

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_KERAS_NAMES = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no other decoder is tried
_SUFFIXES = [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]


def read_npz(path: Path) -> dict:
    """Return the arrays of an `.npz` file, and its class names or else numbers; pickles inside are never loaded."""
    require(zipfile.is_zipfile(path), f"{path}: expected a folder of images or an .npz file, found something else.")
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = {key: _KERAS_NAMES.get(key, key) for key in file.files}
            arrays = {name: file[key] for key, name in wanted.items() if name in (*ARRAYS, "class_names")}
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise InputError(f"{path} cannot be read: {error}.") from None
    missing, found = ", ".join(key for key in ARRAYS if key not in arrays), ", ".join(wanted) or "none"
    require(not missing, f"{path}: expected the arrays {', '.join(ARRAYS)}; missing {missing}; found {found}.")
    numbers = range(np.unique(arrays["train_labels"]).size)  # every class has an image
    return arrays | {"class_names": np.ravel(arrays.get("class_names", numbers)).astype(str)}


def read_folder(root: Path, test_fraction: float, size: int | None) -> dict:
    """Return the arrays of a folder of images, decoded or, if every file is as it was, from the cache."""
    train, test = _scan(root, test_fraction)
    files, names = train + test, list(dict.fromkeys(path.parent.name for path in train))
    extra = ", ".join(sorted({path.parent.name for path in test} - set(names)))
    require(not extra, f"{root / 'test'}: expected the classes of the train folder, found also {extra}.")
    cache = Path(os.path.expanduser(os.environ.get("EMBSEL_CACHE") or "~/.cache/embsel"))
    entry = cache / f"{_digest(files, root, f'2 {PIL.__version__} {size} {len(train)}')}.npz"
    with contextlib.suppress(InputError):  # it is not there, or damaged: then it is made again
        return read_npz(entry)
    images, labels = _decode_all(files, size), np.array([names.index(path.parent.name) for path in files])
    arrays = {"train_images": images[:len(train)], "train_labels": labels[:len(train)],
              "test_images": images[len(train):], "test_labels": labels[len(train):], "class_names": names}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:  # then moved: another process sees all of it or nothing
            np.savez(f"{folder}/new.npz", **arrays)
            os.replace(f"{folder}/new.npz", entry)
    except OSError as error:
        warnings.warn(f"The decoded images could not be kept in {cache} ({error}); they are decoded again "
                      "next time. Set EMBSEL_CACHE to a folder that can be written.", stacklevel=3)
    return arrays


def _scan(root: Path, test_fraction: float) -> tuple[list[Path], list[Path]]:
    """Return the files of the training and of the test images, each by class and file name."""
    halves = [root / name for name in ("train", "test") if (root / name).is_dir()]
    if halves:
        require(len(halves) == 2, f"{root}: expected both 'train' and 'test' folders, found only {halves[0].name!r}.")
        return _images(halves[0]), _images(halves[1])
    images = _images(root)
    held = stratified(np.array([path.parent.name for path in images]), test_fraction, seed=0)
    require(held.any(), f"{root}: expected a class of two images or more, to split, found none.")
    return [images[i] for i in np.flatnonzero(~held)], [images[i] for i in np.flatnonzero(held)]


def _images(folder: Path) -> list[Path]:
    """Return the images in the class folders of `folder`; what is hidden, and files of other kinds, are passed over."""
    images, classes = [], sorted(path for path in folder.glob("[!.]*") if path.is_dir())
    require(classes, f"{folder}: expected a folder of images for each class, found no folder.")
    for path in classes:
        files = sorted(file for file in path.glob("[!.]*") if file.suffix.lower() in _SUFFIXES)
        require(files, f"{path}: expected images ({' '.join(_SUFFIXES)}) directly in it, found none.")
        images += files
    return images


def _digest(files: list[Path], root: Path, settings: str) -> str:
    """Return a name for the contents of all `files`; refuse one that cannot be read, or is a link out of `root`."""
    digest = hashlib.sha256(settings.encode())
    for path in tqdm(files, "Reading", unit=" files", disable=len(files) < 2000):
        require(path.resolve().is_relative_to(root), f"{path}: expected a file in {root}, found a link that leads out.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        head = f"\0{path.relative_to(root).as_posix()}\0{len(content)}\0"
        digest.update(head.encode(errors="surrogatepass") + content)
    return digest.hexdigest()[:32]


def _decode_all(files: list[Path], size: int | None) -> np.ndarray:
    """Return the images as uint8 (N, H, W, 3)."""
    images = []
    for path in tqdm(files, "Decoding", unit=" images", disable=len(files) < 2000):
        images.append(_decode(path, size))
        first, found = images[0].shape[:2], images[-1].shape[:2]
        require(found == first, f"{path}: expected {first} pixels (height, width), as in the first image, found "
                                f"{found}; pass image_size to bring all images to one size.")
    return np.stack(images)


def _decode(path: Path, size: int | None) -> np.ndarray:
    """Return one image file as uint8 (H, W, 3)."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            require(not image.mode.startswith(("I", "F")), f"8 bits a channel expected, mode {image.mode} found")
            image = ImageOps.exif_transpose(image)  # photographs lie on their side without it
            image = image.convert("RGBA" if image.mode == "P" else "RGB").convert("RGB")
            return np.asarray(image.resize((size, size)) if size else image)
    except Exception as error:  # a broken file can fail anywhere in a decoder
        raise InputError(f"{path} cannot be read as an image: {error}.") from None


def stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return a mask of about `fraction` of each class; a class of two or more has images on both sides."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[:min(len(members) - 1, max(1, round(len(members) * fraction)))]] = True
    return mask
