"""The one exception that bad input raises, and the sentence for a misspelt name."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used: the message names the thing, what was expected and what was found."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return (not raise) the error for a `name` that is not among the `known` ones, nearest first."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}."
    return InputError(f"There is no {kind} named {name!r}; {hint}")
