"""The records that are committed with the book: a check a property, each over all of them."""

import json
import re
import warnings
from datetime import datetime

import pytest

from embsel.lab import report
from embsel.lab.profiles import PROFILES
from embsel.lab.records import ALL, RESULTS, Autoencoder, Pixels, Record, Run, Store, key
from embsel.lab.report import caption

JPEG, JPEG_FINGERPRINT = "CIFAR-10 (JPEG copy)", "e241af4f9084"


@pytest.fixture(scope="module")
def committed():
    """The file, what the line says, and the record of every committed line."""
    lines = [(file, line) for file in RESULTS.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    assert lines, f"{RESULTS} holds no records"
    return [(file, json.loads(line), Record.from_json(line)) for file, line in lines]


def test_every_committed_line_is_a_record_and_none_is_there_twice(committed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a line that is skipped is said by a warning
        assert len(Store().records()) == len(committed)
    assert report.recorded()


def filled(spec, written):
    """Return a spec with the defaults of the fields that are younger than its record, also in one inside it."""
    if isinstance(spec.get("embedding"), dict):
        spec = spec | {"embedding": filled(spec["embedding"], written["embedding"])}
    return written | spec


def test_a_committed_record_is_under_its_own_key_and_survives_being_read_and_written(committed):
    for file, content, record in committed:
        assert content["key"] == key(record.spec)
        written = json.loads(record.to_json())
        assert written == content | {"spec": filled(content["spec"], written["spec"])}
        assert file.stem == record.provenance["profile"]


def test_a_committed_record_says_where_it_comes_from(committed):
    for _, content, record in committed:
        where, name = content["provenance"], content["key"]
        assert all(where.get(item) for item in ("dataset", "hardware", "backend", "profile")), name
        assert where["versions"].keys() >= {"python", "keras", "numpy", where["backend"]}, name
        assert all(re.match(r"\d+\.\d+", version) for version in where["versions"].values()), name
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", where["commit"]), name
        assert datetime.fromisoformat(where["when"]).tzinfo is not None, name
        assert where["profile"] in PROFILES, name
        # The copy of CIFAR-10 that went through JPEG is called what it is, also in a caption.
        assert (where["dataset"] == JPEG) == (content["spec"]["dataset"] == JPEG_FINGERPRINT), name
        assert where["dataset"] == JPEG or "jpeg" not in where["dataset"].lower(), name
        assert caption([record]).startswith(f"{where['dataset']}; "), name


def costs(record):
    """The stages that a record must be charged for, and the one that trains what it is about, if any."""

    def making(source):  # the stages of an embedding
        if isinstance(source, Run):
            return {"proxy training", "proxy probabilities"}
        return {"embedding"} | ({"autoencoder"} if getattr(source, "steps", 0) else set())

    spec = record.spec
    if isinstance(spec, Autoencoder):
        return making(spec), "autoencoder"
    needed = {"training", "evaluation"} | (making(spec.embedding) if spec.embedding else set())
    needed |= {"selection"} if spec.selector != ALL and spec.split else set()
    return needed | ({"loading"} if spec.feed != "device" else set()), "training"


def test_a_committed_record_has_its_costs(committed):
    for *_, record in committed:
        spec, name, stages = record.spec, key(record.spec), {line["stage"]: line for line in record.ledger}
        assert len(stages) == len(record.ledger), f"{name}: a stage is charged twice"
        assert all(line["seconds"] >= 0 and line["samples"] >= 0 for line in record.ledger), name
        if isinstance(spec, Pixels):
            assert list(stages) == ["embedding"], name
            assert stages["embedding"]["seconds"] > 0, name
            continue
        needed, trained = costs(record)
        assert needed <= stages.keys(), name
        assert all(stages[stage]["seconds"] > 0 and stages[stage]["samples"] > 0 for stage in needed), name
        if isinstance(spec, Run):
            assert ("loading" in stages) == (spec.feed != "device"), name
            assert bool(spec.embedding) == bool({"autoencoder", "embedding", "proxy training"} & stages.keys()), name
        assert {len(column) for column in record.curve.values()} <= {len(record.curve.get("step", []))}, name
        taken = record.curve["step"][-1] if spec.steps else 0
        assert stages[trained]["samples"] == taken * spec.batch, name
        if getattr(spec, "budget", None) is None:
            assert taken == spec.steps, name
        else:  # stopped by the clock, at most a compiled call of steps too late
            assert taken <= spec.steps, name
            assert spec.budget <= stages["training"]["seconds"] < 1.25 * spec.budget, name


def test_a_committed_record_counts_its_images(committed):
    for *_, record in committed:
        metrics, spec, name = record.metrics, record.spec, key(record.spec)
        if isinstance(spec, Pixels):
            assert metrics["elements"] == spec.components, name
        elif isinstance(spec, Autoencoder):
            assert 0 <= metrics["dead_elements"] < metrics["elements"], name
            assert metrics["loss"] is None if spec.steps == 0 else metrics["loss"] > 0, name
        else:
            right = metrics["test_accuracy"] * metrics["test_images"]
            assert 0 < metrics["test_accuracy"] < 1, name
            assert right == pytest.approx(round(right), abs=1e-3), name
            if spec.selector == ALL or not spec.split:
                assert "class_counts" not in metrics, name
                continue
            assert sum(metrics["class_counts"]) == metrics["kept"], name
            assert len(metrics["class_counts"]) == len(record.provenance["class_names"]), name
            assert metrics["distinct"] <= metrics["kept"] <= spec.keep, name
            assert (metrics["kept"] == spec.keep) == (spec.selector != "top_activations_drop"), name
            assert (metrics["distinct"] == metrics["kept"]) == (spec.selector != "top_activations_keep"), name


def test_a_run_is_charged_what_its_autoencoder_or_proxy_took():
    """As it was recorded before the run: a few proxies have two readings, and either may have come before."""
    found, first = Store().records(), Store(RESULTS / "superseded").records()
    for record in found.values():
        if getattr(record.spec, "embedding", None):
            name = key(record.spec.embedding)
            prefix = "proxy " if isinstance(record.spec.embedding, Run) else ""
            readings = [
                [line | {"stage": prefix + line["stage"]} for line in one.ledger if line["stage"] != "evaluation"]
                for one in (found[name], first.get(name, found[name]))
            ]
            shared = readings[0]
            charged = record.ledger[: len(shared)]
            assert charged in readings
            seconds = sum(line["seconds"] for line in charged)
            assert record.own_seconds() == pytest.approx(record.seconds() - seconds)
