"""Datasets: one frozen container, one `load` for every source, and the built-in `shapes` set.

Everything is checked here, at the door, so that the rest of the package may assume good arrays.
"""

import hashlib
import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass, field
from math import cos, pi, sin
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps
from tqdm import tqdm

from embsel.errors import InputError, unknown

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_KERAS_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no other decoder is tried
_SUFFIXES = [".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"]
_KERAS = {  # name for `load`: (name to show, class names in the order of the labels)
    "mnist": ("MNIST", "0 1 2 3 4 5 6 7 8 9"),
    "fashion_mnist": (
        "Fashion-MNIST", "T-shirt/top trouser pullover dress coat sandal shirt sneaker bag ankle_boot"),
    "cifar10": ("CIFAR-10", "airplane automobile bird cat deer dog frog horse ship truck"),
    "cifar100": ("CIFAR-100", """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
        can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
        dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
        lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter
        palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
        seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
        tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
        worm"""),
}
# Contents known by their decoded pixels. Another JPEG decoder may differ in a few pixels: then the name falls
# back to the folder's, and nothing else changes.
_KNOWN_CONTENTS = {"e241af4f9084": "CIFAR-10 (JPEG copy)"}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in two splits, checked and read-only.

    `train_images`, `test_images`: uint8 (N, H, W, C), C 1 or 3, one H, W, C for both. `train_labels`,
    `test_labels`: int64 (N,), positions in `class_names`. `originals`: int64 (N,) or None, for each training
    image the index of the training image that it is a near-copy of, its own index if it is no copy (known for
    `shapes` only). `fingerprint`: 12 hexadecimal digits that name the pixels and labels, in their order,
    whatever file they came from. Raises `InputError` for anything else, and for a class without a training
    image.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    originals: np.ndarray | None = None
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.class_names)
        _require(len(set(names)) == len(names) > 0, f"class_names: expected distinct names, found {names}.")
        checked = {"class_names": names}
        for split in ("train", "test"):
            images = _checked_images(f"{split}_images", getattr(self, f"{split}_images"))
            labels = getattr(self, f"{split}_labels")
            checked[f"{split}_images"] = images
            checked[f"{split}_labels"] = _checked_integers(f"{split}_labels", labels, len(images), len(names))
        shape, found = checked["train_images"].shape[1:], checked["test_images"].shape[1:]
        _require(shape == found, f"test_images: expected images of {shape}, as for training, found {found}.")
        counts = np.bincount(checked["train_labels"], minlength=len(names))
        empty = ", ".join(name for name, count in zip(names, counts, strict=True) if count == 0)
        _require(not empty, f"train_labels: expected an image of every class, found none of {empty}.")
        if self.originals is not None:
            size = len(checked["train_images"])
            checked["originals"] = originals = _checked_integers("originals", self.originals, size, size)
            _require((originals[originals] == originals).all(),
                     "originals: expected the indices of originals, found a copy of a copy.")
        digest = hashlib.sha256()
        for key in ARRAYS:
            array = np.ascontiguousarray(checked[key])
            digest.update(f"{key} {array.shape} ".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False))
        checked["fingerprint"] = digest.hexdigest()[:12]
        for key, value in checked.items():
            if isinstance(value, np.ndarray):
                value = value.view()  # a view, so that the caller's own array stays writable
                value.flags.writeable = False
            object.__setattr__(self, key, value)

    def describe(self) -> str:
        """Return one sentence: name, sizes, classes, fingerprint."""
        size = "×".join(map(str, self.train_images.shape[1:]))
        return (f"{self.name}: {len(self.train_labels):,} training and {len(self.test_labels):,} test images "
                f"of {size}, {len(self.class_names)} classes, fingerprint {self.fingerprint}")

    __str__ = __repr__ = describe


def _checked_images(key: str, value: object) -> np.ndarray:
    value = np.asarray(value)
    good = value.dtype == np.uint8 and value.ndim == 4 and value.shape[-1] in (1, 3) and value.size > 0
    _require(good, f"{key}: expected uint8 images of shape (N, H, W, C), C 1 or 3, at least one; "
                   f"found {value.dtype} of shape {value.shape}.")
    return value


