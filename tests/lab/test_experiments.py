"""Runs carried out and recorded: what a record says, what is shared, and what survives being killed.

Everything here is far too small to learn anything: a few steps of a narrow network on 200 drawn shapes. Checkpoints,
and beginnings that runs share, are in tests/test_checkpoints.py.
"""

import dataclasses
import gc
import json
import random
import re
import signal
import subprocess
import sys
import time
import types
import weakref

import numpy as np
import pytest

from embsel import data, images, models, selection, training
from embsel.errors import InputError
from embsel.lab import experiments, records
from embsel.lab.records import ALL, Autoencoder, Pixels, Record, Run, Store, key

TRAIN, TEST, BATCH, CLASSES, KEEP = 200, 50, 16, 10, 40
DATASET = data.shapes(train=TRAIN, test=TEST)
EMBEDDING = Autoencoder(DATASET.fingerprint, 3, BATCH, 0.05, (4, 4, 2))
ELEMENTS = 3 * 3 * 2
SMALL = Run(DATASET.fingerprint, ALL, 4, BATCH, 0.01, width=4, curve_images=30)
TRAINING = ["training compilation", "training", "evaluation"]
MADE = ["autoencoder compilation", "autoencoder", "embedding"]


def a_run(selector=ALL, **changes):
    needs = selector != ALL and selection.SELECTORS[selector].needs == "embedding"
    fields = {"keep": None if selector == ALL else KEEP, "embedding": EMBEDDING if needs else None} | changes
    return dataclasses.replace(SMALL, selector=selector, **fields)


def stages(record):
    return [line["stage"] for line in record.ledger]


def samples(record):
    return {line["stage"]: line["samples"] for line in record.ledger}


def counted(rows, labels=DATASET.train_labels):
    return np.bincount(labels[rows], minlength=CLASSES).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that most tests share, so that the embeddings are made once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def embedded(store):
    """The record of the autoencoder, made because a run needed it, and the embeddings."""
    embeddings = experiments.embeddings_of(EMBEDDING, DATASET, store, "test")
    return store.records()[key(EMBEDDING)], embeddings


@pytest.fixture
def made(monkeypatch):
    """The specs that are really executed, in order."""
    executed = []
    for name in ("_execute_autoencoder", "_execute_run"):
        do = getattr(experiments, name)
        monkeypatch.setattr(experiments, name, lambda spec, *rest, do=do: executed.append(spec) or do(spec, *rest))
    return executed


@pytest.fixture
def untrained(monkeypatch):
    """Runs that take no time, or `seconds[seed]` on a clock that nothing else moves: every record is invented. Those of
    no number of seconds diverge.
    """
    executed, seconds, clock = [], {}, [0.0]

    def invent(spec, dataset, store, profile_name, progress=False, keep=()):
        executed.append(spec)
        if seconds.get(spec.seed, 0) is None:
            raise FloatingPointError("The loss became nan.")
        clock[0] += seconds.get(spec.seed, 0)
        return Record(spec, {"loss": 0.0, "test_accuracy": 0.5}, [], {"profile": profile_name})

    monkeypatch.setattr(experiments, "execute", invent)
    monkeypatch.setattr(experiments.time, "perf_counter", lambda: clock[0])
    return executed, seconds


# --- what a record says ---


