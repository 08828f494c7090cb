"""Data in memory: each way to give it, what is refused and how, and what becomes of the pictures."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embsel.data import load
from embsel.errors import InputError
from embsel.sources import memory

RNG = np.random.default_rng(0)


class Rows:
    """Looks as a Hugging Face Dataset does: rows that are dicts, a length, features, and a class of its own."""

    def __init__(self, images, labels, names=None, image="image", label="label"):
        self.rows = [{"id": i, image: picture, label: number}
                     for i, (picture, number) in enumerate(zip(images, labels, strict=True))]
        self.features = {image: SimpleNamespace(), label: SimpleNamespace(names=names) if names else SimpleNamespace()}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]

    def __iter__(self):
        return iter(self.rows)


class Cards(dict):
    """Looks as a Hugging Face DatasetDict does."""


def pixels(count, *shape):
    return RNG.integers(0, 256, (count, *shape), np.uint8)


def refused(message, source, **options):
    with pytest.raises(InputError, match=message):
        load(source, **options)


@pytest.fixture
def split():
    """Images and labels of a training and of a test split: 12 and 4 images of 6x5 pixels, in colour, of two classes."""
    return (pixels(12, 6, 5, 3), np.arange(12) % 2), (pixels(4, 6, 5, 3), np.array([0, 1, 1, 0]))


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


# All ways lead to the same arrays


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
        "lists of dicts": (Rows(x, y).rows, Rows(x_test, y_test).rows),
        "rows that are pairs": {"train": zip(x, y, strict=True), "test": zip(x_test, y_test, strict=True)},
        "a mixture": {"train": Rows(map(Image.fromarray, flat), y), "test": (x_test, y_test)},
        "a file": path,
        "what was loaded": first,
    }
    for name, way in ways.items():
        loaded = load(way)
        assert loaded.fingerprint == first.fingerprint, name
        assert (loaded.class_names, loaded.note) == (tuple(map(str, range(y.max() + 1))), ""), name


@pytest.mark.parametrize(("rows", "shape", "batch"), [
    ("pairs", (6, 5, 3), None), ("dicts", (6, 5, 3), 3), ("dicts", (6, 5, 1), None), ("pairs", (6, 5), 1),
    ("pairs", (6, 5, 1), 100)])
def test_tensorflow_datasets(tf, batch, shape, rows):
    def dataset(x, y):
        made = tf.data.Dataset.from_tensor_slices((x, y) if rows == "pairs" else {"id": y, "image": x, "label": y})
        return made.batch(batch) if batch else made

    parts = (pixels(7, *shape), np.array([0, 1, 2, 0, 1, 2, 0])), (pixels(4, *shape), np.array([2, 1, 0, 0]))
    train, test = (dataset(*part) for part in parts)
    expected = load(parts).fingerprint
    assert load({"train": train, "test": test}).fingerprint == expected
    assert load([train, test]).fingerprint == expected
    assert load({"train": train, "test": parts[1]}).fingerprint == expected
    columns = dataset(parts[0][0], parts[0][1][:, None]) if batch else train  # as Keras keeps labels
    assert load((columns, test)).fingerprint == expected


def test_a_data_set_is_returned_as_it_is(split):
    dataset = load(split)
    assert load(dataset, image_size="fit", test_fraction=0.5) is dataset
    assert (dataset.name, dataset.train_files) == ("data in memory", ())


def test_arrays_are_not_copied_and_stay_writable(split):
    dataset = load(split)
    assert np.shares_memory(dataset.train_images, split[0][0])
    assert np.shares_memory(load(split, image_size=None).test_images, split[1][0])
    split[0][0][0] = 0
    fitting = pixels(4, 28, 28), [0, 1, 0, 1]
    assert np.shares_memory(load((fitting, fitting), image_size="fit").train_images, fitting[0])
    assert np.shares_memory(load((fitting, fitting), image_size=28).train_images, fitting[0])


def test_neither_tensorflow_nor_datasets_is_imported(root):
    code = """
