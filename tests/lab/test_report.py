"""Which records a page shows, captions, status and the sentences, from records made by hand."""

import dataclasses
import re

import numpy as np
import pytest
from made_up import UNUSUAL, a_run, an_encoder, arm, encoder

from embsel.errors import InputError
from embsel.lab import questions, report
from embsel.lab.compare import NAMES, Interval, accuracies
from embsel.lab.profiles import PROFILES, profile
from embsel.lab.records import ALL, Store, key
from embsel.lab.report import caption, comparison, findings, progress, recorded, status


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
    for number, name in enumerate(profiles):
        assert store.append(a_run(ALL, seed=number, where={"profile": name}))
    if shown:
        assert [record.provenance["profile"] for record in recorded(store)] == shown
        return
    with pytest.raises(InputError, match=r"python -m embsel record --profile (\w+)") as caught:
        recorded(store)
    assert re.search(r"--profile (\w+)", str(caught.value))[1] in PROFILES


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
    assert minutes(*runs, *arm("top_activations", 0.5, 0.6)) == 2 * 5 + 4  # one of them is there already


def test_status_and_progress_have_rows_for_each_place_and_suite(tmp_path):
    store = Store(tmp_path)
    card = {"hardware": "a card", "backend": "jax"}
    for record in [an_encoder(), a_run("top_activations"), *arm(ALL, 0.5, 0.6), a_run(ALL, 2, where=card)]:
        store.append(record)
    here, there = ["laptop", "a set", "a processor", "tensorflow"], ["laptop", "a set", "a card", "jax"]
    assert status(store) == [[*here, 4, 5 + 3], [*there, 1, 1]]
    store.append(a_run(ALL, seed=9, where={"profile": "mine"}))  # its sizes are not known
    rows = progress(store)
    assert [row[:5] for row in rows] == [[*place, name] for place in (here, there) for name in questions.SUITES]
    by_name = {(row[2], row[4]): row[5:] for row in rows}
    seeds = len(profile("laptop").seeds)  # seven specs for each; an autoencoder's seconds are its own record's
    assert by_name["a processor", "filtering"] == [4, str(7 * seeds - 5), 300 + 3 * 60]
    assert by_name["a card", "filtering"] == [1, str(7 * seeds - 5), 60]
    assert by_name["a processor", "splits"] == [1, str(7 * seeds - 1), 300]  # with the autoencoders
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
    assert by_name["filtering"] == [2, str(2 * 7 * len(profile("laptop").seeds) - 2), 120]


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
