"""The selectors: each policy against a plain reference, what holds for any input, and their shared door."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsel import selection
from embsel.errors import InputError
from embsel.selection import (
    DUPLICATES,
    NEEDS_NO_EMBEDDING,
    SELECTORS,
    random_subset,
    selector,
    stratified_random,
    top_activations,
)

every_selector = pytest.mark.parametrize("name", sorted(SELECTORS))


# --- references: slow, plain, and written from the definitions ---


def ranking(column):
    """All rows, strongest first, of equal values the lowest row first."""
    return sorted(range(len(column)), key=lambda row: (-float(column[row]), row))


def reference(embeddings, k, duplicates):
    n = embeddings.shape[1]
    picked = []
    for element in range(n):
        share = k // n + (1 if element < k % n else 0)
        rows = ranking(embeddings[:, element])
        if duplicates == "refill":
            rows = [row for row in rows if row not in picked]
        picked += rows[:share]
    return list(dict.fromkeys(picked)) if duplicates == "drop" else picked


SHAPES = {  # (N, n, k)
    "divides": (40, 4, 12),
    "does not divide": (40, 4, 15),
    "k below n": (30, 7, 3),
    "k equals N": (23, 5, 23),
    "one column": (25, 1, 9),
    "one column, all rows": (25, 1, 25),
    "one row": (1, 6, 1),
    "one of everything": (1, 1, 1),
    "more elements than rows": (5, 12, 5),
    "one image of many": (50, 3, 1),
}
KINDS = {
    "distinct": lambda rng, shape: rng.permutation(shape[0] * shape[1]).reshape(shape).astype(np.float32),
    "many ties": lambda rng, shape: rng.integers(0, 3, shape).astype(np.float32),
    "mostly zero": lambda rng, shape: np.maximum(rng.normal(size=shape) - 1, 0),
    "constant": lambda rng, shape: np.full(shape, -7.0),
    "ascending": lambda rng, shape: np.sort(rng.normal(size=shape), axis=0),
    "one ranking for all": lambda rng, shape: np.tile(rng.permutation(shape[0])[:, None], shape[1]),
    "extreme integers": lambda rng, shape: rng.choice(np.array([-(2**63), -1, 0, 2**62]), shape),
}


@pytest.fixture(params=[(256, 2**28), (4, 2**28), (3, 24), (1, 1)], ids=lambda p: f"groups of {p[0]}, chunks of {p[1]}")
def any_chunking(request, monkeypatch):
    """Small groups and chunks, so that small inputs take every path of a large one."""
    monkeypatch.setattr(selection, "GROUP_ROWS", request.param[0])
    monkeypatch.setattr(selection, "CHUNK_VALUES", request.param[1])


@pytest.mark.usefixtures("any_chunking")
@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_top_activations_equals_the_reference(shape, kind, duplicates):
    rows, elements, k = SHAPES[shape]
    embeddings = KINDS[kind](np.random.default_rng(5), (rows, elements))
    found = top_activations(embeddings, k, duplicates=duplicates)
    assert found.tolist() == reference(embeddings, k, duplicates)


def test_a_worked_example():
    embeddings = np.array([[9, 9], [8, 1], [7, 8], [1, 7], [0, 0]])
    assert top_activations(embeddings, 4, duplicates="keep").tolist() == [0, 1, 0, 2]
    assert top_activations(embeddings, 4, duplicates="drop").tolist() == [0, 1, 2]
    assert top_activations(embeddings, 4, duplicates="refill").tolist() == [0, 1, 2, 3]
    assert top_activations(embeddings, 4).tolist() == [0, 1, 2, 3]
    assert top_activations(embeddings, 3, duplicates="keep").tolist() == [0, 1, 0]


def test_top_activations_over_many_groups_and_chunks(monkeypatch):
    rng = np.random.default_rng(8)
    monkeypatch.setattr(selection, "CHUNK_VALUES", 9 * 1000)
    embeddings = rng.normal(size=(5000, 9)).astype(np.float32)
    ranked = np.argsort(-embeddings, axis=0, kind="stable")
    assert np.array_equal(selection.best_rows(embeddings, 7), ranked[:7])
    assert np.array_equal(top_activations(embeddings, 63, duplicates="keep"), ranked[:7].T.ravel())


def test_chunks_merge_in_any_order():
    rng = np.random.default_rng(2)
    embeddings = rng.integers(0, 4, (60, 5))
    chunks = [selection.best_of_chunk(embeddings[i : i + 13], 6, i) for i in range(0, 60, 13)]
    whole = selection.best_of_chunk(embeddings, 6)
    for _ in range(10):
        best, *others = [chunks[i] for i in rng.permutation(len(chunks))]
        for other in others:
            best = selection.merge(best, other, 6)
        assert np.array_equal(best.rows, whole.rows)
        assert np.array_equal(best.values, whole.values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "uint64"])
@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_every_numeric_dtype_gives_the_same_rows(dtype, duplicates):
    embeddings = np.random.default_rng(3).integers(0, 100, (80, 6))
    found = top_activations(embeddings.astype(dtype), 20, duplicates=duplicates)
    assert found.tolist() == reference(embeddings, 20, duplicates)


def test_views_and_lists_are_as_good_as_arrays():
    embeddings = np.random.default_rng(4).normal(size=(60, 12))
    expected = top_activations(embeddings[::2, ::-1].copy(), 11)
    assert np.array_equal(top_activations(embeddings[::2, ::-1], 11), expected)
    assert np.array_equal(top_activations(np.asfortranarray(embeddings[::2, ::-1]), 11), expected)
    assert np.array_equal(top_activations(embeddings[::2, ::-1].tolist(), 11), expected)


# --- what holds for any input ---


@st.composite
def problems(draw):
    rows, elements = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([2, 5, 1000]))
    embeddings = rng.integers(-values, values, (rows, elements)).astype(
        draw(st.sampled_from([np.float16, np.float32, np.float64, np.int32]))
    )
    return embeddings, draw(st.integers(1, rows))


@given(problems())
@settings(max_examples=150)
def test_policies_relate_as_their_names_say(problem):
    embeddings, k = problem
    keep, drop, refill = (top_activations(embeddings, k, duplicates=d) for d in ("keep", "drop", "refill"))
    assert len(keep) == k
    assert len(refill) == len(set(refill.tolist())) == k
    assert len(drop) == len(set(drop.tolist()))
    assert set(drop.tolist()) == set(keep.tolist())
    first = k // embeddings.shape[1] + (k % embeddings.shape[1] > 0)
    assert keep[:first].tolist() == drop[:first].tolist() == refill[:first].tolist()
    for duplicates, found in (("keep", keep), ("drop", drop), ("refill", refill)):
        assert found.tolist() == reference(embeddings, k, duplicates)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_without_ties_the_order_of_the_rows_is_no_matter(rows, elements, seed, data):
    rng = np.random.default_rng(seed)
    embeddings = rng.permutation(rows * elements).reshape(rows, elements).astype(float)
    k = data.draw(st.integers(1, rows))
    moved = rng.permutation(rows)
    for duplicates in DUPLICATES:
        found = top_activations(embeddings, k, duplicates=duplicates)
        again = top_activations(embeddings[moved], k, duplicates=duplicates)
        assert moved[again].tolist() == found.tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.data(), st.integers(0, 50))
@settings(max_examples=150)
def test_stratified_counts_are_the_largest_remainder_shares(labels, data, seed):
    labels = np.array(labels)
    k = data.draw(st.integers(1, len(labels)))
    picked = stratified_random(np.zeros((len(labels), 1)), k, labels=labels, seed=seed)
    assert len(picked) == len(set(picked.tolist())) == k
    sizes, counts = np.bincount(labels), np.bincount(labels[picked], minlength=labels.max() + 1)
    down, remainder = k * sizes // len(labels), k * sizes % len(labels)
    more = counts - down
    assert set(more.tolist()) <= {0, 1}
    assert remainder[more == 1].min(initial=len(labels)) >= remainder[more == 0].max(initial=0)
    assert (remainder[more == 1] > 0).all()


@pytest.mark.parametrize("k", [10, 50, 100])
def test_stratified_is_exact_on_balanced_classes(k):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 10))
    picked = stratified_random(np.zeros((100, 2)), k, labels=labels, seed=3)
    assert np.bincount(labels[picked]).tolist() == [k // 10] * 10


def test_stratified_with_fewer_rows_than_classes():
    balanced = np.repeat(np.arange(8), 5)
    seen = set()
    for seed in range(60):
        picked = balanced[stratified_random(np.zeros((40, 1)), 3, labels=balanced, seed=seed)]
        assert len(set(picked.tolist())) == 3
        seen |= set(picked.tolist())
    assert seen == set(range(8))  # the lowest classes are not favoured
    uneven = np.repeat([0, 1, 2], [2, 30, 20])
    picked = uneven[stratified_random(np.zeros((52, 1)), 2, labels=uneven)]
    assert sorted(picked.tolist()) == [1, 2]


def test_stratified_takes_label_numbers_with_gaps():
    labels = np.array([7, 10**15, 7, 10**15])
    picked = stratified_random(np.zeros((4, 1)), 2, labels=labels, seed=1)
    assert sorted(labels[picked].tolist()) == [7, 10**15]


# --- chance ---


def chi_square(draw, rows, k, seeds):
    """Sum of squared deviations of how often each row was picked, scaled to have mean `rows` - 1."""
    counts = np.bincount(np.concatenate([draw(seed) for seed in range(seeds)]), minlength=rows)
    expected = seeds * k / rows
    return ((counts - expected) ** 2).sum() / (expected * (1 - k / rows)) * (rows - 1) / rows


@pytest.mark.parametrize("draw", [random_subset, stratified_random])
def test_random_picks_are_uniform(draw):
    rows, k = 100, 10
    embeddings, labels = np.zeros((rows, 1)), np.arange(rows) % 5
    statistic = chi_square(lambda seed: draw(embeddings, k, labels=labels, seed=seed), rows, k, seeds=2000)
    assert 60 < statistic < 149  # 99 degrees of freedom: outside once in a thousand on either side


def test_random_subset_picks_pairs_uniformly():
    pairs = [tuple(random_subset(np.zeros((5, 1)), 2, seed=seed)) for seed in range(2000)]
    counts = np.array([pairs.count(pair) for pair in sorted(set(pairs))])
    assert len(counts) == 10
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # 9 degrees of freedom: once in a thousand


@pytest.mark.parametrize("draw", [random_subset, stratified_random])
def test_random_picks_depend_on_the_seed_and_not_on_the_embeddings(draw):
    labels = np.arange(200) % 4
    one, other = np.zeros((200, 3)), np.random.default_rng(1).normal(size=(200, 3))
    assert np.array_equal(draw(one, 40, labels=labels, seed=9), draw(other, 40, labels=labels, seed=9))
    picks = {tuple(draw(one, 40, labels=labels, seed=seed)) for seed in range(20)}
    assert len(picks) == 20


# --- every selector, also those to come ---


@pytest.fixture
def inputs():
    rng = np.random.default_rng(11)
    return rng.normal(size=(90, 6)).astype(np.float32), rng.permutation(np.arange(90) % 3)


@every_selector
@pytest.mark.parametrize("k", [1, 5, 18, 20, 89, 90])
def test_selector_returns_rows(name, k, inputs):
    embeddings, labels = inputs
    rows = SELECTORS[name](embeddings, k, labels=labels, seed=4)
    assert isinstance(rows, np.ndarray)
    assert (rows.dtype, rows.ndim) == (np.int64, 1)
    assert rows.min() >= 0
    assert rows.max() < 90
    distinct = len(np.unique(rows))
    assert len(rows) == k if name != "top_activations_drop" else 1 <= len(rows) <= k
    assert len(rows) == distinct if name != "top_activations_keep" else distinct <= k


@every_selector
def test_selector_is_deterministic_and_leaves_its_input_alone(name, inputs):
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


@every_selector
def test_selector_needs_no_seed(name, inputs):
    embeddings, labels = inputs
    assert np.array_equal(
        SELECTORS[name](embeddings, 10, labels=labels), SELECTORS[name](embeddings, 10, labels=labels, seed=0)
    )


@every_selector
def test_selector_has_the_one_signature(name):
    parameters = inspect.signature(SELECTORS[name]).parameters
    assert list(parameters)[:4] == ["embeddings", "k", "labels", "seed"]
    assert (parameters["labels"].default, parameters["seed"].default) == (None, 0)
    assert parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", sorted(NEEDS_NO_EMBEDDING))
def test_selectors_without_embedding_see_only_the_number_of_rows(name, inputs):
    embeddings, labels = inputs
    blind = SELECTORS[name](np.zeros((90, 1)), 25, labels=labels, seed=6)
    assert np.array_equal(SELECTORS[name](embeddings, 25, labels=labels, seed=6), blind)


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - NEEDS_NO_EMBEDDING))
def test_the_other_selectors_use_the_embedding(name, inputs):
    embeddings, labels = inputs
    rows, others = (SELECTORS[name](x, 25, labels=labels, seed=6) for x in (embeddings, -embeddings))
    assert set(rows.tolist()) != set(others.tolist())


def with_value(row, element, value):
    embeddings = np.ones((90, 6), np.float32)
    embeddings[row, element] = value
    return embeddings


GOOD = {"embeddings": np.ones((90, 6), np.float32), "k": 10, "labels": np.zeros(90, int), "seed": 0}
BAD = {
    "one-dimensional": (
        {"embeddings": np.ones(90)},
        r"embeddings must be of shape \(N, n\).*found shape \(90,\)",
    ),
    "images": ({"embeddings": np.ones((90, 2, 2))}, r"embeddings .*found shape \(90, 2, 2\)"),
    "no rows": ({"embeddings": np.ones((0, 6))}, r"embeddings .*not empty, found shape \(0, 6\)"),
    "no columns": ({"embeddings": np.ones((90, 0))}, r"embeddings .*not empty, found shape \(90, 0\)"),
    "truth values": ({"embeddings": np.ones((90, 6), bool)}, "embeddings .*found dtype bool"),
    "complex": ({"embeddings": np.ones((90, 6), complex)}, "embeddings .*found dtype complex128"),
    "text": ({"embeddings": np.full((90, 6), "a")}, "embeddings .*found dtype <U1"),
    "objects": ({"embeddings": np.full((90, 6), None)}, "embeddings .*found dtype object"),
    "NaN": ({"embeddings": with_value([40, 40, 7], [3, 4, 5], np.nan)}, "3 NaN and 0 infinite .* first in row 7"),
    "inf": (
        {"embeddings": with_value(89, 0, np.inf)},
        "0 NaN and 1 infinite .*rows 0 to 89, the first in row 89",
    ),
    "-inf": ({"embeddings": with_value([3, 3], [1, 2], -np.inf)}, "0 NaN and 2 infinite .* first in row 3"),
    "all": ({"embeddings": with_value([8, 4], [1, 2], [np.nan, np.inf])}, "1 NaN and 1 infinite .* in row 4"),
    "k of 0": ({"k": 0}, "k must be an integer from 1 to N = 90, found 0"),
    "negative k": ({"k": -3}, "k must be .*found -3"),
    "k above N": ({"k": 91}, "k must be .*N = 90, found 91"),
    "k as a float": ({"k": 10.0}, "k must be an integer .*found 10.0"),
    "k as a truth value": ({"k": True}, "k must be an integer .*found True"),
    "k as NumPy's truth value": ({"k": np.True_}, "k must be an integer .*found np.True_"),
    "k as text": ({"k": "10"}, "k must be an integer .*found '10'"),
    "short labels": ({"labels": np.zeros(89, int)}, r"labels must be of shape \(90,\), found shape \(89,\)"),
    "one-hot labels": ({"labels": np.zeros((90, 3), int)}, r"labels .*found shape \(90, 3\)"),
    "float labels": ({"labels": np.zeros(90)}, "labels must be integers, found dtype float64"),
    "truth-value labels": ({"labels": np.zeros(90, bool)}, "labels must be integers, found dtype bool"),
    "negative labels": ({"labels": np.arange(90) - 1}, "labels must be >= 0, found -1 in row 0"),
    "negative seed": ({"seed": -1}, "seed must be an integer >= 0, found -1"),
    "seed as a float": ({"seed": 1.0}, "seed must be .*found 1.0"),
    "seed as a truth value": ({"seed": False}, "seed must be .*found False"),
    "no seed": ({"seed": None}, "seed must be .*found None"),
}


@pytest.mark.filterwarnings("error")
@every_selector
@pytest.mark.parametrize("fault", BAD)
def test_selector_refuses(name, fault):
    changed, message = BAD[fault]
    with pytest.raises(InputError, match=message):
        SELECTORS[name](**(GOOD | changed))


def test_a_later_chunk_names_its_own_rows(monkeypatch):
    monkeypatch.setattr(selection, "CHUNK_VALUES", 6 * 20)
    with pytest.raises(InputError, match="1 NaN and 0 infinite values in rows 40 to 59, the first in row 47"):
        top_activations(with_value(47, 2, np.nan), 10)


def test_finite_extremes_pass():
    embeddings = np.full((20, 3), np.finfo(np.float32).max, np.float32)
    embeddings[::2] = np.finfo(np.float32).min
    assert top_activations(embeddings, 3).tolist() == [1, 3, 5]
    assert len(random_subset(embeddings, 3)) == 3


def test_stratified_names_the_missing_labels():
    with pytest.raises(InputError, match="stratified_random needs labels"):
        stratified_random(np.ones((9, 2)), 3)


@pytest.mark.parametrize("wrong", ["refil", "Keep", None, 3, ["drop"]])
def test_unknown_duplicates_policy(wrong):
    with pytest.raises(InputError, match="no duplicates policy named"):
        top_activations(np.ones((9, 2)), 3, duplicates=wrong)


def test_names_nearest_to_a_misspelt_one_are_given():
    with pytest.raises(InputError, match="no duplicates policy named 'refil'; did you mean 'refill'"):
        top_activations(np.ones((9, 2)), 3, duplicates="refil")
    with pytest.raises(InputError, match="no selector named 'randon_subset'; did you mean 'random_subset'"):
        selector("randon_subset")


@every_selector
def test_selectors_are_found_by_name(name):
    assert selector(name) is SELECTORS[name]


def test_names_without_embedding_are_selectors():
    assert set(SELECTORS) >= NEEDS_NO_EMBEDDING
    assert set(SELECTORS) >= {"random_subset", "stratified_random", "top_activations"}
    assert set(SELECTORS) >= {"top_activations_drop", "top_activations_keep"}


@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_registered_names_carry_their_policy(duplicates, inputs):
    name = "top_activations" if duplicates == "refill" else f"top_activations_{duplicates}"
    found = SELECTORS[name](inputs[0], 40)
    assert found.tolist() == reference(inputs[0], 40, duplicates)


def test_large_input_needs_little_memory_and_one_row_order_is_as_good_as_another():
    import tracemalloc

    embeddings = np.sort(np.random.default_rng(0).normal(size=(100_000, 40)).astype(np.float32), axis=0)
    tracemalloc.start()
    lists = selection.best_rows(embeddings, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < embeddings.nbytes / 4  # not even one array of truth values of that shape
    assert np.array_equal(lists, np.argsort(-embeddings, axis=0, kind="stable")[:20])
