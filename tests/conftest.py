"""What holds for every test: quiet libraries, no window for a figure, the same examples each time."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before any test imports TensorFlow
os.environ["MPLBACKEND"] = "Agg"
for name in ("EMBSEL_PROFILE", "EMBSEL_DATA"):  # a test that is about these sets them itself
    os.environ.pop(name, None)

# A busy machine must not fail a test, and each run tries the same examples: EMBSEL_FUZZ=20 tries twenty times as many
# in tests/test_fuzz.py, others each time.
settings.register_profile("book", deadline=None, derandomize=os.environ.get("EMBSEL_FUZZ", "1") == "1")
settings.load_profile("book")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds the book and the package."""
    return ROOT
