"""Whatever bytes come: a good Dataset or Record that round-trips, or an InputError; never another exception."""

import contextlib
import dataclasses
import io
import json
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
from embsel.records import ALL, Autoencoder, Record, Run, Store
from embsel.sources.folders import ARRAYS

FUZZ = int(os.environ.get("EMBSEL_FUZZ", "1"))  # times as many examples
LINE = Record(Run("d", ALL, 3, 4, 0.1), {"a": 0.5}, [{"stage": "b", "seconds": 1.0, "samples": 2}], {}).to_json()
FILE = io.BytesIO()
np.savez(FILE, x_train=np.zeros((4, 2, 2), np.uint8), y_train=np.arange(4) % 2)
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner:
                        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))  # fmt: skip

NAMES = st.sampled_from(["x_train", "y_train", "x_test", "y_test", *ARRAYS, "class_names"]) | st.text(max_size=3)
ORDERS = st.sampled_from("CF")
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


def survives(path):
    """Load the file, write what was read into another, and assert that it is read again as the same dataset."""
    first = load(path)
    arrays = {name: getattr(first, name) for name in (*ARRAYS, "class_names")}
    np.savez(path.with_name("again.npz"), **arrays)
    second = load(path.with_name("again.npz"))
    assert (second.fingerprint, second.class_names) == (first.fingerprint, first.class_names)


@settings(max_examples=300 * FUZZ)
@given(GOOD, st.lists(st.tuples(NAMES, ARRAY), max_size=2), st.booleans(), ORDERS)
def test_an_archive_of_any_arrays_survives_or_is_refused(good, others, first, order):
    members = [(name, np.array(array, order=order)) for name, array in good.items()]
    with tempfile.TemporaryDirectory() as folder:
        archive(Path(folder, "set.npz"), others + members if first else members + others)
        with contextlib.suppress(InputError):
            survives(Path(folder, "set.npz"))


@pytest.mark.parametrize(("labels", "order"), [("<i2", "F"), (">i8", "C"), ("?", "F"), (">U3", "C"), ("S3", "F")])
def test_every_byte_order_and_layout_is_the_same_dataset(labels, order, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 2, 3), np.uint8)
    archive(tmp_path / "set.npz", [("x_train", np.array(images, order=order)),
                                   ("y_train", (np.arange(6) % 2).astype(labels))])  # fmt: skip
    survives(tmp_path / "set.npz")
    assert load(tmp_path / "set.npz").fingerprint == load((images, np.arange(6) % 2)).fingerprint


@pytest.mark.parametrize("shape", [(10**10, 2, 2), (2**62, 4), (10**30,)])
def test_a_header_that_claims_too_much_is_refused_without_memory(shape, tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as file:
        file.writestr("x_train.npy", header.getvalue() + bytes(16))
        file.writestr("y_train.npy", FILE.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"set\.npz cannot be read: "):
        load(tmp_path / "set.npz")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 2**24  # what is reserved alone does not count


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


@settings(max_examples=300 * FUZZ)
@given(st.dictionaries(st.sampled_from([*json.loads(LINE)]), anything), st.lists(st.sampled_from([*json.loads(LINE)])))
def test_a_damaged_record_is_read_or_refused(changes, dropped):
    content = {name: value for name, value in (json.loads(LINE) | changes).items() if name not in dropped}
    try:
        record = Record.from_json(json.dumps(content))
    except InputError:
        return
    assert Record.from_json(record.to_json()) == record


@settings(max_examples=200 * FUZZ)
@given(st.text() | st.binary())
def test_any_text_is_a_record_or_refused(line):
    with contextlib.suppress(InputError):
        Record.from_json(line)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | FINITE | st.text(), lambda inner:
                      st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))  # fmt: skip
COUNTS = st.integers(1, 2**70)
SPECS = st.builds(Autoencoder, st.text(), COUNTS, COUNTS, widths=st.tuples(COUNTS, COUNTS, COUNTS)) | st.builds(
    Run, st.text(), st.just(ALL), COUNTS, COUNTS, st.floats(0, 1, exclude_min=True), seed=st.integers(0, 2**70))
LEDGER = st.lists(st.fixed_dictionaries({"stage": st.text(), "seconds": FINITE}), max_size=3)
OTHERS = st.dictionaries(st.text(), VALUES, max_size=3)


@settings(max_examples=300 * FUZZ)
@given(st.builds(Record, SPECS, OTHERS, LEDGER, OTHERS, st.dictionaries(st.text(), st.lists(FINITE))))
def test_every_record_survives_its_line(record):
    line = record.to_json()
    assert "\n" not in line
    assert Record.from_json(line) == record
    assert Record.from_json(line.encode()) == record


WHOLE = Record.from_json(LINE)
JUNK = [b"\xff\xfe{}", LINE.encode()[:-1] + b"\xff", LINE.replace('"d"', '"\udcff"').encode(errors="surrogateescape"),
        b"[" * 10**5, b'{"a": "' + b"x" * 10**6 + b'"}', b"9" * 10**5, b"\0", b"\r"]  # fmt: skip


@settings(max_examples=100 * FUZZ)
@given(st.lists(st.integers(0, 5) | st.sampled_from(JUNK) | st.binary(max_size=20)), st.sampled_from([b"\n", b"\r\n"]))
def test_a_store_gives_its_whole_records_whatever_lies_between(lines, end):
    wanted, content = {}, []
    for number, line in enumerate(lines):
        if isinstance(line, int):  # a seed, which may come twice: then the first record counts
            record = dataclasses.replace(WHOLE, spec=dataclasses.replace(WHOLE.spec, seed=line), metrics={"a": number})
            wanted.setdefault(line, record)
            line = record.to_json().encode()
        content.append(line)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Path(folder, "x.jsonl").write_bytes(end.join(content))
        assert list(Store(folder).records().values()) == list(wanted.values())
    assert all(" is skipped: it is not a record that can be read (" in str(each.message) for each in said)
    assert len(said) >= sum(line in JUNK[:-1] for line in lines)
