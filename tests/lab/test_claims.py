"""The verdicts on the paper's claims: the rules at their edges, every claim in made-up worlds, the page."""

import dataclasses
import math
import re

import jupytext
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import PLACE, a_ladder
from test_prose import prose, typed_results

from embsel.lab import claims, compare, ladder, profiles, report
from embsel.lab.claims import ELSEWHERE, LESS, MEASURED, MORE, NOT_RECORDED, OPPOSITE, UNSEEN, difference, same
from embsel.lab.compare import Interval
from embsel.lab.records import ALL, Autoencoder, Record

AGREES, OPEN = "agrees", "not shown"
SMALLER, LARGER, AT_MOST = "same direction, smaller", "same direction, larger", "not shown; if any, smaller"
AGAINST = {OPPOSITE, UNSEEN}
VERDICTS = {AGREES, *AGAINST, OPEN, SMALLER, LARGER, AT_MOST, ELSEWHERE, MEASURED, NOT_RECORDED}
VERDICTS |= {"one seed, not judged", "two seeds, not judged", "the paper's sign"}
EDGE = 1e-9
RANDOM = "Random alone is far behind all the data"

# --- the rules ---


def test_a_difference_is_judged_by_zero_and_the_papers_number():
    for low, high, verdict in [
        (0.05, 0.07, AGREES),
        (0.063, 0.07, AGREES),
        (0.05, 0.063, AGREES),
        (0.063 + EDGE, 0.07, LARGER),
        (0.05, 0.063 - EDGE, SMALLER),
        (0.0, 0.07, OPEN),  # touches zero
        (-0.01, 0.063, OPEN),
        (-0.01, 0.063 - EDGE, AT_MOST),
        (-0.01, 0.0, AT_MOST),
        (-0.01, -EDGE, OPPOSITE),
        (-math.inf, math.inf, OPEN),  # one run
        (math.nan, math.nan, OPEN),
    ]:
        assert difference(low, high, 0.063) == verdict, (low, high)
        assert difference(-high, -low, -0.063) == verdict, (low, high)


def test_a_claim_of_more_or_less_is_judged_by_zero_alone_or_by_the_least_that_counts():
    for low, high, verdict in [
        (EDGE, 0.01, AGREES), (0.0, 0.01, OPEN), (-0.01, 0.0, OPEN), (-0.01, -EDGE, OPPOSITE)
    ]:  # fmt: skip
        assert difference(low, high, MORE) == difference(-high, -low, LESS) == verdict, (low, high)
    for low, high, verdict in [
        (0.01, 0.049, UNSEEN), (-0.1, 0.01, UNSEEN), (-0.1, -0.01, OPPOSITE), (-0.1, 0.05, OPEN), (0.01, 0.05, AGREES)
    ]:  # fmt: skip
        assert difference(low, high, MORE, least=0.05) == verdict, (low, high)


@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 4)), min_size=2, max_size=9))
def test_a_direction_is_judged_as_every_verdict_of_the_book(values):
    seen = Interval.of(values)
    assert difference(seen.mean - seen.half, seen.mean + seen.half, MORE) == seen.verdict(AGREES, OPPOSITE, OPEN)


def test_sameness_is_judged_by_its_margin():
    for low, high, verdict in [
        (-0.02, 0.02, AGREES),
        (0.01, 0.02 + EDGE, OPEN),
        (-0.02 - EDGE, 0.0, OPEN),
        (0.02, 0.03, OPEN),
        (0.02 + EDGE, 0.03, UNSEEN),
        (-0.03, -0.02 - EDGE, UNSEEN),
        (-math.inf, math.inf, OPEN),
        (math.nan, math.nan, OPEN),
    ]:
        assert same(low, high, 0.0, within=0.02) == verdict, (low, high)
        assert same(low + 8, high + 8, 8.0, within=0.02 + 1e-12) == verdict  # any number of the paper's


# --- the claims, in a world where the paper is right, and with one thing changed at a time ---

NOISE = np.array([-0.004, 0.001, 0.003, -0.002, 0.002])  # one value a seed, zero on average
RIGHT = {
    "full": 0.833,
    "alone": (0.639, 0.576),  # the filter and random
    "late": (0.80, 0.77),
    "early": (0.82, 0.82),
    "scatter": 0.2,  # of the filter's runs, as a multiple of the others'
    "race": (0.635, 0.104, 0.635),  # the subset first, all the data, the larger subset first
    "pace": (20.0, 10.0),  # steps a second on the subset and on all the data
    "loss": (1.0, 2.0, 1.0),  # the subset first, all the data, the larger subset first, at the switch
    "test_loss": (1.0, 2.0),
    "filtering": 0.1,  # seconds
    "encoder": 0.1,
    "distinct": 4320,
}
TRAINING = 60.0  # seconds of every run


