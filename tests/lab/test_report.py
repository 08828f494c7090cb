"""Numbers in words: intervals, pairs, captions and sentences, from records made by hand; then the committed records."""

import dataclasses
import json
import re
import warnings
from datetime import datetime
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embsel.errors import InputError
from embsel.lab import report, suites
from embsel.lab.records import ALL, RESULTS, Autoencoder, Pixels, Record, Run, Store, key
from embsel.lab.report import (
    NAMES,
    Interval,
    accuracies,
    caption,
    comparison,
    findings,
    paired,
    progress,
    recorded,
    status,
)
from embsel.selection import SELECTORS

PLACE = {
    "dataset": "a set",
    "profile": "laptop",
    "hardware": "a processor",
    "backend": "tensorflow",
    "versions": {"tensorflow": "2.21.0", "jax": "0.7.0"},
}


def encoder(seed=0):
    return Autoencoder("0123456789ab", 1500, 128, seed=seed)


UNUSUAL = dataclasses.replace(encoder(), final=None)


def an_encoder(seed=0, seconds=300.0, **where):
    ledger = [
        {"stage": "autoencoder", "seconds": 0.8 * seconds, "samples": 192_000},
        {"stage": "embedding", "seconds": 0.2 * seconds, "samples": 50_000},
    ]
    return Record(encoder(seed), {"loss": 0.01, "elements": 216, "dead_elements": 0}, ledger, PLACE | where)


def a_run(selector, seed=0, accuracy=0.5, *, seconds=60.0, distinct=4320, counts=(432,) * 10, where=None, **changes):
    """A run; one whose selector needs embeddings has the 300 seconds of its seed's autoencoder in its ledger."""
    needs = selector != ALL and SELECTORS[selector].needs == "embedding"
    sizes, dataset = suites.profile("laptop"), "0123456789ab"
    make = suites.baseline if selector == ALL else partial(suites.subset_run, selector=selector)
    spec = make(sizes, dataset, seed=seed, **changes)
    ledger = an_encoder(seed).ledger if needs else []
    ledger = [*ledger, {"stage": "training", "seconds": seconds, "samples": 76_800}]
    metrics = {"test_accuracy": accuracy, "distinct": distinct, "class_counts": list(counts)}
    return Record(spec, metrics, ledger, PLACE | (where or {}))


def arm(selector, *accuracies, **changes):
    return [a_run(selector, seed, accuracy, **changes) for seed, accuracy in enumerate(accuracies)]


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
    assert gap == Interval.of([0.60 - 0.58, 0.50 - 0.49, 0.56 - 0.53])
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
    gaps = report.pooled({"a": {0: 5.0, 1: 4.0, 2: 3.0}, "b": {0: 1.0, 1: 1.0, 2: 1.0}})
    half = stats.t.ppf(0.975, 4) * np.sqrt(0.5 / 3)
    assert [(one.mean, one.n) for one in gaps.values()] == [(4, 3), (1, 3)]
    assert [one.half for one in gaps.values()] == pytest.approx([half, half])
    alone = [2 * stats.t.sf(mean / np.sqrt(0.5 / 3), 4) for mean in (4, 1)]
    assert [one.p for one in gaps.values()] == pytest.approx([2 * alone[0], alone[1]])


def test_a_difference_that_is_alone_is_a_paired_t_test():
    first, second = arm("top_activations", 0.60, 0.50, 0.56), arm("random_subset", 0.58, 0.49, 0.53)
    (one,) = report.compared({"a": first, "b": second, "c": [a_run(ALL, 9)]}, second).values()
    alone = paired(first, second)
    assert (one.mean, one.half, one.n) == (pytest.approx(alone.mean), pytest.approx(alone.half), 3)
    assert one.p == pytest.approx(stats.ttest_rel(accuracies(first), accuracies(second)).pvalue)


def test_the_correction_is_holms():
    # The smallest times 4, the next times 3, ... and none below the one before it.
    assert report._holm(np.array([0.03, 0.01, 0.02, 0.9])) == pytest.approx([0.06, 0.04, 0.06, 0.9])
    assert report._holm(np.array([0.5, 0.6])) == pytest.approx([1, 1])


