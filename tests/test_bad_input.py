"""What cannot be used is refused at the door, in a sentence: the thing, what was expected and what was found.

A message stands below as it is read, with … for what may be anything. Each wing's own doors: beside its tests.
"""

import re

import numpy as np
import pytest

from embsel import models, selection, training
from embsel.__main__ import main
from embsel.data import shapes
from embsel.errors import InputError
from embsel.lab import experiments, parallel
from embsel.lab.records import ALL, Run, Store, Vectors
from embsel.selection import SELECTORS, top_activations

MASK = np.arange(6) % 2 == 0
ROWS = np.random.default_rng(1).normal(size=(30, 4)).astype("float32")
SHAPES = shapes(train=40, test=10)


def embed(pixels):
    encoder, _ = models.autoencoder(shape=(24, 24, 3), widths=(2, 2, 2))
    return training.embed(encoder, pixels)


TABLE = {  # what is done in an empty folder, and the message
    "a list for a selector's name": (lambda t: selection.selector([]), "There is no selector named []; known: …."),
    "a chunk of unequal rows": (lambda t: top_activations(iter([[[1], [2, 3]]]), 1),
        "embeddings: expected an array, found lists of unequal length."),
    "a variance in words": (lambda t: selection.pca_activations(ROWS, 3, variance="x"),
        "variance: expected a number between 0 and 1, found 'x'."),
    "a rate that no float holds": (lambda t: Run("d", ALL, 3, 4, 10**320),
        "Run.rate must be of type float, above 0 and finite, not 1…."),
    "a folder among the records": (lambda t: [(t / "x.jsonl").mkdir(), Store(t).records()],
        "The file 'TMP/x.jsonl' cannot be read: Is a directory."),
    "records in a file that leads nowhere": (lambda t: [(t / "x.jsonl").symlink_to("y.jsonl"), Store(t).records()],
        "The file 'TMP/x.jsonl' cannot be read: No such file or directory."),
    "a phase without images": (lambda t: training.Phase(np.array([], int), 5),
        "A phase needs at least one image to train on, and got none."),
    "a phase of a number": (lambda t: training.Phase(3, 1),
        "Phase.indices: expected image numbers (n,) or a function that returns them, found int64 of shape ()."),
    "a phase of a mask": (lambda t: training.Phase(MASK, 1),
        "Phase.indices: expected image numbers (n,) or …, found bool of shape (6,)."),
    "a phase of unequal lists": (lambda t: training.Phase([[1], [1, 2]], 1),
        "Phase.indices: expected an array, found lists of unequal length."),
    "a phase of less than no steps": (lambda t: training.Phase([0, 1], -1),
        "Phase.steps: expected a whole number of at least 0, found -1."),
    "a phase of half a step": (lambda t: training.Phase([0, 1], 1.5),
        "Phase.steps: expected a whole number of at least 0, found 1.5."),
    "floats to embed": (lambda t: embed(np.zeros((3, 32, 32, 3))),
        "pixels: expected uint8 of shape (N, H, W, C), not empty, found float64 of shape (3, 32, 32, 3)."),
    "embeddings of unequal length": (lambda t: experiments.given([[1], [1, 2]], SHAPES, Store(t), "tiny"),
        "embeddings: expected an array, found lists of unequal length."),
    "embeddings of no elements": (lambda t: Vectors("d", "0", 0),
        "Vectors.elements must be of type int, above 0 and finite, not 0."),
    "more devices than there are": (lambda t: parallel.across(1000),
        "devices: expected at most …, as there are here, found 1000."),
}
AT_EVERY_SELECTOR = {
    "embeddings of unequal length": ({"embeddings": [[1], [1, 2]]},
        "embeddings: expected an array, found lists of unequal length."),
    "labels of unequal length": ({"labels": [[1], [1, 2]]},
        "labels: expected an array, found lists of unequal length."),
    "no embeddings": ({"embeddings": None}, "embeddings: expected shape (N, n), not empty, found ()."),
}


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
    assert len(said) < 400 or "must be of type" in said
    assert said[-1] in ".?"


@pytest.mark.parametrize("what", TABLE)
def test_bad_input_is_refused_in_a_sentence(what, tmp_path):
    refused(*TABLE[what], tmp_path)


@pytest.mark.parametrize("what", AT_EVERY_SELECTOR)
def test_every_selector_refuses(what, subtests, tmp_path):
    wrong, message = AT_EVERY_SELECTOR[what]
    given = {"embeddings": np.full((30, 3), 1 / 3), "k": 5, "labels": np.arange(30) % 3} | wrong
    for name, select in SELECTORS.items():
        with subtests.test(name):
            refused(lambda _, select=select: select(**given), message, tmp_path)


@pytest.mark.parametrize(("arguments", "status", "message"), [
    (["try", "shaeps"], 2, "There is no dataset named 'shaeps'; did you mean 'shapes'"),
    (["try", "shapes", "--profile", "x"], 2, "There is no profile named 'x'; known: laptop, paper, tiny."),
    (["record", "--suite", "x"], 1, "There is no suite named 'x'; known: "),
])
def test_the_command_line_says_one_line(arguments, status, message, capsys, tmp_path):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"embsel: {message}")