@pytest.mark.parametrize("name", [ALL, "top_activations_drop", "top_activations_keep"])
def test_a_record_says_what_was_trained_on_what_came_out_and_what_it_cost(name, store, embedded):
    spec, (own, embeddings) = a_run(name, every=3), embedded
    record = experiments.execute(spec, DATASET, store, "test")
    assert record.spec == spec
    assert key(spec) not in store.records()  # that is left to the caller
    assert Record.from_json(record.to_json()) == record
    curve, metrics, wanted = record.curve, record.metrics, {}
    if name == ALL:
        assert metrics["kept"] == metrics["distinct"] == TRAIN
    else:
        assert record.ledger[:3] == own.ledger
        assert record.own_seconds() == pytest.approx(record.seconds() - own.seconds())
        rows = selection.SELECTORS[name](embeddings, KEEP, labels=DATASET.train_labels)
        assert metrics["class_counts"] == counted(rows)
        assert (metrics["kept"], metrics["distinct"]) == (len(rows), len(set(rows)))
        assert metrics["contrast"] == pytest.approx(np.mean([np.std(DATASET.train_images[row] / 255) for row in rows]))
        assert metrics["embedding"] == own.metrics["digest"]
        wanted = dict(zip(MADE, (0, 3 * BATCH, TRAIN), strict=True)) | {"selection": TRAIN}
    points = 2  # after step 3 and after step 4
    wanted |= dict(zip(TRAINING, (0, 4 * BATCH, TEST + points * 30), strict=True))
    assert list(samples(record).items()) == list(wanted.items())
    assert all(line["seconds"] >= 0 for line in record.ledger)
    assert set(curve) == {"step", "seconds", "phase", "loss", "test_loss", "test_accuracy"}
    assert (curve["step"], curve["phase"]) == ([3, 4], [0, 0])
    assert curve["seconds"][-1] == record.seconds("training")
    assert metrics["test_images"] == TEST
    assert np.mean(metrics["class_accuracy"]) == pytest.approx(metrics["test_accuracy"])  # the test set is balanced


def trained_on(monkeypatch):
    """The phases that each call of `train` gets."""
    calls, original = [], training.train

    def train(model, labels, phases, **options):
        calls.append(phases)
        return original(model, labels, phases, **options)

    monkeypatch.setattr(training, "train", train)
    return calls


def test_a_run_trains_on_the_subset_and_after_the_switch_on_everything(store, monkeypatch):
    calls = trained_on(monkeypatch)  # an evaluation at the end of a phase comes by itself
    record = experiments.execute(a_run("random_subset", split=75, every=4), DATASET, store, "test")
    ((first, second),) = calls
    assert (first.steps, second.steps) == (3, 1)
    assert (record.curve["phase"], record.curve["step"]) == ([0, 1], [3, 4])
    np.testing.assert_array_equal(first.indices, selection.random_subset(np.zeros((TRAIN, 1)), KEEP))
    np.testing.assert_array_equal(second.indices, np.arange(TRAIN))
    assert record.metrics["kept"] == KEEP


def test_a_split_of_nothing_is_the_baseline_and_the_curve_and_the_end_agree_on_the_same_images(store):
    """Twelve steps, so that the weights are averaged, and a curve of all the test images."""
    nothing, baseline = (
        experiments.execute(spec, DATASET, store, "test")
        for spec in (a_run(name, split=0, steps=12, curve_images=1000) for name in ("random_subset", ALL))
    )
    assert nothing.metrics == baseline.metrics
    assert stages(nothing) == TRAINING
    assert baseline.curve["test_accuracy"] == [baseline.metrics["test_accuracy"]]
    assert baseline.curve["test_loss"] == pytest.approx([baseline.metrics["test_loss"]], rel=1e-5)


def test_where_the_images_come_from_changes_the_ledger_alone(store, monkeypatch):
    spec = a_run("random_subset", split=50, every=1, validation=True)
    device = experiments.execute(spec, DATASET, store, "test")

    def refuse(dataset, split="train", original=experiments._on_device):
        assert split == "test", "the device holds the training images"
        return original(dataset, split)

    monkeypatch.setattr(experiments, "_on_device", refuse)
    for feed in ("host", "encoded"):
        fed = experiments.execute(dataclasses.replace(spec, feed=feed), DATASET, store, "test")
        assert fed.curve["loss"][0] == pytest.approx(device.curve["loss"][0], rel=1e-4)  # one step: the same images
        assert fed.metrics["class_counts"] == device.metrics["class_counts"]
        assert stages(fed) == [*stages(device)[:-1], "loading", "evaluation"]
        assert samples(fed) == samples(device) | {"loading": 4 * BATCH}
        assert fed.seconds("loading") > 0
        assert fed.curve["seconds"][-1] == fed.seconds("training")  # without the loading