import sys
import numpy as np
from embsel.data import load
x, y = np.zeros((6, 4, 4, 3), np.uint8), [0, 1] * 3
load((x, y)), load([{"image": image, "label": label} for image, label in zip(x, y)]), load({"x_train": x, "y_train": y})
print([name for name in ("tensorflow", "keras", "datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# A test split that is missing


def test_a_test_split_is_taken_from_each_class_as_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    images, labels = pixels(18, 4, 4, 3), np.repeat(["cat", "dog"], [12, 6])
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "pets" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "pets" / label / f"{i:02}.png")
    expected = load(tmp_path / "pets")
    assert np.bincount(expected.train_labels).tolist() == [10, 5]
    assert np.bincount(expected.test_labels).tolist() == [2, 1]
    rows = {image.tobytes() for part in (expected.train_images, expected.test_images) for image in part}
    assert rows == {image.tobytes() for image in images}
    assert expected.note == (
        "There was no test split: 3 of the 18 images, about 17% of each class, became one.")
    for source in ((images, labels), Rows(images, labels), {"train": (list(images), labels.tolist())},
                   {"x_train": images, "y_train": labels}):
        loaded = load(source)
        assert loaded.fingerprint == expected.fingerprint
        assert (loaded.class_names, loaded.note) == (("cat", "dog"), expected.note)
    assert np.bincount(load((images, labels), test_fraction=0.5).test_labels).tolist() == [6, 3]
    np.savez(tmp_path / "pets.npz", train_images=images, train_labels=labels)
    assert load(tmp_path / "pets.npz").fingerprint == expected.fingerprint
    refused("source: expected a class of two images or more, to split, found none", (images[:2], ["cat", "dog"]))


def test_other_splits_are_passed_over_and_said(split):
    source = Cards(validation=split[1], train=split[0], unsupervised=None)
    loaded = load(source | {"test": split[1]})
    assert (loaded.fingerprint, loaded.note) == (load(split).fingerprint, "Passed over: validation, unsupervised.")
    assert load(source).note == ("Passed over: validation, unsupervised. There was no test split: 2 of the 12 images, "
                                 "about 17% of each class, became one.")


# Labels and class names


def test_text_labels_become_class_names(split):
    (x, _), (x_test, _) = split
    words, test_words = ["owl", "Ibis", "owl", "auk", "owl", "auk"] * 2, ["auk", "auk", "owl", "owl"]
    for kind in (list, np.array, lambda labels: np.array(labels, object), lambda labels: np.array(labels)[:, None],
                 lambda labels: [label.encode() for label in labels]):
        loaded = load(((x, kind(words)), (x_test, kind(test_words))))
        assert loaded.class_names == ("Ibis", "auk", "owl")
        assert loaded.train_labels.tolist() == [2, 0, 2, 1, 2, 1] * 2
        assert loaded.test_labels.tolist() == [1, 1, 2, 2]


def test_numbers_with_gaps_are_renumbered_and_named(split):
    (x, _), (x_test, _) = split
    loaded = load(((x, [10, 9, -1] * 4), (x_test, [10, 10, 9, 9])))
    assert loaded.class_names == ("-1", "9", "10")
    assert loaded.train_labels.tolist() == [2, 1, 0] * 4
    assert loaded.test_labels.tolist() == [2, 2, 1, 1]


def test_class_names_come_with_the_data(split):
    (x, y), (x_test, y_test) = split
    names = ["zebra", "ant"]  # in the order of the labels, not of the alphabet
    for label in ("label", "fine_label"):
        loaded = load({"train": Rows(x, y, names, label=label), "test": (x_test, y_test)})
        assert loaded.class_names == ("zebra", "ant")
        assert loaded.fingerprint == load(split).fingerprint
    assert load(Rows(x, y, names)).class_names == ("zebra", "ant")
    assert load({"x_train": x, "y_train": y, "class_names": np.array(names)}).class_names == ("zebra", "ant")
    assert load(Rows(x, ["b", "a"] * 6, names)).class_names == ("a", "b")
    refused("train_labels: expected an image of every class, found none of bee", Rows(x, y, [*names, "bee"]))
    refused("train_labels: expected values from 0 to 1, found 0 to 2", Rows(x, [0, 1, 2] * 4, names))


def test_labels_that_are_refused(split):
    for labels, message in (
        ([0, 1], r"train_labels: expected a label for each of 12 images, found an array of shape \(2,\)\.$"),
        (np.eye(12, 2), r"found an array of shape \(12, 2\)\. Of one-hot labels, take labels\.argmax\(axis=1\)\."),
        (np.arange(12) / 2, "train_labels: expected integers or strings, found float64"),
        ([None] * 12, "train_labels: expected integers or strings, found object"),
        (np.array([None] * 12), "train_labels: expected integers or strings, found object"),
    ):
        for images in (split[0][0], list(split[0][0])):
            refused(message, ((images, labels), split[1]))


def test_test_labels_must_be_among_those_of_training(split):
    (x, y), (x_test, _) = split
    with pytest.raises(InputError, match="test_labels: expected the classes of the training split, found also -1, 7"):
        load(((x, y), (x_test, [7, -1, 0, 1])))
    with pytest.raises(InputError, match=r"test_labels: expected the classes .* found also eel"):
        load(((x, ["cat", "dog"] * 6), (x_test, ["dog", "eel", "dog", "dog"])))
    refused(r"train image 1: expected one label, found \[1, \[2, 3\]\]", Rows(x, [0, [1, [2, 3]], *[1] * 10]))
    refused(r"train image 3: expected one label, found \[0, 1\]", Rows(x, [0, 1, 0, [0, 1], *[1] * 8]))


def test_bytes_that_are_no_words_are_named_by_their_row(split):
    (x, _), (x_test, _) = split
    for labels in ([b"cat", b"\xe9t\xe9"] * 6, np.array([b"cat", b"\xe9t\xe9"] * 6)):
        with pytest.raises(InputError, match=r"^train image 1: expected a label in UTF-8, found b'\\xe9t\\xe9'\.$"):
            load(((x, labels), (x_test, [b"cat"] * 4)))


# Images


def test_each_kind_of_image_is_read():
    square = np.arange(36, dtype=np.uint8).reshape(6, 6)
    grey = [square, square[..., None], Image.fromarray(square), Image.fromarray(square).convert("LA")]
    loaded = load((grey, [0, 1] * 2))
    assert (loaded.train_images.shape, loaded.note[:9]) == ((2, 6, 6, 1), "There was")
    assert (loaded.test_images == square[..., None]).all()
    colour = pixels(6, 6, 4)
    rgb, clear = np.ascontiguousarray(colour[..., :3]), Image.fromarray(colour)
    palette = Image.fromarray(rgb).quantize(36)
    mixed = load((([rgb, colour, clear, palette, square, Image.fromarray(square)], [0] * 6), ([rgb], [0])))
    for image, expected in zip(mixed.train_images, [rgb] * 3, strict=False):
        np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(mixed.train_images[3], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(mixed.train_images[4:], np.stack([square] * 3, axis=-1)[None].repeat(2, axis=0))
    assert mixed.note == "2 of the 7 images were grey and became RGB."


def test_four_channels_lose_their_transparency_and_grey_beside_colours_becomes_rgb(split):
    (x, y), test = split
    clear = np.concatenate([x, pixels(12, 6, 5, 1)], axis=-1)
    assert load(((clear, y), test)).fingerprint == load(split).fingerprint
    loaded = load(((x[..., 0], y), test))
    assert (loaded.train_images == x[..., :1]).all()
    assert loaded.train_images.shape == (12, 6, 5, 3)
    assert loaded.note == "12 of the 16 images were grey and became RGB."


def test_photographs_in_memory_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.new("RGB", (4, 6)).save(tmp_path / "phone.jpg", exif=exif)
    with Image.open(tmp_path / "phone.jpg") as image:
        assert load(([image] * 2, [0, 0])).train_images.shape == (1, 4, 6, 3)
        image.load()  # the caller's image is still open


@pytest.mark.parametrize(("picture", "message"), [
    (np.zeros((6, 5, 3)), r"train image 2: expected a PIL image or pixels of uint8, 0 to 255, found float64\. Convert "
     r"them: \(255 \* images\)\.round\(\)\.astype\('uint8'\) if they go from 0 to 1, else images\.round\(\)\.astype"),
    (np.zeros((6, 5), np.int32), r"found int32\. If they go from 0 to 255, convert them: images\.astype\('uint8'\)\."),
    (np.zeros((6, 5), np.uint16), r"found uint16\. If they go from 0 to 255, convert them"),
    (np.zeros((6, 5), bool), r"found bool\.$"),
    ("a.png", r"train image 2: expected a PIL image or pixels .* found str\.$"),
    ([[1, 2], [3]], r"train image 2: expected a PIL image or pixels .* found list\.$"),
    ({"bytes": b""}, r"train image 2: expected a PIL image or pixels .* found dict\.$"),
    (np.zeros((3, 6, 5), np.uint8), r"train image 2: .* \(H, W\), or \(H, W, C\) with C 1, 3 or 4, found \(3, 6, 5\)"),
    (np.zeros((0, 5), np.uint8), r"train image 2: expected pixels of shape .* found \(0, 5\)"),
    (np.zeros((7, 5, 3), np.uint8), r"train image 2: expected \(6, 5\) pixels \(height, width\).* found \(7, 5\)"),
    (Image.new("F", (5, 6)), r"train image 2 cannot be read as an image: 8 bits a channel expected, mode F found\."),
])
def test_images_that_are_refused(split, picture, message):
    images = [split[0][0][0], split[0][0][1], picture]
    refused(message, (images, [0, 1, 0]))


def test_float_arrays_are_refused_with_the_way_to_convert_them(split):
    (x, y), test = split
    message = r"train image 0: expected .* found float64\. Convert them: \(255 \* images\)"
    refused(message, ((x / 255, y), test))
    refused(r"test image 0: expected .* found float32", ((x, y), (test[0].astype(np.float32), test[1])))
    assert load((((255 * (x / 255)).round().astype("uint8"), y), test)).fingerprint == load(split).fingerprint


# Sizes


def test_images_are_scaled_and_padded_with_black():
    wide, tall = np.full((20, 40, 3), 255, np.uint8), np.full((40, 20, 3), 255, np.uint8)
    loaded = load((([wide, tall], [0, 0]), ([wide], [0])), image_size="fit")
    lit = np.zeros((32, 32, 3), np.uint8)
    lit[8:24] = 255
    np.testing.assert_array_equal(loaded.train_images, [lit, lit.transpose(1, 0, 2)])
    assert loaded.note == ("The images have 2 sizes, from 40x20 to 20x40 pixels (width x height); each was scaled and "
                           "padded to 32x32.")
    loaded = load(((np.stack([wide[..., 0]] * 2), [0, 0]), (wide[None, ..., 0], [0])), image_size=8)
    assert loaded.train_images[0, :, 0, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]
    assert loaded.note == "The images have 40x20 pixels (width x height); each was scaled and padded to 8x8."


def test_small_squares_of_one_size_fit():
    for sizes, becomes in (
        ([(24, 24)], 24), ([(28, 28)], 28), ([(64, 64)], 64), ([(23, 23)], 32), ([(65, 65)], 32), ([(30, 31)], 32),
        ([(32, 32), (48, 48)], 32), ([(48, 48), (200, 90)], 32),
    ):
        images = [pixels(1, *size, 3)[0] for size in sizes] * 2
        for pictures in (images, [Image.fromarray(image) for image in images]):
            loaded = load(((pictures, [0] * len(images)), (pictures, [0] * len(images))), image_size="fit")
            assert loaded.train_images.shape[1:] == (becomes, becomes, 3)
            assert bool(loaded.note) == (sizes != [(becomes, becomes)])
            for image, size in zip(loaded.train_images, sizes, strict=False):
                if size == (becomes, becomes):
                    np.testing.assert_array_equal(image, images[sizes.index(size)])
        if len(sizes) == 1 and loaded.note:
            how = "scaled" if sizes[0][0] == sizes[0][1] else "scaled and padded"
            assert f"; each was {how} to 32x32." in loaded.note


def test_an_image_that_is_a_line_is_refused():
    images = [np.zeros((32, 32), np.uint8), np.zeros((2, 127), np.uint8)]
    assert load((images, [0, 0]), image_size="fit").train_images.shape == (1, 32, 32, 1)
    images.append(np.zeros((128, 2), np.uint8))
    message = (r"train image 2: expected an image less than 64 times as long as wide, to be scaled to 32x32, found "
               r"2x128 pixels \(width x height\)")
    refused(message, (images, [0, 0, 0]), image_size="fit")


# TensorFlow


def test_pictures_of_unequal_size_and_words_from_tensorflow(tf):
    sizes, words = [(40, 30), (20, 50), (32, 32), (48, 48)], ["hen", "cock", "hen", "cock"]

    def generate():
        for size, word in zip(sizes, words, strict=True):
            yield {"image": np.full((*size, 3), 7, np.uint8), "label": word}

    spec = {"image": tf.TensorSpec((None, None, 3), tf.uint8), "label": tf.TensorSpec((), tf.string)}
    dataset = tf.data.Dataset.from_generator(generate, output_signature=spec)
    loaded = load({"train": dataset, "test": dataset}, image_size="fit")
    assert loaded.train_images.shape == (4, 32, 32, 3)
    assert (loaded.class_names, loaded.train_labels.tolist()) == (("cock", "hen"), [1, 0, 1, 0])
    assert loaded.note.startswith("The images have 4 sizes, from 50x20 to 48x48 pixels")
    refused(r"train image 1: expected \(40, 30\) pixels .* found \(20, 50\)", {"train": dataset, "test": dataset})


def test_a_shuffled_dataset_is_read_once(tf):
    images, reads = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8), []
    rows = tf.data.Dataset.from_tensor_slices((images, np.arange(40) % 2))
    counted = rows.map(lambda x, y: (tf.py_function(lambda image: reads.append(1) or image, [x], tf.uint8), y))
    counted = counted.map(lambda x, y: (tf.ensure_shape(x, (2, 2, 3)), y)).shuffle(40)
    loaded = load(counted)
    assert len(reads) == 40
    rows = np.r_[loaded.train_images[:, 0, 0, 0], loaded.test_images[:, 0, 0, 0]]
    assert sorted(rows) == list(range(40))
    assert (loaded.train_labels == loaded.train_images[:, 0, 0, 0] % 2).all()


def test_tensorflow_datasets_that_are_refused(tf, split):
    rows = tf.data.Dataset.from_tensor_slices(split[0])
    message = (r"train: expected a tf\.data\.Dataset that ends, found one that repeats for ever; leave out repeat\(\), "
               r"or add take\(n\)")
    refused(message, rows.repeat())
    assert len(load((rows.repeat().take(24), rows)).train_labels) == 24
    scaled = rows.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y))
    message = r"test: expected images of uint8, .* found float32\. Convert them with map: tf\.cast\(image, tf\.uint8"
    refused(message, {"train": rows, "test": scaled.batch(2)})
    back = scaled.map(lambda x, y: (tf.cast(tf.round(255 * x), tf.uint8), y))  # as the message says
    assert load((back, rows)).fingerprint == load((rows, rows)).fingerprint
    hot = rows.map(lambda x, y: (x, tf.one_hot(y, 2)))
    refused(r"train_labels: .* found an array of shape \(5, 2\)\. Of one-hot labels", hot.batch(5))
    refused(r"train_labels: expected a label for each of 6 images", hot)
    refused(r"train: expected \(image, label\), .* found TensorSpec", rows.map(lambda x, y: x))
    refused(r"train: expected \(image, label\), .* found tuple of 3", rows.map(lambda x, y: (x, y, y)))
    refused(r"train: expected at least one image, found none", rows.take(0))