def a_run(sizes, seed, selector=ALL, accuracy=0.5, truth=RIGHT, curve=None, **changes):
    if selector == ALL:
        spec = profiles.baseline(sizes, "0123456789ab", seed=seed)
    else:
        spec = profiles.subset_run(sizes, "0123456789ab", selector, seed)
    ledger = [{"stage": "selection", "seconds": truth["filtering"], "samples": 50_000}]
    ledger.append({"stage": "training", "seconds": TRAINING, "samples": spec.steps * spec.batch})
    metrics = {"test_accuracy": float(accuracy), "distinct": truth["distinct"], "class_counts": [432] * 10}
    where = PLACE | {"profile": sizes.name}
    return Record(dataclasses.replace(spec, **changes), metrics, ledger, where, curve or {})


def a_curve(on_subset, on_all, loss, test_loss):
    """50 and 100 steps on the subset, 50 on all the data; the losses are as they should be at 100 steps only."""
    seconds = [50 / on_subset, 100 / on_subset, 100 / on_subset + 50 / on_all]
    rows = {"loss": [9.0, loss, 9.0], "test_loss": [9.0, test_loss, 9.0]}
    return {"step": [50, 100, 150], "seconds": seconds, "phase": [0, 0, 1], **rows}


def a_world(profile="paper", seeds=range(5), **changes):
    """Every record that a claim asks for; the same noise in no two arms, so that differences have a spread."""
    truth, sizes, records = RIGHT | changes, profiles.profile(profile), []
    for seed in seeds:
        noise = dict(enumerate(np.roll(NOISE, k)[seed] for k in range(5)))
        encoder = profiles.autoencoder(sizes, "0123456789ab", seed)
        cost = [{"stage": "autoencoder", "seconds": truth["encoder"], "samples": encoder.steps * encoder.batch}]
        records.append(Record(encoder, {"loss": 0.01}, cost, PLACE | {"profile": sizes.name}))
        records.append(a_run(sizes, seed, ALL, truth["full"] + noise[0], truth))
        records.append(a_run(sizes, seed, "top_activations_drop", 0.5, truth))
        for split in (100, *sizes.splits):
            chosen, drawn = truth["alone" if split == 100 else "late" if split >= 90 else "early"]
            few = truth["scatter"] * noise[1]
            records.append(a_run(sizes, seed, "top_activations", chosen + few, truth, split=split))
            records.append(a_run(sizes, seed, "random_subset", drawn + noise[2], truth, split=split))
        first, never, larger = truth["race"]
        curve = a_curve(*truth["pace"], truth["loss"][0], truth["test_loss"][0])
        flat = {"loss": [truth["loss"][1]] * 3, "test_loss": [truth["test_loss"][1]] * 3}
        race = {"budget": 10.0, "truth": truth}
        flat |= {"step": [50, 100, 150], "seconds": [5.0, 10.0, 15.0], "phase": [0, 0, 0]}
        records.append(a_run(sizes, seed, ALL, never + noise[3], curve=flat, **race))
        for name, keep, accuracy in (
            ("top_activations", sizes.keep, first + noise[4]),
            ("random_subset", sizes.keep, 0.3),
            ("top_activations", 10 * sizes.keep, larger + noise[0]),
        ):
            if keep > sizes.keep:
                curve = a_curve(*truth["pace"], truth["loss"][2], truth["test_loss"][0])
            records.append(a_run(sizes, seed, name, accuracy, curve=curve, split=50, keep=keep, **race))
    return records


def verdicts(records):
    rows = claims.claims(records)
    assert len({row.claim for row in rows}) == len(rows)
    return {row.claim: row.verdict for row in rows}


def test_where_the_paper_is_right_every_claim_agrees():
    rows = claims.claims(a_world())
    bill = "The autoencoder is one-time work"  # is measured, and no claim that could fail
    expected = {row.claim: AGREES for row in rows} | {bill: MEASURED}
    assert {row.claim: row.verdict for row in rows} == expected
    assert len(rows) == len(profiles.profile("paper").splits) + 11


