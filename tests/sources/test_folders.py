"""Folders of images: what is found in them, what is passed over and said, and how they are kept decoded."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from embsel.data import hold_out, load, training_rows
from embsel.sources import pixels


def save(path, colour=(200, 30, 40), mode="RGB", size=(5, 6), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


# --- what is found ---


def test_a_folder_gives_the_pixels_class_by_class(pets, split):
    for path in (pets, f"{pets}/train/../../pets/./"):
        loaded = load(path)
        assert (loaded.name, loaded.class_names, loaded.note) == ("pets", ("cat", "dog"), "")
        assert loaded.train_files[:2] == ("train/cat/00.png", "train/cat/02.png")
        for half, (images, labels) in zip(("train", "test"), split, strict=True):
            order = np.argsort(labels, kind="stable")
            np.testing.assert_array_equal(getattr(loaded, f"{half}_images"), images[order])
            np.testing.assert_array_equal(getattr(loaded, f"{half}_labels"), labels[order])
    shutil.rmtree(pets / "test" / "cat")
    assert load(pets).test_labels.tolist() == [1, 1], "a test split may lack a class"


def test_every_format_is_read_and_strays_are_said(pets, recwarn):
    for suffix in ("JPG", "bmp", "gif", "ppm", "tiff", "webp"):
        save(pets / "train" / "cat" / f"a.{suffix}")
    save(pets / "train" / "cat" / "b-grey.png", 77, "L")
    save(pets / "train" / "cat" / "b-palette.png", 77, "P", transparency=b"\x80" * 256)  # Pillow would warn of it
    save(pets / "train" / "cat" / "b-rgba.png", (1, 2, 3, 128), "RGBA")
    for stray in ("README.md", "test/index.html", ".hidden", "train/cat/.DS_Store"):
        (pets / stray).write_text("stray")
    for folder in ("val", "train/.ipynb_checkpoints"):
        (pets / folder).mkdir()
    loaded = load(pets)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.note == ("1 of the 25 images was grey and became RGB. 3 files or folders that are no images of a "
                           "class were passed over: README.md, val, test/index.html.")
    made = {file.split("/")[-1]: image for file, image in zip(loaded.train_files, loaded.train_images, strict=True)}
    for name, colour in {"b-grey.png": (77, 77, 77), "b-rgba.png": (1, 2, 3), "a.JPG": (200, 30, 40)}.items():
        assert np.abs(made[name].astype(int) - colour).max() <= 4  # JPEG rounds
    assert list(recwarn) == []
    for number in range(2):
        save(pets / "grey" / "cat" / f"{number}.png", 77, "L")
    assert load(pets / "grey").train_images.shape == (1, 6, 5, 3)
    assert load(pets / "grey").note.startswith("All 2 images were grey and became RGB. There was no test split")


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
    for stray in ("dog/notes.txt", "labels.csv", "loose.png", "cat/.DS_Store"):
        (root / stray).write_text("stray")
    (root / "dog" / "old.png").mkdir()
    return root


def test_a_folder_that_nobody_prepared_is_read_and_everything_said(mess, refused):
    loaded = load(mess, image_size="fit")
    assert loaded.train_images.shape == (10 + 4 + 1, 32, 32, 3)
    assert np.bincount(loaded.train_labels).tolist() == [10, 4, 1]  # the only newt is one to train on
    assert np.bincount(loaded.test_labels).tolist() == [2, 1]
    assert loaded.note == (
        "The images have 12 sizes, from 20x31 to 80x471 pixels (width x height); each was scaled and padded to 32x32. "
        "6 of the 18 images were grey and became RGB. "
        "4 files or folders that are no images of a class were passed over: labels.csv, loose.png, dog/notes.txt and 1 "
        "more. There was no test split: 3 of the 18 images, about 17% of each class, became one.")
    refused(mess, "TMP/mess/cat/cat …: expected (…, …) pixels (height, width), …, found (…, …); pass image_size …")


def test_each_training_file_is_named_in_its_row_also_of_a_validation_split(mess):
    loaded = load(mess, image_size=16)
    assert len(loaded.train_files) == len(set(loaded.train_files)) == 15
    for file, image, label in zip(loaded.train_files, loaded.train_images, loaded.train_labels, strict=True):
        assert file.startswith(f"{loaded.class_names[label]}/")
        picture = ImageOps.pad(Image.open(mess / file).convert("RGB"), (16, 16))
        np.testing.assert_array_equal(image, np.asarray(picture))
    held = hold_out(loaded)
    assert held.train_files == tuple(loaded.train_files[row] for row in np.flatnonzero(training_rows(loaded)))
    assert held.note == loaded.note


def test_files_with_unusual_names_survive_also_in_the_cache(tmp_path):
    names = ["a b.png", "comma, semi;colon.png", "ünïcødé 猫.png", "quote\"'.png", "line\nbreak.png", "100%.png",
             "[brackets]*?.png", "-dash.png", "UPPER.PNG", "two.dots.png"]  # fmt: skip
    folder = tmp_path / "my pets, all of them" / "Kätzchen & co"
    for i, name in enumerate(names):
        save(folder / name, (i, i, i))
    for _ in range(2):
        loaded = load(folder.parent)
        assert (loaded.class_names, len(loaded.test_labels)) == (("Kätzchen & co",), 2)
        for file, image in zip(loaded.train_files, loaded.train_images, strict=True):
            assert file == f"Kätzchen & co/{names[image[0, 0, 0]]}"


# --- the cache ---


@pytest.fixture
def decoding(monkeypatch):
    """A list of what has been decoded since it was emptied."""
    seen, usual = [], pixels.decode
    monkeypatch.setattr(pixels, "decode", lambda name, picture: seen.append(name) or usual(name, picture))
    return seen


def test_a_second_load_decodes_nothing_and_says_the_same(mess, cache, decoding):
    first = load(mess, image_size="fit")
    assert len(decoding) == 18
    again = load(mess, image_size="fit")
    assert (again.note, again.train_files, again.fingerprint) == (first.note, first.train_files, first.fingerprint)
    (mess / "dog" / "notes.txt").unlink()  # no image changed: the same entry, another note
    (mess / "dog" / "old.png").rmdir()
    assert "2 files or folders that are no images of a class were passed over: labels.csv, loose.png." in load(
        mess, image_size="fit").note
    assert (len(decoding), len(list(cache.iterdir()))) == (18, 1)
    load(mess, image_size=32)  # the same pixels, but not the same question
    assert (len(decoding), len(list(cache.iterdir()))) == (36, 2)


def test_the_cache_is_keyed_by_contents_and_names_not_by_times(pets, cache):
    first, image = load(pets), pets / "train" / "cat" / "00.png"
    stat, raw = image.stat(), image.read_bytes()
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load(pets).fingerprint != first.fingerprint
    image.write_bytes(raw)
    image.rename(image.with_name("000.png"))
    assert load(pets).fingerprint == first.fingerprint
    assert len(list(cache.iterdir())) == 3


def test_a_damaged_cache_is_made_again(pets, cache, decoding):
    first = load(pets)
    [entry] = cache.iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", whole[:200], whole[:300] + bytes([whole[300] ^ 255]) + whole[301:]):
        entry.write_bytes(damaged)
        decoding.clear()
        for _ in range(2):
            assert load(pets).fingerprint == first.fingerprint
        assert (len(decoding), list(cache.iterdir())) == (16, [entry])


def test_the_cache_is_where_the_environment_says(pets, cache, tmp_path, monkeypatch):
    monkeypatch.delenv("EMBSEL_CACHE")
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    load(pets)
    assert [path.suffix for path in (tmp_path / "home/.cache/embsel").iterdir()] == [".npz"]
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_a_warning(pets, cache):
    cache.write_text("")  # a file in its place
    with pytest.warns(UserWarning, match=r"could not be kept in .*cache.*Set EMBSEL_CACHE") as said:
        assert len(load(pets).train_labels) == 12
    assert said[0].filename == __file__  # it points at the line that loads


KILLED = """
import os, signal, sys
import numpy as np
from embsel import data
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
np.lib._npyio_impl.format.write_array = lambda file, *_, **__: (file.write(b"half"), die())
data.load(sys.argv[1])
"""


def test_a_kill_while_the_cache_is_written_leaves_nothing_that_is_read_or_stays(pets, cache, root):
    done = subprocess.run([sys.executable, "-c", KILLED, str(pets)], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL
    [left] = cache.iterdir()
    first = load(pets)
    assert (len(list(cache.glob("[!.]*"))), left.exists()) == (1, True)  # its writer may be alive
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    load(pets, image_size=24)
    assert not left.exists()
    assert load(pets).fingerprint == first.fingerprint
