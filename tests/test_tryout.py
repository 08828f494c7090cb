"""A trial on data that nobody prepared: its arms, verdict, report and subset, and the command line that runs it."""

import csv
import dataclasses
import os
import re
import sys

import nbformat
import numpy as np
import papermill
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from embsel import __main__ as command
from embsel import data, selection, tryout
from embsel.errors import InputError
from embsel.lab import experiments, profiles, records
from embsel.lab.records import ALL, Record, Run, Store, Vectors

TINY = profiles.PROFILES["tiny"]
LEAST = profiles.Profile("tiny", "shapes", 2, 64, 0.01, 20, 2, 1, (2, 2, 2), 5, 1000, (0,), (50,))
CLASSES = {'<b>&"': 9, "$007$": 20, "NA": 5}  # a tag, a formula for Matplotlib, a missing value for pandas
SHAPES = data.shapes(train=40, test=20)
GIVEN = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of images of any size, kind and mode: no test split, classes of unequal size, a stray text file."""
    root, rng = tmp_path_factory.mktemp("holiday pictures"), np.random.default_rng(0)
    kinds = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("RGB", "webp"), ("P", "gif")]
    for name, count in CLASSES.items():
        (root / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (*rng.integers(18, 90, 2), 3), dtype=np.uint8)
            mode, ending = kinds[number % 5]
            Image.fromarray(pixels).convert(mode).save(root / name / f"picture {number}.{ending}")
    (root / "NA" / "notes.txt").write_text("mend the fence")
    return root


@pytest.fixture(scope="module", autouse=True)
def _small(tmp_path_factory):
    """The smallest profile there is, and a cache of decoded images that is nobody's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(profiles.PROFILES, "tiny", LEAST)
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
    return trial, arms, rows, tryout.save(trial, rows)


def table_of(file):
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


# --- the plan and its runs ---


def test_sizes_follow_the_data(folder):
    dataset = data.load(folder, image_size="fit")
    trial = tryout.plan(dataset, keep=7, profile="tiny", seeds=4)
    assert (trial.sizes.keep, trial.sizes.batch, trial.sizes.seeds) == (7, len(dataset.train_images), (0, 1, 2, 3))
    assert trial.sizes.curve_images == len(dataset.test_images)
    assert re.fullmatch(rf"_try/holiday-pictures\w*-{dataset.fingerprint}", trial.folder.as_posix())


def test_keep_is_a_fraction_or_a_number():
    for keep, kept in [(0.1, 4), (0.001, 1), (1, 1), (40, 40), (np.int64(2), 2)]:
        assert tryout.plan(SHAPES, keep=keep).sizes.keep == kept
    for keep in (0, 41, 0.0, 1.0, -0.1, float("nan"), True, "half"):
        with pytest.raises(InputError, match="keep: expected a fraction between 0 and 1 or a whole number from 1 to"):
            tryout.plan(SHAPES, keep=keep)


def test_a_plan_that_cannot_be_carried_out_is_refused(tmp_path):
    for choices, message in [
        ({"selector": "top_activation"}, "no selector named 'top_activation'; did you mean 'top_activations'"),
        ({"selector": "random_subset"}, "'random_subset' is a baseline of every trial"),
        ({"selector": "margin", "embeddings": GIVEN}, "'margin' chooses by a proxy's class probabilities"),
        ({"selector": "top_activations_drop"}, "picks fewer different images than its random rivals"),
        ({"selector": "top_activations_keep"}, "would differ as well; use 'top_activations'."),
        ({"seeds": 0}, "seeds: expected a whole number of at least 1, found 0"),
        ({"embeddings": GIVEN[:39]}, "each of the 40 training images of shapes, found 39 rows"),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            tryout.plan(SHAPES, out=tmp_path / "out", **choices)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("selector", "make"), [("top_activations", profiles.autoencoder), ("margin", profiles.proxy)])
def test_the_arms_differ_in_the_subset_alone(selector, make):
    trial = tryout.plan(SHAPES, selector=selector, seeds=2)
    arms = tryout.specs(trial)
    assert list(arms) == [ALL, "random_subset", "stratified_random", selector]
    for seed, group in enumerate(zip(*arms.values(), strict=True)):
        alike = {dataclasses.replace(run, selector=ALL, keep=None, embedding=None) for run in group}
        assert alike == {group[0]} == {profiles.baseline(trial.sizes, SHAPES, seed=seed)}
        assert [(run.selector, run.keep) for run in group] == [(name, None if name == ALL else 4) for name in arms]
        assert [run.embedding for run in group] == [None, None, None, make(trial.sizes, SHAPES)]


