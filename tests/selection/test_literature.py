"""The selectors from the literature: each against a slow version of its definition, and what is special about it."""

import math
import warnings

import fpsample
import kmedoids
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist, pdist

from embsel.errors import InputError
from embsel.selection import dispersion, el2n, el2n_easiest, facility_location, farthest_first, literature, margin


def covering_by_definition(embeddings, k):
    """Not lazy, and by the sum of distances itself instead of by what a pick saves."""
    apart, picked = cdist(embeddings, embeddings), []
    while len(picked) < k:
        others = [row for row in range(len(embeddings)) if row not in picked]
        picked.append(min(others, key=lambda row: apart[:, [*picked, row]].min(axis=1).sum()))
    return picked


def in_turn_by_definition(groups, cost, k):
    queues = [sorted(np.flatnonzero(groups == group), key=lambda row: (cost[row], row)) for group in np.unique(groups)]
    picked = []
    while any(queues):
        picked += sorted((queue.pop(0) for queue in queues if queue), key=lambda row: (cost[row], row))
    return [int(row) for row in sorted(picked, key=lambda row: cost[row] == np.inf)[:k]]


def clusters_by_scipy(embeddings, count, seed):
    """SciPy's k-means from the same random rows, until nothing moves."""
    start = embeddings[np.random.default_rng(seed).choice(len(embeddings), count, replace=False)]
    centres, _ = kmeans2(embeddings, start, iter=200, minit="matrix", missing="raise")
    return cdist(embeddings, centres).argmin(axis=1), centres


