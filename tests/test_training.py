"""The training loop: what is trained on, how long, in which order, and what is measured on the way.

Most tests train a `Tally`: a model with one weight per image and a step that adds the image's label to it. Its weights
then say exactly how often each image was trained on, and with which label.
"""

import dataclasses
import itertools
import time

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from embsel import images, models, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.training import Phase, train

ops = keras.ops


def numpy(tensor):
    return ops.convert_to_numpy(ops.convert_to_tensor(tensor))


def weights(model):
    """All trained weights as one vector."""
    return np.concatenate([numpy(variable).ravel() for variable in model.trainable_variables])


class Tally(keras.layers.Layer):
    def __init__(self, count):
        super().__init__()
        self.counts = self.add_weight(shape=(count,), initializer="zeros")

    def call(self, numbers):
        return ops.matmul(ops.one_hot(numbers, self.counts.shape[0]), self.counts)


def batches_of(indices, batch, seed):
    """The batches of a run that has just begun."""
    return training._Batches(indices, batch, training._State(None, np.random.default_rng(seed)))


def tally(count, batch, loss=lambda labels, out: -labels * out, averaging=0.0):
    numbers = keras.Input((), dtype="int32")
    model = keras.Model(numbers, Tally(count)(numbers))
    return training._compile(model, loss, training._optimizer("sgd", averaging)(float(batch)))


def linear(pixels, *, seed=0, classes=3, **options):
    """A classifier of a single dense layer, and the model that trains it."""
    start = keras.initializers.GlorotUniform(seed=1)
    flat = [keras.Input((24, 24, pixels.shape[-1])), keras.layers.Flatten()]
    network = keras.Sequential([*flat, keras.layers.Dense(classes, kernel_initializer=start)])
    options = {"rate": 0.02, "augment": False} | options
    return network, training.classifier_trainer(network, images.ImageStore(pixels), seed=seed, **options)


def pixels(count, height=24, width=24, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels)).astype("uint8")


# --- phases and batches ---


def test_every_image_comes_once_before_any_comes_again():
    for batch in [4, 10, 25]:
        indices = np.array([3, 1, 4, 15, 9, 2, 6, 5, 35, 8])
        found = list(itertools.islice(batches_of(indices, batch, 0), 70))
        assert {len(one) for one in found} == {batch}
        passes = np.concatenate(found).reshape(-1, len(indices))  # also across the border of two batches
        np.testing.assert_array_equal(np.sort(passes, axis=1), np.broadcast_to(np.sort(indices), passes.shape))
        assert len({tuple(one) for one in passes[:7]}) == 7  # each pass in an order of its own


def test_an_image_given_twice_comes_twice_and_the_order_is_fixed_by_the_seed():
    def order(seed):
        batches = batches_of([7, 7, 2], 3, seed)
        return np.concatenate(list(itertools.islice(batches, 10)))

    assert np.bincount(order(0)).tolist() == [0, 0, 10, 0, 0, 0, 0, 20]
    assert order(1).tolist() == order(1).tolist() != order(2).tolist()


# --- what is trained on ---


def test_steps_phases_and_points():
    count, batch = 20, 4
    model = tally(count, batch)
    seen = []
    phases = [Phase(np.arange(5), 70), Phase(np.arange(5, 20), 50)]

    def evaluate():
        seen.append(weights(model))
        return {"evaluations": len(seen)}

    history = train(model, np.ones(count), phases, batch=batch, seed=0, evaluate=evaluate, every=35)
    assert int(model.optimizer.iterations) == 120
    assert history.samples == 120 * batch
    assert history.column("step").tolist() == [35, 70, 105, 120]
    assert history.column("phase").tolist() == [0, 0, 1, 1]
    assert history.column("evaluations").tolist() == [1, 2, 3, 4]
    assert np.diff(history.column("seconds"), prepend=0).min() > 0
    assert history.column("seconds")[-1] == history.training_seconds
    assert history.compile_seconds > 0
    for so_far, steps in zip(seen, [35, 70, 105, 120], strict=True):
        assert so_far.sum() == steps * batch
        first, second = so_far[:5], so_far[5:]
        assert first.sum() == min(steps, 70) * batch  # the first phase has its own images alone ...
        assert second.sum() == max(0, steps - 70) * batch  # ... and the second has its own
        assert np.ptp(first) <= 1  # no image is a pass ahead
        assert np.ptp(second) <= 1
    np.testing.assert_array_equal(weights(model), seen[-1])


