"""The filter and its variants against plain references, what holds for every selector, and their shared door."""

import inspect
import itertools
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsel import chunks, selection
from embsel.errors import InputError
from embsel.selection import (
    DUPLICATES,
    SELECTORS,
    pair_activations,
    pca_activations,
    penalised_activations,
    per_class,
    random_subset,
    selector,
    stratified_random,
    top_activations,
)

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


# --- the filter against its definition ---


def reference(embeddings, k, duplicates):
    """Element by element its share of the strongest rows, of equal values the lowest row first; slow and plain."""
    n, picked, taken = embeddings.shape[1], [], set()
    for element, column in enumerate(embeddings.T.astype(float)):
        rows = np.argsort(-column, kind="stable").tolist()
        if duplicates == "refill":
            rows = [row for row in rows if row not in taken]
        picked += rows[: k // n + (element < k % n)]
        taken.update(picked)
    return list(dict.fromkeys(picked)) if duplicates == "drop" else picked


def some_alike(rng, shape):
    """Two rankings, each of many elements, with ties: some lists are used up by elements before, others are not."""
    return rng.integers(0, shape[0] // 2 + 1, (shape[0], 2))[:, rng.integers(0, 2, shape[1])]


# (N, n, k): the second k cannot be shared out evenly
SHAPES = [(40, 4, 12), (40, 4, 15), (30, 7, 3), (23, 5, 23), (25, 1, 9), (25, 1, 25), (1, 6, 1), (1, 1, 1), (5, 12, 5)]
KINDS = {
    "distinct": lambda rng, shape: rng.permutation(shape[0] * shape[1]).reshape(shape).astype(np.float32),
    "many ties": lambda rng, shape: rng.integers(0, 3, shape).astype(np.float32),
    "mostly zero": lambda rng, shape: np.maximum(rng.normal(size=shape) - 1, 0),
    "constant": lambda rng, shape: np.full(shape, -7.0),
    "ascending": lambda rng, shape: np.sort(rng.normal(size=shape), axis=0),
    "descending": lambda rng, shape: -np.sort(-rng.normal(size=shape), axis=0),
    "one ranking for all": lambda rng, shape: np.tile(rng.permutation(shape[0])[:, None], shape[1]),
    "one ranking below zero": lambda rng, shape: np.tile(-1 - rng.random((shape[0], 1)), shape[1]),
    "some alike": some_alike,
    "extreme integers": lambda rng, shape: rng.choice(np.array([-(2**63), -1, 0, 2**62]), shape),
}
LAYOUTS = {
    "as it is": lambda x: x,
    "by columns": np.asfortranarray,
    "each second row, backwards": lambda x: np.repeat(x[::-1], 2, axis=0)[::-2],
    "part of the columns": lambda x: np.pad(x, ((0, 0), (1, 2)))[:, 1:-2],
}


def test_a_worked_example():
    embeddings = np.array([[9, 9], [8, 1], [7, 8], [1, 7], [0, 0]])
    assert top_activations(embeddings, 4, duplicates="keep").tolist() == [0, 1, 0, 2]
    assert top_activations(embeddings, 4, duplicates="drop").tolist() == [0, 1, 2]
    assert top_activations(embeddings, 4, duplicates="refill").tolist() == [0, 1, 2, 3]
    assert top_activations(embeddings, 4).tolist() == [0, 1, 2, 3]
    assert top_activations(embeddings, 3, duplicates="keep").tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_top_activations_equals_the_reference(kind):
    for (rows, elements, k), duplicates in itertools.product(SHAPES, DUPLICATES):
        embeddings = KINDS[kind](np.random.default_rng(5), (rows, elements))
        found = top_activations(embeddings, k, duplicates=duplicates)
        assert found.tolist() == reference(embeddings, k, duplicates), (rows, elements, k, duplicates)


@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 9)),
    kind=st.sampled_from(sorted(set(KINDS) - {"extreme integers"})),
    dtype=st.sampled_from(["float16", "float32", "float64", "int16", "int64", ">f4"]),
    layout=st.sampled_from(list(LAYOUTS)),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
