"""The selectors from the literature: each against a slow version of its definition, and what is special about it.

What holds for every selector of the registry is in test_selection.py.
"""

import math
import warnings

import fpsample
import kmedoids
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist, pdist

from embsel import coresets, selection
from embsel.coresets import (
    density_typical,
    dispersion,
    el2n,
    el2n_easiest,
    facility_location,
    farthest_first,
    kmeans_prototypes,
    margin,
)
from embsel.errors import InputError

# --- references: slow, plain, and written from the definitions ---


def farthest_by_definition(embeddings, k):
    mean = embeddings.mean(axis=0)
    picked = [min(range(len(embeddings)), key=lambda row: math.dist(embeddings[row], mean))]
    while len(picked) < k:
        others = [row for row in range(len(embeddings)) if row not in picked]
        picked.append(max(others, key=lambda row: min(math.dist(embeddings[row], embeddings[pick]) for pick in picked)))
    return picked


def covering_by_definition(embeddings, k):
    """Not lazy, and by the sum of distances itself instead of by what a pick saves."""
    apart = cdist(embeddings, embeddings)
    picked = []
    while len(picked) < k:
        others = [row for row in range(len(embeddings)) if row not in picked]
        picked.append(min(others, key=lambda row: apart[:, [*picked, row]].min(axis=1).sum()))
    return picked


def in_turn_by_definition(groups, cost, k):
    queues = [sorted(np.flatnonzero(groups == group), key=lambda row: (cost[row], row)) for group in np.unique(groups)]
    picked = []
    while any(queues):
        heads = sorted((queue.pop(0) for queue in queues if queue), key=lambda row: (cost[row], row))
        picked += heads
    return [int(row) for row in sorted(picked, key=lambda row: cost[row] == np.inf)[:k]]


def clusters_by_scipy(embeddings, count, seed):
    """SciPy's k-means from the same random rows, one pass at a time."""
    start = embeddings[np.random.default_rng(seed).choice(len(embeddings), count, replace=False)]
    centres, groups = kmeans2(embeddings, start, iter=200, minit="matrix", missing="raise")
    groups = cdist(embeddings, centres).argmin(axis=1)
    return groups, centres


def blobs(rng, count=5, each=12, elements=3):
    """Overlapping clumps of points: there is structure, and still no row that is a near-tie with another."""
    return np.concatenate([rng.normal(2 * rng.normal(size=elements), 1, (each, elements)) for _ in range(count)])


SHAPES = [(40, 4, 9), (25, 1, 8), (12, 20, 12), (60, 20, 5), (40, 3, 1), (1, 2, 1)]  # rows, elements, k

# --- farthest first ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_farthest_first_equals_its_definition(dtype):
    for rows, elements, k in SHAPES:
        embeddings = np.random.default_rng(2).normal(size=(rows, elements)).astype(dtype)
        assert farthest_first(embeddings, k).tolist() == farthest_by_definition(embeddings.astype(float), k), rows


@given(st.integers(1, 3), st.integers(0, 2**32), st.data())
@settings(max_examples=50)
def test_farthest_first_takes_the_lowest_of_equals(elements, seed, data):
    embeddings = np.random.default_rng(seed).integers(0, 4, (16, elements))  # 16: their mean is exact as well
    k = data.draw(st.integers(1, 16))
    assert farthest_first(embeddings, k).tolist() == farthest_by_definition(embeddings, k)


@pytest.mark.parametrize(("rows", "elements", "k"), [(2000, 216, 300), (3000, 3, 200)])
def test_farthest_first_equals_an_independent_implementation(rows, elements, k):
    """Farthest-point sampling, as point clouds are thinned out by it; told where to begin, it takes the last of equals.

    All that is calculated here are integers that float32 holds: no processor rounds anything.
    """
    embeddings = np.random.default_rng(7).integers(0, 100, (rows, elements)).astype(np.float32)
    found = rows - 1 - farthest_first(embeddings, k)
    backwards = np.ascontiguousarray(embeddings[::-1])
    assert fpsample.fps_sampling(backwards, k, start_idx=int(found[0])).tolist() == found.tolist()


def test_farthest_first_loses_no_digits_far_from_zero():
    grid = np.array([[0, 0], [3, 0], [0, 5], [-8, 0], [1, 1]], np.float32)
    expected = farthest_first(grid, 5).tolist()
    assert expected == farthest_by_definition(grid, 5)
    assert farthest_first(grid + np.float32(2**20), 5).tolist() == expected


