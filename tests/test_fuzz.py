"""Whatever bytes come: a good Record that round-trips, or an InputError; never another exception.

Files of arrays: tests/sources/test_archives.py.
"""

import dataclasses
import json
import os
import tempfile
import warnings
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from embsel.errors import InputError
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store

FUZZ = int(os.environ.get("EMBSEL_FUZZ", "1"))  # times as many examples
LINE = Record(Run("d", ALL, 3, 4, 0.1), {"a": 0.5}, [{"stage": "b", "seconds": 1.0, "samples": 2}], {}).to_json()
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner:
                        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))  # fmt: skip


@settings(max_examples=300 * FUZZ)
@given(st.dictionaries(st.sampled_from([*json.loads(LINE)]), anything), st.lists(st.sampled_from([*json.loads(LINE)])))
def test_a_damaged_record_is_read_or_refused(changes, dropped):
    content = {name: value for name, value in (json.loads(LINE) | changes).items() if name not in dropped}
    try:
        record = Record.from_json(json.dumps(content))
    except InputError:
        return
    assert Record.from_json(record.to_json()) == record


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
