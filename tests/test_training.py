"""The training loop: what is trained on, how long, in which order, and what is measured on the way.

Most tests train a `Tally`: a model with one weight per image and a step that adds the image's label to it. Its weights
then say exactly how often each image was trained on, and with which label.
"""

import dataclasses
import itertools
from types import SimpleNamespace

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


def tally(count, batch, loss=lambda labels, out: -labels * out, averaging=0.0):
    numbers = keras.Input((), dtype="int32")
    model = keras.Model(numbers, Tally(count)(numbers))
    return training._compile(model, loss, training._optimizer("sgd", averaging)(float(batch)))


def tallied(phases, labels, batch, **options):
    """The weights after training, and the history."""
    model = tally(len(labels), batch)
    history = train(model, labels, phases, batch=batch, seed=0, **options)
    return weights(model), history


def batches_of(indices, batch, seed, count):
    """The first batches of a run."""
    batches = training._Batches(indices, batch, training._State(None, np.random.default_rng(seed)))
    return [next(batches) for _ in range(count)]


def pixels(count, height=24, width=24, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels)).astype("uint8")


def linear(data, **options):
    """A classifier of a single dense layer, and the model that trains it."""
    start = keras.initializers.GlorotUniform(seed=1)
    flat = [keras.Input((24, 24, data.shape[-1])), keras.layers.Flatten()]
    network = keras.Sequential([*flat, keras.layers.Dense(3, kernel_initializer=start)])
    options = {"rate": 0.02, "seed": 0, "augment": False} | options
    return network, training.classifier_trainer(network, images.ImageStore(data), **options)


def narrow_classifier(data, store=None, **options):
    network = models.classifier(3, shape=(24, 24, data.shape[-1]), width=4, dense=(8, 6), seed=1)
    options = {"rate": 0.05, "seed": 0, "augment": False, "averaging": 0.7} | options
    return network, training.classifier_trainer(network, store or images.ImageStore(data), **options)


def narrow_autoencoder(data, rate=0.1):
    encoder, decoder = models.autoencoder(shape=(24, 24, data.shape[-1]), widths=(4, 3, 2), seed=1)
    store = images.ImageStore(data)
    return encoder, training.autoencoder_trainer(encoder, decoder, store, rate=rate, seed=0, averaging=0.7)


# --- what is trained on, and when it is evaluated ---


@pytest.mark.parametrize("batch", [4, 10, 25])
def test_every_image_comes_once_before_any_comes_again(batch):
    indices = np.array([3, 1, 4, 15, 9, 2, 6, 5, 35, 8])
    found = batches_of(indices, batch, 0, 70)
    assert {len(one) for one in found} == {batch}
    passes = np.concatenate(found).reshape(-1, len(indices))  # also across the border of two batches
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.broadcast_to(np.sort(indices), passes.shape))
    assert len({tuple(one) for one in passes[:7]}) == 7  # each pass in an order of its own


def test_an_image_given_twice_comes_twice_and_the_order_is_fixed_by_the_seed():
    first, again, other = (np.concatenate(batches_of([7, 7, 2], 3, seed, 10)).tolist() for seed in (1, 1, 2))
    assert np.bincount(first).tolist() == [0, 0, 10, 0, 0, 0, 0, 20]
    assert first == again != other


