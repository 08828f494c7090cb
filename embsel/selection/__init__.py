"""Selectors: each picks `k` training images, given one embedding per image.

Every selector is called as `f(embeddings, k, *, labels=None, seed=0)` and returns row numbers, int64 (k,):

embeddings  (N, n), floating point or integer, finite; never written to.
k           how many rows to pick, 1 to N.
labels      (N,) integers >= 0, or None; only some selectors need them.
seed        an integer >= 0; the same input and seed give the same rows.

Anything else raises `InputError`. The rows are distinct, save where it is said. `top_activations` and `random_subset`
also take embeddings that do not fit in memory (`embsel.scale.chunks`). Keras, images and records are unknown here.
"""

from embsel.selection.contract import Selector, door, per_class
from embsel.selection.literature import (
    density_typical,
    dispersion,
    el2n,
    el2n_easiest,
    facility_location,
    farthest_first,
    kmeans_prototypes,
    margin,
)
from embsel.selection.paper import (
    DUPLICATES,
    equation_4,
    pair_activations,
    pca_activations,
    penalised_activations,
    random_subset,
    stratified_random,
    top_activations,
)
from embsel.selection.registry import SELECTORS, selector