def test_a_class_without_test_images_has_no_accuracy(store):
    some = DATASET.test_labels != 3
    dataset = dataclasses.replace(DATASET, test_images=DATASET.test_images[some], test_labels=DATASET.test_labels[some])
    record = experiments.execute(a_run(dataset=dataset.fingerprint), dataset, store, "test")
    accuracy = record.metrics["class_accuracy"]
    assert [number for number, value in enumerate(accuracy) if value is None] == [3]
    assert np.mean(accuracy[:3] + accuracy[4:]) == pytest.approx(record.metrics["test_accuracy"])


def test_validation_never_looks_at_the_test_set(tmp_path, monkeypatch):
    """Wrong labels on black images in the test set change nothing, and a tenth of each class is what is scored."""
    poison = dataclasses.replace(
        DATASET, test_images=np.zeros_like(DATASET.test_images), test_labels=(DATASET.test_labels + 1) % CLASSES
    )
    calls, results = trained_on(monkeypatch), []
    for number, dataset in enumerate((DATASET, poison)):
        embedding = Pixels(dataset.fingerprint, 5)
        spec = a_run("top_activations", validation=True, every=2, dataset=dataset.fingerprint, embedding=embedding)
        results.append(experiments.execute(spec, dataset, Store(tmp_path / str(number)), "test"))
    first, second = results
    assert first.metrics == second.metrics
    assert {**first.curve, "seconds": None} == {**second.curve, "seconds": None}
    assert first.metrics["test_images"] == TRAIN // 10
    assert samples(first)["evaluation"] == 20 + len(first.curve["step"]) * 20
    assert samples(first)["selection"] == TRAIN - TRAIN // 10
    embeddings = experiments.embeddings_of(Pixels(DATASET.fingerprint, 5), DATASET, Store(tmp_path / "0"), "test")
    stays = data.training_rows(DATASET)
    np.testing.assert_array_equal(calls[0][0].indices, selection.top_activations(embeddings[stays], KEEP))


