"""The paper's two networks, layer by layer as it draws them, a second classifier, and where their weights start."""

import itertools

import numpy as np
import pytest

from embsel import models
from embsel.backend import keras

KERNEL = 5 * 5
RED_GREEN_BLUE = 3


def size(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def convolution(channels, filters):
    return KERNEL * channels * filters + filters  # kernels and biases


def dense(inputs, outputs):
    return inputs * outputs + outputs


def norm(channels):
    return 2 * channels, 2 * channels  # trained: scale and offset; not trained: moving mean and variance


def drawn(model):
    """What a figure would show of each layer: its kind, its width and its activation."""
    found = []
    for layer in model.layers:
        config = layer.get_config()
        width = config.get("filters", config.get("units"))
        found.append((type(layer).__name__, width, config.get("activation")))
    return found


CONV, DECONV, POOL, NORM = "Conv2D", "Conv2DTranspose", "MaxPooling2D", "BatchNormalization"


# --- Figure 1 ---


def test_the_layers_of_figure_1():
    assert drawn(models.classifier(10)) == [
        (CONV, 64, "relu"),
        (POOL, None, None),
        (NORM, None, None),
        (CONV, 64, "relu"),
        (NORM, None, None),
        (POOL, None, None),
        ("Flatten", None, None),
        ("Dense", 384, "relu"),
        ("Dense", 192, "relu"),
        ("Dense", 10, "linear"),  # the softmax is in the loss
    ]


def test_the_classifiers_parameters():
    trained_norm, still_norm = norm(64)
    layers = [
        convolution(RED_GREEN_BLUE, 64),  # 24 x 24
        trained_norm,  # 12 x 12
        convolution(64, 64),
        trained_norm,
        dense(6 * 6 * 64, 384),
        dense(384, 192),
        dense(192, 10),
    ]
    assert layers == [4864, 128, 102464, 128, 885120, 73920, 1930]
    model = models.classifier(10)
    assert size(model.trainable_variables) == sum(layers) == 1_068_554
    assert model.count_params() == sum(layers) + 2 * still_norm == 1_068_810


@pytest.mark.parametrize(("shape", "width"), [((24, 24, 1), 8), ((16, 25, 2), 3)])
def test_the_classifiers_sizes_are_arguments(shape, width):
    model = models.classifier(7, shape=shape, width=width, dense=(6, 5))
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, 7)
    assert [layer[1] for layer in drawn(model) if layer[1]] == [width, width, 6, 5, 7]
    pooled = -(-shape[0] // 4) * -(-shape[1] // 4)  # two pools halve, rounding up
    parts = convolution(shape[2], width), convolution(width, width), dense(pooled * width, 6), dense(6, 5), dense(5, 7)
    assert model.count_params() == sum(parts) + 2 * sum(norm(width))
    out = numpy(model(np.zeros((2, *shape), dtype="float32")))
    assert out.shape == (2, 7)
    assert out.dtype == "float32"


# --- Figure 2 ---


def test_the_layers_of_figure_2():
    encoder, decoder = models.autoencoder()
    assert drawn(encoder) == [
        (CONV, 64, "relu"),
        (POOL, None, None),
        (NORM, None, None),
        (CONV, 32, "relu"),
        (NORM, None, None),
        (POOL, None, None),
        (CONV, 24, "relu"),
        (NORM, None, None),
        (POOL, None, None),
        ("Flatten", None, None),
    ]
    assert drawn(decoder) == [
        ("Reshape", None, None),
        (DECONV, 24, "relu"),
        (DECONV, 24, "relu"),
        (DECONV, 3, "relu"),
    ]


def test_the_autoencoders_parameters_and_its_216_numbers():
    encoder, decoder = models.autoencoder()
    norms = [norm(64), norm(32), norm(24)]
    down = convolution(RED_GREEN_BLUE, 64) + convolution(64, 32) + convolution(32, 24)
    up = convolution(24, 24) + convolution(24, 24) + convolution(24, RED_GREEN_BLUE)
    trained = down + up + sum(trained for trained, _ in norms)
    assert size(encoder.trainable_variables + decoder.trainable_variables) == trained == 106_211
    assert encoder.count_params() + decoder.count_params() == trained + sum(still for _, still in norms) == 106_451
    assert encoder.output_shape == decoder.input_shape == (None, 3 * 3 * 24) == (None, 216)
    assert encoder.input_shape == decoder.output_shape == (None, 24, 24, 3)


def test_the_autoencoders_sizes_are_arguments():
    shape = (32, 40, 1)
    encoder, decoder = models.autoencoder(shape=shape, widths=(5, 4, 6))
    assert [layer[1] for layer in drawn(encoder) + drawn(decoder) if layer[1]] == [5, 4, 6, 6, 6, shape[2]]
    codes = encoder(np.ones((2, *shape), dtype="float32"))
    assert codes.shape == (2, shape[0] // 8 * (shape[1] // 8) * 6)
    assert decoder(codes).shape == (2, *shape)


@pytest.mark.parametrize(("final", "low", "high"), [("relu", 0, np.inf), (None, -np.inf, np.inf), ("sigmoid", 0, 1)])
def test_the_decoders_last_activation(final, low, high):
    _, decoder = models.autoencoder(widths=(4, 4, 4), final=final)
    assert drawn(decoder)[-1] == (DECONV, 3, final or "linear")
    out = numpy(decoder(np.random.default_rng(0).normal(size=(4, 36)).astype("float32")))
    assert low <= out.min() < out.max() <= high
    assert (out < 0).any() == (final is None)


# --- the second classifier ---


def plain(size, channels, filters):
    return size * size * channels * filters  # kernels without biases: the normalisation has them


def test_the_stages_of_the_residual_network():
    model = models.resnet(10, width=64)
    convolutions = [layer for layer in model.layers if type(layer).__name__ == CONV]
    shapes = [(layer.output.shape[1], layer.filters, layer.kernel_size[0], layer.strides[0]) for layer in convolutions]
    assert shapes[0] == (24, 16, 3, 1)
    assert shapes[1:5] == [(24, 16, 3, 1)] * 4
    for stage, (size, filters) in ((shapes[5:10], (12, 32)), (shapes[10:], (6, 64))):
        # The way around the first block has a 1x1 kernel, as the block itself halves the picture.
        assert sorted(stage) == sorted([(size, filters, 1, 2), (size, filters, 3, 2), *[(size, filters, 3, 1)] * 3])
    assert model.layers[-1].get_config()["activation"] == "linear"
    assert model.layers[-1].input.shape == (None, 64)


def test_the_residual_networks_parameters():
    blocks = [plain(3, RED_GREEN_BLUE, 16), *[plain(3, 16, 16)] * 4]
    for channels in (16, 32):
        blocks += [plain(1, channels, 2 * channels), plain(3, channels, 2 * channels)]
        blocks += [plain(3, 2 * channels, 2 * channels)] * 3
    norms = [norm(filters) for filters in (*[16] * 5, *[32] * 5, *[64] * 5)]
    trained = sum(blocks) + sum(trained for trained, _ in norms) + dense(64, 10)
    model = models.resnet(10, width=64)
    assert size(model.trainable_variables) == trained
    assert model.count_params() == trained + sum(still for _, still in norms)


def test_a_block_without_weights_lets_its_input_through():
    """So each block is added to the way around it: with all kernels of the blocks at zero, the picture still shows."""
    model = models.resnet(3, shape=(8, 8, 1), width=8)
    batch = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    for layer in model.layers[4:]:
        if type(layer).__name__ == CONV and layer.kernel_size == (3, 3):
            layer.kernel.assign(0 * layer.kernel)
    assert np.ptp(numpy(model(batch)), axis=0).min() > 0
    for layer in model.layers:
        if type(layer).__name__ == CONV and layer.kernel_size == (1, 1):
            layer.kernel.assign(0 * layer.kernel)
    assert np.ptp(numpy(model(batch)), axis=0).max() == 0


@pytest.mark.parametrize("name", models.NETWORKS)
def test_every_classifier_takes_the_same_arguments(name):
    model = models.NETWORKS[name](7, shape=(16, 25, 2), width=3, decay=0.1, norm_momentum=0.8, seed=1)
    assert model.input_shape == (None, 16, 25, 2)
    assert model.output_shape == (None, 7)
    assert {layer.momentum for layer in model.layers if type(layer).__name__ == NORM} == {0.8}
    assert len(model.losses) == {"paper": 2, "resnet": 1}[name]
    assert models.NETWORKS[name](7, width=3, decay=0.0).losses == []


def test_the_residual_networks_weight_decay_is_on_the_logits():
    model = models.resnet(10, width=4, decay=0.004)
    expected = 0.004 * 0.5 * np.square(numpy(model.layers[-1].kernel), dtype="float64").sum()
    assert [float(loss) for loss in model.losses] == pytest.approx([expected])


# --- all ---


def papers():
    return [models.classifier(10, width=4, dense=(8, 8)), *models.autoencoder(widths=(4, 4, 4))]


def test_kernels_strides_and_padding():
    for layer in itertools.chain(*(model.layers for model in papers())):
        config, kind = layer.get_config(), type(layer).__name__
        if kind == CONV:
            assert (config["kernel_size"], config["strides"], config["padding"]) == ((5, 5), (1, 1), "same")
        elif kind == DECONV:
            assert (config["kernel_size"], config["strides"], config["padding"]) == ((5, 5), (2, 2), "same")
        elif kind == POOL:
            assert (config["pool_size"], config["strides"], config["padding"]) == ((3, 3), (2, 2), "same")
        elif kind == NORM:
            assert config["momentum"] == 0.9


def test_the_classifiers_normalisation_forgets_at_the_pace_it_is_given():
    slow = models.classifier(10, width=4, dense=(8, 8), norm_momentum=0.99)
    usual = models.classifier(10, width=4, dense=(8, 8))
    batch = np.random.default_rng(0).normal(size=(8, 24, 24, 3)).astype("float32")
    moved = []
    for model, momentum in ((slow, 0.99), (usual, models.NORM_MOMENTUM)):
        norms = [layer for layer in model.layers if type(layer).__name__ == NORM]
        assert [layer.momentum for layer in norms] == [momentum, momentum]
        model(batch, training=True)
        moved.append(numpy(norms[0].moving_mean))
    np.testing.assert_allclose(moved[1], 10 * moved[0], rtol=1e-3)  # of the way from 0 to the batch: 0.1 against 0.01
    assert np.abs(moved[0]).max() > 0


def test_weight_decay_is_half_the_squared_weights_of_the_two_dense_layers():
    model = models.classifier(10, width=4, dense=(8, 6), decay=0.004)
    hidden = [layer for layer in model.layers if type(layer).__name__ == "Dense"][:2]
    expected = [0.004 * 0.5 * np.square(numpy(layer.kernel), dtype="float64").sum() for layer in hidden]
    np.testing.assert_allclose([float(loss) for loss in model.losses], expected, rtol=1e-5)
    assert float(models.classifier(10, width=4, dense=(8, 6)).losses[0]) == pytest.approx(expected[0])  # the default
    stronger = models.classifier(10, width=4, dense=(8, 6), decay=0.04)
    np.testing.assert_allclose([float(loss) for loss in stronger.losses], [10 * loss for loss in expected], rtol=1e-5)
    assert models.classifier(10, width=4, dense=(8, 6), decay=0.0).losses == []
    assert [model.losses for model in models.autoencoder(widths=(4, 4, 4))] == [[], []]


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
        assert -1 - 1e-6 <= kernel.min() < -0.98
        assert 0.98 < kernel.max() <= 1 + 1e-6
        assert kernel.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    for layer in model.layers:
        if hasattr(layer, "bias"):
            assert not numpy(layer.bias).any()


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: [models.classifier(10, width=4, dense=(8, 8), seed=seed)],
        lambda seed: models.autoencoder(widths=(4, 4, 4), seed=seed),
        lambda seed: [models.resnet(10, width=8, seed=seed)],
    ],
)
def test_a_seed_fixes_every_starting_weight_and_no_two_layers_share_theirs(build):
    first, again, other = (kernels(*build(seed)) for seed in (1, 1, 2))
    assert len(first) in (5, 6, 16)
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    for one, two in itertools.combinations(first + other, 2):
        n = min(len(one), len(two), 50)  # one seed for two layers would give both the same beginning
        assert not np.allclose(one[:n], two[:n], atol=1e-3)
