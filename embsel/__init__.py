"""Choose which samples to train on: the thin module behind the book that runs.

A room for each step of the way; arrows point one way only::

    shapes, files ──► data ──► images ──► models ──► training ──► experiments ──► report ──► plots
                       selection (NumPy only) ──► records, suites ────┘

Import the rooms, not their contents: ``from embsel import data, selection``. Importing `embsel` itself, `embsel.data`
or `embsel.selection` does not import Keras.
"""

__version__ = "0.1.0"
