"""Sets that the book knows by their images: one name, one order and one fingerprint, whatever they are read from."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from embsel import data

NAMES = ("airplane", "ship")


@pytest.fixture
def arrays(monkeypatch):
    """A little set of two classes, twelve images for training and four for testing, that counts as a known one."""
    rng = np.random.default_rng(5)
    found = {"class_names": NAMES}
    halves = []
    for half, count in (("train", 12), ("test", 4)):
        images = rng.integers(0, 256, (count, 8, 8, 3)).astype("uint8")
        labels = np.arange(count) % 2
        found |= {f"{half}_images": images, f"{half}_labels": labels}
        pairs = zip(images, labels, strict=True)
        halves.append([hashlib.sha256(image).digest() + int(label).to_bytes(8) for image, label in pairs])
    contents = hashlib.sha256(b"".join(digest for half in halves for digest in sorted(half))).hexdigest()[:12]
    monkeypatch.setattr(data, "_KNOWN_SETS", {contents: "CIFAR-10"})
    monkeypatch.setattr(data, "_KNOWN_SIZE", (12, 4, (8, 8, 3)))
    return found


def in_another_order(arrays, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.permutation(12), rng.permutation(4)
    rows = {"train": train, "test": test}
    return {key: value[rows[key.split("_")[0]]] if key != "class_names" else value for key, value in arrays.items()}


def as_folder(arrays, folder, suffix):
    for half in ("train", "test"):
        for i, (image, label) in enumerate(zip(arrays[f"{half}_images"], arrays[f"{half}_labels"], strict=True)):
            file = folder / half / NAMES[label] / f"{i:02}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    return folder


def test_folder_archive_and_download_are_one_dataset(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data, "_download", lambda source: in_another_order(arrays, 1))
    np.savez(tmp_path / "some.npz", **in_another_order(arrays, 2))
    found = [
        data.load("cifar10"),
        data.load(tmp_path / "some.npz"),
        data.load(as_folder(arrays, tmp_path / "png", "png")),
        data.load(as_folder(in_another_order(arrays, 3), tmp_path / "webp", "webp")),
        data.load(arrays),
    ]
    for other in found:
        assert (other.name, other.fingerprint) == ("CIFAR-10", found[0].fingerprint)
        np.testing.assert_array_equal(other.train_images, found[0].train_images)
        np.testing.assert_array_equal(other.test_labels, found[0].test_labels)
    pairs = zip(found[2].train_files, found[2].train_images, strict=True)  # each file still goes with its image
    assert all(np.array_equal(Image.open(tmp_path / "png" / file), image) for file, image in pairs)


def test_its_order_mixes_the_classes_and_no_image_is_lost(arrays):
    found = data.load(arrays)
    assert sorted(map(bytes, found.train_images)) == sorted(map(bytes, arrays["train_images"]))
    assert found.train_labels.tolist() != sorted(found.train_labels)


@pytest.mark.parametrize("what", ["a pixel", "a label"])
def test_another_set_of_that_size_stays_as_it_is(arrays, what):
    if what == "a pixel":
        arrays["train_images"][0, 0, 0, 0] ^= 1
    else:
        arrays["train_labels"][0] ^= 1
    found = data.load(arrays)
    assert found.name != "CIFAR-10"
    np.testing.assert_array_equal(found.train_images, arrays["train_images"])
