"""Each chapter is a pair: the `.md` is the source, the `.ipynb` its cells with the outputs of a clean run."""

import re
from pathlib import Path

import jupytext
import nbformat

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


def of_all(check):
    """What `check` says of each chapter where that is anything: nothing, when all is well."""
    return {name: said for name in NAMES if (said := check(name))}


def test_both_files_hold_the_same_cells():
    def differ(name):
        source = NOTEBOOKS / f"{name}.md"
        pair = source.with_suffix(".ipynb")
        if not source.exists():
            return f"{pair.name} has no source: run `jupytext --to md:myst` on it"
        if not pair.exists():
            return f"{source.name} was never run: `make notebooks`"
        source, pair = jupytext.read(source), nbformat.read(pair, as_version=4)
        if any(one.metadata.get("jupytext", {}).get("formats") != "ipynb,md:myst" for one in (source, pair)):
            return "the formats of its header are not ipynb,md:myst"
        return cells(source) != cells(pair) and "they differ: `make notebooks` copies the .md and runs it"

    assert NAMES
    assert of_all(differ) == {}


def test_notebooks_are_valid_and_every_cell_was_run_in_order():
    def disorder(name):
        nbformat.validate(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))
        counts = [cell.execution_count for cell in executed(name)]
        return counts != list(range(1, len(counts) + 1)) and counts

    assert of_all(disorder) == {}


def test_outputs_are_fit_to_print():
    def unfit(name):
        for cell in executed(name):
            for output in cell.outputs:
                if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                    yield f"an error is stored after\n{cell.source}\n"
                if output.get("name") == "stderr":
                    yield f"log lines are stored after\n{cell.source}\n"
                for found in filter(None, map(MACHINE_PATH.search, texts(output))):
                    yield f"a path of somebody's machine, {found[0]}, is stored after\n{cell.source}\n"

    assert of_all(lambda name: list(unfit(name))) == {}
