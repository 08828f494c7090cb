"""Intervals, pairs, several differences at once, seconds: against SciPy and by hand."""

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_run, an_encoder, arm
from scipy import stats

from embsel.errors import InputError
from embsel.lab import compare
from embsel.lab.compare import Interval, accuracies, paired, two_way
from embsel.lab.records import ALL

# --- intervals ---


@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=2, max_size=12))
def test_an_interval_is_students_and_a_verdict_a_t_test_at_five_percent(values):
    ours = Interval.of(values)
    assert (ours.mean, ours.n) == (pytest.approx(np.mean(values)), len(values))
    if np.std(values) < 1e-6:
        assert ours.half == pytest.approx(0, abs=1e-5)
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (ours.mean - ours.half, ours.mean + ours.half) == pytest.approx((low, high), abs=1e-12)
    test = stats.ttest_1samp(values, 0)
    if abs(test.pvalue - 0.05) > 1e-9:  # not the very edge, where the last digit decides
        expected = "neither" if test.pvalue > 0.05 else "better" if test.statistic > 0 else "worse"
        assert ours.verdict("better", "worse", "neither") == expected


def test_one_run_has_no_spread_and_no_verdict_and_none_no_interval():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy would complain of a deviation over one value
        one = Interval.of([0.622])
    assert (one.mean, one.half, one.n) == (0.622, np.inf, 1)
    assert one.text() == "62.2 % (n = 1)"
    assert one.verdict("better", "worse", "neither") == "neither"
    with pytest.raises(InputError, match="at least one value"):
        Interval.of([])


def test_an_interval_in_words():
    assert Interval(0.571, 0.0204, 3).text() == "57.1 ± 2.0 % (n = 3)"
    assert Interval(0.063, 0.0104, 5).text(" points", sign=True) == "+6.3 ± 1.0 points (n = 5)"
    assert Interval(-0.058, np.inf, 1).text(" points", sign=True) == "-5.8 points (n = 1)"
    assert Interval(297.04, 3.06, 3).text(" s", scale=1) == "297.0 ± 3.1 s (n = 3)"


def test_an_interval_that_touches_zero_has_no_verdict():
    for mean, half, word in [(0.02, 0.01, "better"), (-0.02, 0.01, "worse"), (0.02, 0.02, ""), (-0.02, 0.02, "")]:
        assert Interval(mean, half, 3).verdict("better", "worse", "") == word


# --- pairs ---


def test_pairs_are_made_by_seed_in_whatever_order_and_a_seed_without_a_partner_is_left_out():
    first = arm("top_activations", 0.60, 0.50, 0.56)
    second = [a_run("random_subset", 7, 0.9), *arm("random_subset", 0.58, 0.49, 0.53)[::-1]]
    gap = paired(iter(first), iter(second))
    assert gap == Interval.of([0.60 - 0.58, 0.50 - 0.49, 0.56 - 0.53], points=True)
    back = paired(second, first)
    assert (back.mean, back.half) == (pytest.approx(-gap.mean), pytest.approx(gap.half))
    assert accuracies(first).tolist() == [0.60, 0.50, 0.56]


def test_without_a_pair_the_error_names_the_seeds():
    with pytest.raises(InputError, match=r"No two runs share a seed: .*\[0, 1\].*\[3, 4\]"):
        paired(*([a_run(ALL, seed) for seed in seeds] for seeds in ((1, 0), (3, 4))))


# --- several differences at once ---


def test_several_differences_share_one_deviation_and_are_corrected_for_their_number():
    # Worked out by hand: squares 2 + 0 within two arms of three, 2 / 4 of variance. Of the 2 the seeds' means explain
    # 1 (0.5, 0, -0.5, twice each), with 2 degrees of freedom, and leave 1 with 2: (1 + 1)**2 / (1/2 + 1/2) = 4.
    gaps = compare.pooled({"a": {0: 5.0, 1: 4.0, 2: 3.0}, "b": {0: 1.0, 1: 1.0, 2: 1.0}})
    half = stats.t.ppf(0.975, 4) * np.sqrt(0.5 / 3)
    assert [(one.mean, one.n) for one in gaps.values()] == [(4, 3), (1, 3)]
    assert [one.half for one in gaps.values()] == pytest.approx([half, half])
    alone = [2 * stats.t.sf(mean / np.sqrt(0.5 / 3), 4) for mean in (4, 1)]
    assert [one.p for one in gaps.values()] == pytest.approx([2 * alone[0], alone[1]])


