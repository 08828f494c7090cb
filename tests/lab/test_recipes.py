"""Recipes: in which order a run goes through its images, how fast it learns, and that all of its choosing is paid for.

The plans are tested with a `choose` made by hand; a few runs on drawn shapes show that what a plan asks for is what
happens and what the ledger says.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_experiments import BATCH, DATASET, KEEP, SMALL, TRAIN, a_run, counted, samples, stages

from embsel import data, models, selection, training
from embsel.backend import keras
from embsel.lab import experiments, profiles, recipes, records
from embsel.lab.records import ALL, Autoencoder, Pixels, Run, Store, key
from embsel.training import Falling, Phase

PROXY = dataclasses.replace(SMALL, steps=2, proxy=True)
COUNT = TRAIN
ROWS = np.arange(COUNT)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that these tests share, so that the proxy runs once."""
    return Store(tmp_path_factory.mktemp("store"))


def by_network(selector="el2n", **changes):
    """A run that chooses by class probabilities: those of a proxy or, with the plan "prune", its own."""
    return a_run(selector, **{"embedding": None if changes.get("plan") == "prune" else PROXY, "steps": 8} | changes)


class Chooser:
    """Picks the hardest images, image 0 first, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, k, seed=None, now=False, among=ROWS):
        self.asked.append({"k": k, "seed": seed, "now": now, "among": set(among.tolist())})
        return np.sort(among)[:k]


def planned(choose=None, begin=None, **changes):
    return recipes.phases(by_network(**changes), COUNT, choose or Chooser(), begin)


def passes(phase, count, seed=0):
    rng = np.random.default_rng(seed)
    return [phase.indices(rng) for _ in range(count)]


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def test_records_and_the_rooms_that_carry_them_out_know_the_same_names():
    assert tuple(recipes.PLANS) == records.PLANS
    assert tuple(models.NETWORKS) == records.NETWORKS
    assert (records.PLANS[0], records.NETWORKS[0]) == (SMALL.plan, SMALL.network)


@pytest.mark.parametrize("name", selection.SELECTORS)
def test_a_selector_gets_what_it_chooses_by_of_its_own_seed(name):
    run = profiles.subset_run(profiles.profile("tiny"), DATASET, name, 3)
    expected = {"nothing": type(None), "embedding": Autoencoder, "proxy": Run}[selection.SELECTORS[name].needs]
    assert type(run.embedding) is expected
    assert getattr(run.embedding, "seed", 3) == 3
    if expected is Run:
        assert (run.embedding.proxy, run.embedding.selector) == (True, ALL)
        assert (run.embedding.steps, run.embedding.width) < (run.steps, run.width)
        held_out = profiles.subset_run(profiles.profile("tiny"), DATASET, name, 3, validation=True)
        assert (run.embedding.validation, held_out.embedding.validation) == (False, True)  # it has not seen the labels


# --- plans ---


@given(
    plan=st.sampled_from(records.PLANS),
    steps=st.integers(1, 500),
    split=st.integers(0, 100),
    keep=st.integers(1, 60) | st.integers(1, COUNT),
    batch=st.integers(1, 2 * COUNT),
)
def test_the_phases_add_up_to_the_steps_and_the_switch_is_where_all_the_data_comes_in(plan, steps, split, keep, batch):
    choose, first = Chooser(), round(steps * split / 100)
    phases = planned(choose, plan=plan, steps=steps, split=split, keep=keep, batch=batch, begin=print)
    assert sum(phase.steps for phase in phases) == steps
    if steps > first:
        *phases, last = phases
        np.testing.assert_array_equal(last.indices, ROWS)
        assert (last.steps, last.begin) == (steps - first, print if first else None)
    assert {phase.begin for phase in phases} <= {None}
    assert np.ptp([phase.steps for phase in phases] or [0]) <= 1  # equal stretches, to the step
    assert first or not choose.asked  # nothing is chosen where no step is on a subset


def test_switch_chooses_one_subset_by_the_seed_of_the_run():
    subset, everything = planned(choose := Chooser(), split=75, seed=3)
    assert [(asked["k"], asked["seed"], asked["now"]) for asked in choose.asked] == [(KEEP, 3, False)]
    np.testing.assert_array_equal(subset.indices, np.arange(KEEP))
    assert (subset.steps, everything.steps) == (6, 2)


@pytest.mark.parametrize("plan", ["fresh", "prune"])
def test_fresh_chooses_by_another_seed_and_prune_by_the_network_before_every_pass(plan):
    def asked_in(seed):
        choose = Chooser()
        (phase,) = planned(choose, plan=plan)
        assert choose.asked == []  # not before the pass begins
        return passes(phase, 5, seed), choose.asked

    (rows, asked), (again, asked_again), (_, others) = map(asked_in, (1, 1, 2))
    assert {(one["k"], one["now"]) for one in asked} == {(KEEP, plan == "prune")}
    assert len({one["seed"] for one in asked}) == (5 if plan == "fresh" else 1)
    assert (asked != others) == (plan == "fresh")
    assert asked == asked_again
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(np.sort(rows), [np.arange(KEEP)] * 5)
    assert len({tuple(one) for one in rows}) == 5  # each pass is shuffled


def test_grow_doubles_as_long_as_that_is_at_most_half_of_the_data():
    for keep, sizes in [(20, [20, 40, 80]), (25, [25, 50, 100]), (50, [50, 100]), (51, [51])]:
        choose = Chooser()
        *grown, everything = planned(choose, plan="grow", keep=keep, steps=100, split=60, seed=2)
        assert [len(phase.indices) for phase in grown] == sizes == [asked["k"] for asked in choose.asked]
        assert {asked["seed"] for asked in choose.asked} == {2}
        assert [phase.steps for phase in (*grown, everything)] == [60 // len(sizes)] * len(sizes) + [40]


def test_sift_deals_everything_out_and_takes_from_each_hand_its_hardest():
    for keep, batch in [(48, 16), (7, 16), (COUNT, 16), (199, 30)]:
        choose = Chooser()
        (phase,) = planned(choose, plan="sift", keep=keep, batch=batch)
        first, _ = passes(phase, 2)
        half = len(choose.asked) // 2
        hands, again = ([one["among"] for one in some] for some in (choose.asked[:half], choose.asked[half:]))
        taken = np.split(first, np.cumsum([asked["k"] for asked in choose.asked[:half]])[:-1])
        assert len(first) == len(set(first.tolist())) == keep  # the right share of all
        assert sorted(itertools.chain(*hands)) == list(range(COUNT))  # each image is in one hand
        assert max(map(len, hands)) - min(map(len, hands)) <= 1
        for hand, rows in zip(hands, taken, strict=True):
            assert set(rows) == set(sorted(hand)[: len(rows)])
            assert abs(len(rows) - keep / len(hands)) < 1
            assert len(hands) == 1 or 2 / 3 * batch <= len(rows) <= 2 * batch  # about a batch
        assert len(hands) == 1 or again != hands  # dealt anew
    often = np.bincount(np.concatenate(passes(planned(plan="sift", keep=50, batch=5)[0], 200)), minlength=COUNT) / 200
    assert often[:10].min() == 1  # the very hardest always
    assert 0.9 > often[40:50].mean() > often[50:60].mean() > 0.1  # hard for its hand; a subset has 1 and 0


@pytest.mark.parametrize(("schedule", "ends"), [("constant", []), ("linear", [100]), ("restart", [20, 40, 60, 100])])
def test_the_rate_is_down_to_zero_at_the_end_or_at_the_end_of_each_phase(schedule, ends):
    spec = by_network(schedule=schedule, plan="grow", keep=20, steps=100, split=60)
    assert recipes.rate_ends(spec, recipes.phases(spec, COUNT, Chooser())) == ends


# --- the loop ---


def tally(rate, count=8):
    """A model with a weight for each image, to which a step adds the rate for each time the image is trained on."""
    numbers = keras.Input((), dtype="int32")
    weight = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(numbers, weight(keras.ops.one_hot(numbers, count)))
    return training._compile(model, lambda _, out: -out, keras.optimizers.SGD(rate))


def test_the_rate_of_each_step_falls_in_a_straight_line_and_starts_anew():
    """To zero at step 2, and, as a phase without a step is passed over, once more at step 10, where it stays."""
    model, seen = tally(Falling(0.5, [2, 2, 10])), []
    look = lambda: seen.append(numpy(model.trainable_variables[0]).sum()) or {}  # noqa: E731
    training.train(model, np.zeros(8), [Phase(np.arange(8), 11)], batch=4, seed=0, every=1, evaluate=look)
    expected = [0.5, 0.25, 0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0]
    np.testing.assert_allclose(np.diff(seen, prepend=0), expected, atol=1e-5)


class Clock:
    """A clock that only moves when it is told to."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_a_pass_is_chosen_and_a_phase_begins_when_the_steps_before_it_are_trained(monkeypatch):
    model, clock, asked, begun = tally(2.0), Clock(), [], []
    monkeypatch.setattr(training, "time", clock)

    def begin():
        begun.append(int(model.optimizer.iterations))
        clock.now += 7

    def one_pass(rng):
        asked.append((int(model.optimizer.iterations), numpy(model.trainable_variables[0]).sum()))
        return np.array([3, 1, 4, 0, 5])

    phases = [Phase(np.array([6, 7]), 3), Phase(one_pass, 11, begin=begin)]
    history = training.train(model, np.zeros(8), phases, batch=2, seed=0, every=4)
    # Of five images come two batches, then, with the next five, three.
    assert asked == [(step, 2.0 * step) for step in (3, 5, 8, 10, 13)]
    assert begun == [3]
    assert history.training_seconds == 7  # the beginning is charged
    assert history.column("step").tolist() == [3, 4, 8, 12, 14]
    assert history.samples == 28
    counts = numpy(model.trainable_variables[0]).ravel()
    assert counts.tolist() == [4, 5, 0, 5, 4, 4, 3, 3]  # 22 images: the order is the function's own
    none = training.train(tally(1.0), np.zeros(8), [Phase(np.arange(8), 0)], batch=2, seed=0)
    assert none.compile_seconds == none.training_seconds == 0


