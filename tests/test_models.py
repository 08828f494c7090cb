"""The paper's two networks, layer by layer as it draws them, a second classifier, and where their weights start."""

import itertools

import numpy as np
import pytest

from embsel import models
from embsel.backend import keras

CONV, DECONV, POOL, NORM = "Conv2D", "Conv2DTranspose", "MaxPooling2D", "BatchNormalization"
BATCH = np.random.default_rng(0).normal(size=(8, 24, 24, 3)).astype("float32")


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def size(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def convolution(channels, filters, side=5):
    return side * side * channels * filters + filters  # kernels and biases


def dense(inputs, outputs):
    return inputs * outputs + outputs


def of_kind(model, *kinds):
    return [layer for layer in model.layers if type(layer).__name__ in kinds]


def drawn(model):
    """What a figure would show of each layer: its kind, and its width and activation if it has them."""
    found = []
    for layer in model.layers:
        config = layer.get_config()
        shown = [type(layer).__name__, config.get("filters", config.get("units")), config.get("activation")]
        found.append(tuple(one for one in shown if one is not None))
    return found


def papers():
    return [models.classifier(10, width=4, dense=(8, 6)), *models.autoencoder(widths=(4, 4, 4))]


# --- the paper's networks ---


def test_the_layers_of_figure_1():
    assert drawn(models.classifier(10)) == [
        (CONV, 64, "relu"), (POOL,), (NORM,), (CONV, 64, "relu"), (NORM,), (POOL,), ("Flatten",),
        ("Dense", 384, "relu"), ("Dense", 192, "relu"), ("Dense", 10, "linear")]  # the softmax is in the loss


def test_the_layers_of_figure_2():
    encoder, decoder = models.autoencoder()
    assert drawn(encoder) == [
        (CONV, 64, "relu"), (POOL,), (NORM,), (CONV, 32, "relu"), (NORM,), (POOL,),
        (CONV, 24, "relu"), (NORM,), (POOL,), ("Flatten",)]
    assert drawn(decoder) == [("Reshape",), (DECONV, 24, "relu"), (DECONV, 24, "relu"), (DECONV, 3, "relu")]


def test_kernels_strides_and_padding():
    expected = {CONV: ((5, 5), (1, 1), "same"), DECONV: ((5, 5), (2, 2), "same"), POOL: ((3, 3), (2, 2), "same")}
    for layer in itertools.chain(*(of_kind(model, *expected) for model in papers())):
        config = layer.get_config()
        found = config.get("kernel_size", config.get("pool_size")), config["strides"], config["padding"]
        assert found == expected[type(layer).__name__]


def test_the_classifiers_parameters():
    layers = [convolution(3, 64), 2 * 64, convolution(64, 64), 2 * 64,  # a norm's scale and offset
              dense(6 * 6 * 64, 384), dense(384, 192), dense(192, 10)]
    assert layers == [4864, 128, 102464, 128, 885120, 73920, 1930]
    model = models.classifier(10)
    assert size(model.trainable_variables) == sum(layers) == 1_068_554
    assert model.count_params() == sum(layers) + 4 * 64  # a norm's moving mean and variance


def test_the_autoencoders_parameters_and_its_216_numbers():
    encoder, decoder = models.autoencoder()
    down = convolution(3, 64) + convolution(64, 32) + convolution(32, 24) + 2 * (64 + 32 + 24)
    up = convolution(24, 24) + convolution(24, 24) + convolution(24, 3)
    assert size(encoder.trainable_variables + decoder.trainable_variables) == down + up == 106_211
    assert encoder.output_shape == decoder.input_shape == (None, 3 * 3 * 24) == (None, 216)
    assert encoder.input_shape == decoder.output_shape == (None, 24, 24, 3)


@pytest.mark.parametrize(("shape", "width"), [((24, 24, 1), 8), ((16, 25, 2), 3)])
def test_the_classifiers_sizes_are_arguments(shape, width):
    model = models.classifier(7, shape=shape, width=width, dense=(6, 5))
    assert (model.input_shape, model.output_shape) == ((None, *shape), (None, 7))
    assert [layer[1] for layer in drawn(model) if layer[1:]] == [width, width, 6, 5, 7]
    pooled = -(-shape[0] // 4) * -(-shape[1] // 4)  # two pools halve, rounding up
    parts = convolution(shape[2], width), convolution(width, width), dense(pooled * width, 6), dense(6, 5), dense(5, 7)
    assert model.count_params() == sum(parts) + 8 * width
    assert numpy(model(np.zeros((2, *shape), dtype="float32"))).dtype == "float32"


def test_the_autoencoders_sizes_are_arguments():
    encoder, decoder = models.autoencoder(shape=(32, 40, 1), widths=(5, 4, 6))
    assert [layer[1] for layer in drawn(encoder) + drawn(decoder) if layer[1:]] == [5, 4, 6, 6, 6, 1]
    codes = encoder(np.ones((2, 32, 40, 1), dtype="float32"))
    assert codes.shape == (2, 4 * 5 * 6)
    assert decoder(codes).shape == (2, 32, 40, 1)


@pytest.mark.parametrize(("final", "low", "high"), [("relu", 0, np.inf), (None, -np.inf, np.inf), ("sigmoid", 0, 1)])
def test_the_decoders_last_activation(final, low, high):
    _, decoder = models.autoencoder(widths=(4, 4, 4), final=final)
    assert drawn(decoder)[-1] == (DECONV, 3, final or "linear")
    out = numpy(decoder(np.random.default_rng(0).normal(size=(4, 36)).astype("float32")))
    assert low <= out.min() < out.max() <= high
    assert (out < 0).any() == (final is None)


# --- the second classifier ---


def test_the_residual_networks_stages_and_parameters():
    model = models.resnet(10, width=64)
    found = [(one.output.shape[1], one.filters, one.kernel_size[0], one.strides[0]) for one in of_kind(model, CONV)]
    assert found[:5] == [(24, 16, 3, 1)] * 5
    for stage, (side, filters) in ((found[5:10], (12, 32)), (found[10:], (6, 64))):
        # The way around the first block has a 1x1 kernel, as the block itself halves the picture.
        assert sorted(stage) == sorted([(side, filters, 1, 2), (side, filters, 3, 2), *[(side, filters, 3, 1)] * 3])
    assert model.layers[-1].input.shape == (None, 64)
    assert drawn(model)[-1] == ("Dense", 10, "linear")
    inputs = [3, *[16] * 4, 16, 16, 32, 32, 32, 32, 32, 64, 64, 64]  # the norms have the biases
    widths = [*[16] * 5, *[32] * 5, *[64] * 5]
    kernels = sum(9 * a * b for a, b in zip(inputs, widths, strict=True)) - 8 * (16 * 32 + 32 * 64)  # 1x1
    assert size(model.trainable_variables) == kernels + 2 * sum(widths) + dense(64, 10)


def test_a_block_without_weights_lets_its_input_through():
    """So each block is added to the way around it: with all kernels of the blocks at zero, the picture still shows."""
    model = models.resnet(3, shape=(8, 8, 1), width=8)
    for side, shows in ((3, True), (1, False)):
        for layer in of_kind(model, CONV)[1:]:
            if layer.kernel_size == (side, side):
                layer.kernel.assign(0 * layer.kernel)
        assert (np.ptp(numpy(model(BATCH[:4, :8, :8, :1])), axis=0) > 0).all() == shows


# --- all ---


@pytest.mark.parametrize(("name", "penalised"), [("paper", slice(0, 2)), ("resnet", slice(0, 1))])
def test_every_classifier_takes_the_same_arguments(name, penalised):
    build = models.NETWORKS[name]
    model = build(7, shape=(16, 25, 2), width=3, decay=0.1, norm_momentum=0.8, seed=1)
    assert (model.input_shape, model.output_shape) == ((None, 16, 25, 2), (None, 7))
    assert {layer.momentum for layer in of_kind(model, NORM)} == {0.8}
    # Weight decay is half the squared weights, of the paper's two hidden layers, or of the logits.
    squares = [np.square(numpy(layer.kernel), dtype="float64").sum() for layer in of_kind(model, "Dense")[penalised]]
    np.testing.assert_allclose([float(loss) for loss in model.losses], [0.05 * one for one in squares], rtol=1e-5)
    assert build(7, width=3, decay=0.0).losses == []
    usual = build(7, width=3)
    expected = 0.002 * np.square(numpy(of_kind(usual, "Dense")[0].kernel), dtype="float64").sum()
    assert float(usual.losses[0]) == pytest.approx(expected, rel=1e-5)
    assert {layer.momentum for layer in of_kind(usual, NORM)} == {0.9}


def test_the_autoencoder_has_no_decay_and_the_momentum_of_the_norm_is_a_tenth():
    _, encoder, decoder = papers()
    assert encoder.losses == decoder.losses == []
    encoder(BATCH, training=True)
    norm = of_kind(encoder, NORM)[0]
    expected = numpy(encoder.layers[1](encoder.layers[0](BATCH))).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(numpy(norm.moving_mean), 0.1 * expected, rtol=1e-4)


def kernels(*found):
    """All kernels, as numbers between -1 and 1 whatever the size of their layer (Glorot's uniform distribution)."""
    out = []
    for variable in itertools.chain(*(model.trainable_variables for model in found)):
        if variable.name == "kernel":
            *field, inputs, outputs = variable.shape
            limit = np.sqrt(6 / (np.prod(field) * (inputs + outputs)))
            out.append(numpy(variable).ravel() / limit)
    return out


def test_weights_start_from_glorots_uniform_distribution():
    model = models.classifier(10)
    for kernel in kernels(model):
        assert -1 - 1e-6 <= kernel.min() < -0.98 < 0.98 < kernel.max() <= 1 + 1e-6
        assert kernel.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert not any(numpy(layer.bias).any() for layer in model.layers if hasattr(layer, "bias"))


@pytest.mark.parametrize(("build", "layers"), [
    (lambda seed: [models.classifier(10, width=4, dense=(8, 8), seed=seed)], 5),
    (lambda seed: models.autoencoder(widths=(4, 4, 4), seed=seed), 6),
    (lambda seed: [models.resnet(10, width=8, seed=seed)], 16),
])
def test_a_seed_fixes_every_starting_weight_and_no_two_layers_share_theirs(build, layers):
    first, again, other = (kernels(*build(seed)) for seed in (1, 1, 2))
    assert len(first) == layers
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    for one, two in itertools.combinations(first + other, 2):
        n = min(len(one), len(two), 50)  # one seed for two layers would give both the same beginning
        assert not np.allclose(one[:n], two[:n], atol=1e-3)
