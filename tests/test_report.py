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

from embsel import report, suites
from embsel.errors import InputError
from embsel.records import ALL, RESULTS, Autoencoder, Pixels, Record, Run, Store, key
from embsel.report import NAMES, Interval, accuracies, caption, comparison, findings, paired, progress, recorded, status
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

several = st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=2, max_size=12)


@given(several)
def test_an_interval_is_students(values):
    ours = Interval.of(values)
    if np.std(values) > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (ours.mean - ours.half, ours.mean + ours.half) == pytest.approx((low, high), abs=1e-12)
    else:
        assert ours.half == pytest.approx(0, abs=1e-9)
    assert (ours.mean, ours.n) == (pytest.approx(np.mean(values)), len(values))


@given(several.filter(lambda values: np.std(values) > 1e-6))
def test_a_verdict_is_a_t_test_at_five_percent(values):
    test = stats.ttest_1samp(values, 0)
    if abs(test.pvalue - 0.05) > 1e-9:  # not the very edge, where the last digit decides
        expected = "neither" if test.pvalue > 0.05 else "better" if test.statistic > 0 else "worse"
        assert Interval.of(values).verdict("better", "worse", "neither") == expected


def test_one_run_has_no_spread_and_no_verdict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy would complain of a deviation over one value
        one = Interval.of([0.622])
    assert (one.mean, one.half, one.n) == (0.622, np.inf, 1)
    assert one.text() == "62.2 % (n = 1)"
    assert one.verdict("better", "worse", "neither") == "neither"


@pytest.mark.parametrize("nothing", [[], (), np.array([])])
def test_no_run_has_no_interval(nothing):
    with pytest.raises(InputError, match="at least one value"):
        Interval.of(nothing)


@pytest.mark.parametrize(
    ("interval", "options", "text"),
    [
        (Interval(0.571, 0.0204, 3), {}, "57.1 ± 2.0 % (n = 3)"),
        (Interval(0.063, 0.0104, 5), {"unit": " points", "sign": True}, "+6.3 ± 1.0 points (n = 5)"),
        (Interval(-0.058, np.inf, 1), {"unit": " points", "sign": True}, "-5.8 points (n = 1)"),
        (Interval(-0.058, 0.5, 2), {}, "-5.8 ± 50.0 % (n = 2)"),
        (Interval(297.04, 3.06, 3), {"unit": " s", "scale": 1}, "297.0 ± 3.1 s (n = 3)"),
        (Interval(0.5, 0.0, 2), {}, "50.0 ± 0.0 % (n = 2)"),
    ],
)
def test_an_interval_in_words(interval, options, text):
    assert interval.text(**options) == text