def test_a_difference_that_is_alone_is_a_paired_t_test():
    first, second = arm("top_activations", 0.60, 0.50, 0.56), arm("random_subset", 0.58, 0.49, 0.53)
    (one,) = compare.compared({"a": first, "b": second, "c": [a_run(ALL, 9)]}, second).values()
    alone = paired(first, second)
    assert (one.mean, one.half, one.n) == (pytest.approx(alone.mean), pytest.approx(alone.half), 3)
    assert one.p == pytest.approx(stats.ttest_rel(accuracies(first), accuracies(second)).pvalue)


def test_the_correction_is_holms():
    # The smallest times 4, the next times 3, ... and none below the one before it.
    assert compare.holm(np.array([0.03, 0.01, 0.02, 0.9])) == pytest.approx([0.06, 0.04, 0.06, 0.9])
    assert compare.holm(np.array([0.5, 0.6])) == pytest.approx([1, 1])


def test_where_nothing_can_be_pooled_nothing_is_told():
    single = compare.pooled({"a": {0: 0.1}, "b": {1: 0.2}})
    assert [(one.half, one.p) for one in single.values()] == [(np.inf, 1), (np.inf, 1)]
    one = compare.pooled({"a": {0: 0.3}, "b": {0: 0.1, 1: 0.2, 2: 0.3}})["a"]  # one run, by the spread of the others
    assert np.isfinite(one.half)
    assert compare.pooled({}) == {}
    flat = compare.pooled({"a": {0: 0.5, 1: 0.5}, "b": {0: 0.0, 1: 0.0}})
    assert [(one.half, one.p) for one in flat.values()] == [(pytest.approx(0), pytest.approx(0)), (pytest.approx(0), 1)]


def test_a_winner_of_many_counts_only_if_their_number_does_not_explain_it():
    assert Interval(0.02, 0.01, 3, p=0.04).verdict("better", "worse", "") == "better"
    assert Interval(0.02, 0.01, 3, p=0.06).verdict("better", "worse", "") == ""
    assert Interval(-0.02, 0.01, 3, p=0.06).verdict("better", "worse", "") == ""


@pytest.mark.parametrize(("arms", "seeds", "shared"), [(16, 3, 1.0), (16, 3, 0.0), (4, 5, 1.0)])
def test_pooled_intervals_miss_as_often_as_they_say(arms, seeds, shared):
    """Arms without any difference, set against the same runs: 95 % of intervals hold zero, all of them in 95 %."""
    rng, held, none = np.random.default_rng(0), [], []
    for _ in range(600):
        values = rng.normal(size=(arms, seeds)) - shared * rng.normal(size=seeds)
        found = compare.pooled({name: dict(enumerate(row)) for name, row in enumerate(values)}).values()
        held += [abs(one.mean) < one.half for one in found]
        none.append(all(one.p >= 0.05 for one in found))
    assert 0.935 < np.mean(held) < 0.965
    assert np.mean(none) > 0.93  # 0.95, less two standard errors of 600 trials


def test_seconds_are_compared_on_one_machine_without_other_work():
    there = {"hardware": "another processor"}
    first = [a_run(ALL, 0), a_run(ALL, 1), a_run(ALL, 2, where={"nice": 5})]
    second = [a_run("random_subset", 0, where=there), a_run("random_subset", 1), a_run("random_subset", 2)]
    assert compare.same_machine(first, second) == [(first[1], second[1])]
    assert compare.same_machine(first[:1], [a_run("random_subset", 0, where={"backend": "jax"})]) == []


def test_a_run_whose_embedding_was_made_elsewhere_lends_no_seconds():
    run, there = a_run("top_activations"), {"hardware": "another processor"}
    assert compare.timed([run], [an_encoder()]) == [run]
    assert compare.timed([run], [an_encoder(**there)]) == compare.timed([run], [an_encoder(nice=5)]) == []
    assert compare.timed([run], [an_encoder(seed=1, **there)]) == [run]  # another one's
    assert compare.timed([a_run(ALL, where={"nice": 5})]) == []


