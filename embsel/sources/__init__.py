"""Readers of everything that holds images with labels, as plain arrays; `embsel.data.load` calls and checks them."""
