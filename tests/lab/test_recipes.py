"""Recipes: in which order a run goes through its images, how fast it learns, and that all of its choosing is paid for.

The plans are tested with a `choose` made by hand; a few runs on drawn shapes, too small to learn anything, show that
what a plan asks for is what happens and what the ledger says.
"""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsel import data, models, selection, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.lab import experiments, recipes, records, suites
from embsel.lab.records import ALL, Autoencoder, Pixels, Record, Run, Store, key
from embsel.training import Falling, Phase

TRAIN, TEST, BATCH, KEEP = 200, 50, 16, 40
DATASET = data.shapes(train=TRAIN, test=TEST)
SMALL = Run(DATASET.fingerprint, ALL, 8, BATCH, 0.01, width=4, curve_images=30)
PROXY = dataclasses.replace(SMALL, steps=2, proxy=True)
COUNT = 200
ROWS = np.arange(COUNT)


def a_run(selector="random_subset", **changes):
    return dataclasses.replace(SMALL, **{"selector": selector, "keep": KEEP} | changes)


def by_network(selector, **changes):
    """A run that chooses by class probabilities: those of a proxy or, with the plan "prune", its own."""
    embedding = None if changes.get("plan") == "prune" else PROXY
    return a_run(selector, **{"embedding": embedding} | changes)


