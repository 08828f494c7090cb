"""The answer against the length of training, and the same numbers from the lines of the records by another way."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from embsel.lab import ladder, plots
from embsel.lab.profiles import profile
from embsel.lab.questions import QUESTIONS
from embsel.lab.records import ALL, PRECISIONS, Record, Run, Store

SIZES, DATA = profile("paper"), "0123456789ab"
LEVELS = {"top_activations": 0.5, "random_subset": 0.6, ALL: 0.8}
PLACE = {"profile": "paper", "dataset": "CIFAR-10", "hardware": "a GPU", "backend": "jax", "versions": {"jax": "1"}}


def made_up(spec: Run, seed_noise: float = 0.01) -> Record:
    """A record whose accuracy grows with the steps, and whose longer run says something else than the shorter one."""
    steps = [step for step in (300, 600, 1250, 2500, 5000, 10_000) if step <= spec.steps]
    level = LEVELS[spec.selector] + seed_noise * spec.seed * (2 if spec.selector == ALL else 1) + spec.steps / 1e6
    accuracy = [level * step / 10_000 for step in steps]
    curve = {"step": steps, "phase": [0] * len(steps), "loss": accuracy, "test_accuracy": accuracy}
    return Record(spec, {"test_accuracy": accuracy[-1]}, [], PLACE, curve)


def asked(*parts):
    specs = (spec for part in parts for spec in QUESTIONS[f"ladder-{part}"].specs(SIZES, DATA))
    return [spec for spec in specs if isinstance(spec, Run)]


@pytest.fixture(scope="module")
def records():
    return [made_up(spec) for spec in asked("R", "A0", "B0", "A1", "B1", "C0")]


def test_each_arm_and_seed_has_the_curve_of_its_longest_run_without_a_switch(records):
    rows = ladder.table(records)
    ends = rows.groupby(["arm", "seed"])["step"].max().unstack()
    assert ends.loc["filter, refill"].tolist() == ends.loc["all the data"].tolist() == [10_000, 10_000, 1250]
    assert not rows.duplicated(["arm", "seed", "step"]).any()
    at = rows.set_index(["arm", "seed", "step"])["test_accuracy"]
    assert at["random", 1, 1250] == pytest.approx((0.6 + 0.01 + 0.01) / 8)
    assert at["random", 2, 1250] == pytest.approx((0.6 + 0.02 + 0.00125) / 8)


def test_runs_that_are_not_of_the_ladder_are_left_out(records):
    other = [dataclasses.replace(records[0].spec, rate=0.2), dataclasses.replace(records[0].spec, average="tenth")]
    assert len(ladder.table([*records, *map(made_up, other)])) == len(ladder.table(records))
    assert ladder.table([]).empty
    assert ladder.sentences(ladder.table([])) == []
    assert ladder.shown(ladder.table([])) == {}


def test_neither_a_trial_of_the_precision_nor_another_autoencoder_ever_counts(records):
    trials = [made_up(dataclasses.replace(spec, precision=name)) for spec in asked("P") for name in PRECISIONS]
    others = [made_up(spec) for spec in asked("E", "F") if spec.embedding]
    assert ladder.table([*trials, *others]).empty
    assert ladder.table([*trials, *others, *records]).equals(ladder.table(records))
    twice = dataclasses.replace(records[0], curve={name: 2 * column for name, column in records[0].curve.items()})
    assert not ladder.table([twice]).duplicated(["arm", "seed", "step"]).any()


def test_until_its_switch_the_run_on_the_subset_alone_stands_for_a_split_that_is_missing(records):
    ends = ladder.table(records, split=50).groupby(["arm", "seed"])["step"].max().unstack()
    assert ends.loc["filter, refill"].tolist() == [10_000, 5_000, 1_250]
    assert ends.loc["all the data"].tolist() == [10_000, 10_000, 1_250]
    assert {run.spec.split for (arm, seed), run in ladder.longest(records, split=50).items() if not seed} == {50, 100}


def test_figure_4_has_the_runs_of_full_length_at_their_splits(records):
    groups = ladder.by_split(records)
    counts = [{split: len(runs) for split, runs in group.items()} for group in groups.values()]
    assert counts == [{0: 2, 50: 1, 90: 1, 95: 1, 100: 2}] * 2
    assert {run.spec.steps for group in groups.values() for runs in group.values() for run in runs} == {10_000}
    shorter = [record for record in records if record.spec.steps < 10_000]
    assert ladder.by_split(shorter) == ladder.by_split([]) == {}
    few = [record for record in records if record.spec.selector == ALL]
    assert all(group.keys() == {0} for group in ladder.by_split(few).values())


def test_what_is_missing_is_said_with_the_command_that_records_it(records):
    assert ladder.missing(records, "A0", "B0", "C0") == []
    (said,) = ladder.missing(records, "A0", "C1", "D")
    assert said.endswith(" --suite ladder-C1`, and likewise `ladder-D`.")
    assert "ladder-E --data cifar100`." in ladder.missing([], "E", data=" --data cifar100")[0]


@pytest.mark.parametrize(("shift", "word"), [(0.2, "seen here"), (-0.2, "opposite sign, at 1/8"), (0, "not seen")])
def test_the_prediction_of_many_classes_is_judged_by_the_two_differences(shift, word):
    def rows(apart, each=0.01):
        values = [(seed, ladder.FILTER, apart + each * seed) for seed in (0, 1)]
        values += [(seed, ladder.RANDOM, 0.0) for seed in (0, 1)]
        return pd.DataFrame(values, columns=["seed", "arm", "test_accuracy"]).assign(step=1250)

    (said,) = ladder.many_classes(rows(shift, each=0.02), rows(0))
    assert word in said
    assert "+0.0 and +1.0 points (two seeds) with 10" in said
    assert ladder.many_classes(ladder.table([]), rows(0)) == []


def test_until_all_arms_are_there_the_sentence_tells_of_those_that_are(records):
    few = [record for record in records if record.spec.selector == "random_subset" and record.spec.steps == 1250]
    (said,) = ladder.sentences(ladder.table(few))
    assert "not all arms are recorded yet. So far: random " in said
    assert said.endswith("after 1,250 steps.")


def test_a_difference_is_paired_by_seed(records):
    found = ladder.gaps(ladder.table(records), ladder.RANDOM, ladder.EVERYTHING).set_index("step")
    np.testing.assert_allclose(found.loc[10_000, "values"], [-0.2, -0.21])
    np.testing.assert_allclose(found.loc[1250, "values"], [-0.2 / 8, -0.21 / 8, -0.22 / 8])
    assert found.loc[1250, "interval"].n == 3


def test_the_sentence_names_the_size_and_no_interval_of_two(records):
    (said,) = ladder.sentences(ladder.table(records))
    assert said.startswith("**At the paper's own size** (10,000 steps of 1,024 images)")
    assert "-10.0 and -10.0 points (two seeds) (the paper: +6.3)" in said
    assert said.endswith(" After 300 steps the two differences were -0.3 and -0.6 points.")
    assert "±" not in said
    short = [record for record in records if record.spec.steps == 1250]
    (said,) = ladder.sentences(ladder.table(short))
    assert said.startswith("**At the paper's batch and 1/8 of its steps** (1,250 steps of 1,024 images)")
    assert "(n = 3)" in said


def test_what_is_shown_can_be_drawn(records):
    lines = ladder.shown(ladder.table(records))
    assert list(lines) == ["filter, refill minus random", "random minus all the data"]
    assert [line[-1] for line in lines.values()] == pytest.approx([0.063, -0.257])
    assert plots.ladder(lines, "points").axes[0].get_xscale() == "log"
    wide = ladder.table(records).query("arm == 'random'").pivot(index="step", columns="seed", values="test_accuracy")
    drawn = plots.curves({"random": (wide.index, wide)}, "x", "y", mark=ladder.BUDGET, paper={"random": 0.635})
    *seeds, mean, _, diamond, _ = drawn.axes[0].lines
    assert len(seeds) == 3
    np.testing.assert_allclose(mean.get_ydata(), 100 * wide.mean(axis=1))
    assert diamond.get_xydata().tolist() == [[5705, 63.5]]


def test_the_lines_of_the_records_alone_give_the_same_numbers(root):
    """Recomputed from the JSON with pandas, by no function of embsel."""
    file = root / "book" / "results" / "paper.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    flat = pd.json_normalize([line for line in lines if line["kind"] == "Run"])
    if flat.empty:
        pytest.skip("nothing is recorded at the paper's size yet")
    flat = flat[(flat["provenance.dataset"] == "CIFAR-10") & (flat["spec.split"] == 100) & flat["spec.augment"]]
    flat = flat[flat["spec.selector"].isin(LEVELS) & (flat["spec.width"] == 64) & (flat["spec.steps"] > 300)]
    flat = flat[flat["spec.precision"] == asked("R")[0].precision]
    encoder = flat.get("spec.embedding.steps", pd.Series(4000.0, flat.index)).fillna(4000)
    flat = flat[encoder == 4000].sort_values("spec.steps").drop_duplicates(["spec.selector", "spec.seed"], keep="last")
    long = flat.set_index(["spec.selector", "spec.seed"])[["curve.step", "curve.test_accuracy"]]
    long = long.explode(["curve.step", "curve.test_accuracy"]).set_index("curve.step", append=True)
    accuracy = long["curve.test_accuracy"].astype(float).unstack("spec.selector")
    records = [record for record in Store().records().values() if record.provenance["dataset"] == "CIFAR-10"]
    rows = ladder.table([record for record in records if record.provenance["profile"] == "paper"])
    here = rows.pivot(index=["seed", "step"], columns="arm", values="test_accuracy")
    for name, arm in {"top_activations": ladder.FILTER, "random_subset": ladder.RANDOM, ALL: ladder.EVERYTHING}.items():
        if name in accuracy:
            assert here[arm].dropna().to_dict() == accuracy[name].dropna().to_dict()
    for (first, second), (one, other) in {
        ("top_activations", "random_subset"): (ladder.FILTER, ladder.RANDOM),
        ("random_subset", ALL): (ladder.RANDOM, ladder.EVERYTHING),
    }.items():
        if {first, second} <= set(accuracy):
            gap = (accuracy[first] - accuracy[second]).dropna().groupby("curve.step").mean()
            found = ladder.gaps(rows, one, other)
            assert found["step"].tolist() == gap.index.tolist()
            np.testing.assert_allclose([interval.mean for interval in found["interval"]], gap.to_numpy())