def _checked_integers(key: str, value: object, length: int, end: int) -> np.ndarray:
    value = np.asarray(value)
    _require(value.dtype.kind in "iu", f"{key}: expected integers, found {value.dtype}.")
    _require(value.shape == (length,),
             f"{key}: expected shape ({length},), one for each image, found {value.shape}.")
    low, high = value.min(), value.max()
    _require(low >= 0 and high < end, f"{key}: expected values from 0 to {end - 1}, found {low} to {high}.")
    return value.astype(np.int64)


def _whole(key: str, value: object, least: int) -> int:
    good = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least
    _require(good, f"{key}: expected a whole number of at least {least}, found {value!r}.")
    return int(value)


def _share(key: str, value: object, or_zero: bool = False) -> None:
    good = isinstance(value, (int, float)) and (0 < value < 1 or (or_zero and value == 0))
    wanted = "from 0 to below 1" if or_zero else "between 0 and 1"
    _require(good, f"{key}: expected a number {wanted}, found {value!r}.")


def load(source: str | os.PathLike, *, test_fraction: float = 1 / 6, image_size: int | None = None,
         cache: str | os.PathLike | None = None) -> Dataset:
    """Return the `Dataset` that `source` names.

    `source`: "shapes"; "cifar10", "cifar100", "mnist" or "fashion_mnist" (downloaded by Keras at first use);
    an `.npz` file with `train_images`, `train_labels`, `test_images`, `test_labels` (or Keras' `x_train`,
    `y_train`, `x_test`, `y_test`) and optional `class_names`; or a folder of images, `train/<class>/*` and
    `test/<class>/*`, or `<class>/*`, of which `test_fraction` of each class becomes the test split, the same
    one each time. A name wins over a path: write `./mnist` for a folder of that name.

    Folder images become RGB (transparency is dropped, of an animation the first frame is taken) and must
    share one size unless `image_size` is given: then everything, whatever the source, becomes that square, in
    pixels. Decoded folders are kept in `cache` (else `EMBSEL_CACHE`, else `~/.cache/embsel`), under a key
    made from every file's path and bytes; the cache may be deleted at any time. Raises `InputError` for what
    cannot be used.
    """
    _require(isinstance(source, (str, os.PathLike)) and source != "",
             f"source: expected a dataset's name, or the path of a folder or an .npz file, found {source!r}.")
    _share("test_fraction", test_fraction)
    image_size = image_size if image_size is None else _whole("image_size", image_size, 1)
    if source == "shapes":
        return shapes() if image_size is None else shapes(size=image_size)
    path = Path(os.path.expanduser(source))
    if source in _KERAS:
        name, arrays = _KERAS[source][0], _resized(_download(source), image_size)
    elif os.path.isdir(path):
        cache = Path(os.path.expanduser(cache or os.environ.get("EMBSEL_CACHE") or "~/.cache/embsel"))
        name, arrays = path.resolve().name, _load_folder(path.resolve(), test_fraction, image_size, cache)
    elif os.path.exists(path):
        name, arrays = path.stem, _resized(_read_npz(path), image_size)
    else:
        raise InputError(f"{unknown('dataset', str(source), ['shapes', *_KERAS])} "
                         f"No folder or .npz file was found at {str(path.absolute())!r} either.")
    dataset = Dataset(name, **arrays)
    object.__setattr__(dataset, "name", _KNOWN_CONTENTS.get(dataset.fingerprint, name))  # spares a second hashing
    return dataset


def _download(source: str) -> dict:
    """Return the arrays of a dataset that Keras downloads (with its own progress bar) and keeps."""
    from embsel.backend import keras  # here, so that the other sources work without Keras

    try:
        train, test = getattr(keras.datasets, source).load_data()
    except Exception as error:  # Keras raises a bare Exception when an address cannot be reached
        raise InputError(
            f"{source} could not be downloaded ({error}). Check the connection and try again, or pass a folder "
            "of images or an .npz file instead, or 'shapes', which needs no download.") from error
    names = [name.replace("_", " ") for name in _KERAS[source][1].split()]
    return _arranged(dict(zip(ARRAYS, (*train, *test), strict=True)), names)