@settings(max_examples=100)
def test_a_pyramid_of_many_levels_gives_what_the_reference_gives(shape, kind, dtype, layout, seed, data):
    embeddings = LAYOUTS[layout](KINDS[kind](np.random.default_rng(seed), shape).astype(dtype))
    k = data.draw(st.integers(1, shape[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "GROUP_ROWS", 4)
        patch.setattr(selection, "BLOCK_BYTES", data.draw(st.sampled_from([1, 300, 2**19])))
        for duplicates in DUPLICATES:
            expected = reference(embeddings, k, duplicates)
            assert top_activations(embeddings, k, duplicates=duplicates).tolist() == expected, duplicates


# about the rows of a group, of a group of groups, and those from which on one and two more levels pay for one row
MORE = [pytest.param(rows, marks=pytest.mark.long) for rows in (31, 33, 1023, 1024, 4096, 131_105)]


@pytest.mark.parametrize("rows", [32, 1025, 4097, *MORE])
def test_groups_of_the_size_in_use_give_what_the_reference_gives(rows):
    for kind, make in KINDS.items():
        embeddings, many = make(np.random.default_rng(6), (rows, 5)), min(rows, 4097)
        for k, duplicates in itertools.product([1, 18, many // 8, many], DUPLICATES):
            found = top_activations(embeddings, k, duplicates=duplicates)
            assert found.tolist() == reference(embeddings, k, duplicates), (kind, k, duplicates)


def test_every_numeric_dtype_gives_the_same_rows():
    embeddings = np.random.default_rng(3).integers(0, 100, (80, 6))
    for dtype in ("float16", "float32", "float64", "int8", "uint8", "int64", "uint64"):
        assert top_activations(embeddings.astype(dtype), 20).tolist() == reference(embeddings, 20, "refill"), dtype


@pytest.mark.parametrize("few", [selection.FEW, 0.5])
def test_top_activations_over_many_groups_and_chunks(few, monkeypatch):
    monkeypatch.setattr(selection, "FEW", few)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 9 * 4 * 1000)
    embeddings = np.random.default_rng(8).normal(size=(5000, 9)).astype(np.float32)
    ranked = np.argsort(-embeddings, axis=0, kind="stable")
    assert np.array_equal(selection.best_rows(embeddings, 7), ranked[:7])
    assert np.array_equal(top_activations(embeddings, 63, duplicates="keep"), ranked[:7].T.ravel())


def test_chunks_merge_in_any_order():
    rng = np.random.default_rng(2)
    embeddings = rng.integers(0, 4, (60, 5))
    parts = [selection.best_of_chunk(embeddings[i : i + 13], 6, i) for i in range(0, 60, 13)]
    whole = selection.best_of_chunk(embeddings, 6)
    for _ in range(10):
        best = selection.merge_all([parts[i] for i in rng.permutation(len(parts))], 6)
        assert np.array_equal(best.rows, whole.rows)
        assert np.array_equal(best.values, whole.values)


def test_used_up_groups_give_way_where_integers_can_be_no_lower(monkeypatch):
    monkeypatch.setattr(selection, "GROUP_ROWS", 4)
    assert top_activations(np.zeros((400, 9), np.uint8), 180).tolist() == list(range(180))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_value_among_many_rows_is_found(value):
    for row in (0, 31, 43_690, 99_999):
        embeddings = np.random.default_rng(0).normal(size=(100_000, 3)).astype(np.float32)
        embeddings[[row, -1], 2] = value
        nan = (row < 99_999) + 1 if np.isnan(value) else 0
        with pytest.raises(InputError, match=f"found {nan} NaN and .* rows 0 to 99999, the first in row {row}"):
            top_activations(embeddings, 9)


def test_rows_are_taken_out_only_where_a_list_is_used_up(monkeypatch):
    taken, take = [], selection._take
    monkeypatch.setattr(selection, "_take", lambda *args: taken.append(args[1]) or take(*args))
    embeddings = np.random.default_rng(1).normal(size=(20_000, 12)).astype(np.float32)
    top_activations(embeddings, 60)
    assert not taken, "in random order, no element's strongest are those of another"
    embeddings[:] = embeddings[:, :1]
    top_activations(embeddings, 60)
    assert [len(rows) for rows in taken] == [10, 10, 10, 10, 10], "with one ranking for all, each second time"


# --- variants of the filter ---


def standardised(embeddings):
    deviations = embeddings.std(axis=0)
    return (embeddings - embeddings.mean(axis=0)) / np.where(deviations > 0, deviations, 1)


def reference_of_pairs(embeddings, k):
    """Round by round, every element with the one so many places on, each pair of them once."""
    n, activations = embeddings.shape[1], standardised(embeddings)
    pairs = []
    for step, element in itertools.product(range(1, n), range(n)):
        if not any({element, (element + step) % n} == set(pair) for pair in pairs):
            pairs.append((element, (element + step) % n))
    pairs = pairs or [(0, 0)]
    picked = []
    for number, (a, b) in enumerate(pairs):
        share = k // len(pairs) + (1 if number < k % len(pairs) else 0)
        weaker = np.array([min(row[a], row[b]) for row in activations])
        picked += [row for row in np.argsort(-weaker, kind="stable").tolist() if row not in picked][:share]
    return picked


@pytest.mark.parametrize("kind", ["distinct", "many ties", "mostly zero", "constant", "one ranking for all"])
def test_pair_activations_equal_the_reference(kind):
    for rows, elements, k in SHAPES:
        embeddings = KINDS[kind](np.random.default_rng(5), (rows, elements)).astype(float)
        assert pair_activations(embeddings, k).tolist() == reference_of_pairs(embeddings, k), (rows, elements, k)


def test_a_pair_wants_both_of_its_elements():
    embeddings = np.array([[9, 0], [0, 9], [5, 5], [1, 1], [0, 0]])
    assert pair_activations(embeddings, 2).tolist() == [2, 3]
    assert pair_activations(embeddings * [1, 100], 2).tolist() == [2, 3], "the unit of an element is no matter"


def test_penalised_activations_equal_the_reference():
    embeddings = np.random.default_rng(3).normal(size=(60, 7)) ** 3
    activations = standardised(embeddings)
    for high, penalty in ((2.0, 0.1), (0.5, 0.4), (0.5, 0.0)):
        busy = [sum(value > high for value in row) for row in activations]
        penalised = np.array([row - penalty * many for row, many in zip(activations, busy, strict=True)])
        found = penalised_activations(embeddings, 20, high=high, penalty=penalty)
        assert found.tolist() == reference(penalised, 20, "refill")
    assert found.tolist() == top_activations(embeddings, 20).tolist(), "without a penalty, that is the filter"


def test_penalised_activations_has_the_defaults_that_it_names():
    embeddings = np.random.default_rng(3).normal(size=(500, 20)) ** 3
    found = penalised_activations(embeddings, 100).tolist()
    assert found == penalised_activations(embeddings, 100, high=2.0, penalty=0.1).tolist()
    for other in ({"high": 1.0}, {"high": 3.0}, {"penalty": 1.1}, {"penalty": -0.9}):
        assert found != penalised_activations(embeddings, 100, **other).tolist()


def test_a_row_is_busy_above_the_limit_not_at_it():
    at_the_limit = np.array([[4.0, 4], [-1, -1], [-1, -1], [-1, -1], [-1, -1]])  # two standard deviations, exactly
    assert penalised_activations(at_the_limit, 1, penalty=3.0).tolist() == [0]
    assert penalised_activations(at_the_limit, 1, high=1.9, penalty=3.0).tolist() == [1]


def test_pca_activations_equal_those_of_components_computed_otherwise():
    rng = np.random.default_rng(4)
    embeddings = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 9)) + 0.01 * rng.normal(size=(80, 9))
    z = standardised(embeddings)
    _, values, axes = np.linalg.svd(z, full_matrices=False)
    axes = axes[: np.searchsorted(np.cumsum(values**2) / (values**2).sum(), 0.95) + 1]
    assert len(axes) == 3, "the noise is left out"
    signs = np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])
    components = z @ (signs[:, None] * axes).T
    expected = reference(np.hstack([components, -components]), 24, "refill")
    assert pca_activations(embeddings, 24).tolist() == expected
    assert pca_activations(np.repeat(embeddings, 2, axis=1), 24).tolist() == expected, "a twin element says nothing new"


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_share_of_variance_is_a_share(wrong):
    with pytest.raises(InputError, match="variance: expected a number between 0 and 1"):
        pca_activations(np.eye(9), 3, variance=wrong)


