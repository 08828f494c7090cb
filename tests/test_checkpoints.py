"""Long runs that survive: a killed one ends as if it had not been, and runs that begin alike share their beginning.

Everything here is far too small to learn anything.
"""

import dataclasses
import functools

import numpy as np
import pytest

from embsel import data, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.lab import experiments
from embsel.lab.records import ALL, Autoencoder, Run, Store, beginning, ends_of_beginning, key

DATASET = data.shapes(train=60, test=20)
SMALL = {"steps": 20, "batch": 8, "rate": 0.01, "width": 2, "every": 5, "marks": (3, 12), "average": "tutorial"}
ALONE = Run(DATASET.fingerprint, "random_subset", keep=20, seed=1, **SMALL)
SHORTER, BRANCH = dataclasses.replace(ALONE, steps=12), dataclasses.replace(ALONE, split=50)
ENCODER = Autoencoder(DATASET.fingerprint, 12, 8, 0.05, (2, 2, 2), average="tutorial")


class Killed(BaseException):
    """What stands for a kill: nothing catches it."""


@pytest.fixture
def killing(monkeypatch):
    """Let every chunk end in a checkpoint, and make runs die right after the states of the steps that are asked for."""
    save, deadly = training._State.save, set()

    def save_and_die(state, checkpoints):
        save(state, dataclasses.replace(checkpoints, seconds=0.0))
        if state.step in deadly:
            deadly.remove(state.step)
            raise Killed

    monkeypatch.setattr(training._State, "save", save_and_die)
    monkeypatch.setattr(training, "CHUNK", 2)
    return deadly


def content(record):
    """What must be the same to the last digit: all but the seconds, and what tells of the interruption."""
    curve = {name: values for name, values in record.curve.items() if name != "seconds"}
    metrics = {name: value for name, value in record.metrics.items() if not name.startswith("shared")}
    return metrics, curve, [(line["stage"], line["samples"]) for line in record.ledger]


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    """Return the record of a run that nothing interrupts, made once."""
    return functools.cache(
        lambda spec: experiments.execute(spec, DATASET, Store(tmp_path_factory.mktemp("direct")), "tiny"))


@pytest.mark.parametrize("spec", [ALONE, BRANCH, ENCODER], ids=["subset alone", "subset first", "autoencoder"])
def test_a_run_that_is_killed_twice_ends_with_the_same_record(tmp_path, killing, spec):
    whole = experiments.execute(spec, DATASET, Store(tmp_path / "whole"), "tiny")
    for step in (7, 12):
        killing.add(step)
        with pytest.raises(Killed):
            experiments.execute(spec, DATASET, Store(tmp_path), "tiny")
    last = experiments.execute(spec, DATASET, Store(tmp_path), "tiny")
    assert content(last) == content(whole)
    assert last.provenance["resumed"] == 2
    assert "resumed" not in whole.provenance


@pytest.mark.parametrize(("first", "second", "steps"), [(ALONE, BRANCH, 10), (SHORTER, ALONE, 12)])
def test_a_run_shares_the_beginning_of_another_and_ends_like_one_that_did_not(tmp_path, first, second, steps, direct):
    store = Store(tmp_path)
    assert experiments.record([first, second], DATASET, store, "tiny", states=True, say=lambda _: None) == 0
    shared = store.records()[key(second)]
    assert content(shared) == content(direct(second))
    assert (shared.metrics["shared_steps"], shared.metrics["shared_with"]) == (steps, key(first))
    assert "shared_steps" not in direct(second).metrics