def test_the_accuracy_before_fine_tuning_is_the_last_of_the_first_phase():
    record = a_run("random_subset", split=50)
    record.curve.update({"phase": [0, 0, 1, 1], "test_accuracy": [0.1, 0.2, 0.3, 0.4]})
    assert compare.before_fine_tuning(record) == 0.2


def test_a_ratio_of_variances_pools_within_groups_and_has_the_interval_of_f():
    rng = np.random.default_rng(0)
    first, second = rng.normal([[0], [5]], 1, (2, 4)), rng.normal([[0], [9], [3]], 2, (3, 5))
    ratio, low, high = compare.variance_ratio(first, second)
    expected = first.var(axis=1, ddof=1).mean() / second.var(axis=1, ddof=1).mean()
    assert ratio == pytest.approx(expected)
    assert stats.f.cdf(ratio / low, 6, 12) == pytest.approx(0.975)
    assert stats.f.cdf(ratio / high, 6, 12) == pytest.approx(0.025)
    with pytest.raises(InputError, match="needs two runs"):
        compare.variance_ratio([[0.5], [0.6]], [[0.5, 0.6]])


def with_curve(**curve):
    return dataclasses.replace(a_run("random_subset", split=50), curve=curve)


def test_the_pace_is_that_of_each_phase():
    record = with_curve(step=[10, 20, 50, 60], seconds=[2.0, 3.0, 5.0, 11.0], phase=[0, 0, 1, 1])
    assert compare.pace(record, 0) == pytest.approx(20 / 3)  # from the start, not from the first evaluation
    assert compare.pace(record, 1) == pytest.approx(40 / 8)
    assert np.isnan(compare.pace(record, 2))


def test_a_quantity_is_read_between_two_evaluations():
    record = with_curve(step=[10, 30, 40], seconds=[2.0, 4.0, 8.0], test_loss=[3.0, 1.0, 0.0], loss=[9.0, 5.0, 1.0])
    assert [compare.at(record, "test_loss", place) for place in (2, 2.5, 4, 6)] == [3, 2.5, 1, 0.5]
    assert compare.at(record, "loss", 6) == 3
    assert compare.at(record, "test_loss", 15, along="step") == 2.5


def test_images_per_second_by_turns_and_at_once():
    for loading, by_turns, at_once in [(20.0, 80, 60), (120.0, 180, 120), (None, 60, 60)]:
        record = a_run("top_activations")  # its autoencoder's seconds do not count
        if loading:
            record.ledger.append({"stage": "loading", "seconds": loading, "samples": 76_800})
        assert compare.images_per_second(record) == pytest.approx((76_800 / by_turns, 76_800 / at_once))


# --- a table of two causes ---


def by_least_squares(table):
    """The same from fits: what a row's (a column's) own number takes off the squares that the others leave."""
    rows, columns = table.shape
    y, row, column = table.ravel(), np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    of_row, of_column = (np.equal.outer(place, np.unique(place)).astype(float) for place in (row, column))

    def left(*parts):
        design = np.hstack([np.ones((len(y), 1)), *parts])
        return np.square(y - design @ np.linalg.lstsq(design, y)[0]).sum()

    free = (rows - 1) * (columns - 1)
    rest, found = left(of_row, of_column) / free, []
    for without, levels, others in ((of_column, rows, columns), (of_row, columns, rows)):
        square = (left(without) - left(of_row, of_column)) / (levels - 1)
        deviation = max(0.0, (square - rest) / others) ** 0.5
        found.append((deviation, stats.f.sf(square / rest, levels - 1, free)))
    return [*found, (rest**0.5, np.nan)]


def test_a_two_way_table_equals_least_squares():
    for shape, effects in [((2, 2), (0, 0)), ((5, 2), (3, 0)), ((3, 7), (1, 1))]:
        rng = np.random.default_rng([*shape, *effects])
        table = 50 + rng.normal(size=shape)
        table += effects[0] * rng.normal(size=(shape[0], 1)) + effects[1] * rng.normal(size=shape[1])
        found = two_way(table.tolist())
        assert [name for name, *_ in found] == ["rows", "columns", "what is left"]
        for (_, *ours), theirs in zip(found, by_least_squares(table), strict=True):
            assert ours == pytest.approx(list(theirs), abs=1e-9, nan_ok=True)