# --- chance ---


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.data(), st.integers(0, 50))
@settings(max_examples=100)
def test_each_class_gets_the_share_of_the_largest_remainders(labels, data, seed):
    labels = np.array(labels)
    k = data.draw(st.integers(1, len(labels)))
    sizes = np.bincount(labels)
    for draw in (stratified_random, per_class(random_subset)):
        picked = draw(np.zeros((len(labels), 1)), k, labels=labels, seed=seed)
        assert len(picked) == len(set(picked.tolist())) == k
        down, remainder = k * sizes // len(labels), k * sizes % len(labels)
        more = np.bincount(labels[picked], minlength=len(sizes)) - down
        assert set(more.tolist()) <= {0, 1}
        assert remainder[more == 1].min(initial=len(labels)) >= remainder[more == 0].max(initial=0)
        assert (remainder[more == 1] > 0).all()


def test_stratified_with_fewer_rows_than_classes_favours_none():
    balanced = np.repeat(np.arange(8), 5)
    seen = set()
    for seed in range(60):
        picked = balanced[stratified_random(np.zeros((40, 1)), 3, labels=balanced, seed=seed)]
        assert len(set(picked.tolist())) == 3
        seen |= set(picked.tolist())
    assert seen == set(range(8))


def test_stratified_takes_label_numbers_with_gaps():
    labels = np.array([7, 10**15, 7, 10**15])
    picked = stratified_random(np.zeros((4, 1)), 2, labels=labels, seed=1)
    assert sorted(labels[picked].tolist()) == [7, 10**15]


