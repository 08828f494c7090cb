"""Specs, their keys, records and the store: what is refused, what survives, and what is never written twice."""

import dataclasses
import json
import multiprocessing
import re
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsel.errors import InputError
from embsel.lab import records
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store, describe, find, key

AUTOENCODER = Autoencoder("0123456789ab", 300, 64)
RUN = Run("0123456789ab", "top_activations", 200, 64, 0.05, keep=36, embedding=AUTOENCODER)
BASELINE = Run("0123456789ab", ALL, 200, 64, 0.05)


def a_record(spec=BASELINE, profile="tiny", **changes):
    metrics = {"loss": 0.02} if isinstance(spec, Autoencoder) else {"test_loss": 1.25, "test_accuracy": 0.5}
    ledger = [{"stage": "training", "seconds": 2.5, "samples": 12_800}]
    where = {"profile": profile, "dataset": "shapes", "hardware": "a processor", "backend": "tensorflow"}
    return dataclasses.replace(Record(spec, metrics, ledger, where, {"step": [100, 200]}), **changes)


def seeds(numbers):
    return [a_record(dataclasses.replace(BASELINE, seed=seed)) for seed in numbers]


def read(folder):
    """The records of a folder, by key, and what was warned about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = Store(folder).records()
    return found, [str(warning.message) for warning in caught]


# --- specs: what is refused at the door ---


def test_a_run_that_cannot_be_is_refused():
    for changes, message in [
        ({"selector": "top_activation"}, r"no selector named 'top_activation'; did you mean 'top_activations'"),
        ({"selector": "zzz"}, r"no selector named 'zzz'; known: .*random_subset, .*top_activations, "),
        ({"split": -1}, r"Run\.split must be of type int, from 0 to 100, not -1\."),
        ({"split": 101}, r"Run\.split must be of type int, from 0 to 100, not 101\."),
        ({"split": 50.0}, r"Run\.split must be of type int, from 0 to 100, not 50\.0\."),
        ({"rate": 0.0}, r"Run\.rate must be of type float, above 0 and finite, not 0\.0\."),
        ({"rate": float("nan")}, r"Run\.rate .* not nan\."),
        ({"rate": float("inf")}, r"Run\.rate .* not inf\."),
        ({"rate": "0.1"}, r"Run\.rate must be of type float, .* not '0\.1'\."),
        ({"steps": 0}, r"Run\.steps must be of type int, above 0 and finite, not 0\."),
        ({"steps": True}, r"Run\.steps must be of type int, above 0 and finite, not True\."),
        ({"batch": 0}, r"Run\.batch must be of type int, above 0 and finite, not 0\."),
        ({"width": 0}, r"Run\.width must be of type int, above 0 and finite, not 0\."),
        ({"curve_images": 0}, r"Run\.curve_images must be of type int, above 0 and finite, not 0\."),
        ({"every": 0}, r"Run\.every must be of type int \| None, above 0 and finite, not 0\."),
        ({"keep": None}, r"The selector 'top_activations' needs the number of images to keep: give Run\.keep\."),
        ({"keep": 0}, r"Run\.keep must be of type int \| None, above 0 and finite, not 0\."),
        ({"embedding": None}, r"The selector 'top_activations' needs embeddings: give the Run an Autoencoder\."),
        ({"embedding": {"steps": 3}}, r"Run\.embedding must be of type .*Spec"),
        ({"divide_by": "varianc"}, r"no way to standardise named 'varianc'; did you mean 'variance'"),
        ({"seed": -1}, r"Run\.seed must be of type int, at least 0, not -1\."),
        ({"seed": np.int64(1)}, r"Run\.seed must be of type int"),
        ({"momentum": 1.1}, r"Run\.momentum must be of type float, from 0 to 1, not 1\.1\."),
        ({"norm_momentum": -0.1}, r"Run\.norm_momentum must be of type float, from 0 to 1, not -0\.1\."),
        ({"averaging": 2}, r"Run\.averaging must be of type float \| None, from 0 to 1, not 2\.0\."),
        ({"averaging": "slow"}, r"Run\.averaging must be of type float \| None, .* not 'slow'\."),
        ({"budget": 0}, r"Run\.budget must be of type float \| None, above 0 and finite, not 0\.0\."),
        ({"feed": "encode"}, r"no feed named 'encode'; did you mean 'encoded'\?$"),
        ({"augment": 1}, r"Run\.augment must be of type bool, not 1\."),
        ({"dataset": 3}, r"Run\.dataset must be of type str, not 3\."),
    ]:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(RUN, **changes)


def test_an_autoencoder_that_cannot_be_is_refused():
    for changes, message in [
        ({"steps": -1}, r"Autoencoder\.steps must be of type int, at least 0, not -1\."),
        ({"batch": 1.5}, r"Autoencoder\.batch must be .* not 1\.5\."),
        ({"widths": 8}, r"Autoencoder\.widths must be of type tuple, not 8\."),
        ({"widths": (8, 8)}, r"Autoencoder\.widths must be three .* not \(8, 8\)\."),
        ({"widths": (8, 0, 8)}, r"Autoencoder\.widths must be three whole numbers of at least 1, not \(8, 0, 8\)\."),
        ({"final": 3}, r"Autoencoder\.final must be of type str \| None, not 3\."),
    ]:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(AUTOENCODER, **changes)


def test_both_ends_of_a_split_are_allowed_and_only_a_selector_that_uses_embeddings_needs_them():
    assert [dataclasses.replace(RUN, split=split).split for split in (0, 100)] == [0, 100]
    assert dataclasses.replace(RUN, selector="random_subset", embedding=None).embedding is None
    assert BASELINE.keep is None


# --- keys ---


def test_the_keys_of_recorded_runs_do_not_change():
    # If this fails, a field, a default or the way a key is made has changed, and nothing that is recorded will be
    # found again.
    assert key(AUTOENCODER) == "455fa437cda2"
    assert key(RUN) == "58e5691b12ef"
    assert key(BASELINE) == "e378f9a2c7fa"
    # With every default written out, so that a changed default is noticed too: it would give old runs new keys.
    autoencoder = Autoencoder("0123456789ab", 300, 64, rate=0.1, widths=(64, 32, 24), final="relu", seed=0)
    run = Run("0123456789ab", "top_activations", 200, 64, 0.05, keep=36, split=100, width=64, augment=True,
              divide_by="deviation", momentum=0.9, seed=0, validation=False, embedding=autoencoder, every=None,
              curve_images=2000, budget=None, averaging=None, norm_momentum=0.9, feed="device", average="tenth",
              marks=())  # fmt: skip
    assert key(autoencoder) == key(AUTOENCODER)
    assert key(run) == key(RUN)


def test_the_committed_records_are_found_under_their_keys():
    """A run that is recorded must not be asked for again. That each line has its own key: tests/test_report.py."""
    pinned = {"f948395f2299": "all", "a3fe47fa834e": "top_activations", "3d86b9a2dcb1": None}
    found = Store().records()
    assert {name: getattr(found[name].spec, "selector", None) for name in pinned} == pinned


OTHER = {
    Run: {
        "dataset": "ba9876543210", "selector": "random_subset", "steps": 201, "batch": 65, "rate": 0.06, "keep": 37,
        "split": 50, "width": 63, "augment": False, "divide_by": "variance", "momentum": 0.8, "seed": 1,
        "validation": True, "embedding": dataclasses.replace(AUTOENCODER, seed=1), "every": 10, "curve_images": 1999,
        "budget": 7.5, "averaging": 0.0, "norm_momentum": 0.99, "feed": "host",
        "plan": "grow", "schedule": "linear", "shrink": 0.5, "optimizer": "adamw", "network": "resnet", "proxy": True,
        "precision": "bfloat16", "average": "tutorial", "marks": (100,),
    },
    Autoencoder: {
        "dataset": "ba9876543210", "steps": 301, "batch": 65, "rate": 0.2, "widths": (64, 32, 25), "final": None,
        "seed": 1, "average": "tutorial",
    },
}  # fmt: skip


def test_every_field_changes_the_key():
    for spec in [RUN, AUTOENCODER]:
        other = OTHER[type(spec)]
        assert set(other) == {field.name for field in dataclasses.fields(spec)}
        keys = {key(dataclasses.replace(spec, **{name: value})) for name, value in other.items()}
        assert len(keys | {key(spec)}) == len(other) + 1


def test_a_field_of_the_embedding_changes_the_key_of_the_run():
    keys = {key(dataclasses.replace(RUN, embedding=dataclasses.replace(AUTOENCODER, **{name: value})))
            for name, value in OTHER[Autoencoder].items()}  # fmt: skip
    assert len(keys | {key(RUN)}) == len(OTHER[Autoencoder]) + 1


def test_equal_specs_have_equal_keys():
    as_floats = dataclasses.replace(BASELINE, rate=1.0, momentum=0.0, budget=7.0, averaging=0.0, norm_momentum=1.0)
    as_integers = dataclasses.replace(BASELINE, rate=1, momentum=0, budget=7, averaging=0, norm_momentum=1)
    assert as_floats == as_integers
    assert key(as_floats) == key(as_integers)
    assert key(dataclasses.replace(AUTOENCODER, widths=[64, 32, 24], rate=1)) == key(
        dataclasses.replace(AUTOENCODER, rate=1.0)
    )


def test_a_field_at_its_default_does_not_enter_the_key():
    """So a later version can add one, and what was recorded before keeps its key."""

    @dataclasses.dataclass(frozen=True)
    class Later(Run):
        warmup: int = 1

    Later.__name__ = "Run"
    fields = {item.name: getattr(RUN, item.name) for item in dataclasses.fields(RUN)}
    assert key(Later(**fields)) == key(RUN)
    assert key(Later(**fields, warmup=2)) != key(RUN)


def test_the_kind_of_a_spec_is_in_its_key():
    assert key(Autoencoder("d", 3, 4, 0.5)) != key(Run("d", ALL, 3, 4, 0.5))


# --- records ---

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
values = numbers | st.none() | st.booleans() | st.text(max_size=8) | st.lists(numbers, max_size=4)
names = st.text(max_size=8)
lines = st.fixed_dictionaries({"stage": names, "seconds": numbers, "samples": st.integers(0, 2**60)})


@settings(max_examples=60)
@given(
    spec=st.sampled_from([RUN, BASELINE, AUTOENCODER, dataclasses.replace(RUN, rate=0.1 + 0.2, every=7, budget=0.7)]),
    metrics=st.dictionaries(names, values, max_size=4),
    ledger=st.lists(lines, max_size=3),
    where=st.dictionaries(names, values, max_size=3),
    curve=st.dictionaries(names, st.lists(numbers, max_size=4), max_size=3),
)
def test_a_record_comes_back_from_its_line(spec, metrics, ledger, where, curve):
    record = Record(spec, metrics, ledger, where, curve)
    line = record.to_json()
    assert "\n" not in line
    assert line.isascii()
    again = Record.from_json(line)
    assert again == record
    assert type(again.spec) is type(spec)
    assert key(again.spec) == key(spec) == json.loads(line)["key"]


def test_a_number_that_is_not_finite_is_refused_by_name_and_leaves_the_file_as_it_was(tmp_path):
    for changes, name in [
        ({"metrics": {"test_loss": float("nan")}}, "test_loss"),
        ({"curve": {"loss": [1.0, float("inf")]}}, "loss"),
        ({"ledger": [{"stage": "embedding", "seconds": -float("inf"), "samples": 1}]}, "embedding"),
    ]:
        store = Store(tmp_path)
        store.append(a_record())
        before = (tmp_path / "tiny.jsonl").read_bytes()
        with pytest.raises(InputError, match=rf"NaN or infinity in: {name}\.$"):
            store.append(a_record(RUN, **changes))
        assert (tmp_path / "tiny.jsonl").read_bytes() == before


def altered(**changes):
    return json.dumps(json.loads(a_record(RUN).to_json()) | changes)


LATER = altered(version=records.VERSION + 1, spec={"of": "another form"})
BROKEN = {
    "empty": ("", "not a record that can be read"),
    "torn": (a_record().to_json()[:-1], "not a record that can be read"),
    "a number": ("17", "not a record that can be read"),
    "another object": ('{"name": "someone"}', r"not a record that can be read \(KeyError: 'version'\)"),
    "deep": ("[" * 100_000, r"not a record that can be read \(RecursionError"),
    "a later version": (LATER, rf"record version {records.VERSION + 1} is of a later embsel"),
    "a version in words": (altered(version="two"), "not a record that can be read"),
    "unknown kind": (altered(kind="Sweep"), r"not a record that can be read \(KeyError: 'Sweep'\)"),
    "unknown field": (altered(spec=dataclasses.asdict(RUN) | {"warmup": 3}), "warmup"),
    "unknown selector": (altered(spec=dataclasses.asdict(RUN) | {"selector": "x"}), "no selector named 'x'"),
    "bad embedding": (altered(spec=dataclasses.asdict(RUN) | {"embedding": "x"}), "not a record that can be read"),
    "no steps": (altered(spec={"dataset": "d", "selector": "all"}), "not a record that can be read"),
    "a member missing": (json.dumps({k: v for k, v in json.loads(LATER).items() if k != "ledger"} | {"version": 1}),
                         "not a record that can be read"),
}  # fmt: skip


def test_a_line_that_is_no_record_says_why():
    for name in BROKEN:
        line, message = BROKEN[name]
        with pytest.raises(InputError, match=message):
            Record.from_json(line)


def test_seconds_and_own_seconds():
    stages = {"autoencoder compilation": 1, "autoencoder": 2, "embedding": 4, "selection": 8,
              "training compilation": 16, "training": 32, "evaluation": 64}  # fmt: skip
    ledger = [{"stage": stage, "seconds": seconds, "samples": 0} for stage, seconds in stages.items()]
    run = a_record(RUN, ledger=ledger)
    assert run.seconds() == 127
    assert run.seconds("training", "selection") == 40
    assert run.seconds("lunch") == 0
    assert run.own_seconds() == 120  # its autoencoder has a record of its own
    own = a_record(AUTOENCODER, ledger=ledger[:3])
    assert own.seconds() == own.own_seconds() == 7
    assert run.own_seconds() + own.own_seconds() == run.seconds()
    assert a_record(ledger=[]).seconds() == a_record(ledger=[]).own_seconds() == 0


def test_describe_says_what_it_was_and_what_came_out():
    text = describe(a_record(dataclasses.replace(RUN, split=70, seed=4)))
    assert text == "top_activations 70/30, seed 4: accuracy 0.500, 2 s"
    assert describe(a_record(AUTOENCODER)) == "autoencoder, 300 steps, seed 0: loss 0.0200, 2 s"


def test_find_by_fields_and_profile():
    ours = [a_record(RUN), a_record(BASELINE), a_record(AUTOENCODER), a_record(RUN, profile="paper")]
    assert find(ours, selector="top_activations") == [ours[0], ours[3]]
    assert find(ours, selector="top_activations", profile="paper") == [ours[3]]
    assert find(ours, profile="tiny") == ours[:3]
    assert find(ours, dataset=RUN.dataset) == ours  # the fingerprint, as in the spec
    assert find(ours, seed=1) == []
    assert find(ours, keep=None) == [ours[1]]  # an autoencoder keeps nothing, not even None
    assert find(ours, embedding=AUTOENCODER, profile="tiny") == [ours[0]]
    assert find(iter(ours)) == ours


# --- the store ---


def test_append_then_read_in_order(tmp_path):
    store, ours = Store(tmp_path / "not" / "there" / "yet"), [*seeds([3, 1, 2]), a_record(RUN, profile="paper")]
    assert store.records() == {}
    assert not store.folder.exists()  # reading makes nothing
    assert [store.append(record) for record in ours] == [True] * 4
    found = store.records()
    assert {file.name for file in store.folder.glob("*.jsonl")} == {"tiny.jsonl", "paper.jsonl"}
    in_tiny = [record for record in found.values() if record.provenance["profile"] == "tiny"]
    assert in_tiny == ours[:3]
    assert found == {key(record.spec): record for record in ours}


def test_a_key_is_written_once(tmp_path):
    store, first = Store(tmp_path), a_record()
    store.append(first)
    before = (tmp_path / "tiny.jsonl").read_bytes()
    assert store.append(a_record(metrics={"test_loss": 9.0, "test_accuracy": 0.9})) is False
    assert store.append(a_record(profile="paper")) is False  # nor into another profile's file
    assert (tmp_path / "tiny.jsonl").read_bytes() == before
    assert not (tmp_path / "paper.jsonl").exists()
    assert list(store.records().values()) == [first]


@pytest.mark.filterwarnings("ignore:.*is skipped")  # by `append`, which reads as well
def test_a_torn_last_line_at_every_byte(tmp_path):
    first, torn, later = seeds(range(3))
    torn = dataclasses.replace(torn, provenance=torn.provenance | {"hardware": "zwölf Kerne ×2"})
    head, tail = (record.to_json().encode() + b"\n" for record in (first, torn))
    file = tmp_path / "tiny.jsonl"
    for cut in range(len(tail) + 1):
        file.write_bytes(head + tail[:cut])
        assert Store(tmp_path).append(later) is True
        found, said = read(tmp_path)
        assert file.read_bytes().startswith(head + tail[:cut])  # nothing is taken away
        if cut == 0:
            assert list(found.values()) == [first, later]
            assert said == []
        elif cut >= len(tail) - 1:  # all but the line's end is a whole record
            assert list(found.values()) == [first, torn, later]
            assert said == []
        else:
            assert list(found.values()) == [first, later]
            assert len(said) == 1
            assert said[0].startswith("tiny.jsonl, line 2 is skipped: it is not a record that can be read (")
            assert said[0].endswith(").")
        assert file.read_bytes().count(b"\n") == len(found) + len(said)


@pytest.mark.filterwarnings("ignore:.*is skipped")  # by `append`, which reads as well
def test_a_torn_record_can_be_recorded_again(tmp_path):
    first, second = seeds(range(2))
    (tmp_path / "tiny.jsonl").write_text(first.to_json() + "\n" + second.to_json()[:50])
    assert Store(tmp_path).append(second) is True
    found, said = read(tmp_path)
    assert list(found.values()) == [first, second]
    assert len(said) == 1


def test_garbage_is_skipped_and_said(tmp_path):
    ours = seeds(range(3))
    whole = [record.to_json().encode() for record in ours]
    content = [whole[0], b"\x00\xff\xfe\x80 not text", b"", b"   ", b"# a remark", whole[1] + b"\r", b"{}", whole[2]]
    (tmp_path / "tiny.jsonl").write_bytes(b"\n".join(content))
    (tmp_path / "notes.txt").write_text("not read at all")
    (tmp_path / "other.jsonl").write_bytes(b"")
    found, said = read(tmp_path)
    assert list(found.values()) == ours
    assert [re.match(r"tiny\.jsonl, line (\d) is skipped: .*\.$", text)[1] for text in said] == ["2", "5", "7"]


def test_the_first_of_two_lines_of_one_key_counts(tmp_path):
    first, second = a_record(), a_record(metrics={"test_loss": 0.0, "test_accuracy": 1.0})
    (tmp_path / "tiny.jsonl").write_text(first.to_json() + "\n" + second.to_json() + "\n")
    assert list(Store(tmp_path).records().values()) == [first]


@pytest.mark.filterwarnings("ignore:.*is skipped")  # by `append`, which reads as well
def test_what_a_later_version_wrote_is_kept_and_its_run_is_recorded_again(tmp_path):
    ours, later = a_record(RUN), altered(version=records.VERSION + 1)
    (tmp_path / "tiny.jsonl").write_text(later + "\n")
    assert Store(tmp_path).append(ours) is True
    found, (line,) = read(tmp_path)
    assert list(found.values()) == [ours]
    assert line.startswith("tiny.jsonl, line 1 is skipped: ")
    assert f"record version {records.VERSION + 1} is of a later embsel" in line
    assert (tmp_path / "tiny.jsonl").read_text() == later + "\n" + ours.to_json() + "\n"


def write_some(folder, numbers, ready, answers):
    ready.wait()
    answers.put([Store(folder).append(record) for record in seeds(numbers)])


def test_several_writers_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork would copy TensorFlow's threads' locks along
    shares = [range(30), range(10, 40), range(39, -1, -1)]
    ready, answers = context.Barrier(len(shares)), context.Queue()
    writers = [context.Process(target=write_some, args=(tmp_path, share, ready, answers)) for share in shares]
    for writer in writers:
        writer.start()
    written = [answers.get(timeout=120) for _ in writers]
    for writer in writers:
        writer.join(timeout=60)
        assert writer.exitcode == 0
    lines = (tmp_path / "tiny.jsonl").read_text().splitlines()
    assert Counter(Record.from_json(line).spec.seed for line in lines) == Counter(range(40))
    assert sum(map(sum, written)) == 40  # True for each line, and only for those
    assert set(read(tmp_path)[0]) == {key(record.spec) for record in seeds(range(40))}


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"^The folder '.*file.*' cannot be written to: .+\.$"):
            Store(folder).append(a_record())


def test_a_folder_that_may_not_be_written_is_said(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    for place, name in [(records, "FileLock"), (records.Path, "mkdir"), (records.os, "fsync")]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuse)
            message = rf"^The folder '{tmp_path}' cannot be written to: Permission denied\.$"
            with pytest.raises(InputError, match=message):
                Store(tmp_path).append(a_record())
