"""A network that calculates in bfloat16: weights, loss and what is made of images stay float32."""

import os
from dataclasses import replace

import pytest

from embsel import data, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.lab import experiments, suites
from embsel.lab.records import Run, Store, key

# TensorFlow asks the processor whether oneDNN has bfloat16 for it, and one that is imitated answers for the real one.
needs_bfloat16 = pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA", "") in ("SSE41", "AVX", "AVX2"),
    reason="oneDNN is told to leave out what TensorFlow then takes to be there",
)


@pytest.fixture(scope="module")
def dataset():
    return data.shapes(train=40, test=20, seed=1)


def run(dataset, **changes):
    return Run(dataset.fingerprint, "all", 3, 8, 0.01, width=4, **changes)


@needs_bfloat16
def test_only_the_layers_of_the_network_calculate_in_bfloat16(dataset, monkeypatch):
    seen = []
    make = training.classifier_trainer
    monkeypatch.setattr(training, "classifier_trainer", lambda net, *a, **k: seen.append(net) or make(net, *a, **k))
    experiments.execute(run(dataset, precision="bfloat16"), dataset, Store("unused"), "test")
    (network,) = seen
    assert {layer.compute_dtype for layer in network.layers} == {"bfloat16"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


@needs_bfloat16
def test_precision_changes_the_digits_and_little_more(dataset):
    usual, coarse = (
        experiments.execute(replace(run(dataset, precision=name), steps=1), dataset, Store("unused"), "test")
        for name in ("float32", "bfloat16")
    )
    assert 0 < abs(usual.metrics["test_loss"] - coarse.metrics["test_loss"]) < 0.1 * usual.metrics["test_loss"]


def test_the_usual_precision_has_no_part_in_the_name_of_a_run(dataset):
    assert key(run(dataset)) == key(run(dataset, precision="float32")) != key(run(dataset, precision="bfloat16"))


def test_another_precision_is_refused(dataset):
    with pytest.raises(InputError, match=r"There is no precision named 'float16'; did you mean .*'bfloat16'"):
        run(dataset, precision="float16")


def test_the_suite_takes_both_in_turns(dataset):
    specs = suites.suite("precision", suites.profile("tiny"), dataset)
    assert [spec.precision for spec in specs] == ["float32", "bfloat16"] * (len(specs) // 2)
    assert len(specs) >= 2
