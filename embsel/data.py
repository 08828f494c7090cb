"""One frozen container for a dataset, one `load` for every source, a validation split; all is checked at this door."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np

from embsel.errors import as_array, require, share, unknown, whole
from embsel.sources.folders import read_file, read_folder
from embsel.sources.memory import ARRAYS, read_objects, stratified
from embsel.sources.pixels import FIT
from embsel.sources.shapes import drawn_arrays

_KERAS = {  # name for `load`: (name to show, class names in the order of the labels)
    "mnist": ("MNIST", "0 1 2 3 4 5 6 7 8 9"),
    "fashion_mnist": ("Fashion-MNIST", "T-shirt/top trouser pullover dress coat sandal shirt sneaker bag ankle_boot"),
    "cifar10": ("CIFAR-10", "airplane automobile bird cat deer dog frog horse ship truck"),
    "cifar100": ("CIFAR-100", """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
        dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
        lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
        pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
        shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""),
}
_NAMED = {  # name for `load`: (name to show, what returns it as data in memory, of a size in pixels if it has no own)
    "shapes": ("shapes", lambda side: drawn_arrays(size=side)),
    "shapes-20": ("shapes-20", lambda side: drawn_arrays(20_000, 4_000, size=side, outlined=True)),
    **{name: (shown, lambda _, name=name: _from_keras(name)) for name, (shown, _) in _KERAS.items()},
}
LARGEST = 4096  # pixels, of an image's side: a set of larger ones would fill any memory
# Known by their pixels, the latter two in any order, so that runs on folder, archive and download are runs on one set.
_KNOWN_CONTENTS = {"e241af4f9084": "CIFAR-10 (JPEG copy)"}  # where a JPEG decoder differs, the folder's name stays
_KNOWN_SETS = {"4a9469ddc031": "CIFAR-10", "2b9192fe1480": "CIFAR-100 (JPEG copy)"}
_KNOWN_SIZE = (50_000, 10_000, (32, 32, 3))  # of all of them; others are spared the look at each image


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels in two splits, checked (`InputError`) and read-only.

    Images: uint8 (N, H, W, C), C 1 or 3, one H, W, C for both splits. Labels: int64 (N,), positions in `class_names`.
    `fingerprint`: 12 hexadecimal digits that name the pixels and labels, in their order, whatever file they came from.
    `note`: sentences on what `load` did to files and images. `train_files`: relative to the folder, () if unknown.
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
        for key, value in (("class_names", self.class_names), ("train_files", self.train_files)):
            good = isinstance(value, Iterable) and not isinstance(value, str)
            require(good, f"{key}: expected a list of names, found {value!r}.")
            vars(self)[key] = tuple(map(str, value))
        names, digest = self.class_names, hashlib.sha256()
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
        count, found = len(self.train_images), len(self.train_files)
        require(found in (0, count), f"train_files: expected a file for each of the {count:,} training images, or "
                                     f"none, found {found:,}.")
        found = digest.hexdigest()[:12]
        vars(self).update(fingerprint=found, name=_KNOWN_CONTENTS.get(found, self.name))

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.train_images.shape[1:]))
        return (f"{self.name}: {len(self.train_labels):,} training and {len(self.test_labels):,} test images of "
                f"{shape}, {len(self.class_names)} classes, fingerprint {self.fingerprint}")


