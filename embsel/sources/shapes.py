"""The built-in sets: ten or twenty classes of drawn shapes.

Only + - * / sqrt, min and max touch a pixel: these are exact in IEEE arithmetic, so that one seed gives the same bytes
on every machine. (In sin, exp and matrix products the last bit may differ: those of angles are therefore rounded.)
"""

from math import cos, pi, sin

import numpy as np

from embsel.errors import whole
from embsel.sources.memory import ARRAYS


def _length(u, v):
    return np.sqrt(u * u + v * v)


def _box(u, v, a, b):
    return np.maximum(np.abs(u) - a, np.abs(v) - b)


def _sides(u, v, count, inradius):
    """Return the `count` distances to the sides of a regular polygon, the largest last."""
    angles = [2 * pi * i / count for i in range(count)]
    return np.sort([round(sin(a), 6) * u + round(cos(a), 6) * v - inradius for a in angles], axis=0)


def _heart(u, v):
    u, v = u + 0.25, v + 0.25
    lobes = np.minimum(_length(u - np.clip(u, 0, 0.6), v), _length(u, v - np.clip(v, 0, 0.6))) - 0.45
    return np.minimum(_box(u, v, 0.45, 0.45), lobes)


SHAPES = {  # signed distance at (u, v) to the outline, negative inside, of a shape of radius 1 or so
    "disc": lambda u, v: _length(u, v) - 0.85,
    "ring": lambda u, v: np.abs(_length(u, v) - 0.75) - 0.2,
    "triangle": lambda u, v: _sides(u, v, 3, 0.55)[-1],
    "square": lambda u, v: _box(u, v, 0.75, 0.75),
    "cross": lambda u, v: np.minimum(_box(u, v, 1, 0.3), _box(u, v, 0.3, 1)),
    "star": lambda u, v: _sides(u, v, 5, 0.36)[-2],  # what lies within all but one of five sides
    "crescent": lambda u, v: np.maximum(_length(u, v) - 0.95, 0.78 - _length(u - 0.5, v)),
    "heart": _heart,
    "hourglass": lambda u, v: np.maximum(0.8 * (np.abs(u) - 0.7 * np.abs(v)) - 0.06, np.abs(v) - 0.9),
    "pill": lambda u, v: _length(u, np.maximum(np.abs(v) - 0.65, 0)) - 0.32,
}
LINE = 0.1  # half the width of an outline
OUTLINED = {f"outlined {name}": lambda u, v, of=of: np.abs(of(u, v)) - LINE for name, of in SHAPES.items()}


def drawn_arrays(train: int = 4000, test: int = 1000, size: int = 32, seed: int = 0, outlined: bool = False) -> dict:
    """Return images uint8 (N, `size`, `size`, 3) and labels int64 (N,) of equally many shapes, with `outlined` each of
    them filled and as an outline, and the class names. The test set is the same for any number of training images."""
    names = tuple(SHAPES | OUTLINED if outlined else SHAPES)
    train, test = whole("train", train, len(names)), whole("test", test, len(names))
    size, seed = whole("size", size, 8), whole("seed", seed, 0)
    rng, test_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    labels, test_labels = np.arange(train) % len(names), test_rng.permutation(np.arange(test) % len(names))
    images, order = _draw(labels, size, rng), rng.permutation(train)
    arrays = images[order], labels[order], _draw(test_labels, size, test_rng), test_labels
    return dict(zip(ARRAYS, arrays, strict=True)) | {"class_names": names}


def _draw(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (N, size, size, 3), one drawing for each label, in blocks that keep the memory small."""
    return np.concatenate([_draw_block(labels[i:i + 250], size, rng) for i in range(0, len(labels), 250)])


def _draw_block(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    n, axis = len(labels), np.arange(size, dtype=np.float32)

    def uniform(low, high, *shape):
        return low + (high - low) * rng.random((n, *shape), np.float32)

    def turned(spread, stretch=0.0):
        """Pixel coordinates (n, size, size) from a random centre, in random directions."""
        angle = 2 * pi * rng.random(n)
        c, s = (np.round(f(angle), 6).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        x, y = (at - uniform((0.5 - spread) * size, (0.5 + spread) * size, 1, 1) for at in (axis, axis[:, None]))
        along = uniform(1 - stretch, 1 + stretch, 1, 1)
        return (c * x + s * y) * along, (c * y - s * x) / along

    def paint(canvas, distance, colour):
        """Lay `colour` over `canvas` where `distance` (pixels) is negative, with a soft edge of one pixel."""
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        return canvas + cover * (colour - canvas)

    def clutter(canvas, count):
        """Paint `count` strokes, then as many blobs, which are thick strokes without length."""
        for stroke in [True] * count + [False] * count:
            x, y = turned(0.6)
            half = uniform(0.05 * size, 0.25 * size, 1, 1) if stroke else 0
            thick = uniform(0.3, 0.9, 1, 1) if stroke else uniform(0.5, 0.06 * size, 1, 1)
            distance = _length(np.maximum(np.abs(x) - half, 0), y) - thick
            canvas = paint(canvas, distance, uniform(0.05, 0.95, 1, 1, 3))
        return canvas

    def texture(cells):
        """Smooth noise in [-1, 1], (n, size, size, 1): a grid of random numbers, interpolated."""
        grid = uniform(-1, 1, cells + 1, cells + 1)
        at = axis * np.float32(cells / size)
        low = at.astype(int)
        part = at - low
        rows = grid[:, low] + part[:, None] * (grid[:, low + 1] - grid[:, low])
        return (rows[..., low] + part * (rows[..., low + 1] - rows[..., low]))[..., None]

    ground = uniform(0.1, 0.9, 1, 1, 3)
    candidates = uniform(0.05, 0.95, 3, 1, 1, 3)  # the one of three colours that differs most from the ground
    gap = (candidates - ground[:, None]) ** 2
    colour = candidates[np.arange(n), (gap[..., 0] + gap[..., 1] + gap[..., 2])[:, :, 0, 0].argmax(axis=1)]
    canvas = ground + 0.2 * texture(3) * uniform(-1, 1, 1, 1, 3) + 0.12 * texture(8)
    canvas = clutter(canvas, 2)
    x, y = turned(0.06, stretch=0.12)
    radius = uniform(0.3, 0.4, 1, 1) * size
    x, y, distance = x / radius, y / radius, np.empty((n, size, size), np.float32)
    for label, outline in enumerate((SHAPES | OUTLINED).values()):
        of = labels == label
        distance[of] = outline(x[of], y[of])
    canvas = clutter(paint(canvas, distance * radius, colour + 0.15 * texture(2)), 1)
    noise = uniform(-1, 1, size, size, 3) + uniform(-1, 1, size, size, 3)
    return (np.clip(canvas + uniform(0.02, 0.05, 1, 1, 1) * noise, 0, 1) * 255).astype(np.uint8)
