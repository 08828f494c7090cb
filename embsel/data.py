"""Datasets: one frozen container, one `load` for every source, and a validation split.

Everything is checked here, at the door, so that the rest of the package may assume good arrays.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np

from embsel.errors import InputError, as_array, require, share, unknown, whole
from embsel.sources.folders import ARRAYS, read_folder, read_npz, stratified
from embsel.sources.memory import read_objects
from embsel.sources.pixels import FIT
from embsel.sources.shapes import OUTLINED, SHAPES, drawn_arrays

_KERAS = {  # name for `load`: (name to show, class names in the order of the labels)
    "mnist": ("MNIST", "0 1 2 3 4 5 6 7 8 9"),
    "fashion_mnist": ("Fashion-MNIST", "T-shirt/top trouser pullover dress coat sandal shirt sneaker bag ankle_boot"),
    "cifar10": ("CIFAR-10", "airplane automobile bird cat deer dog frog horse ship truck"),
    "cifar100": ("CIFAR-100", """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""),
}
LARGEST = 4096  # pixels, of an image's side: a set of larger ones would fill any memory
_DRAWN = {"shapes": {}, "shapes-20": {"outlined": True, "train": 20_000, "test": 4_000}}  # to arguments of `shapes`
# Known by their pixels. With another JPEG decoder a few may differ: then the folder's name stays, and all else works.
_KNOWN_CONTENTS = {"e241af4f9084": "CIFAR-10 (JPEG copy)"}
# Known by their pixels and labels in whatever order, and brought into one: folders, archives and Keras' download each
# have another, and a run on one of them is to be a run on all.
_KNOWN_SETS = {"4a9469ddc031": "CIFAR-10", "2b9192fe1480": "CIFAR-100 (JPEG copy)"}
_KNOWN_SIZE = (50_000, 10_000, (32, 32, 3))  # of all of them; others are spared the look at each image


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in two splits, checked and read-only.

    `train_images`, `test_images`: uint8 (N, H, W, C), C 1 or 3, one H, W, C for both. `train_labels`, `test_labels`:
    int64 (N,), positions in `class_names`. `fingerprint`: 12 hexadecimal digits that name the pixels and labels, in
    their order, whatever file they came from. `note`: sentences on what `load` did to files and images, "" if nothing.
    `train_files`: the file of each training image, relative to the folder that was loaded, () if unknown. Raises
    `InputError` for anything else, and a class without images.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str = field(init=False)
    note: str = ""
    train_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("class_names", "train_files"):
            value = getattr(self, key)
            good = isinstance(value, Iterable) and not isinstance(value, str)
            require(good, f"{key}: expected a list of names, found {value!r}.")
        names, digest = tuple(map(str, self.class_names)), hashlib.sha256()
        require(len(set(names)) == len(names) > 0, f"class_names: expected distinct names, found {names}.")
        for key in ARRAYS:
            array = as_array(key, getattr(self, key)).view()  # a view: the caller's own array stays writable
            if key.endswith("images"):
                good = array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] in (1, 3) and array.size > 0
                require(good, f"{key}: expected uint8 images of shape (N, H, W, C), C 1 or 3, at least one; "
                              f"found {array.dtype} of shape {array.shape}.")
                count = len(array)
            else:
                require(array.dtype.kind in "iu", f"{key}: expected integers, found {array.dtype}.")
                require(array.shape == (count,), f"{key}: expected shape ({count},), as images, found {array.shape}.")
                low, high, last = array.min(), array.max(), len(names) - 1
                require(low >= 0 and high <= last, f"{key}: expected values from 0 to {last}, found {low} to {high}.")
                array = array.astype(np.int64)
            digest.update(f"{key} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
            array.flags.writeable = False
            vars(self)[key] = array
        shape, found = self.train_images.shape[1:], self.test_images.shape[1:]
        require(shape == found, f"test_images: expected images of {shape}, as for training, found {found}.")
        empty = [names[label] for label in np.setdiff1d(range(len(names)), self.train_labels)]
        require(not empty, f"train_labels: expected an image of every class, found none of {', '.join(empty)}.")
        files = tuple(self.train_files)
        require(len(files) in (0, len(self.train_images)), f"train_files: expected a file for each of the "
                f"{len(self.train_images):,} training images, or none, found {len(files):,}.")
        fingerprint = digest.hexdigest()[:12]
        name = _KNOWN_CONTENTS.get(fingerprint, self.name)
        vars(self).update(name=name, class_names=names, fingerprint=fingerprint, train_files=files)

    def __repr__(self) -> str:
        return (f"{self.name}: {len(self.train_labels):,} training and {len(self.test_labels):,} test images of "
                f"{'×'.join(map(str, self.train_images.shape[1:]))}, {len(self.class_names)} classes, "
                f"fingerprint {self.fingerprint}")


def load(
    source: object, *, test_fraction: float = 1 / 6, image_size: int | Literal["fit"] | None = None
) -> Dataset:
    """Return the `Dataset` that `source` names or holds.

    `source`: "shapes", or "shapes-20" (twenty classes, 20,000 training and 4,000 test images; see `shapes`); "cifar10",
    "cifar100", "mnist" or "fashion_mnist" (Keras downloads it at first use); an `.npz` file of `train_images`,
    `train_labels`, `test_images`, `test_labels` (or Keras' `x_train` to `y_test`) and, if you like, `class_names`; or a
    folder of images, `train/<class>/*` and `test/<class>/*`, or `<class>/*`. A name wins over a path: write `./mnist`.

    In memory: `(images, labels)`; a `tf.data.Dataset`, batched or not, or a Hugging Face `Dataset` or other rows, of
    (image, label) or of dicts with "image" (or "img") and "label" (or "fine_label"); two of these, for training and
    testing, as a pair or under "train" and "test"; a mapping with the names of arrays above; or a `Dataset`, which is
    returned as it is. Images there are uint8 arrays (H, W) or (H, W, C), C 1, 3 or 4, or PIL images; labels are
    integers or strings, numbered in their sorted order unless class names come with them. A `tf.data.Dataset` that is
    shuffled has another order, and so another fingerprint, each time.

    Without a test split, `test_fraction` of each class becomes one, always the same. Images lose their transparency,
    and all but the first frame of an animation; those of a folder become RGB, others only if one of them has colours.
    They must share one size, unless `image_size` is given: with a number of pixels, images of any source are scaled and
    padded with black to that square; with "fit", to 32x32, but stay as they are if all have one square size from 24 to
    64 pixels. What was done is said in the `note`. A set that is known by its images (CIFAR-10, the book's copies) has
    one order, and so one fingerprint, whatever it is read from. Decoded folders are kept in the folder that the
    environment variable EMBSEL_CACHE names, else in `~/.cache/embsel`, which may be deleted at any time. Raises
    `InputError` for what cannot be used.
    """
    if isinstance(source, Dataset):
        return source
    good = source != "" if isinstance(source, str) else isinstance(source, (os.PathLike, Iterable))
    if not good:
        raise InputError("source: expected a dataset's name, the path of a folder or an .npz file, or images with "
                         f"labels in memory, found {source!r}.")
    share("test_fraction", test_fraction)
    size = image_size
    if isinstance(size, str):
        require(size == FIT, f"image_size: expected {FIT!r} or a whole number of pixels, found {size!r}.")
    elif size is not None:
        size = whole("image_size", size, 1)
        require(size <= LARGEST, f"image_size: expected at most {LARGEST:,} pixels, found {size:,}.")
    if not isinstance(source, (str, os.PathLike)):
        return _in_one_order(Dataset("data in memory", **read_objects(source, test_fraction, size)))
    if source in _DRAWN:
        return shapes(size=32 if size in (None, FIT) else size, **_DRAWN[source])
    path = Path(os.path.expanduser(source))
    if source in _KERAS:
        return _in_one_order(Dataset(_KERAS[source][0], **read_objects(_download(source), test_fraction, size)))
    if os.path.isdir(path):
        return _in_one_order(Dataset(path.resolve().name, **read_folder(path.resolve(), test_fraction, size)))
    if os.path.exists(path):
        return _in_one_order(Dataset(path.stem, **read_objects(read_npz(path), test_fraction, size)))
    raise InputError(f"{unknown('dataset', str(source), [*_DRAWN, *_KERAS])} "
                     f"No folder or .npz file was found at {str(path.absolute())!r} either.")


def _in_one_order(dataset: Dataset) -> Dataset:
    """Return a known set under its name and in the order of its images' digests, any other as it is."""
    if (len(dataset.train_labels), len(dataset.test_labels), dataset.train_images.shape[1:]) != _KNOWN_SIZE:
        return dataset
    halves = {}
    for half in ("train", "test"):
        pairs = zip(getattr(dataset, f"{half}_images"), getattr(dataset, f"{half}_labels"), strict=True)
        halves[half] = [hashlib.sha256(image.tobytes()).digest() + int(label).to_bytes(8) for image, label in pairs]
    contents = hashlib.sha256(b"".join(digest for half in halves.values() for digest in sorted(half))).hexdigest()[:12]
    if contents not in _KNOWN_SETS:
        return dataset
    train, test = (sorted(range(len(half)), key=half.__getitem__) for half in halves.values())
    return Dataset(_KNOWN_SETS[contents], dataset.train_images[train], dataset.train_labels[train],
                   dataset.test_images[test], dataset.test_labels[test], dataset.class_names, dataset.note,
                   tuple(dataset.train_files[row] for row in train) if dataset.train_files else ())


def shapes(
    *, train: int = 4000, test: int = 1000, size: int = 32, seed: int = 0, outlined: bool = False
) -> Dataset:
    """Return ten classes of drawn RGB shapes, of any turn and colour, on texture, with clutter and noise.

    With `outlined` there are twenty: each shape filled and as an outline. `train`, `test`: numbers of images, equally
    many of each class (to within one), at least one; `size`: height and width in pixels, at least 8. The same arguments
    give the same pixels on every machine. Raises `InputError` for arguments out of range. Not in the paper: made so
    that every chapter runs without a download.
    """
    classes = tuple(SHAPES | OUTLINED if outlined else SHAPES)
    train, test = whole("train", train, len(classes)), whole("test", test, len(classes))
    arrays = drawn_arrays(train, test, whole("size", size, 8), whole("seed", seed, 0), outlined)
    return Dataset("shapes-20" if outlined else "shapes", **arrays, class_names=classes)


def _download(source: str) -> dict:
    """Return the arrays of a dataset that Keras downloads (with its own progress bar) and keeps."""
    from embsel.backend import keras  # here, so that the other sources work without Keras

    try:
        train, test = getattr(keras.datasets, source).load_data()
    except Exception as error:  # Keras raises a bare Exception when an address cannot be reached
        again = "try again"
        if source == "fashion_mnist":  # Keras knows a torn file by its hash, and has none for these
            kept = Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets", "fashion-mnist")
            again = f"remove the folder '{kept}', in which half a file may be left, and try again"
        raise InputError(f"{source} could not be downloaded ({error}). Check the connection, {again}, or pass a "
                         "folder of images or an .npz file instead, or 'shapes', which needs no download.") from error
    names = [name.replace("_", " ") for name in _KERAS[source][1].split()]
    return dict(zip(ARRAYS, (*train, *test), strict=True)) | {"class_names": names}


def training_rows(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0) -> np.ndarray:
    """Return the mask, bool (N,), of the training images, and so of their embeddings, that `hold_out` trains on."""
    share("fraction", fraction)
    held = stratified(dataset.train_labels, fraction, whole("seed", seed, 0))
    require(held.any(), f"{dataset.name}: expected a class of two training images or more, found none.")
    return ~held


def hold_out(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0) -> Dataset:
    """Return a validation split: tests on `fraction` of each class of the training set, trains on the rest.

    Whatever is chosen by looking at a score (a learning rate, a selector) is chosen here, where the real test set is
    not: a score on that is then still news. Raises `InputError` for a `fraction` outside (0, 1) or nothing to hold out.
    """
    stays, images, labels = training_rows(dataset, fraction, seed=seed), dataset.train_images, dataset.train_labels
    return Dataset(f"{dataset.name} (validation split)", images[stays], labels[stays], images[~stays], labels[~stays],
                   dataset.class_names, dataset.note, tuple(compress(dataset.train_files, stays)))
