"""What holds for every test: quiet libraries, no window for a figure, the same random numbers each time."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before any test imports TensorFlow
os.environ["MPLBACKEND"] = "Agg"
for name in ("EMBSEL_PROFILE", "EMBSEL_DATA"):  # a test that is about these sets them itself
    os.environ.pop(name, None)

# A busy machine must not fail a test, and each run tries the same examples.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds the book and the package."""
    return ROOT


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (libraries may draw from the global state)