def test_each_phase_trains_on_its_own_images_and_each_image_with_its_own_label():
    labels, seen = np.arange(1, 21), []
    model = tally(20, 4)
    phases = [Phase(np.arange(5), 70), Phase(np.arange(5, 20), 50)]
    evaluate = lambda: seen.append(weights(model) / labels) or {"seen": len(seen)}  # noqa: E731
    history = train(model, labels, phases, batch=4, seed=0, evaluate=evaluate, every=35)
    assert history.samples == 4 * int(model.optimizer.iterations) == 480
    assert history.column("step").tolist() == [35, 70, 105, 120]
    assert history.column("phase").tolist() == [0, 0, 1, 1]
    assert history.column("seen").tolist() == [1, 2, 3, 4]
    assert np.diff(history.column("seconds"), prepend=0).min() > 0
    assert history.column("seconds")[-1] == history.training_seconds
    assert history.compile_seconds > 0
    np.testing.assert_array_equal(history.column("never measured"), [np.nan] * 4)
    for so_far, steps in zip(seen, [35, 70, 105, 120], strict=True):
        assert so_far[:5].sum() == min(steps, 70) * 4
        assert so_far[5:].sum() == max(0, steps - 70) * 4
        assert max(np.ptp(so_far[:5]), np.ptp(so_far[5:])) <= 1  # no image is a pass ahead


@pytest.mark.parametrize(("lengths", "options", "steps", "numbers"), [
    ([50], {"every": 50}, [50], [0]),  # one point, not two, where a phase ends on an evaluation
    ([101], {}, [101], [0]),  # more than one compiled call
    ([60, 60], {"every": 40}, [40, 60, 80, 120], [0, 0, 1, 1]),  # `every` counts from the start of all
    ([9, 9], {"every": 8, "marks": (2, 8, 11, 99)}, [2, 8, 9, 11, 16, 18], [0, 0, 0, 1, 1, 1]),
    ([0, 4, 0, 2], {}, [4, 6], [1, 3]),
    ([], {}, [], []),
])
def test_where_the_points_are(lengths, options, steps, numbers):
    found, history = tallied([Phase(np.arange(4), length) for length in lengths], np.ones(4), 2, **options)
    assert history.column("step").tolist() == steps
    assert history.column("phase").tolist() == numbers
    assert found.sum() == history.samples == 2 * sum(lengths)
    assert history.evaluation_seconds == 0


def test_the_loss_of_a_point_is_the_mean_of_the_steps_since_the_point_before():
    phases, labels = [Phase(np.arange(6), 125)], np.arange(6) + 1.0
    single = tallied(phases, labels, 4, every=1)[1].column("loss")
    assert single[0] == 0 < len(set(single)) - 100
    for every, borders in ((None, [0, 125]), (60, [0, 60, 120, 125])):
        means = [single[start:end].mean() for start, end in itertools.pairwise(borders)]
        np.testing.assert_allclose(tallied(phases, labels, 4, every=every)[1].column("loss"), means, rtol=1e-5)


def test_progress_goes_to_the_error_stream_and_only_if_asked_for(capsys):
    tallied([Phase(np.arange(4), 2)], np.ones(4), 2)
    assert capsys.readouterr() == ("", "")
    tallied([Phase(np.arange(4), 2)], np.ones(4), 2, progress="a label")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a label" in shown.err


@pytest.mark.parametrize(("bad", "every", "step"), [(np.nan, 1, 4), (-np.inf, None, 9)])
def test_a_loss_that_is_no_number_names_the_step(bad, every, step):
    model = tally(4, 4, lambda _, out: ops.where(out > 2.5, bad, -out))  # at the fourth step each was seen three times
    with pytest.raises(FloatingPointError, match=rf"The loss became {bad} by step {step}: .*lower learning rate"):
        train(model, np.ones(4), [Phase(np.arange(4), 9)], batch=4, seed=0, every=every)


# --- a budget in seconds, on a clock that only moves when it is told to ---

STEP = 1 / 64  # seconds: a binary fraction, so that sums are exact


@pytest.fixture
def timed(monkeypatch):
    """Return the history of training where step number i takes `pace(i)` seconds, an evaluation 100 and compilation 7;
    with `loading` seconds for each image that is fetched.
    """
    def history(lengths, pace=lambda step: STEP, loading=0, begin=None, **options):
        clock, steps = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now), itertools.count()

        def spend(seconds, value):
            clock.now += seconds
            return value

        def run(fed, labels, n):
            return spend(sum(pace(next(steps)) for _ in range(n)) if n else 7.0, 0.5)

        monkeypatch.setattr(training, "time", clock)
        monkeypatch.setattr(training, "_compiled_steps", lambda model: run)
        if loading:
            options["fetch"] = lambda numbers: spend(loading * numbers.size, numbers.copy())
        phases = [Phase(np.arange(4), length, begin if number else None) for number, length in enumerate(lengths)]
        return train(tally(4, 2), np.ones(4), phases, batch=2, seed=0, evaluate=lambda: spend(100.0, {}), **options)

    return history


