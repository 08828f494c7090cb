"""Arrays that outgrow memory: read in chunks, searched for their strongest rows, written so that a kill is no loss.

Arrows point down: `topk` reads by `chunks`, and `store` stands alone. Selectors, images and Keras are unknown here.
"""