# --- a folder that nobody prepared ---


def test_the_trial_records_every_arm_and_the_rows_that_are_saved(done):
    trial, arms, rows, _ = done
    images, keep = len(trial.dataset.train_images), trial.sizes.keep
    assert [[run.metrics["kept"] for run in runs] for runs in arms.values()] == [[images] * 2, *[[keep] * 2] * 3]
    counts = np.bincount(trial.dataset.train_labels[rows], minlength=3).tolist()
    assert [run.metrics["class_counts"] for run in arms["top_activations"]] == [counts] * 2


def test_a_second_trial_trains_only_what_is_missing(done, monkeypatch):
    trial, arms, rows, _ = done
    asked = []

    def invent(spec, *_, **__):
        asked.append((spec.selector, spec.seed))
        return dataclasses.replace(arms[spec.selector][0], spec=spec)

    monkeypatch.setattr(experiments, "execute", invent)
    monkeypatch.setattr(Store, "append", lambda self, record: True)  # the folder stays as it was
    again = tryout.plan(trial.dataset, keep=0.3, seeds=2, out=trial.folder)
    assert tryout.carry_out(again) == arms
    assert np.array_equal(tryout.subset(again), rows)
    assert asked == []
    tryout.carry_out(tryout.plan(trial.dataset, keep=0.3, seeds=3, out=trial.folder), say=lambda line: None)
    assert asked == [(name, 2) for name in arms]


def test_an_arm_without_a_run_is_said(done):
    trial, *_ = done
    more = tryout.plan(trial.dataset, keep=0.2, seeds=1, out=trial.folder)  # of these, only the full run is there
    with pytest.raises(InputError, match=r"found none on 'random', 'random, balanced', 'filter, refill'\. Either"):
        tryout.recorded(more)


def test_the_costs_have_every_stage(done):
    costs = tryout.costs(done[1])
    assert [*costs] == ["autoencoder", "embedding", "selection", "training", "evaluation", "total"]
    assert [*costs.index] == ["all the data", "random", "random, balanced", "filter, refill"]
    assert costs.loc["all the data"][:3].tolist() == [0, 0, 0]
    means = [np.mean([run.seconds() for run in runs]) for runs in done[1].values()]
    assert costs["total"].tolist() == pytest.approx(means)


def test_the_classes_are_counted(done):
    trial, _, rows, _ = done
    table = tryout.balance(trial, rows)
    assert [*table] == ["training images", "test images", "picked", "random, balanced"]
    assert (table["training images"] + table["test images"]).to_dict() == CLASSES
    assert [*table.index] == sorted(CLASSES, key=lambda name: -CLASSES[name])
    assert table.sum().tolist()[2:] == [len(rows)] * 2


def test_the_subset_comes_back(done, folder, monkeypatch):
    trial, _, rows, files = done
    monkeypatch.chdir(trial.folder)
    known = {}
    exec(tryout.LINES, known)  # as the report and the chapter have it
    assert known["rows"].dtype == np.int64
    assert np.array_equal(known["rows"], rows)
    names = [trial.dataset.class_names[label] for label in trial.dataset.train_labels[rows]]
    wanted = [*zip(map(str, rows), names, [trial.dataset.train_files[row] for row in rows], strict=True)]
    assert [tuple(line.values()) for line in table_of(files[1])] == wanted
    assert [*known["table"].astype(str).itertuples(index=False, name=None)] == wanted
    assert all((folder / path).is_file() and path.startswith(name) for _, name, path in wanted)


def test_a_subset_that_is_replaced_is_said(done, tmp_path):
    trial, _, rows, _ = done
    other, said = dataclasses.replace(trial, folder=tmp_path), []
    for _ in range(2):
        tryout.save(other, rows, say=said.append)
    assert said == [f"The subset that was in {tmp_path} is replaced; `out` names another folder."]