def test_where_nothing_can_be_pooled_nothing_is_told():
    single = report.pooled({"a": {0: 0.1}, "b": {1: 0.2}})
    assert [(one.half, one.p) for one in single.values()] == [(np.inf, 1), (np.inf, 1)]
    one = report.pooled({"a": {0: 0.3}, "b": {0: 0.1, 1: 0.2, 2: 0.3}})["a"]  # one run, by the spread of the others
    assert np.isfinite(one.half)
    assert report.pooled({}) == {}
    flat = report.pooled({"a": {0: 0.5, 1: 0.5}, "b": {0: 0.0, 1: 0.0}})
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
        found = report.pooled({name: dict(enumerate(row)) for name, row in enumerate(values)}).values()
        held += [abs(one.mean) < one.half for one in found]
        none.append(all(one.p >= 0.05 for one in found))
    assert 0.935 < np.mean(held) < 0.965
    assert np.mean(none) > 0.93  # 0.95, less two standard errors of 600 trials


# --- seconds ---


def test_seconds_are_compared_on_one_machine_without_other_work():
    there = {"hardware": "another processor"}
    first = [a_run(ALL, 0), a_run(ALL, 1), a_run(ALL, 2, where={"nice": 5})]
    second = [a_run("random_subset", 0, where=there), a_run("random_subset", 1), a_run("random_subset", 2)]
    assert report.same_machine(first, second) == [(first[1], second[1])]
    assert report.same_machine(first[:1], [a_run("random_subset", 0, where={"backend": "jax"})]) == []


def test_the_seconds_of_choosing_are_those_of_the_machine_that_made_most_runs():
    def chosen(seed, seconds, **where):
        run = a_run("top_activations", seed, where=where)
        run.ledger.append({"stage": "selection", "seconds": seconds, "samples": 50_000})
        return run

    there = {"hardware": "another processor"}
    runs = [chosen(0, 1.0, **there), chosen(1, 2.0), chosen(2, 4.0), chosen(3, 9.0, nice=5)]
    assert report.choosing(runs) == ("192,000", "3.00 s")  # images of the autoencoder
    assert report.choosing(runs[-1:]) == ("192,000", "not timed")
    assert report.choosing([a_run("random_subset")]) == ("0", "0.00 s")


def test_a_run_whose_embedding_was_made_elsewhere_lends_no_seconds():
    run, there = a_run("top_activations"), {"hardware": "another processor"}
    assert report.timed([run], [an_encoder()]) == [run]
    assert report.timed([run], [an_encoder(**there)]) == report.timed([run], [an_encoder(nice=5)]) == []
    assert report.timed([run], [an_encoder(seed=1, **there)]) == [run]  # another one's
    assert report.timed([a_run(ALL, where={"nice": 5})]) == []


# --- which records the pages show ---


@pytest.mark.parametrize(
    ("profiles", "shown"),
    [
        (["laptop", "paper", "tiny", "laptop"], ["laptop", "laptop"]),
        (["laptop", "paper", "tiny", "tiny"], ["paper"]),
        (["tiny", "laptop", "laptop"], ["laptop", "laptop"]),
        (["tiny"], None),
    ],
)
def test_the_profile_that_most_is_recorded_of_is_shown_and_where_there_is_none_the_command(tmp_path, profiles, shown):
    store = Store(tmp_path)
    for number, profile in enumerate(profiles):
        assert store.append(a_run(ALL, seed=number, where={"profile": profile}))
    if shown:
        assert [record.provenance["profile"] for record in recorded(store)] == shown
        return
    with pytest.raises(InputError, match=r"python -m embsel record --profile (\w+)") as caught:
        recorded(store)
    assert re.search(r"--profile (\w+)", str(caught.value))[1] in suites.PROFILES


def everything():
    """Two seeds of every arm, backwards, among what a comparison leaves out."""
    shown = [record for name in NAMES for record in arm(name, 0.5, 0.6)][::-1]
    others = [
        an_encoder(),
        a_run(ALL, seed=5, validation=True),
        a_run("random_subset", seed=5, validation=True),
        a_run("top_activations", seed=0, accuracy=0.7, split=50),
        a_run(ALL, seed=5, rate=0.5),
        a_run("random_subset", seed=5, keep=1000),
        a_run(ALL, seed=5, feed="host"),
        a_run("top_activations", seed=5, embedding=UNUSUAL),
        a_run("top_activations", seed=5, embedding=encoder(seed=4)),
    ]
    return [*others[:2], *shown, *others[2:]]


