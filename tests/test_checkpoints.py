"""Long runs that survive: a killed one ends as if it had not been, and runs that begin alike share their beginning.

Everything here is far too small to learn anything.
"""

import dataclasses

import numpy as np
import pytest

from embsel import data, training
from embsel.errors import InputError
from embsel.lab import experiments
from embsel.lab.records import ALL, Autoencoder, Run, Store, beginning, ends_of_beginning, key

DATASET = data.shapes(train=60, test=20)
SMALL = {"steps": 20, "batch": 8, "rate": 0.01, "width": 2, "every": 5, "marks": (3, 12), "average": "tutorial"}
ALONE = Run(DATASET.fingerprint, "random_subset", keep=20, seed=1, **SMALL)
BRANCH = dataclasses.replace(ALONE, split=50)
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


@pytest.mark.parametrize("spec", [ALONE, BRANCH, ENCODER], ids=["subset alone", "subset first", "autoencoder"])
def test_a_run_that_is_killed_twice_ends_with_the_same_record(tmp_path, killing, spec):
    whole = experiments.execute(spec, DATASET, Store(tmp_path / "whole"), "tiny")
    store = Store(tmp_path / "killed")
    for step in (7, 12):
        killing.add(step)
        with pytest.raises(Killed):
            experiments.execute(spec, DATASET, store, "tiny")
    last = experiments.execute(spec, DATASET, store, "tiny")
    assert content(last) == content(whole)
    assert last.provenance["resumed"] == 2
    assert "resumed" not in whole.provenance


def test_a_branch_shares_its_beginning_and_ends_like_a_run_that_did_not(tmp_path):
    apart, together = Store(tmp_path / "apart"), Store(tmp_path / "together")
    direct = experiments.execute(BRANCH, DATASET, apart, "tiny")
    assert experiments.record([ALONE, BRANCH], DATASET, together, "tiny", states=True, say=lambda _: None) == 0
    shared = together.records()[key(BRANCH)]
    assert content(shared) == content(direct)
    assert shared.metrics["shared_steps"] == 10
    assert shared.metrics["shared_with"] == key(ALONE)
    assert "shared_steps" not in direct.metrics


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
    store, shorter = Store(tmp_path / "together"), dataclasses.replace(ALONE, steps=12)
    direct = experiments.execute(ALONE, DATASET, Store(tmp_path / "apart"), "tiny")
    assert experiments.record([shorter, ALONE], DATASET, store, "tiny", states=True, say=lambda _: None) == 0
    longer = store.records()[key(ALONE)]
    assert content(longer) == content(direct)
    assert (longer.metrics["shared_steps"], longer.metrics["shared_with"]) == (12, key(shorter))
    assert store.records()[key(shorter)].curve["step"] == [3, 5, 10, 12]


def test_only_runs_that_train_alike_share_a_beginning():
    assert beginning(BRANCH) == beginning(ALONE) == beginning(dataclasses.replace(ALONE, steps=3, shrink=0.5))
    for change in ({"seed": 2}, {"rate": 0.02}, {"keep": 21}, {"augment": False}, {"averaging": 0.9}):
        assert beginning(dataclasses.replace(ALONE, **change)) != beginning(ALONE)
    for change in ({"schedule": "linear"}, {"plan": "grow"}, {"budget": 9.0}, {"average": "tenth"}):
        assert beginning(dataclasses.replace(ALONE, **change)) is None
    assert beginning(ENCODER) is None


def test_a_run_begins_only_where_it_is_evaluated_and_before_its_switch():
    assert ends_of_beginning(ALONE, range(40)) == [3, 5, 10, 12, 15, 20]
    assert ends_of_beginning(BRANCH, range(40)) == [3, 5, 10]
    everything = dataclasses.replace(ALONE, selector=ALL, keep=None, every=None)
    assert ends_of_beginning(everything, range(40)) == [3, 12, 20]


def test_an_autoencoder_whose_weights_are_kept_is_not_trained_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = experiments.embeddings_of(ENCODER, DATASET, store, "tiny")
    (store.folder / ".embeddings" / f"{key(ENCODER)}.npy").unlink()
    monkeypatch.setattr(training, "train", None)
    again = experiments.embeddings_of(ENCODER, DATASET, store, "tiny")
    np.testing.assert_array_equal(again, first)


def test_what_cannot_go_on_is_refused(tmp_path):
    network = training.keras.Sequential([training.keras.Input((32, 32, 3), dtype="uint8")])
    network.compile("sgd")
    checkpoints = training.Checkpoints(tmp_path / "state.npz")
    phases = [training.Phase(lambda rng: rng.permutation(4), 2)]
    with pytest.raises(InputError, match="given images"):
        training.train(network, np.zeros(4), phases, batch=2, seed=0, checkpoints=checkpoints)


def test_the_average_is_the_tutorials_and_starts_anew_with_each_phase():
    variable = training.keras.Variable(0.0)
    optimizer = training.AveragedSGD(1.0, use_ema=True)
    optimizer.build([variable])
    seen, expected = [], []
    average, begun = 0.0, 0
    for step in range(6):
        if step == 4:
            optimizer.restart()
            average, begun = float(variable.value), 4
        optimizer.apply([training.ops.convert_to_tensor(-1.0)])
        t = step - begun
        decay = 0.0 if step == 0 else min(0.9999, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * (step + 1)
        seen.append(float(optimizer._model_variables_moving_average[0].value))
        expected.append(average)
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_batch_norm_gets_the_statistics_of_the_weights_that_are_evaluated():
    keras = training.keras
    fed = keras.Input((3,))
    norm = keras.layers.BatchNormalization()
    seeds = keras.layers.Dropout(0.5, seed=3)
    model = keras.Model(fed, seeds(norm(fed)))
    rng = np.random.default_rng(0)
    batches = rng.normal(2.0, 3.0, (4, 50, 3)).astype("float32")
    before = [np.array(variable.value) for variable in model.non_trainable_variables]
    with training._as_before(model):
        training._statistics_taker(model)(batches)
        rows = batches.reshape(-1, 3)
        np.testing.assert_allclose(norm.moving_mean, rows.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, rows.var(axis=0), rtol=1e-4)
        assert norm.momentum == 0.99
    after = [np.array(variable.value) for variable in model.non_trainable_variables]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_evaluation_tells_of_the_raw_and_of_the_averaged_weights(tmp_path):
    record = experiments.execute(ALONE, DATASET, Store(tmp_path), "tiny")
    assert record.curve["step"] == [3, 5, 10, 12, 15, 20]
    for name in ("test_accuracy", "raw_test_accuracy", "stale_test_accuracy"):
        assert len(record.curve[name]) == 6
    assert record.curve["test_loss"] != record.curve["stale_test_loss"] != record.curve["raw_test_loss"]
    assert record.curve["test_loss"][-1] == pytest.approx(record.metrics["test_loss"], rel=1e-4)
