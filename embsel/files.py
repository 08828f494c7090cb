"""Readers of an `.npz` file and of a folder of images, as plain arrays; `embsel.data.load` calls and checks them."""

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
_KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no other decoder is tried
_SUFFIXES = [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]


def read_npz(path: Path) -> dict:
    """Return the arrays of an `.npz` file, and its class names or else numbers; pickles inside are never loaded."""
    require(path.is_file() and zipfile.is_zipfile(path),
            f"{path}: expected a folder of images or an .npz file, found something else.")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in (*ARRAYS, *_KERAS_ARRAYS, "class_names") if key in file.files}
            listed = ", ".join(file.files) or "none"
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        if "allow_pickle" in str(error):
            error = "it holds Python objects (pickles), which are never loaded: save plain arrays"
        raise InputError(f"{path} cannot be read: {error}.") from None
    keys = _KERAS_ARRAYS if set(_KERAS_ARRAYS) <= set(found) else ARRAYS
    missing = ", ".join(key for key in keys if key not in found)
    require(not missing, f"{path}: expected the arrays {', '.join(ARRAYS)}; missing {missing}; found {listed}.")
    arrays = {name: found[key] for name, key in zip(ARRAYS, keys, strict=True)}
    numbers = range(np.unique(arrays["train_labels"]).size or 1)  # every class has an image
    return arrays | {"class_names": np.ravel(found.get("class_names", numbers)).astype(str)}


def read_folder(root: Path, test_fraction: float, size: int | None, cache: Path) -> dict:
    """Return the arrays of a folder of images, decoded or from `cache`."""
    names, files = _scan(root, test_fraction)
    key = hashlib.sha256(f"1 {PIL.__version__} {size} {names}".encode())
    for split, label, path in tqdm(files, "Reading", unit=" files", disable=len(files) < 2000):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        head = f"\0{split}\0{label}\0{path.relative_to(root).as_posix()}\0{len(data)}\0"
        key.update(head.encode(errors="surrogatepass") + data)
    entry = cache / f"{key.hexdigest()[:32]}.npz"
    if os.path.exists(entry):
        try:
            return read_npz(entry)
        except InputError:
            warnings.warn(f"The cache file {entry} is damaged; it is made again.", stacklevel=3)
    arrays = _decode_all(files, size) | {"class_names": names}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:  # then moved: another process sees all of it or nothing
            with open(f"{folder}/new", "wb") as file:
                np.savez(file, **arrays)
            os.replace(file.name, entry)
    except OSError as error:
        warnings.warn(f"The decoded images could not be kept in {cache} ({error}); they are decoded again "
                      "next time. Set EMBSEL_CACHE to a folder that can be written.", stacklevel=3)
    return arrays


def _scan(root: Path, test_fraction: float) -> tuple[tuple[str, ...], list[tuple[str, int, Path]]]:
    """Return the class names, and (split, label, file) for each image: by split, class and file name."""
    halves = {path.name: path for path in _visible(root, root) if path.name in ("train", "test") and path.is_dir()}
    if halves:
        require(len(halves) == 2, f"{root}: expected both 'train' and 'test' folders, found only {set(halves)}.")
        train, test = _images(halves["train"], root), _images(halves["test"], root)
    else:
        images = _images(root, root)
        held = stratified(np.array([file.parent.name for file in images]), test_fraction, seed=0)
        require(held.any(), f"{root}: expected a class of two images or more, to split, found none.")
        train, test = ([images[i] for i in np.flatnonzero(mask)] for mask in (~held, held))
    names = tuple(dict.fromkeys(file.parent.name for file in train))
    extra = ", ".join(sorted({file.parent.name for file in test} - set(names)))
    require(not extra, f"{root / 'test'}: expected the classes of the train folder, found also {extra}.")
    return names, [(split, names.index(file.parent.name), file)
                   for split, part in (("train", train), ("test", test)) for file in part]


def _images(folder: Path, root: Path) -> list[Path]:
    """Return the images in the class folders of `folder`, by class and file name."""
    images, classes = [], [path for path in _visible(folder, root) if path.is_dir()]
    require(classes, f"{folder}: expected a folder of images for each class, found no folder.")
    for path in classes:
        files = [file for file in _visible(path, root) if file.suffix.lower() in _SUFFIXES and file.is_file()]
        require(files, f"{path}: expected images ({' '.join(_SUFFIXES)}) directly in it, found none.")
        images += files
    return images


def _visible(folder: Path, root: Path) -> list[Path]:
    """Return what is in `folder`, sorted, without hidden files; refuse a link that leads out of `root`."""
    paths = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.name)
    for path in paths:
        require(not path.is_symlink() or path.resolve().is_relative_to(root),
                f"{path}: expected a file or folder inside {root}, found a link that leads out of it.")
    return paths


def _decode_all(files: list[tuple[str, int, Path]], size: int | None) -> dict[str, np.ndarray]:
    images = None
    for i, (_, _, path) in enumerate(tqdm(files, "Decoding", unit=" images", disable=len(files) < 2000)):
        image = _decode(path, size)
        images = np.empty((len(files), *image.shape), np.uint8) if images is None else images
        (height, width), (h, w) = images.shape[1:3], image.shape[:2]
        require((h, w) == (height, width),
                f"{path}: expected {width}×{height} pixels (width×height), as in the first image, found "
                f"{w}×{h}; pass image_size to bring all images to one size.")
        images[i] = image
    train, labels = sum(split == "train" for split, _, _ in files), np.array([label for _, label, _ in files])
    return dict(zip(ARRAYS, (images[:train], labels[:train], images[train:], labels[train:]), strict=True))


def _decode(path: Path, size: int | None) -> np.ndarray:
    """Return one image file as uint8 (H, W, 3)."""
    try:
        with (warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
              Image.open(path, formats=_FORMATS) as image):
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"8 bits a channel expected, mode {image.mode} found")
            image = ImageOps.exif_transpose(image)  # photographs lie on their side without it
            image = image.convert("RGBA" if image.mode == "P" else "RGB").convert("RGB")
            return np.asarray(image.resize((size, size)) if size else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, found more; it may be a "
                         "decompression bomb, and is not decoded.") from None
    except Exception as error:  # a broken file can fail anywhere in a decoder
        raise InputError(f"{path} cannot be read as an image: {error}.") from None


def stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return a mask of about `fraction` of each class; a class of two or more has images on both sides."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[:min(len(members) - 1, max(1, round(len(members) * fraction)))]] = True
    return mask