def test_a_comparison_has_the_standard_arms_in_the_order_of_the_names():
    assert list(comparison(everything())) == list(report.FIRST)
    arms = comparison(everything(), names=NAMES)
    assert list(arms) == list(NAMES)
    for name, group in arms.items():
        assert {(r.spec.selector, r.spec.validation, r.spec.split) for r in group} == {(name, False, 100)}
        assert sorted(r.spec.seed for r in group) == [0, 1]


def test_a_comparison_takes_one_split_and_always_the_baseline():
    arms = comparison(iter(everything()), split=50)
    assert list(arms) == [ALL, "top_activations"]
    assert accuracies(arms["top_activations"]).tolist() == [0.7]
    assert len(arms[ALL]) == 2
    assert list(comparison(arm("random_subset", 0.5))) == ["random_subset"]
    assert comparison([an_encoder()]) == {}


def test_the_autoencoders_are_those_of_the_profile():
    usual, short = [an_encoder(seed=1), an_encoder(seed=0)], dataclasses.replace(encoder(), steps=9)
    others = [dataclasses.replace(an_encoder(), spec=spec) for spec in (UNUSUAL, short)]
    assert report.autoencoders(iter([others[0], *usual, a_run("top_activations"), others[1]])) == usual


# --- Figure 4 ---


def test_the_splits_of_an_arm_begin_with_the_baseline():
    ends = [*arm(ALL, 0.8), *arm("random_subset", 0.5), *arm("stratified_random", 0.4)]
    groups = report.by_split(iter([*ends, *arm("random_subset", 0.7, split=50)]))
    assert list(groups) == ["random_subset"]  # of the other selector no split in between is recorded
    found = {split: accuracies(group).tolist() for split, group in groups["random_subset"].items()}
    assert found == {0: [0.8], 50: [0.7], 100: [0.5]}
    assert report.by_split(arm(ALL, 0.8)) == {}


def test_the_caption_of_the_findings_counts_what_they_rest_on():
    used = [an_encoder(), *arm(ALL, 0.6, 0.62), *arm("top_activations", 0.5), *arm("random_subset", 0.5, split=50)]
    others = [a_run(ALL, seed=5, validation=True), a_run(ALL, seed=5, rate=0.5), a_run("random_subset", keep=10)]
    others += [dataclasses.replace(an_encoder(), spec=UNUSUAL), a_run("top_activations", seed=5, embedding=UNUSUAL)]
    rest = report.behind([*others, *used])
    assert sorted(key(record.spec) for record in rest) == sorted(key(record.spec) for record in used)


def test_the_accuracy_before_fine_tuning_is_the_last_of_the_first_phase():
    record = a_run("random_subset", split=50)
    record.curve.update({"phase": [0, 0, 1, 1], "test_accuracy": [0.1, 0.2, 0.3, 0.4]})
    assert report.before_fine_tuning(record) == 0.2


def test_a_ratio_of_variances_pools_within_groups_and_has_the_interval_of_f():
    rng = np.random.default_rng(0)
    first, second = rng.normal([[0], [5]], 1, (2, 4)), rng.normal([[0], [9], [3]], 2, (3, 5))
    ratio, low, high = report.variance_ratio(first, second)
    expected = first.var(axis=1, ddof=1).mean() / second.var(axis=1, ddof=1).mean()
    assert ratio == pytest.approx(expected)
    assert stats.f.cdf(ratio / low, 6, 12) == pytest.approx(0.975)
    assert stats.f.cdf(ratio / high, 6, 12) == pytest.approx(0.025)
    with pytest.raises(InputError, match="needs two runs"):
        report.variance_ratio([[0.5], [0.6]], [[0.5, 0.6]])


# --- a fixed budget, and what it is spent on ---


def test_runs_with_a_budget_are_named_by_what_they_begin_with():
    def begun(selector, seed, keep=4320, whole=50_000):
        record = a_run(selector, seed, keep=keep, split=50, budget=24.6, every=25)
        record.ledger.append({"stage": "selection", "seconds": 0.1, "samples": whole})
        return record

    full = [a_run(ALL, seed, budget=24.6, every=25) for seed in (0, 1)]
    chosen = [begun("top_activations", seed) for seed in (1, 0)]
    large, few = begun("top_activations", 0, 43_200), begun("random_subset", 0, 1, 3)
    others = [an_encoder(), a_run(ALL), a_run("random_subset", split=50)]
    assert report.fixed_budget(iter([*others, full[0], chosen[0], large, full[1], few, chosen[1]])) == {
        "all the data": full,
        "filter, refill, 8.64 % first": chosen,
        "filter, refill, 86.40 % first": [large],
        "random, 33.33 % first": [few],
    }
    assert report.fixed_budget(others) == {}


