"""Every source of data, every error at the door, the cache, and the validation split."""

import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from embsel import data
from embsel.data import Dataset, hold_out, load, shapes, training_rows
from embsel.errors import InputError
from embsel.sources import folders, pixels

RNG = np.random.default_rng(0)


def arrays(train=6, test=4, shape=(5, 4, 3), classes=2):
    """Return keyword arguments of a small, valid Dataset."""
    rng = np.random.default_rng(1)
    return {
        "train_images": rng.integers(0, 256, (train, *shape), np.uint8),
        "train_labels": np.arange(train) % classes,
        "test_images": rng.integers(0, 256, (test, *shape), np.uint8),
        "test_labels": np.arange(test) % classes,
    }


def dataset(**changes):
    return Dataset(**({"name": "made up", "class_names": ("cat", "dog")} | arrays() | changes))


def write_folder(root, images, labels, names=("cat", "dog"), suffix=".png"):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03}{suffix}")


def refused(message, source, **options):
    with pytest.raises(InputError, match=message):
        load(source, **options)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A folder `pets` with train/ and test/, classes cat and dog, PNG images of 4×5 pixels."""
    content = arrays()
    write_folder(tmp_path / "pets/train", content["train_images"], content["train_labels"])
    write_folder(tmp_path / "pets/test", content["test_images"], content["test_labels"])
    return tmp_path / "pets"


# Dataset


def test_dataset_is_read_only_and_describes_itself():
    content = arrays()
    made = dataset(**content)
    with pytest.raises(ValueError, match="read-only"):
        made.train_images[0] = 0
    with pytest.raises(AttributeError):
        made.name = "other"
    content["train_images"][0] = 0  # the caller's own array stays writable
    assert made.train_labels.dtype == np.int64
    text = f"made up: 6 training and 4 test images of 5×4×3, 2 classes, fingerprint {made.fingerprint}"
    assert str(made) == repr(made) == text


def test_fingerprint_depends_on_contents_only():
    made, content = dataset(), arrays()
    assert len(made.fingerprint) == 12
    assert int(made.fingerprint, 16) >= 0
    assert dataset(name="other", class_names=("a", "b")).fingerprint == made.fingerprint
    assert dataset(train_labels=content["train_labels"].astype(np.uint8)).fingerprint == made.fingerprint
    transposed = np.ascontiguousarray(content["train_images"].transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    assert dataset(train_images=transposed).fingerprint == made.fingerprint
    for key in data.ARRAYS:
        changed = content[key].copy()
        changed[0] = 1 - changed[0] if "labels" in key else 255 - changed[0]
        assert dataset(**{key: changed}).fingerprint != made.fingerprint, key


@pytest.mark.parametrize(("changes", "message"), [
    ({"train_images": np.zeros((6, 5, 4, 3))}, "train_images: expected uint8 .* found float64 of shape"),
    ({"train_images": np.zeros((6, 5, 4), np.uint8)}, r"train_images: .* found uint8 of shape \(6, 5, 4\)"),
    ({"test_images": np.zeros((4, 5, 4, 2), np.uint8)}, "test_images: expected .* C 1 or 3"),
    ({"test_images": np.zeros((0, 5, 4, 3), np.uint8)}, "test_images: expected .* at least one"),
    ({"test_images": np.zeros((4, 5, 5, 3), np.uint8)}, r"test_images: .*\(5, 4, 3\).* found \(5, 5, 3\)"),
    ({"train_labels": np.zeros(6)}, "train_labels: expected integers, found float64"),
    ({"train_labels": np.array([0, 1])}, r"train_labels: expected shape \(6,\).* found \(2,\)"),
    ({"test_labels": np.array([0, 1, 2, 0])}, "test_labels: expected values from 0 to 1, found 0 to 2"),
    ({"test_labels": np.array([0, 1, -1, 0])}, "test_labels: expected values from 0 to 1, found -1 to 1"),
    ({"train_labels": np.zeros(6, int)}, "train_labels: expected an image of every class, found none of dog"),
    ({"class_names": ()}, "class_names: expected distinct names"),
    ({"class_names": ("cat", "cat")}, "class_names: expected distinct names"),
    ({"train_files": ["a.png"]}, "train_files: expected a file for each of the 6 training images, or none, found 1"),
])
def test_dataset_refuses(changes, message):
    with pytest.raises(InputError, match=message):
        dataset(**changes)


# Names and arguments


def test_unknown_name_says_what_was_looked_for(tmp_path):
    refused(r"no dataset named 'cifer10'; did you mean 'cifar10'.*No folder or \.npz", "cifer10")
    refused(r"No folder or \.npz file was found at .*nowhere", tmp_path / "nowhere")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"source": ""}, "source: expected a dataset's name"),
    ({"source": None}, "source: expected a dataset's name"),
    ({"source": "shapes", "test_fraction": 1}, "test_fraction: expected a number between 0 and 1, found 1"),
    ({"source": "shapes", "test_fraction": float("nan")}, "test_fraction: expected .* found nan"),
    ({"source": "shapes", "image_size": 0}, "image_size: expected a whole number of at least 1, found 0"),
    ({"source": "shapes", "image_size": 8.0}, "image_size: expected a whole number"),
    ({"source": "shapes", "image_size": "fitt"}, "image_size: expected .fit. or a whole number of pixels, found .fit"),
])
def test_load_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        load(**arguments)


def test_load_draws_shapes_of_a_size(monkeypatch):
    assert load("shapes", image_size=8).train_images.shape == (4000, 8, 8, 3)
    monkeypatch.setitem(data._DRAWN, "shapes", {"train": 30, "test": 20})
    assert load("shapes", image_size="fit").fingerprint == shapes(train=30, test=20).fingerprint
    found = load("shapes-20", image_size=8)
    assert (found.name, len(found.class_names)) == ("shapes-20", 20)
    assert np.bincount(found.train_labels).tolist() == [1000] * 20
    assert np.bincount(found.test_labels).tolist() == [200] * 20


# Keras' datasets, without Keras and without the network


def fake_keras(monkeypatch, name, load_data):
    datasets = types.SimpleNamespace(**{name: types.SimpleNamespace(load_data=load_data)})
    keras = types.SimpleNamespace(datasets=datasets)
    monkeypatch.setitem(sys.modules, "embsel.backend", types.SimpleNamespace(keras=keras))


@pytest.mark.parametrize(("name", "shown", "classes", "third", "shape"), [
    ("cifar10", "CIFAR-10", 10, "bird", (4, 4, 3)),
    ("cifar100", "CIFAR-100", 100, "baby", (4, 4, 3)),
    ("mnist", "MNIST", 10, "2", (4, 4)),
    ("fashion_mnist", "Fashion-MNIST", 10, "pullover", (4, 4)),
])
def test_keras_datasets(monkeypatch, name, shown, classes, third, shape):
    content = arrays(train=200, shape=shape, classes=classes)
    x, y = content["train_images"], content["train_labels"].astype(np.uint8)
    fake_keras(monkeypatch, name, lambda: ((x, y[:, None]), (x[:8], y[:8, None])))
    loaded = load(name)
    assert loaded.name == shown
    assert (len(loaded.class_names), loaded.class_names[2]) == (classes, third)
    np.testing.assert_array_equal(loaded.train_images, x if x.ndim == 4 else x[..., None])
    np.testing.assert_array_equal(loaded.test_labels, y[:8])
    assert load(name, image_size=6).test_images.shape == (8, 6, 6, loaded.train_images.shape[-1])


def test_failed_download_says_what_to_do(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example.org: 503")

    fake_keras(monkeypatch, "cifar10", fail)
    message = r"cifar10 could not be downloaded \(URL fetch failure.*503\).*folder of images or an \.npz file"
    refused(message, "cifar10")


# .npz files


def test_npz_with_both_kinds_of_keys(tmp_path):
    content = arrays()
    np.savez(tmp_path / "own.npz", **content, class_names=["cat", "dog"])
    keras_keys = dict(zip(["x_train", "y_train", "x_test", "y_test"], content.values(), strict=True))
    np.savez(tmp_path / "keras.npz", **keras_keys)
    own, other = load(tmp_path / "own.npz"), load(str(tmp_path / "keras.npz"))
    assert (own.name, own.class_names) == ("own", ("cat", "dog"))
    assert (other.name, other.class_names) == ("keras", ("0", "1"))
    assert own.fingerprint == other.fingerprint == dataset().fingerprint


def test_npz_errors(tmp_path):
    content = arrays()
    np.savez(tmp_path / "missing.npz", train_images=content["train_images"], extra=[1])
    refused("missing train_labels; found train_images, ex", tmp_path / "missing.npz")
    np.savez(tmp_path / "pickled.npz", **content | {"train_labels": np.array([{}] * 6, object)})
    message = r"pickled\.npz cannot be read: Object arrays cannot be loaded when allow_pickle=False"
    refused(message, tmp_path / "pickled.npz")
    (tmp_path / "notes.npz").write_text("not a zip file")
    refused(r"notes\.npz: expected a folder of images or an \.npz file", tmp_path / "notes.npz")
    np.savez(tmp_path / "torn.npz", **content)
    torn = bytearray((tmp_path / "torn.npz").read_bytes())
    torn[300] ^= 255
    (tmp_path / "torn.npz").write_bytes(torn)
    refused(r"torn\.npz cannot be read", tmp_path / "torn.npz")


# Folders


def test_folder_gives_the_pixels_class_by_class(folder):
    content, loaded = arrays(), load(folder)
    assert (loaded.name, loaded.class_names) == ("pets", ("cat", "dog"))
    for split in ("train", "test"):
        order = np.argsort(content[f"{split}_labels"], kind="stable")
        for kind in ("images", "labels"):
            np.testing.assert_array_equal(getattr(loaded, f"{split}_{kind}"), content[f"{split}_{kind}"][order])


def test_test_split_may_lack_a_class(folder):
    shutil.rmtree(folder / "test" / "cat")
    assert load(folder).test_labels.tolist() == [1, 1]


def test_known_contents_get_their_name(folder, monkeypatch):
    monkeypatch.setitem(data._KNOWN_CONTENTS, load(folder).fingerprint, "Famous pets")
    assert load(folder).name == "Famous pets"


def test_formats_and_strays(folder):
    train = folder / "train" / "cat"
    square = Image.new("RGB", (4, 5), (200, 30, 40))
    square.save(train / "b.JPG", format="JPEG")
    for suffix in ("bmp", "webp", "tiff", "ppm", "gif"):
        square.save(train / f"b.{suffix}")
    Image.new("L", (4, 5), 77).save(train / "z-grey.png")
    Image.new("RGBA", (4, 5), (1, 2, 3, 128)).save(train / "z-rgba.png")
    square.quantize(4).save(train / "z-palette.png")
    (train / "notes.txt").write_text("stray")
    (train / ".DS_Store").write_bytes(b"stray")
    (folder / ".hidden").mkdir()
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    loaded = load(folder)
    cats = loaded.train_images[loaded.train_labels == 0]
    assert loaded.class_names == ("cat", "dog")
    assert loaded.note == ("1 of the 19 images was grey and became RGB. 1 file or folder that is no image of a class "
                           "was passed over: train/cat/notes.txt.")
    assert len(cats) == 3 + 6 + 3
    colours = [(200, 30, 40)] * 6 + [(77, 77, 77), (200, 30, 40), (1, 2, 3)]
    for image, colour in zip(cats[3:], colours, strict=True):
        assert np.abs(image.astype(int) - colour).max() <= 4  # JPEG and WebP round


def test_sizes_must_agree_unless_one_is_given(folder):
    odd = folder / "test" / "dog" / "odd.png"
    Image.new("RGB", (9, 7)).save(odd)
    message = r"odd\.png: expected \(5, 4\) pixels \(height, width\).* found \(7, 9\); pass image_size"
    refused(message, folder)
    assert load(folder, image_size=8).test_images.shape == (5, 8, 8, 3)


def test_unreadable_images_are_named_with_what_to_do(folder, monkeypatch):
    broken = folder / "train" / "dog" / "broken.png"
    for content in (b"", b"not an image", (folder / "train/dog/001.png").read_bytes()[:60]):
        broken.write_bytes(content)
        refused(r"broken\.png cannot be read as an image: .*\. Mend it or remove it\.$", folder)
    Image.new("RGB", (4, 5)).save(broken, format="PCX")  # misnamed, and not among the formats that are tried
    refused(r"broken\.png cannot be read as an image", folder)
    Image.fromarray(np.zeros((5, 4), np.uint16)).save(broken)
    refused(r"broken\.png cannot be read .*: 8 bits a channel expected, mode I;16", folder)
    broken.unlink()
    assert len(load(folder).train_labels) == 6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)  # for 20 pixels: Pillow raises above twice the limit
    message = r"000\.png cannot be read as an image: Image size \(20 pixels\) .*decompression bomb"
    refused(message, folder, image_size=9)  # which is not in the cache


def test_a_file_that_cannot_be_opened_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    refused(r"train/cat/000\.png cannot be read: Permission denied\.", folder)


def test_folder_errors(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("empty: expected a folder of images for each class, found no folder", tmp_path / "empty")
    (folder / "train" / "axolotl").mkdir()
    refused(r"axolotl: expected images \(.*\.jpg.*\) directly in it, found none", folder)
    (folder / "train" / "axolotl").rmdir()
    write_folder(folder / "test", arrays()["test_images"][:1], [0], names=["newt"])
    refused("test: expected the classes of the train folder, found also newt", folder)
    write_folder(tmp_path / "single", arrays()["train_images"][:2], [0, 1])
    refused("single: expected a class of two images or more", tmp_path / "single")


def test_links_must_stay_inside(folder, tmp_path):
    link = folder / "train" / "cat" / "link.png"
    try:
        link.symlink_to(folder / "train" / "dog" / "001.png")
    except OSError:
        pytest.skip("this system makes no links")
    assert len(load(folder).train_labels) == 7
    link.unlink()
    Image.new("RGB", (4, 5)).save(tmp_path / "secret.png")
    link.symlink_to(tmp_path / "secret.png")
    refused(r"link\.png: expected a file in .*pets, found a link that leads out", folder)
    link.unlink()
    link.symlink_to(tmp_path / "nowhere.png")
    refused(r"link\.png: expected a file in", folder)
    link.unlink()
    write_folder(tmp_path / "outside", [np.zeros((5, 4, 3), np.uint8)], [0])
    (folder / "train" / "bird").symlink_to(tmp_path / "outside" / "cat")  # a whole class
    refused(r"bird/000\.png: expected a file in", folder)


# Folders that nobody prepared


@pytest.fixture
def mess(tmp_path):
    """A folder `mess` of `<class>/*`: 12 cats, 5 dogs, 1 newt; other sizes, kinds and formats; and what is no image."""
    root, rng = tmp_path / "mess", np.random.default_rng(2)
    for name, count in (("cat", 12), ("dog", 5), ("newt", 1)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            mode = ("RGB", "L", "RGBA", "RGB", "LA")[i % 5]
            suffix = ".png" if len(mode) % 2 == 0 else (".png", ".jpg", ".webp", ".JPEG")[i % 4]
            shape = (31 + 40 * i, 20 + 30 * (i % 3))
            image = Image.fromarray(rng.integers(0, 256, (*shape, 4), np.uint8)).convert(mode)
            image.save(root / name / f"{name} {i:02}{suffix}")
    (root / "dog" / "notes.txt").write_text("stray")
    (root / "dog" / "old.png").mkdir()
    (root / "labels.csv").write_text("stray")
    (root / "loose.png").write_bytes(b"stray")
    (root / "cat" / ".DS_Store").write_bytes(b"stray")
    return root


def test_a_folder_that_nobody_prepared(mess):
    loaded = load(mess, image_size="fit")
    assert loaded.train_images.shape == (10 + 4 + 1, 32, 32, 3)
    assert np.bincount(loaded.train_labels).tolist() == [10, 4, 1]  # the only newt is one to train on
    assert np.bincount(loaded.test_labels).tolist() == [2, 1]
    assert loaded.note == (
        "The images have 12 sizes, from 20x31 to 80x471 pixels (width x height); each was scaled and padded to 32x32. "
        "6 of the 18 images were grey and became RGB. "
        "4 files or folders that are no images of a class were passed over: labels.csv, loose.png, dog/notes.txt and 1 "
        "more. There was no test split: 3 of the 18 images, about 17% of each class, became one.")
    assert load(mess, image_size="fit").fingerprint == loaded.fingerprint
    refused(r"cat \d\d\.\w+: expected \(\d+, \d+\) pixels .* found .*; pass image_size", mess)


def test_each_training_file_is_named_in_its_row(mess):
    loaded = load(mess, image_size=16)
    assert len(loaded.train_files) == len(set(loaded.train_files)) == 15
    for file, image, label in zip(loaded.train_files, loaded.train_images, loaded.train_labels, strict=True):
        assert file.startswith(f"{loaded.class_names[label]}/")
        picture = ImageOps.pad(Image.open(mess / file).convert("RGB"), (16, 16))
        np.testing.assert_array_equal(image, np.asarray(picture))
    held = hold_out(loaded)
    kept = np.flatnonzero(training_rows(loaded))
    assert held.train_files == tuple(loaded.train_files[row] for row in kept)
    assert held.note == loaded.note


def test_files_with_unusual_names_survive(tmp_path):
    names = ["a b.png", "comma, semi;colon.png", "ünïcødé 猫.png", "quote\"'.png", "line\nbreak.png", "100%.png",
             "[brackets]*?.png", "-dash.png", "UPPER.PNG", "two.dots.png"]
    folder = tmp_path / "my pets, all of them" / "Kätzchen & co"
    folder.mkdir(parents=True)
    made = []
    for i, name in enumerate(names):
        try:
            Image.new("RGB", (4, 4), (i, i, i)).save(folder / name)
        except OSError:  # not allowed on this system
            continue
        made.append(name)
    assert len(made) >= 6
    for _ in range(2):  # decoded, then from the cache
        loaded = load(folder.parent)
        assert loaded.class_names == ("Kätzchen & co",)
        assert len(loaded.train_files) == len(made) - len(loaded.test_labels)
        for file, image in zip(loaded.train_files, loaded.train_images, strict=True):
            kind, name = file.split("/")
            assert (kind, image[0, 0, 0]) == ("Kätzchen & co", names.index(name))


def test_files_are_named_below_the_folder_that_was_loaded(folder):
    assert load(folder).train_files == ("train/cat/000.png", "train/cat/002.png", "train/cat/004.png",
                                        "train/dog/001.png", "train/dog/003.png", "train/dog/005.png")
    (folder / "val").mkdir()
    (folder / "README.md").write_text("stray")
    (folder / "test" / "index.html").write_text("stray")
    assert load(folder).note == (
        "3 files or folders that are no images of a class were passed over: README.md, val, test/index.html.")


def test_other_arrangements_are_explained(folder, tmp_path):
    (tmp_path / "outer").mkdir()
    folder.rename(tmp_path / "outer" / "pets")
    message = (r"outer/pets: expected images \(.*\) directly in it, found test, train\. If these are the classes, pass "
               r"'.*outer/pets' instead, or move them one level up\.")
    refused(message, tmp_path / "outer")
    assert len(load(tmp_path / "outer" / "pets").train_labels) == 6  # as the message says
    (tmp_path / "flat").mkdir()
    for i in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / "flat" / f"{i}.png")
    (tmp_path / "flat" / "notes.txt").write_text("stray")
    message = (r"flat: expected a folder of images for each class, found no folder, but 3 images\. Move each into a "
               r"folder named after its class\.")
    refused(message, tmp_path / "flat")
    write_folder(tmp_path / "thin", arrays()["train_images"], arrays()["train_labels"])
    (tmp_path / "thin" / "bird").mkdir()
    for name in "abcde":
        (tmp_path / "thin" / "bird" / f"{name}.txt").write_text("stray")
    message = r"bird: expected images .* found a\.txt, b\.txt, c\.txt and 2 more\. Add images to this folder, or remove"
    refused(message, tmp_path / "thin")
    write_folder(tmp_path / "half/train", arrays()["train_images"], arrays()["train_labels"])
    message = (r"half: expected both 'train' and 'test' folders, found only 'train'\. To have a test split "
               r"taken from it, pass '.*half.train'")
    refused(message, tmp_path / "half")
    assert len(load(tmp_path / "half" / "train").test_labels) == 2  # as the message says


def test_the_cache_keeps_the_note_and_the_names(mess, cache, monkeypatch):
    first = load(mess, image_size="fit")
    monkeypatch.setattr(pixels, "decode", None)  # from here on nothing is decoded
    again = load(mess, image_size="fit")
    assert (again.note, again.train_files, again.fingerprint) == (first.note, first.train_files, first.fingerprint)
    (mess / "dog" / "notes.txt").unlink()  # no image changed: the same entry, another note
    (mess / "dog" / "old.png").rmdir()
    assert "2 files or folders that are no images of a class were passed over: labels.csv, loose.png." in load(
        mess, image_size="fit").note
    assert len(list(cache.iterdir())) == 1
    monkeypatch.undo()
    monkeypatch.setenv("EMBSEL_CACHE", str(cache))
    load(mess, image_size=32)  # the same pixels, but not the same question
    assert len(list(cache.iterdir())) == 2


# The cache


def test_cache_is_used_and_keyed_by_content(folder, cache, monkeypatch):
    first = load(folder)
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(pixels, "decode", None)  # a second load decodes nothing
        assert load(folder).fingerprint == first.fingerprint
    image = folder / "train" / "cat" / "000.png"
    stat = image.stat()
    raw = bytearray(image.read_bytes())
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # other bytes, the same time
    assert load(folder).fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 2
    image.write_bytes(raw)
    image.rename(image.with_name("renamed.png"))
    load(folder)
    load(folder, image_size=4)
    assert len(list(cache.iterdir())) == 4


def test_damaged_cache_is_made_again(folder, cache, monkeypatch):
    first = load(folder)
    [entry] = cache.iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", whole[:200], whole[:300] + bytes([whole[300] ^ 255]) + whole[301:]):
        entry.write_bytes(damaged)
        assert load(folder).fingerprint == first.fingerprint
        assert [entry] == list(cache.iterdir())
        with monkeypatch.context() as patch:
            patch.setattr(pixels, "decode", None)  # from here on nothing is decoded
            assert load(folder).fingerprint == first.fingerprint


def test_the_cache_is_where_the_environment_says(folder, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "elsewhere" / "deep"))
    load(folder)
    assert not cache.exists()
    assert [path.suffix for path in (tmp_path / "elsewhere/deep").iterdir()] == [".npz"]
    monkeypatch.delenv("EMBSEL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    load(folder)
    assert [path.suffix for path in (tmp_path / "home/.cache/embsel").iterdir()] == [".npz"]


def test_unwritable_cache_only_warns(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder can be made here")
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"could not be kept in .*file.*Set EMBSEL_CACHE"):
        assert len(load(folder).train_labels) == 6


def test_failed_write_leaves_nothing_behind(folder, cache, monkeypatch):
    def full(file, **content):
        Path(file).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        load(folder)
    assert list(cache.iterdir()) == []


def test_two_processes_at_once(folder, cache, root):
    command = [sys.executable, "-W", "error", "-c", f"from embsel.data import load; print(load({str(folder)!r}))"]
    started = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in started]
    assert said == [str(load(folder))] * 2
    assert [path.suffix for path in cache.iterdir()] == [".npz"]


def test_progress_bar_from_two_thousand_files(folder, monkeypatch, capfd):
    monkeypatch.setattr(pixels, "decode", lambda name, path: np.zeros((2, 2, 3), np.uint8))
    for count in (1999, 2000):
        folders._decoded([folder / "train" / "cat" / "000.png"] * count, count - 1, ["cat"], None)
        out, err = capfd.readouterr()
        assert (out, "Decoding" in err) == ("", count == 2000)


# Holding out


def test_hold_out_splits_the_training_set_only():
    whole = shapes(train=200, test=20)
    split = hold_out(whole, 0.1)
    assert split.name == "shapes (validation split)"
    assert np.bincount(split.train_labels).tolist() == [18] * 10
    assert np.bincount(split.test_labels).tolist() == [2] * 10
    parts = [{image.tobytes() for image in part} for part in (split.train_images, split.test_images)]
    assert parts[0] | parts[1] == {image.tobytes() for image in whole.train_images}
    assert not parts[0] & parts[1]
    np.testing.assert_array_equal(whole.train_images[training_rows(whole, 0.1)], split.train_images)
    assert hold_out(whole, 0.1).fingerprint == split.fingerprint
    assert hold_out(whole, 0.1, seed=1).fingerprint != split.fingerprint


def test_hold_out_keeps_every_class_and_says_when_it_cannot():
    split = hold_out(dataset(train_labels=np.array([0, 0, 0, 0, 0, 1])), 0.99)
    assert np.bincount(split.train_labels).tolist() == [1, 1]
    alone = dataset(train_images=arrays()["train_images"][:2], train_labels=np.array([0, 1]))
    with pytest.raises(InputError, match="made up: expected a class of two training images or more"):
        hold_out(alone)
    with pytest.raises(InputError, match="fraction: expected a number between 0 and 1, found 0"):
        hold_out(alone, 0)
    with pytest.raises(InputError, match="seed: expected a whole number of at least 0, found -1"):
        hold_out(alone, seed=-1)
