"""The questions: one declaration each, from which the runs and all that is said of them follow."""

import dataclasses
import importlib.util
import itertools
from collections import Counter

import numpy as np
import pytest
from made_up import DATA, PLACE

from embsel import selection
from embsel.__main__ import main
from embsel.errors import InputError
from embsel.lab import claims, questions
from embsel.lab.profiles import PROFILES, autoencoder, baseline, proxy, subset_run
from embsel.lab.questions import FILTER, FULL, KINDS, QUESTIONS, RANDOM, SHORT, SUITES, TUNED
from embsel.lab.records import ALL, Autoencoder, Pixels, Record, Run, Store, key

PAPER, TINY = PROFILES["paper"], PROFILES["tiny"]


def record_of(spec, accuracy=0.5, sizes=PAPER, seconds=60.0):
    ledger = [{"stage": "training", "seconds": seconds, "samples": 1}]
    metrics = {"test_accuracy": accuracy, "kept": 50_000} if isinstance(spec, Run) else {"loss": 0.1}
    return Record(spec, metrics, ledger, PLACE | {"profile": sizes.name})


def answered(name, sizes=PAPER, accuracy=lambda run: 0.5):
    runs = QUESTIONS[name].runs(sizes, DATA).values()
    return [record_of(run, accuracy(run), sizes) for run in itertools.chain.from_iterable(runs)]


def all_before(sizes):
    return [*answered("timing", sizes), *answered("rates", sizes, lambda run: 0.5 + 0.1 * (run.rate == 2 * sizes.rate))]


# --- a question of one's own ---

MINE = '''
import math
from embsel.lab.questions import ask

ask(
    "warm", "Does a warmer rate help?",
    lambda sizes: {"twice the rate": {"rate": 2 * sizes.rate}, "as usual": {}},
    "as usual", "08_ablations", paper=math.inf, claim="A warmer rate is better",
)
'''


