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
    twenty = shapes(train=20, test=20, outlined=True)
    assert twenty.fingerprint == "15a6c15ebe50"
    assert (twenty.name, twenty.class_names) == ("shapes-20", (*SHAPES, *(f"outlined {name}" for name in SHAPES)))


def test_the_twenty_classes_are_each_shape_filled_and_as_an_outline():
    filled, outlines = (drawing._draw(np.arange(10) + first, 32, np.random.default_rng(0)) for first in (0, 10))
    same = (filled == outlines).all(axis=3)  # one stream of random numbers: outside of the shape nothing differs
    assert 0.6 < same.mean() < 0.8
    assert same[0, 0].all()
    assert not same[0, 16, 16]  # the hole in the disc


def test_outlines_enclose_the_areas_of_geometry_and_lines_go_around_a_hole():
    u, v = np.meshgrid(*[np.linspace(-1.5, 1.5, 601, dtype=np.float32)] * 2)
    area, pi = {name: (outline(u, v) < 0).mean() * 9 for name, outline in (SHAPES | OUTLINED).items()}, np.pi
    assert 0.2 * pi * 0.95**2 < area["crescent"] < 0.5 * pi * 0.95**2
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
        "outlined disc": 2 * pi * 0.85 * 2 * LINE,
    }
    assert {name: area[name] for name in expected} == pytest.approx(expected, rel=0.02)
    for name, outline in SHAPES.items():
        drawn, inside = OUTLINED[f"outlined {name}"](u, v) < 0, outline(u, v) < 0
        assert (inside & ~drawn).mean() * 9 > 0.7  # a hole of seventy pixels where the radius is ten
        assert (drawn & ~inside).any()


def test_an_image_shows_the_shape_of_its_label(monkeypatch):
    def grey(labels, size, rng):  # as bright as its label
        return np.tile(np.uint8(20 * labels)[:, None, None, None], (1, size, size, 3))

    monkeypatch.setattr(drawing, "_draw", grey)
    made = shapes(train=100, test=30)
    assert (made.train_images[:, 0, 0, 0] == 20 * made.train_labels).all()
    assert (made.test_images[:, 0, 0, 0] == 20 * made.test_labels).all()


def test_shapes_are_no_task_for_a_linear_model():
    made = shapes(train=1000, test=500)
    train, test = (x.reshape(len(x), -1) / 255 - 0.5 for x in (made.train_images, made.test_images))
    model = LogisticRegression(C=0.001, max_iter=40).fit(train, made.train_labels)
    assert model.score(train, made.train_labels) > 0.2  # it has learnt something, by heart
    assert model.score(test, made.test_labels) < 0.35
