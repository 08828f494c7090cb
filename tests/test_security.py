"""Data from strangers: nothing in it is executed, leaves its folder, fills the memory or becomes part of a page.

Links out of a folder of images, misnamed and torn images: test_data. A whole report with hostile names: test_tryout.
"""

import ast
import contextlib
import dataclasses
import io
import json
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image, PngImagePlugin

from embsel import data, files, onepage
from embsel.errors import InputError
from embsel.records import ALL, Record, Run, Store

LOADERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
EXEMPT = {"tests/scale/test_chunks.py", "tests/scale/test_topk.py"}  # they pickle their own, as it travels with Dask


def faults(code):
    """What in `code` could execute what it reads, by line."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
            if names & LOADERS:
                yield node.lineno, f"import of {names & LOADERS}"
        elif isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {item.arg: item.value for item in node.keywords}
            if called in ("eval", "exec", "yaml.load", "yaml.unsafe_load") or called.endswith("load_model"):
                yield node.lineno, called
            pickles = ast.unparse(options["allow_pickle"]) if "allow_pickle" in options else "False"
            if called.endswith("load") and pickles != "False":
                yield node.lineno, "allow_pickle"


def test_nothing_that_is_read_is_executed(root):
    found = []
    for path in [*root.glob("embsel/**/*.py"), *root.glob("tests/**/*.py"), *root.glob("notebooks/*.py")]:
        name = path.relative_to(root).as_posix()
        for line, what in faults(path.read_text("utf-8")):
            own = name.startswith("tests/") and what == "exec"  # of the book's own text
            if name not in EXEMPT and not own:
                found.append(f"{name}:{line}: {what}")
    for path in root.glob("notebooks/*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                code = re.sub(r"^[%!].*$", "", "".join(cell["source"]), flags=re.M)
                found += [f"{path.name}: {what} in {code[:40]!r}" for _, what in faults(code)]
    assert found == []


DANGERS = ["import pickle", "from joblib import load", "eval(x)", "np.load(f, allow_pickle=True)", "yaml.load(f)",
           "keras.models.load_model(f)"]  # fmt: skip


def test_the_search_finds_what_it_looks_for():
    assert [code for code in DANGERS if not list(faults(code))] == []


# --- archives and folders ---


def arrays(size=8):
    images = np.zeros((4, size, size, 3), np.uint8)
    return {"train_images": images, "train_labels": [0, 1, 0, 1], "test_images": images, "test_labels": [0, 1, 0, 1]}


def test_a_member_with_a_path_is_written_nowhere(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    np.savez(folder / "data.npz", **arrays())
    with zipfile.ZipFile(folder / "data.npz", "a") as archive:
        archive.writestr("../../evil.npy", b"evil")
        archive.writestr("/evil.npy", b"evil")
    assert len(data.load(folder / "data.npz").train_labels) == 4
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["data.npz"]


@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_a_whole_split_must_not_lie_outside(pets, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "train").symlink_to(pets)
    (whole / "test").symlink_to(pets)
    with pytest.raises(InputError, match=r"train/cat/0\.png: expected a file in .*whole, found a link that leads out"):
        data.load(whole)


def test_a_pipe_is_not_waited_for(pets):
    os.mkfifo(pets / "cat" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: expected a file, found a pipe or a device"):
        data.load(pets)


def test_a_record_is_written_in_its_store_alone(tmp_path):
    for profile in ("../x", "/tmp/x", "a/b", "a\\b", "", "a\0b"):
        record = Record(Run("0123456789ab", ALL, 1, 1, 0.1), {}, [], {"profile": profile})
        with pytest.raises(InputError, match="A record's profile is the name of its file: expected no slash"):
            Store(tmp_path / "store").append(record)
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_roundabout_path_is_the_folder_that_it_leads_to(pets):
    direct, found = data.load(pets), data.load(f"{pets}/cat/../../pets/./")
    assert (found.name, found.fingerprint, found.train_files) == ("pets", direct.fingerprint, direct.train_files)


def test_a_trial_of_data_of_any_name_stays_in_its_folder(tmp_path, monkeypatch):
    from embsel import tryout

    monkeypatch.chdir(tmp_path)
    small = data.shapes(train=40, test=10)
    for name in ("..", ".", "", "/", "../../etc", "a/../..", "~", "-rf", "\0", "C:\\x"):
        folder = tryout.plan(dataclasses.replace(small, name=name)).folder
        assert folder.resolve().parent == tmp_path / "_try"
        assert not folder.name.startswith(("-", "."))


def test_an_archive_called_dot_dot_is_read(tmp_path):
    np.savez(tmp_path / "...npz", **arrays())
    assert data.load(tmp_path / "...npz").name == ".."


# --- files for other programs ---


FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", '=HYPERLINK("http://example.org", "x")', "a,b", "a\nb", "'quoted'"]


def test_the_table_of_the_subset_gives_back_every_name_as_it_was(tmp_path, monkeypatch):
    """Also one that a spreadsheet takes for a formula: another program must find the file by it."""
    import csv

    from embsel import tryout

    images, labels = np.zeros((18, 24, 24, 3), np.uint8), np.arange(18) % 9
    files = [f"{FORMULAS[label]}/{FORMULAS[label]}.png" for label in labels]
    dataset = data.Dataset("d", images, labels, images, labels, FORMULAS, train_files=files)
    monkeypatch.setattr(tryout, "page", lambda *_: "")
    *_, table = tryout.save(tryout.plan(dataset, out=tmp_path), np.arange(18), {})
    with open(table, newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [(row["row"], row["class"], row["file"]) for row in found] == [
        (str(row), FORMULAS[label], files[row]) for row, label in enumerate(labels)
    ]


# --- decompression bombs ---


@contextlib.contextmanager
def limited_memory():
    """Let this process have 4 GiB more, so that where the test fails it fills no machine; on Linux alone."""
    size = Path("/proc/self/statm")
    if not size.exists():
        yield
        return
    import resource

    usual, used = resource.getrlimit(resource.RLIMIT_AS), int(size.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**32, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)


LIES = {
    "10**12 images": {"train_images": {"shape": (10**12, 8, 8, 3)}},
    "10**7 images": {"train_images": {"shape": (10**7, 8, 8, 3)}},
    "10**12 labels": {"train_labels": {"shape": (10**12,)}},
    "10**12 empty images": {"train_images": {"shape": (10**12, 0, 8, 3)}, "train_labels": {"shape": (10**12, 0)}},
    "10**12 nothings": {"train_images": {"descr": "|V0", "shape": (10**12, 8, 8, 3)}},
    "10**12 names of no letter": {"class_names": {"descr": "|S0", "shape": (10**12,)}},
    "less than none": {"train_images": {"shape": (-4, 8, 8, 3)}},
}


@pytest.mark.parametrize("lies", LIES.values(), ids=LIES)
def test_a_shape_that_is_not_true_is_refused_before_the_memory_is_full(lies, tmp_path):
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        for name, array in (arrays() | {"class_names": ["a", "b"]}).items():
            array = np.asarray(array)
            head = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | lies.get(name, {})
            content = io.BytesIO()
            np.lib.format.write_array_header_1_0(content, head)
            archive.writestr(f"{name}.npy", content.getvalue() + array.tobytes())
    message = r"lie\.npz(: expected .* with something in it| cannot be read: )"
    with limited_memory(), pytest.raises(InputError, match=message):
        data.load(tmp_path / "lie.npz")


def test_a_picture_that_only_says_it_is_huge_is_refused(pets):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    image = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (pets / "cat" / "0.png").write_bytes(image)
    with pytest.raises(InputError, match=r"cat/0\.png cannot be read as an image: Image size \(10000000000 pixels\)"):
        data.load(pets)


@pytest.mark.parametrize("whole", [True, False])
def test_of_an_animation_only_the_first_frame_is_decoded(whole, pets):
    frames = [Image.new("RGB", (8, 8), (0, 0, value)) for value in (255, 128, 64)]
    frames[0].save(pets / "cat" / "0.gif", save_all=True, append_images=frames[1:])
    content = (pets / "cat" / "0.gif").read_bytes()
    second = content.index(b"\x21\xf9", content.index(b"\x2c"))
    if not whole:
        (pets / "cat" / "0.gif").write_bytes(content[:second] + b"\xff" * 99)
    dataset = data.load(pets)
    pixels = np.concatenate([dataset.train_images, dataset.test_images])
    assert sorted(pixels[:, 0, 0].tolist()) == [[0, 0, 0]] * 4 + [[0, 0, 255]]


def test_an_archive_that_expands_beyond_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_HARMLESS", 10**6)  # for a GiB, which takes a while to write
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**7,)})
        archive.writestr("train_images.npy", header.getvalue() + bytes(10**7))
    with pytest.raises(InputError, match=r"at most 100 times its size, found .*bomb does\. .* anew with np\.savez"):
        data.load(bomb)


def test_an_honest_archive_of_equal_images_can_be_loaded_uncompressed(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "black.npz", **arrays(200))
    assert len(data.load(tmp_path / "black.npz").train_labels) == 4  # it is small
    monkeypatch.setattr(files, "_HARMLESS", 10**5)
    with pytest.raises(InputError, match="decompression bomb"):
        data.load(tmp_path / "black.npz")
    np.savez(tmp_path / "black.npz", **arrays(200))
    assert len(data.load(tmp_path / "black.npz").train_labels) == 4


def test_another_compression_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train_images.npy", b"anything")
    with pytest.raises(InputError, match="stored or deflated"):
        data.load(tmp_path / "other.npz")


def test_a_picture_with_an_inflated_text_is_refused(pets):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "0" * 10**7, zip=True)
    Image.new("RGB", (8, 8)).save(pets / "cat" / "0.png", pnginfo=text)
    with pytest.raises(InputError, match=r"cat/0\.png cannot be read as an image: .*too large"):
        data.load(pets)


# --- pages ---


HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$body", "&lt;"]


def test_no_name_becomes_part_of_a_page():
    from matplotlib.figure import Figure

    for name in HOSTILE:
        parts = [onepage.text("p", name), onepage.table([[name], [name]]), onepage.image(Figure((1, 1)), name)]
        page = BeautifulSoup(onepage.page(name, parts), "html.parser")
        assert page.select("script, [onerror]") == []
        assert len(page.select("img")) == 1
        assert [page.title.text, page.p.text, page.th.text, page.td.text, page.img["alt"]] == [name] * 5
