"""Pixels of any picture, whatever keeps it, brought to one size, with a note that says what was done to them."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from embsel.errors import InputError, require

FIT = "fit"  # a size: images that all have one square size in this range stay as they are
_SMALLEST, _LARGEST, _USUAL = 24, 64, 32  # pixels; all others become 32x32, the size that the paper's networks are for
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no other decoder is tried
_CONVERT = {  # by the kind of a dtype
    "f": " Convert them: (255 * images).round().astype('uint8') if they go from 0 to 1, else "
         "images.round().astype('uint8').",
    **dict.fromkeys("iu", " If they go from 0 to 255, convert them: images.astype('uint8')."),
}


def one_size(pictures: Iterable[tuple[str, object]], size: int | str | None) -> tuple[np.ndarray, str]:
    """Return pictures as uint8 (N, H, W, C), C 3 if one of them is a file or has colours, else 1; and a note.

    `pictures`: pairs of a name, for messages, and what `decode` takes; read one at a time, and held at the final size.
    `size`: each is scaled until its longer side has so many pixels, and padded with black to a square; with `FIT` that
    is 32 pixels, unless all fit as they are; with None they must share one size. The note says in sentences what was
    done to the pictures, "" if nothing was. Raises `InputError`, which names the picture.
    """
    images, seen, first, colour, side = [], set(), None, False, _USUAL if size == FIT else size
    for name, picture in pictures:
        image, colour = decode(name, picture), colour or isinstance(picture, Path)
        first = first or image.shape[:2]
        seen.add(image.shape[:2])
        require(size is not None or len(seen) == 1, f"{name}: expected {first} pixels (height, width), as in the first "
                f"image, found {image.shape[:2]}; pass image_size to bring all images to one size.")
        images.append(image if stays(image.shape, size) else _padded(name, image, side))
    require(images, "source: expected at least one image, found none.")
    sentences, grey = [], sum(image.ndim == 2 for image in images)
    if len(seen) > 1 or not stays(first, size):
        images = [_padded("", image, side) for image in images]  # those too that would have fitted among their like
        smallest, *_, largest = sorted(seen, key=lambda shape: (shape[0] * shape[1], shape)) * 2
        low, high = (f"{width}x{height}" for height, width in (smallest, largest))
        which = low if len(seen) == 1 else f"{len(seen):,} sizes, from {low} to {high}"
        how = "scaled" if all(height == width for height, width in seen) else "scaled and padded"
        sentences.append(f"The images have {which} pixels (width x height); each was {how} to {side}x{side}.")
    if grey and (colour or grey < len(images)):
        which = f"All {grey:,}" if grey == len(images) else f"{grey:,} of the {len(images):,}"
        sentences.append(f"{which} images {'was' if grey == 1 else 'were'} grey and became RGB.")
        images = [np.stack([image] * 3, axis=-1) if image.ndim == 2 else image for image in images]
    return np.stack(images).reshape(len(images), *images[0].shape[:2], -1), " ".join(sentences)


def stays(shape: tuple[int, ...], size: int | str | None) -> bool:
    """Return whether images of `shape` (H, W, ...), if all are of that, are left at their size by `one_size`."""
    height, width = shape[:2]
    return size is None or (height == width and (_SMALLEST <= width <= _LARGEST if size == FIT else width == size))


def decode(name: str, picture: Path | Image.Image | np.ndarray) -> np.ndarray:
    """Return a picture as uint8 (H, W) if it is grey, else (H, W, 3), without transparency, and upright.

    `picture`: an image file, of which the first frame is read; a PIL image; or uint8 (H, W) or (H, W, C), C 1, 3 or 4,
    or what NumPy makes into that. Raises `InputError` for anything else; `name` says in it which picture it is.
    """
    if isinstance(picture, (Path, Image.Image)):
        file = isinstance(picture, Path)  # which is to be closed, as the caller's image is not
        try:
            with Image.open(picture, formats=_FORMATS) if file else contextlib.nullcontext(picture) as image:
                require(not image.mode.startswith(("I", "F")), f"8 bits a channel expected, mode {image.mode} found")
                image = ImageOps.exif_transpose(image)  # photographs lie on their side without it
                if image.mode in ("1", "L", "LA"):
                    return np.asarray(image.convert("L"))
                return np.asarray(image.convert("RGBA" if image.mode == "P" else "RGB").convert("RGB"))
        except Exception as error:  # a broken file can fail anywhere in a decoder
            reason = str(error).rstrip(".") or type(error).__name__
            raise InputError(f"{name} cannot be read as an image: {reason}. Mend it or remove it.") from None
    try:
        image = np.asarray(picture)
    except ValueError:  # lists of unequal length
        image = np.asarray(None)
    found = image.dtype if image.dtype.kind in "biuf" else type(picture).__name__
    require(image.dtype == np.uint8, f"{name}: expected a PIL image or pixels of uint8, 0 to 255, found {found}."
                                     f"{_CONVERT.get(image.dtype.kind, '')}")
    good = image.size > 0 and (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3, 4)))
    require(good, f"{name}: expected pixels of shape (H, W), or (H, W, C) with C 1, 3 or 4, found {image.shape}.")
    return image if image.ndim == 2 else image[..., 0] if image.shape[-1] == 1 else image[..., :3]


def _padded(name: str, image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H, W) or (H, W, 3) scaled to fit into a square of `side` pixels, its middle, the rest black."""
    height, width = image.shape[:2]
    if height == width == side:
        return image
    require(max(height, width) < 2 * side * min(height, width), f"{name}: expected an image less than {2 * side} times "
            f"as long as wide, to be scaled to {side}x{side}, found {width}x{height} pixels (width x height).")
    return np.asarray(ImageOps.pad(Image.fromarray(image), (side, side)))