@pytest.mark.parametrize(
    ("mean", "half", "word"),
    [
        (0.02, 0.01, "better"),
        (-0.02, 0.01, "worse"),
        (0.02, 0.03, "neither"),
        (-0.02, 0.03, "neither"),
        (0.02, 0.02, "neither"),  # touches zero
        (-0.02, 0.02, "neither"),
        (0.0, 0.0, "neither"),
        (0.5, np.inf, "neither"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(mean, half, word):
    assert Interval(mean, half, 3).verdict("better", "worse", "neither") == word


# --- pairs ---


def test_pairs_are_made_by_seed_in_whatever_order():
    first = arm("top_activations", 0.60, 0.50, 0.56)
    second = arm("random_subset", 0.58, 0.49, 0.53)
    gap = paired(first, second[::-1])
    assert gap == Interval.of([0.60 - 0.58, 0.50 - 0.49, 0.56 - 0.53])
    back = paired(second, first)
    assert (back.mean, back.half) == (pytest.approx(-gap.mean), pytest.approx(gap.half))


def test_a_seed_without_a_partner_is_left_out():
    first = [a_run("top_activations", seed, 0.6) for seed in (0, 1, 2)]
    second = [a_run("random_subset", seed, 0.5) for seed in (2, 7)]
    assert paired(first, second) == Interval.of([0.6 - 0.5])
    assert paired(iter(first), iter(second)).n == 1


@pytest.mark.parametrize("others", [[], [3, 4]])
def test_without_a_pair_the_error_names_the_seeds(others):
    first = [a_run("top_activations", seed) for seed in (1, 0)]
    wanted = rf"No two runs share a seed: .*\[0, 1\].*{re.escape(str(others))}"
    with pytest.raises(InputError, match=wanted):
        paired(first, [a_run("random_subset", seed) for seed in others])


def test_accuracies_are_in_the_order_of_the_records():
    assert accuracies(arm(ALL, 0.3, 0.1, 0.2)).tolist() == [0.3, 0.1, 0.2]


# --- which records the pages show ---


def a_store(folder, *profiles):
    store = Store(folder)
    for number, profile in enumerate(profiles):
        assert store.append(a_run(ALL, seed=number, where={"profile": profile}))
    return store


@pytest.mark.parametrize(
    ("profiles", "shown"),
    [
        (["laptop", "paper", "tiny", "laptop"], ["paper"]),
        (["tiny", "laptop", "laptop"], ["laptop", "laptop"]),
        (["paper"], ["paper"]),
    ],
)
def test_the_largest_recorded_profile_is_shown(tmp_path, profiles, shown):
    found = recorded(a_store(tmp_path, *profiles))
    assert [record.provenance["profile"] for record in found] == shown


@pytest.mark.parametrize("profiles", [[], ["tiny"]])
def test_where_nothing_is_recorded_the_error_names_the_command(tmp_path, profiles):
    with pytest.raises(InputError, match=r"python -m embsel record --profile (\w+)") as caught:
        recorded(a_store(tmp_path, *profiles))
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


def test_a_comparison_has_the_arms_in_the_order_of_the_names():
    assert list(comparison(everything())) == list(report.FIRST)
    arms = comparison(everything(), names=NAMES)
    assert list(arms) == list(NAMES)
    for name, group in arms.items():
        assert {(r.spec.selector, r.spec.validation, r.spec.split) for r in group} == {(name, False, 100)}
        assert sorted(r.spec.seed for r in group) == [0, 1]


def test_a_comparison_takes_one_split_and_always_the_baseline():
    arms = comparison(iter(everything()), split=50)
    assert list(arms) == [ALL, "top_activations"]
    assert [record.metrics["test_accuracy"] for record in arms["top_activations"]] == [0.7]
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
    assert {split: accuracies(group).tolist() for split, group in groups["random_subset"].items()} == {
        0: [0.8],
        50: [0.7],
        100: [0.5],
    }
    assert report.by_split(arm(ALL, 0.8)) == {}


def test_the_splits_in_between_are_said_against_the_baseline():
    records = [*arm(ALL, 0.60, 0.62), *arm("top_activations", 0.5, 0.5), *arm("top_activations", 0.58, 0.61, split=50)]
    (line,) = [line for line in findings(records) if "then everything" in line]
    gap = Interval.of([0.58 - 0.60, 0.61 - 0.62]).text(" points", sign=True)
    assert line.endswith(f"those on all the data: 50/50 {gap}.")
    assert not any("then everything" in line for line in findings(records[:4]))


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
    again, low_again, high_again = report.variance_ratio(second, first)
    assert (again, low_again, high_again) == pytest.approx((1 / ratio, 1 / high, 1 / low))


def test_the_interval_of_a_ratio_of_variances_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        _, low, high = report.variance_ratio(rng.normal(0, 1, (3, 3)), rng.normal(7, 1, (3, 3)))
        held += low <= 1 <= high
    assert 930 <= held <= 970


def test_a_variance_needs_two_runs():
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
    large, chance, few = begun("top_activations", 0, 43_200), begun("random_subset", 0), begun("random_subset", 0, 1, 3)
    others = [an_encoder(), a_run(ALL), a_run("random_subset", split=50)]
    arms = report.fixed_budget(iter([*others, full[0], chosen[0], large, full[1], chance, few, chosen[1]]))
    assert arms == {
        "all the data": full,
        "filter, refill, 8.64 % first": chosen,
        "filter, refill, 86.40 % first": [large],
        "random, 8.64 % first": [chance],
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
    once = with_curve(step=[30, 90], seconds=[4.0, 10.0], phase=[0, 1])
    assert (report.pace(once, 0), report.pace(once, 1)) == (7.5, 10)


def test_a_quantity_is_read_between_two_evaluations():
    record = with_curve(step=[10, 30, 40], seconds=[2.0, 4.0, 8.0], test_loss=[3.0, 1.0, 0.0], loss=[9.0, 5.0, 1.0])
    assert [report.at(record, "test_loss", place) for place in (2, 2.5, 4, 6)] == [3, 2.5, 1, 0.5]
    assert report.at(record, "loss", 6) == 3
    assert report.at(record, "test_loss", 15, along="step") == 2.5


@pytest.mark.parametrize(
    ("loading", "by_turns", "at_once"),
    [(20.0, 76_800 / 80, 76_800 / 60), (120.0, 76_800 / 180, 76_800 / 120), (None, 76_800 / 60, 76_800 / 60)],
)
def test_images_per_second_by_turns_and_at_once(loading, by_turns, at_once):
    record = a_run("top_activations")  # its autoencoder's seconds do not count
    if loading:
        record.ledger.append({"stage": "loading", "seconds": loading, "samples": 76_800})
    assert report.images_per_second(record) == pytest.approx((by_turns, at_once))


# --- captions and rows ---


def test_a_caption_names_each_place_once():
    other = {"dataset": "another set", "hardware": "a card", "backend": "jax", "profile": "paper"}
    line = caption([a_run(ALL, 0), a_run(ALL, 1), a_run(ALL, 2, where=other), a_run(ALL, 3, where=other)])
    places = "a set, another set; laptop, paper profile; a processor, a card; jax 0.7.0, tensorflow 2.21.0"
    assert line == f"{places}; 4 runs, 4 minutes."


def minutes(line):
    return float(re.search(r"runs, ([\d.]+) minutes\.$", line)[1])


def test_a_caption_counts_a_shared_autoencoder_once():
    runs = [a_run(name) for name in ("top_activations", "top_activations_drop", "top_activations_keep")]
    assert minutes(caption([an_encoder(), *runs])) == 5 + 3
    assert minutes(caption([*runs, an_encoder()])) == 5 + 3
    assert minutes(caption([an_encoder(), an_encoder(seed=1), *runs])) == 10 + 3


def test_a_caption_counts_an_autoencoder_whose_own_record_is_not_shown():
    runs = [a_run(name) for name in ("top_activations", "top_activations_drop")]
    assert minutes(caption(runs)) == 5 + 2
    assert minutes(caption([*runs, *arm("top_activations", 0.5, 0.6)])) == 2 * 5 + 4
    assert minutes(caption(iter([*runs, a_run("random_subset")]))) == 5 + 3


def test_status_has_a_row_for_each_place(tmp_path):
    store = Store(tmp_path)
    card = {"hardware": "a card", "backend": "jax"}
    for record in [an_encoder(), a_run("top_activations"), *arm(ALL, 0.5, 0.6), a_run(ALL, 7, where=card)]:
        store.append(record)
    assert status(store) == [
        ["laptop", "a set", "a processor", "tensorflow", 4, 5 + 3],
        ["laptop", "a set", "a card", "jax", 1, 1],
    ]
    assert status(Store(tmp_path / "empty")) == []


def test_progress_has_a_row_for_each_place_and_suite(tmp_path):
    store = Store(tmp_path)
    card = {"hardware": "a card", "backend": "jax"}
    for record in [an_encoder(), a_run("top_activations"), *arm(ALL, 0.5, 0.6), a_run(ALL, 2, where=card)]:
        store.append(record)
    store.append(a_run(ALL, seed=9, where={"profile": "mine"}))  # its sizes are not known
    rows = progress(store)
    assert [row[:5] for row in rows] == [
        ["laptop", "a set", *where, name]
        for where in (("a processor", "tensorflow"), ("a card", "jax"))
        for name in suites.SUITES
    ]
    by_name = {(row[2], row[4]): row[5:] for row in rows}
    seeds = len(suites.profile("laptop").seeds)  # seven specs for each; an autoencoder's seconds are its own record's
    assert by_name["a processor", "filtering"] == [4, str(7 * seeds - 5), 300 + 3 * 60]
    assert by_name["a card", "filtering"] == [1, str(7 * seeds - 5), 60]
    assert by_name["a processor", "splits"] == [0, str(6 * seeds), 0]
    assert by_name["a processor", "budget"] == [0, "more than 1", 0]
    assert by_name["a card", "part-one"] == [1, f"more than {7 * seeds + 1 - 5}", 60]
    assert by_name["a card", "ablations"][1].startswith("more than ")  # the tuned arms wait for their rates
    assert progress(Store(tmp_path / "empty")) == []


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
NEITHER = "do not tell the filter from"


def test_the_baseline_is_told():
    said = findings([*arm(ALL, 0.62, 0.63, 0.67), a_run(ALL, 9, 0.1, validation=True)])
    assert len(said) == 1
    steps, batch, mean, half, n = numbers(finding(said, "Baseline").replace("n = ", ""))
    expected = Interval.of([0.62, 0.63, 0.67])
    assert (steps, batch, n) == (600, 128, 3)
    assert (mean, half) == pytest.approx((100 * expected.mean, 100 * expected.half), abs=0.05)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_comparison_is_told_from_its_records(backwards):
    chosen, chance = (CHANCE, FILTER) if backwards else (FILTER, CHANCE)
    said = findings([*arm("random_subset", *chance), *arm("top_activations", *chosen)])
    assert len(said) == 1
    line = finding(said, "The subset alone")
    intervals = re.findall(r"([-+]?[\d.]+) ± ([\d.]+) (%|points) \(n = (\d)\)", line)
    gap = Interval.of(np.subtract(chosen, chance))
    expected = [(Interval.of(chosen), "%"), (Interval.of(chance), "%"), (gap, "points")]
    assert len(intervals) == 3
    for (mean, half, unit, n), (interval, wanted) in zip(intervals, expected, strict=True):
        assert (float(mean), float(half)) == pytest.approx((100 * interval.mean, 100 * interval.half), abs=0.05)
        assert (unit, int(n)) == (wanted, interval.n)
    assert intervals[2][0].startswith("+" if backwards else "-")
    assert (BETTER in line, WORSE in line, NEITHER in line) == (backwards, not backwards, False)
    assert "4,320 images" in line
    assert "63.9 % against 57.6 %" in line


@pytest.mark.parametrize(
    ("chosen", "chance"), [((0.5,), (0.9,)), ((0.9,), (0.5,)), ((0.5, 0.6), (0.6, 0.5)), ((0.5, 0.6), (0.5, 0.6))]
)
def test_runs_that_do_not_tell_are_said_not_to(chosen, chance):
    line = finding(findings([*arm("top_activations", *chosen), *arm("random_subset", *chance)]), "The subset alone")
    assert (BETTER in line, WORSE in line, NEITHER in line) == (False, False, True)


def test_other_splits_are_not_taken_for_the_subset_alone():
    shown = [*arm("top_activations", *FILTER), *arm("random_subset", *CHANCE)]
    hybrid = [*arm("top_activations", *CHANCE, split=50), *arm("random_subset", *FILTER, split=50)]
    assert findings([*hybrid, *shown]) == findings(shown)


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
    said = findings([an_encoder(0, seconds=300.0), an_encoder(1, seconds=316.0), unusual, *training])
    assert numbers(finding(said, "Cost")) == [308, 2.8, 110]


ARMS_OF = {
    "Baseline": {ALL},
    "The subset alone": {"top_activations", "random_subset"},
    "Duplicates": {"top_activations_drop"},
    "Cost": {ALL, "autoencoder"},
}


@pytest.mark.parametrize("missing", [*NAMES, "autoencoder"])
def test_nothing_is_said_of_what_is_missing(missing):
    records = [an_encoder(), *(record for name in NAMES for record in arm(name, 0.5, 0.6))]
    kept = [record for record in records if getattr(record.spec, "selector", "autoencoder") != missing]
    said = findings(kept)
    assert {title for title in ARMS_OF if finding(said, title)} == {t for t in ARMS_OF if missing not in ARMS_OF[t]}
    assert len(said) == sum(missing not in needed for needed in ARMS_OF.values())


def test_nothing_is_said_of_nothing_nor_of_arms_without_a_pair():
    assert findings([]) == []
    assert findings([a_run("top_activations", 1), a_run("random_subset", 0)]) == []  # a run of each diverged


# --- the records that are committed with the book ---

LINES = [(file, line) for file in sorted(RESULTS.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]
CONTENTS = [json.loads(line) for _, line in LINES]
JPEG = "CIFAR-10 (JPEG copy)"
JPEG_FINGERPRINT = "e241af4f9084"
IDS = [f"{content['key']}-{content['spec'].get('selector', 'autoencoder')}" for content in CONTENTS]
each = pytest.mark.parametrize("number", range(len(LINES)), ids=IDS)


def test_the_book_has_records_and_every_line_is_one():
    assert LINES, f"{RESULTS} holds no records"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a line that is skipped is said by a warning
        found = Store().records()
    assert len(found) == len(LINES), "a spec is recorded twice"
    assert report.recorded()


def filled(spec, written):
    """Return a spec with the defaults of the fields that are younger than its record, also in one inside it."""
    if isinstance(spec.get("embedding"), dict):
        spec = spec | {"embedding": filled(spec["embedding"], written["embedding"])}
    return written | spec


@each
def test_a_committed_record_is_under_its_own_key(number):
    file, line = LINES[number]
    record = Record.from_json(line)
    assert CONTENTS[number]["key"] == key(record.spec)
    written = json.loads(record.to_json())
    spec = filled(CONTENTS[number]["spec"], written["spec"])
    assert written == CONTENTS[number] | {"spec": spec}, "it does not survive being read and written"
    assert file.stem == record.provenance["profile"]


@each
def test_a_committed_record_says_where_it_comes_from(number):
    where = CONTENTS[number]["provenance"]
    assert {name for name in ("dataset", "hardware", "backend", "profile") if not where.get(name)} == set()
    assert where["versions"].keys() >= {"python", "keras", "numpy", where["backend"]}
    assert all(re.match(r"\d+\.\d+", version) for version in where["versions"].values())
    assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", where["commit"])
    assert datetime.fromisoformat(where["when"]).tzinfo is not None
    assert where["profile"] in suites.PROFILES


@each
def test_the_jpeg_copy_is_called_what_it_is(number):
    spec, where = CONTENTS[number]["spec"], CONTENTS[number]["provenance"]
    assert (where["dataset"] == JPEG) == (spec["dataset"] == JPEG_FINGERPRINT)
    if where["dataset"] != JPEG:
        assert "jpeg" not in where["dataset"].lower()
    record = Record.from_json(LINES[number][1])
    assert caption([record]).startswith(f"{where['dataset']}; ")


@each
def test_a_committed_record_has_its_costs(number):
    record = Record.from_json(LINES[number][1])
    stages = {line["stage"]: line for line in record.ledger}
    assert len(stages) == len(record.ledger), "a stage is charged twice"
    assert all(line["seconds"] >= 0 and line["samples"] >= 0 for line in record.ledger)
    if isinstance(record.spec, Pixels):
        assert list(stages) == ["embedding"]
        assert stages["embedding"]["seconds"] > 0
        return

    def making(source):  # the stages of an embedding
        if isinstance(source, Run):
            return {"proxy training", "proxy probabilities"}
        return {"embedding"} | ({"autoencoder"} if getattr(source, "steps", 0) else set())

    if isinstance(record.spec, Autoencoder):
        needed, trained = making(record.spec), "autoencoder"
    else:
        needed, trained = {"training", "evaluation"}, "training"
        needed |= {"selection"} if record.spec.selector != ALL and record.spec.split else set()
        source = record.spec.embedding
        needed |= making(source) if source else set()
        needed |= {"loading"} if record.spec.feed != "device" else set()
        assert ("loading" in stages) == (record.spec.feed != "device")
        assert bool(source) == bool({"autoencoder", "embedding", "proxy training"} & stages.keys())
    assert needed <= stages.keys()
    assert all(stages[name]["seconds"] > 0 and stages[name]["samples"] > 0 for name in needed)
    assert {len(column) for column in record.curve.values()} <= {len(record.curve.get("step", []))}
    taken = record.curve["step"][-1] if record.spec.steps else 0
    assert stages[trained]["samples"] == taken * record.spec.batch
    if getattr(record.spec, "budget", None) is None:
        assert taken == record.spec.steps
    else:  # stopped by the clock, at most a compiled call of steps too late
        assert taken <= record.spec.steps
        assert record.spec.budget <= stages["training"]["seconds"] < 1.25 * record.spec.budget


@each
def test_a_committed_record_counts_its_images(number):
    record = Record.from_json(LINES[number][1])
    metrics, spec = record.metrics, record.spec
    if isinstance(spec, Pixels):
        assert metrics["elements"] == spec.components
        return
    if isinstance(spec, Autoencoder):
        assert 0 <= metrics["dead_elements"] < metrics["elements"]
        assert (metrics["loss"] is None) == (spec.steps == 0)
        assert spec.steps == 0 or metrics["loss"] > 0
        return
    right = metrics["test_accuracy"] * metrics["test_images"]
    assert 0 < metrics["test_accuracy"] < 1
    assert right == pytest.approx(round(right), abs=1e-3)
    if spec.selector == ALL or not spec.split:
        assert "class_counts" not in metrics
        return
    assert sum(metrics["class_counts"]) == metrics["kept"]
    assert len(metrics["class_counts"]) == len(record.provenance["class_names"])
    assert metrics["distinct"] <= metrics["kept"] <= spec.keep
    assert (metrics["kept"] == spec.keep) == (spec.selector != "top_activations_drop")
    assert (metrics["distinct"] == metrics["kept"]) == (spec.selector != "top_activations_keep")


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