@pytest.mark.parametrize(("budget", "steps", "numbers"), [
    (1.0, [40, 64], [0, 0]),  # inside the first phase
    (2.0, [40, 80, 120, 128], [0, 0, 0, 0]),  # with its end
    (2.5, [40, 80, 120, 128, 160], [0, 0, 0, 0, 1]),  # one point, not two, where it ends on an evaluation
    (3.0, [40, 80, 120, 128, 160, 192], [0, 0, 0, 0, 1, 1]),
    (STEP / 2, [1], [0]),
    (1e9, [40, 80, 120, 128, 160, 200, 240, 256], [0, 0, 0, 0, 1, 1, 1, 1]),  # it changes nothing
])
def test_training_stops_at_the_budget_in_whatever_phase(budget, steps, numbers, timed):
    begun = []
    history = timed([128, 128], every=40, budget=budget, begin=lambda: begun.append(1))
    assert history.column("step").tolist() == steps
    assert history.column("phase").tolist() == numbers
    assert history.training_seconds == steps[-1] * STEP == history.points[-1]["seconds"]
    assert history.samples == 2 * steps[-1]
    assert history.evaluation_seconds == 100.0 * len(steps)  # one at the stop too; none of it counts
    assert history.compile_seconds == 7.0
    assert len(begun) == max(numbers)  # a phase without a step does not begin


@pytest.mark.parametrize(("pace", "overrun"), [
    (lambda step: 0.01, 0.01),
    (lambda step: 0.5 if step == 0 else 0.01, 0.01),  # a slow first step
    (lambda step: 10.0, 10.0),  # not even one step fits
    (lambda step: 0.001 if step < 100 else 0.01, 0.5),  # ten times slower: a compiled call of 50 steps too many
])
def test_a_budget_is_kept_to_the_step(pace, overrun, timed):
    history = timed([10_000], pace, every=60, budget=2.0)
    assert 2.0 - 1e-9 <= history.training_seconds <= 2.0 + overrun + 1e-9
    assert history.points[-1]["seconds"] == history.training_seconds
    assert history.samples == 2 * history.points[-1]["step"] < 20_000


def test_weights_stay_averaged_where_the_budget_ends_before_the_last_phase(monkeypatch):
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=itertools.count().__next__))  # a second a call
    _, model = linear(pixels(12), averaging="tutorial")
    phases, seen = [Phase(np.arange(12), 99), Phase(np.arange(12), 5)], []
    evaluate = lambda: seen.append(weights(model)) or {}  # noqa: E731
    history = train(model, np.arange(12) % 3, phases, batch=4, seed=0, every=1, budget=5.0, evaluate=evaluate)
    assert history.column("step").tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(weights(model), seen[-1])
    assert np.abs(seen[-1] - seen[-3]).max() > 0  # that of the weights as they are


# --- images that the host feeds ---


def test_loading_is_counted_apart_and_shortens_nothing(timed):
    for budget in (None, 1.5):
        device, host = (timed([70, 60], loading=loading, every=40, budget=budget) for loading in (0, 4))
        assert device.loading_seconds == 0
        assert host.loading_seconds == 4 * host.samples  # nothing but what is trained on
        assert dataclasses.replace(host, loading_seconds=0.0) == device