def blobs(seed):
    """Overlapping clumps of points: there is structure, and still no row that is a near-tie with another."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(2 * rng.normal(size=3), 1, (12, 3)) for _ in range(5)])


@pytest.mark.parametrize(("rows", "elements", "k"), [(2000, 216, 300), (200, 1, 40)])
def test_farthest_first_equals_an_independent_implementation(rows, elements, k):
    """Farthest-point sampling, as point clouds are thinned out by it; told where to begin, it takes the last of equals.

    All that is calculated here are integers that float32 holds: no processor rounds anything.
    """
    embeddings = np.random.default_rng(7).integers(0, 100, (rows, elements)).astype(np.float32)
    found = rows - 1 - farthest_first(embeddings, k)
    assert rows - 1 - found[0] == cdist(embeddings, [embeddings.mean(axis=0, dtype=float)]).argmin()
    backwards = np.ascontiguousarray(embeddings[::-1])
    assert fpsample.fps_sampling(backwards, k, start_idx=int(found[0])).tolist() == found.tolist()


def test_farthest_first_loses_no_digits_far_from_zero():
    grid = np.array([[0, 0], [3, 0], [0, 5], [-8, 0], [1, 1]], np.float32)
    assert farthest_first(grid, 5).tolist() == farthest_first(grid + np.float32(2**20), 5).tolist() == [0, 3, 2, 1, 4]


@pytest.mark.parametrize("seed", range(3))
def test_prototypes_are_those_of_another_k_means(seed, monkeypatch):
    monkeypatch.setattr(literature, "PASSES", 200)
    embeddings = blobs(100 + seed)
    groups, centres = clusters_by_scipy(embeddings, 7, seed)
    lengths = cdist(embeddings, centres).min(axis=1)
    found = literature.kmeans_prototypes(embeddings, 7, seed=seed)
    assert sorted(groups[found]) == list(range(7)), "one of each cluster"
    shortest = [lengths[groups == groups[row]].min() for row in found]
    assert lengths[found] == pytest.approx(shortest), "in a cluster of two, both are as near to its centre"
    assert (np.diff(lengths[found]) >= -1e-9).all(), "the nearest to its centre comes first"


def test_fewer_distinct_rows_than_clusters_give_second_rows():
    embeddings = np.repeat([[0.0], [5.0], [9.0]], [4, 1, 2], axis=0)
    with warnings.catch_warnings(action="error"):
        assert sorted(literature.kmeans_prototypes(embeddings, 5, seed=3).tolist()) == [0, 1, 4, 5, 6]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2.5, np.inf])), min_size=1, max_size=30), st.data())
def test_groups_give_their_cheapest_rows_in_turn(rows, data):
    groups, cost = np.array(rows).T
    k = data.draw(st.integers(1, len(rows)))
    assert literature._in_turn(groups, cost, k).tolist() == in_turn_by_definition(groups, cost, k)


@pytest.mark.parametrize("seed", range(3))
def test_typical_rows_are_those_of_the_definition(seed, monkeypatch):
    monkeypatch.setattr(literature, "PASSES", 200)
    monkeypatch.setattr(literature, "NEIGHBOURS", 4)
    embeddings = blobs(200 + seed)
    groups, _ = clusters_by_scipy(embeddings, 6, seed)
    apart = []
    for row, point in enumerate(embeddings):
        others = sorted(math.dist(point, embeddings[r]) for r in np.flatnonzero(groups == groups[row]) if r != row)
        apart.append(np.mean(others[:4]) if others else np.inf)
    expected = in_turn_by_definition(groups, np.array(apart), 20)
    assert literature.density_typical(embeddings, 20, seed=seed, clusters=6).tolist() == expected


def test_a_row_alone_is_the_least_typical():
    embeddings = np.concatenate([[[1e3, 1e3]], np.random.default_rng(0).normal(size=(20, 2))])
    assert literature.density_typical(embeddings, 21, clusters=2, seed=1)[-1] == 0


@given(st.integers(0, 2**32), st.data())
def test_facility_location_is_its_definition_and_takes_the_lowest_of_equals(seed, data):
    embeddings = np.random.default_rng(seed).integers(0, 5, (14, 1))  # on a line: distances are integers
    k = data.draw(st.integers(1, 14))
    assert facility_location(embeddings, k).tolist() == covering_by_definition(embeddings, k)


@pytest.mark.parametrize(("rows", "elements", "k"), [(300, 216, 60), (500, 3, 40)])
def test_facility_location_equals_an_independent_implementation(rows, elements, k):
    """The BUILD phase of PAM is the same greedy; which of two rows that save the same it takes is its own affair."""
    embeddings = np.random.default_rng(8).normal(size=(rows, elements))
    built = kmedoids.pam_build(cdist(embeddings, embeddings), k)
    assert facility_location(embeddings, k).tolist() == built.medoids.tolist()


def test_facility_location_goes_class_by_class_and_deals_out_a_large_class_by_chance(monkeypatch):
    rng = np.random.default_rng(3)
    embeddings, labels = rng.normal(size=(45, 3)), rng.permutation(np.repeat([0, 4], [36, 9]))
    expected = []
    for label, share in [(0, 12), (4, 3)]:
        rows = np.flatnonzero(labels == label)
        expected += rows[covering_by_definition(embeddings[rows], share)].tolist()
    assert facility_location(embeddings, 15, labels=labels).tolist() == expected
    held, original = [], literature._most_covering
    monkeypatch.setattr(literature, "PART", 10)
    monkeypatch.setattr(literature, "_most_covering", lambda x, k, **rest: held.append((len(x), k)) or original(x, k))
    found = facility_location(embeddings, 15, labels=labels, seed=1)
    assert held == [(9, 3)] * 5
    assert np.bincount(labels[sorted({*found})]).tolist() == [12, 0, 0, 0, 3]
    assert not np.array_equal(found, facility_location(embeddings, 15, labels=labels, seed=2))


SURE = np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3], [0, 0, 1], [0.1, 0.3, 0.6]])


def test_margin_picks_what_lies_between_two_classes():
    assert margin(SURE, 5).tolist() == [1, 2, 4, 0, 3]


def test_el2n_picks_the_largest_or_smallest_errors():
    assert el2n(SURE, 5, labels=[0, 0, 0, 1, 2]).tolist() == [3, 2, 1, 4, 0]
    assert el2n_easiest(SURE, 3, labels=[0, 0, 0, 1, 2]).tolist() == [0, 4, 1]


@pytest.mark.parametrize("select", [margin, el2n, el2n_easiest])
def test_a_proxys_probabilities_are_checked_and_equal_rows_come_in_their_order(select):
    assert select(np.full((6, 3), 1 / 3), 4, labels=np.arange(6) % 3).tolist() == [0, 1, 2, 3]
    for wrong in (np.ones((4, 3)), np.ones((4, 1)), [[1.5, -0.5]] * 4, [[0.2, 0.2]] * 4):
        with pytest.raises(InputError, match=r"embeddings: (margin|el2n) expected a proxy's class probabilities"):
            select(wrong, 2, labels=[0, 0, 0, 0])
    if select is not margin:
        with pytest.raises(InputError, match="labels: expected below 3, found 3"):
            select(SURE, 2, labels=[0, 1, 2, 3, 0])


def test_dispersion_is_the_mean_distance_of_two_rows():
    embeddings = np.random.default_rng(0).normal(size=(5000, 2))
    for k in (1, 2, 50):
        rows = np.random.default_rng(1).choice(60, k)  # some of them twice
        papers_sum = sum(math.dist(a, b) for a in embeddings[rows] for b in embeddings[rows])
        assert dispersion(embeddings, rows) * k * (k - 1) == pytest.approx(papers_sum)
    everything = dispersion(embeddings, np.arange(5000))  # 200 MB of distances: several chunks
    assert everything == pytest.approx(pdist(embeddings).mean())


def test_dispersion_refuses_what_is_no_row_and_no_embedding():
    for rows in ([], [0.0, 1.0], [[0, 1]], [0, 9], [-1, 0], [True, False], ["0"]):
        with pytest.raises(InputError, match=r"rows: expected row numbers \(k,\) from 0 to 8"):
            dispersion(np.eye(9), rows)
    for wrong, found in ((np.ones(9), r"\(9,\)"), (np.full((9, 2), np.nan), "nan")):
        with pytest.raises(InputError, match=f"embeddings: expected .*found {found}"):
            dispersion(wrong, [0, 1])
