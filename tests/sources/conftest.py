"""What the tests of reading data share: little images, a folder of them, and what a refusal has to look like."""

import re

import numpy as np
import pytest
from PIL import Image

from embsel.data import load
from embsel.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where decoded folders are kept: empty at first."""
    monkeypatch.setenv("EMBSEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def split():
    """Images and labels of a training and of a test split: 12 and 4 images of 6x5 pixels, in colour, of two classes."""
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (count, 6, 5, 3), np.uint8) for count in (12, 4)]
    return (images[0], np.arange(12) % 2), (images[1], np.array([0, 1, 1, 0]))


@pytest.fixture
def pets(tmp_path, split):
    """A folder with train/ and test/, in which the images of `split` lie as PNG, of cats and dogs."""
    for half, (images, labels) in zip(("train", "test"), split, strict=True):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = tmp_path / "pets" / half / ("cat", "dog")[label] / f"{number:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    return tmp_path / "pets"


@pytest.fixture
def refused(tmp_path):
    """Assert that a source is refused with exactly this sentence, in which … may be anything, and TMP the folder."""

    def check(source, message, **options):
        with pytest.raises(InputError) as caught:
            source(tmp_path) if callable(source) else load(source, **options)
        said = str(caught.value).replace(str(tmp_path), "TMP")
        assert caught.type is InputError
        assert re.fullmatch(".*".join(map(re.escape, message.split("…"))), said), said
        assert "\n" not in said
        assert len(said) < 400
        assert said[-1] in ".?"

    return check
