"""Choose which samples to train on: the thin module behind the book that runs.

A room for each step of the way; arrows point one way only::

    pixels ──► files, sources ──► data ──► images ──► models ──► training ──► experiments ──► report ──► plots
                              scale ──► selection ──► records, suites ─────────┘                └──► tryout

Import the rooms, not their contents: ``from embsel import data, selection``. Importing `embsel` itself, `embsel.data`
or `embsel.selection` does not import Keras, nor scikit-learn before a selector needs it.
"""

__version__ = "0.1.0"