def test_what_is_fetched_is_what_is_trained_on():
    """On the way each image is exchanged for another one; its label stays."""
    labels, asked = np.array([3, 1, 4, 1, 5, 9, 2, 6]), []
    other = np.roll(np.arange(8, dtype="int32"), 3)
    phases = [Phase(np.arange(5), 70), Phase(np.arange(5, 8), 15)]
    plain, _ = tallied(phases, labels, 4, every=35)
    found, _ = tallied(phases, labels, 4, every=35, fetch=lambda n: asked.append(n.shape) or other[n])
    np.testing.assert_array_equal(found[other], plain)
    assert asked[1:] == [(35, 4), (35, 4), (15, 4)]  # the first compiles the step, and nothing of it is trained on


# --- the average of the weights ---


def test_the_span_of_the_average():
    decays = [training.averaging_for(steps) for steps in (0, 1, 5, 10, 20, 100, 10_000)]
    assert decays == pytest.approx([0, 0, 0, 0, 0.5, 0.9, 0.999])


def test_averaged_weights_against_plain_numpy():
    decay, labels = 0.6, np.arange(12) % 3
    phases = [Phase(np.arange(8), 4), Phase(np.arange(12), 3)]

    def run(averaging, every):
        _, model = linear(pixels(12), averaging=averaging)
        seen = []
        evaluate = lambda: seen.append(weights(model)) or {}  # noqa: E731
        losses = train(model, labels, phases, evaluate=evaluate, every=every, batch=5, seed=4).column("loss")
        return seen, weights(model), losses

    single, end, losses = run(0.0, 1)
    np.testing.assert_array_equal(end, single[-1])  # without averaging the weights are left as they are
    averages = list(itertools.accumulate(single, lambda average, own: decay * average + (1 - decay) * own))
    seen, end, same_losses = run(decay, 1)
    np.testing.assert_allclose(same_losses, losses, rtol=1e-5)  # training goes on with its own weights
    np.testing.assert_allclose(seen, averages, rtol=1e-4, atol=1e-6)
    assert np.abs(seen[-1] - single[-1]).max() > 1e-3  # the average is something else
    np.testing.assert_array_equal(end, seen[-1])
    np.testing.assert_allclose(run(decay, None)[1], end, rtol=1e-5, atol=1e-7)  # however often it was evaluated


def test_own_weights_come_back_also_after_an_error_and_without_a_step_there_is_no_average():
    model = tally(4, 2, averaging=0.5)
    train(model, np.ones(4), [Phase(np.arange(4), 0)], batch=2, seed=0)
    with training.averaged_weights(model):
        assert not weights(model).any()
    with pytest.raises(KeyError):
        train(model, np.ones(4), [Phase(np.arange(4), 5)], batch=2, seed=0, evaluate=lambda: {}["nothing"])
    assert weights(model).sum() == 10
    with training.averaged_weights(model):
        assert weights(model).sum() == pytest.approx(2 * (5 - 1 + 0.5**4))  # of 1 to 5, halved each time
    assert weights(model).sum() == 10


# --- what the networks see, and what is asked of them ---


def centre(found, size=24):
    top, left = (found.shape[1] - size) // 2, (found.shape[2] - size) // 2
    return found[:, top : top + size, left : left + size].astype("float32") / 255


def standardised(crops, divide_by="deviation"):
    crops = crops - crops.mean(axis=(1, 2, 3), keepdims=True)
    return crops / (np.std if divide_by == "deviation" else np.var)(crops, axis=(1, 2, 3), keepdims=True)


def seen(data, **options):
    """The pixels that reach the network: the network only flattens them."""
    network = keras.Sequential([keras.Input((24, 24, data.shape[-1])), keras.layers.Flatten()])
    model = training.classifier_trainer(network, images.ImageStore(data), rate=0.1, seed=0, **options)
    return numpy(model(np.arange(len(data), dtype="int32"), training=True)).reshape(-1, 24, 24, data.shape[-1])


