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


def cells(notebook):
    """What both files of a pair must agree on, cell by cell."""
    kept = ("tags", "mystnb")  # of the metadata
    return [
        (cell.cell_type, cell.source.strip(), {key: cell.metadata.get(key) for key in kept}) for cell in notebook.cells
    ]


def executed(name):
    """The code cells of the `.ipynb` that have something to execute."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def texts(output):
    """Every text of an output, but not its images."""
    yield output.get("text", "")
    yield from output.get("traceback", [])
    for kind, data in output.get("data", {}).items():
        if kind.startswith("text/") or kind == "application/json":
            yield str(data)


def test_there_are_chapters():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_files_hold_the_same_cells(name):
    source = NOTEBOOKS / f"{name}.md"
    pair = source.with_suffix(".ipynb")
    assert source.exists(), f"{pair.name} has no source: run `jupytext --to md:myst` on it"
    assert pair.exists(), f"{source.name} was never run: `make notebooks`"
    source, pair = jupytext.read(source), nbformat.read(pair, as_version=4)
    for notebook in (source, pair):
        assert notebook.metadata.get("jupytext", {}).get("formats") == "ipynb,md:myst"
    assert cells(source) == cells(pair), "they differ: `make notebooks` copies the .md and runs it"


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_valid(name):
    nbformat.validate(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_was_run_in_order(name):
    counts = [cell.execution_count for cell in executed(name)]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_fit_to_print(name):
    for cell in executed(name):
        for output in cell.outputs:
            where = f"after\n{cell.source}\n"
            if "raises-exception" not in cell.metadata.get("tags", []):
                assert output.output_type != "error", f"an error is stored {where}"
            assert output.get("name") != "stderr", f"log lines are stored {where}"
            for text in texts(output):
                found = MACHINE_PATH.search(text)
                assert not found, f"a path of somebody's machine, {found[0]}, is stored {where}"
