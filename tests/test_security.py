"""Data from strangers: nothing in it is executed, leaves its folder, fills the memory or becomes part of a page.

Archives and folders of images: tests/sources. A whole report with hostile names: test_tryout.
"""

import ast
import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup

from embsel import data, tryout
from embsel.errors import InputError
from embsel.lab.records import ALL, Record, Run, Store

LOADERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
EXEMPT = {"tests/scale/test_chunks.py", "tests/scale/test_topk.py"}  # they pickle their own, as it travels with Dask
DANGERS = ["import pickle", "from joblib import load", "eval(x)", "np.load(f, allow_pickle=True)", "yaml.load(f)",
           "keras.models.load_model(f)"]


def faults(code):
    """What in `code` could execute what it reads, by line."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
            if names & LOADERS:
                yield node.lineno, f"import of {names & LOADERS}"
        elif isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {item.arg: item.value for item in node.keywords}
            if called in ("eval", "exec", "yaml.load", "yaml.unsafe_load") or called.endswith("load_model"):
                yield node.lineno, called
            pickles = ast.unparse(options["allow_pickle"]) if "allow_pickle" in options else "False"
            if called.endswith("load") and pickles != "False":
                yield node.lineno, "allow_pickle"


def test_nothing_that_is_read_is_executed(root):
    assert [code for code in DANGERS if not list(faults(code))] == []  # the search finds what it looks for
    found = []
    for path in [*root.glob("embsel/**/*.py"), *root.glob("tests/**/*.py"), *root.glob("notebooks/*.py")]:
        name = path.relative_to(root).as_posix()
        for line, what in faults(path.read_text("utf-8")):
            own = name.startswith("tests/") and what == "exec"  # of the book's own text
            if name not in EXEMPT and not own:
                found.append(f"{name}:{line}: {what}")
    for path in root.glob("notebooks/*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                code = re.sub(r"^[%!].*$", "", "".join(cell["source"]), flags=re.M)
                found += [f"{path.name}: {what} in {code[:40]!r}" for _, what in faults(code)]
    assert found == []


@pytest.mark.parametrize("profile", ["../x", "/tmp/x", "a/b", "a\\b", "", "a\0b"])
def test_a_record_is_written_in_its_store_alone(profile, tmp_path):
    record = Record(Run("0123456789ab", ALL, 1, 1, 0.1), {}, [], {"profile": profile})
    with pytest.raises(InputError, match="A record's profile is the name of its file: expected no slash"):
        Store(tmp_path / "store").append(record)
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_trial_of_data_of_any_name_stays_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = data.shapes(train=40, test=10)
    for name in ("..", ".", "", "/", "../../etc", "a/../..", "~", "-rf", "\0", "C:\\x"):
        folder = tryout.plan(dataclasses.replace(small, name=name)).folder
        assert folder.resolve().parent == tmp_path / "_try"
        assert not folder.name.startswith(("-", "."))


FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", '=HYPERLINK("http://example.org", "x")', "a,b", "a\nb", "'quoted'"]


def test_the_table_of_the_subset_gives_back_every_name_as_it_was(tmp_path):
    """Also one that a spreadsheet takes for a formula: another program must find the file by it."""
    images, labels = np.zeros((18, 24, 24, 3), np.uint8), np.arange(18) % 9
    files = [f"{FORMULAS[label]}/{FORMULAS[label]}.png" for label in labels]
    dataset = data.Dataset("d", images, labels, images, labels, FORMULAS, train_files=files)
    _, table = tryout.save(tryout.plan(dataset, out=tmp_path), np.arange(18))
    with open(table, newline="", encoding="utf-8") as file:
        found = [(int(row["row"]), row["class"], row["file"]) for row in csv.DictReader(file)]
    assert found == [(row, FORMULAS[label], files[row]) for row, label in enumerate(labels)]


# --- pages ---


HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$body", "{{ 7 * 7 }}", "&lt;"]


def test_no_name_becomes_part_of_a_page(tmp_path):
    import nbformat
    import pandas as pd
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    from embsel import tryout

    shown = pd.DataFrame({"count": [1] * len(HOSTILE)}, index=HOSTILE)._repr_html_()
    outputs = [new_output("display_data", {"text/html": shown}), new_output("stream", name="stdout", text=HOSTILE[1])]
    nbformat.write(new_notebook(cells=[new_code_cell("HOSTILE", outputs=outputs)]), tmp_path / "notebook.ipynb")
    for name in HOSTILE:
        dataset = dataclasses.replace(data.shapes(train=40, test=10), name=name)
        written = tryout.render(tryout.plan(dataset, out=tmp_path), tmp_path / "notebook.ipynb")
        page = BeautifulSoup(written.read_text("utf-8"), "html.parser")
        assert page.select("script, img, [onerror]") == []
        assert [page.title.text, page.h1.text] == [f"Is selection worth it? {name}"] * 2
        assert [cell.text for cell in page.select("tbody th")] == HOSTILE
        assert page.select_one(".output_stdout").text.strip() == HOSTILE[1]
        assert page.find("meta", content=lambda words: words and words.startswith("default-src 'none'; img-src data:"))
