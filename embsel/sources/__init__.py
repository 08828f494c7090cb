"""Readers of whatever holds images with labels, as plain arrays: `embsel.data.load` calls them and checks the rest."""
