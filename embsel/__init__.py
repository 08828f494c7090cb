"""Choose which samples to train on: the thin module behind the book that runs.

A house of a few wings; arrows point down only::

    tryout                       a trial on data of your own
    lab                          how the book measures: questions, runs, records, comparisons, figures
    training                     phases and the loop
    data, models, selection      one Dataset and one load; the networks; Equation 4 and its rivals
    images, sources              batches and augmentation; folders, archives, arrays, drawn shapes
    scale                        the strongest of more rows than memory holds, chunks, a store that survives a kill
    backend, files, errors       the ground

Import the rooms, not their contents: ``from embsel import data, selection``. Importing `embsel` itself, `embsel.data`
or `embsel.selection` does not import Keras, nor scikit-learn before a selector needs it.
"""

__version__ = "0.1.0"