@pytest.mark.parametrize(
    ("changes", "flipped"),
    [
        ({"full": 0.87}, {"All the data"}),
        ({"alone": (0.576, 0.639)}, {"Subset alone"}),
        ({"late": (0.77, 0.80)}, {"95/5", "90/10"}),
        ({"early": (0.85, 0.82)}, {f"{p}/{100 - p}" for p in range(10, 90, 10)}),
        ({"scatter": 4.0}, {"The filter's runs scatter"}),
        ({"race": (0.104, 0.635, 0.104)}, {"7 of 12 minutes"}),
        ({"loss": (1.0, 2.0, 1.1)}, {"86.40 %"}),
        ({"pace": (10.0, 10.0)}, {"Steps on a subset"}),
        ({"loss": (2.0, 1.0, 2.0)}, {"On the subset, training loss"}),
        ({"test_loss": (2.0, 1.0)}, {"On the subset, test loss"}),
        ({"filtering": 0.02 * TRAINING}, {"Filtering"}),
    ],
)
def test_a_claim_falls_with_its_records_and_no_other_does(changes, flipped):
    found = verdicts(a_world(**changes))
    del found["The autoencoder is one-time work"], found[RANDOM]  # the one has no sign, the other two arms that move
    against = {claim for claim, verdict in found.items() if verdict in AGAINST}
    assert {claim for claim in found if claim.startswith(tuple(flipped))} == against
    assert len(against) == len(flipped)
    assert {verdict for claim, verdict in found.items() if claim not in against} == {AGREES}


def test_what_lies_between_is_said_as_such():
    for changes, claim, verdict in [
        ({"alone": (0.60, 0.576)}, "Subset alone", SMALLER),
        ({"alone": (0.66, 0.576)}, "Subset alone", LARGER),
        ({"alone": (0.577, 0.576)}, "Subset alone", AT_MOST),
        ({"full": 0.93}, "Random alone", LARGER),
        ({"full": 0.5}, "Random alone", OPPOSITE),
        ({"late": (0.77, 0.77)}, "90/10", OPEN),
        ({"scatter": 1.0}, "The filter's runs", OPEN),
    ]:
        found = verdicts(a_world(**changes))
        assert [found[row] for row in found if row.startswith(claim)] == [verdict], claim


def test_an_accuracy_by_itself_is_judged_at_the_papers_size_only():
    found = verdicts(a_world("laptop"))
    (alone,) = [claim for claim in found if claim.startswith("All the data")]
    assert found.pop(alone) == ELSEWHERE
    assert found.pop("The autoencoder is one-time work") == MEASURED
    assert found.pop("95/5: the filter wins") == NOT_RECORDED  # no split of this profile
    assert set(found.values()) == {AGREES}  # differences are judged at any size
    assert [claim.split(":")[0] for claim in found if "/" in claim] == ["90/10", "50/50"]


def test_a_verdict_against_a_claim_says_of_which_size_it_is():
    short = verdicts(a_world("laptop", alone=(0.5, 0.6), pace=(10.0, 10.0)))
    assert short["Subset alone: the filter beats random"] == "opposite sign at 1/133 of the samples"  # 10.24e6 / 76,800
    assert short["Steps on a subset take less time"] == "not seen at this size"
    assert [claims.part(samples) for samples in (10_240_000, 76_800, 20_000_000)] == [1, 133, 1]
    assert claims.sized(OPPOSITE, 1) == OPPOSITE


def test_a_row_says_what_the_records_say_and_of_how_many():
    records = a_world()
    rows = {row.claim.split(":")[0]: row for row in claims.claims(records)}
    assert all(re.search(r"n = (5|10|\d\d and \d\d)\)$", row.here) for row in rows.values())
    arms = report.comparison(records)
    gap = compare.compared(arms, arms["random_subset"])["top_activations"]
    assert rows["Subset alone"].here == gap.text(" points", sign=True)
    assert {run.spec.selector for run in rows["Subset alone"].runs} == {"top_activations", "random_subset"}
    assert {(run.spec.split, run.spec.budget) for run in rows["Subset alone"].runs} == {(100, None)}
    assert rows["Steps on a subset take less time"].here.startswith("+100.0 ± 0.0 %")
    bill = rows["The autoencoder is one-time work"]
    assert "4.0 by samples" in bill.here
    assert "4.0 by samples" in bill.paper
    assert len([run for run in bill.runs if isinstance(run.spec, Autoencoder)]) == 5


