"""What cannot be used is refused at the door, in a sentence: the thing, what was expected, what was found, a way out.

A message stands below as it is read, with … for what may be anything.
"""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from embsel.data import Dataset, hold_out, load, shapes
from embsel.sources import folders

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.arange(6) % 2
GREY = np.zeros((5, 4), np.uint8)


def npz(**arrays):
    return lambda folder: np.savez(folder / "set.npz", **{"x_train": IMAGES, "y_train": LABELS} | arrays) or load(
        folder / "set.npz")  # fmt: skip


def tree(*names, **contents):
    """Load a folder with a small image at each of the names (a folder, where one ends with a stroke), and contents."""

    def loaded(folder):
        for name in (*names, *contents):
            path = folder / "pets" / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                Image.fromarray(IMAGES[0]).save(path, "PNG")
        for name, content in contents.items():
            (folder / "pets" / name).write_bytes(content)
        return load(folder / "pets")

    return loaded


def with_image(content):
    return tree("cat/1.png", "cat/3.png", **{"cat/2.png": content})


def written(image, kind, **options):
    """Load a folder of which the second picture is this one, as Pillow writes it."""
    image.save(file := io.BytesIO(), kind, **options)
    return with_image(file.getvalue())


def png(width, height):
    """A PNG file that says it has so many pixels, and has next to none."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


INFLATED = PngImagePlugin.PngInfo()
INFLATED.add_text("comment", "0" * 10**7, zip=True)


def data(source, **options):
    return lambda _: load(source, **options)


def third(picture):
    return data(([IMAGES[0], IMAGES[1], picture], [0, 1, 0]))


def of(labels, test=None):
    return data(((IMAGES, labels), (IMAGES, labels if test is None else test)))


def made(**changes):
    return lambda _: Dataset(**{"name": "made up", "train_images": IMAGES, "train_labels": LABELS,
        "test_images": IMAGES, "test_labels": LABELS, "class_names": ("cat", "dog")} | changes)  # fmt: skip


def held(*arguments, images=6, **options):
    few = made(train_images=IMAGES[:images], train_labels=LABELS[:images])
    return lambda folder: hold_out(few(folder), *arguments, **options)


def drawn(**options):
    return lambda _: shapes(**options)


WITH_LABELS = "expected images with labels (a pair of arrays, a tf.data.Dataset, or the rows of a Hugging Face Dataset)"
PAIR = "expected (image, label), or a dict with 'image' or 'img' and with 'label' or 'fine_label', for each image"
SOURCE = "source: expected a dataset's name, the path of a folder or an .npz file, or images with labels in memory"
MISSING = "expected the arrays train_images, train_labels, test_images, test_labels (… for testing may be left out)"
PIXELS = "train image 2: expected a PIL image or pixels of uint8, 0 to 255"
SHAPE = "expected pixels of shape (H, W), or (H, W, C) with C 1, 3 or 4"
FROM_WHOLE = " If they go from 0 to 255, convert them: images.astype('uint8')."
UNREAD = "TMP/pets/cat/2.png cannot be read as an image: …. Mend it or remove it."
TABLE = {
    # what `load` is asked for
    "a name that is nearly a dataset's": (data("cifer10"),
        "There is no dataset named 'cifer10'; did you mean 'cifar10'…? No folder or .npz file was found at …"),
    "no name": (data(""), f"{SOURCE}, found ''."),
    "a whole test fraction": (data("shapes", test_fraction=1), "test_fraction: expected a number between 0 and 1, …"),
    "an image size that fills any memory": (data("shapes", image_size=10**7),
        "image_size: expected at most 4,096 pixels, found …"),
    "an image size in words": (data("shapes", image_size="fitt"), "image_size: expected 'fit' or a …, found 'fitt'."),
    # data in memory
    "images without labels": (data(IMAGES), f"train: {WITH_LABELS}, found ndarray."),
    "an empty test split": (data({"train": (IMAGES, LABELS), "test": []}),
        "test: expected at least one image, found none."),
    "rows with another name for the image": (data([{"pic": 1, "label": 0}] * 4),
        f"train: {PAIR}, found a dict with 'pic', 'label'."),
    "rows that are numbers": (data([1, 2, 3]), f"train: {PAIR}, found int."),
    "a mapping of other names": (data({"images": 1, "labels": 2}),
        f"source: {MISSING}; missing …; found images, labels."),
    "one image of each class in memory": (data((IMAGES[:2], ["cat", "dog"])),
        "source: expected a class of two images or more, …"),
    # labels
    "too few labels": (of([0, 1]), "train_labels: expected a label for each of 6 images, found … (2,)."),
    "one-hot labels": (of(np.eye(6, 2)), "train_labels: … (6, 2). Of one-hot labels, take labels.argmax(axis=1)."),
    "labels that are missing": (of([None] * 6), "train_labels: expected integers or strings, found object."),
    "two labels for an image": (data([{"image": image, "label": [1, 2]} for image in IMAGES]),
        "train image 0: expected one label, found [1, 2]."),
    "labels in another coding": (of([b"cat", b"\xe9t\xe9"] * 3), "train image 1: … in UTF-8, found b'\\xe9t\\xe9'."),
    "words that only the test has": (of(["cat", "dog"] * 3, ["cat", "eel"] * 3),
        "test_labels: expected the classes of the training split, found also eel."),
    "fewer class names than labels": (npz(class_names=["cat"]), "train_labels: expected values from 0 … found 0 to 1."),
    "more class names than labels": (npz(class_names=["cat", "dog", "bee"]),
        "train_labels: expected an image of every class, found none of bee."),
    "class names of unequal length": (data({"x_train": IMAGES, "y_train": LABELS, "class_names": [["a"], ["b", "c"]]}),
        "class_names: expected an array, …"),
    # pictures
    "pictures of floats": (third(np.zeros((5, 4, 3))),
        f"{PIXELS}, found float64. Convert them: (255 * images).round()"
        ".astype('uint8') if they go from 0 to 1, else images.round().astype('uint8')."),
    "whole numbers of 16 bits": (third(np.zeros((5, 4), np.uint16)), f"{PIXELS}, found uint16.{FROM_WHOLE}"),
    "numbers in lists": (third([[1, 2], [3, 4]]), f"{PIXELS}, found int64.{FROM_WHOLE}"),
    "the name of a file": (third("a.png"), f"{PIXELS}, found str."),
    "channels first": (third(np.zeros((3, 5, 6), np.uint8)), f"train image 2: {SHAPE}, found (3, 5, 6)."),
    "another size": (third(IMAGES[0, :3]), "train image 2: expected (5, 4) pixels … found (3, 4); pass image_size …"),
    "pixels that Pillow keeps as floats": (third(Image.new("F", (4, 5))),
        "train image 2 cannot be read as an image: 8 bits a channel expected, mode F found. Mend it or remove it."),
    "a picture that is a line": (data(([GREY, np.zeros((128, 2), np.uint8)], [0, 0]), image_size="fit"),
        "train image 1: expected an image less than 64 times as long as wide, to be scaled to 32x32, found 2x128 "
        "pixels (width x height)."),
    "images of five channels": (npz(x_train=np.zeros((6, 5, 4, 5), np.uint8)),
        "train image 0: expected …, found (5, 4, 5)."),
    # archives
    "a text file": (lambda t: (t / "a.npz").write_text("words") and load(t / "a.npz"),
        "TMP/a.npz: expected a folder of images or an .npz file, found something else."),
    "an archive of pickles": (npz(y_train=np.array([{}] * 6)), "TMP/set.npz cannot be … when allow_pickle=False."),
    "an archive with half a test split": (npz(x_test=IMAGES),
        f"TMP/set.npz: {MISSING}; missing test_labels; found x_train, y_train, x_test."),
    # folders
    "an empty folder": (tree("./"), "TMP/pets: expected a folder of images for each class, found no folder."),
    "a folder of loose images": (tree("1.png", "2.png", **{"a.txt": b""}),
        "TMP/pets: … found no folder, but 2 images. Move each into a folder named after its class."),
    "a class of other files": (tree("bird/", **{f"bird/{name}.txt": b"" for name in "abcde"}),
        "TMP/pets/bird: … found a.txt, b.txt, c.txt and 2 more. …"),
    "a folder around the right one": (tree("in/train/cat/1.png", "in/test/cat/1.png"),
        "TMP/pets/in: … found test, train. If these are the classes, pass 'TMP/pets/in' instead, or move them one "
        "level up."),
    "a training folder alone": (tree("train/cat/1.png"), "TMP/pets: expected both … from it, pass 'TMP/pets/train'."),
    "a class that only the test has": (tree("train/cat/1.png", "test/cat/1.png", "test/newt/1.png"),
        "TMP/pets/test: expected the classes of …, found also newt."),
    "an image file that is torn": (with_image(png(4, 5)[:38]), UNREAD),
    "a file of 16 bits": (written(Image.fromarray(GREY.astype(np.uint16)), "PNG"),
        UNREAD.replace("…", "8 bits a channel expected, mode I;16 found")),
    "a file that only says it is huge": (with_image(png(10**5, 10**5)),
        UNREAD.replace("…", "Image size (10000000000 …")),
    "a file with an inflated text": (written(Image.new("RGB", (8, 8)), "PNG", pnginfo=INFLATED),
        UNREAD.replace("…", "…too large…")),
    # a Dataset made by hand
    "floats in a Dataset": (made(train_images=IMAGES / 255), "train_images: expected uint8 images …; found float64 …"),
    "other sizes to test on": (made(test_images=IMAGES[:, :3]), "test_images: expected images of … found (3, 4, 3)."),
    "a label beyond the names": (made(test_labels=LABELS + 1), "test_labels: expected values from 0 … found 1 to 2."),
    "a class name twice": (made(class_names=["c", "c"]), "class_names: expected distinct names, found …."),
    "a word for the class names": (made(class_names="ab"), "class_names: expected a list of names, found 'ab'."),
    "a number for the files": (made(train_files=3), "train_files: expected a list of names, found 3."),
    # a validation split, and drawn shapes
    "nothing to hold out": (held(images=2), "made up: expected a class of two training images or more, found none."),
    "a fraction of all": (held(1.0), "fraction: expected a number between 0 and 1, found 1.0."),
    "a negative seed to hold out": (held(seed=-1), "seed: expected a whole number of at least 0, …."),
    "no shapes to test on": (drawn(test=0), "test: expected a whole number of at least 10, found 0."),
    "shapes of seven pixels": (drawn(size=7), "size: expected a whole number of at least 8, found 7."),
}  # fmt: skip


@pytest.mark.parametrize("what", TABLE)
def test_it_is_refused_in_a_sentence(what, refused):
    refused(*TABLE[what])


# --- what must not leave its folder, hold anybody up or fill the memory ---


@pytest.mark.parametrize(("name", "target"), [
    ("train/cat/link.png", "secret.png"), ("train/bird", "outside"), ("train", "whole")])
def test_a_link_out_of_the_folder_is_not_followed(name, target, pets, tmp_path, refused):
    (pets / "train/cat/link.png").symlink_to(pets / "train/dog/01.png")  # which leads nowhere else: it is followed
    assert len(load(pets).train_labels) == 13
    (pets / "train/cat/link.png").unlink()
    for file in ("secret.png", "outside/00.png", "whole/cat/00.png", "whole/dog/00.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[0]).save(tmp_path / file)
    if name == "train":
        (pets / "train").rename(tmp_path / "away")
    (pets / name).symlink_to(tmp_path / target)
    refused(pets, f"TMP/pets/{name}…: expected a file in TMP/pets, found a link that leads out.")


def test_a_file_that_cannot_be_opened_is_named_and_a_pipe_is_not_waited_for(pets, monkeypatch, refused):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", Mock(side_effect=PermissionError(13, "Permission denied")))
        refused(pets, "TMP/pets/train/cat/00.png cannot be read: Permission denied.")
    os.mkfifo(pets / "train" / "cat" / "pipe.png")
    refused(pets, "TMP/pets/train/cat/pipe.png: expected a file, found a pipe or a device.")


def test_an_archive_that_expands_beyond_measure_is_refused_and_can_be_written_anew(tmp_path, monkeypatch, refused):
    arrays = {"x_train": np.zeros((4, 200, 200, 3), np.uint8), "y_train": LABELS[:4]}
    np.savez_compressed(tmp_path / "black.npz", **arrays)
    assert len(load(tmp_path / "black.npz").train_labels) == 2  # it is small
    monkeypatch.setattr(folders, "_HARMLESS", 10**5)  # for a GiB, which takes a while to write
    refused(tmp_path / "black.npz", "TMP/black.npz: expected an .npz file that expands to at most 100 times its size, "
            "found one of … as a decompression bomb does. If it is what you want, write it anew with np.savez, …")
    np.savez(tmp_path / "black.npz", **arrays)  # as the message says
    assert len(load(tmp_path / "black.npz").train_labels) == 2


def test_another_compression_is_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "other.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train_images.npy", b"anything")
    refused(tmp_path / "other.npz", "TMP/other.npz: expected members that are stored or deflated, as np.savez and "
            "np.savez_compressed write them, found another compression. Write the file anew with np.savez.")