def test_where_the_points_are():
    for lengths, every, steps, numbers in [
        ([50], 50, [50], [0]),  # one point, not two, where a phase ends on an evaluation
        ([101], None, [101], [0]),  # more than one compiled call
        ([60, 60], 40, [40, 60, 80, 120], [0, 0, 1, 1]),  # `every` counts from the start of all
        ([0, 4, 0, 2], None, [4, 6], [1, 3]),
        ([], None, [], []),
    ]:
        model = tally(4, 2)
        history = train(
            model, np.ones(4), [Phase(np.arange(4), length) for length in lengths], batch=2, seed=0, every=every
        )
        assert history.column("step").tolist() == steps
        assert history.column("phase").tolist() == numbers
        assert weights(model).sum() == history.samples == 2 * sum(lengths)
        assert history.evaluation_seconds == 0


def test_every_image_is_trained_with_its_own_label():
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    model = tally(8, 8)
    train(model, labels, [Phase(np.arange(8), 60)], batch=8, seed=0)
    np.testing.assert_array_equal(weights(model), 60 * labels)


def test_the_loss_of_a_point_is_the_mean_of_the_steps_since_the_point_before():
    phases = [Phase(np.arange(6), 125)]
    labels = np.arange(6) + 1.0
    single = train(tally(6, 4), labels, phases, batch=4, seed=3, every=1).column("loss")
    assert single[0] == 0
    assert len(set(single)) == 125
    for every, borders in ((None, [0, 125]), (60, [0, 60, 120, 125])):
        history = train(tally(6, 4), labels, phases, batch=4, seed=3, every=every)
        means = [single[start:end].mean() for start, end in itertools.pairwise(borders)]
        np.testing.assert_allclose(history.column("loss"), means, rtol=1e-5)


def test_a_quantity_that_was_not_measured_is_nan():
    history = training.History(points=[{"step": 1}, {"step": 2, "test_loss": 0.5}])
    np.testing.assert_array_equal(history.column("test_loss"), [np.nan, 0.5])


def test_progress_goes_to_the_error_stream_and_only_if_asked_for(capsys):
    train(tally(4, 2), np.ones(4), [Phase(np.arange(4), 2)], batch=2, seed=0)
    assert capsys.readouterr() == ("", "")
    train(tally(4, 2), np.ones(4), [Phase(np.arange(4), 2)], batch=2, seed=0, progress="a label")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a label" in shown.err


# --- seconds ---


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


PACES = [
    (lambda step: 0.01, 0.01),
    (lambda step: 0.5 if step == 0 else 0.01, 0.01),  # a slow first step
    (lambda step: 10.0, 10.0),  # not even one step fits
    (lambda step: 0.001 if step < 100 else 0.01, 0.5),  # ten times slower: a compiled call of 50 steps too many
]


def timed(monkeypatch, pace, phases, loading=0, **options):
    """The history of training where step number i takes `pace(i)` seconds, an evaluation 100 and compilation 7; with
    `loading` seconds for each image that is fetched.
    """
    clock = Clock()

    def compiled_steps(model):
        steps = itertools.count()

        def run(numbers, labels, n):
            clock.now += sum(pace(next(steps)) for _ in range(n)) if n else 7.0
            return 0.5

        return run

    def evaluate():
        clock.now += 100.0
        return {}

    def fetch(numbers):
        clock.now += loading * numbers.size
        return numbers.copy()

    monkeypatch.setattr(training, "time", clock)
    monkeypatch.setattr(training, "_compiled_steps", compiled_steps)
    options |= {"fetch": fetch} if loading else {}
    return train(tally(4, 2), np.ones(4), phases, batch=2, seed=0, evaluate=evaluate, **options)


