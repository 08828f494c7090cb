"""All selectors by name: those of the paper, then those from the literature."""

from embsel.errors import unknown
from embsel.selection import literature, paper
from embsel.selection.contract import Selector

SELECTORS: dict[str, Selector] = paper.SELECTORS | literature.SELECTORS


def selector(name: str) -> Selector:
    """The selector called `name`; InputError with the nearest names if there is none."""
    if not isinstance(name, str) or name not in SELECTORS:
        raise unknown("selector", name, SELECTORS)
    return SELECTORS[name]