def _read_npz(path: Path) -> dict:
    """Return the arrays of an `.npz` file; pickles inside are refused, never loaded."""
    _require(path.is_file() and zipfile.is_zipfile(path),
             f"{path}: expected a folder of images or an .npz file, found something else.")
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = _KERAS_ARRAYS if set(_KERAS_ARRAYS) <= set(file.files) else ARRAYS
            missing = [key for key in keys if key not in file.files]
            _require(not missing, f"{path}: expected the arrays {', '.join(ARRAYS)}; "
                                  f"missing {', '.join(missing)}; found {', '.join(file.files) or 'none'}.")
            arrays = {name: file[key] for name, key in zip(ARRAYS, keys, strict=True)}
            names = file["class_names"] if "class_names" in file.files else None
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        if "allow_pickle" in str(error):
            error = "it holds Python objects (pickles), which are never loaded: save plain arrays"
        raise InputError(f"{path} cannot be read: {error}.") from None
    return _arranged(arrays, names)


def _arranged(arrays: dict, class_names) -> dict:
    """Return `arrays` with a channel axis on grey images, flat labels and class names (else the numbers)."""
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        arrays[f"{split}_images"] = images[..., None] if images.ndim == 3 else images
        arrays[f"{split}_labels"] = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if class_names is None:  # as every class has an image, there are no more classes than images
        size = len(_checked_images("train_images", arrays["train_images"]))
        class_names = range(_checked_integers("train_labels", arrays["train_labels"], size, size).max() + 1)
    return arrays | {"class_names": tuple(np.asarray(class_names).ravel().astype(str).tolist())}


def _resized(arrays: dict, image_size: int | None) -> dict:
    if image_size is None:
        return arrays
    for key in ("train_images", "test_images"):
        images = _checked_images(key, arrays[key])
        small = [np.asarray(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
                            .resize((image_size, image_size))) for image in images]
        arrays[key] = np.stack(small).reshape(len(images), image_size, image_size, -1)
    return arrays


def _load_folder(root: Path, test_fraction: float, image_size: int | None, cache: Path) -> dict:
    """Return the arrays of a folder of images, decoded or from `cache`."""
    names, splits = _scan(root, test_fraction)
    key = hashlib.sha256(f"1 {PIL.__version__} {image_size} {names}".encode())
    files = [(split, label, path) for split, pairs in splits.items() for label, path in pairs]
    for split, label, path in tqdm(files, "Reading", unit=" files", disable=len(files) < 2000):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from None
        place = path.relative_to(root).as_posix()
        key.update(f"\0{split}\0{label}\0{place}\0{len(data)}\0".encode(errors="surrogatepass"))
        key.update(data)
    entry = cache / f"{key.hexdigest()[:32]}.npz"
    if os.path.exists(entry):
        try:
            return _read_npz(entry)
        except InputError:
            warnings.warn(f"The cache file {entry} is damaged; it is made again.", stacklevel=3)
    arrays = _decode_all(splits, image_size) | {"class_names": names}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Written beside its place and moved there in one step: another process sees all of it or nothing.
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".part", delete=False) as file:
            try:
                np.savez(file, **arrays)
                file.close()
                os.replace(file.name, entry)
            finally:
                Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(f"The decoded images could not be kept in {cache} ({error}); they are decoded again "
                      "next time. Set EMBSEL_CACHE to a folder that can be written.", stacklevel=3)
    return arrays


def _scan(root: Path, test_fraction: float) -> tuple[tuple[str, ...], dict[str, list[tuple[int, Path]]]]:
    """Return the class names, and for each split the (label, file) pairs, ordered by class and file name."""
    folders = {path.name: path for path in _visible(root, root) if path.is_dir()}
    halves = {"train", "test"} & set(folders)
    if not halves:
        names, pairs = _classes(root, root)
        held = _stratified(np.array([label for label, _ in pairs]), test_fraction, seed=0)
        _require(held.any(), f"{root}: expected a class of two images or more, to split, found none.")
        return names, {"train": [pairs[i] for i in np.flatnonzero(~held)],
                       "test": [pairs[i] for i in np.flatnonzero(held)]}
    _require(len(halves) == 2, f"{root}: expected both 'train' and 'test' folders, found only {halves}.")
    names, train = _classes(folders["train"], root)
    test_names, test = _classes(folders["test"], root)
    extra = ", ".join(sorted(set(test_names) - set(names)))
    _require(not extra, f"{folders['test']}: expected the classes of the train folder, found also {extra}.")
    return names, {"train": train, "test": [(names.index(test_names[label]), path) for label, path in test]}


