"""Keras layers that turn image numbers into network inputs, each image on its own and all of it on the device.

Pixels are in [0, 1], of the type that Keras is set to (float32). Keras' own random layers draw one crop for a whole
batch; these draw one for each image (paper, section 4.1.2).
"""

import io
import math

import numpy as np
from PIL import Image

from embsel.backend import keras
from embsel.errors import require

ops = keras.ops

# The paper says "randomly lightened or darkened and their contrast is randomly perturbed" without sizes. These are
# those of the TensorFlow CIFAR-10 tutorial, whose network the paper uses.
BRIGHTNESS = 63 / 255
CONTRAST = (0.2, 1.8)
# "Divide by each image's variance" is taken for the standard deviation, as in the tutorial: `standardise` says why.
DIVIDE_BY = "deviation"


def check(pixels) -> None:
    """Raise `InputError` unless `pixels` are uint8 (N, H, W, C), not empty: else a store gives zeros and ones."""
    shape, dtype = getattr(pixels, "shape", None), getattr(pixels, "dtype", None)
    good = isinstance(shape, tuple) and len(shape) == 4 and shape[0] and dtype == np.uint8
    require(good, f"pixels: expected uint8 of shape (N, H, W, C), not empty, found {dtype} of shape {shape}.")


class ImageStore(keras.layers.Layer):
    """All images of a set, kept on the device as uint8; maps image numbers `(B,)` int to pixels `(B, H, W, C)`.

    A step then moves a few kilobytes of numbers from the host, however large the set (reviewer 1's objection to "fits
    in accelerator memory, hence faster").
    """

    def __init__(self, images: np.ndarray, **kwargs):
        check(images)
        super().__init__(**kwargs)
        self.images = self.add_weight(images.shape, "zeros", "uint8", trainable=False, name="images")
        self.images.assign(images)

    def call(self, numbers):
        return ops.cast(ops.take(self.images, numbers, axis=0), keras.config.floatx()) / 255.0


def fetcher(feed: str, pixels: np.ndarray):
    """Return how the host feeds `pixels` `(N, H, W, C)`: a function from image numbers of any shape to
    their images.

    ``"host"`` copies them from its memory, ``"encoded"`` decodes each from a PNG in its memory, every
    time, as a pipeline does whose decoded images do not fit; ``"device"`` is None: it has an `ImageStore`.
    """
    if feed == "device":
        return None
    if feed == "host":
        return lambda numbers: pixels[numbers]
    files = [io.BytesIO() for _ in pixels]
    for image, file in zip(pixels, files, strict=True):
        Image.fromarray(image.squeeze()).save(file, "png")

    def decode(numbers):
        found = [np.asarray(Image.open(io.BytesIO(files[n].getvalue()))) for n in numbers.ravel()]
        return np.stack(found).reshape(*numbers.shape, *pixels.shape[1:])

    return decode


def crop_flip(images, top, left, flip, size: int):
    """Cut `size` x `size` out of each image `(B, H, W, C)` at rows `top` and columns `left`, mirrored
    where `flip`; all `(B,)`.

    Rows and columns are chosen by two small matrix products with one-hot rows: faster than gathering on
    a CPU, and the mirror is free.
    """
    _, height, width, channels = images.shape
    span = ops.arange(size, dtype="int32")
    rows = ops.one_hot(top[:, None] + span, height, dtype=images.dtype)
    columns = ops.where(flip[:, None], span[::-1], span) + left[:, None]
    columns = ops.one_hot(columns, width, dtype=images.dtype)
    images = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    images = ops.reshape(images, (-1, size, width, channels))
    return ops.einsum("bsw,brwc->brsc", columns, images)


def shift_scale(images, shift, factor):
    """Add `shift` `(B,)` to each image, then move pixels from each channel's mean by `factor` `(B,)`."""
    images = images + ops.reshape(shift, (-1, 1, 1, 1))
    mean = ops.mean(images, axis=(1, 2), keepdims=True)
    return (images - mean) * ops.reshape(factor, (-1, 1, 1, 1)) + mean


def standardise(images, divide_by: str = DIVIDE_BY):
    """Subtract each image's mean and divide by its standard deviation, or by its variance as the paper has it
    (section 4.1.1).

    The deviation makes every image equally strong. The variance makes flat images strong and contrasty ones weak, and
    depends on the unit of a pixel: for [0, 1] it enlarges, for 0..255 it all but erases. Both are floored at what one
    grey level of noise gives, ``1 / sqrt(pixels)`` for the deviation as in the tutorial: a flat image stays finite.
    """
    pixels = math.prod(images.shape[1:])
    centred = images - ops.mean(images, axis=(1, 2, 3), keepdims=True)
    variance = ops.mean(ops.square(centred), axis=(1, 2, 3), keepdims=True)
    variance = ops.maximum(variance, 1.0 / (pixels * 255.0**2))  # the tutorial's floor is for pixels in 0..255
    return centred / (variance if divide_by == "variance" else ops.sqrt(variance))


class RandomCropFlip(keras.layers.Layer):
    """One random `size` x `size` crop and left-right flip for each image."""

    def __init__(self, size: int, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.size, self.seeds = size, keras.random.SeedGenerator(seed)

    def call(self, images):
        batch, height, width = ops.shape(images)[:3]
        top = keras.random.randint((batch,), 0, height - self.size + 1, seed=self.seeds)
        left = keras.random.randint((batch,), 0, width - self.size + 1, seed=self.seeds)
        flip = keras.random.randint((batch,), 0, 2, seed=self.seeds)
        return crop_flip(images, top, left, flip == 1, self.size)


class RandomLight(keras.layers.Layer):
    """A random change of brightness and of contrast for each image; before `Standardise` brightness does nothing."""

    def __init__(self, seed: int, brightness: float = BRIGHTNESS, contrast: tuple[float, float] = CONTRAST, **kwargs):
        super().__init__(**kwargs)
        self.brightness, self.contrast, self.seeds = brightness, contrast, keras.random.SeedGenerator(seed)

    def call(self, images):
        batch = ops.shape(images)[:1]
        shift = keras.random.uniform(batch, -self.brightness, self.brightness, seed=self.seeds)
        factor = keras.random.uniform(batch, *self.contrast, seed=self.seeds)
        return shift_scale(images, shift, factor)


class Standardise(keras.layers.Layer):
    """`standardise` as a layer."""

    def __init__(self, divide_by: str = DIVIDE_BY, **kwargs):
        super().__init__(**kwargs)
        good = divide_by in ("deviation", "variance")
        require(good, f"divide_by is 'deviation' or 'variance', not {divide_by!r}.")
        self.divide_by = divide_by

    def call(self, images):
        return standardise(images, self.divide_by)
