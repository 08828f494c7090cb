"""The paper's filter, as a reader would write it and for arrays of any size; its variants; random subsets."""

import functools

import numpy as np

from embsel import errors
from embsel.scale import chunks, topk
from embsel.selection.contract import Selector, as_floats, door, per_class, shares

DUPLICATES = ("drop", "keep", "refill")
SMALL = 2**12  # values that are sorted sooner than searched


def equation_4(embeddings, k: int, duplicates: str = "refill") -> np.ndarray:
    """Rows of float `embeddings` (N, n): of each element in turn its k / n highest."""
    n, free, picked = embeddings.shape[1], np.ones(len(embeddings), bool), []
    for element in range(n):
        rows = np.argsort(-embeddings[:, element], kind="stable")  # highest first
        if duplicates == "refill":  # walk on down the list to rows that are still free
            rows = rows[free[rows]]
        rows = rows[: k // n + (element < k % n)]
        free[rows] = False
        picked += rows.tolist()
    return np.array(list(dict.fromkeys(picked)) if duplicates == "drop" else picked)


@door(finite=False, chunked=True)
def top_activations(embeddings, k, *, labels=None, seed=0, duplicates="refill") -> np.ndarray:
    """The k/n rows that activate each of the n embedding elements most (the paper's Equation 4).

    Where n does not divide k, the first k % n elements get one row more. Of equal values the lowest row wins.
    The order is element by element, strongest first. `labels` and `seed` change nothing.

    A row can be among the strongest of several elements, and the paper does not say what becomes of it: its 4,320 rows
    are exactly 216 x 20, so it counted duplicates or made up for them. Hence three policies:

    - ``"refill"``, the default: each element walks down its list to its share of rows that nobody took before.
    - ``"drop"``: the plain union of the lists, each row where it comes first: k rows or fewer.
    - ``"keep"``: the lists as they are: k rows, the same row possibly several times.

    The embeddings may also be a memory map, a Zarr or a Dask array, or an iterable of chunks (rows, n). The answer is
    always that of `equation_4`; how it is found in large arrays is in `embsel.scale.topk`.

    :helps: meant to show every feature that the encoder knows in its purest form; it picks extremes by design.
    :knobs: `duplicates`, what becomes of a row that is in several lists.
    """
    if duplicates not in DUPLICATES:
        raise errors.unknown("duplicates policy", duplicates, DUPLICATES)
    if chunks.in_memory(embeddings) and embeddings.dtype.kind == "f" and embeddings.size <= SMALL:
        chunks.check_finite(embeddings)
        return equation_4(embeddings, k, duplicates)
    rows = topk.pick(embeddings, k, once=duplicates == "refill")
    return np.array(list(dict.fromkeys(rows.tolist()))) if duplicates == "drop" else rows


def _standardised(embeddings: np.ndarray) -> np.ndarray:
    """Each element less its mean, in its standard deviations: what is high in one compares with what is in another."""
    x = as_floats(embeddings)
    x = x - x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    deviations = np.sqrt(np.einsum("ij,ij->j", x, x, dtype=np.float64) / len(x))
    x /= np.where(deviations > 0, deviations, 1).astype(x.dtype)
    return x


@door()
def pair_activations(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """The rows that activate two embedding elements together most (section 4.3: "combinations of elements").

    A row is as strong in a pair as in the weaker of the two elements, each in its standard deviations: high in both.
    The pairs come in rounds: each element with its neighbour, then with the next but one ... So every element has two
    turns in a round. Each pair takes its share, or else one row: the strongest that are free, the lowest of equals.

    :helps: meant for embeddings that are small for the data, where a list for each element gets long and uniform.
    :knobs: none.
    """
    n, columns = embeddings.shape[1], np.ascontiguousarray(_standardised(embeddings).T)
    total = max(n * (n - 1) // 2, 1)  # a single element pairs with itself
    pairs = ((i, (i + step) % n) for step in range(1, n + 1) for i in range(n))  # after `total` they would come again
    each = k // total + (np.arange(total) < k % total)
    free, picked = np.ones(len(embeddings), bool), []
    for (a, b), share in zip(pairs, each[:k], strict=False):
        rows = topk.strongest(np.where(free, np.minimum(columns[a], columns[b]), -np.inf), share)
        free[rows] = False
        picked.append(rows)
    return np.concatenate(picked)


@door()
def penalised_activations(embeddings, k, *, labels=None, seed=0, high=2.0, penalty=0.1) -> np.ndarray:
    """The paper's filter, less a penalty for "too many highly-active features" (its future work, section 6).

    An element is highly active in a row if it lies `high` of its standard deviations above its mean. Each that is so
    takes `penalty` standard deviations off all of the row's activations; then `top_activations`, refilled, chooses.

    :helps: meant to isolate features, where a few busy images lead many of the lists.
    :knobs: `high`, in standard deviations; `penalty`, in standard deviations for each highly active element.
    """
    activations = _standardised(embeddings)
    activations -= penalty * (activations > high).sum(axis=1, keepdims=True, dtype=activations.dtype)
    return top_activations(activations, k)


@door()
def pca_activations(embeddings, k, *, labels=None, seed=0, variance=0.95) -> np.ndarray:
    """The paper's filter on principal components ("a good precursor", section 6) instead of the elements themselves.

    The components are the first that hold `variance` of the standardised elements. A component has no natural sign,
    so each leads two lists, one of its largest and one of its smallest values; refilled as in `top_activations`.

    :helps: meant for elements that say the same: their lists would be filled with the same kind of row.
    :knobs: `variance`, the share of it that the components hold, above 0 and below 1.
    """
    from sklearn.decomposition import PCA

    errors.share("variance", variance)
    with np.errstate(invalid="ignore", divide="ignore"):  # constant embeddings have no variance to share out
        components = PCA(variance).fit_transform(_standardised(embeddings))
    return top_activations(np.hstack([components, -components]), k)


@door(finite=False, chunked=True)
def random_subset(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random without replacement, every set of k equally likely; in ascending order.

    :helps: always the baseline: whatever a selector costs and promises is measured against it.
    :knobs: none.
    """
    return np.sort(np.random.default_rng(seed).choice(chunks.finite_rows(embeddings), k, replace=False))


@door(labelled=True)
def stratified_random(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """`k` rows at random, each class in the proportion that it has among all rows; in ascending order.

    :helps: the fair baseline of every selector that looks at labels; with few rows a class, it keeps all of them in.
    :knobs: none.
    """
    rng = np.random.default_rng(seed)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    counts, shuffled = shares(sizes, k, rng), rng.permutation(len(labels))
    by_class = np.split(shuffled[np.argsort(classes[shuffled], kind="stable")], np.cumsum(sizes)[:-1])
    return np.sort(np.concatenate([rows[:count] for rows, count in zip(by_class, counts, strict=True)]))


SELECTORS: dict[str, Selector] = {
    "random_subset": Selector(random_subset, "random", needs="nothing", chance=True),
    "stratified_random": Selector(stratified_random, "random, balanced", needs="nothing", labels=True, chance=True),
    "top_activations": Selector(top_activations, "filter, refill"),
    "top_activations_drop": Selector(functools.partial(top_activations, duplicates="drop"), "filter, drop"),
    "top_activations_keep": Selector(functools.partial(top_activations, duplicates="keep"), "filter, keep"),
    "top_activations_per_class": Selector(per_class(top_activations), "filter, per class", labels=True),
    "pair_activations": Selector(pair_activations, "filter, pairs"),
    "penalised_activations": Selector(penalised_activations, "filter, penalised"),
    "pca_activations": Selector(pca_activations, "filter, after PCA"),
}