def _classes(folder: Path, root: Path) -> tuple[tuple[str, ...], list[tuple[int, Path]]]:
    """Return the class names in `folder`, and (label, file) for every image in a class folder."""
    classes = [path for path in _visible(folder, root) if path.is_dir()]
    _require(bool(classes), f"{folder}: expected a folder of images for each class, found no folder.")
    pairs = []
    for label, path in enumerate(classes):
        files = [file for file in _visible(path, root) if file.suffix.lower() in _SUFFIXES and file.is_file()]
        _require(bool(files), f"{path}: expected images ({' '.join(_SUFFIXES)}) directly in it, found none.")
        pairs += [(label, file) for file in files]
    return tuple(path.name for path in classes), pairs


def _visible(folder: Path, root: Path) -> list[Path]:
    """Return what is in `folder`, sorted, without hidden files; refuse a link that leads out of `root`."""
    with os.scandir(folder) as entries:
        shown = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    for entry in shown:
        _require(not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root),
                 f"{entry.path}: expected a file or folder inside {root}, found a link that leads out of it.")
    return [Path(entry.path) for entry in shown]


def _decode_all(splits: dict[str, list[tuple[int, Path]]], image_size: int | None) -> dict[str, np.ndarray]:
    count = sum(map(len, splits.values()))
    arrays, shape = {}, None
    with tqdm(total=count, desc="Decoding", unit=" images", disable=count < 2000) as bar:
        for split, pairs in splits.items():
            for position, (_, path) in enumerate(pairs):
                image = _decode(path, image_size)
                shape = shape or image.shape
                (height, width), (h, w) = shape[:2], image.shape[:2]
                _require(image.shape == shape,
                         f"{path}: expected {width}×{height} pixels (width×height), as in the first image, found "
                         f"{w}×{h}; pass image_size to bring all images to one size.")
                if position == 0:
                    arrays[f"{split}_images"] = np.empty((len(pairs), *shape), np.uint8)
                arrays[f"{split}_images"][position] = image
                bar.update()
            arrays[f"{split}_labels"] = np.array([label for label, _ in pairs], np.int64)
    return arrays


