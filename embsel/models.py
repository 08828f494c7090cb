"""The paper's two networks, exactly as its Figures 1 and 2 draw them, with the sizes as arguments, and a second
classifier to compare.

Neither knows how it is trained. Weights start from Glorot's uniform distribution (Keras' default; the paper gives
none), drawn from `seed`.
"""

import itertools
from functools import partial

from embsel.backend import keras

layers = keras.layers

# Not given in the paper. Keras' default of 0.99 needs several hundred steps to forget its starting values, and our
# shortest runs are shorter than that; 0.9 (the common choice elsewhere) forgets in a few dozen.
NORM_MOMENTUM = 0.9
# The paper gives each of the three deconvolutions a ReLU, which is unusual for an output: it draws no negative number,
# and a pixel that it leaves at zero teaches it nothing. None leaves it out.
FINAL = "relu"


class _Build:
    """Layers with numbered seeds, so that one integer fixes every starting weight."""

    def __init__(self, seed: int, norm_momentum: float = NORM_MOMENTUM, synchronized: bool = False):
        self._seeds = itertools.count(1_000 * seed)
        self.norm = partial(layers.BatchNormalization, momentum=norm_momentum, synchronized=synchronized)
        self.pool = partial(layers.MaxPooling2D, 3, strides=2, padding="same")

    def _start(self):
        return {"kernel_initializer": keras.initializers.GlorotUniform(seed=next(self._seeds))}

    def conv(self, width: int):
        return layers.Conv2D(width, 5, padding="same", activation="relu", **self._start())

    def plain(self, width: int, size: int, stride: int):
        return layers.Conv2D(width, size, stride, "same", use_bias=False, **self._start())

    def deconv(self, width: int, activation: str | None = "relu"):
        return layers.Conv2DTranspose(width, 5, 2, "same", activation=activation, **self._start())

    def dense(self, width: int, activation: str | None, decay: float):
        penalty = keras.regularizers.L2(decay / 2) if decay else None  # decay x 1/2 |w|^2, the tutorial's convention
        return layers.Dense(width, activation, kernel_regularizer=penalty, **self._start())


def classifier(
    classes: int, *, shape: tuple[int, int, int] = (24, 24, 3), width: int = 64,
    dense: tuple[int, int] = (384, 192), decay: float = 0.004,
    norm_momentum: float = NORM_MOMENTUM, synchronized: bool = False, seed: int = 0,
) -> keras.Model:
    """Return the paper's image classifier (Figure 1): pixels `(B, *shape)` float32, standardised,
    to logits `(B, classes)`.

    `width` is the number of filters of both convolutions, `dense` the two hidden layers, `decay`
    the weight decay on those two (section 4.1.1). The softmax is left to the loss. Where several
    devices share a batch, `synchronized` lets batch norm see all of it on TensorFlow; on JAX it
    always does, and Keras refuses the argument.
    """
    build = _Build(seed, norm_momentum, synchronized)
    parts = [
        keras.Input(shape),
        build.conv(width), build.pool(), build.norm(),
        build.conv(width), build.norm(), build.pool(),
        layers.Flatten(),
        build.dense(dense[0], "relu", decay),
        build.dense(dense[1], "relu", decay),
        build.dense(classes, None, 0.0),
    ]
    return keras.Sequential(parts, name="classifier")


def resnet(
    classes: int, *, shape: tuple[int, int, int] = (24, 24, 3), width: int = 64, decay: float = 0.004,
    norm_momentum: float = NORM_MOMENTUM, seed: int = 0,
) -> keras.Model:
    """Return a small residual network (He et al. 2016) with the interface of `classifier`, the book's second network.

    Three stages of two blocks of 3x3 convolutions, `width` / 4 filters in the first, twice as many and half the height
    and width in each further one; the mean over the picture goes to the logits, with `decay` on their weights.
    """
    build = _Build(seed, norm_momentum)

    def conv(x, filters, stride=1, size=3):
        return build.norm()(build.plain(filters, size, stride)(x))

    pixels = keras.Input(shape)
    x = layers.ReLU()(conv(pixels, max(1, width // 4)))
    for stage, block in itertools.product(range(3), range(2)):
        filters, stride = max(1, width // 4) * 2**stage, 2 if stage and not block else 1
        around = conv(x, filters, stride, 1) if stride == 2 else x
        inner = layers.ReLU()(conv(x, filters, stride))
        x = layers.ReLU()(conv(inner, filters) + around)
    logits = build.dense(classes, None, decay)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, logits, name="resnet")


NETWORKS = {"paper": classifier, "resnet": resnet}


def autoencoder(
    *, shape: tuple[int, int, int] = (24, 24, 3), widths: tuple[int, int, int] = (64, 32, 24),
    final: str | None = FINAL, seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Return the paper's autoencoder (Figure 2) as `(encoder, decoder)`.

    The encoder maps pixels in [0, 1] `(B, *shape)`, height and width multiples of 8, to embeddings
    `(B, h * w * widths[2])`: 3 x 3 x 24 = 216 numbers at the paper's sizes. The decoder maps those
    back. With the paper's `final` ReLU it cannot give a negative number, so its targets must not
    be negative either.
    """
    build, (height, wide, channels) = _Build(seed), shape
    encoder = [
        keras.Input(shape),
        build.conv(widths[0]), build.pool(), build.norm(),
        build.conv(widths[1]), build.norm(), build.pool(),
        build.conv(widths[2]), build.norm(), build.pool(),
        layers.Flatten(),
    ]
    decoder = [
        keras.Input((height // 8 * (wide // 8) * widths[2],)),
        layers.Reshape((height // 8, wide // 8, widths[2])),
        build.deconv(widths[2]),
        build.deconv(widths[2]),
        build.deconv(channels, final),
    ]
    return keras.Sequential(encoder, name="encoder"), keras.Sequential(decoder, name="decoder")