def test_a_phase_in_seconds_counts_training_alone(monkeypatch):
    for pace, overrun in PACES:
        phases = [Phase(np.arange(4), seconds=2.0), Phase(np.arange(4), 3), Phase(np.arange(4), seconds=0.5)]
        history = timed(monkeypatch, pace, phases, every=60)
        assert history.compile_seconds == 7.0
        assert history.evaluation_seconds == pytest.approx(100.0 * len(history.points))
        ends = [history.column("seconds")[history.column("phase") == number][-1] for number in range(3)]
        spent = np.diff(ends, prepend=0)
        for seconds, budget in ((spent[0], 2.0), (spent[2], 0.5)):
            assert budget - 1e-9 <= seconds <= budget + overrun + 1e-9
        assert history.training_seconds == ends[-1]
        last = [history.column("step")[history.column("phase") == number][-1] for number in range(3)]
        assert last[1] == last[0] + 3


# --- a budget ---

STEP = 1 / 64  # seconds: a binary fraction, so that sums are exact


def test_training_stops_at_the_budget_in_whatever_phase(monkeypatch):
    for budget, steps, numbers in [
        (1.0, [40, 64], [0, 0]),  # inside the first phase
        (2.0, [40, 80, 120, 128], [0, 0, 0, 0]),  # with its end: the second phase does not begin
        (3.0, [40, 80, 120, 128, 160, 192], [0, 0, 0, 0, 1, 1]),
        (5.0, [40, 80, 120, 128, 160, 200, 240, 256, 280, 320], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]),  # a phase of seconds
        (2.5, [40, 80, 120, 128, 160], [0, 0, 0, 0, 1]),  # one point, not two, where it ends on an evaluation
        (STEP / 2, [1], [0]),
        (STEP, [1], [0]),
    ]:
        phases = [Phase(np.arange(4), 128), Phase(np.arange(4), 128), Phase(np.arange(4), seconds=10.0)]
        history = timed(monkeypatch, lambda step: STEP, phases, every=40, budget=budget)
        assert history.column("step").tolist() == steps
        assert history.column("phase").tolist() == numbers
        assert history.training_seconds == steps[-1] * STEP == history.points[-1]["seconds"]
        assert history.samples == 2 * steps[-1]
        assert history.evaluation_seconds == 100.0 * len(steps)  # one at the stop too; none of it counts
        assert history.compile_seconds == 7.0


def test_a_budget_is_kept_to_the_step(monkeypatch):
    for pace, overrun in PACES:
        history = timed(monkeypatch, pace, [Phase(np.arange(4), 10_000)], every=60, budget=2.0)
        assert 2.0 - 1e-9 <= history.training_seconds <= 2.0 + overrun + 1e-9
        assert history.points[-1]["seconds"] == history.training_seconds
        assert history.samples == 2 * history.points[-1]["step"] < 20_000


def test_a_budget_that_is_not_used_up_changes_no_point(monkeypatch):
    for budget in [4.0, 1e9]:
        phases = [Phase(np.arange(4), 128), Phase(np.arange(4), 128)]
        free, bound = (timed(monkeypatch, lambda step: STEP, phases, every=60, budget=b) for b in (None, budget))
        assert bound == free
        assert free.column("step").tolist() == [60, 120, 128, 180, 240, 256]


def test_a_phase_in_seconds_and_a_budget_on_a_real_clock():
    def evaluate():
        time.sleep(0.3)
        return {}

    model = tally(4, 2)
    phases = [Phase(np.arange(4), seconds=0), Phase(np.arange(4), seconds=0.2), Phase(np.arange(4), 10**9)]
    start = time.perf_counter()
    history = train(model, np.ones(4), phases, batch=2, seed=0, evaluate=evaluate, budget=0.4)
    elapsed = time.perf_counter() - start
    assert history.column("phase").tolist() == [1, 2]  # no seconds are no step
    assert 0.2 <= history.points[0]["seconds"] < 0.4 <= history.training_seconds < 2  # on a busy machine
    assert history.evaluation_seconds >= 0.6
    assert elapsed >= history.training_seconds + history.evaluation_seconds + history.compile_seconds
    assert weights(model).sum() == history.samples == 2 * history.points[-1]["step"] > 0


