"""The one exception that bad input raises, the checks that raise it, and the sentence for a misspelt name."""

import difflib
import numbers
from collections.abc import Iterable

import numpy as np


class InputError(ValueError):
    """Input that cannot be used: the message names the thing, what was expected and what was found."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Return (not raise) the error for a `name` that is not among the `known` ones."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}."
    return InputError(f"There is no {kind} named {name!r}; {hint}")


def require(condition: object, message: str) -> None:
    """Raise `InputError` with `message` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def as_array(key: str, value: object) -> np.ndarray:
    """Return `value`, the argument named `key`, as an array; raise `InputError` if it is lists of unequal length."""
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(f"{key}: expected an array, found lists of unequal length.") from None


def whole(key: str, value: object, least: int) -> int:
    """Return `value`, the argument named `key`, as an int; raise `InputError` unless it is one of at least `least`."""
    good = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= least
    require(good, f"{key}: expected a whole number of at least {least}, found {value!r}.")
    return int(value)


def share(key: str, value: object) -> None:
    """Raise `InputError` unless `value`, the argument named `key`, is a number between 0 and 1."""
    good = isinstance(value, (int, float)) and 0 < value < 1
    require(good, f"{key}: expected a number between 0 and 1, found {value!r}.")