class Chooser:
    """Picks the hardest images, image 0 first, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, k, seed=None, now=False, among=ROWS):
        self.asked.append({"k": k, "seed": seed, "now": now, "among": set(among.tolist())})
        return np.sort(among)[:k]


def planned(choose=None, begin=None, **changes):
    spec = by_network("el2n", **changes) if changes.get("plan") == "prune" else a_run(**changes)
    return recipes.phases(spec, COUNT, choose or Chooser(), begin)


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def test_records_and_the_rooms_that_carry_them_out_know_the_same_names():
    assert tuple(recipes.PLANS) == records.PLANS
    assert tuple(models.NETWORKS) == records.NETWORKS
    assert records.PLANS[0] == a_run().plan
    assert records.NETWORKS[0] == a_run().network
    for schedule in records.SCHEDULES:
        assert isinstance(recipes.rate_ends(a_run(schedule=schedule), planned()), list)


# --- plans ---


@given(
    plan=st.sampled_from(records.PLANS),
    steps=st.integers(1, 500),
    split=st.integers(0, 100),
    keep=st.integers(1, 60) | st.integers(1, COUNT),
    batch=st.integers(1, 2 * COUNT),
)
def test_the_phases_add_up_to_the_steps_and_the_switch_is_where_all_the_data_comes_in(plan, steps, split, keep, batch):
    phases = planned(plan=plan, steps=steps, split=split, keep=keep, batch=batch, begin=print)
    first = round(steps * split / 100)
    assert sum(phase.steps for phase in phases) == steps
    assert all(type(phase.steps) is int for phase in phases)
    if steps > first:
        *phases, last = phases
        np.testing.assert_array_equal(last.indices, np.arange(COUNT))
        assert (last.steps, last.begin) == (steps - first, print if first else None)
    assert {phase.begin for phase in phases} <= {None}
    assert np.ptp([phase.steps for phase in phases] or [0]) <= 1  # equal stretches, to the step


def test_nothing_is_chosen_where_no_step_is_on_a_subset():
    for spec in (SMALL, *(by_network("el2n", plan=plan, split=0) for plan in records.PLANS)):
        choose = Chooser()
        (phase,) = recipes.phases(spec, COUNT, choose, begin=print)
        assert (phase.steps, phase.begin, choose.asked) == (8, None, [])


def test_a_proxy_for_a_validation_run_has_not_seen_the_held_out_labels():
    sizes = suites.profile("tiny")
    for validation in (False, True):
        run = suites.subset_run(sizes, DATASET, "el2n", 0, validation=validation)
        assert run.embedding.validation is validation


def test_switch_chooses_one_subset_by_the_seed_of_the_run():
    choose = Chooser()
    subset, everything = planned(choose, split=75, seed=3)
    assert [(asked["k"], asked["seed"], asked["now"]) for asked in choose.asked] == [(KEEP, 3, False)]
    np.testing.assert_array_equal(subset.indices, np.arange(KEEP))
    assert (subset.steps, everything.steps) == (6, 2)


def test_fresh_chooses_by_another_seed_for_every_pass_and_shuffles_it():
    def passes(seed, count=5):
        choose = Chooser()
        (phase,) = planned(choose, plan="fresh")
        assert choose.asked == []  # not before the pass begins
        rng = np.random.default_rng(seed)
        rows = [phase.indices(rng) for _ in range(count)]
        return [asked["seed"] for asked in choose.asked], rows

    seeds, rows = passes(1)
    assert len(set(seeds)) == len(seeds) == 5
    for one in rows:
        np.testing.assert_array_equal(np.sort(one), np.arange(KEEP))
    assert len({tuple(one) for one in rows}) == 5
    assert passes(1)[0] == seeds != passes(2)[0]
    np.testing.assert_array_equal(passes(1)[1], rows)


def test_grow_doubles_as_long_as_that_is_at_most_half_of_the_data():
    for keep, sizes in [(20, [20, 40, 80]), (25, [25, 50, 100]), (50, [50, 100]), (51, [51])]:
        choose = Chooser()
        *grown, everything = planned(choose, plan="grow", keep=keep, steps=100, split=60, seed=2)
        assert [len(phase.indices) for phase in grown] == sizes == [asked["k"] for asked in choose.asked]
        assert {asked["seed"] for asked in choose.asked} == {2}
        assert [phase.steps for phase in grown] == [60 // len(sizes)] * len(sizes)
        assert everything.steps == 40


def test_sift_deals_everything_out_and_takes_from_each_hand_its_hardest():
    for keep, batch in [(48, 16), (7, 16), (COUNT, 16), (199, 30)]:
        choose = Chooser()
        (phase,) = planned(choose, plan="sift", keep=keep, batch=batch)
        rng = np.random.default_rng(0)
        first = phase.indices(rng)
        hands = [asked["among"] for asked in choose.asked]
        taken = np.split(first, np.cumsum([asked["k"] for asked in choose.asked])[:-1])
        assert len(first) == len(set(first.tolist())) == keep  # the right share of all
        assert sorted(itertools.chain(*hands)) == list(range(COUNT))  # each image is in one hand
        assert max(map(len, hands)) - min(map(len, hands)) <= 1
        for hand, rows in zip(hands, taken, strict=True):
            assert set(rows) == set(sorted(hand)[: len(rows)])
            assert abs(len(rows) - keep / len(hands)) < 1
            assert len(hands) == 1 or 2 / 3 * batch <= len(rows) <= 2 * batch  # about a batch
        asked = len(hands)
        assert len(phase.indices(rng)) == keep
        if 1 < len(hands) < COUNT:
            assert [one["among"] for one in choose.asked[asked:]] != hands  # dealt anew


def test_sift_takes_what_is_easy_for_all_where_it_is_hard_for_its_hand():
    (phase,) = planned(plan="sift", keep=50, batch=5)
    rng = np.random.default_rng(0)
    often = np.bincount(np.concatenate([phase.indices(rng) for _ in range(200)]), minlength=COUNT) / 200
    assert often[:10].min() == 1  # the very hardest always
    assert 0.9 > often[40:50].mean() > often[50:60].mean() > 0.1  # the subset alone would have 1 and 0
    assert often[-50:].max() < 0.05


def test_prune_asks_the_network_before_every_pass():
    choose = Chooser()
    (phase,) = planned(choose, plan="prune")
    assert choose.asked == []
    rng = np.random.default_rng(0)
    rows = [phase.indices(rng) for _ in range(3)]
    assert [(asked["k"], asked["now"]) for asked in choose.asked] == [(KEEP, True)] * 3
    assert len({tuple(one) for one in rows}) == 3
    for one in rows:
        np.testing.assert_array_equal(np.sort(one), np.arange(KEEP))


# --- learning rates ---


def test_where_the_rate_is_down_to_zero():
    def ends(schedule):
        spec = a_run(schedule=schedule, plan="grow", keep=20, steps=100, split=60)
        return recipes.rate_ends(spec, recipes.phases(spec, COUNT, Chooser()))

    assert ends("constant") == []
    assert ends("linear") == [100]
    assert ends("restart") == [20, 40, 60, 100]


def tally(update, count=8):
    """A model with a weight for each image, to which a step adds the rate for each time the image is trained on."""
    numbers = keras.Input((), dtype="int32")
    weight = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(numbers, weight(keras.ops.one_hot(numbers, count)))
    return training._compile(model, lambda _, out: -out, update)


def test_the_rate_of_each_step_falls_in_a_straight_line_and_starts_anew():
    """To zero at step 2, and, as a phase without a step is passed over, once more at step 10, where it stays."""
    model, seen = tally(keras.optimizers.SGD(Falling(0.5, [2, 2, 10]))), []
    training.train(
        model,
        np.zeros(8),
        [Phase(np.arange(8), 11)],
        batch=4,
        seed=0,
        every=1,
        evaluate=lambda: seen.append(numpy(model.trainable_variables[0]).sum()) or {},
    )
    expected = [0.5, 0.25, 0.5, 0.4375, 0.375, 0.3125, 0.25, 0.1875, 0.125, 0.0625, 0]
    np.testing.assert_allclose(np.diff(seen, prepend=0), expected, atol=1e-5)


# --- the loop ---


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_a_pass_is_chosen_when_the_steps_before_it_are_trained():
    model, asked = tally(keras.optimizers.SGD(2.0)), []

    def one_pass(rng):
        asked.append((int(model.optimizer.iterations), numpy(model.trainable_variables[0]).sum()))
        return np.array([3, 1, 4, 0, 5])

    phases = [Phase(np.array([6, 7]), 3), Phase(one_pass, 11)]
    history = training.train(model, np.zeros(8), phases, batch=2, seed=0, every=4)
    # Of five images come two batches, then, with the next five, three.
    assert asked == [(step, 2.0 * step) for step in (3, 5, 8, 10, 13)]
    assert history.column("step").tolist() == [3, 4, 8, 12, 14]
    assert history.samples == 28
    counts = numpy(model.trainable_variables[0]).ravel()
    assert counts[[6, 7]].tolist() == [3, 3]
    assert counts[[3, 1, 4, 0, 5]].tolist() == [5, 5, 4, 4, 4]  # 22 images: the order is the function's own
    assert counts[2] == 0


def test_a_phase_begins_once_before_its_first_step_on_time_that_is_charged(monkeypatch):
    clock, model, begun = Clock(), tally(keras.optimizers.SGD(2.0)), []
    monkeypatch.setattr(training, "time", clock)

    def begin():
        begun.append(int(model.optimizer.iterations))
        clock.now += 7

    phases = [Phase(np.arange(4), 3), Phase(np.arange(8), 3, begin=begin)]
    history = training.train(model, np.zeros(8), phases, batch=2, seed=0)
    assert begun == [3]
    assert history.training_seconds == 7
    assert history.column("seconds").tolist() == [0, 7]


def test_training_without_a_step_compiles_nothing():
    none = training.train(tally("sgd"), np.zeros(8), [Phase(np.arange(8), 0)], batch=2, seed=0)
    assert none.compile_seconds == none.training_seconds == 0
    assert training.train(tally("sgd"), np.zeros(8), [Phase(np.arange(8), 1)], batch=2, seed=0).compile_seconds > 0


# --- the switch of shrink and perturb, and the optimizer ---


def test_shrink_and_perturb_mixes_the_trained_weights_with_a_fresh_start():
    own, fresh = (models.classifier(10, width=2, dense=(4, 4), seed=seed) for seed in (1, 2))
    before, new = ([numpy(v).copy() for v in network.trainable_variables] for network in (own, fresh))
    training.shrink_and_perturb(own, fresh, 0.4)
    for variable, old, other in zip(own.trainable_variables, before, new, strict=True):
        np.testing.assert_allclose(numpy(variable), 0.4 * old + 0.6 * other, atol=1e-6)
    for variable, other in zip(fresh.trainable_variables, new, strict=True):
        np.testing.assert_array_equal(numpy(variable), other)


def test_adamw_takes_the_decay_from_the_weights_and_not_from_the_loss():
    plain, adamw = a_run(), a_run(optimizer="adamw")
    for spec, losses in ((plain, 2), (adamw, 0)):
        network = experiments._network(spec, DATASET, 0)
        assert len(network.losses) == losses
        trainer = training.classifier_trainer(
            network, (32, 32, 3), rate=0.01, seed=0, ends=[8], averaging=0.5, optimizer=spec.optimizer
        )
        update = trainer.optimizer
        assert type(update).__name__.lower() == spec.optimizer
        assert update.weight_decay == (None if losses else training.DECAY)
        assert (update.use_ema, update.ema_momentum) == (True, 0.5)
        assert float(numpy(update.learning_rate)) == pytest.approx(0.01)
    hidden = models.classifier(10, width=2, dense=(4, 4)).layers[-2]
    assert 2 * float(hidden.kernel_regularizer.l2) == pytest.approx(training.DECAY)


# --- specs ---


def test_a_recipe_that_cannot_be_is_refused():
    for changes, message in [
        ({"plan": "shift"}, r"no plan named 'shift'; did you mean 'sift'"),
        ({"optimizer": "adam"}, r"no optimizer named 'adam'; did you mean 'adamw'"),
        ({"schedule": "cosine"}, r"no schedule named 'cosine'"),
        ({"network": "resnet18"}, r"no network named 'resnet18'; did you mean 'resnet'"),
        ({"shrink": 1.5}, r"Run\.shrink must be of type float \| None, from 0 to 1, not 1\.5\."),
        ({"proxy": 1}, r"Run\.proxy must be of type bool, not 1\."),
        ({"selector": "el2n"}, r"The selector 'el2n' needs class probabilities: give the Run one with proxy=True\."),
        ({"selector": "el2n", "embedding": SMALL}, r"Run\.embedding may be a Run that keeps its class prob"),
        ({"selector": ALL, "embedding": SMALL}, r"Run\.embedding may be a Run that keeps its class prob"),
        ({"selector": "top_activations"}, r"The selector 'top_activations' needs embeddings"),
        ({"plan": "prune"}, r"The plan 'prune' chooses by class probabilities, and 'random_subset' does not\."),
        ({"plan": "prune", "selector": "el2n", "embedding": PROXY}, r"leave Run\.embedding None\."),
        ({"selector": ALL, "keep": None, "plan": "grow"}, r"no subset to begin with"),
        ({"selector": ALL, "keep": None, "shrink": 0.5}, r"no subset to begin with"),
    ]:
        with pytest.raises(InputError, match=message):
            a_run(**changes)


NESTED = [
    by_network("margin", plan="sift", schedule="restart", shrink=0.5, optimizer="adamw", network="resnet"),
    by_network("el2n", plan="prune", split=30),
    by_network(
        "el2n", embedding=a_run("top_activations", embedding=Autoencoder(DATASET.fingerprint, 3, BATCH), proxy=True)
    ),
    a_run("farthest_first", embedding=PROXY),
    a_run("top_activations", embedding=Pixels(DATASET.fingerprint, 30)),
    Pixels(DATASET.fingerprint, seed=1),
]


def test_specs_inside_specs_come_back_from_a_line():
    for spec in NESTED:
        line = Record(spec, {}, [], {}).to_json()
        again = Record.from_json(line).spec
        assert again == spec
        assert [type(one) for one in nest(again)] == [type(one) for one in nest(spec)]
        assert key(again) == key(spec) == json.loads(line)["key"]


def nest(spec):
    while spec is not None:
        yield spec
        spec = getattr(spec, "embedding", None)


def test_a_suite_gives_each_selector_what_it_needs():
    sizes = suites.profile("tiny")
    for name, entry in selection.SELECTORS.items():
        run = suites.subset_run(sizes, DATASET, name, 3)
        expected = {"nothing": type(None), "embedding": Autoencoder, "proxy": Run}[entry.needs]
        assert type(run.embedding) is expected
        assert run.embedding is None or run.embedding.seed == 3
        if expected is Run:
            proxy = run.embedding
            assert (proxy.proxy, proxy.selector) == (True, ALL)
            assert proxy.steps < run.steps
            assert proxy.width < run.width


# --- carried out ---


def stages(record):
    return [line["stage"] for line in record.ledger]


def samples(record):
    return {line["stage"]: line["samples"] for line in record.ledger}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that these tests share, so that the proxy runs once."""
    return Store(tmp_path_factory.mktemp("store"))


