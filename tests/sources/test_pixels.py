"""What becomes of pictures: of each kind, of any size."""

import numpy as np
import pytest
from PIL import Image

from embsel.data import load

SQUARE = np.arange(36, dtype=np.uint8).reshape(6, 6)
GREY = SQUARE[..., None]
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 6, 4), np.uint8)
RGB = np.ascontiguousarray(COLOUR[..., :3])
PALETTE = Image.fromarray(RGB).quantize(36)


def read(*pictures, **options):
    """The images and the note of some pictures, the first of which is there for testing, too."""
    loaded = load(((pictures, [0] * len(pictures)), (pictures[:1], [0])), **options)
    return loaded.train_images, loaded.note


@pytest.mark.parametrize(("picture", "expected"), [
    (SQUARE, GREY), (GREY, GREY), (Image.fromarray(SQUARE), GREY), (Image.fromarray(SQUARE).convert("LA"), GREY),
    (Image.fromarray(SQUARE > 9), 255 * (GREY > 9)), (RGB, RGB), (COLOUR, RGB), (Image.fromarray(COLOUR), RGB),
    (PALETTE, np.asarray(PALETTE.convert("RGB"))),
], ids=["grey", "one channel", "PIL L", "PIL LA", "PIL 1", "RGB", "RGBA", "PIL RGBA", "PIL P"])
def test_each_kind_of_picture_is_read(picture, expected):
    np.testing.assert_array_equal(read(picture)[0], [expected])


def test_grey_beside_colours_becomes_rgb_and_is_counted():
    images, note = read(RGB, SQUARE, Image.fromarray(SQUARE))
    np.testing.assert_array_equal(images, [RGB, *[np.stack([SQUARE] * 3, axis=-1)] * 2])
    assert note == "2 of the 4 images were grey and became RGB."


def test_a_photograph_is_turned_upright_and_stays_open(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.new("RGB", (4, 6)).save(tmp_path / "phone.jpg", exif=exif)
    with Image.open(tmp_path / "phone.jpg") as image:
        assert read(image)[0].shape == (1, 4, 6, 3)
        image.load()


@pytest.mark.parametrize("whole", [True, False])
def test_of_an_animation_only_the_first_frame_is_decoded(whole, tmp_path):
    frames = [Image.new("RGB", (8, 8), (0, 0, value)) for value in (255, 128, 64)]
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    frames[0].save(tmp_path / "pets" / "cat" / "0.gif", save_all=True, append_images=frames[1:])
    content = (tmp_path / "pets" / "cat" / "0.gif").read_bytes()
    if not whole:  # what follows is no frame at all
        content = content[:content.index(b"\x21\xf9", content.index(b"\x2c"))] + b"\xff" * 99
    for name in "01":
        (tmp_path / "pets" / "cat" / f"{name}.gif").write_bytes(content)
    assert load(tmp_path / "pets").train_images[0, 0, 0].tolist() == [0, 0, 255]


def test_images_are_scaled_and_padded_with_black():
    wide, tall = np.full((20, 40, 3), 255, np.uint8), np.full((40, 20, 3), 255, np.uint8)
    lit = np.zeros((32, 32, 3), np.uint8)
    lit[8:24] = 255
    images, note = read(wide, tall, image_size="fit")
    np.testing.assert_array_equal(images, [lit, lit.transpose(1, 0, 2)])
    assert note == ("The images have 2 sizes, from 40x20 to 20x40 pixels (width x height); each was scaled and padded "
                    "to 32x32.")
    images, note = read(wide[..., 0], image_size=8)
    assert images[0, :, 0, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]
    assert note == "The images have 40x20 pixels (width x height); each was scaled and padded to 8x8."


@pytest.mark.parametrize(("sizes", "becomes", "said"), [
    ([(24, 24)], 24, ""), ([(64, 64)], 64, ""), ([(23, 23)], 32, "scaled to 32x32."),
    ([(65, 65)], 32, "scaled to 32x32."), ([(30, 31)], 32, "padded to 32x32."),
    ([(32, 32), (48, 48)], 32, "scaled to 32x32."), ([(32, 32), (2, 127)], 32, "padded to 32x32.")])
def test_small_squares_of_one_size_fit(sizes, becomes, said):
    arrays = [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    for pictures in (arrays, [Image.fromarray(array) for array in arrays]):
        images, note = read(*pictures, image_size="fit")
        assert images.shape == (len(sizes), becomes, becomes, 3)
        assert note.endswith(said)
        assert bool(note) == bool(said)
        if sizes[0][0] == becomes:
            np.testing.assert_array_equal(arrays[0], images[0])