@pytest.mark.parametrize("draw", [random_subset, stratified_random])
def test_random_picks_are_uniform(draw):
    rows, k, seeds = 100, 10, 2000
    labels = np.arange(rows) % 5
    picks = [draw(np.zeros((rows, 1)), k, labels=labels, seed=seed) for seed in range(seeds)]
    assert len(set(map(tuple, picks))) == seeds
    expected = seeds * k / rows
    deviations = ((np.bincount(np.concatenate(picks), minlength=rows) - expected) ** 2).sum()
    statistic = deviations / (expected * (1 - k / rows)) * (rows - 1) / rows
    assert 60 < statistic < 149  # 99 degrees of freedom: outside once in a thousand on either side


def test_random_subset_picks_pairs_uniformly():
    pairs = [tuple(random_subset(np.zeros((5, 1)), 2, seed=seed)) for seed in range(2000)]
    counts = np.array([pairs.count(pair) for pair in sorted(set(pairs))])
    assert len(counts) == 10
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # 9 degrees of freedom: once in a thousand


# --- class by class ---


def test_per_class_picks_within_each_class_what_the_selector_would():
    rng = np.random.default_rng(7)
    embeddings, labels = rng.normal(size=(60, 4)), rng.permutation(np.repeat([3, 5, 9], [30, 20, 10]))
    expected = []
    for label, share in [(3, 9), (5, 6), (9, 3)]:
        rows = np.flatnonzero(labels == label)
        expected += rows[top_activations(embeddings[rows], share)].tolist()
    found = SELECTORS["top_activations_per_class"](embeddings, 18, labels=labels)
    assert found.tolist() == expected


def test_per_class_passes_knobs_on():
    embeddings, labels = np.tile(np.arange(12.0)[:, None], 3), np.arange(12) % 2
    kept = per_class(top_activations)(embeddings, 12, labels=labels, duplicates="keep")
    assert kept.tolist() == 3 * [10, 8] + 3 * [11, 9]


# --- every selector, also those to come ---


@pytest.fixture
def inputs(name):
    """Embeddings, or for a selector that wants them class probabilities, and labels of three classes of equal size."""
    rng = np.random.default_rng(11)
    return given_to(name, rng.normal(size=(90, 6)).astype(np.float32)), rng.permutation(np.arange(90) % 3)


def assert_rows(rows, name, k, total):
    assert isinstance(rows, np.ndarray)
    assert (rows.dtype, rows.ndim) == (np.int64, 1)
    assert rows.min() >= 0
    assert rows.max() < total
    distinct = len(np.unique(rows))
    assert len(rows) == k if name != "top_activations_drop" else 1 <= len(rows) <= k
    assert len(rows) == distinct if name != "top_activations_keep" else distinct <= k


