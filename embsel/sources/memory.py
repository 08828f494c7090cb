"""Data in memory, whatever library keeps it: arrays, `tf.data`, rows as of a Hugging Face `Dataset`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from embsel.errors import InputError, as_array, require
from embsel.sources.pixels import one_size, stays

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_KERAS_NAMES = {"x_train": "train_images", "y_train": "train_labels", "x_test": "test_images", "y_test": "test_labels"}
_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label")  # the columns of a row, of which the first that is there


def read_objects(source: object, test_fraction: float, size: int | str | None) -> dict:
    """Return the arrays and the class names of data in memory, and a note on what was done; `load` says what it takes.

    Labels without names are numbered in sorted order, and are the names. Every part is read once, from its beginning.
    """
    splits, names, others = _splits(source)
    notes = [f"Passed over: {', '.join(others)}."] if others else []
    if _are_ready(splits, size):
        images = {split: part[0] if part[0].ndim == 4 else part[0][..., None] for split, part in splits.items()}
        labels = {split: _column(part[1], len(part[0]), split) for split, part in splits.items()}
    else:
        labels = {split: [] for split in splits}
        joined, note = one_size(_pictures(splits, labels), size)
        images = dict(zip(("train", "test"), np.split(joined, [len(labels["train"])]), strict=True))
        notes.insert(0, note)
    labels, names = _numbered(labels, names)
    if "test" not in splits:
        held, note = split_off(labels["train"], test_fraction, "source")
        for parts in (images, labels):
            parts.update(train=parts["train"][~held], test=parts["train"][held])
        notes.append(note)
    found = (parts[split] for split in ("train", "test") for parts in (images, labels))
    return dict(zip(ARRAYS, found, strict=True)) | {"class_names": names, "note": " ".join(filter(None, notes))}


def _splits(source: object) -> tuple[dict[str, object], Sequence[str] | None, list[str]]:
    """Return what `source` holds for "train" and maybe "test", its class names, if any, and what else there is."""
    if isinstance(source, Mapping) and "train" not in source:
        arrays = named_arrays(source, "source")
        splits = {split: (arrays[f"{split}_images"], as_array(f"{split}_labels", arrays[f"{split}_labels"]))
                  for split in ("train", "test") if f"{split}_images" in arrays}
        return splits, arrays.get("class_names"), []
    if isinstance(source, Mapping):
        splits = {split: source[split] for split in ("train", "test") if split in source}
    else:
        pair = _is_two(source) and not _are_labels(source[1])
        source = splits = dict(zip(("train", "test"), source if pair else [source], strict=False))
    features = getattr(splits["train"], "features", None)  # of a Hugging Face Dataset
    features = features if isinstance(features, Mapping) else {}
    names = (getattr(features.get(key), "names", None) for key in _LABEL)
    return splits, next(filter(None, names), None), [str(key) for key in source if key not in splits]


def _is_two(value: object) -> bool:
    """Return whether `value` is a pair, and not a list of two rows that are dicts."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and not (
        isinstance(value[0], Mapping) and any(key in value[0] for key in _IMAGE))


def _are_labels(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(item is None or np.isscalar(item) for item in value)
    return getattr(value, "ndim", 0) in (1, 2)  # two: a column, or one-hot, which `_column` tells from each other


def _are_ready(splits: dict[str, object], size: int | str | None) -> bool:
    """Return whether the images are arrays that can be used as they are, without a copy."""
    images = [part[0] if _is_two(part) and _are_labels(part[1]) else None for part in splits.values()]
    if not all(isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.size for array in images):
        return False
    shape, *others = {array.shape[1:] for array in images}
    return not others and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))) and stays(shape, size)


def _pictures(splits: dict[str, object], labels: dict[str, list]) -> Iterator[tuple[str, object]]:
    """Yield a name and the image of each row, split by split, and append its label to the list of its split."""
    for split, part in splits.items():
        for image, label in tqdm(_rows(part, split), f"Reading {split}", unit=" images", delay=2):
            name = str(image) if isinstance(image, Path) else f"{split} image {len(labels[split])}"
            single = not isinstance(label, (list, tuple)) and np.ndim(label) == 0
            require(single, f"{name}: expected one label, found {label!r}.")
            labels[split].append(label)
            yield name, image
        require(labels[split], f"{split}: expected at least one image, found none.")


def _rows(part: object, split: str) -> Iterator[tuple[object, object]]:
    """Yield the image and the label of each row of `part`."""
    if _is_two(part) and _are_labels(part[1]):
        several = isinstance(part[0], Iterable) and getattr(part[0], "ndim", 1)
        require(several, f"{split}_images: expected images, one for each label, found {type(part[0]).__name__}.")
        images = part[0] if hasattr(part[0], "__len__") else list(part[0])
        yield from zip(images, _column(part[1], len(images), split), strict=True)
    elif hasattr(part, "as_numpy_iterator"):
        yield from _tensorflow_rows(part, split)
    else:
        rows = isinstance(part, Iterable) and not isinstance(part, (str, bytes, Mapping, np.ndarray))
        require(rows, f"{split}: expected images with labels (a pair of arrays, a tf.data.Dataset, or the rows "
                      f"of a Hugging Face Dataset), found {type(part).__name__}.")
        yield from (_cells(row, split) for row in part)