# --- clusters ---


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_prototypes_are_those_of_another_implementation(seed, monkeypatch):
    monkeypatch.setattr(coresets, "PASSES", 200)  # both until nothing moves
    embeddings = blobs(np.random.default_rng(100 + seed))
    groups, centres = clusters_by_scipy(embeddings, 7, seed)
    lengths = cdist(embeddings, centres).min(axis=1)
    found = kmeans_prototypes(embeddings, 7, seed=seed)
    assert sorted(groups[found]) == list(range(7)), "one of each cluster"
    shortest = [lengths[groups == groups[row]].min() for row in found]
    assert lengths[found] == pytest.approx(shortest), "in a cluster of two, both are as near to its centre"
    assert (np.diff(lengths[found]) >= -1e-9).all(), "the nearest to its centre comes first"


def test_fewer_distinct_rows_than_clusters_give_second_rows():
    embeddings = np.repeat([[0.0], [5.0], [9.0]], [4, 1, 2], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(kmeans_prototypes(embeddings, 5, seed=3).tolist()) == [0, 1, 4, 5, 6]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2.5, np.inf])), min_size=1, max_size=30), st.data())
def test_groups_give_their_cheapest_rows_in_turn(rows, data):
    groups, cost = np.array(rows).T
    k = data.draw(st.integers(1, len(rows)))
    assert coresets._in_turn(groups, cost, k).tolist() == in_turn_by_definition(groups, cost, k)


@pytest.mark.parametrize("seed", range(3))
def test_density_typical_equals_its_definition(seed, monkeypatch):
    monkeypatch.setattr(coresets, "PASSES", 200)
    monkeypatch.setattr(coresets, "NEIGHBOURS", 4)
    embeddings = blobs(np.random.default_rng(200 + seed))
    groups, _ = clusters_by_scipy(embeddings, 6, seed)
    apart = []
    for row, point in enumerate(embeddings):
        others = sorted(math.dist(point, embeddings[r]) for r in np.flatnonzero(groups == groups[row]) if r != row)
        apart.append(np.mean(others[:4]) if others else np.inf)
    expected = in_turn_by_definition(groups, np.array(apart), 20)
    assert density_typical(embeddings, 20, seed=seed, clusters=6).tolist() == expected


def test_a_row_alone_is_the_least_typical():
    embeddings = np.concatenate([[[1e3, 1e3]], np.random.default_rng(0).normal(size=(20, 2))])
    assert density_typical(embeddings, 21, clusters=2, seed=1)[-1] == 0
    assert 0 not in density_typical(embeddings, 20, clusters=2, seed=1)


def test_a_number_of_clusters_is_one():
    for wrong in (0, 2.0, None):
        with pytest.raises(InputError, match="clusters: expected a whole number of at least 1"):
            density_typical(np.eye(9), 3, clusters=wrong)


# --- facility location ---


def test_facility_location_equals_its_definition():
    for rows, elements, k in SHAPES[:2] + SHAPES[3:]:  # not where every row is picked: then two may save the same
        embeddings = np.random.default_rng(6).normal(size=(rows, elements))
        assert facility_location(embeddings, k).tolist() == covering_by_definition(embeddings, k), rows


@pytest.mark.parametrize(("rows", "elements", "k"), [(300, 216, 60), (500, 3, 40)])
def test_facility_location_equals_an_independent_implementation(rows, elements, k):
    """The BUILD phase of PAM is the same greedy: each medoid is the row that lowers the sum of distances most.

    Which of two rows that save the same it takes is its own affair, so here are none.
    """
    embeddings = np.random.default_rng(8).normal(size=(rows, elements))
    built = kmedoids.pam_build(cdist(embeddings, embeddings), k)
    assert facility_location(embeddings, k).tolist() == built.medoids.tolist()


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=40)
def test_facility_location_takes_the_lowest_of_equals(seed, data):
    embeddings = np.random.default_rng(seed).integers(0, 5, (14, 1))  # on a line: distances are integers
    k = data.draw(st.integers(1, 14))
    assert facility_location(embeddings, k).tolist() == covering_by_definition(embeddings, k)


def test_facility_location_goes_class_by_class():
    rng = np.random.default_rng(3)
    embeddings, labels = rng.normal(size=(40, 3)), rng.permutation(np.repeat([0, 4], [30, 10]))
    expected = []
    for label, share in [(0, 6), (4, 2)]:
        rows = np.flatnonzero(labels == label)
        expected += rows[covering_by_definition(embeddings[rows], share)].tolist()
    assert facility_location(embeddings, 8, labels=labels).tolist() == expected


