"""What cannot be used is refused at the door, in a sentence: the thing, what was expected and what was found.

A message stands below as it is read, with … for what may be anything.
"""

import json
import re

import numpy as np
import pytest

from embsel import models, selection, training, tryout
from embsel.__main__ import main
from embsel.data import shapes
from embsel.errors import InputError
from embsel.lab import experiments, suites
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store, Vectors
from embsel.lab import parallel
from embsel.selection import SELECTORS, per_class, top_activations

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.arange(6) % 2
ROWS = np.random.default_rng(1).normal(size=(30, 4)).astype("float32")
SHAPES = shapes(train=40, test=10)
RUN = {"dataset": "d", "selector": ALL, "steps": 3, "batch": 4, "rate": 0.1}
RECORD = json.loads(Record(Run(**RUN), {}, [], {}).to_json())


def written(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def plan(**choices):
    return tryout.plan(SHAPES, **choices)


def embed(pixels, **options):
    encoder, _ = models.autoencoder(shape=(24, 24, 3), widths=(2, 2, 2))
    return training.embed(encoder, pixels, **options)


def record(**changes):
    return Record.from_json(json.dumps(RECORD | changes))


UNREAD = "it is not a record that can be read "
LENGTH = "A phase lasts for a whole number of steps or for seconds, 0 or more and finite, not for "
TABLE = {  # what is done in an empty folder, and the message
    "a selector's name misspelt": (lambda t: selection.selector("randon_subset"),
        "There is no selector named 'randon_subset'; did you mean 'random_subset'?"),
    "a list for a selector's name": (lambda t: selection.selector([]), "There is no selector named []; known: …."),
    "chunks of different widths": (lambda t: top_activations([ROWS[:5], ROWS[:5, :2]], 3), "embeddings: expected "
        "chunks that are alike, found 2 elements of float32 after 5 rows, and 4 elements of float32 in the first chunk."),  # noqa: E501
    "a chunk of unequal rows": (lambda t: top_activations(iter([[[1], [2, 3]]]), 1),
        "embeddings: expected an array, found lists of unequal length."),
    "class by class without labels": (lambda t: per_class(top_activations)(ROWS, 3),
        "labels: top_activations needs one integer for each row, found None."),
    "a variance in words": (lambda t: selection.pca_activations(ROWS, 3, variance="x"),
        "variance: expected a number between 0 and 1, found 'x'."),
    "a distance of rows that are not there": (lambda t: selection.dispersion(ROWS, np.arange(500)),
        "rows: expected row numbers (k,) from 0 to 29, found 0 to 499."),
    "a run of no steps": (lambda t: Run(**RUN | {"steps": 0}),
        "Run.steps must be of type int, above 0 and finite, not 0."),
    "a run with a selector and no size": (lambda t: Run(**RUN | {"selector": "random_subset"}),
        "The selector 'random_subset' needs the number of images to keep: give Run.keep."),
    "a rate that no float holds": (lambda t: Run(**RUN | {"rate": 10**320}),
        "Run.rate must be of type float, above 0 and finite, not 1…."),
    "a run on another dataset": (lambda t: experiments.execute(Run(**RUN), SHAPES, Store(t), "tiny"),
        f"The run wants the dataset d, but shapes has the fingerprint {SHAPES.fingerprint}."),
    "a store that is a file": (lambda t: Store(written(t, "file", "")).append(record(provenance={"profile": "tiny"})),
        "The folder 'TMP/file' cannot be written to: …."),
    "a record without a profile": (lambda t: Store(t).append(record()),
        "A record's profile is the name of its file: expected no slash in it, found None."),
    "a folder among the records": (lambda t: [(t / "x.jsonl").mkdir(), Store(t).records()],
        "The file 'TMP/x.jsonl' cannot be read: Is a directory."),
    "records in a file that leads nowhere": (lambda t: [(t / "x.jsonl").symlink_to("y.jsonl"), Store(t).records()],
        "The file 'TMP/x.jsonl' cannot be read: No such file or directory."),
    "a torn record": (lambda t: Record.from_json('{"version"'), f"{UNREAD}(JSONDecodeError: …)."),
    "a record of a later version": (lambda t: record(version=99),
        f"{UNREAD}(InputError: record version 99 is of a later embsel)."),
    "a record with NaN": (lambda t: record(metrics={"a": float("nan")}),
        f"{UNREAD}(InputError: NaN is no finite number)."),
    "a record of other types": (lambda t: record(metrics=1, ledger={}),
        f"{UNREAD}(InputError: of another type than expected: metrics, ledger)."),
    "a ledger without seconds": (lambda t: record(ledger=[{"stage": "training"}]), f"{UNREAD}(KeyError: 'seconds')."),
    "a phase without images": (lambda t: training.Phase(np.array([], int), 5),
        "A phase needs at least one image to train on, and got none."),
    "a phase of a number": (lambda t: training.Phase(3, 1),
        "Phase.indices: expected image numbers (n,) or a function that returns them, found int64 of shape ()."),
    "a phase of a mask": (lambda t: training.Phase(LABELS == 0, 1),
        "Phase.indices: expected image numbers (n,) or …, found bool of shape (6,)."),
    "a phase of unequal lists": (lambda t: training.Phase([[1], [1, 2]], 1),
        "Phase.indices: expected an array, found lists of unequal length."),
    "a phase without length": (lambda t: training.Phase(LABELS),
        "A phase is given in steps or in seconds: give exactly one of the two."),
    "a phase of two lengths": (lambda t: training.Phase(LABELS, 5, 5.0),
        "A phase is given in steps or in seconds: give exactly one of the two."),
    "a phase of less than no steps": (lambda t: training.Phase(LABELS, -1), f"{LENGTH}-1 steps, None seconds."),
    "a phase of half a step": (lambda t: training.Phase(LABELS, 1.5), f"{LENGTH}1.5 steps, None seconds."),
    "a phase of endless seconds": (lambda t: training.Phase(LABELS, None, float("inf")),
        f"{LENGTH}None steps, inf seconds."),
    "floats to embed": (lambda t: embed(np.zeros((3, 32, 32, 3))),
        "pixels: expected uint8 of shape (N, H, W, C), not empty, found float64 of shape (3, 32, 32, 3)."),
    "images smaller than the crop": (lambda t: embed(np.zeros((3, 8, 8, 3), np.uint8)),
        "The networks see 24 x 24 pixels, and the images have only 8 x 8."),
    "embeddings for another place": (lambda t: embed(SHAPES.train_images, out=t / "x.txt"),
        "out: expected a path that ends in .npy or .zarr, found 'TMP/x.txt'."),
    "embeddings of other images": (lambda t: experiments.vectors(np.zeros((39, 2)), SHAPES),
        "embeddings: expected a row for each of the 40 training images of shapes, found 39 rows."),
    "embeddings in no file": (lambda t: experiments.vectors(t / "x.npy", SHAPES),
        "embeddings: TMP/x.npy cannot be read as an .npy file: …."),
    "embeddings of unequal length": (lambda t: experiments.given([[1], [1, 2]], SHAPES, Store(t), "tiny"),
        "embeddings: expected an array, found lists of unequal length."),
    "a trial of a baseline": (lambda t: plan(selector="random_subset"),
        "selector: 'random_subset' is a baseline of every trial; name another selector."),
    "a trial that keeps more than there is": (lambda t: plan(keep=41),
        "keep: expected a fraction between 0 and 1 or a whole number from 1 to 40, found 41."),
    "a trial of half a seed": (lambda t: plan(seeds=0.5), "seeds: expected a whole number of at least 1, found 0.5."),
    "a profile misspelt": (lambda t: suites.profile("tinny"),
        "There is no profile named 'tinny'; did you mean 'tiny'?"),
    "a suite misspelt": (lambda t: suites.suite("recipe", suites.profile("tiny"), SHAPES),
        "There is no suite named 'recipe'; did you mean 'recipes'…?"),
    "embeddings of no elements": (lambda t: Vectors("d", "0", 0),
        "Vectors.elements must be of type int, above 0 and finite, not 0."),
    "no device": (lambda t: parallel.across(0), "devices: expected a whole number of at least 1, found 0."),
    "more devices than there are": (lambda t: parallel.across(1000),
        "devices: expected at most …, as there are here, found 1000."),
    "an autoencoder of two widths": (lambda t: Autoencoder("d", 1, 1, widths=(1, 2)),
        "Autoencoder.widths must be three whole numbers of at least 1, not (1, 2)."),
}  # fmt: skip
AT_EVERY_SELECTOR = {
    "embeddings of unequal length": ({"embeddings": [[1], [1, 2]]},
        "embeddings: expected an array, found lists of unequal length."),
    "labels of unequal length": ({"labels": [[1], [1, 2]]},
        "labels: expected an array, found lists of unequal length."),
    "no embeddings": ({"embeddings": None}, "embeddings: expected shape (N, n), not empty, found ()."),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_long_work(tmp_path, monkeypatch):
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("training began"))


def refused(do, message, folder):
    """Assert that `do` raises exactly an InputError with this message, and that the message is a sentence."""
    with pytest.raises(InputError) as caught:
        do(folder)
    assert caught.type is InputError
    said = str(caught.value).replace(str(folder), "TMP")
    assert re.fullmatch(".*".join(map(re.escape, message.split("…"))), said), said
    assert "\n" not in said
    assert "Traceback" not in said
    assert len(said) < 400 or "must be of type" in said
    assert said[-1] in ".?"


def in_turn(cases, subtests, folder):
    """Each case by its name, in a folder of its own: what fails is named, and does not hide what comes after it."""
    for number, (name, (do, message)) in enumerate(cases):
        (own := folder / str(number)).mkdir()
        with subtests.test(name):
            refused(do, message, own)


@pytest.mark.parametrize("part", range(4))
def test_bad_input_is_refused_in_a_sentence(part, subtests, tmp_path):
    in_turn(list(TABLE.items())[part::4], subtests, tmp_path)


@pytest.mark.parametrize("case", AT_EVERY_SELECTOR)
def test_every_selector_refuses(case, subtests, tmp_path):
    wrong, message = AT_EVERY_SELECTOR[case]
    given = {"embeddings": np.full((30, 3), 1 / 3), "k": 5, "labels": np.arange(30) % 3} | wrong
    cases = [(name, (lambda _, select=select: select(**given), message)) for name, select in SELECTORS.items()]
    in_turn(cases, subtests, tmp_path)


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["try", "shaeps"], 2, "There is no dataset named 'shaeps'; did you mean 'shapes'"),
    (["try", "shapes", "--profile", "x"], 2, "There is no profile named 'x'; known: laptop, paper, tiny."),
    (["record", "--suite", "x"], 1, "There is no suite named 'x'; known: "),
])  # fmt: skip
def test_the_command_line_says_one_line(arguments, status, message, capsys, tmp_path):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"embsel: {message}")