@pytest.mark.parametrize(
    ("keep", "selector"), [(1.0 - 1e-9, "margin"), pytest.param(1, "top_activations", marks=pytest.mark.long)]
)
def test_the_least_and_the_most_that_can_be_kept(keep, selector, tmp_path):
    """One image; and all of them, so that none is left out. Grey ones, in memory, without file names."""
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 30), dtype=np.uint8)
    source = data.load((images, np.arange(12) % 2), image_size="fit")
    trial = tryout.plan(source, keep=keep, selector=selector, seeds=1, out=tmp_path)
    arms, rows = tryout.carry_out(trial, say=lambda line: None), tryout.subset(trial)
    assert len(rows) == (1 if keep == 1 else len(source.train_images))
    assert "one seed cannot tell" in tryout.verdict(arms)[0]
    assert tryout.pictures(trial, rows).axes
    assert {line["file"] for line in table_of(tryout.save(trial, rows)[1])} == {""}


# --- the report ---


def test_the_report_is_the_chapter_without_its_code_and_needs_nothing_else(tmp_path):
    written = tryout.render(tryout.plan(SHAPES, out=tmp_path), tryout.CHAPTER).read_text("utf-8")
    page, words = BeautifulSoup(written, "html.parser"), re.sub('base64,[^"]+', "", written)
    assert page.select("script, link, iframe, object, a") == []
    assert not re.search(r"url\(|http(?!-equiv)", words)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.select("img"))
    assert [image["alt"].split()[0] for image in page.select("img")] == ["Images", "Bars", "Test"]
    assert page.find("meta", attrs={"name": "viewport"})
    assert page.title.text == page.h1.text == "Is selection worth it? shapes"
    headings = [heading.text for heading in page.select("h2")]
    assert headings[:2] == ["The verdict", "What was loaded"]
    assert headings[-1] == "Take it home"
    assert page.ul.find_next("li").text.startswith("On this data, in this budget, ")
    said = page.get_text()
    assert tryout.LINES in said
    for left_out in ("import", "tryout.plan", "[1/", "admonition", "Embeddings that you already have"):
        assert left_out not in said.replace(tryout.LINES, "")


# --- the verdict ---


def made_up(name, seed, accuracy, ledger=(), test_images=10**8):  # so many that their draw adds nothing
    embedding = records.Autoencoder("d", 1, 1) if name == "top_activations" else None
    spec = Run("d", name, 200, 64, 0.1, keep=None if name == ALL else 40, seed=seed, embedding=embedding)
    metrics = {"test_accuracy": accuracy, "kept": 400 if name == ALL else 40, "distinct": 40}
    lines = [*ledger, ("training compilation", 1.0), ("training", 2.0), ("evaluation", 9.0)]
    lines = [{"stage": stage, "seconds": s, "samples": 1} for stage, s in lines]
    return Record(spec, metrics | {"test_images": test_images}, lines, {})


def made_up_arms(random, full, balanced=None, seeds=4, ledger=(("autoencoder", 5.0), ("selection", 0.5))):
    """Arms in which the selector has so many points, with a little noise, more than the others."""
    behind = {ALL: full, "random_subset": random, "stratified_random": random if balanced is None else balanced}
    arms = {name: [made_up(name, s, 0.5 + 0.01 * s - gap + 0.001 * (-1) ** s) for s in range(seeds)]
            for name, gap in behind.items()}  # fmt: skip
    return arms | {"top_activations": [made_up("top_activations", s, 0.5 + 0.01 * s, ledger) for s in range(seeds)]}


GAINED, LOST, NEITHER = (f"selection {what}" for what in ("gained", "lost", "made no measurable difference"))
BALANCED = "Not worth it here: as many images drawn at random, each class with its sh"