def with_curve(**curve):
    return dataclasses.replace(a_run("random_subset", split=50), curve=curve)


def test_the_pace_is_that_of_each_phase():
    record = with_curve(step=[10, 20, 50, 60], seconds=[2.0, 3.0, 5.0, 11.0], phase=[0, 0, 1, 1])
    assert report.pace(record, 0) == pytest.approx(20 / 3)  # from the start, not from the first evaluation
    assert report.pace(record, 1) == pytest.approx(40 / 8)
    assert np.isnan(report.pace(record, 2))


def test_a_quantity_is_read_between_two_evaluations():
    record = with_curve(step=[10, 30, 40], seconds=[2.0, 4.0, 8.0], test_loss=[3.0, 1.0, 0.0], loss=[9.0, 5.0, 1.0])
    assert [report.at(record, "test_loss", place) for place in (2, 2.5, 4, 6)] == [3, 2.5, 1, 0.5]
    assert report.at(record, "loss", 6) == 3
    assert report.at(record, "test_loss", 15, along="step") == 2.5


def test_images_per_second_by_turns_and_at_once():
    for loading, by_turns, at_once in [(20.0, 80, 60), (120.0, 180, 120), (None, 60, 60)]:
        record = a_run("top_activations")  # its autoencoder's seconds do not count
        if loading:
            record.ledger.append({"stage": "loading", "seconds": loading, "samples": 76_800})
        assert report.images_per_second(record) == pytest.approx((76_800 / by_turns, 76_800 / at_once))


# --- captions and rows ---


def test_a_caption_names_each_place_once():
    other = {"dataset": "another set", "hardware": "a card", "backend": "jax", "profile": "paper"}
    line = caption([a_run(ALL, 0), a_run(ALL, 1), a_run(ALL, 2, where=other), a_run(ALL, 3, where=other)])
    places = "a set, another set; laptop, paper profile; a processor, a card; jax 0.7.0, tensorflow 2.21.0"
    assert line == f"{places}; 4 runs, 4 minutes."
    pair = [a_run(ALL, 0), a_run(ALL, 1, where={"nice": 19})]
    assert caption(pair).endswith("; 2 runs, 2 minutes beside other work.")


def test_a_caption_counts_a_shared_autoencoder_once_whether_or_not_its_own_record_is_shown():
    def minutes(*records):
        return float(re.search(r"runs, ([\d.]+) minutes\.$", caption(iter(records)))[1])

    runs = [a_run(name) for name in ("top_activations", "top_activations_drop", "top_activations_keep")]
    assert minutes(an_encoder(), *runs) == minutes(*runs, an_encoder()) == minutes(*runs) == 5 + 3
    assert minutes(an_encoder(), an_encoder(seed=1), *runs) == 10 + 3
    assert minutes(*runs, *arm("top_activations", 0.5, 0.6)) == 2 * 5 + 5


def test_status_and_progress_have_rows_for_each_place_and_suite(tmp_path):
    store = Store(tmp_path)
    card = {"hardware": "a card", "backend": "jax"}
    for record in [an_encoder(), a_run("top_activations"), *arm(ALL, 0.5, 0.6), a_run(ALL, 2, where=card)]:
        store.append(record)
    here, there = ["laptop", "a set", "a processor", "tensorflow"], ["laptop", "a set", "a card", "jax"]
    assert status(store) == [[*here, 4, 5 + 3], [*there, 1, 1]]
    store.append(a_run(ALL, seed=9, where={"profile": "mine"}))  # its sizes are not known
    rows = progress(store)
    assert [row[:5] for row in rows] == [[*place, name] for place in (here, there) for name in suites.SUITES]
    by_name = {(row[2], row[4]): row[5:] for row in rows}
    seeds = len(suites.profile("laptop").seeds)  # seven specs for each; an autoencoder's seconds are its own record's
    assert by_name["a processor", "filtering"] == [4, str(7 * seeds - 5), 300 + 3 * 60]
    assert by_name["a card", "filtering"] == [1, str(7 * seeds - 5), 60]
    assert by_name["a processor", "splits"] == [0, str(6 * seeds), 0]
    assert by_name["a processor", "budget"] == [0, "more than 1", 0]
    assert by_name["a card", "part-one"] == [1, f"more than {7 * seeds + 1 - 5}", 60]
    assert by_name["a card", "ablations"][1].startswith("more than ")  # the tuned arms wait for their rates
    assert status(Store(tmp_path / "empty")) == progress(Store(tmp_path / "empty")) == []


