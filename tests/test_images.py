"""The image layers: each against plain NumPy, one image at a time, and what chance may and may not do."""

import numpy as np
import pytest

from embsel import images
from embsel.backend import keras

# A GPU may multiply with fewer digits (TF32), which costs a pixel less than a quarter of a grey level.
PIXEL = 5e-4
both_ways = pytest.mark.parametrize("divide_by", ["deviation", "variance"])


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def stored(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def cut(image, top, left, flip, size):
    window = image[top : top + size, left : left + size]
    return window[:, ::-1] if flip else window


def standard(image, divide_by):
    """The tutorial's floor of the deviation, 1 / sqrt(numbers in the image), is for grey levels from 0 to 255."""
    image = image.astype("float64")
    deviation = max(image.std(), 1 / np.sqrt(image.size) / 255)
    return (image - image.mean()) / (deviation if divide_by == "deviation" else deviation**2)


# --- where images come from ---


def test_the_store_gives_pixels_over_255_in_the_order_asked_for_and_training_leaves_its_bytes_alone():
    pixels = np.arange(256, dtype="uint8").reshape(8, 4, 4, 2)  # every grey level
    store, numbers = images.ImageStore(pixels), np.array([7, 0, 3, 3, 1, 7], dtype="int32")
    out = numpy(store(numbers))
    assert (out.shape, out.dtype) == ((6, 4, 4, 2), "float32")
    np.testing.assert_allclose(out, pixels[numbers] / 255, rtol=2e-7, atol=0)  # but for the last bit
    assert (store.images.dtype, store.trainable_variables) == ("uint8", [])
    np.testing.assert_array_equal(numpy(store.images), pixels)


@pytest.mark.parametrize(("feed", "shape"), [
    ("host", (9, 7, 5, 3)), ("encoded", (9, 7, 5, 3)), ("encoded", (9, 24, 30, 1))])
def test_the_host_feeds_copies_of_the_images_asked_for(feed, shape):
    pixels = stored(*shape)
    kept, fetch = pixels.copy(), images.fetcher(feed, pixels)
    for numbers in (np.array([[8, 0, 3], [3, 3, 1]]), np.array([5]), np.array([5])):
        found = fetch(numbers)
        assert found.dtype == "uint8"
        np.testing.assert_array_equal(found, kept[numbers])
        found[:] = 0  # training writes into what it was given
    np.testing.assert_array_equal(pixels, kept)
    assert images.fetcher("device", pixels) is None  # which has them


def test_encoded_images_are_decoded_every_time(monkeypatch):
    fetch, decoded, original = images.fetcher("encoded", stored(3, 6, 5, 3)), [], images.Image.open
    monkeypatch.setattr(images.Image, "open", lambda file: decoded.append(file.getvalue()) or original(file))
    for _ in range(2):
        fetch(np.array([[1, 1], [0, 2]]))
    assert (len(decoded), len(set(decoded))) == (8, 3)
    assert all(file.startswith(b"\x89PNG") for file in decoded)


# --- crops and flips ---


@pytest.mark.parametrize(("height", "width", "channels", "size"), [(27, 35, 3, 24), (7, 5, 1, 4), (6, 6, 1, 1)])
def test_every_offset_with_and_without_a_mirror(height, width, channels, size):
    places = np.argwhere(np.ones((height - size + 1, width - size + 1, 2)))
    batch = pictures(len(places), height, width, channels)
    top, left, flip = places.T.astype("int32")
    out = numpy(images.crop_flip(batch, top, left, flip == 1, size))
    assert out.dtype == "float32"
    expected = [cut(image, *place, size) for image, place in zip(batch, places, strict=True)]
    np.testing.assert_allclose(out, expected, rtol=0, atol=PIXEL)


def test_each_image_has_a_crop_of_its_own_and_all_are_equally_likely():
    count, height, width, size = 4800, 10, 9, 7
    paper = np.stack(np.mgrid[:height, :width], axis=-1).astype("float32")  # a pixel says where it comes from
    out = numpy(images.RandomCropFlip(size, seed=1)(np.broadcast_to(paper, (count, height, width, 2))))
    top, ends = out[:, 0, 0, 0].astype(int), out[:, 0, [0, -1], 1].astype(int)
    left, flip = ends.min(axis=1), (ends[:, 0] > ends[:, 1]).astype(int)
    for crop, *place in zip(out, top, left, flip, strict=True):  # each is one whole window, inside the image
        np.testing.assert_array_equal(crop, cut(paper, *place, size))
    seen = np.zeros((4, 3, 2), dtype=int)
    np.add.at(seen, (top, left, flip), 1)
    expected = count / seen.size
    assert np.abs(seen - expected).max() < 4.5 * np.sqrt(expected)  # of 24 kinds: none missing, none preferred


@pytest.mark.parametrize("layer", [lambda seed: images.RandomCropFlip(5, seed), lambda seed: images.RandomLight(seed)])
def test_a_seed_fixes_the_stream(layer):
    batch = pictures(16, 9, 9, 3)
    one, again, other = layer(3), layer(3), layer(4)
    first, second = numpy(one(batch)), numpy(one(batch))
    np.testing.assert_array_equal(first, numpy(again(batch)))
    np.testing.assert_array_equal(second, numpy(again(batch)))
    assert not np.array_equal(first, second)  # the stream moves on
    assert not np.array_equal(first, numpy(other(batch)))


# --- light ---


@pytest.mark.parametrize("shape", [(24, 24, 3), (5, 7, 1)])
def test_shift_and_scale(shape):
    batch = pictures(6, *shape)
    shift = np.array([0, 0.2, -0.2, 0, 0.1, 0], dtype="float32").reshape(-1, 1, 1, 1)
    factor = np.array([1, 1, 1, 0.2, 1.8, 0], dtype="float32").reshape(-1, 1, 1, 1)
    out = numpy(images.shift_scale(batch, shift[:, 0, 0, 0], factor[:, 0, 0, 0]))
    brighter = batch.astype("float64") + shift
    mean = brighter.mean(axis=(1, 2), keepdims=True)  # of each channel
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, mean + factor * (brighter - mean), rtol=0, atol=2e-6)