def test_only_runs_that_train_alike_share_a_beginning_and_only_where_they_are_evaluated_before_a_switch():
    assert beginning(BRANCH) == beginning(ALONE) == beginning(dataclasses.replace(ALONE, steps=3, shrink=0.5))
    for change in ({"seed": 2}, {"rate": 0.02}, {"keep": 21}, {"augment": False}, {"averaging": 0.9}):
        assert beginning(dataclasses.replace(ALONE, **change)) != beginning(ALONE)
    for change in ({"schedule": "linear"}, {"plan": "grow"}, {"budget": 9.0}, {"average": "tenth"}):
        assert beginning(dataclasses.replace(ALONE, **change)) is None
    assert beginning(ENCODER) is None
    assert ends_of_beginning(ALONE, range(40)) == [3, 5, 10, 12, 15, 20]
    assert ends_of_beginning(BRANCH, range(40)) == [3, 5, 10]
    everything = dataclasses.replace(ALONE, selector=ALL, keep=None, every=None)
    assert ends_of_beginning(everything, range(40)) == [3, 12, 20]


def test_an_autoencoder_whose_weights_are_kept_is_not_trained_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = experiments.embeddings_of(ENCODER, DATASET, store, "tiny")
    (store.folder / ".embeddings" / f"{key(ENCODER)}.npy").unlink()
    monkeypatch.setattr(training, "train", None)
    np.testing.assert_array_equal(experiments.embeddings_of(ENCODER, DATASET, store, "tiny"), first)


def test_what_cannot_go_on_is_refused(tmp_path):
    network = keras.Sequential([keras.Input((32, 32, 3), dtype="uint8")])
    network.compile("sgd")
    for rows, budget in ((lambda rng: rng.permutation(4), None), (np.arange(4), 1.0)):
        with pytest.raises(InputError, match="given images"):
            training.train(network, np.zeros(4), [training.Phase(rows, 2)], batch=2, seed=0, budget=budget,
                           checkpoints=training.Checkpoints(tmp_path / "state.npz"))


def test_the_average_is_the_tutorials_and_starts_anew_with_each_phase():
    variable, average, begun = keras.Variable(0.0), 0.0, 0
    optimizer = training._optimizer("sgd", training.TUTORIAL)(1.0)
    optimizer.build([variable])
    for step in range(6):
        if step == 4:
            optimizer.restart()
            average, begun = float(variable.value), 4
        optimizer.apply([keras.ops.convert_to_tensor(-1.0)])
        decay = min(0.9999, (1 + step - begun) / (10 + step - begun)) if step else 0.0
        average = decay * average + (1 - decay) * (step + 1)
        assert float(optimizer._model_variables_moving_average[0].value) == pytest.approx(average, rel=1e-6)


def test_batch_norm_gets_the_statistics_of_the_weights_that_are_evaluated():
    fed, norm = keras.Input((3,)), keras.layers.BatchNormalization()
    model = keras.Model(fed, keras.layers.Dropout(0.5, seed=3)(keras.Sequential([norm])(fed)))
    batches = np.random.default_rng(0).normal(2.0, 3.0, (4, 50, 3)).astype("float32")
    seeds = [keras.ops.convert_to_numpy(one).copy() for one in model.non_trainable_variables if "seed" in one.path]
    training._statistics_taker(model)(batches)
    rows = batches.reshape(-1, 3)
    np.testing.assert_allclose(norm.moving_mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, rows.var(axis=0), rtol=1e-4)
    assert norm.momentum == 0.99
    after = [keras.ops.convert_to_numpy(one) for one in model.non_trainable_variables if "seed" in one.path]
    assert len(seeds) == 1
    np.testing.assert_array_equal(after, seeds)  # training does not notice


def test_each_evaluation_tells_of_the_raw_and_of_the_averaged_weights(direct):
    record = direct(ALONE)
    assert record.curve["step"] == [3, 5, 10, 12, 15, 20]
    ways = [record.curve[f"{way}test_loss"] for way in ("", "raw_", "stale_")]
    assert all(len(way) == 6 for way in ways)
    assert ways[0] != ways[1] != ways[2] != ways[0]
    assert record.curve["test_loss"][-1] == pytest.approx(record.metrics["test_loss"], rel=1e-4)
