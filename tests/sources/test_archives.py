"""Files of arrays: whatever bytes come, a good dataset or a refusal, and neither code nor memory is at stake."""

import contextlib
import io
import os
import resource
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from embsel.data import load
from embsel.errors import InputError
from embsel.sources.memory import ARRAYS

FUZZ = int(os.environ.get("EMBSEL_FUZZ", "1"))  # times as many examples
FILE = io.BytesIO()
np.savez(FILE, x_train=np.zeros((4, 2, 2), np.uint8), y_train=np.arange(4) % 2)

NAMES = st.sampled_from(["x_train", "y_train", "x_test", "y_test", *ARRAYS, "class_names"]) | st.text(max_size=3)
SHAPES = of_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAY = of_numpy.arrays(of_numpy.scalar_dtypes(), SHAPES) | st.just(np.array([{}, None] * 2))
IMAGES = of_numpy.arrays(np.uint8, st.sampled_from([(4, 2, 2), (4, 2, 2, 1), (4, 2, 2, 3), (4, 2, 2, 4), (4, 1, 3)]))
KINDS = of_numpy.integer_dtypes() | of_numpy.unsigned_integer_dtypes() | of_numpy.unicode_string_dtypes(max_len=2)
LABELS = of_numpy.arrays(KINDS | st.just(np.dtype(bool)), st.sampled_from([(4,), (4, 1)]))
SPLIT = {"train_images": IMAGES, "train_labels": LABELS}
GOOD = st.fixed_dictionaries(SPLIT) | st.fixed_dictionaries(SPLIT | {"x_test": IMAGES, "test_labels": LABELS})


def archive(path, members):
    """Write an .npz file whose members may have any name, also the same one twice."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, array in members:
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)


@settings(max_examples=300 * FUZZ)
@given(GOOD, st.lists(st.tuples(NAMES, ARRAY), max_size=2), st.booleans(), st.sampled_from("CF"))
def test_an_archive_of_any_arrays_is_refused_or_can_be_written_and_read_again(good, others, first, order):
    members = [(name, np.array(array, order=order)) for name, array in good.items()]
    with tempfile.TemporaryDirectory() as folder:
        archive(Path(folder, "set.npz"), others + members if first else members + others)
        with contextlib.suppress(InputError):
            read = load(Path(folder, "set.npz"))
            np.savez(Path(folder, "again.npz"), **{name: getattr(read, name) for name in (*ARRAYS, "class_names")})
            again = load(Path(folder, "again.npz"))
            assert (again.fingerprint, again.class_names) == (read.fingerprint, read.class_names)


@settings(max_examples=300 * FUZZ)
@given(flips=st.lists(st.tuples(st.integers(0, len(FILE.getvalue()) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_archive_is_read_or_refused(flips):
    content = bytearray(FILE.getvalue())
    for place, value in flips:
        content[place] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "set.npz")
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            assert len(load(path).train_labels) > 0


@pytest.mark.parametrize(("labels", "order"), [("<i2", "F"), (">i8", "C"), ("?", "F"), (">U3", "C"), ("S3", "F")])
def test_every_byte_order_and_layout_is_the_same_dataset(labels, order, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 2, 3), np.uint8)
    archive(tmp_path / "set.npz", [("x_train", np.array(images, order=order)),
                                   ("y_train", (np.arange(6) % 2).astype(labels))])  # fmt: skip
    assert load(tmp_path / "set.npz").fingerprint == load((images, np.arange(6) % 2)).fingerprint


def test_the_name_is_that_of_the_file_and_class_names_may_come_along(split, tmp_path):
    arrays = dict(zip(ARRAYS, (*split[0], *split[1]), strict=True))
    np.savez(tmp_path / "own.npz", **arrays, class_names=["cat", "dog"])
    np.savez(tmp_path / "...npz", **arrays)
    own, dots = load(str(tmp_path / "own.npz")), load(tmp_path / "...npz")
    assert (own.name, own.class_names, dots.name, dots.class_names) == ("own", ("cat", "dog"), "..", ("0", "1"))


@contextlib.contextmanager
def little_memory():
    """Assert that next to nothing is filled; and have no more than 4 GiB, so that a failure fills no machine."""
    size, usual = Path("/proc/self/statm"), resource.getrlimit(resource.RLIMIT_AS)
    if size.exists():  # on Linux alone
        used = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**32, usual[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 2**24  # what is reserved alone does not count


@pytest.mark.parametrize(("name", "lie"), [
    ("x_train", {"shape": (10**12, 8, 8, 3)}), ("x_train", {"shape": (2**62, 4)}),
    ("x_train", {"shape": (-4, 8, 8, 3)}), ("y_train", {"shape": (10**12,)}), ("y_train", {"shape": (10**12, 0)}),
    ("x_train", {"descr": "|V0", "shape": (10**12, 8, 8, 3)}), ("class_names", {"descr": "|S0", "shape": (10**12,)}),
])
def test_a_shape_that_is_not_true_is_refused_before_the_memory_is_full(name, lie, tmp_path, refused):
    arrays = {"x_train": np.zeros((4, 8, 8, 3), np.uint8), "y_train": np.arange(4) % 2, "class_names": ["a", "b"]}
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as file:
        for key, array in arrays.items():
            array, content = np.asarray(array), io.BytesIO()
            head = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(content, head | (lie if key == name else {}))
            file.writestr(f"{key}.npy", content.getvalue() + array.tobytes())
    with little_memory():
        empty = "descr" in lie or 0 in lie["shape"]
        refused(tmp_path / "lie.npz", f"TMP/lie.npz{': expected … with something in it' if empty else ' cannot be'}…")
