"""What every chapter uses: its setting, code as it stands in the module, tables, answers to exercises."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from IPython.display import Markdown
from markdown_it import MarkdownIt

from embsel import data, images, training
from embsel.errors import InputError
from embsel.lab import notebook, profiles, records, report
from embsel.lab.records import Autoencoder, Record, Store, key
from embsel.scale import topk


def rendered(shown):
    """The HTML of what a cell shows, parsed."""
    assert isinstance(shown, Markdown)
    return BeautifulSoup(MarkdownIt("commonmark").enable("table").render(shown.data), "html.parser")


@pytest.mark.parametrize(("environment", "arguments", "profile", "source"), [
    ({"EMBSEL_PROFILE": "laptop"}, (), "laptop", "cifar10"),
    ({"EMBSEL_PROFILE": "paper", "EMBSEL_DATA": "mnist"}, (None, None), "paper", "mnist"),
    ({"EMBSEL_DATA": "mnist"}, (None, "cifar100"), "tiny", "cifar100"),
    ({"EMBSEL_PROFILE": "paper", "EMBSEL_DATA": "mnist"}, ("tiny", "shapes"), "tiny", "shapes"),
    ({"EMBSEL_PROFILE": "", "EMBSEL_DATA": ""}, (), "tiny", "shapes"),  # as make sets them without a value
])  # fmt: skip
def test_arguments_win_over_the_environment(monkeypatch, environment, arguments, profile, source):
    monkeypatch.setattr(data, "load", lambda source: source)
    for name in ("EMBSEL_PROFILE", "EMBSEL_DATA"):
        monkeypatch.setenv(name, environment.get(name, ""))
    assert notebook.setting(*arguments) == (profiles.PROFILES[profile], source)
    monkeypatch.setenv("EMBSEL_PROFILE", "Tiny")
    for wrong in ((), ("Tiny",)):
        with pytest.raises(InputError, match="profile named 'Tiny'"):
            notebook.setting(*wrong)


@pytest.mark.parametrize("thing", [images.shift_scale, training.Phase, topk.best_of_chunk, records.Run])
def test_the_code_shown_is_the_code_that_stands_there(root, thing):
    first, second = rendered(notebook.source(thing, images.fetcher)).select("pre > code.language-python")
    code = first.get_text()
    assert code in (root / f"{thing.__module__.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"{'class' if isinstance(thing, type) else 'def'} {thing.__name__}" in code
    assert compile(code, "shown", "exec")
    assert second.get_text().startswith("def fetcher")
    assert code.startswith("@dataclass(frozen=True)\n") or thing is not records.Run


# --- tables ---


def cells(shown):
    return [[cell.get_text() for cell in row.select("th, td")] for row in rendered(shown).select("table tr")]


def alignment(shown):
    return ["right" in cell.get("style", "") for cell in rendered(shown).select("th")]


def test_numbers_stand_to_the_right_with_their_thousands_apart():
    header = ["name", "steps", "rate", "mixed", "there"]
    rows = [["a", 40_000, np.float64(0.0125), 1, True], ["b", np.int32(-4_320), 1.0, "none", False]]
    by_pandas = pd.DataFrame([row[1:] for row in rows], index=pd.Index(["a", "b"], name="name"), columns=header[1:])
    for shown in (notebook.table(header, rows), notebook.table(by_pandas)):
        assert alignment(shown)[:4] == [False, True, True, False]
        assert cells(shown) == [header, ["a", "40,000", "0.0125", "1", "True"], ["b", "-4,320", "1.0", "none", "False"]]
    assert cells(notebook.table(["a", "b"], [])) == [["a", "b"]]


def test_no_text_can_break_a_table():
    for text in ("a | b", "|", "||", "two\nlines", "|x| < 3", "24 × 24 × 3", "", "tail |"):
        shown = notebook.table(["first", "second", text], [[text, 1, 2], [3, text, 4]])
        once = " ".join(text.split("\n"))
        assert cells(shown) == [["first", "second", once], [once, "1", "2"], ["3", once, "4"]]


def test_a_name_from_data_is_no_markdown():
    for name in ('<b>&"', "$007$", "a_b_c", "*bold*", "`code`", "[a](b)", "&lt;", r"a\|b", r"\*", "<!-- |", "~~no~~"):
        shown = notebook.table(["class"], [[notebook.plain(name)]])
        assert cells(shown) == [["class"], [name]]
        assert rendered(shown).select("td > *") == []
        assert rendered(notebook.sentences([f"**{notebook.plain(name)}.** yes"])).get_text().strip() == f"{name}. yes"
        assert "$" not in notebook.plain(name).replace(r"\$", "")  # a formula is the browser's, not the parser's


def test_sentences_are_a_list_and_places_are_links():
    shown = rendered(notebook.sentences(["**One.** 1 | 2", notebook.link("07_cost#the-ledger")]))
    assert [item.get_text() for item in shown.select("ul > li")] == ["One. 1 | 2", "chapter 7"]
    assert shown.select_one("a")["href"] == "../notebooks/07_cost.html#the-ledger"
    assert notebook.sentences([]).data == ""


# --- exercises ---


@pytest.mark.parametrize(("answer", "expected", "right"), [
    (43.2, 43.200001, True), (0, 0.0, True), (np.array(5), 5, True), (np.array([1, 2, 3]), [1, 2, 3], True),
    ([204.8, 2370.4], (204.8, 2370.4), True), ((None, 2370.4), (204.8, 2370.4), False),
    (2.35, 2370 / 1000, True), (2.3, 2370 / 1000, False),  # within one part in a hundred, or not
    ((1, 2, 3), (1, 2), False), (5, (5, 5), False), (np.ones((2, 3)), np.ones((3, 2)), False),  # of another shape
    ([], 5, False),  # would agree with everything that it is spread over
    (float("nan"), 1, False), ([[1], [1, 2]], (1, 2), False), ("five", 5, False), ({"steps": 5}, 5, False),
])  # fmt: skip
def test_an_answer_is_told_right_or_not_yet_without_a_traceback(answer, expected, right, capsys):
    notebook.check(answer, expected)
    assert capsys.readouterr().out == ("Right.\n" if right else f"Not yet: {answer} is not it.\n")
    notebook.check(None, expected)
    assert capsys.readouterr().out.startswith("Your turn")


# --- pictures of a record ---


def test_pictures_are_found_by_the_key_of_their_record_and_nothing_in_them_is_run(tmp_path):
    record = Record(Autoencoder("0123456789ab", 10, 8), {"loss": 0.1}, [], {"profile": "tiny"})
    with pytest.raises(InputError, match=rf"pictures of this record .* {key(record.spec)}\.npz is missing"):
        notebook.pictures_of(record, Store(tmp_path))
    file = tmp_path / "pictures" / f"{key(record.spec)}.npz"
    file.parent.mkdir()
    kept = {"inputs": np.zeros((2, 4, 4, 3), "uint8"), "codes": np.ones((2, 6), "float16")}
    np.savez(file, **kept)
    found = notebook.pictures_of(record, Store(tmp_path))
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[name], kept[name]) and found[name].dtype == kept[name].dtype for name in kept)
    np.savez(file, inputs=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        notebook.pictures_of(record, Store(tmp_path))


def test_the_committed_pictures_are_whole():
    shown = [record for record in report.autoencoders(report.recorded()) if record.spec.seed == 0]
    assert shown, "chapters 2 and 3 show one"
    for record in shown:
        pictures = notebook.pictures_of(record)
        kinds = ("inputs", "reproductions", "strongest", "picked", "random", "drawn")
        assert all(pictures[kind].dtype == np.uint8 and pictures[kind].size for kind in kinds)
        assert pictures["codes"].shape == (len(pictures["inputs"]), record.metrics["elements"])
        assert len(pictures["strongest"]) == len(pictures["elements"]) == len(pictures["drawn"]) - 1


def test_the_line_below_a_table_tells_of_all_its_runs_once():
    runs = report.recorded()[:3]
    shown = notebook.origin(runs[:2], runs[1:], note="And more.").data
    assert shown == f"- *{report.caption(runs)} And more.*"
    assert "3 runs" in shown
    assert notebook.origin([], []).data == "- *None of these runs is recorded yet.*"
