"""The settings of chapter 8, the share of random images that is as good, and the crossed table."""

import dataclasses

import numpy as np
import pytest
from made_up import charged as a_run
from made_up import charged_runs as runs

from embsel.errors import InputError
from embsel.lab.ablations import as_range, crossed_table, equal_keep
from embsel.lab.compare import Interval
from embsel.lab.records import Autoencoder, Record

# --- how many random images are as good ---

CURVE = {8000: runs(0.6, 0.8), 500: runs(0.2, 0.4), 2000: runs(0.5)}  # means: 0.3, 0.5, 0.7


def test_an_accuracy_has_as_many_random_images():
    """In between half-way in the logarithm; never fewer or more than were tried."""
    for accuracy, keep in [(0.5, 2000), (0.4, 1000), (0.6, 4000), (0.1, 500), (0.9, 8000)]:
        assert np.exp(equal_keep(runs(accuracy), CURVE).mean) == pytest.approx(keep)


def test_the_interval_of_equal_images_is_over_the_chosen_runs():
    assert equal_keep(runs(0.4, 0.5, 0.6), CURVE) == Interval.of(np.log([1000, 2000, 4000]))


def test_equal_images_are_told_as_a_range_of_two_digits():
    assert as_range(Interval(np.log(1267), np.log(1.16), 5)) == "1,100 to 1,500"


def test_more_random_images_are_not_worse():
    dip = {500: runs(0.3), 2000: runs(0.5), 4000: runs(0.45), 8000: runs(0.7)}
    assert np.exp(equal_keep(runs(0.48), dip).mean) < 2000
    assert np.exp(equal_keep(runs(0.6), dip).mean) == pytest.approx(2**0.5 * 4000)  # half-way from 0.5, not from 0.45
    found = [equal_keep(runs(accuracy), dip).mean for accuracy in np.linspace(0.2, 0.8, 50)]
    assert (np.diff(found) >= 0).all()


def test_a_crossed_table_has_one_autoencoder_a_row():
    def cell(seed, other, machine):
        spec = dataclasses.replace(a_run(0.5).spec, seed=seed, embedding=Autoencoder("d", 1, 1, seed=other))
        return Record(spec, {"test_accuracy": 0.1 * seed + 0.01 * other}, [], {"hardware": machine})

    here = [cell(seed, other, "here") for seed in (0, 1) for other in (0, 1)]
    assert crossed_table(here) == pytest.approx(np.array([[0, 0.1], [0.01, 0.11]]))
    with pytest.raises(InputError, match="2 seeds by 2, only 3"):
        crossed_table(here[:3])
    with pytest.raises(InputError, match="an autoencoder each, and there are up to 3 of them"):
        crossed_table([*here[:3], cell(1, 1, "there")])