@pytest.fixture
def mine(tmp_path):
    """The question above, asked in a file of its own, and forgotten again."""
    file = tmp_path / "mine.py"
    file.write_text(MINE, "utf-8")
    spec = importlib.util.spec_from_file_location("mine", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield QUESTIONS["warm"]
    del QUESTIONS["warm"], SUITES["warm"]


def test_ten_lines_ask_a_question_and_all_else_follows(mine, tmp_path, capsys):
    store, sizes = Store(tmp_path / "records"), PROFILES["laptop"]
    specs = questions.suite("warm", sizes, DATA)
    turns = [(rate, seed) for seed in range(3) for rate in (2, 1)]  # the sweep: one seed of each arm first
    assert [(spec.rate / sizes.rate, spec.seed) for spec in specs] == turns
    for spec in specs[:-1]:
        noise = 0.002 * spec.seed * (spec.rate > sizes.rate)
        store.append(record_of(spec, 0.6 + noise + 0.1 * (spec.rate > sizes.rate), sizes))
    assert main(["status", "--out", str(store.folder)]) == 0
    assert "  warm: 5 recorded, 1 missing, 300 s" in capsys.readouterr().out
    records = list(store.records().values())
    assert mine.table(records).loc["twice the rate", "difference"].mean == pytest.approx(0.101)
    assert mine.table(records)["verdict"].tolist() == ["better", ""]
    words, gap = "**Does a warmer rate help?**", "+10.1 ± 1.3 points (n = 2)"
    assert mine.sentence(records) == f"{words} twice the rate: {gap}, better than as usual."
    drawn = [label.get_text() for label in mine.figure(records).axes[0].get_yticklabels()]
    assert drawn == ["twice the rate", "as usual"]
    (row,) = [row for row in claims.claims(records) if row.claim == "A warmer rate is better"]
    assert (row.verdict, row.paper, row.here) == ("agrees", "no number", gap)
    assert mine.sentence([record_of(autoencoder(sizes, DATA), sizes=sizes)]) == f"{words} Not recorded yet."
    with pytest.raises(InputError, match="'warm' already: give this one another name"):
        questions.ask("warm", "Again?", {})


# --- what holds for all of them ---


@pytest.mark.parametrize("sizes", [TINY, PAPER], ids=["tiny", "paper"])
def test_every_question_fits_every_profile(sizes):
    recorded = all_before(sizes)
    for name, question in QUESTIONS.items():
        most = question.resize(sizes)
        for spec in question.specs(sizes, DATA, recorded):
            source = getattr(spec, "embedding", None)
            assert spec.dataset == DATA
            assert spec.seed in sizes.seeds
            if isinstance(spec, Run):
                held_out = sizes.images // 10 if spec.validation else 0
                assert spec.keep is None or 0 < spec.keep <= sizes.images - held_out
                assert 0 < spec.steps <= most.steps
                assert spec.every is None or spec.every <= most.steps
            if isinstance(source, Autoencoder):
                assert 0 <= source.steps <= sizes.embedding_steps
            if isinstance(source, Run):
                assert source.width == max(1, most.width // 4)
            elif source is not None and name != "crossed":
                assert source.seed == spec.seed


def test_no_arm_is_set_against_itself_and_each_has_one_run_of_each_seed():
    recorded = all_before(PAPER)
    for name, question in QUESTIONS.items():
        groups = question.runs(PAPER, DATA, recorded)
        assert groups, name
        runs = [run for group in groups.values() for run in group]
        assert len({key(run) for run in runs}) == len(set(runs)) == len(runs), name
        assert question.against in (None, *groups)
        seeds = PAPER.seeds[slice(*question.seeds)]
        assert {tuple(run.seed for run in group) for group in groups.values()} == {seeds}, name


def test_what_a_run_chooses_by_comes_before_it_and_one_seed_of_each_arm_first():
    for name in SUITES:
        specs = questions.suite(name, PAPER, DATA, all_before(PAPER))
        places = {spec: place for place, spec in enumerate(specs)}
        assert len(places) == len(specs)
        assert all(places[run.embedding] < places[run] for run in specs if getattr(run, "embedding", None))
    seeds = [run.seed for run in questions.suite("recipes", PAPER, DATA)]
    assert seeds == sorted(seeds)


def test_all_questions_but_those_of_other_data_and_of_method_are_in_a_large_suite():
    large = {name for suite in ("part-one", "referee", "ablations", "ladder") for name in SUITES[suite]}
    assert large <= QUESTIONS.keys()
    left = {name for name in QUESTIONS if name not in large and not name.startswith("ladder-")}
    assert left == {"learning-rate", "subset", "timing", "precision", "averages", "rates", "other-data"}


def test_a_question_is_answered_at_the_place_of_the_records_and_by_what_is_there():
    groups = QUESTIONS["recipes"].runs(PAPER, DATA)
    some = [groups[FULL][2], groups[FULL][0], groups["random, growing"][1]]
    other = dataclasses.replace(some[0], dataset="ba9876543210")
    found = QUESTIONS["recipes"].found(map(record_of, [*some, other]))
    assert {name: [record.spec.seed for record in group] for name, group in found.items()} == {
        FULL: [0, 2], "random, growing": [1],
    }
    assert len(QUESTIONS["recipes"].behind(map(record_of, some))) == 3
    with pytest.raises(InputError, match="there are none"):
        QUESTIONS["recipes"].found([])


# --- what waits for what ---


def test_the_race_waits_for_the_full_run_and_has_the_papers_share_of_its_seconds():
    budget = QUESTIONS["budget"]
    assert budget.runs(PAPER, DATA) == {}
    assert budget.specs(PAPER, DATA) == [baseline(PAPER, DATA, every=PAPER.every // 4)]
    race = budget.runs(PAPER, DATA, answered("timing"))
    assert {run.budget for runs in race.values() for run in runs} == {34.2}  # 60 seconds by 7 / 12.27
    assert [(runs[0].selector, runs[0].keep, runs[0].split) for runs in race.values()] == [
        (ALL, None, 100), (FILTER, 4320, 50), (RANDOM, 4320, 50), (FILTER, 43_200, 50),
    ]


def test_an_arm_is_tuned_to_the_rate_that_was_best_once_all_are_known():
    tried = answered("rates", accuracy=lambda run: 0.5 + 0.1 * (run.rate == PAPER.rate / 2) * (run.selector == FILTER))
    tuned = QUESTIONS["tuned"]
    assert tuned.runs(PAPER, DATA, tried[1:]) == {}
    assert questions.waits("ablations", PAPER, DATA, tried[1:])
    assert not questions.waits("ablations", PAPER, DATA, tried)
    rates = {arm: {run.rate for run in runs} for arm, runs in tuned.runs(PAPER, DATA, tried).items()}
    assert rates == {ALL: {0.1}, RANDOM: {0.1}, FILTER: {0.05}}  # where all are level the profile's own comes first
    before, after = (questions.suite("ablations", PAPER, DATA, known) for known in ([], tried))
    assert {record.spec for record in tried} <= set(before) < set(after)


def test_an_unknown_suite_is_refused_with_those_that_are():
    with pytest.raises(InputError, match="recipes"):
        questions.suite("recipe", PAPER, DATA)


# --- what single questions compare ---


def arms(name, sizes=PAPER, recorded=()):
    return {name: runs[0] for name, runs in QUESTIONS[name].runs(sizes, DATA, recorded).items()}


def test_a_subset_first_is_the_profiles_run_and_an_embedding_is_changed_for_those_that_choose_by_one():
    rivals = arms("rivals")
    assert rivals == {name: subset_run(PAPER, DATA, name, 0) for name in selection.SELECTORS}
    assert {run.embedding for run in rivals.values()} == {None, autoencoder(PAPER, DATA), proxy(PAPER, DATA)}
    assert (proxy(PAPER, DATA).steps, proxy(PAPER, DATA).width) == (2000, 16)
    made = [run.embedding for run in arms("embeddings").values()]
    assert made[0] == Pixels(DATA)
    assert [source.steps for source in made[1:5]] == [0, 400, 4000, 40_000]
    assert arms("ladder-D")["el2n_easiest"].embedding == proxy(PAPER, DATA)
    assert arms("ladder-E")[FILTER].embedding.steps == 2000


def test_at_equal_steps_or_equal_passes():
    steps = arms("fixed-steps")
    assert Counter(name for name, _ in steps) == {RANDOM: 5} | dict.fromkeys(KINDS[1:], PAPER.compared)
    assert {run.steps for run in steps.values()} == {PAPER.steps}
    passes = [run.steps * run.batch / run.keep for run in arms("fixed-epochs").values()]
    assert passes == pytest.approx([PAPER.steps * PAPER.batch / PAPER.images] * len(passes), abs=1.1)


def test_recipes_keep_within_their_share_of_the_steps():
    found = arms("recipes")
    full = [run.steps / PAPER.steps for run in found.values() if run.selector == ALL]
    assert full == pytest.approx([1, 0.8, SHORT, 0.5, 0.35, SHORT])
    first = [run for run in found.values() if run.selector != ALL]
    assert {run.steps for run in first} == {6500}
    assert {run.every for run in found.values()} == {None}  # nothing but training is on the clock
    assert {run.plan for run in first} == {"switch", "fresh", "grow", "sift", "prune"}
    assert {(run.keep, run.split) for run in first if run.plan in ("sift", "prune")} == {(25_000, 80)}
    longer = arms("many-passes")
    assert set(longer) < set(found)
    for name, run in longer.items():
        assert (run.steps, run.width) == (4 * found[name].steps, PAPER.width // 4)
        assert not isinstance(run.embedding, Autoencoder | Pixels)


def test_the_settings_change_all_three_arms_alike():
    found, plain = arms("conditions"), {ALL: baseline(PAPER, DATA)}
    plain |= {name: subset_run(PAPER, DATA, name, 0) for name in TUNED}
    for name, change in questions.settings(PAPER).items():
        assert {arm: found[name, arm] for arm in plain} == {
            arm: dataclasses.replace(run, **change) for arm, run in plain.items()
        }


def test_grids_have_every_cell():
    last = PAPER.embedding_widths[-1]
    cells = itertools.product((None, last, last // 3, 3 * last), (4320, 2160, 8640))
    assert set(arms("sizing")) == set(cells)
    assert all((run.embedding and run.embedding.widths[-1]) == width for (width, _), run in arms("sizing").items())
    crossed = QUESTIONS["crossed"].runs(PAPER, DATA).values()
    pairs = [(run.embedding.seed, run.seed) for runs in crossed for run in runs]
    assert pairs == list(itertools.product(range(3), range(3)))
    other = arms("other-data")
    assert {run.keep for run in other.values()} == {None, 4320, 500}


def test_the_ladder_branches_from_runs_of_its_own():
    whole, ahead = arms("ladder-A0"), arms("ladder-C0")
    assert {split for _, split in ahead} == {95, 90, 50}
    for (name, split), run in ahead.items():
        assert dataclasses.replace(run, split=100) == whole[name], split
    assert [arms(f"ladder-{part}")[FILTER].seed for part in ("A0", "A1", "G")] == [0, 1, 2]
    assert {run.steps for run in arms("ladder-R").values()} == {PAPER.steps // 8}
    assert arms("ladder-F")[FILTER].embedding == autoencoder(PAPER, DATA)
    brief = arms("ladder-S")
    assert {(run.steps, run.every, run.marks) for run in brief.values()} == {(40, 40, ())}
    assert np.unique([run.embedding.steps for run in brief.values() if run.embedding]).tolist() == [40]