def test_the_provenance_says_where_and_with_what_and_from_which_commit(monkeypatch, tmp_path):
    found = experiments.provenance(DATASET, "test")
    assert (found["dataset"], found["profile"], found["class_names"]) == ("shapes", "test", list(DATASET.class_names))
    assert {"python", "keras", "numpy", found["backend"]} == set(found["versions"])
    assert found["hardware"]
    for value in ("1", "0") if found["backend"] == "tensorflow" else ():
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
        assert experiments.provenance(DATASET, "test")["onednn"] == (value == "1")
    monkeypatch.setattr(experiments, "BACKEND", "jax")
    monkeypatch.setattr(experiments.os, "nice", lambda more: 19)
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = experiments.provenance(DATASET, "test")
    assert "onednn" not in found
    assert (found["nice"], set(found["versions"])) == (19, {"python", "keras", "numpy", "jax"})
    assert found["commit"] is None  # unpacked from an archive
    who = ("-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert re.fullmatch("[0-9a-f]{7,}", experiments.provenance(DATASET, "test")["commit"])
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without git
    assert experiments.provenance(DATASET, "test")["commit"] is None


# --- what the training loop is asked for ---


class Killed(BaseException):
    """What ends a process in a test."""


@pytest.fixture
def asked(monkeypatch):
    """What each call of `train` is asked for; it evaluates once and ends the run."""
    calls = []

    def train(model, labels, phases, evaluate=None, **options):
        calls.append(options)
        if evaluate:
            evaluate()
        raise Killed

    monkeypatch.setattr(training, "train", train)
    return calls


def test_every_choice_reaches_the_network_and_has_one_default(tmp_path, asked, monkeypatch):
    """`records` knows nothing of Keras and repeats the constants of the rooms that carry a run out."""
    built, looked = [], []

    def spy(original):
        return lambda *arguments, **options: built.append(options) or original(*arguments, **options)

    def classify(*arguments, **options):
        return lambda numbers: looked.append(numbers) or np.zeros((len(numbers), CLASSES))

    monkeypatch.setitem(models.NETWORKS, "paper", spy(models.classifier))
    monkeypatch.setattr(training, "classifier_trainer", spy(training.classifier_trainer))
    monkeypatch.setattr(training, "classify", classify)
    marked = a_run(marks=(2,), every=3, budget=9.0, divide_by="variance", augment=False)
    changed = dataclasses.replace(marked, averaging=0.0, norm_momentum=0.5, momentum=0.3)
    for spec in (changed, a_run(steps=12, seed=1)):
        with pytest.raises(Killed):
            experiments.execute(spec, DATASET, Store(tmp_path), "test")
    networks, trainers = built[::2], built[1::2]
    assert [options["norm_momentum"] for options in networks] == [0.5, models.NORM_MOMENTUM]
    for name, values in {"averaging": (0.0, training.averaging_for(12)), "momentum": (0.3, training.MOMENTUM),
                         "divide_by": ("variance", images.DIVIDE_BY), "augment": (False, True)}.items():  # fmt: skip
        assert tuple(options[name] for options in trainers) == values
    loops = [tuple(options[name] for name in ("marks", "every", "budget")) for options in asked]
    assert loops == [((2,), 3, 9.0), ((), None, None)]
    assert EMBEDDING.final == models.FINAL
    for numbers in looked:  # every curve is of the same test images
        np.testing.assert_array_equal(numbers, np.random.default_rng(0).permutation(TEST)[:30])
    assert len(looked) == 2


def test_a_progress_bar_is_shown_by_a_sweep_and_on_request_and_a_curve_has_about_twenty_points(tmp_path, asked):
    for spec, label in ((a_run(seed=3), "all, seed 3"), (a_run("top_activations"), "autoencoder, seed 0")):
        for work, options, said in ((experiments.execute, {}, None), (experiments.embeddings_of, {}, None),
                                    (experiments.execute, {"progress": True}, label)):  # fmt: skip
            with pytest.raises(Killed):
                work(spec, DATASET, Store(tmp_path), "test", **options)
            assert asked[-1]["progress"] == said
        with pytest.raises(Killed):
            experiments.record([spec], DATASET, Store(tmp_path), "test")
        assert asked[-1]["progress"] == label
    for steps, every in ((3, 1), (59, 2), (400, 20)):  # of an autoencoder
        with pytest.raises(Killed):
            experiments.execute(dataclasses.replace(EMBEDDING, steps=steps), DATASET, Store(tmp_path), "test")
        assert asked[-1]["every"] == every


# --- embeddings ---


def test_the_record_of_an_autoencoder_says_how_it_learned_and_what_it_made(embedded):
    record, embeddings = embedded
    assert list(samples(record).items()) == list(zip(MADE, (0, 3 * BATCH, TRAIN), strict=True))
    assert (embeddings.shape, embeddings.dtype) == ((TRAIN, ELEMENTS), np.float32)
    assert record.metrics["elements"] == ELEMENTS
    assert record.curve["step"] == [1, 2, 3]
    assert record.metrics["loss"] == record.curve["loss"][-1]


def test_an_encoder_without_training_costs_the_embedding_alone(tmp_path, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(TRAIN, ELEMENTS)).astype("float32")
    embeddings[:, [1, 4]] = [0, -3]
    monkeypatch.setattr(training, "embed", lambda encoder, pixels: embeddings[: len(pixels)])
    for seed in (1, 0):
        spec = dataclasses.replace(EMBEDDING, steps=0, seed=seed)
        record = experiments.execute(spec, DATASET, Store(tmp_path), "test")
        assert (tmp_path / "pictures").exists() == (seed == 0)  # of one autoencoder of a sweep
    assert (record.metrics["loss"], record.metrics["dead_elements"]) == (None, 2)  # they say the same of every image
    assert record.seconds() == record.seconds("embedding") == record.own_seconds() > 0


def test_pixels_are_their_principal_components_of_the_centre(store):
    grey = {name: getattr(DATASET, name)[..., :1] for name in ("train_images", "test_images")}
    dataset = dataclasses.replace(DATASET, **grey)
    spec = Pixels(dataset.fingerprint, 12)
    record = experiments.execute(spec, dataset, store, "test")
    embeddings = np.load(experiments._embeddings_file(store, spec))
    assert (embeddings.shape, embeddings.dtype) == ((TRAIN, 12), np.float32)
    pixels = dataset.train_images[:, 4:28, 4:28].reshape(TRAIN, -1).astype(float)
    lengths = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)[:12]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=0), lengths, rtol=1e-3)
    assert (stages(record), record.metrics) == (["embedding"], {"elements": 12})