# --- images that the host feeds ---


def test_loading_is_counted_apart_and_shortens_nothing(monkeypatch):
    for budget in [None, 2.5]:
        phases = [Phase(np.arange(4), 70), Phase(np.arange(4), seconds=2.0)]
        options = {"every": 40, "budget": budget}
        device, host = (timed(monkeypatch, lambda step: STEP, phases, loading, **options) for loading in (0, 4))
        assert device.loading_seconds == 0
        assert host.loading_seconds == 4 * host.samples  # nothing but what is trained on
        assert dataclasses.replace(host, loading_seconds=0.0) == device


def test_what_is_fetched_is_what_is_trained_on():
    """On the way each image is exchanged for another one; its label stays."""
    count, batch, labels = 8, 4, np.array([3, 1, 4, 1, 5, 9, 2, 6])
    other, asked = np.roll(np.arange(count, dtype="int32"), 3), []

    def fetch(numbers):
        asked.append(numbers.copy())
        return other[numbers]

    phases = [Phase(np.arange(5), 70), Phase(np.arange(5, 8), 15)]
    plain, model = tally(count, batch), tally(count, batch)
    train(plain, labels, phases, batch=batch, seed=0, every=35)
    train(model, labels, phases, batch=batch, seed=0, every=35, fetch=fetch)
    np.testing.assert_array_equal(weights(model)[other], weights(plain))
    _, *asked = asked  # the first compiles the step, and nothing of it is trained on
    assert [numbers.shape for numbers in asked] == [(35, 4), (35, 4), (15, 4)]
    times = np.bincount(np.concatenate(asked).ravel(), minlength=count)
    np.testing.assert_array_equal(times * labels, weights(plain))


@pytest.mark.parametrize(("feed", "channels"), [("host", 1), ("encoded", 3)])
def test_training_is_the_same_wherever_the_images_come_from(feed, channels):
    """Over one step: a later one carries on how each way rounds."""
    data, labels = pixels(20, 28, 30, channels), np.arange(20) % 3

    def run(store, fetch=None):
        network, model = narrow_classifier(data, store, augment=True)
        history = train(model, labels, [Phase(np.arange(12), 1)], batch=8, seed=3, fetch=fetch)
        return [history.column("loss"), *network.get_weights()]

    expected, found = run(images.ImageStore(data)), run(data.shape[1:], images.fetcher(feed, data))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# --- the weight average ---


def test_the_span_of_the_average():
    decays = [training.averaging_for(steps) for steps in (0, 1, 5, 10, 20, 100, 10_000)]
    assert decays == pytest.approx([0, 0, 0, 0, 0.5, 0.9, 0.999])


def test_averaged_weights_against_plain_numpy():
    decay, steps, labels = 0.6, 7, np.arange(12) % 3
    phases = [Phase(np.arange(8), 4), Phase(np.arange(12), 3)]
    options = {"batch": 5, "seed": 4}

    def run(averaging, every):
        _, model = linear(pixels(12), averaging=averaging)
        seen, before = [], weights(model)

        def evaluate():
            seen.append(weights(model))
            return {}

        history = train(model, labels, phases, evaluate=evaluate, every=every, **options)
        return seen, before, weights(model), history.column("loss")

    single, before, end, losses = run(0.0, 1)
    np.testing.assert_array_equal(end, single[-1])  # without averaging the weights are left as they are
    average, averages = single[0], []
    for own in single:
        average = decay * average + (1 - decay) * own
        averages.append(average)

    seen, same_before, end, same_losses = run(decay, 1)
    np.testing.assert_array_equal(same_before, before)
    np.testing.assert_allclose(same_losses, losses, rtol=1e-5)  # training goes on with its own weights
    assert len(seen) == steps
    np.testing.assert_allclose(seen, averages, rtol=1e-4, atol=1e-6)
    assert np.abs(seen[-1] - single[-1]).max() > 1e-3  # the average is something else
    np.testing.assert_array_equal(end, seen[-1])
    np.testing.assert_allclose(run(decay, None)[2], end, rtol=1e-5, atol=1e-7)  # however often it was evaluated


