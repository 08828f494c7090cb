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

from embsel.lab import claims, ladder, objections, plots, report

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
    """Write what the records show into the README: its figure, and what stands between its two markers."""
    recorded, climbed = report.recorded(), ladder.recorded()
    figure, *_ = first_figure(recorded, climbed)
    figure.savefig(HERE.parent / "book" / "figures" / "findings.png", metadata={"Software": None})
    readme = HERE.parent / "README.md"
    block = "(?s)(?<=<!-- findings -->\n)(.*)(?=<!-- end of findings -->)"
    before, _, after = re.split(block, readme.read_text("utf-8"))
    readme.write_text(before + readme_findings(recorded, climbed) + after, "utf-8")


def first_figure(recorded: list, climbed: list) -> tuple[plots.Figure, str, str]:
    """Return the figure against the length of training, or that of the shorter runs while it has no line; what it is,
    and its caption, in words.
    """
    if lines := ladder.shown(ladder.table(climbed)):
        figure = plots.ladder(lines, "difference in test accuracy (points)")
        words = "Difference in test accuracy against the training steps: filter minus random, random minus all the data"
        return figure, words, "Dots are seeds, lines their means, diamonds the paper's own numbers."
    caption = f"Test accuracy after {claims.claims(recorded)[0].length}: dots for seeds, bars for 95 % intervals."
    return plots.arms(report.comparison(recorded)), "Test accuracy: all the data and each kind of subset", caption


def readme_findings(recorded: list, climbed: list) -> str:
    """Return what the README shows and says of the records: a figure, a sentence, a list and where they come from."""
    _, words, caption = first_figure(recorded, climbed)
    lead, *said, origin = objections.front_page(recorded, climbed)
    listed = "".join(f"- {line}\n" for line in said)
    return f"![{words}](book/figures/findings.png)\n\n*{caption}*\n\n{lead}\n\n{listed}\n{origin}\n"


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