def test_progress_counts_every_dataset_that_is_recorded(tmp_path):
    store = Store(tmp_path)
    store.append(a_run(ALL))
    other = a_run(ALL)
    store.append(dataclasses.replace(other, spec=dataclasses.replace(other.spec, dataset="ba9876543210")))
    by_name = {row[4]: row[5:] for row in progress(store)}
    assert by_name["filtering"] == [2, str(2 * 7 * len(suites.profile("laptop").seeds) - 2), 120]


# --- findings ---


def finding(said, title):
    """The sentence that begins with this title; None where nothing is said of it."""
    found = [line for line in said if line.startswith(f"**{title}.**")]
    assert len(found) <= 1
    return found[0] if found else None


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?", text)]


FILTER, CHANCE = (0.551, 0.569, 0.560), (0.601, 0.617, 0.612)
BETTER, WORSE = "filter did better than a random subset", "filter did worse than a random subset"
NEITHER = "no difference between the filter and a random subset could be shown"


def test_the_baseline_is_told():
    said = findings([*arm(ALL, 0.62, 0.63, 0.67), a_run(ALL, 9, 0.1, validation=True)])
    assert len(said) == 1
    # The mean of 62, 63 and 67 is 64, their deviation the root of 7, and Student's factor for three runs 4.303.
    assert numbers(finding(said, "Baseline").replace("n = ", "")) == [600, 128, 64.0, 6.6, 3]


@pytest.mark.parametrize("backwards", [False, True])
def test_the_comparison_is_told_from_its_records(backwards):
    chosen, chance = (CHANCE, FILTER) if backwards else (FILTER, CHANCE)
    hybrid = [*arm("top_activations", *chance, split=50), *arm("random_subset", *chosen, split=50)]
    said = findings([*hybrid, *arm("random_subset", *chance), *arm("top_activations", *chosen)])
    assert len(said) == 1  # another split is not taken for the subset alone
    line = finding(said, "The subset alone")
    intervals = re.findall(r"[-+]?[\d.]+ ± [\d.]+ (?:%|points) \(n = \d\)", line)
    expected = [Interval.of(chosen).text(), Interval.of(chance).text()]
    assert intervals == [*expected, Interval.of(np.subtract(chosen, chance)).text(" points", sign=True)]
    assert intervals[2].startswith("+5.0" if backwards else "-5.0")
    assert (BETTER in line, WORSE in line, NEITHER in line) == (backwards, not backwards, False)
    assert "4,320 images" in line
    assert "63.9 % against 57.6 %" in line


def test_runs_that_do_not_tell_are_said_not_to():
    for chosen, chance in [((0.5,), (0.9,)), ((0.9,), (0.5,)), ((0.5, 0.6), (0.6, 0.5))]:
        line = finding(findings([*arm("top_activations", *chosen), *arm("random_subset", *chance)]), "The subset alone")
        assert (BETTER in line, WORSE in line, NEITHER in line) == (False, False, True)


def test_the_splits_in_between_are_said_against_the_baseline():
    records = [*arm(ALL, 0.60, 0.62), *arm("top_activations", 0.5, 0.5), *arm("top_activations", 0.58, 0.61, split=50)]
    line = finding(findings(records), "The subset first, then everything")
    assert line.endswith("those on all the data: 50/50 -1.5 ± 6.6 points (n = 2).")  # with 100/0's spread
    assert finding(findings(records[:4]), "The subset first, then everything") is None


def test_the_race_is_told_for_the_smaller_subset():
    def begun(accuracy, keep):
        record = a_run("top_activations", 0, accuracy, keep=keep, split=50, budget=24.6, every=25)
        record.ledger.append({"stage": "selection", "seconds": 0.1, "samples": 50_000})
        return record

    race = [a_run(ALL, 0, 0.5, budget=24.6, every=25), begun(0.7, 43_200), begun(0.6, 4320)]
    assert "+10.0 points (n = 1)" in finding(findings(race), "The race")
    assert finding(findings(race[1:]), "The race") is None


