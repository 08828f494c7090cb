"""What the built-in set promises: the same pixels everywhere, the shape of the label, a task that is not too easy."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embsel.data import shapes
from embsel.sources import shapes as drawing
from embsel.sources.shapes import LINE, OUTLINED, SHAPES


def test_shapes_are_balanced_and_follow_the_seed():
    first = shapes(train=105, test=50, size=16, seed=3)
    assert first.train_images.shape == (105, 16, 16, 3)
    assert np.bincount(first.train_labels).tolist() == [11] * 5 + [10] * 5
    assert np.bincount(first.test_labels).tolist() == [5] * 10
    assert first.class_names == tuple(SHAPES)
    assert first.train_labels[:10].tolist() != list(range(10))  # shuffled
    assert shapes(train=105, test=50, size=16, seed=3).fingerprint == first.fingerprint
    assert shapes(train=105, test=50, size=16, seed=4).fingerprint != first.fingerprint
    np.testing.assert_array_equal(shapes(train=300, test=50, size=16, seed=3).test_images, first.test_images)


def test_shapes_have_the_same_pixels_everywhere():
    assert shapes(train=20, test=10).fingerprint == "57a78258d508"  # to be changed with the drawing, on purpose
    assert shapes(train=20, test=20, outlined=True).fingerprint == "15a6c15ebe50"


def test_the_twenty_classes_are_each_shape_filled_and_as_an_outline():
    made = shapes(train=205, test=60, size=16, outlined=True)
    assert (made.name, made.class_names) == ("shapes-20", (*SHAPES, *(f"outlined {name}" for name in SHAPES)))
    assert np.bincount(made.train_labels).tolist() == [11] * 5 + [10] * 15
    assert np.bincount(made.test_labels).tolist() == [3] * 20
    filled, outlines = (drawing._draw(np.arange(10) + first, 32, np.random.default_rng(0)) for first in (0, 10))
    same = (filled == outlines).all(axis=3)  # one stream of random numbers: outside of the shape nothing differs
    assert 0.6 < same.mean() < 0.8
    assert same[0, 0].all()
    assert not same[0, 16, 16]  # the hole in the disc


def test_outlined_shapes_are_lines_around_a_hole():
    axis = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    line, filled = {name: f(u, v) < 0 for name, f in OUTLINED.items()}, [f(u, v) < 0 for f in SHAPES.values()]
    area = {name: drawn.mean() * 9 for name, drawn in line.items()}
    assert area["outlined disc"] == pytest.approx(2 * np.pi * 0.85 * 2 * LINE, rel=0.02)
    assert area["outlined square"] == pytest.approx(8 * 0.75 * 2 * LINE, rel=0.04)
    assert area["outlined ring"] == pytest.approx(2 * np.pi * (0.95 + 0.55) * 2 * LINE, rel=0.02)
    for drawn, inside in zip(line.values(), filled, strict=True):
        assert (inside & ~drawn).mean() * 9 > 0.7  # a hole of seventy pixels where the radius is ten
        assert (drawn & ~inside).any()


def test_outlines_enclose_the_areas_of_geometry():
    axis = np.linspace(-1.5, 1.5, 601, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    area = {name: (outline(u, v) < 0).mean() * 9 for name, outline in SHAPES.items()}
    pi = np.pi
    expected = {
        "disc": pi * 0.85**2,
        "ring": pi * (0.95**2 - 0.55**2),
        "triangle": 27**0.5 * 0.55**2,
        "square": 1.5**2,
        "cross": 2 * 2 * 0.6 - 0.6**2,
        "star": 5 * 0.36**2 * np.tan(pi / 5) / np.cos(2 * pi / 5),
        "heart": 0.9**2 + 2 * 0.15 * 0.9 + pi * 0.45**2,
        "hourglass": 4 * (0.35 * 0.9**2 + 0.075 * 0.9),
        "pill": 4 * 0.65 * 0.32 + pi * 0.32**2,
    }
    crescent = area.pop("crescent")
    assert area == pytest.approx(expected, rel=0.02)
    assert 0.2 * pi * 0.95**2 < crescent < 0.5 * pi * 0.95**2


def test_an_image_shows_the_shape_of_its_label(monkeypatch):
    discs, rings = (drawing._draw(np.full(50, label), 32, np.random.default_rng(0)).astype(int) for label in (0, 1))
    differs = (discs != rings).any(axis=3).mean(axis=0)
    assert differs[16, 16] > 0.9  # same drawings but for the hole
    assert differs[0].max() == 0
    monkeypatch.setattr(drawing, "_draw", lambda labels, size, rng: np.ones((1, size, size, 3), np.uint8)
                        * (20 * labels[:, None, None, None]).astype(np.uint8))
    made = shapes(train=100, test=30)
    assert (made.train_images[:, 0, 0, 0] == 20 * made.train_labels).all()
    assert (made.test_images[:, 0, 0, 0] == 20 * made.test_labels).all()


def test_shapes_are_no_task_for_a_linear_model():
    made = shapes(train=1000, test=500)
    train, test = (x.reshape(len(x), -1) / 255 - 0.5 for x in (made.train_images, made.test_images))
    model = LogisticRegression(C=0.001, max_iter=40).fit(train, made.train_labels)
    assert model.score(train, made.train_labels) > 0.2  # it has learnt something, by heart
    assert model.score(test, made.test_labels) < 0.35