@pytest.mark.parametrize("divide_by", ["deviation", "variance"])
def test_training_without_augmentation_and_testing_see_standardised_centre_crops(divide_by):
    data = pixels(11, 28, 31, 3)
    expected = standardised(centre(data), divide_by)
    np.testing.assert_allclose(seen(data, augment=False, divide_by=divide_by), expected, rtol=1e-3, atol=1e-3)
    network, _ = linear(data)
    logits, expected = training.classify(network, data, divide_by=divide_by), numpy(network(expected))
    np.testing.assert_allclose(logits(), expected, rtol=1e-3, atol=1e-3)
    some = np.array([7, 0, 7])
    np.testing.assert_allclose(logits(some), expected[some], rtol=1e-3, atol=1e-3)
    network.set_weights([2 * value for value in network.get_weights()])  # the same function, later in training
    np.testing.assert_allclose(logits(), 2 * expected, rtol=1e-3, atol=1e-3)
    shares = training.classify(network, data, divide_by=divide_by, softmax=True)()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=1), expected.argmax(axis=1))


def test_augmentation_crops_and_flips_before_it_standardises():
    data, places = pixels(12, 27, 26, 1), []  # of a single channel: the light changes nothing
    for image, found in zip(data, seen(data), strict=True):
        windows = {(top, left): image[top : top + 24, left : left + 24] for top in range(4) for left in range(3)}
        windows = {(*place, flip): window[:, ::flip] for place, window in windows.items() for flip in (1, -1)}
        expected = standardised(np.stack(list(windows.values())) / 255)
        close = np.abs(expected - found).max(axis=(1, 2, 3)) < 1e-2
        assert close.sum() == 1
        places.append(list(windows)[close.argmax()])
    assert len(set(places)) > 6


def mirrored(data):
    """Images of the size of a crop that are their own mirrors: a crop and a flip leave them as they are."""
    return np.concatenate([data, data[:, :, ::-1]], axis=2)