def _decode(path: Path, image_size: int | None) -> np.ndarray:
    """Return one image file as uint8 (H, W, 3)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"8 bits a channel expected, mode {image.mode} found")
                image = ImageOps.exif_transpose(image)  # photographs lie on their side without it
                image = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
                return np.asarray(image.resize((image_size, image_size)) if image_size else image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: expected at most {Image.MAX_IMAGE_PIXELS:,} pixels, found more; it may be a "
                         "decompression bomb, and is not decoded.") from None
    except Exception as error:  # a broken file can fail anywhere in a decoder
        raise InputError(f"{path} cannot be read as an image: {error}.") from None


def _stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return a mask of about `fraction` of each class; a class of two or more has images on both sides."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[:min(len(members) - 1, max(1, round(len(members) * fraction)))]] = True
    return mask


def hold_out(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0) -> Dataset:
    """Return a validation split: tests on `fraction` of each class of the training set, trains on the rest.

    The real test set is not in the result, on purpose. Whatever is chosen by looking at a score (a learning
    rate, a selector, a policy) is chosen here; a score on the test split is then still news. Where
    `originals` are known and an original is held out, the first of its copies that stays stands in for it.
    Raises `InputError` for a `fraction` outside (0, 1) or a training set with nothing to hold out.
    """
    _share("fraction", fraction)
    held = _stratified(dataset.train_labels, fraction, _whole("seed", seed, 0))
    _require(held.any(), f"{dataset.name}: expected a class of two training images or more, found none.")
    originals = dataset.originals
    if originals is not None:
        place = np.where(held, -1, np.cumsum(~held) - 1)
        _, first, group = np.unique(originals[~held], return_index=True, return_inverse=True)
        originals = np.where(place[originals[~held]] < 0, first[group], place[originals[~held]])
    images, labels = dataset.train_images, dataset.train_labels
    return Dataset(f"{dataset.name} (validation split)", images[~held], labels[~held], images[held],
                   labels[held], dataset.class_names, originals)


# The built-in set. Only + - * / sqrt, min and max touch a pixel: these are exact in IEEE arithmetic, so that one
# seed gives the same bytes, hence the same fingerprint, on every machine. (In sin, exp and matrix products the
# last bit may differ; the sines and cosines of angles are therefore rounded.)


def _length(u, v):
    return np.sqrt(u * u + v * v)


def _box(u, v, a, b):
    return np.maximum(np.abs(u) - a, np.abs(v) - b)


def _sides(u, v, count, inradius):
    """Return the `count` distances to the sides of a regular polygon, the largest last."""
    angles = [2 * pi * i / count for i in range(count)]
    return np.sort([round(sin(a), 6) * u + round(cos(a), 6) * v - inradius for a in angles], axis=0)


def _heart(u, v):
    u, v = u + 0.25, v + 0.25
    lobes = np.minimum(_length(u - np.clip(u, 0, 0.6), v), _length(u, v - np.clip(v, 0, 0.6))) - 0.45
    return np.minimum(_box(u, v, 0.45, 0.45), lobes)


SHAPES = {  # signed distance at (u, v) to the outline, negative inside, of a shape of radius 1 or so
    "disc": lambda u, v: _length(u, v) - 0.85,
    "ring": lambda u, v: np.abs(_length(u, v) - 0.75) - 0.2,
    "triangle": lambda u, v: _sides(u, v, 3, 0.55)[-1],
    "square": lambda u, v: _box(u, v, 0.75, 0.75),
    "cross": lambda u, v: np.minimum(_box(u, v, 1, 0.3), _box(u, v, 0.3, 1)),
    "star": lambda u, v: _sides(u, v, 5, 0.36)[-2],  # what lies within all but one of five sides
    "crescent": lambda u, v: np.maximum(_length(u, v) - 0.95, 0.78 - _length(u - 0.5, v)),
    "heart": _heart,
    "hourglass": lambda u, v: np.maximum(0.8 * (np.abs(u) - 0.7 * np.abs(v)) - 0.06, np.abs(v) - 0.9),
    "pill": lambda u, v: _length(u, np.maximum(np.abs(v) - 0.65, 0)) - 0.32,
}


def shapes(*, train: int = 4000, test: int = 1000, size: int = 32, redundancy: float = 0.0,
           seed: int = 0) -> Dataset:
    """Return ten classes of drawn RGB shapes, of any turn and colour, on texture, with clutter and noise.

    `train`, `test`: numbers of images, equally many of each class (to within one), at least 10; `size`:
    height and width in pixels, at least 8. `redundancy` in [0, 1): this share of the training images are
    near-copies (shifted by up to two pixels, brighter or darker, a little noise) of the others; a few
    originals get most of the copies, and `Dataset.originals` tells which. The same arguments give the same
    pixels on every machine. Raises `InputError` for arguments out of range. Not in the paper: made so that
    every chapter runs without a download.
    """
    classes = len(SHAPES)
    train, test = _whole("train", train, classes), _whole("test", test, classes)
    size, seed = _whole("size", size, 8), _whole("seed", seed, 0)
    _share("redundancy", redundancy, or_zero=True)
    count = train - int(train * redundancy)
    _require(count >= classes, f"redundancy: expected at least {classes} originals, one of each class; "
                               f"{redundancy} of {train} images leaves {count}.")
    rng = np.random.default_rng([seed, 0])
    labels, sources = np.arange(train) % classes, np.arange(train)  # the originals first, then the copies
    images = _draw(labels[:count], size, rng)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        originals, copies = members[members < count], members[members >= count]
        weights = 1 / np.arange(1, len(originals) + 1)  # Zipf: the k-th original gets a share of 1/k
        sources[copies] = rng.choice(originals, len(copies), p=weights / weights.sum())
    images = np.concatenate([images, _near_copies(images[sources[count:]], rng)])
    order = rng.permutation(train)
    originals = np.argsort(order)[sources[order]]
    rng = np.random.default_rng([seed, 1])  # a stream of its own: the same test set for any training set
    test_labels = rng.permutation(np.arange(test) % classes)
    return Dataset("shapes", images[order], labels[order], _draw(test_labels, size, rng), test_labels,
                   tuple(SHAPES), originals)


def _draw(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (N, size, size, 3), one drawing for each label, in blocks that keep the memory small."""
    return np.concatenate([_draw_block(labels[i:i + 250], size, rng) for i in range(0, len(labels), 250)])


