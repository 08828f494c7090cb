"""Whatever bytes come: a good Dataset or Record that round-trips, or an InputError; never another exception."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embsel.data import load
from embsel.errors import InputError
from embsel.records import ALL, Record, Run

FUZZ = int(os.environ.get("EMBSEL_FUZZ", "1"))  # times as many examples
LINE = Record(Run("d", ALL, 3, 4, 0.1), {"a": 0.5}, [{"stage": "b", "seconds": 1.0, "samples": 2}], {}).to_json()
FILE = io.BytesIO()
np.savez(FILE, x_train=np.zeros((4, 2, 2), np.uint8), y_train=np.arange(4) % 2)
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner:
                        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))  # fmt: skip


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