def test_augmentation_lights():
    data = mirrored(pixels(4, 24, 12, 3) // np.array([1, 2, 4], dtype="uint8"))
    difference = np.abs(seen(data) - seen(data, augment=False)).max(axis=(1, 2, 3))
    assert len(set(difference)) == 4
    assert np.median(difference) > 0.1


def test_the_autoencoder_is_asked_for_the_very_crop_that_it_is_given():
    encoder = keras.Sequential([keras.Input((24, 24, 3)), keras.layers.Flatten()])
    decoder = keras.Sequential([keras.Input((24 * 24 * 3,)), keras.layers.Reshape((24, 24, 3))])
    store = images.ImageStore(pixels(8, 32, 32, 3))
    model = training.autoencoder_trainer(encoder, decoder, store, rate=0.1, seed=0)
    assert not numpy(model(np.arange(8, dtype="int32"), training=True)).any()


def test_the_autoencoders_loss_is_the_mean_square_of_the_reproduction_minus_the_crop():
    encoder, model = narrow_autoencoder(np.full((6, 30, 30, 1), 51, dtype="uint8"), rate=1e-9)
    decoder = next(layer for layer in model.layers if layer.name == "decoder")
    crops = np.full((6, 24, 24, 1), 0.2, dtype="float32")  # whatever the crop
    expected = np.square(numpy(decoder(encoder(crops, training=True))) - crops).mean()
    history = train(model, np.zeros(6), [Phase(np.arange(6), 1)], batch=6, seed=0)
    assert history.points[0]["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [1, 1001])  # one image, and one more than are predicted at a time
def test_embed_is_the_encoder_on_centre_crops(count):
    encoder, _ = models.autoencoder(shape=(24, 24, 1), widths=(2, 2, 3))
    data = pixels(count, 26, 29)
    found, some = training.embed(encoder, data), np.unique([0, count // 2, count - 1])
    assert (found.shape, found.dtype) == ((count, 27), "float32")
    np.testing.assert_allclose(found[some], numpy(encoder(centre(data[some]))), rtol=1e-4, atol=1e-5)


def test_score_against_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = 4 * rng.normal(size=(200, 7)).astype("float32"), rng.integers(0, 7, 200)
    shares = np.exp(logits.astype("float64"))
    shares /= shares.sum(axis=1, keepdims=True)
    kept = logits.copy()
    assert training.score(logits, labels) == {
        "test_loss": pytest.approx(log_loss(labels, shares, labels=np.arange(7)), rel=1e-9),
        "test_accuracy": accuracy_score(labels, logits.argmax(axis=1)),
    }
    np.testing.assert_array_equal(logits, kept)
    extreme = np.array([[1000, 0, 0], [0, -2000, 0], [0, 0, 0]], dtype="float32")
    loss = pytest.approx((0 + 2000 + np.log(2) + np.log(3)) / 3)
    assert training.score(extreme, np.array([0, 1, 0])) == {"test_loss": loss, "test_accuracy": pytest.approx(2 / 3)}


def test_images_smaller_than_the_crop_are_refused():
    small, network = pixels(4, 32, 23), linear(pixels(4))[0]
    for build in (
        lambda: training.classifier_trainer(network, images.ImageStore(small), rate=0.1, seed=0),
        lambda: training.classifier_trainer(network, (32, 23, 1), rate=0.1, seed=0),  # fed by the host
        lambda: training.autoencoder_trainer(network, network, images.ImageStore(small), rate=0.1, seed=0),
        lambda: training.classify(network, small),
    ):
        with pytest.raises(InputError, match="24 x 24 pixels, and the images have only 32 x 23"):
            build()


# --- the compiled loop against plain Keras, and learning ---


@pytest.mark.parametrize(("build", "steps"), [
    (narrow_classifier, 1), (narrow_autoencoder, 1), (lambda data: linear(data, averaging=0.7), 6)])
def test_n_steps_are_n_calls_of_keras_own(build, steps):
    """Over one step where a rounding can flip a ReLU or a pooling choice, which every later step would carry on."""
    data, labels, batch = mirrored(pixels(20, 24, 12)), np.arange(20) % 3, 8
    _, model = build(data)
    history = train(model, labels, [Phase(np.arange(20), steps)], batch=batch, seed=5)
    _, plain = build(data)
    losses = []
    for numbers in batches_of(np.arange(20), batch, 5, steps):
        plain.reset_metrics()
        losses.append(float(plain.train_on_batch(numbers, labels[numbers])))
    plain.optimizer.finalize_variable_values(plain.trainable_variables)
    assert history.points[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    for one, other in zip(  # moving means and variances, and the optimizer's, among them
        [*model.variables, *model.optimizer.variables], [*plain.variables, *plain.optimizer.variables], strict=True
    ):
        if "seed" not in one.path:
            np.testing.assert_allclose(numpy(one), numpy(other), rtol=1e-3, atol=1e-5, err_msg=one.path)
    store = next(layer for layer in model.layers if isinstance(layer, images.ImageStore))
    np.testing.assert_array_equal(numpy(store.images), data)


def coloured(seed=0):
    """Noise, of which red, green or blue is the strongest: class 0, 1 or 2."""
    labels = np.arange(60) % 3
    noise = np.random.default_rng(seed).integers(0, 100, (60, 28, 30, 3))
    return (noise + 120 * np.eye(3)[labels][:, None, None]).astype("uint8"), labels


def test_the_classifier_learns_what_can_be_learned():
    (data, labels), (test, test_labels) = coloured(), coloured(seed=1)
    network, model = narrow_classifier(data, augment=True)
    logits = training.classify(network, test)
    evaluate = lambda: training.score(logits(), test_labels)  # noqa: E731
    history = train(model, labels, [Phase(np.arange(60), 60)], batch=20, seed=0, evaluate=evaluate, every=20)
    loss = history.column("loss")
    assert loss[-1] < 0.3 * loss[0]
    assert history.column("test_accuracy")[-1] > 0.95
    assert history.points[-1] | evaluate() == history.points[-1]  # of the weights left


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
