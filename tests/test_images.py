"""The image layers: each against plain NumPy, one image at a time, and what chance may and may not do."""

import numpy as np
import pytest

from embsel import images
from embsel.backend import keras

# A GPU may multiply with fewer digits (TF32), which costs a pixel less than a quarter of a grey level.
PIXEL = 5e-4
SIZES = [(27, 35, 3, 24), (7, 5, 1, 4), (6, 6, 1, 1)]  # height, width, channels, crop
both_ways = pytest.mark.parametrize("divide_by", ["deviation", "variance"])


def numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor))


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def graph_paper(count, height, width):
    """Images that say where a pixel comes from: channel 0 is its row, channel 1 its column, both from 0."""
    rows, columns = np.mgrid[:height, :width]
    return np.broadcast_to(np.stack([rows, columns], axis=-1), (count, height, width, 2)).astype("float32")


# --- references: one image, written from the definitions ---


def cut(image, top, left, flip, size):
    window = image[top : top + size, left : left + size]
    return window[:, ::-1] if flip else window


def relight(image, shift, factor):
    brighter = image.astype("float64") + shift
    out = np.empty_like(brighter)
    for channel in range(image.shape[-1]):
        mean = brighter[..., channel].mean()
        out[..., channel] = mean + factor * (brighter[..., channel] - mean)
    return out


def standard(image, divide_by):
    """The tutorial's floor of the deviation, 1 / sqrt(numbers in the image), is for grey levels from 0 to 255."""
    image = image.astype("float64")
    deviation = max(image.std(), 1 / np.sqrt(image.size) / 255)
    return (image - image.mean()) / (deviation if divide_by == "deviation" else deviation**2)


# --- the store ---


def test_the_store_gives_pixels_over_255_in_the_order_asked_for():
    pixels = np.arange(256, dtype="uint8").reshape(8, 4, 4, 2)  # every grey level
    numbers = np.array([7, 0, 3, 3, 1, 7], dtype="int32")
    out = numpy(images.ImageStore(pixels)(numbers))
    assert out.shape == (6, 4, 4, 2)
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, pixels[numbers] / 255, rtol=2e-7, atol=0)  # but for the last bit


def test_the_store_holds_bytes_that_training_leaves_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3)).astype("uint8")
    store = images.ImageStore(pixels)
    assert store.images.dtype == "uint8"
    assert store.trainable_variables == []
    np.testing.assert_array_equal(numpy(store.images), pixels)


# --- images that the host feeds ---


def test_the_host_has_nothing_to_feed_to_a_device_that_has_the_images():
    assert images.fetcher("device", np.zeros((2, 4, 4, 3), dtype="uint8")) is None


WAYS = [("host", (9, 7, 5, 3)), ("encoded", (9, 7, 5, 3)), ("encoded", (9, 24, 30, 1))]  # of feeding, shapes


@pytest.mark.parametrize(("feed", "shape"), WAYS)
def test_the_host_feeds_copies_of_the_images_asked_for(feed, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    kept, fetch = pixels.copy(), images.fetcher(feed, pixels)
    for numbers in (np.array([[8, 0, 3], [3, 3, 1]]), np.array([5])):
        found = fetch(numbers)
        assert found.dtype == "uint8"
        np.testing.assert_array_equal(found, kept[numbers])
        found[:] = 0  # training writes into what it was given
    np.testing.assert_array_equal(pixels, kept)
    np.testing.assert_array_equal(fetch(np.array([5])), kept[[5]])


def test_encoded_images_are_decoded_every_time(monkeypatch):
    fetch = images.fetcher("encoded", np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3)).astype("uint8"))
    decoded, original = [], images.Image.open

    def spied(file):
        decoded.append(file.getvalue())
        return original(file)

    monkeypatch.setattr(images.Image, "open", spied)
    for _ in range(2):
        fetch(np.array([[1, 1], [0, 2]]))
    assert len(decoded) == 8
    assert len(set(decoded)) == 3
    assert all(file.startswith(b"\x89PNG") for file in decoded)


# --- crops and flips ---