def test_embeddings_are_made_once_and_shared(tmp_path, made):
    store = Store(tmp_path)
    encoder = dataclasses.replace(EMBEDDING, steps=0, seed=1)
    runs = [a_run(name, embedding=encoder, steps=1) for name in ("top_activations", "top_activations_drop")]
    shared = [experiments.execute(run, DATASET, store, "test") for run in runs]
    assert made == [runs[0], encoder, runs[1]]
    assert list(store.records()) == [key(encoder)]  # by itself, as the only one
    own = store.records()[key(encoder)].ledger
    assert [record.ledger[: len(own)] for record in shared] == [own, own]


def test_embeddings_without_their_file_are_made_again(store, embedded, made):
    record, before = embedded
    file = experiments._embeddings_file(store, EMBEDDING)
    file.unlink()
    np.testing.assert_array_equal(experiments.embeddings_of(EMBEDDING, DATASET, store, "test"), before)
    assert made == []  # its weights are kept: another training could end in another autoencoder
    file.unlink()
    (store.folder / "encoders" / f"{key(EMBEDDING)}.npz").unlink()
    assert experiments.embeddings_of(EMBEDDING, DATASET, store, "test").shape == before.shape
    assert made == [EMBEDDING]
    assert store.records()[key(EMBEDDING)] == record  # recorded once; the first one counts


@pytest.mark.parametrize("step", ["_keep_pictures", "provenance"])
def test_one_that_is_killed_after_the_embeddings_and_before_their_record_is_recorded(step, tmp_path, monkeypatch):
    def kill(*arguments, **options):
        raise Killed

    store, spec = Store(tmp_path), dataclasses.replace(EMBEDDING, steps=0)
    with monkeypatch.context() as patch:
        patch.setattr(experiments, step, kill)
        with pytest.raises(Killed):
            experiments.embeddings_of(spec, DATASET, store, "test")
    assert experiments._embeddings_file(store, spec).exists()
    assert store.records() == {}
    experiments.embeddings_of(spec, DATASET, store, "test")
    assert list(store.records()) == [key(spec)]  # a run adds its ledger to its own


