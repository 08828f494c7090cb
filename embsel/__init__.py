"""Choose which samples to train on: the thin module behind the book that runs.

A room for each step of the way; arrows point one way only::

    data ──► images ──► models ──► training ──► experiments ──► plots
                  selection (NumPy only) ───────────┘

Import the rooms, not their contents: ``from embsel import data, selection``. Importing `embsel` itself, `embsel.data`
or `embsel.selection` does not import Keras.
"""

__version__ = "0.1.0"
