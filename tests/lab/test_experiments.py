"""Runs carried out and recorded: what a record says, what is shared, and what survives being killed.

Everything here is far too small to learn anything: a few steps of a narrow network on 200 drawn shapes.
"""

import dataclasses
import gc
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
import weakref

import numpy as np
import pytest

from embsel import data, images, models, selection, training
from embsel.errors import InputError
from embsel.lab import experiments, records, referee, suites
from embsel.lab.records import ALL, Autoencoder, Run, Store, ends_of_beginning, key

TRAIN, TEST, BATCH, CLASSES = 200, 50, 16, 10
DATASET = data.shapes(train=TRAIN, test=TEST)
EMBEDDING = Autoencoder(DATASET.fingerprint, 3, BATCH, 0.05, (4, 4, 2))
ELEMENTS = 3 * 3 * 2
SMALL = Run(DATASET.fingerprint, ALL, 4, BATCH, 0.01, width=4, curve_images=30)


def a_run(selector=ALL, **changes):
    needs = selector != ALL and selection.SELECTORS[selector].needs != "nothing"
    fields = {"keep": None if selector == ALL else 40, "embedding": EMBEDDING if needs else None} | changes
    return dataclasses.replace(SMALL, selector=selector, **fields)


def stages(record):
    return [line["stage"] for line in record.ledger]


def samples(record):
    return {line["stage"]: line["samples"] for line in record.ledger}


