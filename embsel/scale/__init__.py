"""Arrays that outgrow memory: read in chunks, searched for their strongest rows, written so that a kill is no loss.

Arrows point down: `topk` reads by `chunks`, and `store` stands alone; selectors, images and Keras are unknown to these.
`parallel` alone trains: it takes the book's network and its loop to several devices.
"""