def test_a_two_way_table_by_hand():
    # Row means 2 and 6, column means 2, 4 and 6; left over -1, 0, 1 and 1, 0, -1: 4 / 2 = 2. Rows: 3 * 8 = 24, columns:
    # 2 * 4 = 8. So (24 - 2) / 3 and (8 - 2) / 2 are the variances of the effects.
    (_, rows, of_rows), (_, columns, of_columns), (_, left, _) = two_way([[-1, 2, 5], [5, 6, 7]])
    assert (rows, columns, left) == pytest.approx(((22 / 3) ** 0.5, 3**0.5, 2**0.5))
    assert of_rows == pytest.approx(stats.f.sf(12, 1, 2))
    assert of_columns == pytest.approx(stats.f.sf(4, 2, 2))


def test_an_effect_below_what_is_left_is_zero():
    # The columns' means are equal and the rows' are not.
    (_, rows, of_rows), (_, columns, of_columns), _ = two_way([[1, 2], [6, 5]])
    assert rows > 0
    assert (columns, of_columns) == (0, 1)
    assert of_rows < 0.2


def test_a_table_without_anything_left_is_all_effect():
    with np.errstate(divide="ignore"):  # F is infinite
        (_, rows, of_rows), (_, columns, of_columns), (_, left, _) = two_way([[1, 2], [3, 4]])
    assert (rows, columns, left) == pytest.approx((2**0.5, 0.5**0.5, 0))
    assert (of_rows, of_columns) == (0, 0)


def test_a_table_of_one_row_or_column_is_refused():
    for shape in [(1, 3), (3, 1)]:
        with pytest.raises(InputError, match="needs two rows and two columns"):
            two_way(np.ones(shape))


# --- a table of arms ---


def test_arms_are_set_against_one_of_them_in_a_table():
    arms = {"random_subset": arm("random_subset", 0.5, 0.52, 0.51), "mine": arm(ALL, 0.6, 0.62, 0.61)}
    arms["other"] = [a_run(ALL, 9)]
    rows = compare.compare(arms, "random_subset")
    assert rows.index.tolist() == ["random", "mine", "other"]  # a selector by its title
    mine = ["3", "61.0 ± 2.5 % (n = 3)", "+10.0 ± 0.0 points (n = 3)", "better"]
    assert rows.loc["mine"].astype(str).tolist() == mine
    assert rows["verdict"].tolist() == ["", "better", ""]  # nobody's own, and without a common seed, none
    slow = compare.compare(arms, "mine", compare.total)
    assert slow["total"].map(lambda one: one.mean).tolist() == [60, 60, 60]
    assert compare.compare({}, "mine").empty


def test_one_or_two_values_are_told_one_by_one():
    assert compare.words([0.6]) == "60.0 % (one seed)"
    assert compare.words([0.6, 0.62], " points", "+") == "+60.0 and +62.0 points (two seeds)"
    assert compare.words([0.6, 0.62, 0.64]) == Interval.of([0.6, 0.62, 0.64]).text()


def test_several_measures_are_a_tidy_table_with_a_row_for_each_run():
    arms = {"random_subset": arm("random_subset", 0.5, 0.52), "mine": [a_run(ALL, 7, 0.6)]}
    rows = compare.measured(arms, {"accuracy": compare.accuracy, "in all": compare.total})
    assert rows.index.tolist() == [("random_subset", 0), ("random_subset", 1), ("mine", 7)]
    assert rows.groupby("arm")["accuracy"].mean().to_dict() == {"mine": 0.6, "random_subset": pytest.approx(0.51)}
    assert compare.measured({}, {"accuracy": compare.accuracy}).empty


def test_what_is_paid_once_and_on_how_many_images():
    run = a_run("top_activations")  # 300 s for its autoencoder, 60 s of training
    assert compare.once(run) == pytest.approx(300)
    assert compare.samples(run, "training") == 76_800
    assert compare.samples(run, "autoencoder", "training") == 192_000 + 76_800
    assert [compare.seconds(values) for values in ([], [0.0])] == ["nothing", "nothing"]
    assert compare.seconds([2.0, 4.0]) == Interval.of([2.0, 4.0]).text(" s", scale=1)


def test_rows_are_sorted_by_their_mean():
    assert sorted([Interval(0.5, 0.0, 3), Interval(0.2, 0.9, 3)])[0].mean == 0.2
