"""What holds for every selector of the registry, also for those to come: one call, one door, one card."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from kinds import reference, some_alike

from embsel import selection
from embsel.errors import InputError
from embsel.selection import DUPLICATES, SELECTORS, Selector, per_class, selector, top_activations

every_selector = pytest.mark.parametrize("name", sorted(SELECTORS))


def given_to(name, embeddings):
    """`embeddings`, or for a selector that wants class probabilities, some that are made of them, in the same dtype."""
    if SELECTORS[name].needs != "proxy":
        return embeddings
    if embeddings.shape[1] == 1:  # there is no classifier of one class
        embeddings = embeddings * [1, -1, 0]
    if embeddings.dtype.kind in "iu":
        return (embeddings.argmax(axis=1)[:, None] == np.arange(embeddings.shape[1])).astype(embeddings.dtype)
    powers = np.exp(embeddings.astype(float) - embeddings.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(embeddings.dtype)


@pytest.fixture
def inputs(name):
    """Embeddings, or for a selector that wants them class probabilities, and labels of three classes of equal size."""
    rng = np.random.default_rng(11)
    return given_to(name, rng.normal(size=(90, 6)).astype(np.float32)), rng.permutation(np.arange(90) % 3)


NORMAL = np.random.default_rng(0).normal(size=(30, 4))
HARD = {  # what real embeddings can be at their worst
    "constant": np.full((30, 4), 0.1, np.float32),
    "two distinct rows": np.repeat([[0.1, 0.2, 0.3], [0.7, 0.1, 0.4]], [29, 1], axis=0),
    "all rows twice": np.tile(NORMAL[:15].astype(np.float32), (2, 1)),
    "one element": np.arange(30.0)[:, None] % 7,
    "dead elements": np.eye(30, 9) * [1, 1, 0, 0, 0, 0, 0, 0, 1],
    "more elements than rows": np.random.default_rng(0).normal(size=(12, 40)),
    "far from zero": 1e6 + NORMAL.astype(np.float32),
    "half precision": NORMAL.astype(np.float16),
    "large": 9e14 * np.random.default_rng(0).uniform(-1, 1, (30, 4)).astype(np.float32),
    "pixels": np.random.default_rng(0).integers(0, 256, (30, 8), np.uint8),
    "signed bytes": np.random.default_rng(0).integers(-128, 128, (30, 8), np.int8),
    "one row": np.ones((1, 5)),
}


@pytest.mark.filterwarnings("error")
@every_selector
def test_selector_returns_rows_of_whatever_it_is_given(name):
    for what, embeddings in HARD.items():
        embeddings, total = given_to(name, embeddings), len(embeddings)
        for k in {1, total // 2 + 1, total}:
            rows = SELECTORS[name](embeddings, k, labels=np.arange(total) % 3, seed=1)
            distinct = len(np.unique(rows))
            assert (type(rows), rows.dtype, rows.ndim) == (np.ndarray, np.int64, 1), what
            assert 0 <= rows.min() <= rows.max() < total, what
            assert (len(rows) == k) or (name == "top_activations_drop" and len(rows) < k), what
            assert (len(rows) == distinct) or name == "top_activations_keep", what


@every_selector
def test_selector_repeats_itself_and_leaves_its_input_alone_however_that_lies_in_memory(name, inputs):
    embeddings, labels = inputs
    embeddings.flags.writeable = labels.flags.writeable = False
    np.random.seed(1)  # noqa: NPY002 - a selector that used the global state would differ
    first = SELECTORS[name](embeddings, 17, labels=labels, seed=4)
    np.random.seed(2)  # noqa: NPY002
    wide = np.zeros((180, 12), embeddings.dtype)
    wide[::2, ::-2] = embeddings
    for same in (np.asfortranarray(embeddings), wide[::2, ::-2], embeddings.tolist()):
        again = SELECTORS[name](same, np.int32(17), labels=labels.tolist(), seed=np.uint8(4))
        assert np.array_equal(again, first)


@every_selector
def test_selector_depends_on_the_seed_where_it_says_so_and_else_not_on_the_order_of_the_rows(name, inputs):
    embeddings, labels = inputs
    found = [SELECTORS[name](embeddings, 9, labels=labels, seed=2**31 * seed).tolist() for seed in range(3)]
    assert (found.count(found[0]) < 3) == SELECTORS[name].chance
    assert SELECTORS[name](embeddings, 9, labels=labels).tolist() == found[0], "the seed is 0"
    if not SELECTORS[name].chance:
        moved = np.random.default_rng(8).permutation(90)
        assert moved[SELECTORS[name](embeddings[moved], 9, labels=labels[moved])].tolist() == found[0]


@every_selector
def test_selector_uses_labels_and_embeddings_only_where_it_says_so(name, inputs):
    embeddings, labels = inputs
    if SELECTORS[name].labels:
        with pytest.raises(InputError, match=r"labels: .* needs one integer for each row, found None"):
            SELECTORS[name](embeddings, 10)
    else:
        assert len(SELECTORS[name](embeddings, 10)) <= 10
    others = np.zeros((90, 1)) if SELECTORS[name].needs == "nothing" else embeddings[::-1]
    found, other = (set(SELECTORS[name](given, 25, labels=labels).tolist()) for given in (embeddings, others))
    assert (found == other) == (SELECTORS[name].needs == "nothing")


@every_selector
def test_selector_is_found_by_name_and_has_the_one_signature_and_a_card(name):
    assert selector(name) is SELECTORS[name]
    for function in (SELECTORS[name], SELECTORS[name].select):
        assert str(inspect.signature(function)).startswith("(embeddings, k, *, labels=None, seed=0")
    card = SELECTORS[name].card()
    assert list(card) == ["what", "helps", "knobs"]
    assert all(text.endswith(".") and ":" not in text.split()[0] for text in card.values())
    options = list(inspect.signature(SELECTORS[name].select).parameters)[4:]
    assert all(f"`{option}`" in card["knobs"] for option in options), "a knob is missing from the card"


def test_a_selector_of_ones_own_takes_ten_lines(monkeypatch):
    @selection.door()
    def even_steps(embeddings, k, *, labels=None, seed=0):
        """Rows at even steps along the first element.

        :helps: meant to have something of everything.
        :knobs: none.
        """
        order = np.argsort(embeddings[:, 0], kind="stable")
        return order[np.arange(k) * len(order) // k]

    monkeypatch.setitem(SELECTORS, "even_steps", Selector(even_steps, "even steps"))
    found = selection.selector("even_steps")
    assert found([[3.0], [1], [2], [0]], 2).tolist() == [3, 2]
    assert per_class(found)(np.arange(8)[:, None], 4, labels=[0, 1] * 4).tolist() == [0, 4, 1, 5]
    assert found.card()["helps"] == "meant to have something of everything."
    for wrong, message in (({"k": 5}, "k: expected a whole number of at most N = 4, found 5"),
                           ({"seed": -1}, "seed: expected"), ({"labels": [0]}, r"labels: expected shape \(4,\)"),
                           ({"embeddings": [[np.inf]]}, "the first in row 0")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            found(**({"embeddings": np.ones((4, 2)), "k": 1} | wrong))
    with pytest.raises(InputError, match=r"no selector named 'even_step'; did you mean 'even_steps'"):
        selector("even_step")


def test_each_policy_for_duplicates_has_a_name_and_others_are_refused():
    embeddings = some_alike(np.random.default_rng(11), (90, 6))
    for duplicates in DUPLICATES:
        name = "top_activations" if duplicates == "refill" else f"top_activations_{duplicates}"
        assert SELECTORS[name](embeddings, 40).tolist() == reference(embeddings, 40, duplicates)
    for wrong in ("Keep", None, ["drop"]):
        with pytest.raises(InputError, match=r"no duplicates policy named .*(keep|drop)"):
            top_activations(np.ones((9, 2)), 3, duplicates=wrong)


def test_importing_selectors_imports_nothing_heavy_and_nothing_above_them():
    code = """