def test_before_the_first_step_there_is_no_average():
    _, model = linear(pixels(6), averaging=0.5)
    before = weights(model)
    train(model, np.zeros(6), [Phase(np.arange(6), 0)], batch=2, seed=0)
    np.testing.assert_array_equal(weights(model), before)
    with training.averaged_weights(model):
        np.testing.assert_array_equal(weights(model), before)


def test_own_weights_come_back_also_after_an_error():
    model = tally(4, 2, averaging=0.5)
    with pytest.raises(KeyError):
        train(model, np.ones(4), [Phase(np.arange(4), 5)], batch=2, seed=0, evaluate=lambda: {}["nothing"])
    assert weights(model).sum() == 10
    with training.averaged_weights(model):
        assert weights(model).sum() == pytest.approx(2 * (5 - 1 + 0.5**4))  # of 1 to 5, halved each time
    assert weights(model).sum() == 10


# --- a loss that is no number ---


def test_a_loss_that_is_no_number_names_the_step():
    for bad, every, step in [(np.nan, 1, 4), (-np.inf, None, 9)]:

        def loss(_, out, bad=bad):
            return ops.where(out > 2.5, bad, -out)  # at the fourth step each image has been seen three times

        model = tally(4, 4, loss)
        with pytest.raises(FloatingPointError, match=rf"The loss became {bad} by step {step}: .*lower learning rate"):
            train(model, np.ones(4), [Phase(np.arange(4), 9)], batch=4, seed=0, every=every)


# --- evaluation ---


def test_score_against_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = 4 * rng.normal(size=(200, 7)).astype("float32"), rng.integers(0, 7, 200)
    kept = logits.copy()
    found = training.score(logits, labels)
    shares = np.exp(logits.astype("float64"))
    shares /= shares.sum(axis=1, keepdims=True)
    assert found == {
        "test_loss": pytest.approx(log_loss(labels, shares, labels=np.arange(7)), rel=1e-9),
        "test_accuracy": accuracy_score(labels, logits.argmax(axis=1)),
    }
    np.testing.assert_array_equal(logits, kept)


def test_score_of_extreme_logits():
    logits = np.array([[1000, 0, 0], [0, -2000, 0], [0, 0, 0]], dtype="float32")
    assert training.score(logits, np.array([0, 1, 0])) == {
        "test_loss": pytest.approx((0 + 2000 + np.log(2) + np.log(3)) / 3),
        "test_accuracy": pytest.approx(2 / 3),
    }


def centre(images_, size=24):
    top, left = (images_.shape[1] - size) // 2, (images_.shape[2] - size) // 2
    return images_[:, top : top + size, left : left + size].astype("float32") / 255


def test_classify_is_the_network_on_standardised_centre_crops():
    for divide_by in ["deviation", "variance"]:
        test = pixels(11, 33, 28, 3)
        network, _ = linear(test)
        logits = training.classify(network, test, divide_by=divide_by)
        expected = numpy(network(standardised(centre(test), divide_by)))
        assert logits().shape == (11, 3)
        np.testing.assert_allclose(logits(), expected, rtol=1e-3, atol=1e-3)
        some = np.array([7, 0, 7])
        np.testing.assert_allclose(logits(some), expected[some], rtol=1e-3, atol=1e-3)
        network.set_weights([2 * value for value in network.get_weights()])  # the same function, later in training
        np.testing.assert_allclose(logits(), 2 * expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 1001])  # one image, and one more than are predicted at a time