def _draw_block(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    n = len(labels)
    v, u = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32), indexing="ij")

    def uniform(low, high, *shape):
        return low + (high - low) * rng.random((n, *shape), np.float32)

    def turned(spread, stretch=0.0):
        """Pixel coordinates (n, size, size) from a random centre, in random directions."""
        angle = 2 * pi * rng.random(n)
        c, s = (np.round(f(angle), 6).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        x, y = (axis - uniform((0.5 - spread) * size, (0.5 + spread) * size, 1, 1) for axis in (u, v))
        along = uniform(1 - stretch, 1 + stretch, 1, 1)
        return (c * x + s * y) * along, (c * y - s * x) / along

    def paint(canvas, distance, colour):
        """Lay `colour` over `canvas` where `distance` (pixels) is negative, with a soft edge of one pixel."""
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        return canvas + cover * (colour - canvas)

    def clutter(canvas, strokes, blobs):
        for _ in range(strokes):
            x, y = turned(0.6)
            half, thick = uniform(0.05 * size, 0.25 * size, 1, 1), uniform(0.3, 0.9, 1, 1)
            distance = _length(np.maximum(np.abs(x) - half, 0), y) - thick
            canvas = paint(canvas, distance, uniform(0.05, 0.95, 1, 1, 3))
        for _ in range(blobs):
            x, y = turned(0.6)
            distance = _length(x, y) - uniform(0.5, 0.06 * size, 1, 1)
            canvas = paint(canvas, distance, uniform(0.05, 0.95, 1, 1, 3))
        return canvas

    def texture(cells):
        """Smooth noise in [-1, 1], (n, size, size, 1): a grid of random numbers, interpolated."""
        grid = uniform(-1, 1, cells + 1, cells + 1)
        at = np.arange(size, dtype=np.float32) * np.float32(cells / size)
        low = at.astype(int)
        part = at - low
        rows = grid[:, low] + part[:, None] * (grid[:, low + 1] - grid[:, low])
        return (rows[..., low] + part * (rows[..., low + 1] - rows[..., low]))[..., None]

    ground = uniform(0.1, 0.9, 1, 1, 3)
    candidates = uniform(0.05, 0.95, 3, 1, 1, 3)  # the one of three colours that differs most from the ground
    gap = (candidates - ground[:, None]) ** 2
    colour = candidates[np.arange(n), (gap[..., 0] + gap[..., 1] + gap[..., 2])[:, :, 0, 0].argmax(axis=1)]
    canvas = ground + 0.2 * texture(3) * uniform(-1, 1, 1, 1, 3) + 0.12 * texture(8)
    canvas = clutter(canvas, strokes=2, blobs=2)
    x, y = turned(0.06, stretch=0.12)
    radius = uniform(0.3, 0.4, 1, 1) * size
    x, y, distance = x / radius, y / radius, np.empty((n, size, size), np.float32)
    for label, outline in enumerate(SHAPES.values()):
        of = labels == label
        distance[of] = outline(x[of], y[of])
    canvas = paint(canvas, distance * radius, colour + 0.15 * texture(2))
    canvas = clutter(canvas, strokes=1, blobs=1)
    noise = uniform(-1, 1, size, size, 3) + uniform(-1, 1, size, size, 3)
    return (np.clip(canvas + uniform(0.02, 0.05, 1, 1, 1) * noise, 0, 1) * 255).astype(np.uint8)


def _near_copies(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each image shifted by up to two pixels (edges repeated), brighter or darker, and noisier."""
    n, size = images.shape[:2]
    rows, columns = (np.clip(np.arange(size) + rng.integers(-2, 3, (n, 1)), 0, size - 1) for _ in range(2))
    moved = images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float32)
    gain = 0.85 + 0.3 * rng.random((n, 1, 1, 1), np.float32)
    return np.clip(moved * gain + 8 * (rng.random(moved.shape, np.float32) - 0.5), 0, 255).astype(np.uint8)
