"""What every chapter needs and no chapter is about: its setting, code shown from the module, tables."""

import html
import inspect
import itertools
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from embsel import data
from embsel.errors import require
from embsel.lab import profiles, report
from embsel.lab.records import Record, Store, key


def setting(profile: str | None = None, source: str | None = None) -> tuple[profiles.Profile, data.Dataset]:
    """Return the sizes and the dataset that a chapter runs with.

    `profile` and `source` come from its parameters cell; None means the environment variables EMBSEL_PROFILE and
    EMBSEL_DATA, and without those the profile `tiny` and the profile's own dataset.
    """
    sizes = profiles.profile(profile)
    return sizes, data.load(source or os.environ.get("EMBSEL_DATA") or sizes.source)


def source(*objects) -> Markdown:
    """Show the code of functions or classes, so that a page never holds a second copy of it."""
    return Markdown("\n".join(f"```python\n{inspect.getsource(thing).rstrip()}\n```" for thing in objects))


def table(header: Sequence[str] | pd.DataFrame, rows: Sequence[Sequence] = ()) -> Markdown:
    """Show a table: a header and rows, or a pandas one with its index first, where a missing value is an empty cell;
    numbers are aligned to the right.
    """
    if isinstance(header, pd.DataFrame):
        shown = header.reset_index().astype(object)
        header, rows = list(shown), shown.where(shown.notna(), "").values.tolist()
    right = [all(isinstance(row[i], int | float | np.number) for row in rows) for i in range(len(header))]
    lines = [header, ["---:" if number else "---" for number in right], *rows]
    return Markdown("\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines))


def _cell(value) -> str:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", r"\|").replace("\n", " ")  # a bar or a line's end would end the cell


def plain(words: str) -> str:
    """Return `words` from data, such as a class name, so that Markdown shows them as they are: no tag, no formula."""
    return re.sub(r"([\\`*_$~\[\]])", r"\\\1", html.escape(words, quote=False))


def sentences(lines: Sequence[str]) -> Markdown:
    """Show sentences as a list."""
    return Markdown("\n".join(f"- {line}" for line in lines))


def origin(*groups: Iterable[Record], note: str = "") -> Markdown:
    """Show the line below a table or a figure: where the runs of all its `groups` come from, and a `note`."""
    runs = list(itertools.chain.from_iterable(groups))
    line = f"{report.caption(runs)} {note}".strip() if runs else "None of these runs is recorded yet."
    return sentences([f"*{line}*"])


def link(where: str) -> str:
    """Return a link from a page of `book/` to a place in a chapter, given as its file and, after #, a heading."""
    file, _, heading = where.partition("#")
    return f"[chapter {int(file[:2])}](../notebooks/{file}.html{heading and '#' + heading})"


def check(answer, expected) -> None:
    """Say whether a reader's `answer` to an exercise is right; numbers may differ by one part in a hundred."""
    if answer is None:
        print("Your turn: replace None by your answer and run the cell again.")
        return
    try:
        right = np.shape(answer) == np.shape(expected) and np.allclose(answer, expected, rtol=0.01)
    except (TypeError, ValueError):  # words, rows of unequal length
        right = False
    print("Right." if right else f"Not yet: {answer} is not it.")


def pictures_of(record: Record, store: Store | None = None) -> dict[str, np.ndarray]:
    """Return the pictures that were kept with an autoencoder's record: uint8 images, and `codes`, the embeddings."""
    file = (store or Store()).folder / "pictures" / f"{key(record.spec)}.npz"
    require(file.exists(), f"The pictures of this record are not at hand: {file.name} is missing beside the records.")
    with np.load(file, allow_pickle=False) as pictures:
        return dict(pictures)
