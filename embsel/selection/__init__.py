"""Selectors: each picks `k` training images, given one embedding per image."""

from embsel.selection.contract import Selector, door, per_class
from embsel.selection.literature import dispersion
from embsel.selection.paper import (
    DUPLICATES,
    SELECTORS,
    pca_activations,
    random_subset,
    selector,
    stratified_random,
    top_activations,
)