def test_shrink_and_perturb_mixes_the_trained_weights_with_a_fresh_start():
    own, fresh = (models.classifier(10, width=2, dense=(4, 4), seed=seed) for seed in (1, 2))
    before, new = ([numpy(v).copy() for v in network.trainable_variables] for network in (own, fresh))
    training.shrink_and_perturb(own, fresh, 0.4)
    for mine, other, old, start in zip(own.trainable_variables, fresh.trainable_variables, before, new, strict=True):
        np.testing.assert_allclose(numpy(mine), 0.4 * old + 0.6 * start, atol=1e-6)
        np.testing.assert_array_equal(numpy(other), start)


def test_adamw_takes_the_decay_from_the_weights_and_not_from_the_loss():
    for name, losses, decay in (("sgd", 2, None), ("adamw", 0, training.DECAY)):
        network = experiments._network(a_run(optimizer=name), DATASET, 0)
        options = {"rate": 0.01, "seed": 0, "ends": [8], "averaging": 0.5, "optimizer": name}
        update = training.classifier_trainer(network, (32, 32, 3), **options).optimizer
        assert (len(network.losses), type(update).__name__.lower(), update.weight_decay) == (losses, name, decay)
        assert (update.use_ema, update.ema_momentum) == (True, 0.5)


# --- carried out ---