@pytest.mark.parametrize(("gaps", "against", "worth"), [
    ((0.05, 0.05, 0.05), (GAINED, GAINED, GAINED), "Worth it: the subset is better than chance and than all"),
    ((0.05, 0.05, -0.05), (GAINED, GAINED, LOST), "Worth it only where all the data cannot be kept"),
    ((0.05, 0.05, 0.0), (GAINED, GAINED, NEITHER), "Worth it where a small set"),
    ((-0.05, -0.05, 0.05), (LOST, LOST, GAINED), "Not worth it here: as many images drawn at random are b"),
    ((0.0, 0.0, 0.05), (NEITHER, NEITHER, GAINED), "Not shown to be worth it: "),
    ((0.05, -0.05, 0.05), (GAINED, LOST, GAINED), BALANCED),
    ((0.0, -0.05, 0.05), (NEITHER, LOST, GAINED), BALANCED),
    ((0.05, 0.0, 0.05), (GAINED, NEITHER, GAINED), "Worth it: the subset is better than chance and than all"),
])  # fmt: skip
def test_the_verdict_is_what_the_intervals_allow(gaps, against, worth):
    random, balanced, full = gaps
    arms = made_up_arms(random, full, balanced)
    *said, _, last, _ = tryout.verdict(arms)
    for line, found, rival in zip(said, against, tryout.AGAINST.values(), strict=True):
        assert line.startswith(f"On this data, in this budget, {found} against {rival}")
    assert f"{100 * random:+.1f} ± 0.2 points (n = 4)" in said[0].replace("-0.0", "+0.0")
    assert last.startswith(worth)
    assert ("these runs cannot tell" in last) == (NEITHER in against and LOST not in against)
    table = tryout.accuracy(arms).iloc[-1, 2:]
    assert [*table.index] == ["minus random", "minus random, balanced", "minus all the data"]
    assert all(gap in line for gap, line in zip(table, said, strict=True))  # the table has the verdict's intervals


def test_one_seed_cannot_tell():
    *gaps, _, last, _ = tryout.verdict(made_up_arms(0.3, -0.3, seeds=1))
    assert [line.count("one seed cannot tell whether selection gained or lost") for line in gaps] == [1, 1, 1]
    assert all("(n = 1)" in line and "±" not in line for line in gaps)
    assert last == "Give it more seeds, five or so, before you decide."


def test_the_verdict_says_what_choosing_cost_and_how_it_was_measured():
    *_, cost, _, last = tryout.verdict(made_up_arms(0.05, 0.05))
    assert cost == ("Choosing cost 5.5 s (autoencoder 5.0 s, selection 0.5 s), and a training 3.0 s. All arms train "
                    "for the same steps, so choosing saves no time by itself.")  # fmt: skip
    assert last.startswith("Measured on 100,000,000 test images, of which one is 1e-06 points, after 200 steps of 64")
    assert "40 of 400 images kept (filter, refill). The intervals cover the seeds of the training and the draw" in last
    *_, cost, _, _ = tryout.verdict(made_up_arms(0.05, 0.05, ledger=(("given", 0.0), ("selection", 0.5))))
    assert cost.startswith("Choosing cost 0.5 s (given 0.0 s, selection 0.5 s)")
    assert cost.endswith("What the given embeddings cost to make is not counted.")


@pytest.mark.parametrize(("images", "gained"), [(7, False), (10**5, True)])
@pytest.mark.parametrize("right", [0, 6 / 7])
def test_seeds_that_agree_on_a_handful_of_test_images_prove_nothing(images, gained, right):
    """Each seed gains the same seventh of the test images, once one image, once very many."""
    rivals, chosen = (
        [made_up("random_subset", s, more + right, test_images=images) for s in range(3)] for more in (0, 1 / 7)
    )
    first, *_ = tryout.verdict(dict.fromkeys(made_up_arms(0, 0), rivals) | {"top_activations": chosen})
    assert (GAINED in first, NEITHER[10:] in first) == (gained, not gained)


def test_the_draw_of_the_test_images_is_that_of_two_independent_samples():
    first, second = ([made_up("random_subset", s, p, test_images=200) for s in range(3)] for p in (0.6, 0.4))
    assert tryout.difference(first, second).half == pytest.approx(1.96 * np.sqrt(2 * 0.25 / 200), rel=1e-4)


# --- embeddings that are given ---


def test_given_embeddings_are_named_by_their_content(tmp_path):
    np.save(tmp_path / "given.npy", GIVEN)
    spec, array = experiments.vectors(tmp_path / "given.npy", SHAPES)
    assert spec == Vectors(SHAPES.fingerprint, spec.digest, 5)
    assert np.array_equal(array, GIVEN)
    assert experiments.vectors(np.asfortranarray(GIVEN), SHAPES)[0] == spec
    others = (GIVEN[::-1], GIVEN.astype("float64"), GIVEN[:, ::-1], GIVEN[:, :4])
    assert len({spec, *(experiments.vectors(other, SHAPES)[0] for other in others)}) == 5