def test_the_pictures_show_what_elements_respond_to_and_what_is_picked(tmp_path, monkeypatch):
    """Of images that are not square, and with a decoder whose pictures are its codes."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 28, 41, 1), dtype=np.uint8), np.arange(60) % 2
    few = data.Dataset("few", pixels[:50], labels[:50], pixels[50:], labels[50:], ("a", "b"))
    embeddings, codes = rng.uniform(0, 0.2, (50, 2)), rng.uniform(-0.2, 1.2, (4, 2))
    monkeypatch.setattr(training, "embed", lambda encoder, pixels: codes)
    blank = types.SimpleNamespace(predict=lambda codes, verbose: codes)
    experiments._keep_pictures(Store(tmp_path), EMBEDDING, few, None, blank, embeddings, elements=2, each=3)
    drawn = np.tile(embeddings.mean(axis=0), (3, 1))
    drawn[[1, 2], [0, 1]] += 4 * embeddings.std(axis=0)
    shown = few.test_images[np.random.default_rng(0).choice(10, 2, replace=False)]
    wanted = {
        "inputs": shown[:, 2:26, 8:32],
        "codes": codes.astype("float16"),
        "reproductions": np.clip(np.round(255 * codes), 0, 255),
        "elements": [0, 1],  # from the first to the last
        "strongest": few.train_images[np.argsort(-embeddings, axis=0)[:3].T],
        "picked": few.train_images[selection.top_activations(embeddings, 40)[np.linspace(0, 39, 18).astype(int)]],
        "random": few.train_images[selection.random_subset(embeddings, 18)],
        "drawn": np.round(255 * drawn),
    }
    with np.load(tmp_path / "pictures" / f"{key(EMBEDDING)}.npz") as found:
        assert {*found} == {*wanted}
        for name, pictures in wanted.items():
            np.testing.assert_array_equal(found[name], pictures)
        assert {found[name].dtype.name for name in {*wanted} - {"codes", "elements"}} == {"uint8"}


def test_the_device_holds_the_images_of_one_dataset():
    train, test = experiments._on_device(DATASET), experiments._on_device(DATASET, "test")
    assert experiments._on_device(DATASET) is train
    gone = [weakref.ref(train), weakref.ref(test)]
    del train, test
    other = data.shapes(train=20, test=10)
    experiments._on_device(other), experiments._on_device(other, "test")
    gc.collect()
    assert [images() for images in gone] == [None, None]


# --- sweeps ---


def test_what_does_not_fit_or_cannot_be_written_is_refused_before_any_long_work(tmp_path, made):
    experiments._check(a_run("random_subset", keep=TRAIN), DATASET)  # a subset may be all of the images
    (tmp_path / "file").write_text("")
    for bad, message in [
        ({"keep": TRAIN + 1}, rf"^Run\.keep is 201, but shapes has only {TRAIN} training images\.$"),
        ({"dataset": "another"}, rf"^The run wants the dataset another, .*{DATASET.fingerprint}\.$"),
        ({"embedding": dataclasses.replace(EMBEDDING, dataset="another")}, r"^The run wants the dataset another"),
    ]:
        spec = a_run("top_activations", **bad)
        with pytest.raises(InputError, match=message):
            experiments.execute(spec, DATASET, Store(tmp_path), "test")
        with pytest.raises(InputError, match=message):
            experiments.record([EMBEDDING, a_run(), spec], DATASET, Store(tmp_path), "test")
    for folder, profile, message in (("file", "test", "cannot be written to"), ("store", "a/b", "no slash in it")):
        with pytest.raises(InputError, match=message):
            experiments.record([EMBEDDING], DATASET, Store(tmp_path / folder), profile)
    assert made == []
    assert not (tmp_path / "store").exists()


def test_a_sweep_executes_what_is_missing_in_order(tmp_path, untrained):
    (executed, _), store, said = untrained, Store(tmp_path), []
    specs = [EMBEDDING, a_run(), a_run(), a_run("random_subset")]  # one of them twice
    assert experiments.record(specs[1:2], DATASET, store, "test", say=said.append) == 0
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 0
    assert executed == [specs[1], specs[0], specs[3]]
    assert list(store.records()) == [key(spec) for spec in executed]
    assert [line[:5] for line in said] == ["[1/1]", "[1/2]", "[2/2]"]
    assert said[2] == "[2/2] random_subset 100/0, seed 0: accuracy 0.500, 0 s; about 0 min to go"
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 0
    assert len(executed) == len(said) == 3


def test_a_sweep_says_how_long_the_rest_takes_and_stops_in_time_and_goes_on(tmp_path, untrained):
    (executed, seconds), store, said = untrained, Store(tmp_path), []
    seconds |= {seed: 6000 * (1 + seed) for seed in range(4)}
    specs = [a_run(seed=seed) for seed in (0, 1, 0, 2, 3)]  # they take 100, 200, 300 and 400 minutes

    def go(store, seconds=None):
        return experiments.record(specs, DATASET, store, "test", seconds=seconds, say=said.append)

    assert go(store, 29_999) == 2  # after 100 + 200 minutes another 200 would be too much
    assert said.pop() == "Stopped in time: 2 of 5 runs are still to be recorded."
    assert go(store, 30_000) == 1  # 300, and then 300 more do not fit
    assert go(store) == 0
    assert [spec.seed for spec in executed] == [0, 1, 2, 3]
    assert len(store.records()) == 4
    said.clear()
    assert go(Store(tmp_path / "all")) == 0
    assert [line.split("; ")[1] for line in said] == [f"about {left} min to go" for left in (300, 300, 200, 0)]


def test_a_run_that_diverges_is_said_and_passed_over_and_tried_again(tmp_path, untrained):
    untrained[1][1] = None
    store, said = Store(tmp_path), []
    specs = [dataclasses.replace(EMBEDDING, seed=1), a_run(), a_run(seed=1)]
    for expected in (["[1/3]", "[2/3]", "[3/3]"], ["[1/2]", "[2/2]"]):
        said.clear()
        assert experiments.record(specs, DATASET, store, "test", say=said.append) == 2
        assert list(store.records()) == [key(specs[1])]
        assert [line[:5] for line in said] == expected
        assert said[0].endswith(" autoencoder, seed 1 is not recorded: The loss became nan.")
        assert said[-1].endswith(" all, seed 1 is not recorded: The loss became nan.")


def sweep_of(seeds):
    specs = []
    for seed in range(seeds):
        embedding = dataclasses.replace(EMBEDDING, seed=seed)
        specs += [a_run(seed=seed), a_run("random_subset", seed=seed, every=2), embedding]
        specs.append(a_run("top_activations", seed=seed, embedding=embedding))
    return specs


SWEEP = """
import sys
sys.path.insert(0, "tests/lab")
from test_experiments import DATASET, Store, experiments, records, sweep_of
sys.stdin.readline()  # everything is imported ahead
print("begin", flush=True)
say = lambda line: print(line, flush=True)
experiments.record(sweep_of(int(sys.argv[2])), DATASET, Store(sys.argv[1]), "test", say=say)
"""


def results(folder):
    """Metrics and curve, without the seconds, of every record in a folder."""
    found = Store(folder).records().items()
    return {name: (one.metrics, {**one.curve, "seconds": None}, samples(one)) for name, one in found}


@pytest.mark.parametrize(("times", "seeds"), [(2, 1), pytest.param(10, 4, marks=pytest.mark.long)])
def test_a_sweep_that_is_killed_loses_nothing_and_changes_nothing(times, seeds, tmp_path):
    """Killed with `kill -9` at random moments and started again each time, it ends with the records of an undisturbed
    one; and so a run gives the same numbers in every process.
    """
    command = [sys.executable, "-c", SWEEP, str(tmp_path / "killed"), str(seeds)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(command, cwd=records.ROOT, text=True, **pipes) for _ in range(times)]
    kept, rng = [], random.Random(7)
    for number, process in enumerate(processes):
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "begin\n", process.stderr.read()
        if number % 2 == 0:  # every other start is left alone until its first record is there, so that the sweep moves
            began = time.perf_counter()
            assert process.stdout.readline().startswith("[1/")
            first = time.perf_counter() - began
        time.sleep(rng.uniform(0, first))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it was still at work
        kept.append(list(Store(tmp_path / "killed").records()))
    for name in ("killed", "whole"):
        assert experiments.record(sweep_of(seeds), DATASET, Store(tmp_path / name), "test", say=lambda _: None) == 0
    expected, found = results(tmp_path / "whole"), results(tmp_path / "killed")
    assert len(expected) == 4 * seeds
    lines = (tmp_path / "killed" / "test.jsonl").read_text().splitlines()
    assert list(found) == list(expected) == [json.loads(line)["key"] for line in lines]  # nothing torn, nothing twice
    assert found == expected
    assert all(list(found)[: len(so_far)] == so_far for so_far in kept)  # none was ever lost
    assert 0 < len(kept[0]) < len(expected)
    assert len({len(so_far) for so_far in kept}) >= times // 2