def test_duplicates_are_told_as_ranges():
    drop = [
        a_run("top_activations_drop", 0, distinct=2583, counts=(500, 2083)),
        a_run("top_activations_drop", 1, distinct=2600, counts=(95, 2505)),
    ]
    assert numbers(finding(findings(drop), "Duplicates")) == [4320, 2583, 2600, 95, 2505]
    assert numbers(finding(findings(drop[:1]), "Duplicates")) == [4320, 2583, 500, 2083]


def test_the_cost_of_the_embedding_is_told_against_the_training():
    training = [a_run(ALL, 0, seconds=100.0), a_run(ALL, 1, seconds=120.0)]
    unusual = dataclasses.replace(an_encoder(seconds=9000.0), spec=UNUSUAL)
    encoders = [an_encoder(0, seconds=300.0), an_encoder(1, seconds=336.0)]
    said = findings([*encoders, unusual, *training])
    assert "took 2.9 ± 1.3 (n = 2) times" in finding(said, "Cost")  # 3.0 and 2.8: 0.1 times Student's 12.7
    elsewhere = [an_encoder(0, seconds=900.0, hardware="another processor"), encoders[1]]
    assert "took 2.8 (n = 1) times" in finding(findings([*elsewhere, *training]), "Cost")
    assert finding(findings([elsewhere[0], *training]), "Cost") is None


ARMS_OF = {
    "Baseline": {ALL},
    "The subset alone": {"top_activations", "random_subset"},
    "Duplicates": {"top_activations_drop"},
    "Cost": {ALL, "autoencoder"},
}


def test_nothing_is_said_of_what_is_missing():
    for missing in ["nothing", *set().union(*ARMS_OF.values())]:
        records = [an_encoder(), *(record for name in NAMES for record in arm(name, 0.5, 0.6))]
        kept = [record for record in records if getattr(record.spec, "selector", "autoencoder") != missing]
        said = findings(kept)
        assert {title for title in ARMS_OF if finding(said, title)} == {t for t in ARMS_OF if missing not in ARMS_OF[t]}
        assert len(said) == sum(missing not in needed for needed in ARMS_OF.values())


def test_nothing_is_said_of_nothing_nor_of_arms_without_a_pair():
    assert findings([]) == []
    assert findings([a_run("top_activations", 1), a_run("random_subset", 0)]) == []  # a run of each diverged


# --- the records that are committed with the book: a check a property, each over all of them ---

JPEG, JPEG_FINGERPRINT = "CIFAR-10 (JPEG copy)", "e241af4f9084"


