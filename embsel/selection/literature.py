"""Selectors from the literature: by coverage, by clusters, by density, and by what a short proxy run is unsure of.

Distances are Euclidean; of rows that are equally good, to the rounding of a distance, the lowest wins; the result is in
the order of picking. scikit-learn is imported where it is used, so that importing this room stays light.
"""

import heapq
import warnings

import numpy as np

from embsel.errors import as_array, require, whole
from embsel.scale.topk import strongest
from embsel.selection.contract import Selector, as_floats, door, per_class

NEIGHBOURS = 20  # that TypiClust measures typicality by
PASSES = 10  # of k-means over the rows: more change next to nothing
PART = 5000  # rows whose pairwise distances are held at a time: 100 MB in float32


def _squared(x: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Squared distances (N,) of the rows of `x` to `point`, or each to its own row of it; some rows at a time."""
    pairs = zip(*(np.array_split(each, 1 + x.size // 2**20) for each in np.broadcast_arrays(x, point)), strict=True)
    return np.concatenate([np.square(a - b).sum(axis=1) for a, b in pairs])


@door()
def farthest_first(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """Greedy k-center (Gonzalez 1985; Sener and Savarese 2018): always the row that is farthest from all picks so far.

    It begins with the row nearest to the mean. No row is farther from its nearest pick than twice the best that any k
    rows could do. A pick takes one product of matrix and vector.

    :helps: meant to leave no region out, however thinly it is settled; so it also picks every outlier.
    :knobs: none.
    """
    x = as_floats(embeddings)
    picked = [int(_squared(x, x.mean(axis=0, dtype=np.float64)).argmin())]
    origin = x[picked[0]]  # distances are calculated from here: no offset of the embeddings costs digits
    nearest = (lengths := _squared(x, origin)).copy()
    for _ in range(k - 1):
        nearest[picked[-1]] = -np.inf
        picked.append(int(nearest.argmax()))
        way = x[picked[-1]] - origin
        np.minimum(nearest, lengths + lengths[picked[-1]] - 2 * (x @ way - origin @ way), out=nearest)
    return np.array(picked)


def _clusters(x: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each row, and its squared distance to the centre: k-means from `count` random rows of float64 `x`,
    so that the number of threads does not show. A careful start costs as much as all passes, and changes little.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    start = x[np.random.default_rng(seed).choice(len(x), count, replace=False)]
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # of few distinct rows: some stay empty
        fitted = KMeans(count, init=start, n_init=1, max_iter=PASSES, tol=0).fit(x)
    return fitted.labels_, _squared(x, fitted.cluster_centers_[fitted.labels_])


def _in_turn(groups: np.ndarray, cost: np.ndarray, k: int) -> np.ndarray:
    """`k` rows: the cheapest of every group, cheapest first, then the second of every group, ...; inf last."""
    order = np.lexsort((cost, groups))
    _, first, group = np.unique(groups[order], return_index=True, return_inverse=True)
    turn = np.arange(len(order)) - first[group]
    return order[np.lexsort((order, cost[order], turn, np.isinf(cost[order])))][:k]


@door()
def kmeans_prototypes(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """One row of each of k clusters, the nearest to the cluster's mean: what the paper's future work has in mind.

    The clusters are those of k-means from k random rows, after PASSES passes at most. Where some stay empty, as there
    are fewer distinct rows than k, the others give a second row, then a third.

    :helps: meant to show each kind of row once, as often as it comes in the data; outliers count for little.
    :knobs: none; there are k clusters, not fewer with several rows each, which would be near-copies of one another.
    """
    return _in_turn(*_clusters(as_floats(embeddings).astype(np.float64), k, seed), k)


@door()
def density_typical(embeddings, k, *, labels=None, seed=0, clusters=500) -> np.ndarray:
    """The most typical rows of each cluster in turn, after TypiClust (Hacohen et al. 2022).

    Typicality is one over the mean distance to the nearest NEIGHBOURS rows of the same of min(k, `clusters`) clusters
    of k-means. Each gives its most typical row, then each its second: the densest places of all the data would be
    near-copies of a few images. Rows that are alone in their cluster come last of all.

    :helps: meant for very few rows, where an untypical one is a wasted one.
    :knobs: `clusters`, at most; 500 is TypiClust's own number.
    """
    from sklearn.neighbors import NearestNeighbors

    x = as_floats(embeddings).astype(np.float64)
    groups, _ = _clusters(x, min(k, whole("clusters", clusters, 1)), seed)
    apart = np.full(len(x), np.inf)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) > 1:
            near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(rows) - 1)).fit(x[rows])
            apart[rows] = near.kneighbors()[0].mean(axis=1)  # without an argument: of each row but itself
    return _in_turn(groups, apart, k)


@door()
def facility_location(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that all rows are nearest to on average: each pick lowers the sum of distances to the nearest pick most.

    Greedy, to within 1 - 1/e of the best reduction, the medoid first; lazy (Minoux 1978): few gains are calculated
    again. With labels, each class has its share, and so has each of the equal parts that `seed` makes of a class of
    more than PART rows, whose distances are held at a time.

    :helps: meant for a subset in which everything has a near stand-in; dense regions get more of them than thin ones.
    :knobs: none.
    """
    rng, parts = np.random.default_rng(seed), np.zeros(len(embeddings), np.int64)
    classes = parts.copy() if labels is None else labels
    for label in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == label))
        for part in np.array_split(rows, -(-len(rows) // PART)):
            parts[part] = parts.max() + 1
    return per_class(_most_covering)(embeddings, k, labels=parts, seed=seed)


def _most_covering(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    from sklearn.metrics import euclidean_distances

    apart = euclidean_distances(as_floats(embeddings))
    nearest = apart.max(axis=0)  # as if one far pick were there: so the first lowers the sum most that has the smallest

    def entry(row: int) -> tuple[float, int]:
        return -float(np.maximum(nearest - apart[row], 0).sum(dtype=np.float64)), row

    heap, picked = [entry(row) for row in range(len(apart))], []
    heapq.heapify(heap)
    while len(picked) < k:
        _, row = heapq.heappop(heap)
        if heap and (now := entry(row)) > heap[0]:  # what a pick saves only shrinks, so the heap holds bounds
            heapq.heappush(heap, now)
        else:
            picked.append(row)
            np.minimum(nearest, apart[row], out=nearest)
    return np.array(picked)


def _probabilities(embeddings: np.ndarray, name: str) -> np.ndarray:
    p = embeddings.astype(np.float64)
    good = p.shape[1] > 1 and p.min() >= 0 and np.allclose(p.sum(axis=1), 1, atol=0.01)  # float16 is so far off
    require(good, f"embeddings: {name} expected a proxy's class probabilities (N, classes), found rows that are not.")
    return p


@door()
def margin(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that a proxy is least sure of: smallest difference between its two largest class probabilities.

    `embeddings` are the class probabilities (N, classes) of a short run (Coleman et al. 2020). The least sure first.

    :helps: meant for much data, where the clear cases are soon learnt; of little data it keeps the confusing part.
    :knobs: none, save how long the proxy trains.
    """
    two = np.partition(_probabilities(embeddings, "margin"), -2, axis=1)
    return strongest(two[:, -2] - two[:, -1], k)


def _errors(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared length (N,) of a proxy's error on each row: its class probabilities less the one-hot label."""
    errors = _probabilities(embeddings, "el2n")
    require(labels.max() < errors.shape[1], f"labels: expected below {errors.shape[1]}, found {labels.max()}.")
    errors[np.arange(len(errors)), labels] -= 1
    return np.square(errors).sum(axis=1)


@door(labelled=True)
def el2n(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that a proxy gets most wrong: largest length of its error, probabilities less one-hot label (EL2N).

    `embeddings` are class probabilities (N, classes) of a short run (Paul et al. 2021, who average several networks).

    :helps: meant for pruning a smaller part of much data; where little is kept, the hardest rows are a poor start.
    :knobs: none, save how long the proxy trains.
    """
    return strongest(_errors(embeddings, labels), k)


@door(labelled=True)
def el2n_easiest(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that a proxy gets least wrong: smallest length of its error (Sorscher et al. 2022), least of all first.

    :helps: meant for little data, of which the clear cases have to be learnt first; it leaves out what is unusual.
    :knobs: none, save how long the proxy trains.
    """
    return strongest(-_errors(embeddings, labels), k)


def dispersion(embeddings, rows) -> float:
    """Mean distance between two of the chosen `rows` (k,): the objective of the paper's Equation 3, of any subset.

    The paper sums over k**2 ordered pairs; a mean over the k (k - 1) of two different picks lets subsets of any size
    compare. 0 for one row; InputError unless `rows` are row numbers.
    """
    from sklearn.metrics import pairwise_distances_chunked

    x, rows = as_array("embeddings", embeddings), as_array("rows", rows)
    require(x.ndim == 2, f"embeddings: expected shape (N, n), found {x.shape}.")
    wanted, good = f"rows: expected row numbers (k,) from 0 to {len(x) - 1}", rows.ndim == 1 and rows.dtype.kind in "iu"
    require(good and rows.size, f"{wanted}, at least one, found {rows.dtype} of shape {rows.shape}.")
    require(rows.min() >= 0 and rows.max() < len(x), f"{wanted}, found {rows.min()} to {rows.max()}.")
    parts = pairwise_distances_chunked(as_floats(x[rows]).astype(np.float64), working_memory=64)
    return float(sum(part.sum() for part in parts) / max(1, len(rows) * (len(rows) - 1)))


SELECTORS: dict[str, Selector] = {
    "kmeans_prototypes": Selector(kmeans_prototypes, "k-means", chance=True),
    "kmeans_prototypes_per_class":
        Selector(per_class(kmeans_prototypes), "k-means, per class", labels=True, chance=True),
    "farthest_first": Selector(farthest_first, "farthest first"),
    "farthest_first_per_class": Selector(per_class(farthest_first), "farthest first, per class", labels=True),
    "facility_location": Selector(facility_location, "facility location"),
    "density_typical": Selector(density_typical, "typical", chance=True),
    "margin": Selector(margin, "smallest margin", needs="proxy"),
    "el2n": Selector(el2n, "largest error (EL2N)", needs="proxy", labels=True),
    "el2n_easiest": Selector(el2n_easiest, "smallest error", needs="proxy", labels=True),
}