@pytest.mark.parametrize(("plan", "chosen"), [
    ("switch", [TRAIN]), *((name, [TRAIN] * 2) for name in ("fresh", "grow", "prune")), ("sift", [TRAIN // 2] * 4)
])  # fmt: skip
def test_every_second_of_choosing_is_charged_once(plan, chosen, store, monkeypatch):
    """On a clock that nothing but choosing, and a look at all the images for it, moves. With 8 steps of 16 images there
    are 4 on a pass and a half of 40, then all the data.
    """
    clock, looked, compiled, el2n = Clock(), [], [], selection.SELECTORS["el2n"].select

    def slow_el2n(embeddings, k, *, labels=None, seed=0):
        clock.now += 5
        looked.append(len(embeddings))
        np.testing.assert_allclose(embeddings.sum(axis=1), 1, atol=1e-3)
        return el2n(embeddings, k, labels=labels, seed=seed)

    def classify(*arguments, original=training.classify, softmax=False, **options):
        answer = original(*arguments, softmax=softmax, **options)
        compiled.append(softmax)
        # None of it for an evaluation.
        return lambda *numbers: setattr(clock, "now", clock.now + 100 * softmax) or answer(*numbers)

    spec = by_network(plan=plan, split=50)
    if spec.embedding:
        experiments.embeddings_of(PROXY, DATASET, store, "test")  # on the true clock
    monkeypatch.setitem(selection.SELECTORS, "el2n", dataclasses.replace(selection.SELECTORS["el2n"], select=slow_el2n))
    monkeypatch.setattr(training, "classify", classify)
    for room in (experiments, training):
        monkeypatch.setattr(room, "time", clock)
    record = experiments.execute(spec, DATASET, store, "test")

    assert looked == chosen
    assert clock.now == 5 * len(looked) + (200 if plan == "prune" else 0)
    assert compiled.count(True) == (plan == "prune")  # once for all passes
    own = [line for line in record.ledger if not line["stage"].startswith("proxy")]
    assert [(line["stage"], line["seconds"]) for line in own if line["seconds"]] == [("selection", clock.now)]
    assert [line["stage"] for line in own] == ["selection", "training compilation", "training", "evaluation"]
    assert record.own_seconds() == clock.now
    assert (samples(record)["selection"], samples(record)["training"]) == (sum(looked), 8 * BATCH)
    assert record.metrics["kept"] == record.metrics["distinct"] == KEEP  # of the first pass
    assert sum(record.metrics["class_counts"]) == KEEP


def test_what_is_kept_is_of_the_first_pass_also_where_a_selector_picks_fewer_than_it_is_asked_for(store):
    components = Pixels(DATASET.fingerprint, 5)
    spec = a_run("top_activations_drop", plan="fresh", embedding=components, steps=12)
    record = experiments.execute(spec, DATASET, store, "test")
    embeddings = experiments.embeddings_of(components, DATASET, store, "test")
    first = selection.top_activations(embeddings, KEEP, duplicates="drop")
    assert record.metrics["kept"] == record.metrics["distinct"] == len(first) < KEEP
    assert record.metrics["class_counts"] == counted(first)
    assert samples(record)["selection"] > TRAIN  # it chose more than once


@pytest.mark.parametrize("validation", [False, True])
def test_a_proxy_keeps_the_probabilities_of_every_image_and_its_run_carries_its_cost(validation, store):
    """Also of those held out, so that a run that holds the same out finds the rows that it trains on among them."""
    spec = dataclasses.replace(PROXY, validation=validation)
    run = experiments.execute(by_network("margin", embedding=spec, validation=validation), DATASET, store, "test")
    proxy, probabilities = store.records()[key(spec)], experiments.embeddings_of(spec, DATASET, store, "test")
    assert probabilities.shape == (TRAIN, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    stays = data.training_rows(DATASET) if validation else ROWS
    rows = selection.SELECTORS["margin"](probabilities[stays], KEEP, labels=DATASET.train_labels[stays])
    assert run.metrics["class_counts"] == counted(rows, DATASET.train_labels[stays])

    assert stages(proxy) == ["training compilation", "training", "evaluation", "probabilities"]
    assert samples(proxy)["probabilities"] == TRAIN
    assert proxy.own_seconds() == pytest.approx(proxy.seconds())  # what its runs leave out is charged here
    shared = ["proxy training compilation", "proxy training", "proxy probabilities"]
    assert stages(run) == [*shared, "selection", "training compilation", "training", "evaluation"]
    assert run.seconds(*shared) == pytest.approx(proxy.seconds() - proxy.seconds("evaluation"))
    assert run.own_seconds() == pytest.approx(run.seconds() - run.seconds(*shared))


def test_a_run_with_all_parts_shrinks_once_towards_the_start_of_no_other_run(store, monkeypatch):
    shrunk, built, seeds = [], [], []

    def shrink(network, fresh, keep):
        shrunk.append((keep, int(built[0].optimizer.iterations), network.count_params() == fresh.count_params()))

    def trainer(*arguments, original=training.classifier_trainer, **options):
        built.append(original(*arguments, **options))
        return built[-1]

    network = experiments._network
    monkeypatch.setattr(experiments, "_network", lambda *given: seeds.append(given[2]) or network(*given))
    monkeypatch.setattr(training, "shrink_and_perturb", shrink)
    monkeypatch.setattr(training, "classifier_trainer", trainer)
    parts = {"schedule": "restart", "shrink": 0.3, "optimizer": "adamw", "network": "resnet", "rate": 0.001}
    record = experiments.execute(
        a_run("random_subset", plan="grow", split=50, width=8, steps=8, seed=3, **parts), DATASET, store, "test")
    assert (shrunk, seeds) == ([(0.3, 4, True)], [3, 1003])
    assert record.curve["phase"] == [0, 1, 2]
    assert built[0].optimizer._learning_rate.ends == [2, 4, 8]