def _tensorflow_rows(part, split: str) -> Iterator[tuple[np.ndarray, object]]:
    """Yield the image and the label of each element of a tf.data.Dataset, or of each row of its batches."""
    endless = part.cardinality() == -1  # tf.data.INFINITE_CARDINALITY
    require(not endless, f"{split}: expected a tf.data.Dataset that ends, found one that repeats for ever; leave out "
                         "repeat(), or add take(n).")
    found = getattr(getattr(_cells(part.element_spec, split)[0], "dtype", None), "name", None)
    require(found == "uint8", f"{split}: expected images of uint8, 0 to 255, in the tf.data.Dataset, found {found}. "
            "Convert them with map: tf.cast(image, tf.uint8) if they go from 0 to 255, "
            "tf.cast(tf.round(255 * image), tf.uint8) if they go from 0 to 1.")
    for element in part.as_numpy_iterator():
        image, label = _cells(element, split)
        yield from zip(image, _column(label, len(image), split), strict=True) if np.ndim(label) else [(image, label)]


def _cells(row: object, split: str) -> tuple[object, object]:
    """Return the image and the label in a row: the two of a pair, or those of a dict that have a known name."""
    if isinstance(row, (tuple, list)) and len(row) == 2:
        return tuple(row)
    found = f"{type(row).__name__}{f' of {len(row)}' if isinstance(row, (tuple, list)) else ''}"
    if isinstance(row, Mapping):
        image, label = (next((key for key in known if key in row), None) for known in (_IMAGE, _LABEL))
        if image and label:
            return row[image], row[label]
        found = f"a dict with {', '.join(map(repr, row)) or 'nothing'}"
    raise InputError(f"{split}: expected (image, label), or a dict with {' or '.join(map(repr, _IMAGE))} and with "
                     f"{' or '.join(map(repr, _LABEL))}, for each image, found {found}.")


def _column(labels: object, count: int, split: str) -> np.ndarray:
    """Return the labels of `count` images as an array (N,)."""
    array = as_array(f"{split}_labels", labels)
    hint = " Of one-hot labels, take labels.argmax(axis=1)." if array.ndim == 2 else ""
    require(array.shape in ((count,), (count, 1)), f"{split}_labels: expected a label for each of {count:,} images, "
                                                   f"found an array of shape {array.shape}.{hint}")
    return array.ravel()


def _numbered(labels: dict, names: Sequence[str] | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the labels of each split as positions in the class names, and these; bytes are read as UTF-8."""
    arrays = {}
    for split, values in labels.items():
        try:
            array = np.array([value.decode() if isinstance(value, bytes) else value for value in values])
        except UnicodeDecodeError as error:
            row, found = list(values).index(error.object), bytes(error.object)
            raise InputError(f"{split} image {row}: expected a label in UTF-8, found {found!r}.") from None
        require(array.dtype.kind in "biuU", f"{split}_labels: expected integers or strings, found {array.dtype}.")
        arrays[split] = array
    if names is not None and arrays["train"].dtype.kind in "iu":
        return arrays, tuple(map(str, as_array("class_names", names).ravel()))
    known = np.unique(arrays["train"])
    extra = ", ".join(map(str, np.setdiff1d(arrays.get("test", known), known)))
    require(not extra, f"test_labels: expected the classes of the training split, found also {extra}.")
    return {split: np.searchsorted(known, array) for split, array in arrays.items()}, tuple(map(str, known))


def named_arrays(found: Mapping, where: str) -> dict:
    """Return the arrays in `found`, of which the two of the test split may be missing, by their names or by Keras', and
    `class_names` if there. `where` says in messages where they were looked for."""
    keys = {_KERAS_NAMES.get(key, key): key for key in found}
    wanted = ARRAYS if {*ARRAYS[2:]} & {*keys} else ARRAYS[:2]
    missing = ", ".join(key for key in wanted if key not in keys)
    require(not missing, f"{where}: expected the arrays {', '.join(ARRAYS)} (the two for testing may be left out); "
                         f"missing {missing}; found {', '.join(map(str, found)) or 'none'}.")
    return {key: found[keys[key]] for key in (*wanted, "class_names") if key in keys}


def split_off(labels: np.ndarray, fraction: float, where: str) -> tuple[np.ndarray, str]:
    """Return the mask of the test split to take from images of `labels`, always the same one, and a sentence on it."""
    held = stratified(labels, fraction, seed=0)
    require(held.any(), f"{where}: expected a class of two images or more, to split, found none.")
    return held, (f"There was no test split: {held.sum():,} of the {len(held):,} images, about {fraction:.0%} of each "
                  "class, became one.")


def stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return a mask of about `fraction` of each class; a class of two or more has images on both sides."""
    rng, mask = np.random.default_rng(seed), np.zeros(len(labels), bool)  # no library's draws: records rest on these
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[:min(len(members) - 1, max(1, round(len(members) * fraction)))]] = True
    return mask