@pytest.fixture(scope="module")
def committed():
    """The file, what the line says, and the record of every committed line."""
    lines = [(file, line) for file in RESULTS.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    assert lines, f"{RESULTS} holds no records"
    return [(file, json.loads(line), Record.from_json(line)) for file, line in lines]


def test_every_committed_line_is_a_record_and_none_is_there_twice(committed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a line that is skipped is said by a warning
        assert len(Store().records()) == len(committed)
    assert report.recorded()


def filled(spec, written):
    """Return a spec with the defaults of the fields that are younger than its record, also in one inside it."""
    if isinstance(spec.get("embedding"), dict):
        spec = spec | {"embedding": filled(spec["embedding"], written["embedding"])}
    return written | spec


def test_a_committed_record_is_under_its_own_key_and_survives_being_read_and_written(committed):
    for file, content, record in committed:
        assert content["key"] == key(record.spec)
        written = json.loads(record.to_json())
        assert written == content | {"spec": filled(content["spec"], written["spec"])}
        assert file.stem == record.provenance["profile"]


def test_a_committed_record_says_where_it_comes_from(committed):
    for _, content, record in committed:
        where, name = content["provenance"], content["key"]
        assert all(where.get(item) for item in ("dataset", "hardware", "backend", "profile")), name
        assert where["versions"].keys() >= {"python", "keras", "numpy", where["backend"]}, name
        assert all(re.match(r"\d+\.\d+", version) for version in where["versions"].values()), name
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", where["commit"]), name
        assert datetime.fromisoformat(where["when"]).tzinfo is not None, name
        assert where["profile"] in suites.PROFILES, name
        # The copy of CIFAR-10 that went through JPEG is called what it is, also in a caption.
        assert (where["dataset"] == JPEG) == (content["spec"]["dataset"] == JPEG_FINGERPRINT), name
        assert where["dataset"] == JPEG or "jpeg" not in where["dataset"].lower(), name
        assert caption([record]).startswith(f"{where['dataset']}; "), name


def costs(record):
    """The stages that a record must be charged for, and the one that trains what it is about, if any."""

    def making(source):  # the stages of an embedding
        if isinstance(source, Run):
            return {"proxy training", "proxy probabilities"}
        return {"embedding"} | ({"autoencoder"} if getattr(source, "steps", 0) else set())

    spec = record.spec
    if isinstance(spec, Autoencoder):
        return making(spec), "autoencoder"
    needed = {"training", "evaluation"} | (making(spec.embedding) if spec.embedding else set())
    needed |= {"selection"} if spec.selector != ALL and spec.split else set()
    return needed | ({"loading"} if spec.feed != "device" else set()), "training"


def test_a_committed_record_has_its_costs(committed):
    for *_, record in committed:
        spec, name, stages = record.spec, key(record.spec), {line["stage"]: line for line in record.ledger}
        assert len(stages) == len(record.ledger), f"{name}: a stage is charged twice"
        assert all(line["seconds"] >= 0 and line["samples"] >= 0 for line in record.ledger), name
        if isinstance(spec, Pixels):
            assert list(stages) == ["embedding"], name
            assert stages["embedding"]["seconds"] > 0, name
            continue
        needed, trained = costs(record)
        assert needed <= stages.keys(), name
        assert all(stages[stage]["seconds"] > 0 and stages[stage]["samples"] > 0 for stage in needed), name
        if isinstance(spec, Run):
            assert ("loading" in stages) == (spec.feed != "device"), name
            assert bool(spec.embedding) == bool({"autoencoder", "embedding", "proxy training"} & stages.keys()), name
        assert {len(column) for column in record.curve.values()} <= {len(record.curve.get("step", []))}, name
        taken = record.curve["step"][-1] if spec.steps else 0
        assert stages[trained]["samples"] == taken * spec.batch, name
        if getattr(spec, "budget", None) is None:
            assert taken == spec.steps, name
        else:  # stopped by the clock, at most a compiled call of steps too late
            assert taken <= spec.steps, name
            assert spec.budget <= stages["training"]["seconds"] < 1.25 * spec.budget, name


def test_a_committed_record_counts_its_images(committed):
    for *_, record in committed:
        metrics, spec, name = record.metrics, record.spec, key(record.spec)
        if isinstance(spec, Pixels):
            assert metrics["elements"] == spec.components, name
        elif isinstance(spec, Autoencoder):
            assert 0 <= metrics["dead_elements"] < metrics["elements"], name
            assert metrics["loss"] is None if spec.steps == 0 else metrics["loss"] > 0, name
        else:
            right = metrics["test_accuracy"] * metrics["test_images"]
            assert 0 < metrics["test_accuracy"] < 1, name
            assert right == pytest.approx(round(right), abs=1e-3), name
            if spec.selector == ALL or not spec.split:
                assert "class_counts" not in metrics, name
                continue
            assert sum(metrics["class_counts"]) == metrics["kept"], name
            assert len(metrics["class_counts"]) == len(record.provenance["class_names"]), name
            assert metrics["distinct"] <= metrics["kept"] <= spec.keep, name
            assert (metrics["kept"] == spec.keep) == (spec.selector != "top_activations_drop"), name
            assert (metrics["distinct"] == metrics["kept"]) == (spec.selector != "top_activations_keep"), name


def test_a_run_is_charged_what_its_autoencoder_or_proxy_took():
    """As it was recorded before the run: a few proxies have two readings, and either may have come before."""
    found, first = Store().records(), Store(RESULTS / "superseded").records()
    for record in found.values():
        if getattr(record.spec, "embedding", None):
            name = key(record.spec.embedding)
            prefix = "proxy " if isinstance(record.spec.embedding, Run) else ""
            readings = [
                [line | {"stage": prefix + line["stage"]} for line in one.ledger if line["stage"] != "evaluation"]
                for one in (found[name], first.get(name, found[name]))
            ]
            shared = readings[0]
            charged = record.ledger[: len(shared)]
            assert charged in readings
            seconds = sum(line["seconds"] for line in charged)
            assert record.own_seconds() == pytest.approx(record.seconds() - seconds)
