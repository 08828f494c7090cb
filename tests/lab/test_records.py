"""Specs, their keys, records and the store: what is refused, what survives, and what is never written twice.

What only has to be read or refused, whatever it is, is in tests/test_fuzz.py.
"""

import dataclasses
import json
import multiprocessing
import re
import warnings
from collections import Counter

import numpy as np
import pytest

from embsel.errors import InputError
from embsel.lab import records
from embsel.lab.records import ALL, Autoencoder, Pixels, Record, Run, Store, Vectors, describe, find, key

AUTOENCODER = Autoencoder("0123456789ab", 300, 64)
RUN = Run("0123456789ab", "top_activations", 200, 64, 0.05, keep=36, embedding=AUTOENCODER)
BASELINE = Run("0123456789ab", ALL, 200, 64, 0.05)
PROXY = dataclasses.replace(BASELINE, steps=2, proxy=True)


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


WHOLE = r"must be of type int, above 0 and finite, not"


@pytest.mark.parametrize(("spec", "changes", "message"), [
    (RUN, {"steps": 0}, rf"Run\.steps {WHOLE} 0\."), (RUN, {"steps": True}, rf"Run\.steps {WHOLE} True\."),
    (RUN, {"split": 101}, r"Run\.split must be of type int, from 0 to 100, not 101\."),
    (RUN, {"rate": 0.0}, r"Run\.rate must be of type float, above 0 and finite, not 0\.0\."),
    (RUN, {"rate": float("inf")}, r"Run\.rate .* not inf\."), (RUN, {"seed": np.int64(1)}, r"Run\.seed must be of"),
    (RUN, {"seed": -1}, r"Run\.seed must be of type int, at least 0, not -1\."),
    (RUN, {"shrink": 1.5}, r"Run\.shrink must be of type float \| None, from 0 to 1, not 1\.5\."),
    (RUN, {"augment": 1}, r"Run\.augment must be of type bool, not 1\."),
    (RUN, {"marks": (3, 0)}, r"Run\.marks must be whole numbers of steps, at least 1, not \(3, 0\)\."),
    (RUN, {"selector": "top_activation"}, r"no selector named 'top_activation'; did you mean 'top_activations'"),
    (RUN, {"divide_by": "varianc"}, r"no way to standardise named 'varianc'; did you mean 'variance'"),
    (RUN, {"feed": "encode"}, r"no feed named 'encode'; did"), (RUN, {"plan": "shift"}, r"no plan named 'shift'; did"),
    (RUN, {"keep": None}, r"The selector 'top_activations' needs the number of images to keep: give Run\.keep\."),
    (RUN, {"embedding": None}, r"The selector 'top_activations' needs embeddings: give the Run an Autoencoder\."),
    (RUN, {"embedding": {"steps": 3}}, r"Run\.embedding must be of type .*Spec"),
    (RUN, {"selector": "el2n"}, r"The selector 'el2n' needs class probabilities: give the Run one with proxy=True\."),
    (RUN, {"selector": "el2n", "embedding": BASELINE}, r"Run\.embedding may be a Run that keeps its class prob"),
    (RUN, {"plan": "prune"}, r"The plan 'prune' chooses by class probabilities, and 'top_activations' does not\."),
    (RUN, {"plan": "prune", "selector": "el2n", "embedding": PROXY}, r"leave Run\.embedding None\."),
    (BASELINE, {"plan": "grow"}, "no subset to begin with"), (BASELINE, {"shrink": 0.5}, "no subset to begin with"),
    (AUTOENCODER, {"steps": -1}, r"Autoencoder\.steps must be of type int, at least 0, not -1\."),
    (AUTOENCODER, {"widths": (8, 0, 8)}, r"Autoencoder\.widths must be three whole numbers of at least 1"),
    (AUTOENCODER, {"average": "mean"}, r"no average named 'mean'; known: tenth, tutorial"),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_at_the_door(spec, changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(spec, **changes)


def test_both_ends_of_every_range_are_allowed():
    splits = [dataclasses.replace(RUN, split=split, momentum=split / 100) for split in (0, 50, 100)]
    assert [run.switch for run in splits] == [0, 100, 200]
    assert (BASELINE.keep, BASELINE.switch, dataclasses.replace(AUTOENCODER, steps=0).steps) == (None, 0, 0)
    assert dataclasses.replace(RUN, selector="random_subset", embedding=None).embedding is None


# --- keys ---


def test_the_keys_of_recorded_runs_do_not_change():
    # If this fails, a field, a default or the way a key is made has changed, and nothing recorded will be found again.
    # A field at its default is not in a key, so that a later version can add one.
    assert [*map(key, (AUTOENCODER, RUN, BASELINE))] == ["455fa437cda2", "58e5691b12ef", "e378f9a2c7fa"]
    # With every default written out, so that a changed default is noticed too: it would give old runs new keys.
    autoencoder = Autoencoder("0123456789ab", 300, 64, rate=0.1, widths=(64, 32, 24), final="relu", seed=0)
    run = Run("0123456789ab", "top_activations", 200, 64, 0.05, keep=36, split=100, width=64, augment=True,
              divide_by="deviation", momentum=0.9, seed=0, validation=False, embedding=autoencoder, every=None,
              curve_images=2000, budget=None, averaging=None, norm_momentum=0.9, feed="device", average="tenth",
              marks=())  # fmt: skip
    assert (key(autoencoder), key(run)) == (key(AUTOENCODER), key(RUN))
    pinned = {"f948395f2299": "all", "a3fe47fa834e": "top_activations", "3d86b9a2dcb1": None}  # in book/results
    found = Store().records()
    assert {name: getattr(found[name].spec, "selector", None) for name in pinned} == pinned


OTHER = {
    Run: {
        "dataset": "ba9876543210", "selector": "random_subset", "steps": 201, "batch": 65, "rate": 0.06, "keep": 37,
        "split": 50, "width": 63, "augment": False, "divide_by": "variance", "momentum": 0.8, "seed": 1,
        "validation": True, "embedding": Pixels("0123456789ab"), "every": 10, "curve_images": 1999, "budget": 7.5,
        "averaging": 0.0, "norm_momentum": 0.99, "feed": "host", "plan": "grow", "schedule": "linear", "shrink": 0.5,
        "optimizer": "adamw", "network": "resnet", "proxy": True, "precision": "bfloat16", "average": "tutorial",
        "marks": (100,)},
    Autoencoder: {"dataset": "ba9876543210", "steps": 301, "batch": 65, "rate": 0.2, "widths": (64, 32, 25),
                  "final": None, "seed": 1, "average": "tutorial"},
}  # fmt: skip


def test_every_field_changes_the_key_also_one_of_the_embedding():
    for spec in (RUN, AUTOENCODER):
        other = OTHER[type(spec)]
        assert set(other) == {field.name for field in dataclasses.fields(spec)}
        assert len({key(spec), *(key(dataclasses.replace(spec, **{n: v})) for n, v in other.items())}) == len(other) + 1
    inside = [dataclasses.replace(AUTOENCODER, **{name: value}) for name, value in OTHER[Autoencoder].items()]
    assert len({key(dataclasses.replace(RUN, embedding=one)) for one in (AUTOENCODER, *inside)}) == len(inside) + 1
    assert key(Autoencoder("d", 3, 4, 0.5)) != key(Run("d", ALL, 3, 4, 0.5))


def test_equal_specs_have_equal_keys():
    first, second = (dataclasses.replace(BASELINE, rate=one, momentum=0 * one, budget=7 * one) for one in (1.0, 1))
    assert (first, key(first)) == (second, key(second))
    as_list = dataclasses.replace(AUTOENCODER, widths=[64, 32, 24], rate=1)  # as JSON has it
    assert key(as_list) == key(dataclasses.replace(AUTOENCODER, rate=1.0))


# --- records ---


def test_specs_inside_specs_come_back_from_a_line():
    within = dataclasses.replace(RUN, proxy=True)
    run = dataclasses.replace(RUN, plan="sift", schedule="restart", shrink=0.5, optimizer="adamw", network="resnet")
    others = (AUTOENCODER, Pixels(RUN.dataset, seed=1), Vectors(RUN.dataset, "ab", 3))
    inside = [dataclasses.replace(run, embedding=spec) for spec in (within, PROXY, *others)]
    for spec in (*others, BASELINE, *inside):
        line = Record(spec, {}, [], {}).to_json()
        assert Record.from_json(line).spec == spec  # of the same type, too
        assert key(Record.from_json(line).spec) == key(spec) == json.loads(line)["key"]


def test_a_number_that_is_not_finite_is_refused_by_name_and_leaves_the_file_as_it_was(tmp_path):
    store = Store(tmp_path)
    store.append(a_record())
    before = (tmp_path / "tiny.jsonl").read_bytes()
    for changes, name in [
        ({"metrics": {"test_loss": float("nan")}}, "test_loss"),
        ({"curve": {"loss": [1.0, float("inf")]}}, "loss"),
        ({"ledger": [{"stage": "embedding", "seconds": -float("inf"), "samples": 1}]}, "embedding"),
    ]:
        with pytest.raises(InputError, match=rf"NaN or infinity in: {name}\.$"):
            store.append(a_record(RUN, **changes))
        assert (tmp_path / "tiny.jsonl").read_bytes() == before


def altered(**changes):
    return json.dumps(json.loads(a_record(RUN).to_json()) | changes)


LATER = records.VERSION + 1


@pytest.mark.parametrize(("line", "why"), [
    ("", "JSONDecodeError"),
    ("17", "TypeError"),
    ('{"name": "someone"}', "KeyError: 'version'"),
    ("[" * 100_000, "RecursionError"),
    (altered(version=LATER, spec={"of": "another form"}), f"record version {LATER} is of a later embsel"),
    (altered(kind="Sweep"), "KeyError: 'Sweep'"),
    (altered(spec=dataclasses.asdict(RUN) | {"warmup": 3}), "warmup"),
    (altered(spec=dataclasses.asdict(RUN) | {"selector": "x"}), "no selector named 'x'"),
    (altered(spec=dataclasses.asdict(RUN) | {"embedding": "x"}), "ValueError"),
    (altered(ledger=[{"stage": 3, "seconds": 1}]), "no stage with its seconds"),
    (altered(curve=[]), "of another type than expected: curve"),
    (altered(metrics={"a": 17}).replace("17", "1e999"), "1e999 is no finite number"),
])  # fmt: skip
def test_a_line_that_is_no_record_says_why(line, why):
    with pytest.raises(InputError, match=f"not a record that can be read .*{why}"):
        Record.from_json(line)


def test_seconds_are_those_of_a_run_with_or_without_its_embedding():
    stages = {"autoencoder compilation": 1, "autoencoder": 2, "embedding": 4, "selection": 8,
              "training compilation": 16, "training": 32, "evaluation": 64, "proxy training": 128}  # fmt: skip
    ledger = [{"stage": stage, "seconds": seconds, "samples": 0} for stage, seconds in stages.items()]
    run, own = a_record(RUN, ledger=ledger), a_record(AUTOENCODER, ledger=ledger[:3])
    assert (run.seconds(), run.seconds("training", "selection"), run.seconds("lunch")) == (255, 40, 0)
    assert (run.own_seconds(), own.seconds(), own.own_seconds()) == (120, 7, 7)  # an embedding has a record of its own
    assert (run.quiet, a_record(provenance={"nice": 19}).quiet) == (True, False)


def test_a_record_is_described_in_a_line():
    text = describe(a_record(dataclasses.replace(RUN, split=70, seed=4)))
    assert text == "top_activations 70/30, seed 4: accuracy 0.500, 2 s"
    assert describe(a_record(AUTOENCODER)) == "autoencoder, 300 steps, seed 0: loss 0.0200, 2 s"
    assert describe(a_record(dataclasses.replace(AUTOENCODER, steps=0))) == "autoencoder, seed 0: not trained, 2 s"
    assert describe(a_record(Pixels("d"))) == "pixels, seed 0: not trained, 2 s"


def test_records_are_found_by_fields_and_profile():
    ours = [a_record(RUN), a_record(BASELINE), a_record(AUTOENCODER), a_record(RUN, profile="paper")]
    assert find(ours, selector="top_activations") == [ours[0], ours[3]]
    assert find(ours, selector="top_activations", profile="paper") == [ours[3]]
    assert find(ours, dataset=RUN.dataset) == find(iter(ours)) == ours  # the fingerprint, as in the spec
    assert find(ours, keep=None) == [ours[1]]  # an autoencoder keeps nothing, not even None
    assert find(ours, embedding=AUTOENCODER, profile="tiny") == [ours[0]]
    assert find(ours, seed=1) == []


def test_a_table_has_a_row_for_each_record_with_its_spec_its_numbers_and_its_seconds():
    metrics = {"test_accuracy": 0.25, "class_counts": [1, 2], "kept": 3}
    rows = records.table([a_record(AUTOENCODER), a_record(RUN, "paper", metrics=metrics), *seeds([4, 5])])
    assert list(rows.index[:2]) == [key(AUTOENCODER), key(RUN)]
    assert list(rows["kind"]) == ["Autoencoder", "Run", "Run", "Run"]
    run = rows.loc[key(RUN)]
    assert run["embedding"] == key(AUTOENCODER)  # so that it is found in the same table
    assert (run["selector"], run["keep"], run["kept"], run["test_accuracy"]) == ("top_activations", 36, 3, 0.25)
    assert (run["seconds: training"], run["quiet"]) == (2.5, True)
    assert (run["dataset"], run["fingerprint"]) == ("shapes", RUN.dataset)  # its name, as a reader says it
    assert (run["profile"], run["hardware"]) == ("paper", "a processor")
    assert "class_counts" not in rows
    assert rows.query("kind == 'Run' and profile == 'tiny'").groupby("selector")["seed"].sum().to_dict() == {ALL: 9}
    assert records.table([]).empty


def test_curves_are_a_long_table_that_joins_the_other_one():
    run = a_record(RUN, curve={"step": [1, 2], "loss": [0.5, 0.25]})
    long = records.curves(iter([run, a_record(curve={}), *seeds([7])]))
    assert long["key"].tolist() == [key(RUN)] * 2 + [key(seeds([7])[0].spec)] * 2
    assert long["step"].tolist() == [1, 2, 100, 200]
    assert long["loss"].tolist()[:2] == [0.5, 0.25]
    assert long["loss"].isna().tolist() == [False, False, True, True]  # not measured
    assert long.join(records.table([run]), on="key")["selector"].tolist()[:2] == ["top_activations"] * 2
    assert list(records.curves([])) == ["key", "step"]


# --- the store ---


def test_what_is_appended_is_read_in_order_and_a_key_is_written_once(tmp_path):
    store, ours = Store(tmp_path / "not" / "there" / "yet"), [*seeds([3, 1, 2]), a_record(RUN, profile="paper")]
    assert store.records() == {}
    assert not store.folder.exists()  # reading makes nothing
    assert [store.append(record) for record in ours] == [True] * 4
    written = {file.name: file.read_bytes() for file in store.folder.glob("*.jsonl")}
    assert written.keys() == {"tiny.jsonl", "paper.jsonl"}
    again = dataclasses.replace(ours[0], metrics={"test_loss": 9.0, "test_accuracy": 0.9})
    elsewhere = dataclasses.replace(ours[0], provenance={"profile": "laptop"})
    assert [store.append(record) for record in (again, elsewhere)] == [False] * 2
    assert {file.name: file.read_bytes() for file in store.folder.glob("*.jsonl")} == written
    found = store.records()
    assert list(found.values()) == [ours[3], *ours[:3]]  # file by file
    assert list(found) == [key(record.spec) for record in found.values()]


@pytest.mark.filterwarnings("ignore:.*is skipped")  # by `append`, which reads as well
def test_a_line_torn_anywhere_is_said_and_left_and_its_run_recorded_again(tmp_path):
    first, torn, later = seeds(range(3))
    head, tail = (record.to_json().encode() + b"\n" for record in (first, torn))
    file = tmp_path / "tiny.jsonl"
    for cut in (*range(0, len(tail) - 2, 23), *range(len(tail) - 2, len(tail) + 1)):
        file.write_bytes(head + tail[:cut])
        assert Store(tmp_path).append(later) is True
        found, said = read(tmp_path)
        assert file.read_bytes().startswith(head + tail[:cut])  # nothing is taken away
        whole = cut >= len(tail) - 1  # all but the line's end is a whole record
        assert list(found.values()) == [first, torn, later] if whole else [first, later]
        assert len(said) == (cut > 0 and not whole)
        assert all(line.startswith("tiny.jsonl, line 2 is skipped: it is not a record that can") for line in said)
        assert file.read_bytes().count(b"\n") == len(found) + len(said)
        assert Store(tmp_path).append(torn) is not whole


@pytest.mark.filterwarnings("ignore:.*is skipped")  # by `append`, which reads as well
def test_garbage_and_what_a_later_version_wrote_are_said_and_left_and_of_one_key_the_first_line_counts(tmp_path):
    ours, second = seeds(range(3)), a_record(metrics={"test_loss": 0.0, "test_accuracy": 1.0})
    whole = [record.to_json().encode() for record in (*ours, second)]
    later = altered(version=LATER).encode()
    content = [whole[0], b"\x00\xff\xfe\x80 not text", b"   ", later, whole[1] + b"\r", *whole[2:]]
    (tmp_path / "tiny.jsonl").write_bytes(b"\n".join(content))
    (tmp_path / "notes.txt").write_text("not read at all")
    assert Store(tmp_path).append(a_record(RUN)) is True  # what a later version recorded, this one records again
    found, said = read(tmp_path)
    assert list(found.values()) == [*ours, a_record(RUN)]
    assert [re.match(r"tiny\.jsonl, line (\d) is skipped: .*\.$", text)[1] for text in said] == ["2", "4"]
    assert (tmp_path / "tiny.jsonl").read_bytes().startswith(b"\n".join(content))


def write_some(folder, numbers, ready, answers):
    ready.wait()
    answers.put([Store(folder).append(record) for record in seeds(numbers)])


def test_two_writers_at_once_write_every_record_once(tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork would copy TensorFlow's threads' locks along
    shares = [range(15), range(19, -1, -1)]
    ready, answers = context.Barrier(len(shares)), context.Queue()
    writers = [context.Process(target=write_some, args=(tmp_path, share, ready, answers)) for share in shares]
    for writer in writers:
        writer.start()
    written = [answers.get(timeout=120) for _ in writers]
    lines = (tmp_path / "tiny.jsonl").read_text().splitlines()
    assert Counter(Record.from_json(line).spec.seed for line in lines) == Counter(range(20))
    assert sum(map(sum, written)) == 20  # True for each line, and only for those
    assert set(read(tmp_path)[0]) == {key(record.spec) for record in seeds(range(20))}