@pytest.mark.parametrize("range_", [{}, {"brightness": 0.1, "contrast": (2, 3)}], ids=["the tutorial's", "another"])
def test_each_image_has_a_light_of_its_own_from_the_whole_range(range_):
    count = 4000
    batch = np.broadcast_to(np.linspace(0, 1, 12, dtype="float32").reshape(2, 2, 3), (count, 2, 2, 3))
    out = numpy(images.RandomLight(seed=5, **range_)(batch))
    shift, factor = (out - batch).mean(axis=(1, 2)), (out[:, 0, 0] - out[:, 1, 1]) / (batch[:, 0, 0] - batch[:, 1, 1])
    bright, contrast = range_.get("brightness", 63 / 255), range_.get("contrast", (0.2, 1.8))
    for values, low, high in ((shift, -bright, bright), (factor, *contrast)):
        np.testing.assert_allclose(values, values[:, :1].repeat(3, axis=1), atol=1e-5)  # one for all channels
        place = (values[:, 0] - low) / (high - low)
        assert -1e-5 < place.min() < place.max() < 1 + 1e-5
        tenths = np.bincount(np.clip(place * 10, 0, 9).astype(int), minlength=10)
        assert np.abs(tenths - count / 10).max() < 4.5 * np.sqrt(count / 10)
    assert abs(np.corrcoef(shift[:, 0], factor[:, 0])[0, 1]) < 0.07  # the two are drawn apart


# --- standardisation ---


@both_ways
@pytest.mark.parametrize("shape", [(24, 24, 1), (5, 7, 3)])
def test_standardise_takes_each_image_for_itself(shape, divide_by):
    batch = pictures(4, *shape) * np.array([1, 0.5, 0.1, 0.02], dtype="float32").reshape(-1, 1, 1, 1)
    out = numpy(images.standardise(batch, divide_by))
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, [standard(image, divide_by) for image in batch], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(out, numpy(images.Standardise(divide_by)(batch)))


@both_ways
def test_the_floor_is_one_pixel_of_one_grey_level_and_a_flat_image_stays_finite_and_small(divide_by):
    image = np.full((1, 24, 24, 3), 100 / 255, dtype="float32")
    image[0, 3, 4, 1] = 101 / 255
    out, expected = numpy(images.standardise(image, divide_by))[0], standard(image[0], divide_by)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-3 * expected.max())
    levels = np.array([0, 77, 255], "float32").reshape(-1, 1, 1, 1)
    flat = np.broadcast_to(levels / 255, (3, 24, 24, 3)).astype("float32")
    out = numpy(images.standardise(flat, divide_by))
    assert np.abs(out).max() < (0.1 if divide_by == "deviation" else 1000)  # rounding errors over the floor, no NaN


def test_no_other_way_to_standardise():
    with pytest.raises(ValueError, match="divide_by is 'deviation' or 'variance', not 'max'"):
        images.Standardise("max")


@both_ways
def test_standardised_brightness_is_no_change_and_contrast_is_one_where_the_channels_differ(divide_by):
    batch = pictures(32, 24, 24, 3) * np.array([0.2, 0.6, 1.0], dtype="float32")
    lit, unshifted = (images.RandomLight(seed=3, brightness=b)(batch) for b in (0.25, 0.0))  # the contrast is the same
    assert np.abs(numpy(lit) - numpy(unshifted)).max() > 0.2
    lit, unshifted, plain = (numpy(images.standardise(each, divide_by)) for each in (lit, unshifted, batch))
    np.testing.assert_allclose(lit, unshifted, rtol=1e-3, atol=1e-3)
    assert np.abs(unshifted - plain).max() > 0.3
