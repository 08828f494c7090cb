"""A trial on data that nobody prepared: its arms, verdict, report and subset, and the command line that runs it."""

import base64
import csv
import dataclasses
import io
import os
import re

import nbformat
import numpy as np
import papermill
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from embsel import __main__ as command
from embsel import data, selection, tryout
from embsel.errors import InputError
from embsel.lab import experiments, records, suites
from embsel.lab.records import ALL, Record, Run, Store, Vectors

TINY = suites.PROFILES["tiny"]
LEAST = suites.Profile("tiny", "shapes", 2, 64, 0.01, 20, 2, 1, (2, 2, 2), 5, 1000, (0,), (50,))
CLASSES = {'<b>&"': 9, "$007$": 20, "NA": 5}  # a tag, a formula for Matplotlib, a missing value for pandas


def picture(number, rng):
    """A picture of any size, kind and mode, and the ending of its file."""
    size = tuple(rng.integers(18, 90, 2))
    mode, ending = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("RGB", "webp"), ("P", "gif")][number % 5]
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode), ending


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of images that nobody prepared: no test split, classes of unequal size, a stray text file."""
    root, rng = tmp_path_factory.mktemp("holiday pictures"), np.random.default_rng(0)
    for name, count in CLASSES.items():
        (root / name).mkdir()
        for number in range(count):
            image, ending = picture(number, rng)
            image.save(root / name / f"picture {number}.{ending}")
    (root / "NA" / "notes.txt").write_text("mend the fence")
    return root


@pytest.fixture(scope="module", autouse=True)
def _small(tmp_path_factory):
    """The smallest profile there is, and a cache of decoded images that is nobody's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(suites.PROFILES, "tiny", LEAST)
        patch.setenv("EMBSEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """A whole trial on that folder: the trial, its arms, its subset, and the files that were saved."""
    out = tmp_path_factory.mktemp("out") / "trial"
    trial = tryout.plan(data.load(folder, image_size="fit"), keep=0.3, seeds=2, out=out)
    assert not out.exists()  # nothing is written before anything is trained
    arms = tryout.carry_out(trial, say=lambda line: None)
    rows = tryout.subset(trial)
    return trial, arms, rows, tryout.save(trial, rows, arms)


# --- the plan ---


def test_sizes_follow_the_data(folder):
    dataset = data.load(folder, image_size="fit")
    images = len(dataset.train_images)
    trial = tryout.plan(dataset, keep=7, profile="tiny", seeds=4)
    assert (trial.sizes.keep, trial.sizes.batch, trial.sizes.seeds) == (7, images, (0, 1, 2, 3))
    assert trial.sizes.curve_images == len(dataset.test_images)
    assert images < LEAST.batch
    assert trial.folder.parts[0] == "_try"
    assert re.fullmatch(rf"holiday-pictures\w*-{dataset.fingerprint}", trial.folder.name)


def test_keep_is_a_fraction_or_a_number():
    for keep, images, kept in [(0.1, 50, 5), (0.1, 3, 1), (1, 3, 1), (3, 3, 3), (np.int64(2), 3, 2)]:
        assert tryout.how_many(keep, images) == kept
    for keep in (0, 11, 0.0, 1.0, -0.1, float("nan"), True, "half"):
        with pytest.raises(InputError, match=r"keep: expected a fraction between 0 and 1 or a whole number from 1 to"):
            tryout.how_many(keep, 10)


def test_a_plan_that_cannot_be_carried_out_is_refused(tmp_path):
    for choices, message in [
        ({"selector": "top_activation"}, "no selector named 'top_activation'; did you mean 'top_activations'"),
        ({"selector": "random_subset"}, "'random_subset' is a baseline of every trial"),
        ({"selector": "margin", "embeddings": np.zeros((100, 3))}, "'margin' chooses by a proxy's class probabilities"),
        ({"selector": "top_activations_drop"}, "picks fewer different images than its random rivals"),
        ({"selector": "top_activations_keep"}, "would differ as well; use 'top_activations'."),
        ({"seeds": 0}, "seeds: expected a whole number of at least 1, found 0"),
        ({"embeddings": np.zeros((99, 3))}, "each of the 100 training images of shapes, found 99 rows"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            tryout.plan(data.shapes(train=100, test=10), out=tmp_path / "out", **choices)
        assert not (tmp_path / "out").exists()


def test_the_arms_differ_in_the_subset_alone(done):
    arms = tryout.specs(done[0])
    assert list(arms) == [ALL, "random_subset", "stratified_random", "top_activations"]
    subset_only = {"selector": ALL, "keep": None, "embedding": None}
    for seed, group in enumerate(zip(*arms.values(), strict=True)):
        assert {dataclasses.replace(run, **subset_only) for run in group} == {group[0]}
        assert group[0].seed == seed
    assert len({run.embedding for run in arms["top_activations"]}) == 1


def test_a_selector_with_a_proxy_has_a_run_for_its_embedding(tmp_path):
    dataset = data.shapes(train=100, test=10)
    trial = tryout.plan(dataset, selector="margin", out=tmp_path)
    assert trial.embedding == suites.proxy(trial.sizes, dataset)
    assert {run.embedding for run in tryout.specs(trial)["margin"]} == {trial.embedding}


# --- a folder that nobody prepared ---


def test_the_trial_records_every_arm(done):
    trial, arms, rows, _ = done
    assert [len(runs) for runs in arms.values()] == [2, 2, 2, 2]
    assert [run.metrics["kept"] for run in arms[ALL]] == [len(trial.dataset.train_images)] * 2
    for name in ("random_subset", "stratified_random", "top_activations"):
        assert [run.metrics["kept"] for run in arms[name]] == [trial.sizes.keep] * 2
    counts = np.bincount(trial.dataset.train_labels[rows], minlength=3).tolist()
    assert [run.metrics["class_counts"] for run in arms["top_activations"]] == [counts] * 2  # the rows that are saved


def test_a_second_call_trains_nothing(done, monkeypatch):
    trial, arms, rows, _ = done
    monkeypatch.setattr(experiments, "execute", lambda *_: pytest.fail("something was trained again"))
    again = tryout.plan(trial.dataset, keep=0.3, seeds=2, out=trial.folder)
    assert tryout.carry_out(again) == arms
    assert np.array_equal(tryout.subset(again), rows)


def test_more_seeds_train_only_what_is_missing(done, monkeypatch):
    trial, arms, *_ = done
    asked = []

    def invent(spec, *_, **__):
        asked.append(spec)
        return dataclasses.replace(arms[spec.selector][0], spec=spec)

    monkeypatch.setattr(experiments, "execute", invent)
    monkeypatch.setattr(Store, "append", lambda self, record: True)  # the folder stays as it was
    tryout.carry_out(tryout.plan(trial.dataset, keep=0.3, seeds=3, out=trial.folder), say=lambda line: None)
    assert [(spec.selector, spec.seed) for spec in asked] == [(name, 2) for name in arms]


def test_an_arm_without_a_run_is_said(done):
    trial, *_ = done
    more = tryout.plan(trial.dataset, keep=0.2, seeds=1, out=trial.folder)  # of these, only the full run is there
    with pytest.raises(InputError, match=r"found none on 'random', 'random, balanced', 'filter, refill'\. Either"):
        tryout.recorded(more)


def test_the_report_needs_nothing_else(done):
    *_, files = done
    written = files[0].read_text("utf-8")
    page, words = BeautifulSoup(written, "html.parser"), re.sub('base64,[^"]+', "", written)
    assert page.select("script, link, iframe, object, a") == []
    assert "url(" not in words
    assert re.findall(r"http\S+", words) == ['http-equiv="Content-Security-Policy"']
    assert len(page.select("img")) == 3
    for image in page.select("img"):
        kind, code = image["src"].split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(code))) as picture:
            assert picture.format == "PNG"
        assert len(image["alt"]) > 20
    assert page.find("meta", attrs={"name": "viewport"})


def test_the_report_says_it_all_and_escapes_every_name(done):
    trial, arms, rows, files = done
    page = BeautifulSoup(files[0].read_text("utf-8"), "html.parser")
    said = page.get_text()
    for line in (*tryout.verdict(arms), repr(trial.dataset), trial.dataset.note, tryout.LINES):
        assert line in said
    assert "notes.txt" in trial.dataset.note  # the stray file
    for table in (tryout.accuracy(arms), tryout.ledger(arms), tryout.balance(trial, rows)):
        assert all(cell in said for row in table for cell in row)
    assert page.select("b") == []
    assert {cell.get_text() for cell in page.select("td:first-child")} >= set(CLASSES)
    assert f"Is selection worth it? {trial.dataset.name}" in page.h1.get_text()


def test_the_ledger_has_every_stage(done):
    header, full, *_, chosen = tryout.ledger(done[1])
    assert header == ["trained on", "autoencoder (s)", "embedding (s)", "selection (s)", "training (s)",
                      "evaluation (s)", "total (s)"]  # fmt: skip
    assert full[1:4] == ["", "", ""]
    assert sum(map(float, chosen[1:-1])) == pytest.approx(float(chosen[-1]), abs=0.3)


def test_the_classes_are_counted(done):
    trial, _, rows, _ = done
    header, *table = tryout.balance(trial, rows)
    assert header == ["class", "training images", "test images", "picked"]
    counts = {name: list(map(int, numbers)) for name, *numbers in table}
    assert {name: train + test for name, (train, test, _) in counts.items()} == CLASSES
    assert sum(picked for *_, picked in counts.values()) == len(rows)
    assert [name for name, *_ in table] == sorted(CLASSES, key=lambda name: -CLASSES[name])


def test_the_subset_comes_back_with_numpy_alone_and_with_the_standard_library(done):
    _, _, rows, files = done
    loaded = np.load(files[1], allow_pickle=False)
    assert loaded.dtype == np.int64
    assert np.array_equal(loaded, rows)
    with open(files[2], newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [int(line["row"]) for line in table] == rows.tolist()
    assert {line["class"] for line in table} <= set(CLASSES)


def test_the_subset_comes_back_with_pandas(done, folder, monkeypatch):
    trial, _, rows, _ = done
    monkeypatch.chdir(trial.folder)
    known = {}
    exec(tryout.LINES, known)  # as the report and the chapter have it
    assert np.array_equal(known["rows"], rows)
    table = known["table"]
    assert table["row"].tolist() == rows.tolist()
    names = [trial.dataset.class_names[label] for label in trial.dataset.train_labels[rows]]
    assert table["class"].tolist() == names
    assert [path.split("/")[0] for path in table["file"]] == names
    assert all((folder / path).is_file() for path in table["file"])


def test_a_report_that_is_replaced_is_said(done, tmp_path):
    trial, arms, rows, _ = done
    other, said = dataclasses.replace(trial, folder=tmp_path), []
    tryout.save(other, rows, arms, say=said.append)
    assert said == []
    tryout.save(other, rows, arms, say=said.append)
    assert said == [f"The report and the subset that were in {tmp_path} are replaced; `out` names another folder."]


@pytest.mark.parametrize(
    ("keep", "selector"), [(1.0 - 1e-9, "margin"), pytest.param(1, "top_activations", marks=pytest.mark.long)]
)
def test_the_least_and_the_most_that_can_be_kept_end_in_a_report(keep, selector, tmp_path):
    """One image; and all of them, so that none is left out. Grey ones, in memory, without file names."""
    rng = np.random.default_rng(0)
    source = (rng.integers(0, 256, (12, 8, 30), dtype=np.uint8), np.arange(12) % 2)
    trial = tryout.plan(data.load(source, image_size="fit"), keep=keep, selector=selector, seeds=1, out=tmp_path)
    arms = tryout.carry_out(trial, say=lambda line: None)
    rows = tryout.subset(trial)
    assert len(rows) == (1 if keep == 1 else len(trial.dataset.train_images))
    report, _, table = tryout.save(trial, rows, arms)
    assert "one seed cannot tell" in report.read_text("utf-8")
    with open(table, newline="", encoding="utf-8") as file:
        assert {line["file"] for line in csv.DictReader(file)} == {""}


# --- the verdict ---


def made_up(name, seed, accuracy, ledger=(), test_images=10**8):  # so many that their draw adds nothing
    embedding = records.Autoencoder("d", 1, 1) if name == "top_activations" else None
    spec = Run("d", name, 200, 64, 0.1, keep=None if name == ALL else 40, seed=seed, embedding=embedding)
    metrics = {"test_accuracy": accuracy, "kept": 400 if name == ALL else 40, "distinct": 40}
    metrics["test_images"] = test_images
    lines = [*ledger, ("training compilation", 1.0), ("training", 2.0), ("evaluation", 9.0)]
    return Record(spec, metrics, [{"stage": stage, "seconds": s, "samples": 1} for stage, s in lines], {})


def made_up_arms(random, full, balanced=None, seeds=4, ledger=(("autoencoder", 5.0), ("selection", 0.5))):
    """Arms in which the selector has so many points, with a little noise, more than the others."""
    balanced = random if balanced is None else balanced
    chosen = [0.5 + 0.01 * seed for seed in range(seeds)]
    noise = [0.001 * (-1) ** seed for seed in range(seeds)]
    return {
        ALL: [made_up(ALL, s, chosen[s] - full + noise[s]) for s in range(seeds)],
        "random_subset": [made_up("random_subset", s, chosen[s] - random + noise[s]) for s in range(seeds)],
        "stratified_random": [made_up("stratified_random", s, chosen[s] - balanced + noise[s]) for s in range(seeds)],
        "top_activations": [made_up("top_activations", s, chosen[s], ledger) for s in range(seeds)],
    }


GAINED, LOST, NEITHER = (f"selection {what}" for what in ("gained", "lost", "made no measurable difference"))
BALANCED = "Not worth it here: as many images drawn at random, each class with its sh"


def test_the_verdict_is_what_the_intervals_allow():
    for gaps, against, worth in [
        ((0.05, 0.05, 0.05), (GAINED, GAINED, GAINED), "Worth it: the subset is better than chance and than all"),
        ((0.05, 0.05, -0.05), (GAINED, GAINED, LOST), "Worth it only where all the data cannot be kept"),
        ((0.05, 0.05, 0.0), (GAINED, GAINED, NEITHER), "Worth it where a small set"),
        ((-0.05, -0.05, 0.05), (LOST, LOST, GAINED), "Not worth it here: as many images drawn at random are b"),
        ((0.0, 0.0, 0.05), (NEITHER, NEITHER, GAINED), "Not shown to be worth it: "),
        ((0.05, -0.05, 0.05), (GAINED, LOST, GAINED), BALANCED),
        ((0.0, -0.05, 0.05), (NEITHER, LOST, GAINED), BALANCED),
        ((0.05, 0.0, 0.05), (GAINED, NEITHER, GAINED), "Worth it: the subset is better than chance and than all"),
    ]:
        random, balanced, full = gaps
        *said, _, last, _ = tryout.verdict(made_up_arms(random, full, balanced))
        rivals = ("a random subset of the same size", "a random subset in which each class has its share", "all the")
        for line, found, rival in zip(said, against, rivals, strict=True):
            assert line.startswith(f"On this data, in this budget, {found} against {rival}")
        assert f"{100 * random:+.1f} ± 0.2 points (n = 4)" in said[0].replace("-0.0", "+0.0")
        assert last.startswith(worth)
        assert ("these runs cannot tell" in last) == (NEITHER in against and LOST not in against)


def test_the_table_has_a_difference_for_each_rival_in_the_verdict():
    header, *_, chosen = tryout.accuracy(made_up_arms(0.05, -0.05, 0.1))
    assert header[3:] == ["minus random", "minus random, balanced", "minus all the data"]
    assert [gap.split(" ")[0] for gap in chosen[3:]] == ["+5.0", "+10.0", "-5.0"]


def test_one_seed_cannot_tell():
    *gaps, _, last, _ = tryout.verdict(made_up_arms(0.3, -0.3, seeds=1))
    assert len(gaps) == 3
    for line in gaps:
        assert "one seed cannot tell whether selection gained or lost" in line
        assert "(n = 1)" in line
        assert "±" not in line
    assert last == "Give it more seeds, five or so, before you decide."


def test_the_verdict_says_what_choosing_cost():
    cost, *_ = tryout.verdict(made_up_arms(0.05, 0.05))[3:]
    assert cost.startswith("Choosing cost 5.5 s (autoencoder 5.0 s, selection 0.5 s), and a training 3.0 s.")
    assert "not counted" not in cost
    cost, *_ = tryout.verdict(made_up_arms(0.05, 0.05, ledger=(("given", 0.0), ("selection", 0.5))))[3:]
    assert cost.startswith("Choosing cost 0.5 s (given 0.0 s, selection 0.5 s)")
    assert cost.endswith("What the given embeddings cost to make is not counted.")


def test_the_verdict_says_how_it_was_measured():
    arms = {name: [made_up(name, s, 0.5, test_images=50) for s in range(2)] for name in made_up_arms(0, 0)}
    last = tryout.verdict(arms)[-1]
    assert last.startswith("Measured on 50 test images, of which one is 2 points, after 200 steps of 64 images, with")
    assert "40 of 400 images kept (filter, refill)" in last
    assert last.endswith("The intervals cover the seeds of the training and the draw of the test images.")


def test_seeds_that_agree_on_a_handful_of_test_images_prove_nothing():
    """Each seed gains the same seventh of the test images, once one image, once very many."""
    for images, gained in [(7, False), (10**5, True)]:
        for right in (0, 6 / 7):
            rivals, chosen = (
                [made_up("random_subset", s, more + right, test_images=images) for s in range(3)] for more in (0, 1 / 7)
            )
            arms = dict.fromkeys(made_up_arms(0, 0), rivals) | {"top_activations": chosen}
            first, *_ = tryout.verdict(arms)
            assert (GAINED in first, NEITHER[10:] in first) == (gained, not gained)
            *_, (_, _, _, gap, *_) = tryout.accuracy(arms)
            assert gap in first.replace(" of test accuracy", "")  # the table has the verdict's interval


def test_the_draw_of_the_test_images_is_that_of_two_independent_samples():
    first, second = ([made_up("random_subset", s, p, test_images=200) for s in range(3)] for p in (0.6, 0.4))
    assert tryout.difference(first, second).half == pytest.approx(1.96 * np.sqrt(2 * 0.25 / 200), rel=1e-4)


# --- embeddings that are given ---

DATASET = data.shapes(train=40, test=20)
GIVEN = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")


def test_given_embeddings_are_named_by_their_content(tmp_path):
    np.save(tmp_path / "given.npy", GIVEN)
    spec, array = experiments.vectors(tmp_path / "given.npy", DATASET)
    assert spec == Vectors(DATASET.fingerprint, spec.digest, 5)
    assert re.fullmatch("[0-9a-f]{12}", spec.digest)
    assert np.array_equal(array, GIVEN)
    assert experiments.vectors(np.asfortranarray(GIVEN), DATASET)[0] == spec
    others = (GIVEN[::-1], GIVEN.astype("float64"), GIVEN[:, ::-1], GIVEN[:, :4])
    assert len({spec, *(experiments.vectors(other, DATASET)[0] for other in others)}) == 5


def test_embeddings_that_cannot_be_used_are_refused(tmp_path):
    for embeddings, message in [
        (GIVEN[:39], "embeddings: expected a row for each of the 40 training images of shapes, found 39 rows"),
        (GIVEN[:, 0], r"embeddings: expected shape \(N, n\)"),
        (np.where(GIVEN.max() == GIVEN, np.nan, GIVEN), "embeddings: expected finite values, found 1 NaN"),
        ("nowhere.npy", r"nowhere\.npy cannot be read as an \.npy file"),
        ("pickled.npy", r"pickled\.npy cannot be read as an \.npy file"),
        ("words.npy", r"words\.npy cannot be read as an \.npy file"),
        ("several.npz", r"expected an \.npy file of one array, found the \.npz .*several\.npz"),
    ]:
        np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
        np.savez(tmp_path / "several.npz", GIVEN)
        (tmp_path / "words.npy").write_text("one two three")
        if isinstance(embeddings, str):
            embeddings = tmp_path / embeddings
        with pytest.raises(InputError, match=message):
            experiments.given(embeddings, DATASET, Store(tmp_path / "out"), "tiny")
        assert not (tmp_path / "out").exists()


def test_a_run_on_given_embeddings_is_carried_out_recorded_and_read_back(tmp_path):
    store = Store(tmp_path)
    spec = experiments.given(GIVEN, DATASET, store, "tiny")
    assert experiments.given(GIVEN, DATASET, store, "tiny") == spec
    assert np.array_equal(experiments.embeddings_of(spec, DATASET, store, "tiny"), GIVEN)
    run = Run(DATASET.fingerprint, "top_activations", 2, 8, 0.01, keep=10, width=2, embedding=spec)
    assert experiments.record([run], DATASET, store, "tiny", say=lambda line: None) == 0
    kept, record = Store(tmp_path).records().values()
    assert (kept.spec, record.spec) == (spec, run)
    assert record.spec.embedding == spec
    assert kept.ledger == [{"stage": "given", "seconds": 0.0, "samples": 40}]
    assert record.ledger[0] == kept.ledger[0]
    rows = selection.top_activations(GIVEN, 10)
    assert record.metrics["class_counts"] == np.bincount(DATASET.train_labels[rows], minlength=10).tolist()
    assert "vectors" in records.describe(kept)


def test_vectors_that_are_not_at_hand_are_said(tmp_path):
    spec, _ = experiments.vectors(GIVEN, DATASET)
    with pytest.raises(InputError, match=rf"The vectors {spec.digest} are not at hand in .*: hand them to `given`"):
        experiments.embeddings_of(spec, DATASET, Store(tmp_path), "tiny")


def test_a_trial_on_given_embeddings_trains_no_autoencoder(tmp_path):
    trial = tryout.plan(DATASET, embeddings=GIVEN, keep=10, seeds=1, out=tmp_path)
    arms = tryout.carry_out(trial, say=lambda line: None)
    assert [type(record.spec) for record in trial.store.records().values()] == [Vectors, Run, Run, Run, Run]
    assert np.array_equal(tryout.subset(trial), selection.top_activations(GIVEN, 10))
    header, *_, chosen = tryout.ledger(arms)
    assert chosen[header.index("given (s)")] == "0.0"


# --- the command line ---


def call(capsys, *arguments):
    """Exit code, stdout and the lines on stderr that are embsel's own."""
    code = command.main(["try", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("embsel")]


@pytest.fixture
def ready(monkeypatch):
    """Papermill as a function that notes the parameters and runs no notebook."""
    seen = {}
    monkeypatch.setattr(papermill, "execute_notebook", lambda path, done, parameters, **_: seen.update(parameters))
    return seen


def test_a_broken_image_is_named(tmp_path, capsys, ready):
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            picture(number, np.random.default_rng(number))[0].save(tmp_path / f"pets/{name}/{number}.png")
    (tmp_path / "pets" / "cats" / "torn.jpg").write_bytes(b"\xff\xd8 not more of it")
    code, _, err = call(capsys, tmp_path / "pets", "--out", tmp_path / "out")
    assert code == 2
    assert len(err) == 1
    assert "torn.jpg cannot be read as an image" in err[0]
    assert ready == {}
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_sentence_and_exit_status_2(folder, tmp_path, capsys, ready):
    for arguments, message in [
        (["NOWHERE"], "No folder or .npz file was found at"),
        (["FOLDER", "--keep", "1.5"], "keep: expected a fraction between 0 and 1"),
        (["FOLDER", "--profile", "labtop"], "no profile named 'labtop'; did you mean 'laptop'?"),
        (["FOLDER", "--seeds", "0"], "seeds: expected a whole number of at least 1"),
        (["FOLDER", "--embeddings", "NOWHERE"], "cannot be read as an .npy file"),
        (["FOLDER", "--out", "FILE"], "cannot be written to"),
    ]:
        (tmp_path / "file").write_text("a text")
        places = {"FOLDER": folder, "NOWHERE": tmp_path / "nowhere", "FILE": tmp_path / "file"}
        arguments = [places.get(argument, argument) for argument in arguments]
        code, _, err = call(capsys, "--out", tmp_path / "out", *arguments)
        assert (code, len(err)) == (2, 1)
        assert message in err[0]
        assert ready == {}
        assert not (tmp_path / "out").exists()


def test_a_misspelt_selector_is_refused_before_anything_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("the dataset was loaded"))
    assert call(capsys, "shapes", "--selector", "x")[0] == 2


def test_the_command_runs_the_chapter_and_prints_the_verdict(done, folder, capsys, ready):
    trial, arms, *_ = done
    code, out, err = call(capsys, folder, "--keep", "0.3", "--seeds", "2", "--out", trial.folder)
    assert (code, err) == (0, [])
    assert ready == {"source": str(folder), "profile": "tiny", "keep": 0.3, "selector": "top_activations", "seeds": 2,
                     "embeddings": None, "out": str(trial.folder)}  # fmt: skip
    for line in tryout.verdict(arms):
        assert line in out
    assert out.endswith(f"The report: {trial.folder / 'report.html'}\n")


def test_the_command_hands_the_chapter_its_parameters_and_runs_it_up_to_its_report(
    folder, tmp_path, capsys, ready, monkeypatch
):
    monkeypatch.setattr(tryout, "recorded", lambda trial: made_up_arms(0, 0))
    assert call(capsys, folder, "--out", tmp_path)[0] == 0
    declared = papermill.inspect_notebook(str(command.CHAPTER))
    assert set(ready) == set(declared)
    assert declared["keep"]["default"] == "0.1"
    run = [cell.source for cell in nbformat.read(tmp_path / "notebook.ipynb", as_version=4).cells]
    whole = [cell.source for cell in nbformat.read(command.CHAPTER, as_version=4).cells]
    assert run == whole[: len(run)]
    assert any("tryout.save(" in source for source in run)
    assert not any("exercise" in source or "sklearn" in source for source in run)


@pytest.mark.parametrize("named", ["source", "EMBSEL_DATA", ""])
def test_only_the_books_own_data_goes_to_a_temporary_folder(named, folder, monkeypatch):
    """The cells that load and plan, as the chapter's text has them."""
    monkeypatch.setenv("EMBSEL_DATA", str(folder) if named == "EMBSEL_DATA" else "")
    code = re.findall(r"```{code-cell} ipython3\n(.*?)```", command.CHAPTER.with_suffix(".md").read_text("utf-8"), re.S)
    choices = {"profile": "tiny", "keep": 0.3, "selector": "margin", "seeds": 1, "embeddings": None, "out": None}
    known = choices | {"source": {"source": str(folder), "": ""}.get(named)}
    for cell in code[: 1 + next(place for place, cell in enumerate(code) if "tryout.plan(" in cell)]:
        if ":tags: [parameters]" not in cell:
            exec(cell, known)
    assert known["mine"] == bool(named)
    assert (known["trial"].folder.parts[0] == "_try") == bool(named)
    assert known["dataset"].name == (folder.name if named else "shapes")


def a_notebook(tmp_path, *sources):
    """A chapter of these cells, the first of them the parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("source = None", *sources)]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "chapter.ipynb")
    return tmp_path / "chapter.ipynb"


def test_a_cell_that_fails_is_a_sentence_that_names_it(folder, tmp_path, capsys, monkeypatch):
    chapter = a_notebook(tmp_path, "print('so far, so good')", "too_much = 1\nraise MemoryError('no room for it')")
    monkeypatch.setattr(command, "CHAPTER", chapter)
    code, out, (said,) = call(capsys, folder, "--out", tmp_path / "out")
    assert code == 1
    assert "so far, so good" in out
    assert "which begins with 'too_much = 1', failed: MemoryError: no room for it. The" in said
    assert said.endswith(f"The notebook as far as it ran: {tmp_path / 'out' / 'notebook.ipynb'}")
    half = nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4)
    assert "so far, so good" in str(half.cells)


@pytest.mark.long
def test_a_kernel_that_dies_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "CHAPTER", a_notebook(tmp_path, "import os", "os._exit(1)"))
    code, _, (said,) = call(capsys, folder, "--out", tmp_path / "out")
    assert code == 1
    assert "The notebook could not be run (DeadKernelError: " in said


def test_an_interruption_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    code, _, (said,) = call(capsys, folder, "--out", tmp_path)
    assert (code, said) == (130, "embsel: interrupted. What is recorded is kept: the same command goes on from there.")


def test_a_chapter_that_is_not_there_is_said(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "CHAPTER", tmp_path / "missing.ipynb")
    code, _, (said,) = call(capsys, folder, "--out", tmp_path)
    assert code == 2
    assert "missing.ipynb is not there: use a copy of the repository" in said


@pytest.mark.long
def test_the_chapter_itself_ends_in_a_report(folder, tmp_path, capsys, monkeypatch):
    """The whole way, through papermill and a kernel of its own, which has the true `tiny` profile."""
    monkeypatch.setitem(suites.PROFILES, "tiny", TINY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(records.ROOT), os.environ.get("PYTHONPATH", "")]))
    code, out, err = call(capsys, folder, "--keep", "10", "--seeds", "1", "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert "one seed cannot tell" in out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"report.html", "subset.npy", "subset.csv", "notebook.ipynb"}
    assert len(np.load(tmp_path / "out" / "subset.npy")) == 10
    assert "picture" in (tmp_path / "out" / "subset.csv").read_text("utf-8")
