"""What a recipe costs beside full runs, and when a subset is paid for: from records made by hand."""

import dataclasses

import numpy as np
import pytest
from made_up import charged as a_run
from made_up import charged_runs as runs

from embsel.errors import InputError
from embsel.lab import compare
from embsel.lab.compare import Interval
from embsel.lab.cost import LEVEL, SAVING, ahead, moonshot, repaid, reuses, saved, trainings
from embsel.lab.records import Record


def test_a_total_is_all_but_the_evaluation():
    assert compare.total(a_run(0.5, 100.0)) == pytest.approx(100.0)
    stages = ("autoencoder", "embedding", "proxy training")
    shared = [{"stage": stage, "seconds": 2.0, "samples": 1} for stage in stages]
    assert compare.total(Record(a_run(0.5).spec, {}, shared, {})) == 6.0


def test_the_worst_class_is_the_least_of_those_that_were_tested():
    for of_class, worst in [([0.5, 0.2, 0.9], 0.2), ([0.5, None, 0.9], 0.5)]:
        assert compare.worst_class(a_run(0.5, class_accuracy=of_class)) == worst


# --- recipes against full runs ---

FULL = {  # a front of each seed: accuracy 0.5 at 40 seconds, 0.7 at 80, 0.8 at 100; the second seed is 0.1 better
    "all": [a_run(0.8, 100), a_run(0.9, 100, seed=1)],
    "short": [a_run(0.5, 40), a_run(0.6, 40, seed=1)],
    "middle": [a_run(0.7, 80), a_run(0.8, 80, seed=1)],
}


def test_a_recipe_is_ahead_of_full_runs_of_its_own_time():
    for recipe, gaps in [
        ([a_run(0.7, 80)], [0.0]),  # on the front
        ([a_run(0.68, 60)], [0.08]),  # between two of its runs
        ([a_run(0.68, 60), a_run(0.68, 60, seed=1)], [0.08, -0.02]),  # each against the front of its own seed
        ([a_run(0.9, 300)], [0.1]),  # longer than the longest: against that
    ]:
        assert ahead(recipe, FULL) == pytest.approx(dict(enumerate(gaps)), abs=1e-12)


def test_one_full_run_is_no_front():
    for seed, found in [(0, 1), (5, 0)]:
        with pytest.raises(InputError, match=rf"two full runs of seed {seed}, found {found}\."):
            ahead([a_run(0.6, 60, seed=seed)], {"all": FULL["all"]})


def test_what_is_saved_is_a_share_of_the_full_run_of_the_same_seed():
    full = [a_run(0.8, 200, seed=1), a_run(0.8, 100)]
    assert saved([a_run(0.7, 65)], full) == {0: pytest.approx(0.35)}
    assert saved([a_run(0.7, 130)], full) == {0: pytest.approx(-0.3)}
    assert saved([a_run(0.7, 65), a_run(0.7, 150, seed=1)], full) == pytest.approx({0: 0.35, 1: 0.25})


def test_seconds_of_another_machine_are_neither_saved_nor_a_front():
    elsewhere = dataclasses.replace(a_run(0.7, 65), provenance={"hardware": "another"})
    assert saved([elsewhere], FULL["all"]) == {}
    with pytest.raises(InputError, match="two full runs of seed 0 on another, found 0"):
        ahead([elsewhere], FULL)


ENOUGH = {
    "time": Interval(SAVING + 0.05, 0.04, 3),
    "accuracy": Interval(0.0, LEVEL / 2, 3),
    "front": Interval(0.02, 0.01, 3),
}


def test_a_recipe_pays_if_it_meets_all_three_conditions():
    for changes, verdict in [
        ({}, "pays"),
        ({"time": Interval(SAVING, 0.0, 3)}, "pays"),  # a fifth is enough
        ({"time": Interval(SAVING + 0.05, 0.06, 3)}, "does not save the time"),
        ({"time": Interval(0.9, np.inf, 1)}, "does not save the time"),  # one run shows nothing
        ({"accuracy": Interval(0.0, LEVEL, 3)}, "may be below the full run"),
        ({"accuracy": Interval(-LEVEL / 2, LEVEL / 3, 3)}, "pays"),  # a little below, but for certain no more
        ({"front": Interval(0.02, 0.02, 3)}, "not ahead of short full runs"),
        (
            dict.fromkeys(ENOUGH, Interval(-1, 0, 3)),
            "does not save the time; may be below the full run; not ahead of short full runs",
        ),
        ({"front": Interval(0.02, 0.01, 3, p=0.06)}, "not ahead of short full runs"),  # one of many
        ({"front": Interval(np.nan, np.nan, 3)}, "not ahead of short full runs"),
        ({"accuracy": Interval(np.nan, np.nan, 3)}, "may be below the full run"),
    ]:
        assert moonshot(**ENOUGH | changes) == verdict


# --- how often a cost is shared ---


def test_a_cost_is_shared_until_it_no_longer_costs_time():
    assert reuses(100, 60, 100) == 3  # 100 + 3 * 60 = 280 < 300
    assert [reuses(once, 60, 100) for once in (80, 81, 5, 0)] == [2, 3, 1, 0]  # equal at two: no longer is enough
    assert reuses(100, 100, 100) == reuses(0, 120, 100) == np.inf


def test_a_training_saves_what_a_full_run_as_accurate_takes():
    """Half-way between those of 40 and of 80 seconds; worse than the shortest, and better than the longest."""
    for accuracy, alone in [(0.6, 60.0), (0.3, 40.0), (0.95, 100.0)]:
        once, saving = repaid([a_run(accuracy, 50)], FULL)  # of 50 seconds a run trains 40 and chooses 10
        assert (once.mean, saving.mean) == (pytest.approx(10), pytest.approx(alone - 40))


def test_what_is_saved_each_time_has_the_interval_of_its_pairs():
    once, saving = repaid([a_run(0.6, 50), a_run(0.8, 100, seed=1)], FULL)  # the second: alone 80, it trains 80
    assert (once.n, saving.n) == (2, 2)
    assert once.half == pytest.approx(Interval.of([10, 20]).half)
    assert (saving.mean, saving.half) == (pytest.approx(10), pytest.approx(Interval.of([20, 0]).half))


def test_a_longer_full_run_that_is_worse_is_not_taken_for_quicker():
    dip = {"short": runs(0.7, seconds=40), "middle": runs(0.6, seconds=80), "all": runs(0.8, seconds=100)}
    assert repaid([a_run(0.65, 50)], dip)[1].mean == pytest.approx(0)  # 0.65 is reached in 40 seconds
    assert repaid([a_run(0.75, 50)], dip)[1].mean == pytest.approx(90 - 40)


def test_what_is_repaid_needs_full_runs_of_the_same_seed():
    with pytest.raises(InputError, match=r"two full runs of seed 5, found 0\."):
        repaid([a_run(0.6, 60, seed=5)], FULL)


def test_a_cost_is_paid_after_a_range_of_trainings():
    for saving, words in [
        (Interval(10, 5, 3), "7 to 20"),  # 100 / 15 and 100 / 5
        (Interval(10, 0, 3), "10 to 10"),
        (Interval(10, 20, 3), "4 at least, perhaps never"),
        (Interval(10, np.inf, 1), "1 at least, perhaps never"),  # one run tells nothing
        (Interval(-10, 10, 3), "never"),
        (Interval(0.01, 0.001, 3), "9,091 to 11,112"),
        (Interval(300, 100, 3), "1 to 1"),  # the first training pays it
    ]:
        assert trainings(Interval(100, 3, 3), saving) == words
