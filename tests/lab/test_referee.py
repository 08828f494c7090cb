"""The suites of Part II: what each compares, that it fits every profile, and which wait for what they build on."""

import dataclasses
import itertools

import pytest

from embsel import selection
from embsel.lab import referee, report, suites
from embsel.lab.profiles import PROFILES, autoencoder, baseline, proxy, subset_run
from embsel.lab.records import ALL, Autoencoder, Pixels, Record, Run, key
from embsel.lab.referee import KINDS, SHORT, TUNED

DATASET = "0123456789ab"
two_profiles = pytest.mark.parametrize("sizes", [PROFILES["tiny"], PROFILES["paper"]], ids=["tiny", "paper"])


def conditions(sizes, dataset):
    """The arms under every setting, as one level of groups."""
    settings = referee.conditions(sizes, dataset).items()
    return {(setting, arm): group for setting, arms in settings for arm, group in arms.items()}


GROUPED = (
    referee.recipes,
    referee.many_passes,
    referee.embeddings,
    referee.sizing,
    conditions,
)  # each gives what is compared, by name


def seeded(run, seed):
    """The same run from another seed, with what it chooses by from that seed, too."""
    source = run.embedding and dataclasses.replace(run.embedding, seed=seed)
    return dataclasses.replace(run, seed=seed, embedding=source)


def record_of(spec, accuracy=0.5, profile="laptop"):
    return Record(spec, {"test_accuracy": accuracy}, [], {"profile": profile})


def tried(sizes, best):
    """The records that the tuned arms wait for: of each arm, the rate at the place that `best` names is the best."""
    arms = referee.rates(sizes, DATASET)
    return [record_of(run, 0.3 + (i == best[arm]) / 10) for arm, runs in arms.items() for i, run in enumerate(runs)]


# --- what holds for every suite ---