@pytest.mark.parametrize(("height", "width", "channels", "size"), SIZES)
def test_every_offset_with_and_without_a_mirror(height, width, channels, size):
    places = [
        (top, left, flip)
        for top in range(height - size + 1)
        for left in range(width - size + 1)
        for flip in (False, True)
    ]
    batch = pictures(len(places), height, width, channels)
    top, left, flip = (np.array(column) for column in zip(*places, strict=True))
    out = numpy(images.crop_flip(batch, top.astype("int32"), left.astype("int32"), flip, size))
    expected = [cut(image, *place, size) for image, place in zip(batch, places, strict=True)]
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, expected, rtol=0, atol=PIXEL)


def places_of(out, size):
    """Read rows, columns and mirrors off crops of graph paper, after checking that each is one whole window."""
    top, ends = out[:, 0, 0, 0].astype(int), out[:, 0, [0, -1], 1].astype(int)
    left, flip = ends.min(axis=1), ends[:, 0] > ends[:, 1]
    for crop, *place in zip(out, top, left, flip, strict=True):
        np.testing.assert_array_equal(crop, cut(graph_paper(1, 99, 99)[0], *place, size))
    return top, left, flip


def test_each_image_has_a_crop_of_its_own_and_all_are_equally_likely():
    count, height, width, size = 4800, 10, 9, 7
    out = numpy(images.RandomCropFlip(size, seed=1)(graph_paper(count, height, width)))
    assert out.shape == (count, size, size, 2)
    top, left, flip = places_of(out, size)
    assert top.max() <= height - size
    assert left.max() <= width - size  # inside the image
    seen = np.zeros((4, 3, 2), dtype=int)
    np.add.at(seen, (top, left, flip.astype(int)), 1)
    expected = count / seen.size
    assert np.abs(seen - expected).max() < 4.5 * np.sqrt(expected)  # of 24 kinds: none missing, none preferred


def test_a_crop_of_the_whole_image_is_the_image_or_its_mirror():
    batch = pictures(40, 6, 6, 3)
    out = numpy(images.RandomCropFlip(6, seed=0)(batch))
    same = np.isclose(out, batch, atol=PIXEL).all(axis=(1, 2, 3))
    mirrored = np.isclose(out, batch[:, :, ::-1], atol=PIXEL).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert same.any()
    assert mirrored.any()


def test_the_layers_know_their_shapes_before_they_see_a_batch():
    crops = images.RandomCropFlip(24, seed=0)(keras.Input((32, 40, 3)))
    assert crops.shape == (None, 24, 24, 3)
    assert images.Standardise()(images.RandomLight(seed=0)(crops)).shape == (None, 24, 24, 3)


# --- light ---


@pytest.mark.parametrize("shape", [(24, 24, 3), (5, 7, 1)])
def test_shift_and_scale(shape):
    batch = pictures(6, *shape)
    shift = np.array([0, 0.2, -0.2, 0, 0.1, 0], dtype="float32")
    factor = np.array([1, 1, 1, 0.2, 1.8, 0], dtype="float32")
    out = numpy(images.shift_scale(batch, shift, factor))
    expected = [relight(*one) for one in zip(batch, shift, factor, strict=True)]
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-6)


def light_of(out, batch):
    """Read the shift and the factor of each image off a relit batch, from each channel: (B, C) twice."""
    factor = (out[:, 0, 0] - out[:, -1, -1]) / (batch[:, 0, 0] - batch[:, -1, -1])
    return (out - batch).mean(axis=(1, 2)), factor


def test_each_image_has_a_light_of_its_own_from_the_whole_range():
    count = 4000
    batch = np.broadcast_to(np.linspace(0, 1, 12, dtype="float32").reshape(2, 2, 3), (count, 2, 2, 3))
    shift, factor = light_of(numpy(images.RandomLight(seed=5)(batch)), batch)
    for values, low, high in ((shift, -63 / 255, 63 / 255), (factor, 0.2, 1.8)):
        np.testing.assert_allclose(values, values[:, :1].repeat(3, axis=1), atol=1e-5)  # one for all channels
        place = (values[:, 0] - low) / (high - low)
        assert place.min() > -1e-5
        assert place.max() < 1 + 1e-5
        tenths = np.bincount(np.clip(place * 10, 0, 9).astype(int), minlength=10)
        assert np.abs(tenths - count / 10).max() < 4.5 * np.sqrt(count / 10)
    assert abs(np.corrcoef(shift[:, 0], factor[:, 0])[0, 1]) < 0.07  # the two are drawn apart