# What is no data


@pytest.mark.parametrize(("source", "message"), [
    (5, "source: expected a dataset's name, the path of a folder or an .npz file, or images with labels in memory"),
    (b"shapes", "train: expected images with labels .* found bytes"),
    ({}, "source: expected the arrays train_images, .* missing train_images, train_labels; found none"),
    ({"images": 1, "labels": 2}, "missing train_images, train_labels; found images, labels"),
    ({"x_train": 1, "y_train": 2, "x_test": 3}, r"\(the two for testing may be left out\); missing test_labels; f"),
    ({"test": ([], [])}, "source: expected the arrays .* missing train_images, train_labels; found test"),
    ({"train": "folder"}, "train: expected images with labels .* found str"),
    (np.zeros((4, 3, 3)), r"train: expected images with labels \(a pair of arrays, a tf.data.Dataset, or the rows of a "
                          r"Hugging Face Dataset\), found ndarray"),
    ((np.zeros((4, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)), "train: expected images with labels .* ndarray"),
    (([], []), "train: expected at least one image, found none"),
    ([], "train: expected at least one image, found none"),
    ([{"picture": 1, "label": 2}], r"train: expected \(image, label\), or a dict with 'image' or 'img' and with "
                                   r"'label' or 'fine_label', for each image, found a dict with 'picture', 'label'"),
    ([{"image": 1}] * 3, r"train: expected .* found a dict with 'image'"),
    ([{}], r"train: expected .* found a dict with nothing"),
    ([1, 2, 3], r"train: expected \(image, label\), .* found int"),
    (({"train": 1, "test": 2}, "info"), "train: expected images with labels .* found dict"),
])
def test_what_is_no_data_is_refused(source, message):
    refused(message, source)


def test_an_empty_test_split_is_refused(split):
    refused("test: expected at least one image, found none", {"train": split[0], "test": []})
    refused("test: expected at least one image, found none", (split[0], (split[1][0][:0], split[1][1][:0])))


def test_reading_shows_a_bar_only_when_it_takes_long(split, capfd, monkeypatch):
    load(Rows(*split[0]))
    assert capfd.readouterr().err == ""
    bar = memory.tqdm
    monkeypatch.setattr(memory, "tqdm", lambda *args, delay, **more: bar(*args, delay=0, mininterval=0, **more))
    load(Rows(*split[0]))
    out, err = capfd.readouterr()
    assert out == ""
    assert "Reading train: 12 images" in err