TRAINING = ["training compilation", "training", "evaluation"]
MADE = ["autoencoder compilation", "autoencoder", "embedding"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that most tests share, so that the embeddings are made once."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def embedded(store):
    """The record of the autoencoder, made because a run needed it."""
    experiments.embeddings_of(EMBEDDING, DATASET, store, "test")
    return store.records()[key(EMBEDDING)]


@pytest.fixture
def made(monkeypatch):
    """The specs that are really executed, in order."""
    executed = []
    for name in ("_execute_autoencoder", "_execute_run"):
        original = getattr(experiments, name)

        def counted(spec, *arguments, original=original):
            executed.append(spec)
            return original(spec, *arguments)

        monkeypatch.setattr(experiments, name, counted)
    return executed


@pytest.fixture
def untrained(monkeypatch):
    """Runs that take no time: every record but the spec is invented. Returns what was executed."""
    executed = []

    def invent(spec, dataset, store, profile_name, progress=False, keep=()):
        executed.append(spec)
        metrics = {"loss": 0.0} if isinstance(spec, Autoencoder) else {"test_accuracy": 0.5}
        return records.Record(spec, metrics, [], {"profile": profile_name})

    monkeypatch.setattr(experiments, "execute", invent)
    return executed


def fresh_process(code, *arguments, **options):
    """Start Python on `code` in the repository's root."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=records.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


# --- what a record says ---

FEW = (ALL, "random_subset", "top_activations_drop", "top_activations_keep")
OTHERS = [name for name, entry in selection.SELECTORS.items() if entry.needs != "proxy" and name not in FEW]


@pytest.mark.parametrize("names", [[name] for name in FEW] + [pytest.param(OTHERS, marks=pytest.mark.long)])
def test_every_selector_gives_a_whole_record(names, store, embedded):
    for name in names:
        check_record(name, store, embedded)


def check_record(name, store, embedded):
    spec = a_run(name, every=3)
    record = experiments.execute(spec, DATASET, store, "test")
    assert record.spec == spec
    assert key(spec) not in store.records()  # that is left to the caller
    assert records.Record.from_json(record.to_json()) == record

    selects = name != ALL
    assert stages(record) == (MADE if spec.embedding else []) + (["selection"] if selects else []) + TRAINING
    assert all(line["seconds"] >= 0 for line in record.ledger)
    if spec.embedding:
        assert record.ledger[:3] == embedded.ledger
        assert record.own_seconds() == pytest.approx(record.seconds() - embedded.seconds())
    points = 2  # after step 3 and after step 4
    wanted = {"training compilation": 0, "training": 4 * BATCH, "evaluation": TEST + points * 30}
    wanted |= {"selection": TRAIN} if selects else {}
    wanted |= {"autoencoder compilation": 0, "autoencoder": 3 * BATCH, "embedding": TRAIN} if spec.embedding else {}
    assert samples(record) == wanted

    curve, metrics = record.curve, record.metrics
    assert set(curve) == {"step", "seconds", "phase", "loss", "test_loss", "test_accuracy"}
    assert (curve["step"], curve["phase"]) == ([3, 4], [0, 0])
    assert curve["seconds"][-1] == record.seconds("training")
    assert metrics["test_images"] == TEST
    assert len(metrics["class_accuracy"]) == CLASSES
    assert np.mean(metrics["class_accuracy"]) == pytest.approx(metrics["test_accuracy"])  # the test set is balanced
    if selects:
        embeddings = np.zeros((TRAIN, 1))
        if spec.embedding:
            embeddings = experiments.embeddings_of(EMBEDDING, DATASET, store, "test")
        rows = selection.SELECTORS[name](embeddings, 40, labels=DATASET.train_labels)
        assert metrics["class_counts"] == np.bincount(DATASET.train_labels[rows], minlength=CLASSES).tolist()
        assert sum(metrics["class_counts"]) == metrics["kept"]
        assert metrics["distinct"] <= metrics["kept"] <= 40
        assert (metrics["kept"] == 40) == (name != "top_activations_drop")
        assert (metrics["distinct"] == metrics["kept"]) == (name != "top_activations_keep")
    else:
        assert metrics["kept"] == metrics["distinct"] == TRAIN


def trained_on(monkeypatch):
    """The phases that each call of `train` gets."""
    calls, original = [], training.train

    def train(model, labels, phases, **options):
        calls.append(phases)
        return original(model, labels, phases, **options)

    monkeypatch.setattr(training, "train", train)
    return calls


def test_the_split_gives_the_phases(store, monkeypatch):
    calls = trained_on(monkeypatch)  # an evaluation at the end of a phase comes by itself
    record = experiments.execute(a_run("random_subset", split=75, every=4), DATASET, store, "test")
    ((first, second),) = calls
    assert (first.steps, second.steps) == (3, 1)
    assert (record.curve["phase"], record.curve["step"]) == ([0, 1], [3, 4])
    np.testing.assert_array_equal(first.indices, selection.random_subset(np.zeros((TRAIN, 1)), 40))
    np.testing.assert_array_equal(second.indices, np.arange(TRAIN))
    assert record.metrics["kept"] == 40


def test_a_split_of_nothing_is_the_baseline_and_the_curve_and_the_end_agree_on_the_same_images(store):
    """Twelve steps, so that the weights are averaged, and a curve of all the test images."""
    nothing, baseline = (
        experiments.execute(spec, DATASET, store, "test")
        for spec in (a_run(name, split=0, steps=12, curve_images=1000) for name in ("random_subset", ALL))
    )
    assert nothing.metrics == baseline.metrics
    assert stages(nothing) == TRAINING
    assert nothing.metrics["kept"] == TRAIN
    assert baseline.curve["test_accuracy"] == [baseline.metrics["test_accuracy"]]
    assert baseline.curve["test_loss"] == pytest.approx([baseline.metrics["test_loss"]], rel=1e-5)


def test_a_budget_ends_a_run_in_whatever_phase(store):
    spec = a_run("random_subset", split=50, steps=10**6, budget=0.2)
    record = experiments.execute(spec, DATASET, store, "test")
    assert records.Record.from_json(record.to_json()) == record
    assert stages(record) == ["selection", *TRAINING]
    (steps,) = record.curve["step"]
    assert 0 < steps < spec.steps / 2
    assert record.curve["phase"] == [0]
    assert samples(record)["training"] == steps * BATCH
    assert record.curve["seconds"] == [record.seconds("training")]
    assert 0.2 <= record.seconds("training") < 2  # on a busy machine
    assert record.metrics["kept"] == 40


def test_where_the_images_come_from_changes_the_ledger_alone(store, monkeypatch):
    spec = a_run("random_subset", split=50, every=1, validation=True)
    device = experiments.execute(spec, DATASET, store, "test")

    def refuse(dataset, split="train", original=experiments._on_device):
        assert split == "test", "the device holds the training images"
        return original(dataset, split)

    monkeypatch.setattr(experiments, "_on_device", refuse)
    for feed in ("host", "encoded"):
        fed = experiments.execute(dataclasses.replace(spec, feed=feed), DATASET, store, "test")
        assert records.Record.from_json(fed.to_json()) == fed
        assert fed.curve["loss"][0] == pytest.approx(device.curve["loss"][0], rel=1e-4)  # one step: the same images
        assert fed.metrics["class_counts"] == device.metrics["class_counts"]
        assert stages(fed) == [*stages(device)[:-1], "loading", "evaluation"]
        assert samples(fed) == samples(device) | {"loading": 4 * BATCH}
        assert fed.seconds("loading") > 0
        assert fed.curve["seconds"][-1] == fed.seconds("training")  # without the loading


def test_each_choice_that_the_paper_leaves_open_has_one_default():
    """`records` knows nothing of Keras and repeats the constants of the rooms that carry a run out."""
    assert (SMALL.momentum, SMALL.norm_momentum) == (training.MOMENTUM, models.NORM_MOMENTUM)
    assert SMALL.divide_by == images.DIVIDE_BY
    assert EMBEDDING.final == models.FINAL
    assert SMALL.averaging is None
    assert training.averaging_for(1000) == 1 - training.AVERAGED / 1000
    light = images.RandomLight(0)
    assert (light.brightness, light.contrast) == (images.BRIGHTNESS, images.CONTRAST)
    assert images.Standardise().divide_by == images.DIVIDE_BY
    assert models.classifier(10, width=4).layers[2].momentum == models.NORM_MOMENTUM
    assert models.autoencoder(widths=(4, 4, 4))[1].layers[-1].activation.__name__ == models.FINAL


def test_a_class_without_test_images_has_no_accuracy(store):
    some = DATASET.test_labels != 3
    dataset = dataclasses.replace(DATASET, test_images=DATASET.test_images[some], test_labels=DATASET.test_labels[some])
    record = experiments.execute(a_run(dataset=dataset.fingerprint), dataset, store, "test")
    accuracy = record.metrics["class_accuracy"]
    assert [number for number, value in enumerate(accuracy) if value is None] == [3]
    assert np.mean(accuracy[:3] + accuracy[4:]) == pytest.approx(record.metrics["test_accuracy"])


def test_provenance(store, monkeypatch, tmp_path):
    found = experiments.provenance(DATASET, "test")
    assert found["dataset"] == "shapes"
    assert found["profile"] == "test"
    assert found["class_names"] == list(DATASET.class_names)
    assert {"python", "keras", "numpy", found["backend"]} == set(found["versions"])
    assert found["hardware"]
    json.dumps(found)
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without git
    assert experiments.provenance(DATASET, "test")["commit"] is None
    if found["backend"] == "tensorflow":
        assert found["onednn"] == (os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1")
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        assert not experiments.provenance(DATASET, "test")["onednn"]
    monkeypatch.setattr(experiments, "BACKEND", "jax")
    assert "onednn" not in experiments.provenance(DATASET, "test")
    assert set(experiments.provenance(DATASET, "test")["versions"]) == {"python", "keras", "numpy", "jax"}


def test_the_commit_is_that_of_the_books_own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert experiments.provenance(DATASET, "test")["commit"] is None  # unpacked from an archive
    who = ("-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert re.fullmatch("[0-9a-f]{7,}", experiments.provenance(DATASET, "test")["commit"])


def test_what_is_said_of_a_subset():
    rows = np.array([7, 3, 3])
    found = experiments._of_subset(rows, DATASET)
    contrast = np.mean([np.std(DATASET.train_images[row] / 255) for row in rows])
    assert found == {
        "kept": 3,
        "distinct": 2,
        "class_counts": np.bincount(DATASET.train_labels[rows], minlength=CLASSES).tolist(),
        "contrast": pytest.approx(contrast),
    }


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


def test_the_choices_reach_the_network(tmp_path, asked, monkeypatch):
    built = []

    def spy(original):
        def spied(*arguments, **options):
            built.append(options)
            return original(*arguments, **options)

        return spied

    monkeypatch.setitem(models.NETWORKS, "paper", spy(models.classifier))
    monkeypatch.setattr(training, "classifier_trainer", spy(training.classifier_trainer))
    changed = a_run(steps=12, averaging=0.0, norm_momentum=0.5, momentum=0.3, divide_by="variance", augment=False)
    for spec in (changed, a_run(steps=12)):
        with pytest.raises(Killed):
            experiments.execute(spec, DATASET, Store(tmp_path), "test")
    networks, trainers = built[::2], built[1::2]
    assert [options["norm_momentum"] for options in networks] == [0.5, models.NORM_MOMENTUM]
    assert [options["averaging"] for options in trainers] == [0.0, training.averaging_for(12)]
    assert [options["momentum"] for options in trainers] == [0.3, training.MOMENTUM]
    assert [options["divide_by"] for options in trainers] == ["variance", images.DIVIDE_BY]
    assert [options["augment"] for options in trainers] == [False, True]


@pytest.mark.parametrize("spec", [a_run(seed=3), a_run("top_activations")])
def test_a_progress_bar_is_shown_by_a_sweep_and_on_request(spec, tmp_path, asked):
    for work in (
        lambda: experiments.execute(spec, DATASET, Store(tmp_path), "test"),
        lambda: experiments.embeddings_of(spec, DATASET, Store(tmp_path), "test"),
        lambda: experiments.execute(spec, DATASET, Store(tmp_path), "test", progress=True),
        lambda: experiments.record([spec], DATASET, Store(tmp_path), "test"),
    ):
        with pytest.raises(Killed):
            work()
    label = "autoencoder, seed 0" if spec.embedding else "all, seed 3"
    assert [options["progress"] for options in asked] == [None, None, label, label]


def test_the_curve_of_an_autoencoder_has_about_twenty_points(tmp_path, asked):
    for steps in (3, 59, 400):
        with pytest.raises(Killed):
            experiments.execute(dataclasses.replace(EMBEDDING, steps=steps), DATASET, Store(tmp_path), "test")
    assert [options["every"] for options in asked] == [1, 2, 20]


def test_every_curve_is_of_the_same_test_images(tmp_path, asked, monkeypatch):
    looked = []

    def classify(*arguments, **options):
        return lambda numbers: looked.append(numbers) or np.zeros((len(numbers), CLASSES))

    monkeypatch.setattr(training, "classify", classify)
    for seed in (0, 1):
        with pytest.raises(Killed):
            experiments.execute(a_run(seed=seed), DATASET, Store(tmp_path), "test")
    for numbers in looked:
        np.testing.assert_array_equal(numbers, np.random.default_rng(0).permutation(TEST)[:30])
    assert len(looked) == 2


def test_what_is_mixed_in_at_the_switch_is_the_start_of_no_other_run(tmp_path, asked, monkeypatch):
    seeds, network = [], experiments._network
    monkeypatch.setattr(experiments, "_network", lambda *given: seeds.append(given[2]) or network(*given))
    with pytest.raises(Killed):
        experiments.execute(a_run("random_subset", shrink=0.5, seed=3), DATASET, Store(tmp_path), "test")
    assert seeds == [3, 1003]


# --- embeddings ---


def test_the_record_of_the_autoencoder(store, embedded):
    assert stages(embedded) == MADE
    assert samples(embedded) == {"autoencoder compilation": 0, "autoencoder": 3 * BATCH, "embedding": TRAIN}
    assert embedded.metrics["elements"] == ELEMENTS
    embeddings = experiments.embeddings_of(EMBEDDING, DATASET, store, "test")
    assert embeddings.shape == (TRAIN, ELEMENTS)
    assert embeddings.dtype == np.float32
    assert embedded.metrics["dead_elements"] == (np.ptp(embeddings, axis=0) == 0).sum()
    assert embedded.curve["step"] == [1, 2, 3]
    assert embedded.metrics["loss"] == embedded.curve["loss"][-1]


def test_embeddings_are_made_once_and_shared(tmp_path, made):
    store = Store(tmp_path)
    untrained = dataclasses.replace(EMBEDDING, steps=0, seed=1)
    runs = [a_run(name, embedding=untrained, steps=1) for name in ("top_activations", "top_activations_drop")]
    shared = [experiments.execute(run, DATASET, store, "test") for run in runs]
    assert made == [runs[0], untrained, runs[1]]
    assert list(store.records()) == [key(untrained)]  # by itself, as the only one
    own = store.records()[key(untrained)].ledger
    assert [record.ledger[: len(own)] for record in shared] == [own, own]


def test_embeddings_without_their_file_are_remade(store, embedded, made):
    before = experiments.embeddings_of(EMBEDDING, DATASET, store, "test")
    assert made == []
    file = store.folder / ".embeddings" / f"{key(EMBEDDING)}.npy"
    file.unlink()
    np.testing.assert_array_equal(experiments.embeddings_of(EMBEDDING, DATASET, store, "test"), before)
    assert made == []  # its weights are kept: another training could end in another autoencoder
    file.unlink()
    (store.folder / "encoders" / f"{key(EMBEDDING)}.npz").unlink()
    np.testing.assert_array_equal(experiments.embeddings_of(EMBEDDING, DATASET, store, "test"), before)
    assert made == [EMBEDDING]
    assert list(file.parent.iterdir()) == [file]
    assert store.records()[key(EMBEDDING)] == embedded  # recorded once; the first one counts


@pytest.mark.parametrize("step", ["_keep_pictures", "provenance"])
def test_killed_after_the_embeddings_and_before_their_record(step, tmp_path, monkeypatch):
    def kill(*arguments, **options):
        raise Killed

    store, spec = Store(tmp_path), dataclasses.replace(EMBEDDING, steps=0)
    with monkeypatch.context() as patch:
        patch.setattr(experiments, step, kill)
        with pytest.raises(Killed):
            experiments.embeddings_of(spec, DATASET, store, "test")
    assert (tmp_path / ".embeddings" / f"{key(spec)}.npy").exists()
    assert store.records() == {}
    experiments.embeddings_of(spec, DATASET, store, "test")
    assert list(store.records()) == [key(spec)]  # a run adds its ledger to its own


def test_pictures_of_few_images_that_are_not_square(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 28, 41, 1), dtype=np.uint8)
    labels = np.arange(24) % 2
    dataset = data.Dataset("few", pixels[:20], labels[:20], pixels[20:], labels[20:], ("a", "b"))
    spec = dataclasses.replace(EMBEDDING, dataset=dataset.fingerprint, steps=0, batch=4)
    store = Store(tmp_path)
    experiments.execute(spec, dataset, store, "test")
    with np.load(tmp_path / "pictures" / f"{key(spec)}.npz", allow_pickle=False) as file:
        assert file["inputs"].shape == file["reproductions"].shape == (4, 24, 24, 1)
        assert file["drawn"].shape == (7, 24, 24, 1)
        assert {name: array.dtype.name for name, array in file.items() if array.dtype != np.uint8} == {
            "codes": "float16",
            "elements": "int64",
        }
        assert file["random"].shape == (20, 28, 41, 1)
        assert {crop.tobytes() for crop in file["inputs"]} == {i[2:26, 8:32].tobytes() for i in dataset.test_images}


class Blank:
    """A decoder whose pictures are its codes."""

    def predict(self, codes, verbose):
        assert verbose == 0  # a sweep has lines of its own
        return codes


def test_what_the_pictures_are_of(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    embeddings, codes = rng.uniform(0, 0.2, (TRAIN, 9)), rng.uniform(0, 1, (4, 9))
    coded = []
    monkeypatch.setattr(training, "embed", lambda encoder, pixels: coded.append(pixels) or codes)
    experiments._keep_pictures(Store(tmp_path), EMBEDDING, DATASET, None, Blank(), embeddings, elements=4, each=3)
    with np.load(tmp_path / "pictures" / f"{key(EMBEDDING)}.npz") as file:
        found = dict(file)
    shown = DATASET.test_images[np.random.default_rng(0).choice(TEST, 4, replace=False)]
    np.testing.assert_array_equal(coded, [shown])
    np.testing.assert_array_equal(found["inputs"], shown[:, 4:28, 4:28])
    np.testing.assert_array_equal(found["codes"], codes.astype("float16"))
    np.testing.assert_array_equal(found["reproductions"], np.round(255 * codes))
    assert found["elements"].tolist() == [0, 2, 5, 8]  # from the first to the last
    ranked = np.argsort(-embeddings, axis=0)
    np.testing.assert_array_equal(found["strongest"], DATASET.train_images[ranked[:3, [0, 2, 5, 8]].T])
    filtered = selection.top_activations(embeddings, 20 * 9)
    rows = filtered[np.linspace(0, 179, 18).astype(int)]
    np.testing.assert_array_equal(found["picked"], DATASET.train_images[rows])
    np.testing.assert_array_equal(found["random"], DATASET.train_images[selection.random_subset(embeddings, 18)])
    drawn = np.tile(embeddings.mean(axis=0), (5, 1))
    for number, element in enumerate([0, 2, 5, 8], start=1):
        drawn[number, element] += 4 * embeddings[:, element].std()
    np.testing.assert_array_equal(found["drawn"], np.round(255 * drawn))


def test_values_outside_of_a_picture_are_cut_off():
    found = experiments._as_uint8(np.array([-0.5, 0.0, 100.4 / 255, 100.6 / 255, 1.0, 2.0], np.float32))
    assert found.tolist() == [0, 0, 100, 101, 255, 255]
    assert found.dtype == np.uint8


def test_one_autoencoder_of_a_sweep_has_pictures(tmp_path):
    for seed in (1, 0):
        spec = dataclasses.replace(EMBEDDING, steps=0, seed=seed)
        experiments.execute(spec, DATASET, Store(tmp_path), "test")
        assert (tmp_path / "pictures").exists() == (seed == 0)


def test_elements_that_say_the_same_of_every_image_are_counted(tmp_path, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(TRAIN, ELEMENTS)).astype("float32")
    embeddings[:, [1, 4]] = [0, -3]
    monkeypatch.setattr(training, "embed", lambda encoder, pixels: embeddings)
    record = experiments.execute(dataclasses.replace(EMBEDDING, steps=0, seed=1), DATASET, Store(tmp_path), "test")
    assert record.metrics["dead_elements"] == 2


def test_embeddings_are_charged_for_what_making_them_took(tmp_path, monkeypatch):
    clock, ledger = [100.0], []
    monkeypatch.setattr(experiments.time, "perf_counter", lambda: clock[0])

    def make():
        clock[0] += 7
        return np.zeros((5, 2))

    experiments._embed(Store(tmp_path), EMBEDDING, ledger, make)
    assert ledger == [{"stage": "embedding", "seconds": 7.0, "samples": 5}]


def test_the_device_holds_the_images_of_one_dataset():
    train, test = experiments._on_device(DATASET), experiments._on_device(DATASET, "test")
    assert experiments._on_device(DATASET) is train
    assert experiments._on_device(DATASET, "test") is test
    gone = [weakref.ref(train), weakref.ref(test)]
    del train, test
    other = data.shapes(train=20, test=10)
    experiments._on_device(other), experiments._on_device(other, "test")
    gc.collect()
    assert [images() for images in gone] == [None, None]


# --- what is refused ---


def test_given_embeddings_have_a_row_for_each_image():
    for rows in (TRAIN - 1, TRAIN + 1):
        with pytest.raises(InputError, match=rf"a row for each of the 200 training images of shapes, found {rows} "):
            experiments.vectors(np.ones((rows, 3)), DATASET)
    spec, _ = experiments.vectors(np.ones((TRAIN, 3)), DATASET)
    assert (spec.elements, spec.seed) == (3, 0)
    assert experiments.vectors(np.ones((TRAIN, 3)), DATASET, seed=2)[0].seed == 2
    image, label = np.zeros((1, 24, 24, 1), np.uint8), np.zeros(1, int)
    assert len(experiments.vectors([[1.0]], data.Dataset("one", image, label, image, label, ("a",)))[1]) == 1


def test_kept_embeddings_are_read_without_pickle(tmp_path):
    store = Store(tmp_path)
    spec = experiments.given(np.ones((TRAIN, 3)), DATASET, store, "test")
    np.save(experiments._embeddings_file(store, spec), np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        experiments.embeddings_of(spec, DATASET, store, "test")


def test_a_spec_that_does_not_fit_is_refused_before_any_long_work(tmp_path, made):
    experiments._check(a_run("random_subset", keep=TRAIN), DATASET)  # a subset may be all of the images
    for bad, message in [
        ({"keep": TRAIN + 1}, rf"^Run\.keep is 201, but shapes has only {TRAIN} training images\.$"),
        ({"dataset": "another"}, rf"^The run wants the dataset another, .*{DATASET.fingerprint}\.$"),
        ({"embedding": dataclasses.replace(EMBEDDING, dataset="another")}, r"^The run wants the dataset another"),
    ]:
        spec = a_run("top_activations", **bad)
        for attempt in (
            lambda spec=spec: experiments.execute(spec, DATASET, Store(tmp_path), "test"),
            lambda spec=spec: experiments.record([EMBEDDING, a_run(), spec], DATASET, Store(tmp_path), "test"),
        ):
            with pytest.raises(InputError, match=message):
                attempt()
    assert made == []


def test_where_nothing_can_be_written_that_is_said_before_any_long_work(tmp_path, made):
    (tmp_path / "file").write_text("")
    for folder, profile, message in [
        ("file", "test", "cannot be written to"),
        ("store", "a/b", "expected no slash in it, found 'a/b'"),
    ]:
        with pytest.raises(InputError, match=message):
            experiments.record([EMBEDDING], DATASET, Store(tmp_path / folder), profile)
    assert made == []
    assert not (tmp_path / "store").exists()


# --- validation ---


def test_validation_never_looks_at_the_test_set(tmp_path, monkeypatch):
    """Wrong labels on black images in the test set change nothing, and a tenth of each class is what is scored."""
    poison = dataclasses.replace(
        DATASET, test_images=np.zeros_like(DATASET.test_images), test_labels=(DATASET.test_labels + 1) % CLASSES
    )
    calls, results = trained_on(monkeypatch), []
    for number, dataset in enumerate((DATASET, poison)):
        embedding = dataclasses.replace(EMBEDDING, dataset=dataset.fingerprint)
        spec = a_run("top_activations", validation=True, every=2, dataset=dataset.fingerprint, embedding=embedding)
        results.append(experiments.execute(spec, dataset, Store(tmp_path / str(number)), "test"))
    first, second = results
    assert first.metrics == second.metrics
    assert {**first.curve, "seconds": None} == {**second.curve, "seconds": None}
    assert first.metrics["test_images"] == TRAIN // 10
    assert samples(first)["evaluation"] == 20 + len(first.curve["step"]) * 20
    assert samples(first)["selection"] == TRAIN - TRAIN // 10
    left = data.hold_out(DATASET)
    place = {image.tobytes(): row for row, image in enumerate(DATASET.train_images)}
    rows = [place[image.tobytes()] for image in left.train_images]
    embeddings = experiments.embeddings_of(EMBEDDING, DATASET, Store(tmp_path / "0"), "test")[rows]
    np.testing.assert_array_equal(calls[1][0].indices, selection.top_activations(embeddings, 40))


# --- sweeps ---


def test_record_executes_what_is_missing_in_order(tmp_path, untrained):
    store, said = Store(tmp_path), []
    specs = [EMBEDDING, a_run(), a_run(), a_run("random_subset")]  # one of them twice
    assert experiments.record(specs[1:2], DATASET, store, "test", say=said.append) == 0
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 0
    assert untrained == [specs[1], specs[0], specs[3]]
    assert list(store.records()) == [key(spec) for spec in untrained]
    assert [line[:5] for line in said] == ["[1/1]", "[1/2]", "[2/2]"]
    assert said[2] == "[2/2] random_subset 100/0, seed 0: accuracy 0.500, 0 s; about 0 min to go"
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 0
    assert len(untrained) == len(said) == 3


def slowly(monkeypatch, seconds):
    """Invented runs that take `seconds(seed)` on a clock that nothing else moves."""
    clock, invent = [0.0], experiments.execute

    def slow(spec, *arguments, **options):
        clock[0] += seconds(spec.seed)
        return invent(spec, *arguments, **options)

    monkeypatch.setattr(experiments.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(experiments, "execute", slow)


def test_record_stops_in_time_and_goes_on(tmp_path, untrained, monkeypatch):
    slowly(monkeypatch, lambda seed: 10 + 10 * seed)
    store, said = Store(tmp_path), []
    specs = [a_run(seed=seed) for seed in (0, 1, 0, 2, 3)]  # they take 10, 20, 30 and 40 seconds

    def go(seconds):
        return experiments.record(specs, DATASET, store, "test", seconds=seconds, say=said.append)

    assert go(49.9) == 2  # after 10 + 20 another 20 would be too much
    assert said[-1] == "Stopped in time: 2 of 5 runs are still to be recorded."
    assert len(untrained) == 2
    assert go(50) == 1  # 30, and then 30 more do not fit
    assert go(None) == 0
    assert [spec.seed for spec in untrained] == [0, 1, 2, 3]
    assert len(store.records()) == 4


def test_record_says_how_long_the_rest_takes_if_it_goes_on_as_before(tmp_path, untrained, monkeypatch):
    slowly(monkeypatch, lambda seed: 6000 * (1 + seed))
    said = []
    experiments.record([a_run(seed=seed) for seed in range(4)], DATASET, Store(tmp_path), "test", say=said.append)
    assert [line.split("; ")[1] for line in said] == [f"about {left} min to go" for left in (300, 300, 200, 0)]


def test_a_run_that_diverges_is_said_and_passed_over(tmp_path, untrained, monkeypatch):
    invent = experiments.execute

    def diverge(spec, *arguments, **options):
        if spec.seed == 1:
            raise FloatingPointError("The loss became nan.")
        return invent(spec, *arguments, **options)

    monkeypatch.setattr(experiments, "execute", diverge)
    store, said = Store(tmp_path), []
    specs = [dataclasses.replace(EMBEDDING, seed=1), a_run(), a_run(seed=1)]
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 2
    assert list(store.records()) == [key(specs[1])]
    assert said[0] == "[1/3] autoencoder, seed 1 is not recorded: The loss became nan."
    assert said[2] == "[3/3] all, seed 1 is not recorded: The loss became nan."
    assert experiments.record(specs, DATASET, store, "test", say=said.append) == 2
    assert [line[:5] for line in said[3:]] == ["[1/2]", "[2/2]"]  # they are tried again


def sweep_of(seeds):
    specs = []
    for seed in range(seeds):
        embedding = dataclasses.replace(EMBEDDING, seed=seed)
        specs += [a_run(seed=seed), a_run("random_subset", seed=seed, every=2), embedding]
        specs.append(a_run("top_activations", seed=seed, embedding=embedding))
    return specs


SWEEP = """
import sys
sys.path.insert(0, "tests")
from test_experiments import DATASET, Store, experiments, records, sweep_of
sys.stdin.readline()  # everything is imported ahead
print("begin", flush=True)
say = lambda line: print(line, flush=True)
experiments.record(sweep_of(int(sys.argv[2])), DATASET, Store(sys.argv[1]), "test", say=say)
"""


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def results(folder):
    """Metrics and curve, without the seconds, of every record in a folder."""
    return {
        name: (record.metrics, {**record.curve, "seconds": None}, samples(record))
        for name, record in Store(folder).records().items()
    }


@pytest.mark.parametrize(("times", "seeds"), [(2, 1), pytest.param(10, 4, marks=pytest.mark.long)])
def test_a_sweep_that_is_killed_loses_nothing_and_changes_nothing(times, seeds, tmp_path):
    """Killed with `kill -9` at random moments and started again each time, it ends with the records of an undisturbed
    one; and so a run gives the same numbers in every process.
    """
    processes = [fresh_process(SWEEP, tmp_path / "killed", seeds, stdin=subprocess.PIPE) for _ in range(times)]
    kept, rng = [], random.Random(7)
    for number, process in enumerate(processes):
        go(process)
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
    assert list(found) == list(expected)
    assert found == expected
    assert all(list(found)[: len(so_far)] == so_far for so_far in kept)  # none was ever lost
    assert 0 < len(kept[0]) < len(expected)
    assert len({len(so_far) for so_far in kept}) >= times // 2
    lines = (tmp_path / "killed" / "test.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == list(expected)  # nothing torn, nothing twice


SAY_THAT_IT_WAITS = """lock = records.FileLock
records.FileLock = lambda path: print("waits", flush=True) or lock(path)"""


@pytest.mark.long
def test_two_sweeps_at_once_record_every_run_once(tmp_path):
    code = SWEEP.replace('print("begin", flush=True)', SAY_THAT_IT_WAITS)
    with Store(tmp_path).writing():  # so that neither has begun when the other looks at what there is
        both = [fresh_process(code, tmp_path, 1, stdin=subprocess.PIPE) for _ in range(2)]
        for process in both:
            go(process)
            assert process.stdout.readline() == "waits\n", process.stderr.read()
    for process in both:
        said = finished(process)
        assert [line.split()[0] for line in said.splitlines() if line != "waits"] == [f"[{n}/4]" for n in range(1, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Store(tmp_path).records()
    lines = (tmp_path / "test.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == list(found)  # nothing torn, nothing twice
    assert list(found) == [key(spec) for spec in sweep_of(1)]
    assert [path.stem for path in (tmp_path / ".embeddings").glob("*")] == [list(found)[2]]


# --- profiles and suites ---


def test_the_profile_comes_from_the_name_then_the_environment_then_is_tiny(monkeypatch):
    monkeypatch.setenv("EMBSEL_PROFILE", "")
    assert suites.profile().name == "tiny"
    monkeypatch.setenv("EMBSEL_PROFILE", "paper")
    assert (suites.profile().name, suites.profile("laptop").name) == ("paper", "laptop")
    assert {name: sizes.name for name, sizes in suites.PROFILES.items()} == {n: n for n in ("tiny", "laptop", "paper")}
    with pytest.raises(InputError, match=r"no profile named 'labtop'; did you mean 'laptop'\?"):
        suites.profile("labtop")
    monkeypatch.setenv("EMBSEL_PROFILE", "huge")
    with pytest.raises(InputError, match=r"no profile named 'huge'; known: laptop, paper, tiny\."):
        suites.profile()


PAPER, TINY, EVERY = suites.profile("paper"), suites.profile("tiny"), list(suites.PROFILES.values())


def test_the_paper_profile_has_the_sizes_of_the_paper():
    assert (PAPER.source, PAPER.steps, PAPER.batch, PAPER.embedding_steps) == ("cifar10", 10_000, 1024, 40_000)
    assert (PAPER.width, PAPER.curve_images, training.CROP) == (64, 10_000, 24)  # all of the test images
    assert PAPER.keep == 20 * 3 * 3 * PAPER.embedding_widths[-1] == 20 * 216
    assert all(len(set(suites.profile(name).seeds)) >= 5 for name in ("laptop", "paper"))  # for a claim


def full_run(sizes, seconds=736.0, kept=50_000):
    """The record that the suite `budget` builds on."""
    ledger = [{"stage": "training", "seconds": seconds, "samples": 1}, {"stage": "evaluation", "seconds": 99.0}]
    return records.Record(suites.timing(sizes, DATASET), {"kept": kept}, ledger, {})


@pytest.mark.parametrize("name", [name for name in suites.SUITES if name not in referee.SUITES])
def test_a_suite_asks_for_each_run_once_and_for_what_it_builds_on_before_it(name):
    for sizes in [PAPER] if name.startswith("ladder") else EVERY:
        for recorded in ([], [full_run(sizes)]):
            specs = suites.suite(name, sizes, DATASET, recorded)
            assert len({key(spec) for spec in specs}) == len(specs) > 0
            assert {spec.dataset for spec in specs} == {DATASET.fingerprint}
            assert {spec.seed for spec in specs} <= set(sizes.seeds)
            assert suites.suite(name, sizes, DATASET.fingerprint, recorded) == specs  # all that is needed of a dataset
            if name in ("filtering", "ladder"):  # the others use the embeddings of these
                for place, spec in enumerate(specs):
                    assert getattr(spec, "embedding", None) in [None, *specs[:place]]


def test_the_ladder_is_of_the_papers_sizes_and_costs_so_many_steps():
    lengths = {}
    for part, specs in suites.ladder(PAPER, DATASET).items():
        runs = [spec for spec in specs if isinstance(spec, Run)]
        lengths[part] = (sum(spec.steps for spec in specs if isinstance(spec, Autoencoder)),
                         sum(spec.steps for spec in runs if not spec.proxy))  # fmt: skip
        assert {(spec.batch, spec.average) for spec in specs} == {(1024, "tutorial")}
        assert {(run.rate, run.keep or 4320, run.curve_images) for run in runs} <= {(0.1, 4320, 10_000)}
        ends = [ends_of_beginning(dataclasses.replace(run, split=100), range(10_001)) for run in runs]
        assert part in "PS" or all({300, 600, 1250} < set(end) for end in ends)
    assert lengths == {
        "P": (0, 1_200), "S": (40, 120), "R": (12_000, 11_250),
        "A0": (4_000, 20_000), "B0": (0, 10_000), "A1": (4_000, 20_000),
        "C0": (0, 60_000), "B1": (0, 10_000), "C1": (0, 60_000),
        "D": (0, 30_000), "E": (6_000, 15_000), "F": (40_000, 10_000), "G": (12_000, 90_000),
    }  # fmt: skip


def test_the_budget_is_the_papers_share_of_a_full_run_evaluated_as_often():
    full = suites.timing(PAPER, DATASET)
    others = [dataclasses.replace(full_run(PAPER), spec=spec) for spec in suites.suite("filtering", PAPER, DATASET)]
    assert suites.suite("budget", PAPER, DATASET, others) == [full]  # none of those was evaluated as often
    first, *specs = suites.suite("budget", PAPER, DATASET, [*others, full_run(PAPER, 12.27 * 60)])
    assert first == full
    assert {(spec.budget, spec.every) for spec in specs} == {(7 * 60, full.every)}
    arms = [(ALL, None, 100), *((name, 4320, 50) for name in ("top_activations", "random_subset"))]
    arms += [("top_activations", 43_200, 50)]
    assert [(spec.selector, spec.keep, spec.split) for spec in specs] == arms * len(PAPER.seeds)


def test_a_budget_has_three_digits_and_the_larger_subset_is_no_larger_than_the_dataset():
    for seconds, kept, budget, larger in (
        (736.0, 3600, 420.0, 3600), (0.0123, 3599, 0.00702, 3599), (123.456, 50_000, 70.4, 3600)):
        specs = suites.suite("budget", TINY, DATASET, [full_run(TINY, seconds, kept)])
        assert {spec.budget for spec in specs[1:]} == {budget}
        assert [spec.keep for spec in specs[1:5]] == [None, 360, 360, larger]


@pytest.mark.parametrize("name", ["suspects", "choices"])
def test_a_variant_changes_one_thing_in_a_recorded_run_of_each_of_three_seeds(name):
    for sizes in EVERY:
        recorded, variants = suites.suite("filtering", sizes, DATASET), getattr(suites, name)(sizes, DATASET)
        for pairs in variants.values():
            assert [changed.seed for changed, _ in pairs] == list(sizes.seeds[:3])
            found = set()
            for changed, plain in pairs:
                assert plain in recorded
                fields = {field for field, value in vars(changed).items() if value != getattr(plain, field)} - {"every"}
                found.add(frozenset(fields))
            assert len(found) == 1
            assert len(found.pop()) in (1, 3)  # three for the eight times larger batch and rate of half the steps
        specs = suites.suite(name, sizes, DATASET)
        assert [spec.seed for spec in specs] == sorted(spec.seed for spec in specs)  # all of them once, then again


def test_the_flaws_of_a_long_run_are_scaled_to_the_length_of_a_profile():
    for sizes, slow in ((PAPER, 0.9999), (suites.profile("laptop"), 1 - 1 / 600)):  # 0.9999 is the tutorial's
        over_all, statistics, *_ = (pairs[0][0] for pairs in suites.suspects(sizes, DATASET).values())
        assert (over_all.averaging, statistics.norm_momentum) == (slow, slow)


def test_whole_comparisons_come_one_seed_after_the_other_and_the_papers_two_arms_first():
    specs = suites.suite("filtering", PAPER, DATASET)
    assert [spec.seed for spec in specs] == sorted(spec.seed for spec in specs)
    first, *runs = specs[: len(specs) // len(PAPER.seeds)]
    assert isinstance(first, Autoencoder)
    assert [run.selector for run in runs][:4] == [ALL, "top_activations", "random_subset", "stratified_random"]
    selectors = [spec.selector for spec in suites.suite("splits", PAPER, DATASET)]
    assert set(selectors[: 2 * len(selectors) // 3]) == {"top_activations", "random_subset"}


def test_part_one_starts_with_what_can_be_recorded_before_its_budget_is_known():
    specs, until_timed = (suites.suite("part-one", PAPER, DATASET, records) for records in ([full_run(PAPER)], []))
    assert until_timed == [*suites.suite("filtering", PAPER, DATASET), suites.timing(PAPER, DATASET)]
    assert until_timed == specs[: len(until_timed)]
    assert {*suites.suite("splits", PAPER, DATASET), *suites.suite("feeding", PAPER, DATASET)} < set(specs)


def test_learning_rates_are_judged_on_a_validation_split():
    specs = suites.suite("learning-rate", suites.profile("laptop"), DATASET)
    assert all(spec.validation and spec.selector == ALL for spec in specs)
    assert len({spec.rate for spec in specs}) == len(specs) >= 4


def test_an_unknown_suite_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no suite named 'x'; known: ablations, averages, budget, "):
        suites.suite("x", suites.profile("tiny"), DATASET)
