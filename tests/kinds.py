"""Embeddings of every kind, and the filter's definition in slow and plain words, for tests of both wings."""

import numpy as np


def reference(embeddings, k, duplicates):
    """Element by element its share of the strongest rows, of equal values the lowest row first."""
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
