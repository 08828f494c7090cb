"""One container for a dataset, one `load` for every source, and the validation split.

How each source is read, and all that is refused: tests/sources.
"""

import gzip
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from embsel import data
from embsel.data import Dataset, hold_out, load, shapes, training_rows
from embsel.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))


def arrays(train=6, test=4, shape=(5, 4, 3), classes=2):
    """Return the arrays of a small, valid Dataset."""
    rng, found = np.random.default_rng(1), {}
    for half, count in (("train", train), ("test", test)):
        found[f"{half}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
        found[f"{half}_labels"] = np.arange(count) % classes
    return found


def dataset(**changes):
    return Dataset(**({"name": "made up", "class_names": ("cat", "dog")} | arrays() | changes))


def test_a_dataset_is_read_only_and_describes_itself():
    content = arrays()
    made = dataset(**content)
    with pytest.raises(ValueError, match="read-only"):
        made.train_images[0] = 0
    with pytest.raises(AttributeError):
        made.name = "other"
    content["train_images"][0] = 0  # the caller's own array stays writable
    assert made.train_labels.dtype == np.int64
    assert repr(made) == f"made up: 6 training and 4 test images of 5×4×3, 2 classes, fingerprint {made.fingerprint}"


def test_the_fingerprint_depends_on_contents_only_and_known_contents_get_their_name(monkeypatch):
    made, content = dataset(), arrays()
    assert made.fingerprint == "9423c5a355ca"  # records name their data by it
    assert dataset(name="other", class_names=("a", "b")).fingerprint == made.fingerprint
    assert dataset(train_labels=content["train_labels"].astype(np.uint8)).fingerprint == made.fingerprint
    assert dataset(train_images=np.asfortranarray(content["train_images"])).fingerprint == made.fingerprint
    for key in data.ARRAYS:
        changed = content[key].copy()
        changed[0] = 1 - changed[0] if "labels" in key else 255 - changed[0]
        assert dataset(**{key: changed}).fingerprint != made.fingerprint, key
    monkeypatch.setitem(data._KNOWN_CONTENTS, made.fingerprint, "Famous pets")
    assert dataset().name == "Famous pets"


# --- what `load` takes by name ---


def test_shapes_are_drawn_at_a_size(monkeypatch):
    assert load("shapes", image_size=8).train_images.shape == (4000, 8, 8, 3)
    found = load("shapes-20", image_size=8)
    assert (found.name, len(found.class_names), found.note) == ("shapes-20", 20, "")
    counts = [np.bincount(labels).tolist() for labels in (found.train_labels, found.test_labels)]
    assert counts == [[1000] * 20, [200] * 20]
    sides = []
    monkeypatch.setattr(data, "drawn_arrays", lambda size: sides.append(size) or arrays())
    assert {load("shapes", image_size=size).name for size in ("fit", None)} == {"shapes"}
    assert sides == [32, 32]


def test_a_new_dataset_is_one_line(monkeypatch):
    monkeypatch.setitem(data._NAMED, "dots", ("Dots", lambda _: (arrays()["train_images"], [0, 1] * 3)))
    found = load("dots", image_size=8, test_fraction=1 / 3)
    assert (found.name, found.train_images.shape, len(found.test_labels)) == ("Dots", (4, 8, 8, 3), 2)
    with pytest.raises(InputError, match="There is no dataset named 'dotts'; did you mean 'dots'"):
        load("dotts")


@pytest.mark.parametrize(("name", "shown", "classes", "third", "shape"), [
    ("cifar10", "CIFAR-10", 10, "bird", (4, 4, 3)), ("cifar100", "CIFAR-100", 100, "baby", (4, 4, 3)),
    ("mnist", "MNIST", 10, "2", (4, 4)), ("fashion_mnist", "Fashion-MNIST", 10, "pullover", (4, 4))])
def test_what_keras_downloads_has_its_name_and_its_classes(monkeypatch, name, shown, classes, third, shape):
    x, y, x_test, y_test = arrays(200, 8, shape, classes).values()
    download = SimpleNamespace(load_data=lambda: ((x, y.astype(np.uint8)[:, None]), (x_test, y_test[:, None])))
    monkeypatch.setattr(f"embsel.backend.keras.datasets.{name}", download)
    loaded = load(name)
    assert (loaded.name, len(loaded.class_names), loaded.class_names[2]) == (shown, classes, third)
    assert "_" not in "".join(loaded.class_names)
    np.testing.assert_array_equal(loaded.train_images, x if x.ndim == 4 else x[..., None])
    np.testing.assert_array_equal(loaded.test_labels, y_test)
    assert load(name, image_size=6).test_images.shape == (8, 6, 6, loaded.train_images.shape[-1])


def test_a_download_that_fails_or_was_cut_off_says_what_to_do(tmp_path, monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example.org: 503")

    monkeypatch.setattr("embsel.backend.keras.datasets.cifar10.load_data", fail)
    message = (r"^cifar10 could not be downloaded \(URL fetch failure on .*: 503\)\. Check the connection, try again, "
               r"or pass a folder of images or an \.npz file instead, or 'shapes', which needs no download\.$")
    with pytest.raises(InputError, match=message):
        load("cifar10")
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name in ("train-labels-idx1", "train-images-idx3", "t10k-labels-idx1", "t10k-images-idx3"):
        (folder / f"{name}-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:-9])
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("embsel.backend.keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    message = rf"ended before .*, remove the folder '{folder}', in which half a file may be left, and try again, or"
    with pytest.raises(InputError, match=message):
        load("fashion_mnist")


# --- sets that the book knows by their images: one name, order and fingerprint, whatever they are read from ---

NAMES = ("airplane", "ship")


@pytest.fixture
def known(monkeypatch):
    """A little set of two classes, twelve images for training and four for testing, that counts as a known one."""
    found, halves = arrays(12, 4, (8, 8, 3)) | {"class_names": NAMES}, []
    for half in ("train", "test"):
        pairs = zip(found[f"{half}_images"], found[f"{half}_labels"], strict=True)
        halves.append([hashlib.sha256(image).digest() + int(label).to_bytes(8) for image, label in pairs])
    contents = hashlib.sha256(b"".join(digest for half in halves for digest in sorted(half))).hexdigest()[:12]
    monkeypatch.setattr(data, "_KNOWN_SETS", {contents: "CIFAR-10"})
    monkeypatch.setattr(data, "_KNOWN_SIZE", (12, 4, (8, 8, 3)))
    return found


def in_another_order(known, seed):
    rng = np.random.default_rng(seed)
    rows = {"train": rng.permutation(12), "test": rng.permutation(4), "class": slice(None)}
    return {key: value[rows[key.split("_")[0]]] for key, value in known.items()}


def as_folder(known, folder, suffix):
    for half in ("train", "test"):
        for i, (image, label) in enumerate(zip(known[f"{half}_images"], known[f"{half}_labels"], strict=True)):
            file = folder / half / NAMES[label] / f"{i:02}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    return folder


def test_folder_archive_and_download_of_a_known_set_are_one_dataset(known, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_from_keras", lambda _: in_another_order(known, 1))
    np.savez(tmp_path / "some.npz", **in_another_order(known, 2))
    png, webp = (as_folder(in_another_order(known, 3), tmp_path / kind, kind) for kind in ("png", "webp"))
    first, *others = [load(source) for source in (png, "cifar10", tmp_path / "some.npz", webp, known)]
    for other in (first, *others):
        assert (other.name, other.fingerprint) == ("CIFAR-10", first.fingerprint)
    pairs = zip(first.train_files, first.train_images, strict=True)  # each file still goes with its image
    assert all(np.array_equal(Image.open(png / file), image) for file, image in pairs)
    assert sorted(map(bytes, first.train_images)) == sorted(map(bytes, known["train_images"]))
    assert first.train_labels.tolist() != sorted(first.train_labels)  # the order mixes the classes


@pytest.mark.parametrize("key", ["train_images", "train_labels"])
def test_another_set_of_that_size_stays_as_it_is(known, key):
    known[key].flat[0] ^= 1
    found = load(known)
    assert found.name != "CIFAR-10"
    np.testing.assert_array_equal(found.train_images, known["train_images"])


# --- the validation split ---


def test_hold_out_splits_the_training_set_only_and_keeps_an_image_of_every_class():
    whole = shapes(train=200, test=20)
    split = hold_out(whole, 0.1)
    assert (split.name, split.class_names) == ("shapes (validation split)", whole.class_names)
    assert [np.bincount(labels).tolist() for labels in (split.train_labels, split.test_labels)] == [[18] * 10, [2] * 10]
    train, test = ({image.tobytes() for image in part} for part in (split.train_images, split.test_images))
    assert train | test == {image.tobytes() for image in whole.train_images}
    assert not train & test
    np.testing.assert_array_equal(whole.train_images[training_rows(whole, 0.1)], split.train_images)
    assert hold_out(whole, 0.1).fingerprint == split.fingerprint == "d66a31064954"  # recorded runs rest on these rows
    assert hold_out(whole, 0.1, seed=1).fingerprint != split.fingerprint
    split = hold_out(dataset(train_labels=np.array([0, 0, 0, 0, 0, 1])), 0.99)
    assert np.bincount(split.train_labels).tolist() == [1, 1]