def load(source: object, *, test_fraction: float = 1 / 6, image_size: int | str | None = None) -> Dataset:
    """Return the `Dataset` that `source` names or holds.

    By name: "shapes", or "shapes-20" (see `shapes`); "cifar10", "cifar100", "mnist" or "fashion_mnist" (Keras downloads
    it at first use). By path (`./mnist`, as a name wins): an `.npz` file of `train_images`, `train_labels`,
    `test_images`, `test_labels` (or Keras' `x_train` to `y_test`) and, if you like, `class_names`; or a folder of
    images, `train/<class>/*` and `test/<class>/*`, or `<class>/*`.

    In memory: `(images, labels)`; rows of (image, label), or of dicts with "image" (or "img") and "label" (or
    "fine_label"), as in a Hugging Face `Dataset` or a `tf.data.Dataset`, batched or not; two of these as a pair, or
    under "train" and "test"; a mapping with the names of arrays above; or a `Dataset`, as it is. Images are uint8 (H,
    W) or (H, W, C), C 1, 3 or 4, or PIL images; labels are integers or strings, numbered in sorted order unless class
    names come along.

    Without a test split, `test_fraction` of each class becomes one, always the same. Images lose their transparency,
    and all but the first frame of an animation; those of a folder become RGB, others only if one of them has colours.
    They must share one size, unless `image_size` is given: with a number of pixels, all are scaled and padded with
    black to that square; with "fit", to 32x32, unless all have one square size from 24 to 64 pixels. The `note` says
    what was done. A set that is known by its images (CIFAR-10, the book's copies) has one order and fingerprint,
    whatever it is read from. Decoded folders are kept in the environment's EMBSEL_CACHE, or `~/.cache/embsel`.
    """
    if isinstance(source, Dataset):
        return source
    good = isinstance(source, (os.PathLike, Iterable)) and not (isinstance(source, str) and not source)
    require(good, "source: expected a dataset's name, the path of a folder or an .npz file, or images with labels in "
                  f"memory, found {source!r}.")
    share("test_fraction", test_fraction)
    if isinstance(image_size, str):
        require(image_size == FIT, f"image_size: expected {FIT!r} or a whole number of pixels, found {image_size!r}.")
    elif image_size is not None:
        image_size = whole("image_size", image_size, 1)
        require(image_size <= LARGEST, f"image_size: expected at most {LARGEST:,} pixels, found {image_size:,}.")
    name, read = "data in memory", read_objects
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.path.expanduser(source))
        if source in _NAMED:
            name, made = _NAMED[source]
            source = made(32 if image_size in (None, FIT) else image_size)
        elif os.path.isdir(path):
            name, source, read = path.resolve().name, path.resolve(), read_folder
        else:
            require(os.path.exists(path), f"{unknown('dataset', str(source), _NAMED)} "
                    f"No folder or .npz file was found at {str(path.absolute())!r} either.")
            name, source = path.stem, read_file(path)
    return _in_one_order(Dataset(name, **read(source, test_fraction, image_size)))


def _in_one_order(dataset: Dataset) -> Dataset:
    """Return a known set under its name and in the order of its images' digests, any other as it is."""
    if (len(dataset.train_labels), len(dataset.test_labels), dataset.train_images.shape[1:]) != _KNOWN_SIZE:
        return dataset
    order, contents = {}, hashlib.sha256()
    for half in ("train", "test"):
        pairs = zip(getattr(dataset, f"{half}_images"), getattr(dataset, f"{half}_labels"), strict=True)
        digests = [hashlib.sha256(image.tobytes()).digest() + int(label).to_bytes(8) for image, label in pairs]
        order[half] = sorted(range(len(digests)), key=digests.__getitem__)
        contents.update(b"".join(sorted(digests)))
    if not (name := _KNOWN_SETS.get(contents.hexdigest()[:12])):
        return dataset
    arrays = {key: getattr(dataset, key)[order[key.split("_")[0]]] for key in ARRAYS}
    files = dataset.train_files and [dataset.train_files[row] for row in order["train"]]
    return replace(dataset, name=name, train_files=files, **arrays)


def shapes(*, train: int = 4000, test: int = 1000, size: int = 32, seed: int = 0, outlined: bool = False) -> Dataset:
    """Return ten classes of drawn RGB shapes, of any turn and colour, on texture, with clutter and noise, so that no
    chapter needs a download.

    With `outlined` there are twenty: each filled and as an outline. `train`, `test`: numbers of images, as many of each
    class to within one; `size`: height and width in pixels, at least 8. Equal arguments, equal pixels, on any machine.
    """
    return Dataset("shapes-20" if outlined else "shapes", **drawn_arrays(train, test, size, seed, outlined))


def _from_keras(name: str) -> dict:
    from embsel import backend  # here, so that the other sources work without Keras

    names = [words.replace("_", " ") for words in _KERAS[name][1].split()]
    return dict(zip(ARRAYS, backend.download(name), strict=True), class_names=names)


def training_rows(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0) -> np.ndarray:
    """Return the mask, bool (N,), of the training images, and so of their embeddings, that `hold_out` trains on."""
    share("fraction", fraction)
    held = stratified(dataset.train_labels, fraction, whole("seed", seed, 0))
    require(held.any(), f"{dataset.name}: expected a class of two training images or more, found none.")
    return ~held


def hold_out(dataset: Dataset, fraction: float = 0.1, *, seed: int = 0) -> Dataset:
    """Return a validation split: tests on `fraction` of each class of the training set, trains on the rest."""
    stays, images, labels = training_rows(dataset, fraction, seed=seed), dataset.train_images, dataset.train_labels
    return Dataset(f"{dataset.name} (validation split)", images[stays], labels[stays], images[~stays], labels[~stays],
                   dataset.class_names, dataset.note, tuple(compress(dataset.train_files, stays)))