def test_a_class_too_large_for_its_distances_is_dealt_out(monkeypatch):
    monkeypatch.setattr(coresets, "PART", 10)
    held, original = [], coresets._most_covering

    def watched(embeddings, k, **options):
        held.append((len(embeddings), int(k)))
        return original(embeddings, k, **options)

    monkeypatch.setattr(coresets, "_most_covering", watched)
    rng = np.random.default_rng(3)
    embeddings, labels = rng.normal(size=(45, 3)), rng.permutation(np.repeat([0, 1], [36, 9]))
    found = facility_location(embeddings, 15, labels=labels, seed=1)
    assert held == [(9, 3)] * 5
    assert len(set(found.tolist())) == 15
    assert np.bincount(labels[found]).tolist() == [12, 3]
    assert not np.array_equal(found, facility_location(embeddings, 15, labels=labels, seed=2))


# --- by a proxy's probabilities ---

SURE = np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3], [0, 0, 1], [0.1, 0.3, 0.6]])


def test_margin_picks_what_lies_between_two_classes():
    assert margin(SURE, 5).tolist() == [1, 2, 4, 0, 3]
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    gaps = [sorted(row)[-1] - sorted(row)[-2] for row in p]
    assert margin(p, 20).tolist() == sorted(range(50), key=gaps.__getitem__)[:20]


def test_el2n_picks_the_largest_or_smallest_errors():
    assert el2n(SURE, 5, labels=[0, 0, 0, 1, 2]).tolist() == [3, 2, 1, 4, 0]
    assert el2n_easiest(SURE, 3, labels=[0, 0, 0, 1, 2]).tolist() == [0, 4, 1]
    rng = np.random.default_rng(1)
    p, labels = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    errors = [math.dist(row, [float(c == label) for c in range(4)]) for row, label in zip(p, labels, strict=True)]
    hardest = sorted(range(50), key=lambda row: -errors[row])
    assert el2n(p, 20, labels=labels).tolist() == hardest[:20]
    assert el2n_easiest(p, 20, labels=labels).tolist() == hardest[:-21:-1]
    registered = selection.SELECTORS["el2n_easiest"]
    assert (registered.needs, registered.labels) == ("proxy", True)
    assert registered(p, 20, labels=labels).tolist() == hardest[:-21:-1]
    assert "least wrong" in registered.card()["what"]
    assert "most wrong" in selection.SELECTORS["el2n"].card()["what"]


def test_equal_rows_come_in_their_order():
    assert margin(np.full((6, 3), 1 / 3), 4).tolist() == [0, 1, 2, 3]
    for select in (el2n, el2n_easiest):
        found = select(np.full((6, 3), 1 / 3), 4, labels=np.arange(6) % 3)
        assert found.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("select", [margin, el2n])
def test_what_is_no_probability_is_refused(select):
    for wrong in (np.ones((4, 3)), np.ones((4, 1)), [[1.5, -0.5]] * 4, [[0.2, 0.2]] * 4):
        with pytest.raises(InputError, match=rf"embeddings: {select.__name__} expected a proxy's class probabilities"):
            select(wrong, 2, labels=[0, 0, 0, 0])


def test_a_label_without_a_class_is_refused():
    with pytest.raises(InputError, match="labels: expected below 3, found 3"):
        el2n(SURE, 2, labels=[0, 1, 2, 3, 0])


# --- Equation 3 ---


def test_dispersion_is_the_mean_distance_of_two_rows():
    embeddings = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    for k in (2, 3, 50):
        rows = np.random.default_rng(1).choice(60, k, replace=False)
        papers_sum = sum(math.dist(a, b) for a in embeddings[rows].tolist() for b in embeddings[rows].tolist())
        assert dispersion(embeddings, rows) * k * (k - 1) == pytest.approx(papers_sum)


def test_dispersion_in_chunks_is_the_same():
    embeddings = np.random.default_rng(0).normal(size=(5000, 2))  # 200 MB of distances: several chunks
    assert dispersion(embeddings, np.arange(5000)) == pytest.approx(pdist(embeddings).mean())


def test_dispersion_of_duplicates_and_of_one_row():
    embeddings = np.array([[0, 0], [3, 4], [7, 7]])
    assert dispersion(embeddings, [1]) == 0
    assert dispersion(embeddings, [0, 1]) == 5
    assert dispersion(embeddings, [0, 1, 1]) == pytest.approx(2 * (5 + 5 + 0) / 6)


def test_dispersion_refuses_what_is_no_row_and_no_embedding():
    for rows in ([], [0.0, 1.0], [[0, 1]], [0, 9], [-1, 0], [True, False], ["0"]):
        with pytest.raises(InputError, match=r"rows: expected row numbers \(k,\) from 0 to 8"):
            dispersion(np.eye(9), rows)
    for wrong, found in ((np.ones(9), r"\(9,\)"), (np.full((9, 2), np.nan), "nan")):
        with pytest.raises(InputError, match=f"embeddings: expected .*found {found}"):
            dispersion(wrong, [0, 1])