def test_both_losses_are_read_at_the_switch_on_the_same_clock():
    records = a_world(loss=(1.5, 2.0, 1.5), test_loss=(1.5, 2.0), pace=(25.0, 10.0))
    for record in records:
        if record.curve and set(record.curve["phase"]) == {0}:  # all the data: at the switch, after four seconds,
            record.curve.update(seconds=[3.0, 5.0, 15.0], loss=[3.0, 2.0, 0.1], test_loss=[1.0, 1.2, 9.0])
    rows = {row.claim: row for row in claims.claims(records)}
    training, test = (rows[f"On the subset, {loss} loss falls faster"] for loss in ("training", "test"))
    assert training.here.startswith("-40.0 ± 0.0 %")  # it had 2.5
    assert test.here.startswith("+36.4 ± 0.0 %")  # and 1.1
    assert (training.verdict, test.verdict) == (AGREES, OPPOSITE)


def test_only_a_run_that_left_its_subset_has_two_paces():
    records = a_world()
    for record in records:
        if record.curve and record.spec.seed > 1:
            record.curve["phase"] = [0, 0, 0]
    rows = {row.claim: row for row in claims.claims(records)}
    assert rows["Steps on a subset take less time"].here.endswith("(n = 4)")  # two arms of two seeds
    for record in records:
        if record.curve:
            record.curve["phase"] = [0, 0, 0]
    assert verdicts(records)["Steps on a subset take less time"] == NOT_RECORDED


# --- the largest size that is recorded ---

def above(climbed):
    """The rows that the ladder gives, by the beginning of their claim, and whether the others are as without it."""
    below, rows = a_world("laptop"), {}
    for with_it, without in zip(claims.claims(below, climbed), claims.claims(below), strict=True):
        if with_it.size.endswith("1,024, CIFAR-10"):
            rows[with_it.claim.split(":")[0]] = with_it
        else:
            assert with_it == without
    return rows


def test_a_row_takes_the_ladder_where_both_of_its_arms_are_there():
    assert above([]) == {}
    assert above([run for run in a_ladder("R", "C0") if run.spec.selector == "random_subset"]) == {}
    rows = above(a_ladder("R"))
    full, alone, training_loss, random = rows.values()
    assert {row.size for row in rows.values()} == {"1,250 × 1,024, CIFAR-10"}
    assert (full.verdict, alone.verdict) == (ELSEWHERE, "opposite sign at 1/8 of the samples")
    assert alone.here == "-8.3 ± 2.3 points (n = 3)"
    assert random.here == "-27.6 ± 0.0 points (n = 3)"
    assert training_loss.claim == "On the subset, training loss falls faster"
    assert training_loss.length == "1,250 steps of 1,024 images (1/4 of the paper's samples)"  # it has 5,000 until then


def test_one_or_two_seeds_at_the_papers_size_have_no_interval_and_the_race_is_at_its_step():
    one = above(a_ladder("R", "A0", "B0", "C0"))
    two = above(a_ladder("R", "A0", "B0", "A1", "B1", "C0", "C1"))
    assert set(one) == set(two) >= {"Subset alone", "95/5", "90/10", "50/50", "7 of 12 minutes"}
    assert {row.verdict for row in one.values()} == {"one seed, not judged"}
    assert {claim for claim, row in two.items() if row.verdict == "opposite sign, both seeds"} > {"7 of 12 minutes"}
    assert two["50/50"].verdict == "two seeds, not judged"  # a claim of no difference has no sign
    assert not [row.here for row in (*one.values(), *two.values()) if "±" in row.here or "n =" in row.here]
    race = two["7 of 12 minutes"]
    assert (race.length, race.here) == ("5,705 steps of 1,024 images", "-39.3 and -38.3 points (two seeds)")


# --- what is missing ---

NEEDS = {  # a part of the records, and the claims that rest on it
    "all the data": (
        lambda r: is_run(r, ALL) and r.spec.budget is None, {"All the data", "The autoencoder is", "Random alone"}
    ),
    "the autoencoders": (lambda r: isinstance(r.spec, Autoencoder), {"The autoencoder is"}),
    "random, alone": (lambda r: is_run(r, "random_subset", None, 100), {"Subset alone", "Random alone"}),
    "the filter, alone": (lambda r: is_run(r, "top_activations", None, 100), {"Subset alone", "Filtering"}),
    "the filter at 90/10": (lambda r: is_run(r, "top_activations", None, 90), {"90/10"}),
    "the race": (
        lambda r: getattr(r.spec, "budget", None) is not None,
        {"7 of 12 minutes", "Steps on a subset", "On the subset, training", "On the subset, test", "86.40 %"},
    ),
    "the larger subset": (lambda r: is_run(r, "top_activations") and r.spec.keep == 43_200, {"86.40 %"}),
}