def test_the_range_of_the_light_is_an_argument():
    batch = pictures(300, 4, 4, 1)
    shift, factor = light_of(numpy(images.RandomLight(seed=5, brightness=0.1, contrast=(2, 3))(batch)), batch)
    assert 0.09 < np.abs(shift).max() <= 0.1 + 1e-5
    assert 2 - 1e-3 < factor.min() < 2.1 < 2.9 < factor.max() < 3 + 1e-3


# --- chance ---


@pytest.mark.parametrize("layer", [lambda seed: images.RandomCropFlip(5, seed), lambda seed: images.RandomLight(seed)])
def test_a_seed_fixes_the_stream(layer):
    batch = pictures(16, 9, 9, 3)
    one, again, other = layer(3), layer(3), layer(4)
    first, second = numpy(one(batch)), numpy(one(batch))
    np.testing.assert_array_equal(first, numpy(again(batch)))
    np.testing.assert_array_equal(second, numpy(again(batch)))
    assert not np.array_equal(first, second)  # the stream moves on
    assert not np.array_equal(first, numpy(other(batch)))


# --- standardisation ---


@both_ways
@pytest.mark.parametrize("shape", [(24, 24, 1), (5, 7, 3)])
def test_standardise_takes_each_image_for_itself(shape, divide_by):
    batch = pictures(4, *shape) * np.array([1, 0.5, 0.1, 0.02], dtype="float32").reshape(-1, 1, 1, 1)
    out = numpy(images.standardise(batch, divide_by))
    assert out.dtype == "float32"
    np.testing.assert_allclose(out, [standard(image, divide_by) for image in batch], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(out, numpy(images.Standardise(divide_by)(batch)))


def test_the_deviation_makes_all_images_equally_strong_and_the_variance_does_not():
    batch = np.stack([pictures(24, 24, 3), 0.1 * pictures(24, 24, 3)])
    np.testing.assert_allclose(numpy(images.Standardise()(batch)).std(axis=(1, 2, 3)), 1, rtol=1e-4)
    strong, weak = numpy(images.Standardise("variance")(batch)).std(axis=(1, 2, 3))
    assert weak == pytest.approx(10 * strong, rel=1e-3)


@both_ways
def test_the_floor_is_one_pixel_of_one_grey_level(divide_by):
    image = np.full((1, 24, 24, 3), 100 / 255, dtype="float32")
    image[0, 3, 4, 1] = 101 / 255
    out = numpy(images.standardise(image, divide_by))[0]
    expected = standard(image[0], divide_by)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-3 * expected.max())
    if divide_by == "deviation":
        assert out.max() == pytest.approx(np.sqrt(24 * 24 * 3), rel=2e-3)


@both_ways
def test_a_flat_image_stays_finite_and_small(divide_by):
    levels = np.array([0, 77, 255], "float32").reshape(-1, 1, 1, 1)
    flat = np.broadcast_to(levels / 255, (3, 24, 24, 3)).astype("float32")
    out = numpy(images.standardise(flat, divide_by))
    assert np.isfinite(out).all()
    assert np.abs(out).max() < (0.1 if divide_by == "deviation" else 1000)  # rounding errors over the floor


def test_no_other_way_to_standardise():
    with pytest.raises(ValueError, match="divide_by is 'deviation' or 'variance', not 'max'"):
        images.Standardise("max")


# --- what the light does to the network's input ---


@both_ways
def test_standardised_brightness_is_no_change_at_all(divide_by):
    batch = pictures(32, 24, 24, 3)
    lit = images.RandomLight(seed=3)(batch)
    unshifted = images.RandomLight(seed=3, brightness=0.0)(batch)  # the same contrast: the stream is the same
    assert np.abs(numpy(lit) - numpy(unshifted)).max() > 0.2
    np.testing.assert_allclose(
        numpy(images.standardise(lit, divide_by)),
        numpy(images.standardise(unshifted, divide_by)),
        rtol=1e-3,
        atol=1e-3,
    )


def test_standardised_contrast_is_a_change_where_the_channels_differ():
    batch = pictures(32, 24, 24, 3) * np.array([0.2, 0.6, 1.0], dtype="float32")
    light = images.RandomLight(seed=3, brightness=0.0)
    assert np.abs(numpy(images.standardise(light(batch))) - numpy(images.standardise(batch))).max() > 0.3
    grey = batch[..., :1]  # a single mean to move away from, and that is the one that standardisation subtracts
    np.testing.assert_allclose(numpy(images.standardise(light(grey))), numpy(images.standardise(grey)), atol=1e-3)