HARD = {  # what real embeddings can be at their worst
    "constant": np.full((30, 4), 0.1, np.float32),
    "two distinct rows": np.repeat([[0.1, 0.2, 0.3], [0.7, 0.1, 0.4]], [29, 1], axis=0),
    "all rows twice": np.tile(np.random.default_rng(0).normal(size=(15, 4)).astype(np.float32), (2, 1)),
    "one element": np.arange(30.0)[:, None] % 7,
    "dead elements": np.eye(30, 9) * [1, 1, 0, 0, 0, 0, 0, 0, 1],
    "more elements than rows": np.random.default_rng(0).normal(size=(12, 40)),
    "far from zero": 1e6 + np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32),
    "half precision": np.random.default_rng(0).normal(size=(30, 4)).astype(np.float16),
    "large": 9e14 * np.random.default_rng(0).uniform(-1, 1, (30, 4)).astype(np.float32),
    "pixels": np.random.default_rng(0).integers(0, 256, (30, 8), np.uint8),
    "signed bytes": np.random.default_rng(0).integers(-128, 128, (30, 8), np.int8),
    "one row": np.ones((1, 5)),
    "none of this": np.random.default_rng(11).normal(size=(90, 6)),
}


@pytest.mark.filterwarnings("error")
@every_selector
def test_selector_returns_rows_of_whatever_it_is_given(name):
    for embeddings in HARD.values():
        embeddings, total = given_to(name, embeddings), len(embeddings)
        for k in {1, total // 2 + 1, total}:
            assert_rows(SELECTORS[name](embeddings, k, labels=np.arange(total) % 3, seed=1), name, k, total)


@every_selector
def test_selector_is_deterministic_and_leaves_its_input_alone_however_that_lies_in_memory(name, inputs):
    embeddings, labels = inputs
    before = embeddings.copy(), labels.copy()
    embeddings.flags.writeable = labels.flags.writeable = False
    np.random.seed(1)  # noqa: NPY002 - a selector that used the global state would differ
    first = SELECTORS[name](embeddings, 17, labels=labels, seed=4)
    np.random.seed(2)  # noqa: NPY002
    again = SELECTORS[name](embeddings, np.int32(17), labels=labels.tolist(), seed=np.uint8(4))
    assert np.array_equal(first, again)
    assert np.array_equal(embeddings, before[0])
    assert np.array_equal(labels, before[1])
    assert not np.shares_memory(first, embeddings)
    wide = np.zeros((180, 12), embeddings.dtype)
    wide[::2, ::-2] = embeddings
    for same in (np.asfortranarray(embeddings), wide[::2, ::-2], embeddings.tolist()):
        assert np.array_equal(SELECTORS[name](same, 17, labels=labels, seed=4), first)


@every_selector
def test_selector_depends_on_the_seed_where_it_says_so_and_else_not_on_the_order_of_the_rows(name, inputs):
    embeddings, labels = inputs
    found = SELECTORS[name](embeddings, 27, labels=labels)
    assert np.array_equal(SELECTORS[name](embeddings, 27, labels=labels, seed=0), found)
    others = {tuple(SELECTORS[name](embeddings, 27, labels=labels, seed=2**31 * seed)) for seed in range(3)}
    assert (len(others) > 1) == SELECTORS[name].chance
    if not SELECTORS[name].chance:
        moved = np.random.default_rng(8).permutation(90)
        again = SELECTORS[name](embeddings[moved], 9, labels=labels[moved])
        assert moved[again].tolist() == SELECTORS[name](embeddings, 9, labels=labels).tolist()


@every_selector
def test_selector_uses_labels_and_embeddings_only_where_it_says_so(name, inputs):
    embeddings, labels = inputs
    if SELECTORS[name].labels:
        with pytest.raises(InputError, match=r"labels: .* needs one integer for each row, found None"):
            SELECTORS[name](embeddings, 10)
    else:
        assert_rows(SELECTORS[name](embeddings, 10), name, 10, 90)
    found = SELECTORS[name](embeddings, 25, labels=labels, seed=6)
    if SELECTORS[name].needs == "nothing":
        blind = SELECTORS[name](np.zeros((90, 1)), 25, labels=labels, seed=6)
        assert np.array_equal(found, blind)
    else:
        assert set(found.tolist()) != set(SELECTORS[name](embeddings[::-1], 25, labels=labels, seed=6).tolist())


@every_selector
def test_selector_is_found_by_name_and_has_the_one_signature_and_a_card(name):
    assert selector(name) is SELECTORS[name]
    for function in (SELECTORS[name], SELECTORS[name].select):
        parameters = inspect.signature(function).parameters
        assert list(parameters)[:4] == ["embeddings", "k", "labels", "seed"]
        assert (parameters["labels"].default, parameters["seed"].default) == (None, 0)
        assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    card = SELECTORS[name].card()
    assert list(card) == ["what", "helps", "knobs"]
    assert all(text.endswith(".") and ":" not in text.split()[0] for text in card.values())
    options = list(inspect.signature(SELECTORS[name].select).parameters)[4:]
    assert all(f"`{option}`" in card["knobs"] for option in options), "a knob is missing from the card"
    assert SELECTORS[name].needs in {"nothing", "embedding", "proxy"}


def test_scikit_learn_is_imported_only_where_it_is_used():
    code = "import sys, embsel.selection; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def with_value(row, element, value):
    embeddings = np.ones((90, 6), np.float32)
    embeddings[row, element] = value
    return embeddings


GOOD = {"embeddings": np.ones((90, 6), np.float32), "k": 10, "labels": np.zeros(90, int), "seed": 0}
BAD = {
    "one-dimensional": ({"embeddings": np.ones(90)}, r"embeddings: expected shape \(N, n\).*found \(90,\)"),
    "images": ({"embeddings": np.ones((90, 2, 2))}, r"embeddings: .*found \(90, 2, 2\)"),
    "no rows": ({"embeddings": np.ones((0, 6))}, r"embeddings: .*not empty, found \(0, 6\)"),
    "no columns": ({"embeddings": np.ones((90, 0))}, r"embeddings: .*not empty, found \(90, 0\)"),
    "truth values": ({"embeddings": np.ones((90, 6), bool)}, "embeddings: .*found bool"),
    "complex": ({"embeddings": np.ones((90, 6), complex)}, "embeddings: .*found complex128"),
    "text": ({"embeddings": np.full((90, 6), "a")}, "embeddings: .*found <U1"),
    "objects": ({"embeddings": np.full((90, 6), None)}, "embeddings: .*found object"),
    "NaN": ({"embeddings": with_value([40, 40, 7], [3, 4, 5], np.nan)}, "3 NaN and 0 infinite .* first in row 7"),
    "inf": ({"embeddings": with_value(89, 0, np.inf)}, "0 NaN and 1 infinite .*rows 0 to 89, the first in row 89"),
    "-inf": ({"embeddings": with_value([3, 3], [1, 2], -np.inf)}, "0 NaN and 2 infinite .* first in row 3"),
    "all": ({"embeddings": with_value([8, 4], [1, 2], [np.nan, np.inf])}, "1 NaN and 1 infinite .* in row 4"),
    "k of 0": ({"k": 0}, "k: expected a whole number of at least 1, found 0"),
    "negative k": ({"k": -3}, "k: expected .*found -3"),
    "k above N": ({"k": 91}, "k: expected a whole number of at most N = 90, found 91"),
    "k as a float": ({"k": 10.0}, "k: expected a whole number .*found 10.0"),
    "k as a truth value": ({"k": True}, "k: expected a whole number .*found True"),
    "k as NumPy's truth value": ({"k": np.True_}, "k: expected a whole number .*found np.True_"),
    "k as text": ({"k": "10"}, "k: expected a whole number .*found '10'"),
    "short labels": ({"labels": np.zeros(89, int)}, r"labels: expected shape \(90,\), found \(89,\)"),
    "one-hot labels": ({"labels": np.zeros((90, 3), int)}, r"labels: .*found \(90, 3\)"),
    "float labels": ({"labels": np.zeros(90)}, "labels: expected integers, found float64"),
    "truth-value labels": ({"labels": np.zeros(90, bool)}, "labels: expected integers, found bool"),
    "negative labels": ({"labels": np.arange(90) - 1}, "labels: expected integers >= 0, found -1 in row 0"),
    "negative seed": ({"seed": -1}, "seed: expected a whole number of at least 0, found -1"),
    "seed as a float": ({"seed": 1.0}, "seed: expected .*found 1.0"),
    "seed as a truth value": ({"seed": False}, "seed: expected .*found False"),
    "no seed": ({"seed": None}, "seed: expected .*found None"),
}


@pytest.mark.filterwarnings("error")
@every_selector
def test_selector_refuses(name):
    good = GOOD | {"embeddings": given_to(name, GOOD["embeddings"])}
    for changed, message in BAD.values():
        with pytest.raises(InputError, match=message):
            SELECTORS[name](**(good | changed))


def test_a_later_chunk_names_its_own_rows(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 6 * 4 * 20)
    with pytest.raises(InputError, match="1 NaN and 0 infinite values in rows 40 to 59, the first in row 47"):
        top_activations(with_value(47, 2, np.nan), 6)


def test_finite_extremes_pass():
    embeddings = np.full((20, 3), np.finfo(np.float32).max, np.float32)
    embeddings[::2] = np.finfo(np.float32).min
    assert top_activations(embeddings, 3).tolist() == [1, 3, 5]
    assert len(random_subset(embeddings, 3)) == 3


def test_what_is_too_large_to_square_is_refused_unless_it_is_only_compared():
    names = [name for name in SELECTORS if SELECTORS[name].needs == "embedding"]
    for name, sign in itertools.product(names, (1, -1)):
        embeddings = np.full((20, 3), sign * np.finfo(np.float32).max, np.float32)
        embeddings[::2] = 0
        if name.startswith("top_activations"):
            assert_rows(SELECTORS[name](embeddings, 5, labels=np.arange(20) % 3), name, 5, 20)
        else:
            with pytest.raises(InputError, match=r"embeddings: expected values below 1e\+15 in size, found 3.4e\+38"):
                SELECTORS[name](embeddings, 5, labels=np.arange(20) % 3)


def test_unknown_names_are_refused_with_the_nearest():
    for wrong in ("Keep", None, 3, ["drop"]):
        with pytest.raises(InputError, match="no duplicates policy named"):
            top_activations(np.ones((9, 2)), 3, duplicates=wrong)
    with pytest.raises(InputError, match="no duplicates policy named 'refil'; did you mean 'refill'"):
        top_activations(np.ones((9, 2)), 3, duplicates="refil")
    with pytest.raises(InputError, match="no selector named 'randon_subset'; did you mean 'random_subset'"):
        selector("randon_subset")


def test_the_registered_names():
    assert {name for name in SELECTORS if SELECTORS[name].needs == "nothing"} == {"random_subset", "stratified_random"}
    embeddings = KINDS["some alike"](np.random.default_rng(11), (90, 6))
    for duplicates in DUPLICATES:
        name = "top_activations" if duplicates == "refill" else f"top_activations_{duplicates}"
        assert SELECTORS[name](embeddings, 40).tolist() == reference(embeddings, 40, duplicates)


# --- little memory ---


@pytest.mark.parametrize("waits", [False, True])
def test_large_input_needs_little_memory_whatever_the_order_of_its_rows(waits, monkeypatch):
    """Where half of the columns ascend, close to half of all groups hold values that are above the lists, and wait."""
    embeddings = np.random.default_rng(0).normal(size=(200_000, 40)).astype(np.float32)
    embeddings[:, :20] = np.sort(embeddings[:, :20], axis=0)
    embeddings[:, 20:] = np.sort(embeddings[:, 20:], axis=0)[:: -1 if waits else 1]
    limit = embeddings.nbytes / 4  # not even one array of truth values of that shape
    if waits:
        limit = 2**22
        monkeypatch.setattr(chunks, "CHUNK_BYTES", limit)  # 8 chunks
    tracemalloc.start()
    lists = selection.best_rows(embeddings, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit
    assert np.array_equal(lists, np.argsort(-embeddings, axis=0, kind="stable")[:20])
