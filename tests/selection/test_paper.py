"""The paper's filter and its fast twin, the variants that the paper names, random subsets, and class by class."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import KINDS, LAYOUTS, reference

from embsel import selection
from embsel.scale import topk
from embsel.selection import DUPLICATES, equation_4, paper, per_class, top_activations

# (N, n, k): the second k cannot be shared out evenly
SHAPES = [(40, 4, 12), (40, 4, 15), (30, 7, 3), (23, 5, 23), (25, 1, 9), (1, 6, 1), (1, 1, 1), (5, 12, 5)]


@pytest.mark.parametrize(("select", "kind"), [(equation_4, float), (top_activations, float), (top_activations, int)])
def test_a_worked_example(select, kind):
    embeddings = np.array([[9, 9], [8, 1], [7, 8], [1, 7], [0, 0]], kind)
    assert select(embeddings, 4, duplicates="keep").tolist() == [0, 1, 0, 2]
    assert select(embeddings, 4, duplicates="drop").tolist() == [0, 1, 2]
    assert select(embeddings, 4, duplicates="refill").tolist() == select(embeddings, 4).tolist() == [0, 1, 2, 3]
    assert select(embeddings, 3, duplicates="keep").tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"extreme integers"}))
def test_what_is_shown_to_the_reader_is_the_definition(kind):
    for (rows, elements, k), duplicates in itertools.product(SHAPES, DUPLICATES):
        embeddings = KINDS[kind](np.random.default_rng(5), (rows, elements)).astype(float)
        expected = reference(embeddings, k, duplicates)
        assert equation_4(embeddings, k, duplicates).tolist() == expected
        assert top_activations(embeddings, k, duplicates=duplicates).tolist() == expected


@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 9)),
    kind=st.sampled_from(sorted(KINDS)),
    dtype=st.sampled_from(["f2", "f4", "f8", "i2", "i8", ">f4"]),
    layout=st.sampled_from(list(LAYOUTS)),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
@settings(max_examples=100)
def test_the_fast_filter_gives_the_rows_of_the_plain_one_ties_included(shape, kind, dtype, layout, seed, data):
    embeddings = KINDS[kind](np.random.default_rng(seed), shape)
    embeddings = LAYOUTS[layout](embeddings if kind == "extreme integers" else embeddings.astype(dtype))
    k = data.draw(st.integers(1, shape[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "SMALL", 0)  # none is small enough to be sorted
        patch.setattr(topk, "GROUP_ROWS", 4)
        patch.setattr(topk, "BLOCK_BYTES", data.draw(st.sampled_from([1, 300, 2**19])))
        for duplicates in DUPLICATES:
            expected = equation_4(embeddings.astype(float), k, duplicates).tolist()
            assert top_activations(embeddings, k, duplicates=duplicates).tolist() == expected, duplicates


# about the rows of a group, of a group of groups, and those from which on one more level pays for one row
@pytest.mark.parametrize("rows", [32, 1025, 4097, *(pytest.param(n, marks=pytest.mark.long) for n in (33, 131_105))])
def test_groups_of_the_size_in_use_give_what_the_definition_gives(rows, monkeypatch):
    monkeypatch.setattr(paper, "SMALL", 0)
    for (kind, make), duplicates in itertools.product(KINDS.items(), DUPLICATES):
        embeddings, many = make(np.random.default_rng(6), (rows, 5)), min(rows, 4097)
        for k in (1, 18, many // 8, many):
            found = top_activations(embeddings, k, duplicates=duplicates).tolist()
            assert found == reference(embeddings, k, duplicates), (kind, k, duplicates)


# --- variants ---


def standardised(embeddings):
    deviations = embeddings.std(axis=0)
    return (embeddings - embeddings.mean(axis=0)) / np.where(deviations > 0, deviations, 1)


def pairs_by_definition(embeddings, k):
    """Round by round, every element with the one so many places on, each pair of them once."""
    n, activations, pairs, picked = embeddings.shape[1], standardised(embeddings), [], []
    for step, element in itertools.product(range(1, n), range(n)):
        if not any({element, (element + step) % n} == set(pair) for pair in pairs):
            pairs.append((element, (element + step) % n))
    pairs = pairs or [(0, 0)]
    for number, (a, b) in enumerate(pairs):
        share = k // len(pairs) + (number < k % len(pairs))
        weaker = np.array([min(row[a], row[b]) for row in activations])
        picked += [row for row in np.argsort(-weaker, kind="stable").tolist() if row not in picked][:share]
    return picked


@pytest.mark.parametrize("kind", ["distinct", "many ties", "mostly zero", "constant", "one ranking for all"])
def test_pairs_are_those_of_their_definition(kind):
    for rows, elements, k in SHAPES:
        embeddings = KINDS[kind](np.random.default_rng(5), (rows, elements)).astype(float)
        assert selection.pair_activations(embeddings, k).tolist() == pairs_by_definition(embeddings, k)


def test_busy_rows_are_penalised_as_said():
    embeddings = np.random.default_rng(3).normal(size=(500, 20)) ** 3
    activations, usual = standardised(embeddings), {"high": 2.0, "penalty": 0.1}
    for other in ({}, {"high": 1.0}, {"penalty": 1.1}, {"penalty": 0.0}):
        high, penalty = (usual | other).values()
        penalised = activations - penalty * (activations > high).sum(axis=1, keepdims=True)
        found = selection.penalised_activations(embeddings, 100, **other)
        assert found.tolist() == reference(penalised, 100, "refill"), other
    assert found.tolist() == top_activations(embeddings, 100).tolist(), "without a penalty, that is the filter"
    at_the_limit = np.array([[4.0, 4], [-1, -1], [-1, -1], [-1, -1], [-1, -1]])  # two standard deviations, exactly
    assert selection.penalised_activations(at_the_limit, 1, penalty=3.0).tolist() == [0]
    assert selection.penalised_activations(at_the_limit, 1, high=1.9, penalty=3.0).tolist() == [1]


def test_principal_components_are_those_computed_otherwise():
    rng = np.random.default_rng(4)
    embeddings = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 9)) + 0.01 * rng.normal(size=(80, 9))
    z = standardised(embeddings)
    axes = np.linalg.svd(z, full_matrices=False)[2][:3]  # what else there is, is noise
    components = z @ (np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None] * axes).T
    expected = reference(np.hstack([components, -components]), 24, "refill")
    for elements in (1, 2):  # a twin element says nothing new
        assert selection.pca_activations(np.repeat(embeddings, elements, axis=1), 24).tolist() == expected


# --- chance ---


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.data(), st.integers(0, 50))
def test_each_class_gets_the_share_of_the_largest_remainders(labels, data, seed):
    labels, sizes = np.array(labels), np.bincount(labels)
    k = data.draw(st.integers(1, len(labels)))
    for draw in (selection.stratified_random, per_class(selection.random_subset)):
        picked = draw(np.zeros((len(labels), 1)), k, labels=labels, seed=seed)
        assert len(picked) == len(set(picked.tolist())) == k
        down, remainder = np.divmod(k * sizes, len(labels))
        more = np.bincount(labels[picked], minlength=len(sizes)) - down
        assert set(more.tolist()) <= {0, 1}
        assert remainder[more == 1].min(initial=len(labels)) >= remainder[more == 0].max(initial=0)
        assert (remainder[more == 1] > 0).all()


def test_fewer_rows_than_classes_favour_none():
    labels = np.repeat(10 ** np.arange(8), 5)  # with gaps
    picked = [labels[selection.stratified_random(np.zeros((40, 1)), 3, labels=labels, seed=seed)] for seed in range(60)]
    assert {len({*each.tolist()}) for each in picked} == {3}
    assert {*np.concatenate(picked).tolist()} == {*labels.tolist()}


@pytest.mark.parametrize("draw", [selection.random_subset, selection.stratified_random])
def test_random_picks_are_uniform_and_ascending(draw):
    labels = np.arange(100) % 5
    picks = np.array([draw(np.zeros((100, 1)), 10, labels=labels, seed=seed) for seed in range(2000)])
    assert len(set(map(tuple, picks))) == 2000
    assert (np.diff(picks, axis=1) > 0).all()
    statistic = ((np.bincount(picks.ravel()) - 200) ** 2).sum() / (200 * 0.9) * 0.99
    assert 60 < statistic < 149  # 99 degrees of freedom: outside once in a thousand on either side


# --- class by class ---


def test_each_class_is_given_what_the_selector_would_pick_in_it_knobs_and_all():
    rng = np.random.default_rng(7)
    embeddings, labels = rng.normal(size=(60, 4)), rng.permutation(np.repeat([3, 5, 9], [30, 20, 10]))
    for policy in DUPLICATES:
        expected = []
        for label, share in [(3, 9), (5, 6), (9, 3)]:
            rows = np.flatnonzero(labels == label)
            expected += rows[top_activations(embeddings[rows], share, duplicates=policy)].tolist()
        assert per_class(top_activations)(embeddings, 18, labels=labels, duplicates=policy).tolist() == expected