CHOSEN = {  # with 8 steps of 16 images: 4 on a pass and a half of 40, then all the data
    "switch": [TRAIN],
    "fresh": [TRAIN] * 2,
    "grow": [TRAIN] * 2,
    "sift": [TRAIN // 2] * 4,
    "prune": [TRAIN] * 2,
}


@pytest.mark.parametrize("plan", records.PLANS)
def test_every_second_of_choosing_is_charged_once(plan, store, monkeypatch):
    """On a clock that nothing but choosing, and a look at all the images for it, moves."""
    clock, looked, calls, compiled, el2n = Clock(), [], [], [], selection.SELECTORS["el2n"].select

    def slow_el2n(embeddings, k, *, labels=None, seed=0):
        clock.now += 5
        looked.append(len(embeddings))
        np.testing.assert_allclose(embeddings.sum(axis=1), 1, atol=1e-3)
        return el2n(embeddings, k, labels=labels, seed=seed)

    def classify(*arguments, original=training.classify, **options):
        answer = original(*arguments, **options)
        compiled.append(options.get("softmax", False))

        def slow_answer(*numbers):
            clock.now += 100 * options.get("softmax", False)  # not for an evaluation
            return answer(*numbers)

        return slow_answer

    def train(model, labels, phases, *arguments, original=training.train, **options):
        calls.append(phases)
        return original(model, labels, phases, *arguments, **options)

    spec = by_network("el2n", plan=plan, split=50)
    if spec.embedding:
        experiments.embeddings_of(PROXY, DATASET, store, "test")  # on the true clock
    monkeypatch.setitem(selection.SELECTORS, "el2n", dataclasses.replace(selection.SELECTORS["el2n"], select=slow_el2n))
    monkeypatch.setattr(training, "classify", classify)
    monkeypatch.setattr(training, "train", train)
    for room in (experiments, training):
        monkeypatch.setattr(room, "time", clock)
    record = experiments.execute(spec, DATASET, store, "test")

    assert looked == CHOSEN[plan]
    assert clock.now == 5 * len(looked) + (200 if plan == "prune" else 0)
    assert compiled.count(True) == (plan == "prune")  # once for all passes
    own = [line for line in record.ledger if not line["stage"].startswith("proxy")]
    assert [(line["stage"], line["seconds"]) for line in own if line["seconds"]] == [("selection", clock.now)]
    assert [line["stage"] for line in own] == ["selection", "training compilation", "training", "evaluation"]
    assert record.own_seconds() == clock.now
    assert samples(record)["selection"] == sum(looked)
    assert samples(record)["training"] == 8 * BATCH

    (phases,) = calls
    assert sum(phase.steps for phase in phases) == record.curve["step"][-1] == 8
    assert record.metrics["kept"] == record.metrics["distinct"] == KEEP  # of the first pass
    assert sum(record.metrics["class_counts"]) == KEEP
    assert records.Record.from_json(record.to_json()) == record


def test_what_is_kept_is_of_the_first_pass_also_where_a_selector_picks_fewer_than_it_is_asked_for(store):
    components = Pixels(DATASET.fingerprint, 5)
    spec = a_run("top_activations_drop", plan="fresh", embedding=components, steps=12)
    record = experiments.execute(spec, DATASET, store, "test")
    embeddings = experiments.embeddings_of(components, DATASET, store, "test")
    first = selection.top_activations(embeddings, KEEP, duplicates="drop")
    assert record.metrics["kept"] == record.metrics["distinct"] == len(first) < KEEP
    assert record.metrics["class_counts"] == np.bincount(DATASET.train_labels[first], minlength=10).tolist()
    assert samples(record)["selection"] > TRAIN  # it chose more than once


def test_a_run_carries_all_that_its_proxy_cost_but_the_evaluation():
    lines = [{"stage": name, "seconds": 1.0} for name in ("autoencoder", "embedding", "evaluation", "training")]
    shared = experiments._shared(Record(PROXY, {}, lines, {}))
    assert [line["stage"] for line in shared] == ["proxy autoencoder", "proxy embedding", "proxy training"]
    embedding = Record(Pixels(DATASET.fingerprint), {}, lines, {})
    assert experiments._shared(embedding) == lines


def test_a_seed_fixes_what_a_plan_trains_on(store):
    spec = by_network("el2n", plan="prune", split=50, schedule="restart", shrink=0.5, every=2)
    first, again = (experiments.execute(spec, DATASET, store, "test") for _ in range(2))
    assert first.metrics == again.metrics
    assert first.curve["loss"] == again.curve["loss"]


def test_a_proxy_keeps_the_class_probabilities_that_another_run_chooses_by(store):
    spec = by_network("margin")
    run = experiments.execute(spec, DATASET, store, "test")
    proxy = store.records()[key(PROXY)]
    probabilities = experiments.embeddings_of(PROXY, DATASET, store, "test")
    assert probabilities.shape == (TRAIN, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.min() >= 0
    rows = selection.SELECTORS["margin"](probabilities, KEEP)
    counts = np.bincount(DATASET.train_labels[rows], minlength=10)
    assert run.metrics["class_counts"] == counts.tolist()

    assert stages(proxy) == ["training compilation", "training", "evaluation", "probabilities"]
    assert samples(proxy)["probabilities"] == TRAIN
    assert proxy.own_seconds() == pytest.approx(proxy.seconds())  # what its runs leave out is charged here
    shared = ["proxy training compilation", "proxy training", "proxy probabilities"]
    assert stages(run) == [*shared, "selection", "training compilation", "training", "evaluation"]
    assert run.seconds(*shared) == pytest.approx(proxy.seconds() - proxy.seconds("evaluation"))
    assert run.own_seconds() == pytest.approx(run.seconds() - run.seconds(*shared))


def test_a_proxy_that_holds_a_validation_split_out_has_probabilities_of_it_too(store):
    """So a run that holds the same split out finds the rows that it trains on among them."""
    proxy = dataclasses.replace(PROXY, validation=True)
    run = experiments.execute(by_network("el2n", validation=True, embedding=proxy), DATASET, store, "test")
    probabilities = experiments.embeddings_of(proxy, DATASET, store, "test")
    assert probabilities.shape == (TRAIN, 10)
    stays = data.training_rows(DATASET)
    rows = selection.SELECTORS["el2n"](probabilities[stays], KEEP, labels=DATASET.train_labels[stays])
    counts = np.bincount(DATASET.train_labels[stays][rows], minlength=10)
    assert run.metrics["class_counts"] == counts.tolist()


def test_a_run_with_all_parts_shrinks_once(store, monkeypatch):
    shrunk, built = [], []

    def shrink(network, fresh, keep):
        shrunk.append((network.count_params(), fresh.count_params(), keep, int(built[0].optimizer.iterations)))

    def trainer(*arguments, original=training.classifier_trainer, **options):
        built.append(original(*arguments, **options))
        return built[-1]

    monkeypatch.setattr(training, "shrink_and_perturb", shrink)
    monkeypatch.setattr(training, "classifier_trainer", trainer)
    parts = {"schedule": "restart", "shrink": 0.3, "optimizer": "adamw", "network": "resnet", "rate": 0.001}
    spec = a_run(plan="grow", split=50, width=8, **parts)
    record = experiments.execute(spec, DATASET, store, "test")
    assert [tuple(call[2:]) for call in shrunk] == [(0.3, 4)]
    assert shrunk[0][0] == shrunk[0][1]
    assert record.curve["phase"] == [0, 1, 2]
    assert built[0].optimizer._learning_rate.ends == [2, 4, 8]


def test_an_encoder_without_training_costs_the_embedding_alone(store):
    spec = Autoencoder(DATASET.fingerprint, 0, BATCH, widths=(4, 4, 2))
    record = experiments.execute(spec, DATASET, store, "test")
    assert record.metrics["loss"] is None
    assert record.metrics["elements"] == 3 * 3 * 2
    assert record.seconds() == record.seconds("embedding") == record.own_seconds() > 0
    assert np.ptp(np.load(experiments._embeddings_file(store, spec)), axis=0).max() > 0
    assert records.describe(record).startswith("autoencoder, seed 0: not trained, ")


def test_pixels_are_their_principal_components_of_the_centre(store):
    grey = {name: getattr(DATASET, name)[..., :1] for name in ("train_images", "test_images")}
    dataset = dataclasses.replace(DATASET, **grey)
    spec = Pixels(dataset.fingerprint, 12)
    record = experiments.execute(spec, dataset, store, "test")
    embeddings = np.load(experiments._embeddings_file(store, spec))
    assert embeddings.shape == (TRAIN, 12)
    assert embeddings.dtype == np.float32
    pixels = dataset.train_images[:, 4:28, 4:28].reshape(TRAIN, -1).astype(float)
    lengths = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)[:12]
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=0), lengths, rtol=1e-3)
    assert stages(record) == ["embedding"]
    assert record.metrics["elements"] == 12
    assert records.describe(record).startswith("pixels, seed 0: not trained, ")