def test_embeddings_that_cannot_be_used_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", GIVEN)
    (tmp_path / "words.npy").write_text("one two three")
    for embeddings, message in [
        (GIVEN[:39], "embeddings: expected a row for each of the 40 training images of shapes, found 39 rows"),
        (GIVEN[:, 0], r"embeddings: expected shape \(N, n\)"),
        (np.where(GIVEN.max() == GIVEN, np.nan, GIVEN), "embeddings: expected finite values, found 1 NaN"),
        (tmp_path / "nowhere.npy", r"nowhere\.npy cannot be read as an \.npy file"),
        (tmp_path / "pickled.npy", r"pickled\.npy cannot be read as an \.npy file"),
        (tmp_path / "words.npy", r"words\.npy cannot be read as an \.npy file"),
        (tmp_path / "several.npz", r"expected an \.npy file of one array, found the \.npz .*several\.npz"),
    ]:
        with pytest.raises(InputError, match=message):
            experiments.given(embeddings, SHAPES, Store(tmp_path / "out"), "tiny")
        assert not (tmp_path / "out").exists()


def test_a_trial_on_given_embeddings_trains_no_autoencoder(tmp_path):
    trial = tryout.plan(SHAPES, embeddings=GIVEN, keep=10, seeds=1, out=tmp_path)
    with pytest.raises(InputError, match=r"The vectors \w{12} are not at hand in .*: hand them to `given`"):
        tryout.subset(trial)
    arms = tryout.carry_out(trial, say=lambda line: None)
    given, *runs = trial.store.records().values()
    assert [type(record.spec) for record in (given, *runs)] == [Vectors, Run, Run, Run, Run]
    assert given.ledger == [{"stage": "given", "seconds": 0.0, "samples": 40}]
    assert "vectors" in records.describe(given)
    assert experiments.given(GIVEN, SHAPES, trial.store, "tiny") == given.spec == trial.embedding  # once is enough
    rows = selection.top_activations(GIVEN, 10)
    assert np.array_equal(tryout.subset(trial), rows)
    counts = np.bincount(SHAPES.train_labels[rows], minlength=10).tolist()
    assert arms["top_activations"][0].metrics["class_counts"] == counts
    assert tryout.costs(arms)["given"].tolist() == [0, 0, 0, 0]


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


def test_a_mistake_is_one_sentence_and_exit_status_2(folder, tmp_path, capsys, ready):
    (tmp_path / "file").write_text("a text")
    for name in ("cats", "dogs"):
        (tmp_path / "torn" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "torn" / name / "1.png")
    (tmp_path / "torn" / "cats" / "torn.jpg").write_bytes(b"\xff\xd8 not more of it")
    places = {"FOLDER": folder} | {name.upper(): tmp_path / name for name in ("nowhere", "file", "torn")}
    for arguments, message in [
        ("NOWHERE", "No folder or .npz file was found at"),
        ("TORN", "torn.jpg cannot be read as an image"),
        ("FOLDER --keep 1.5", "keep: expected a fraction between 0 and 1"),
        ("FOLDER --profile labtop", "no profile named 'labtop'; did you mean 'laptop'?"),
        ("FOLDER --seeds 0", "seeds: expected a whole number of at least 1"),
        ("FOLDER --embeddings NOWHERE", "cannot be read as an .npy file"),
        ("FOLDER --out FILE", "cannot be written to"),
    ]:
        arguments = [places.get(argument, argument) for argument in arguments.split()]
        code, _, (said,) = call(capsys, "--out", tmp_path / "out", *arguments)
        assert code == 2
        assert message in said
        assert ready == {}
        assert not (tmp_path / "out").exists()