@two_profiles
def test_every_suite_of_part_two_fits_every_profile(sizes):
    recorded = tried(sizes, {ALL: 1, "random_subset": 2, "top_activations": 3})
    longer = dataclasses.replace(sizes, steps=4 * sizes.steps, width=sizes.width // 4)
    for name in referee.SUITES:
        specs = suites.suite(name, sizes, DATASET, recorded)
        assert specs
        assert len(set(map(key, specs))) == len(set(specs))
        assert {spec.dataset for spec in specs} == {DATASET}
        assert {spec.seed for spec in specs} <= set(sizes.few)
        for spec in specs:
            source = getattr(spec, "embedding", None)
            if isinstance(spec, Run):
                held_out = sizes.images // 10 if spec.validation else 0
                assert spec.keep is None or 0 < spec.keep <= sizes.images - held_out
                assert 0 < spec.steps <= (longer if name in ("many-passes", "referee") else sizes).steps
                assert spec.every is None or spec.every <= sizes.steps
                assert spec.budget is None  # compared by steps: the seconds are counted, not given
                assert (spec.batch, spec.curve_images) == (sizes.batch, sizes.curve_images)
            if isinstance(source, Run):
                assert source in (proxy(sizes, DATASET, spec.seed), proxy(longer, DATASET, spec.seed))
            elif source is not None and name not in ("ablations", "referee"):  # `crossed` has every pair of seeds
                assert source.seed == spec.seed
            if isinstance(source, Autoencoder):
                assert 0 <= source.steps <= sizes.embedding_steps


@two_profiles
def test_lists_name_each_run_once_and_groups_differ_and_have_one_run_of_each_seed(sizes):
    for name in ("rivals", "schedules", "fixed-steps", "fixed-epochs", "other-data"):
        specs = suites.suite(name, sizes, DATASET)
        assert len(set(specs)) == len(specs), name
    for make in GROUPED:
        groups = make(sizes, DATASET)
        for group in groups.values():
            assert [run.seed for run in group] == list(sizes.few)
            assert group == [seeded(group[0], seed) for seed in sizes.few]  # nothing else differs
        assert len(set(map(frozenset, groups.values()))) == len(groups)  # no arm is set against itself


@two_profiles
def test_all_of_part_two_is_in_one_suite_but_other_data(sizes):
    recorded = tried(sizes, dict.fromkeys((ALL, *TUNED), 0))
    whole = set(suites.suite("referee", sizes, DATASET, recorded))
    for name in referee.SUITES.keys() - {"other-data"}:
        assert set(suites.suite(name, sizes, DATASET, recorded)) <= whole, name
    parts = [*GROUPED, referee.rates, lambda *of: referee.tuned(*of, recorded)]
    assert {run for part in parts for group in part(sizes, DATASET).values() for run in group} <= whole


# --- what each suite compares ---


def test_a_proxy_has_a_fifth_of_the_steps_and_a_quarter_of_the_width():
    sizes = PROFILES["paper"]
    run = proxy(sizes, DATASET, seed=2)
    assert (run.steps, run.width, run.seed) == (sizes.steps // 5, sizes.width // 4, 2)
    assert run.proxy
    assert run.selector == ALL


def test_the_rivals_are_all_selectors_each_after_what_it_chooses_by():
    sizes = PROFILES["paper"]
    specs = referee.rivals(sizes, DATASET)
    arms = [spec for spec in specs if getattr(spec, "selector", ALL) != ALL]
    assert [(run.seed, run.selector) for run in arms] == list(itertools.product(sizes.few, selection.SELECTORS))
    assert all(run == subset_run(sizes, DATASET, run.selector, run.seed) for run in arms)
    assert all(specs.index(run.embedding) < specs.index(run) for run in arms if run.embedding)
    sources = {spec for seed in sizes.few for spec in (autoencoder(sizes, DATASET, seed), proxy(sizes, DATASET, seed))}
    assert set(specs) - set(arms) == sources


def test_at_fixed_steps_every_size_has_the_steps_of_the_full_run():
    sizes = PROFILES["paper"]
    runs = referee.at_fixed_steps(sizes, DATASET)
    random = itertools.product(sizes.few, sizes.keeps, KINDS[:1])
    others = itertools.product(sizes.few, sizes.keeps[: sizes.compared], KINDS[1:])
    assert {(run.seed, run.keep, run.selector) for run in runs} == {*random, *others}
    first = len(sizes.few) * len(sizes.keeps)  # chance at all sizes comes first, one size after the other
    assert {run.selector for run in runs[:first]} == {KINDS[0]}
    assert [run.keep for run in runs[:first]] == [keep for keep in sizes.keeps for _ in sizes.few]
    assert {run.steps for run in runs} == {sizes.steps}
    few = referee.at_fixed_steps(sizes, DATASET, ["random_subset"])
    assert few == [run for run in runs if run.selector == "random_subset"]


def test_at_fixed_epochs_the_steps_are_proportional_to_the_images():
    sizes = PROFILES["paper"]
    runs = referee.at_fixed_epochs(sizes, DATASET)
    assert {(run.seed, run.keep, run.selector) for run in runs} == set(
        itertools.product(sizes.few, (sizes.keep, *sizes.keeps), KINDS)
    )
    passes = sizes.steps * sizes.batch / sizes.images
    for run in runs:
        assert run.steps * run.batch / run.keep == pytest.approx(passes, abs=0.5 * run.batch / run.keep + 1e-9)
        assert run.every <= run.steps
        assert run == subset_run(
            sizes, DATASET, run.selector, run.seed, keep=run.keep, steps=run.steps, every=run.every
        )


def test_the_schedule_is_chosen_on_a_validation_split_at_the_full_and_the_short_length():
    sizes = PROFILES["paper"]
    runs = referee.schedules(sizes, DATASET)
    assert all(run.validation and run.selector == ALL for run in runs)
    lengths, schedules = (sizes.steps, round(SHORT * sizes.steps)), ("constant", "linear")
    found = {(run.steps, run.schedule, run.rate / sizes.rate) for run in runs}
    assert found == set(itertools.product(lengths, schedules, (1, 2, 4, 8)))


def test_recipes_keep_within_their_share_of_the_steps():
    sizes = PROFILES["paper"]
    groups = referee.recipes(sizes, DATASET)
    full = {name: group for name, group in groups.items() if group[0].selector == ALL}
    lengths = [group[0].steps / sizes.steps for group in full.values()]
    assert lengths == pytest.approx([1, 0.8, SHORT, 0.5, 0.35, SHORT], abs=0.5 / sizes.steps)
    falling = {"all, 65 %, rate falling to zero": "linear", "random, rate falling twice (restart)": "restart"}
    for name, group in groups.items():
        for run in group:
            assert run.schedule == falling.get(name, "constant")
            assert run.every is None  # nothing but training is on the clock
            if name not in full:
                assert run.steps == round(SHORT * sizes.steps)
                assert run.split in (50, 80, 100)
    assert groups[referee.FULL] == [baseline(sizes, DATASET, seed=seed, every=None) for seed in sizes.few]
    assert {run.plan for group in groups.values() for run in group} == {"switch", "fresh", "grow", "sift", "prune"}
    dropping = [run for group in groups.values() for run in group if run.plan in ("sift", "prune")]
    assert {(run.keep, run.split) for run in dropping} == {(sizes.images // 2, 80)}
    assert len(groups) - len(full) == 12


def test_many_passes_are_the_recipes_that_choose_cheaply_for_longer():
    sizes = PROFILES["paper"]
    groups, recipes = referee.many_passes(sizes, DATASET), referee.recipes(sizes, DATASET)
    assert set(groups) < set(recipes)
    for name, group in groups.items():
        for longer, run in zip(group, recipes[name], strict=True):
            assert longer.steps == pytest.approx(4 * run.steps, abs=4)
            assert longer.width == sizes.width // 4
            assert (longer.selector, longer.plan, longer.keep) == (run.selector, run.plan, run.keep)
            assert not isinstance(longer.embedding, (Autoencoder, Pixels))


def test_embeddings_go_from_no_training_to_the_papers():
    sizes = PROFILES["paper"]
    found = referee.sources(sizes, DATASET)
    pixels, *trained = found.values()
    assert isinstance(pixels, Pixels)
    shares = [source.steps / sizes.embedding_steps for source in trained]
    assert shares == pytest.approx([0, 0.01, 0.1, 1], abs=0.5 / sizes.embedding_steps)
    assert trained[-1] == autoencoder(sizes, DATASET)
    for name in ("top_activations", "facility_location"):
        usual = [subset_run(sizes, DATASET, name, seed) for seed in sizes.few]
        assert usual in referee.embeddings(sizes, DATASET).values()  # the dearest source is that of the rivals


def test_the_sizing_varies_the_width_and_the_images_alone():
    sizes = PROFILES["paper"]
    grid = referee.sizing(sizes, DATASET)
    last, keeps = sizes.embedding_widths[-1], (sizes.keep, sizes.keep // 2, 2 * sizes.keep)
    assert set(grid) == set(itertools.product((None, last, max(1, last // 3), 3 * last), keeps))
    for (width, keep), group in grid.items():
        assert {run.keep for run in group} == {keep}
        assert {run.embedding and run.embedding.widths[-1] for run in group} == {width}
    assert grid[last, sizes.keep] == [subset_run(sizes, DATASET, "top_activations", seed) for seed in sizes.few]


def test_the_crossed_table_has_every_pair_of_seeds():
    sizes = PROFILES["paper"]
    pairs = [(run.seed, run.embedding.seed) for run in referee.crossed(sizes, DATASET)]
    assert pairs == list(itertools.product(sizes.few, sizes.few))


def test_the_conditions_change_all_three_arms_alike():
    sizes = PROFILES["paper"]
    for name, arms in referee.conditions(sizes, DATASET).items():
        change = referee.settings(sizes)[name]
        assert list(arms) == [ALL, *TUNED]
        plain = {ALL: baseline(sizes, DATASET)} | {arm: subset_run(sizes, DATASET, arm, 0) for arm in TUNED}
        for arm, group in arms.items():
            assert group[0] == dataclasses.replace(plain[arm], **change)
    assert len({tuple(change) for change in referee.settings(sizes).values()}) == 4


def test_another_dataset_is_judged_by_the_usual_and_the_smallest_subset():
    sizes = PROFILES["paper"]
    specs = referee.other_data(sizes, DATASET)
    runs = [spec for spec in specs if isinstance(spec, Run)]
    assert {run.keep for run in runs} == {None, sizes.keep, min(sizes.keeps)}
    assert {spec for spec in specs if isinstance(spec, Autoencoder)} == {run.embedding for run in runs} - {None}
    assert [spec.seed for spec in specs] == sorted(spec.seed for spec in specs)
    assert {run.selector for run in runs if run.keep == sizes.keep} >= {"random_subset", "top_activations"}


# --- in which order, and what waits for what ---


def test_groups_take_turns():
    for groups, turns in [([], ""), (["abc"], "abc"), (["abc", "xyz"], "axbycz"), (["a", "", "xyz"], "axyz")]:
        assert "".join(referee.in_turn(*groups)) == turns
    for name in ("recipes", "embeddings"):  # every group has its first seed before any its second
        seeds = [run.seed for run in suites.suite(name, PROFILES["laptop"], DATASET)]
        assert seeds == sorted(seeds)
        assert set(seeds) == {0, 1, 2}


def test_an_arm_is_tuned_when_all_its_rates_are_known_and_to_the_best_of_them():
    sizes = PROFILES["paper"]
    best = {ALL: 2, "random_subset": 0, "top_activations": 3}
    rates, recorded = referee.rates(sizes, DATASET), tried(sizes, best)
    assert all(run.validation and run.seed == sizes.seeds[0] for group in rates.values() for run in group)
    assert {len({run.rate for run in group}) for group in rates.values()} == {4}
    assert referee.tuned(sizes, DATASET, []) == {}
    of_all = [record for record in recorded if record.spec.selector == ALL]
    assert list(referee.tuned(sizes, DATASET, of_all)) == [ALL]
    assert list(referee.tuned(sizes, DATASET, recorded[1:])) == list(TUNED)
    found = referee.tuned(sizes, DATASET, reversed(recorded))
    for arm, group in found.items():
        assert {run.rate for run in group} == {rates[arm][best[arm]].rate}
        assert [run.seed for run in group] == list(sizes.few)
        assert {(run.selector, run.validation) for run in group} == {(arm, False)}
        usual = dataclasses.replace(group[0], rate=sizes.rate)
        assert usual == (baseline(sizes, DATASET) if arm == ALL else subset_run(sizes, DATASET, arm, 0))
    assert list(found) == [ALL, *TUNED]


def test_suites_ask_for_the_tuned_arms_once_their_rates_are_known():
    sizes = PROFILES["paper"]
    recorded = tried(sizes, {ALL: 1, "random_subset": 2, "top_activations": 3})  # none has the profile's own rate
    before, after = (suites.suite("ablations", sizes, DATASET, known) for known in ([], recorded))
    more = [run for group in referee.tuned(sizes, DATASET, recorded).values() for run in group]
    assert set(after) - set(before) == set(more)
    assert set(before) < set(after)
    asked = {run for group in referee.rates(sizes, DATASET).values() for run in group}
    assert asked <= set(before)
    places = {run: place for place, run in reversed(list(enumerate(after)))}
    assert max(places[run] for run in asked) < min(places[run] for run in more)


# --- the records of a suite ---


def test_the_records_of_a_suite_come_as_the_suite_has_them():
    sizes = PROFILES["laptop"]
    specs = referee.at_fixed_steps(sizes, DATASET)
    found = report.of_suite(referee.at_fixed_steps, map(record_of, [specs[4], specs[1], baseline(sizes, DATASET)]))
    assert [record.spec for record in found] == [specs[1], specs[4]]

    groups = referee.recipes(sizes, DATASET)
    some = [groups["all"][2], groups["all"][0], groups["random, growing"][1]]
    found = report.of_suite(referee.recipes, map(record_of, some))
    assert {name: [record.spec.seed for record in group] for name, group in found.items()} == {
        "all": [0, 2],
        "random, growing": [1],
    }

    nested = referee.conditions(sizes, DATASET)
    resnet = nested["a small ResNet"][ALL]
    found = report.of_suite(referee.conditions, map(record_of, resnet))
    assert list(found) == ["a small ResNet"]
    assert [record.spec for record in found["a small ResNet"][ALL]] == resnet


def test_pairs_of_a_suite_are_of_the_seeds_that_both_have():
    sizes = PROFILES["laptop"]
    plain = [baseline(sizes, DATASET, seed=seed) for seed in sizes.few]
    flawed = {name: [changed for changed, _ in pairs] for name, pairs in suites.suspects(sizes, DATASET).items()}
    first, second, *_ = flawed
    have = [plain[0], plain[2], *flawed[first], flawed[second][1]]
    found = report.of_suite(suites.suspects, map(record_of, have))
    assert list(found) == [first]
    specs = [[record.spec for record in group] for group in found[first]]
    assert specs == [[flawed[first][0], flawed[first][2]], [plain[0], plain[2]]]
