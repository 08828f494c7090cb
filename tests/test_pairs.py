"""Each chapter is a pair: the `.md` is the source, the `.ipynb` its cells with the outputs of a clean run."""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted({path.stem for kind in ("*.md", "*.ipynb") for path in NOTEBOOKS.glob(kind)})
MACHINE_PATH = re.compile(
    rf"{re.escape(str(ROOT))}|(?<![\w/.])(/(?:tmp|home|root|Users|mnt|opt|var|content)/[\w.-]+)|[A-Z]:\\+Users"
)


@pytest.fixture(scope="module")
def executed():
    """The code cells of each `.ipynb` that have something to execute."""
    books = {name: nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4) for name in NAMES}
    return {name: [cell for cell in book.cells if cell.cell_type == "code" and cell.source.strip()]
            for name, book in books.items()}  # fmt: skip


def cells(notebook):
    """What both files of a pair must agree on, cell by cell."""
    kept = ("tags", "mystnb")  # of the metadata
    return [
        (cell.cell_type, cell.source.strip(), {key: cell.metadata.get(key) for key in kept}) for cell in notebook.cells
    ]


def texts(output):
    """Every text of an output, but not its images."""
    yield output.get("text", "")
    yield from output.get("traceback", [])
    for kind, data in output.get("data", {}).items():
        if kind.startswith("text/") or kind == "application/json":
            yield str(data)


@pytest.mark.parametrize("name", NAMES)
def test_both_files_hold_the_same_cells(name):
    source, pair = NOTEBOOKS / f"{name}.md", NOTEBOOKS / f"{name}.ipynb"
    assert source.exists(), f"{pair.name} has no source: run `jupytext --to md:myst` on it"
    assert pair.exists(), f"{source.name} was never run: `make notebooks`"
    source, pair = jupytext.read(source), nbformat.read(pair, as_version=4)
    nbformat.validate(pair)
    assert {book.metadata.get("jupytext", {}).get("formats") for book in (source, pair)} == {"ipynb,md:myst"}
    assert cells(source) == cells(pair), "they differ: `make notebooks` copies the .md and runs it"


def test_every_cell_was_run_in_order(executed):
    counts = {name: [cell.execution_count for cell in found] for name, found in executed.items()}
    assert counts
    assert counts == {name: [*range(1, len(found) + 1)] for name, found in counts.items()}


def test_outputs_are_fit_to_print(executed):
    unfit = []
    for cell in (cell for found in executed.values() for cell in found):
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                unfit.append(f"an error is stored after\n{cell.source}\n")
            if output.get("name") == "stderr":
                unfit.append(f"log lines are stored after\n{cell.source}\n")
            for found in filter(None, map(MACHINE_PATH.search, texts(output))):
                unfit.append(f"a path of somebody's machine, {found[0]}, is stored after\n{cell.source}\n")
    assert unfit == []
