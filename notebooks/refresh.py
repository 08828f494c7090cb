"""Run chapters and write their executed pairs: ``python notebooks/refresh.py [NN_name ...]``, by default all.

The `.md` is the source: its cells go into the `.ipynb`, ids are kept where a cell is the same, and all
outputs are replaced. Nothing is written for a chapter that fails.
"""

import re
import sys
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from embsel import objections, plots, report

HERE = Path(__file__).parent


def paired(source: Path) -> nbformat.NotebookNode:
    """Return the cells of the `.md` with the ids and outputs that its `.ipynb`, if any, has for them."""
    notebook, pair = jupytext.read(source), source.with_suffix(".ipynb")
    if pair.exists():
        notebook = combine_inputs_with_outputs(notebook, nbformat.read(pair, as_version=4))
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Execute in `folder`; keep what a reader sees, and nothing that changes with the machine."""
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, record_timing=False)
    client.execute(cwd=str(folder))
    notebook.metadata["language_info"] = {"name": "python"}  # without the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def refresh_readme() -> None:
    """Write what the records show into the README: its figure, and the sentences between its two markers."""
    recorded = report.recorded()
    figure = plots.arms(report.comparison(recorded))
    figure.savefig(HERE.parent / "book" / "figures" / "findings.png", metadata={"Software": None})
    readme = HERE.parent / "README.md"
    block = "(?s)(?<=<!-- findings -->\n)(.*)(?=<!-- end of findings -->)"
    before, _, after = re.split(block, readme.read_text("utf-8"))
    readme.write_text(before + readme_findings(recorded) + after, "utf-8")


def readme_findings(recorded: list) -> str:
    """Return the sentences for the README as a Markdown list."""
    return "".join(f"- {line}\n" for line in objections.front_page(recorded))


def main(names: list[str]) -> int:
    """Refresh the chapters with these names; return 1 when one of them fails."""
    sources = [HERE / f"{Path(name).stem}.md" for name in names] or sorted(HERE.glob("*.md"))
    failed = []
    for source in sources:
        print(f"{source.stem} ...", flush=True)
        try:
            notebook = run(paired(source), HERE)
        except CellExecutionError as error:
            print(f"{source.stem} failed, and is left as it was:\n{error}", file=sys.stderr)
            failed.append(source.stem)
        else:
            jupytext.write(notebook, source.with_suffix(".ipynb"))
    refresh_readme()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
