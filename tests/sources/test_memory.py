"""Data in memory: all ways to give it lead to the same arrays, and labels of any kind to the same classes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embsel.data import load
from embsel.sources import memory


class Rows(list):
    """Looks as a Hugging Face Dataset does: rows that are dicts, and features."""

    def __init__(self, images, labels, names=None, image="image", label="label"):
        super().__init__({"id": i, image: picture, label: number}
                         for i, (picture, number) in enumerate(zip(images, labels, strict=True)))
        self.features = {image: SimpleNamespace(), label: SimpleNamespace(names=names) if names else SimpleNamespace()}


class Cards(dict):
    """Looks as a Hugging Face DatasetDict does."""


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@st.composite
def two_splits(draw):
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)), *draw(st.sampled_from([(), (1,), (3,)])))
    classes, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**32 - 1))
    rng, parts = np.random.default_rng(seed), []
    for least in (classes, 1):  # every class has a training image
        count = draw(st.integers(least, 9))
        labels = np.r_[np.arange(least), rng.integers(0, classes, count - least)]
        parts.append((rng.integers(0, 256, (count, *shape), np.uint8), rng.permutation(labels)))
    return tuple(parts)


@settings(max_examples=40)
@given(two_splits())
def test_every_way_gives_the_same_fingerprint(tmp_path_factory, parts):
    (x, y), (x_test, y_test) = parts
    first = load(parts)
    np.testing.assert_array_equal(first.train_images, x if x.ndim == 4 else x[..., None])
    np.testing.assert_array_equal(first.test_labels, y_test)
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    flat = [image[..., 0] if image.shape[-1:] == (1,) and image.ndim == 3 else image for image in x]
    ways = {
        "lists": [[list(x), y.tolist()], [list(x_test), y_test.tolist()]],
        "columns": ((x, y[:, None]), (x_test, y_test[:, None])),
        "own names": {"train_images": x, "train_labels": y, "test_images": x_test, "test_labels": y_test},
        "Keras' names": {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test, "comment": "none"},
        "splits": {"train": (x, y), "test": (x_test, y_test)},
        "rows": {"train": Rows(x, y), "test": Rows(x_test, y_test)},
        "other columns": Cards(train=Rows(x, y, None, "img", "fine_label"), test=Rows(x_test, y_test, None, "img")),
        "a pair of rows": (Rows(x, y), Rows(x_test, y_test)),
        "rows that are pairs": {"train": zip(x, y, strict=True), "test": zip(x_test, y_test, strict=True)},
        "a mixture": {"train": Rows(map(Image.fromarray, flat), y), "test": (iter(x_test), y_test)},
        "a file": path,
        "what was loaded": first,
    }
    for name, way in ways.items():
        loaded = load(way)
        assert loaded.fingerprint == first.fingerprint, name
        assert (loaded.class_names, loaded.note) == (tuple(map(str, range(y.max() + 1))), ""), name


def test_arrays_are_not_copied_and_stay_writable(split):
    dataset = load(split)
    assert (dataset.name, dataset.train_files) == ("data in memory", ())
    assert load(dataset, image_size="fit", test_fraction=0.5) is dataset
    assert np.shares_memory(dataset.train_images, split[0][0])
    fitting = np.zeros((4, 28, 28), np.uint8), [0, 1, 0, 1]
    for size in ("fit", 28):
        assert np.shares_memory(load((fitting, fitting), image_size=size).train_images, fitting[0])
    fitting[0][0] = 0


def test_reading_shows_a_bar_only_when_it_takes_long(split, capfd, monkeypatch):
    load(Rows(*split[0]))
    assert capfd.readouterr() == ("", "")
    bar = memory.tqdm
    monkeypatch.setattr(memory, "tqdm", lambda *args, delay, **more: bar(*args, delay=0, mininterval=0, **more))
    load(Rows(*split[0]))
    assert "Reading train: 12 images" in capfd.readouterr().err


# --- splits ---


def test_a_missing_test_split_is_taken_from_each_class_by_any_way(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (18, 4, 4, 3), np.uint8)
    labels = np.repeat(["cat", "dog"], [12, 6])
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "pets" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pets" / label / f"{i:02}.png")
    np.savez(tmp_path / "pets.npz", train_images=images, train_labels=labels)
    for source in (tmp_path / "pets", (images, labels), Rows(images, labels), {"train": (list(images), list(labels))},
                   {"x_train": images, "y_train": labels}, tmp_path / "pets.npz"):  # fmt: skip
        loaded = load(source)
        assert loaded.fingerprint == "a35690a8d759"  # no record may lose its split
        assert [np.bincount(part).tolist() for part in (loaded.train_labels, loaded.test_labels)] == [[10, 5], [2, 1]]
        assert loaded.class_names == ("cat", "dog")
        assert loaded.note == "There was no test split: 3 of the 18 images, about 17% of each class, became one."
    assert {image.tobytes() for image in (*loaded.train_images, *loaded.test_images)} == {i.tobytes() for i in images}
    assert np.bincount(load((images, labels), test_fraction=0.5).test_labels).tolist() == [6, 3]


def test_other_splits_are_passed_over_and_said(split):
    source = Cards(validation=split[1], train=split[0], unsupervised=None)
    loaded = load(source | {"test": split[1]})
    assert (loaded.fingerprint, loaded.note) == (load(split).fingerprint, "Passed over: validation, unsupervised.")
    assert load(source, image_size=6).note == (
        "The images have 5x6 pixels (width x height); each was scaled and padded to 6x6. Passed over: validation, "
        "unsupervised. There was no test split: 2 of the 12 images, about 17% of each class, became one.")


# --- labels and class names ---


@pytest.mark.parametrize(("train", "test", "names"), [
    (["owl", "Ibis", "auk"], ["auk", "owl"], ("Ibis", "auk", "owl")),
    ([10, 9, -1], [10, 9], ("-1", "9", "10")),
    ([True, False, True], [True, True], ("False", "True")),
])
@pytest.mark.parametrize("kind", [
    list, np.array, lambda labels: np.array(labels, object), lambda labels: np.array(labels)[:, None],
    lambda labels: [label.encode() if isinstance(label, str) else label for label in labels],
], ids=["list", "array", "objects", "column", "bytes"])
def test_labels_of_any_kind_become_positions_in_sorted_names(kind, train, test, names, split):
    loaded = load(((split[0][0], kind(train * 4)), (split[1][0], kind(test * 2))))
    assert loaded.class_names == names
    for labels, words in ((loaded.train_labels, train * 4), (loaded.test_labels, test * 2)):
        assert [names[label] for label in labels] == list(map(str, words))


def test_class_names_come_with_the_data(split):
    (x, y), (x_test, y_test) = split
    names = ["zebra", "ant"]  # in the order of the labels, not of the alphabet
    for label in ("label", "fine_label"):
        loaded = load({"train": Rows(x, y, names, label=label), "test": (x_test, y_test)})
        assert (loaded.class_names, loaded.fingerprint) == (("zebra", "ant"), load(split).fingerprint)
    assert load({"x_train": x, "y_train": y, "class_names": np.array(names)}).class_names == ("zebra", "ant")
    assert load(Rows(x, ["b", "a"] * 6, names)).class_names == ("a", "b")


# --- TensorFlow ---


@pytest.mark.parametrize(("rows", "shape", "batch"), [
    ("pairs", (6, 5, 3), None), ("dicts", (6, 5, 3), 3), ("pairs", (6, 5), 1), ("pairs", (6, 5, 1), 100)])
def test_tensorflow_datasets(tf, batch, shape, rows):
    def dataset(x, y):
        made = tf.data.Dataset.from_tensor_slices((x, y) if rows == "pairs" else {"id": y, "image": x, "label": y})
        return made.batch(batch) if batch else made

    rng = np.random.default_rng(0)
    parts = [(rng.integers(0, 256, (len(labels), *shape), np.uint8), np.array(labels))
             for labels in ([0, 1, 2, 0, 1, 2, 0], [2, 1, 0, 0])]
    (train, test), expected = (dataset(*part) for part in parts), load(parts).fingerprint
    columns = dataset(parts[0][0], parts[0][1][:, None]) if batch else train  # as Keras keeps labels
    for way in ({"train": train, "test": test}, [train, test], {"train": train, "test": parts[1]}, (columns, test)):
        assert load(way).fingerprint == expected


def test_a_shuffled_dataset_is_read_once(tf):
    images, reads = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8), []
    rows = tf.data.Dataset.from_tensor_slices((images, np.arange(40) % 2))
    counted = rows.map(lambda x, y: (tf.py_function(lambda image: reads.append(1) or image, [x], tf.uint8), y))
    loaded = load(counted.map(lambda x, y: (tf.ensure_shape(x, (2, 2, 3)), y)).shuffle(40))
    assert len(reads) == 40
    assert sorted(np.r_[loaded.train_images[:, 0, 0, 0], loaded.test_images[:, 0, 0, 0]]) == list(range(40))
    assert (loaded.train_labels == loaded.train_images[:, 0, 0, 0] % 2).all()


def test_tensorflow_datasets_that_are_refused_and_what_the_message_advises(tf, split, refused):
    rows = tf.data.Dataset.from_tensor_slices(split[0])
    scaled = rows.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y))
    hot = rows.map(lambda x, y: (x, tf.one_hot(y, 2)))
    for source, message in (
        (rows.repeat(), "train: expected a tf.data.Dataset that ends, found …; leave out repeat(), or add take(n)."),
        ({"train": rows, "test": scaled.batch(2)}, "test: expected images of uint8, 0 to 255, in the tf.data.Dataset, "
         "found float32. Convert them with map: … tf.cast(tf.round(255 * image), tf.uint8) if they go from 0 to 1."),
        (hot.batch(5), "train_labels: … of shape (5, 2). Of one-hot labels, take labels.argmax(axis=1)."),
        (rows.map(lambda x, y: x), "train: expected (image, label), or …, for each image, found TensorSpec."),
        (rows.take(0), "train: expected at least one image, found none."),
    ):
        refused(source, message)
    back = scaled.map(lambda x, y: (tf.cast(tf.round(255 * x), tf.uint8), y))
    assert load((back, rows)).fingerprint == load((rows.repeat().take(12), rows)).fingerprint