def is_run(record, selector, *rest):
    spec = record.spec
    if getattr(spec, "selector", None) != selector:
        return False
    return not rest or (spec.budget, spec.split) == rest


@pytest.fixture(scope="module")
def agreeing():
    return a_world()


def test_a_claim_without_its_records_is_not_judged(agreeing):
    for part in NEEDS:
        belongs, concerned = NEEDS[part]
        kept = [record for record in agreeing if not belongs(record)]
        assert len(kept) < len(agreeing)
        rows = claims.claims(kept)
        silent = {row.claim for row in rows if row.verdict == NOT_RECORDED}
        assert silent == {row.claim for row in rows if row.claim.startswith(tuple(concerned))}
        assert len(silent) == len(concerned)
        assert {(row.here, row.runs) for row in rows if row.claim in silent} == {("–", ())}
        assert {row.verdict for row in rows if row.claim not in silent} <= {AGREES, MEASURED}


def test_of_nothing_nothing_is_judged():
    assert set(verdicts([]).values()) == {NOT_RECORDED}


def test_runs_that_differ_in_anything_else_are_left_out():
    records = a_world()
    others = [
        dataclasses.replace(record, spec=dataclasses.replace(record.spec, **change), metrics={"test_accuracy": 0.01})
        for record in records
        if not isinstance(record.spec, Autoencoder) and record.spec.budget is None
        for change in ({"validation": True}, {"augment": False}, {"averaging": 0.0})
    ]
    assert claims.claims([*others, *records]) == claims.claims(records)


# --- the committed records, and the page ---


def test_the_committed_records_are_judged():
    records = [*report.recorded(), *ladder.recorded()]
    rows = claims.claims(report.recorded(), ladder.recorded())
    size = r"(?<=seen) at this size|(?<=sign) at 1/\d+ of the samples|, both seeds"
    assert {re.sub(size, "", row.verdict) for row in rows} <= VERDICTS
    runs = [run for row in rows for run in row.runs]
    assert runs
    assert all(run in records for run in runs)
    for row in rows:
        assert (row.verdict == NOT_RECORDED) == (not row.runs) == (not re.search("n = |seeds?\\)", row.here))
        assert len(row.claim) <= 42, "a claim must leave room for the other columns"
        assert len(row.here) <= 64, row.here


@pytest.fixture(scope="module")
def page(root):
    return jupytext.reads((root / "book" / "paper.md").read_text("utf-8"), fmt="md:myst")


def section(page, title):
    """The words and the code from a heading on to the next."""
    text = "".join(("\x00{}\x00" if cell.cell_type == "code" else "\n{}\n").format(cell.source) for cell in page.cells)
    (found,) = [piece for piece in re.split(r"(?m)^## ", text) if piece.startswith(f"{title}\n")]
    return "".join(found.split("\x00")[::2]), "\n".join(found.split("\x00")[1::2])


def test_the_page_shows_the_verdicts_and_their_rules_from_code(page):
    _, code = section(page, "Claim by claim")
    for wanted in (
        "claims.claims(report.recorded(), ladder.recorded())",
        "report.caption(",
        "notebook.source(claims.difference, claims.same, claims.sized)",
    ):
        assert wanted in code, wanted


def test_the_page_types_neither_a_verdict_nor_a_result(page):
    words, code = section(page, "Claim by claim")
    assert len(prose(words)) > 4
    assert typed_results(words) == []
    spoken = rf"\b({'|'.join(map(re.escape, sorted(VERDICTS)))})\b"
    assert re.findall(spoken, f"{words}\n{code}", re.IGNORECASE) == []
    cells = [line for cell in page.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert [line for line in cells if line.rstrip("| ").split("|")[-1].strip() in VERDICTS] == []


def test_the_papers_words_in_the_table_stand_on_its_page(page):
    text = " ".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    for row in claims.claims([]):
        for quoted in re.findall(r"“(.+?)”", row.paper):
            assert quoted in " ".join(text.split()), quoted
        for number in re.findall(r"(?<![+-])\b\d+[.,]\d+", f"{row.claim} {row.paper}"):
            assert number in text, number