def test_what_needs_no_data_is_refused_before_any_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("the dataset was loaded"))
    assert call(capsys, "shapes", "--selector", "x")[0] == 2
    for module in ("nbconvert", "nbformat", "papermill"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert "pip install 'embsel[book]'" in call(capsys, "shapes")[2][0]


def test_a_chapter_that_is_not_there_is_said(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tryout, "CHAPTER", tmp_path / "missing.ipynb")
    code, _, (said,) = call(capsys, folder, "--out", tmp_path)
    assert code == 2
    assert "missing.ipynb is not there: use a copy of the repository" in said


def test_the_command_runs_the_chapter_up_to_its_report_and_prints_the_verdict(done, folder, capsys, ready):
    trial, arms, *_ = done
    code, out, err = call(capsys, folder, "--keep", "0.3", "--seeds", "2", "--out", trial.folder)
    assert (code, err) == (0, [])
    assert ready == {"source": str(folder), "profile": "tiny", "keep": 0.3, "selector": "top_activations", "seeds": 2,
                     "embeddings": None, "out": str(trial.folder)}  # fmt: skip
    assert out == "\n".join(["", *tryout.verdict(arms), "", f"The report: {trial.folder / 'report.html'}\n"])
    assert (trial.folder / "report.html").exists()
    declared = papermill.inspect_notebook(str(tryout.CHAPTER))
    assert set(ready) == set(declared)
    assert declared["keep"]["default"] == "0.1"
    run, whole = ([cell.source for cell in nbformat.read(file, as_version=4).cells]
                  for file in (trial.folder / "notebook.ipynb", tryout.CHAPTER))  # fmt: skip
    assert run == whole[: len(run)]
    assert any("tryout.save(" in source for source in run)
    assert not any("exercise" in source or "sklearn" in source for source in run)


@pytest.mark.parametrize("named", ["source", "EMBSEL_DATA", ""])
def test_only_the_books_own_data_goes_to_a_temporary_folder(named, folder, monkeypatch):
    """The cells that load and plan, as the chapter's text has them."""
    monkeypatch.setenv("EMBSEL_DATA", str(folder) if named == "EMBSEL_DATA" else "")
    choices = {"profile": "tiny", "keep": 0.3, "selector": "margin", "seeds": 1, "embeddings": None, "out": None}
    known = choices | {"source": {"source": str(folder), "": ""}.get(named)}
    code = [cell.source for cell in tryout.chapter(tryout.CHAPTER).cells if cell.cell_type == "code"]
    for cell in code[1 : 1 + next(place for place, cell in enumerate(code) if "tryout.plan(" in cell)]:
        exec(cell, known)
    assert known["mine"] == bool(named)
    assert (known["trial"].folder.parts[0] == "_try") == bool(named)
    assert known["dataset"].name == (folder.name if named else "shapes")


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A function that puts a chapter of a parameters cell and another one in the place of the book's."""

    def write(source):
        cells = [nbformat.v4.new_code_cell(text) for text in ("source = None", "print('so far, so good')", source)]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "chapter.ipynb")
        monkeypatch.setattr(tryout, "CHAPTER", tmp_path / "chapter.ipynb")

    return write


@pytest.mark.parametrize(("source", "why"), [
    ("a = 1\nraise MemoryError('no room.')", "notebook, which begins with 'a = 1', failed: MemoryError: no room. The"),
    pytest.param("import os\nos._exit(1)", "The notebook could not be run (DeadKernelError: ", marks=pytest.mark.long),
])  # fmt: skip
def test_a_chapter_that_fails_is_a_sentence(source, why, chapter, folder, tmp_path, capsys):
    chapter(source)
    code, out, (said,) = call(capsys, folder, "--out", tmp_path / "out")
    assert code == 1
    assert "so far, so good" in out
    assert why in said
    assert said.endswith(f". The notebook as far as it ran: {tmp_path / 'out' / 'notebook.ipynb'}")
    assert "so far, so good" in (tmp_path / "out" / "notebook.ipynb").read_text("utf-8")


def test_an_interruption_is_a_sentence(folder, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    code, _, (said,) = call(capsys, folder, "--out", tmp_path)
    assert (code, said) == (130, "embsel: interrupted. What is recorded is kept: the same command goes on from there.")


@pytest.mark.long
def test_the_chapter_itself_ends_in_a_report_with_every_name_as_it_is(folder, tmp_path, capsys, monkeypatch):
    """The whole way, through papermill and a kernel of its own, which has the true `tiny` profile."""
    monkeypatch.setitem(profiles.PROFILES, "tiny", TINY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(records.ROOT), os.environ.get("PYTHONPATH", "")]))
    code, out, err = call(capsys, folder, "--keep", "10", "--seeds", "1", "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert "one seed cannot tell" in out
    assert len(np.load(tmp_path / "out" / "subset.npy")) == 10
    assert "picture" in (tmp_path / "out" / "subset.csv").read_text("utf-8")
    page = BeautifulSoup((tmp_path / "out" / "report.html").read_text("utf-8"), "html.parser")
    assert page.select("b, script, a") == []
    assert {cell.text for cell in page.select("tbody th")} >= CLASSES.keys()
    assert len(page.select("img")) == 3
    assert "notes.txt" in page.text  # the stray file
    assert all(line.split(". ")[0] in page.text for line in out.splitlines() if line.startswith(("On ", "Choosing ")))
