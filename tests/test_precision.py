"""A network that calculates in bfloat16: weights, loss and what is made of images stay float32."""

import os

import pytest

from embsel import data, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.lab import experiments, profiles, questions
from embsel.lab.records import Run, Store, key

DATASET = data.shapes(train=40, test=20, seed=1)


def run(**changes):
    return Run(DATASET.fingerprint, "all", 1, 8, 0.01, width=4, **changes)


# TensorFlow asks the processor whether oneDNN has bfloat16 for it, and one that is imitated answers for the real one.
@pytest.mark.skipif(
    os.environ.get("ONEDNN_MAX_CPU_ISA", "") in ("SSE41", "AVX", "AVX2"),
    reason="oneDNN is told to leave out what TensorFlow then takes to be there",
)
def test_only_the_layers_of_the_network_calculate_in_bfloat16_which_changes_the_digits_and_little_more(monkeypatch):
    seen, make = [], training.classifier_trainer
    monkeypatch.setattr(training, "classifier_trainer", lambda net, *a, **k: seen.append(net) or make(net, *a, **k))
    losses = []
    for name in ("float32", "bfloat16"):
        record = experiments.execute(run(precision=name), DATASET, Store("unused"), "test")
        losses.append(record.metrics["test_loss"])
        assert {layer.compute_dtype for layer in seen[-1].layers} == {name}
        assert {variable.dtype for variable in seen[-1].trainable_variables} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"
    assert 0 < abs(losses[0] - losses[1]) < 0.1 * losses[0]


def test_the_usual_precision_has_no_part_in_the_name_of_a_run_and_another_is_refused():
    assert key(run()) == key(run(precision="float32")) != key(run(precision="bfloat16"))
    with pytest.raises(InputError, match=r"There is no precision named 'float16'; did you mean .*'bfloat16'"):
        run(precision="float16")


def test_the_suite_takes_both_in_turns():
    specs = questions.suite("precision", profiles.profile("tiny"), DATASET)
    assert [spec.precision for spec in specs] == ["float32", "bfloat16"] * (len(specs) // 2) != []