import sys, embsel.selection
heavy = {"keras", "sklearn", "scipy", "pandas", "dask", "zarr"}
ours = {name for name in sys.modules if name.startswith("embsel.")}
allowed = {"embsel.errors", "embsel.scale.chunks", "embsel.scale.topk", "embsel.scale"}
print(heavy & set(sys.modules), {name for name in ours - allowed if not name.startswith("embsel.selection")})
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["set()", "set()"]


def with_value(row, element, value):
    embeddings = np.ones((90, 6), np.float32)
    embeddings[row, element] = value
    return embeddings


GOOD = {"embeddings": np.ones((90, 6), np.float32), "k": 10, "labels": np.zeros(90, int), "seed": 0}
BAD = {
    "one-dimensional": ({"embeddings": np.ones(90)}, r"embeddings: expected shape \(N, n\).*found \(90,\)"),
    "no columns": ({"embeddings": np.ones((90, 0))}, r"embeddings: .*not empty, found \(90, 0\)"),
    "truth values": ({"embeddings": np.ones((90, 6), bool)}, "embeddings: .*found bool"),
    "NaN": ({"embeddings": with_value([40, 40, 7], [3, 4, 5], np.nan)}, "3 NaN and 0 infinite .* first in row 7"),
    "-inf": ({"embeddings": with_value(89, 2, -np.inf)}, "0 NaN and 1 infinite .*rows 0 to 89, the first in row 89"),
    "both": ({"embeddings": with_value([8, 4], [1, 2], [np.nan, np.inf])}, "1 NaN and 1 infinite .* in row 4"),
    "k of 0": ({"k": 0}, "k: expected a whole number of at least 1, found 0"),
    "k above N": ({"k": 91}, "k: expected a whole number of at most N = 90, found 91"),
    "k as a truth value": ({"k": True}, "k: expected a whole number .*found True"),
    "one-hot labels": ({"labels": np.zeros((90, 3), int)}, r"labels: .*found \(90, 3\)"),
    "truth-value labels": ({"labels": np.zeros(90, bool)}, "labels: expected integers, found bool"),
    "negative labels": ({"labels": np.arange(90) - 1}, "labels: expected integers >= 0, found -1 in row 0"),
    "seed as a float": ({"seed": 1.0}, "seed: expected .*found 1.0"),
}


@pytest.mark.filterwarnings("error")
@every_selector
def test_selector_refuses(name):
    good = GOOD | {"embeddings": given_to(name, GOOD["embeddings"])}
    for changed, message in BAD.values():
        with pytest.raises(InputError, match=message):
            SELECTORS[name](**(good | changed))


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_too_large_to_square_is_refused_unless_it_is_only_compared(sign):
    embeddings = np.full((20, 3), sign * np.finfo(np.float32).max, np.float32)
    embeddings[::2] = 0
    for name in (name for name in SELECTORS if SELECTORS[name].needs == "embedding"):
        if name.startswith("top_activations"):
            assert set(SELECTORS[name](embeddings, 3, labels=np.zeros(20, int)) % 2) == {sign > 0}
        else:
            with pytest.raises(InputError, match=r"embeddings: expected values below 1e\+15 in size, found 3.4e\+38"):
                SELECTORS[name](embeddings, 5, labels=np.arange(20) % 3)
