"""Readers of data in memory, whatever library keeps it, as plain arrays; `embsel.data.load` calls and checks them."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from embsel.errors import InputError, as_array, require
from embsel.sources.folders import named_arrays, split_off
from embsel.sources.pixels import one_size, stays

_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label")  # the columns of a row, of which the first that is there


def read_objects(source: object, test_fraction: float, size: int | str | None) -> dict:
    """Return the arrays and the class names of data in memory, and a note on what was done; `load` says what it takes.

    Without a test split, `test_fraction` of each class becomes one. Labels without names are numbered in their
    sorted order, and are the names themselves. Every part is read once, from its beginning to its end.
    """
    splits, names = _splits(source)
    given = source if isinstance(source, Mapping) and "train" in source else splits
    others = ", ".join(str(key) for key in given if key not in splits)
    notes = [f"Passed over: {others}."] if others else []
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
    arrays = {f"{split}_{kind}": parts[split] for kind, parts in (("images", images), ("labels", labels))
              for split in ("train", "test")}
    return arrays | {"class_names": names, "note": " ".join(filter(None, notes))}


def _splits(source: object) -> tuple[dict[str, object], Sequence[str] | None]:
    """Return what `source` holds for "train" and perhaps for "test", and the names of its classes if it has them."""
    if isinstance(source, Mapping) and "train" not in source:
        arrays = named_arrays(source, "source")
        splits = {split: (arrays[f"{split}_images"], as_array(f"{split}_labels", arrays[f"{split}_labels"]))
                  for split in ("train", "test") if f"{split}_images" in arrays}
        return splits, arrays.get("class_names")
    if isinstance(source, Mapping):
        splits = {split: source[split] for split in ("train", "test") if split in source}
    elif _is_two(source) and not _are_labels(source[1]):
        splits = dict(zip(("train", "test"), source, strict=True))
    else:
        splits = {"train": source}
    features = getattr(splits["train"], "features", None)  # of a Hugging Face Dataset
    features = features if isinstance(features, Mapping) else {}
    names = (getattr(features.get(key), "names", None) for key in _LABEL)
    return splits, next(filter(None, names), None)


def _is_two(value: object) -> bool:
    """Return whether `value` is a pair, and not a list of two rows that are dicts."""
    return isinstance(value, (tuple, list)) and len(value) == 2 and not (
        isinstance(value[0], Mapping) and any(key in value[0] for key in _IMAGE))


def _are_labels(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(item is None or np.isscalar(item) for item in value)
    return getattr(value, "ndim", 0) in (1, 2)  # two: a column, or one-hot, which `_column` tells from each other


def _is_tensorflow(part: object) -> bool:
    """Return whether `part` is a tf.data.Dataset, which it cannot be unless TensorFlow has been imported."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(part, tensorflow.data.Dataset)


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
            name = f"{split} image {len(labels[split])}"
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
    elif _is_tensorflow(part):
        yield from _tensorflow_rows(part, split)
    else:
        rows = isinstance(part, Iterable) and not isinstance(part, (str, bytes, Mapping, np.ndarray))
        require(rows, f"{split}: expected images with labels (a pair of arrays, a tf.data.Dataset, or the rows "
                      f"of a Hugging Face Dataset), found {type(part).__name__}.")
        yield from (_cells(row, split) for row in part)


def _tensorflow_rows(part, split: str) -> Iterator[tuple[np.ndarray, object]]:
    """Yield the image and the label of each element of a tf.data.Dataset, or of each row of its batches."""
    import tensorflow as tf  # here alone, where it has been imported already

    endless = int(part.cardinality()) == tf.data.INFINITE_CARDINALITY
    require(not endless, f"{split}: expected a tf.data.Dataset that ends, found one that repeats for ever; leave out "
                         "repeat(), or add take(n).")
    dtype = getattr(_cells(part.element_spec, split)[0], "dtype", None)
    require(dtype == tf.uint8, f"{split}: expected images of uint8, 0 to 255, in the tf.data.Dataset, found "
            f"{getattr(dtype, 'name', dtype)}. Convert them with map: tf.cast(image, tf.uint8) if they go from 0 to "
            "255, tf.cast(tf.round(255 * image), tf.uint8) if they go from 0 to 1.")
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


def _word(label: object, name: str) -> object:
    """Return a label as it is, and bytes as a word."""
    try:
        return label.decode() if isinstance(label, bytes) else label
    except UnicodeDecodeError:
        raise InputError(f"{name}: expected a label in UTF-8, found {bytes(label)!r}.") from None


def _numbered(labels: dict, names: Sequence[str] | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the labels of each split as positions in the class names, and these; bytes are read as UTF-8."""
    arrays = {}
    for split, values in labels.items():
        array = np.array([_word(value, f"{split} image {row}") for row, value in enumerate(values)])
        require(array.dtype.kind in "biuU", f"{split}_labels: expected integers or strings, found {array.dtype}.")
        arrays[split] = array
    if names is not None and arrays["train"].dtype.kind in "iu":
        return arrays, tuple(map(str, as_array("class_names", names).ravel()))
    known = np.unique(arrays["train"])
    extra = ", ".join(map(str, np.setdiff1d(arrays.get("test", known), known)))
    require(not extra, f"test_labels: expected the classes of the training split, found also {extra}.")
    return {split: np.searchsorted(known, array) for split, array in arrays.items()}, tuple(map(str, known))