def test_embed_is_the_encoder_on_centre_crops(count):
    encoder, _ = models.autoencoder(shape=(24, 24, 1), widths=(2, 2, 3))
    data = pixels(count, 26, 29)
    found = training.embed(encoder, data)
    assert found.shape == (count, 27)
    assert found.dtype == "float32"
    some = np.unique([0, count // 2, count - 1])
    np.testing.assert_allclose(found[some], numpy(encoder(centre(data[some]))), rtol=1e-4, atol=1e-5)


def test_images_smaller_than_the_crop_are_refused():
    small, network = pixels(4, 32, 23), linear(pixels(4))[0]
    for build in (
        lambda: training.classifier_trainer(network, images.ImageStore(small), rate=0.1, seed=0),
        lambda: training.classifier_trainer(network, (32, 23, 1), rate=0.1, seed=0),  # fed by the host
        lambda: training.autoencoder_trainer(network, network, images.ImageStore(small), rate=0.1, seed=0),
        lambda: training.classify(network, small),
        lambda: training.embed(network, small),
    ):
        with pytest.raises(InputError, match="24 x 24 pixels, and the images have only 32 x 23"):
            build()


# --- what the networks see ---


def standardised(crops, divide_by):
    crops = crops - crops.mean(axis=(1, 2, 3), keepdims=True)
    return crops / (np.std if divide_by == "deviation" else np.var)(crops, axis=(1, 2, 3), keepdims=True)


def seen(data, **options):
    """The pixels that reach the network: the network only flattens them."""
    network = keras.Sequential([keras.Input((24, 24, data.shape[-1])), keras.layers.Flatten()])
    model = training.classifier_trainer(network, images.ImageStore(data), rate=0.1, seed=0, **options)
    return numpy(model(np.arange(len(data), dtype="int32"), training=True)).reshape(-1, 24, 24, data.shape[-1])


def test_without_augmentation_the_network_sees_standardised_centre_crops():
    for divide_by in ["deviation", "variance"]:
        data = pixels(3, 28, 31, 3)
        expected = standardised(centre(data), divide_by)
        np.testing.assert_allclose(seen(data, augment=False, divide_by=divide_by), expected, rtol=1e-3, atol=1e-3)


def test_augmentation_crops_and_flips_before_it_standardises():
    data = pixels(12, 27, 26, 1)  # of a single channel: the light changes nothing
    places = []
    for image, found in zip(data, seen(data), strict=True):
        windows = {(top, left): image[top : top + 24, left : left + 24] for top in range(4) for left in range(3)}
        windows = {(*place, flip): window[:, ::flip] for place, window in windows.items() for flip in (1, -1)}
        expected = standardised(np.stack(list(windows.values())) / 255, "deviation")
        close = np.abs(expected - found).max(axis=(1, 2, 3)) < 1e-2
        assert close.sum() == 1
        places.append(list(windows)[close.argmax()])
    assert len(set(places)) > 6


def test_augmentation_lights():
    half = pixels(4, 24, 12, 3) // np.array([1, 2, 4], dtype="uint8")
    data = np.concatenate([half, half[:, :, ::-1]], axis=2)  # all its crops and mirrors are the image
    difference = np.abs(seen(data) - seen(data, augment=False)).max(axis=(1, 2, 3))
    assert len(set(difference)) == 4
    assert np.median(difference) > 0.1


def test_the_autoencoder_is_asked_for_the_very_crop_that_it_is_given():
    data = pixels(8, 32, 32, 3)
    encoder = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Flatten()])
    decoder = keras.Sequential([keras.Input((24 * 24 * 3,)), keras.layers.Reshape((24, 24, 3))])
    model = training.autoencoder_trainer(encoder, decoder, images.ImageStore(data), rate=0.1, seed=0)
    assert not numpy(model(np.arange(8, dtype="int32"), training=True)).any()


# --- the compiled loop against plain Keras ---


def narrow_classifier(data, store=None, **options):
    network = models.classifier(3, shape=(24, 24, data.shape[-1]), width=4, dense=(8, 6), seed=1)
    options = {"rate": 0.05, "augment": False, "seed": 0, "averaging": 0.7} | options
    return network, training.classifier_trainer(network, store or images.ImageStore(data), **options)


def smooth(data):
    return linear(data, averaging=0.7)


def narrow_autoencoder(data, **options):
    encoder, decoder = models.autoencoder(shape=(24, 24, data.shape[-1]), widths=(4, 3, 2), seed=1)
    options = {"rate": 0.1, "seed": 0, "averaging": 0.7} | options
    return encoder, training.autoencoder_trainer(encoder, decoder, images.ImageStore(data), **options)


@pytest.mark.parametrize(("build", "steps"), [(narrow_classifier, 1), (narrow_autoencoder, 1), (smooth, 6)])
def test_n_steps_are_n_calls_of_keras_own(build, steps):
    """Over one step where a rounding can flip a ReLU or a pooling choice, which every later step would carry on."""
    half = pixels(20, 24, 12)
    data = np.concatenate([half, half[:, :, ::-1]], axis=2)  # its crop and its mirror are the image: no chance left
    labels, batch = np.arange(20) % 3, 8
    _, model = build(data)
    history = train(model, labels, [Phase(np.arange(20), steps)], batch=batch, seed=5)

    _, plain = build(data)
    losses = []
    for numbers in itertools.islice(batches_of(np.arange(20), batch, 5), steps):
        plain.reset_metrics()
        losses.append(float(plain.train_on_batch(numbers, labels[numbers])))
    plain.optimizer.finalize_variable_values(plain.trainable_variables)
    assert len(set(losses)) == steps
    assert history.points[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    for group in ("trainable_variables", "non_trainable_variables"):  # moving means and variances among the latter
        for one, other in zip(getattr(model, group), getattr(plain, group), strict=True):
            if "seed" not in one.path:
                np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-3, atol=1e-5, err_msg=one.path)
    for one, other in zip(model.optimizer.variables, plain.optimizer.variables, strict=True):
        np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-3, atol=1e-5, err_msg=one.path)
    store = next(layer for layer in model.layers if isinstance(layer, images.ImageStore))
    np.testing.assert_array_equal(numpy(store.images), data)


def test_the_autoencoders_loss_is_the_mean_square_of_the_reproduction_minus_the_crop():
    data = np.full((6, 30, 30, 1), 51, dtype="uint8")  # 0.2, whatever the crop
    encoder, model = narrow_autoencoder(data, rate=1e-9)
    decoder = next(layer for layer in model.layers if layer.name == "decoder")
    crops = np.full((6, 24, 24, 1), 0.2, dtype="float32")
    expected = np.square(numpy(decoder(encoder(crops, training=True))) - crops).mean()
    history = train(model, np.zeros(6), [Phase(np.arange(6), 1)], batch=6, seed=0)
    assert history.points[0]["loss"] == pytest.approx(expected, rel=1e-4)


# --- learning ---

COLOURS = np.eye(3)[np.arange(60) % 3]


def coloured(seed=0):
    """Noise, of which red, green or blue is the strongest: class 0, 1 or 2."""
    noise = np.random.default_rng(seed).integers(0, 100, (60, 28, 30, 3))
    return (noise + 120 * COLOURS[:, None, None]).astype("uint8"), np.arange(60) % 3


def test_the_classifier_learns_what_can_be_learned():
    data, labels = coloured()
    test, test_labels = coloured(seed=1)
    network, model = narrow_classifier(data, augment=True)
    logits = training.classify(network, test)
    history = train(
        model,
        labels,
        [Phase(np.arange(60), 60)],
        batch=20,
        seed=0,
        evaluate=lambda: training.score(logits(), test_labels),
        every=20,
    )
    loss = history.column("loss")
    assert loss[-1] < 0.3 * loss[0]
    assert history.column("test_accuracy")[-1] > 0.95
    assert history.points[-1] | training.score(logits(), test_labels) == history.points[-1]  # of the weights left


ON_GPU = any("cpu" not in name.lower() for name in keras.distribution.list_devices())


def test_a_seed_fixes_the_weights_to_the_last_bit_and_those_of_order_and_of_augmentation_are_two():
    data, labels = coloured()

    def end(seed, augmentation, build=linear):
        _, model = build(data, augment=True, seed=augmentation)
        train(model, labels, [Phase(np.arange(60), 3)], batch=16, seed=seed)
        return weights(model)

    same, order, light = end(1, 1), end(2, 1), end(1, 2)
    assert np.abs(order - same).max() > 1e-3
    assert np.abs(light - same).max() > 1e-3
    if not ON_GPU:  # which adds up in any order
        np.testing.assert_array_equal(end(1, 1), same)
        np.testing.assert_array_equal(end(1, 1, narrow_classifier), end(1, 1, narrow_classifier))
