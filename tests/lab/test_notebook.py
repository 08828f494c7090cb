"""What every chapter uses: its setting, code as it stands in the module, tables, answers to exercises."""

import contextlib
import functools

import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.display import Markdown
from markdown_it import MarkdownIt

from embsel import data, images, models, training
from embsel.errors import InputError
from embsel.lab import notebook, records, report, suites
from embsel.lab.records import Autoencoder, Record, Store, key
from embsel.scale import topk


def rendered(shown):
    """The HTML of what a cell shows, parsed."""
    assert isinstance(shown, Markdown)
    return BeautifulSoup(MarkdownIt("commonmark").enable("table").render(shown.data), "html.parser")


# --- setting ---


@pytest.fixture
def loaded(monkeypatch):
    """Loads nothing: the dataset of a setting is then the name that was asked for."""
    monkeypatch.setattr(data, "load", lambda source: source)
    monkeypatch.delenv("EMBSEL_PROFILE", raising=False)
    monkeypatch.delenv("EMBSEL_DATA", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "arguments", "profile", "source"),
    [
        ({"EMBSEL_PROFILE": "laptop"}, (), "laptop", "cifar10"),
        ({"EMBSEL_PROFILE": "paper", "EMBSEL_DATA": "mnist"}, (None, None), "paper", "mnist"),
        ({"EMBSEL_PROFILE": "paper"}, ("laptop",), "laptop", "cifar10"),
        ({"EMBSEL_DATA": "mnist"}, (None, "cifar100"), "tiny", "cifar100"),
        ({"EMBSEL_PROFILE": "paper", "EMBSEL_DATA": "mnist"}, ("tiny", "shapes"), "tiny", "shapes"),
        ({"EMBSEL_PROFILE": "", "EMBSEL_DATA": ""}, (), "tiny", "shapes"),  # as make sets them without a value
    ],
)
def test_arguments_win_over_the_environment(loaded, environment, arguments, profile, source):
    for name, value in environment.items():
        loaded.setenv(name, value)
    assert notebook.setting(*arguments) == (suites.PROFILES[profile], source)


def test_a_setting_holds_a_dataset(tmp_path):
    small = data.shapes(train=40, test=10)
    np.savez(tmp_path / "small.npz", **{name: getattr(small, name) for name in data.ARRAYS})
    sizes, dataset = notebook.setting("tiny", str(tmp_path / "small.npz"))
    assert sizes.name == "tiny"
    assert isinstance(dataset, data.Dataset)
    assert np.array_equal(dataset.train_images, small.train_images)


def test_an_unknown_profile_is_refused(loaded):
    name = "Tiny"
    with pytest.raises(InputError, match=rf"profile named '{name}'"):
        notebook.setting(name)
    loaded.setenv("EMBSEL_PROFILE", name)
    with pytest.raises(InputError, match=rf"profile named '{name}'"):
        notebook.setting()


# --- source ---


@pytest.mark.parametrize("thing", [images.shift_scale, training.Phase, topk.best_of_chunk])
def test_the_code_shown_is_the_code_that_stands_there(root, thing):
    (block,) = rendered(notebook.source(thing)).select("pre > code.language-python")
    code = block.get_text()
    assert code in (root / f"{thing.__module__.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"{'class' if isinstance(thing, type) else 'def'} {thing.__name__}" in code
    assert compile(code, "shown", "exec")


def test_decorators_are_shown():
    assert notebook.source(records.Run).data.startswith("```python\n@dataclass(frozen=True)\nclass Run(Spec):")


def test_each_thing_has_a_block_of_its_own():
    things = (models.autoencoder, training.autoencoder_trainer)
    blocks = rendered(notebook.source(*things)).select("pre > code")
    assert [block.get_text() for block in blocks] == [
        rendered(notebook.source(thing)).select_one("code").get_text() for thing in things
    ]


def test_what_has_no_code_is_refused():
    with pytest.raises(TypeError):
        notebook.source(functools.partial(print))


# --- tables ---


def cells(shown):
    return [[cell.get_text() for cell in row.select("th, td")] for row in rendered(shown).select("table tr")]


def alignment(shown):
    return ["right" in cell.get("style", "") for cell in rendered(shown).select("th")]


def test_numbers_stand_to_the_right_with_their_thousands_apart():
    shown = notebook.table(["name", "steps", "rate", "mixed"], [["a", 40_000, 0.0125, 1], ["b", 7, 1.0, "none"]])
    assert alignment(shown) == [False, True, True, False]
    assert cells(shown) == [
        ["name", "steps", "rate", "mixed"],
        ["a", "40,000", "0.0125", "1"],
        ["b", "7", "1.0", "none"],
    ]


def test_numbers_of_numpy_are_numbers():
    rows = [[np.int64(50_000), np.float32(0.5)], [np.int32(-4_320), np.float64(2)]]
    shown = notebook.table(["images", "share"], rows)
    assert alignment(shown) == [True, True]
    assert cells(shown)[1:] == [["50,000", "0.5"], ["-4,320", "2.0"]]


def test_a_truth_is_a_word():
    assert cells(notebook.table(["there"], [[True], [False]]))[1:] == [["True"], ["False"]]


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


def test_a_table_without_rows_has_its_header():
    assert cells(notebook.table(["a", "b"], [])) == [["a", "b"]]


def test_sentences_are_a_list():
    shown = rendered(notebook.sentences(["**One.** 1 | 2", "*Two*"]))
    assert [item.get_text() for item in shown.select("ul > li")] == ["One. 1 | 2", "Two"]
    assert notebook.sentences([]).data == ""


# --- exercises ---


def test_a_right_answer_is_told(capsys):
    for answer, expected in [
        (102_464, 102_464),
        (43.2, 43.200001),
        (2.35, 2370 / 1000),  # within one part in a hundred
        (0, 0.0),
        (np.float32(5), 5),
        (np.array(5), 5),
        ((204.8, 2370.4), (204.8, 2370.4)),
        ([204.8, 2370.4], (204.8, 2370.4)),
        (np.array([1, 2, 3]), [1, 2, 3]),
    ]:
        notebook.check(answer, expected)
        assert capsys.readouterr().out == "Right.\n", answer


def test_a_wrong_answer_is_told_without_a_traceback(capsys):
    for answer, expected in [
        (2.3, 2370 / 1000),
        (-1, 1),
        (float("nan"), 1),
        ((1, 2, 3), (1, 2)),  # of another length
        ([], (1, 2)),
        ([], 5),  # would agree with everything that it is spread over
        (5, (5, 5)),
        ((5, 5), 5),
        (np.ones((2, 3)), np.ones((3, 2))),
        ([[1], [1, 2]], (1, 2)),
        ("five", 5),
        ((None, 2370.4), (204.8, 2370.4)),
        ({"steps": 5}, 5),
        (print, 5),
    ]:
        notebook.check(answer, expected)
        said = capsys.readouterr().out
        assert said.startswith("Not yet: ")
        assert str(answer) in said


def test_no_answer_is_an_invitation(capsys):
    notebook.check(None, np.arange(3))
    assert capsys.readouterr().out.startswith("Your turn")


# --- pictures of a record ---


def test_pictures_are_found_by_the_key_of_their_record(tmp_path):
    record = Record(Autoencoder("0123456789ab", 10, 8), {"loss": 0.1}, [], {"profile": "tiny"})
    with pytest.raises(InputError, match=rf"pictures of this record .* {key(record.spec)}\.npz is missing"):
        notebook.pictures_of(record, Store(tmp_path))
    kept = {"inputs": np.zeros((2, 4, 4, 3), "uint8"), "codes": np.ones((2, 6), "float16")}
    (tmp_path / "pictures").mkdir()
    np.savez(tmp_path / "pictures" / f"{key(record.spec)}.npz", **kept)
    found = notebook.pictures_of(record, Store(tmp_path))
    assert found.keys() == kept.keys()
    assert all(np.array_equal(found[name], kept[name]) and found[name].dtype == kept[name].dtype for name in kept)


def test_pictures_are_read_without_running_what_is_in_them(tmp_path):
    record = Record(Autoencoder("0123456789ab", 10, 8), {"loss": 0.1}, [], {"profile": "tiny"})
    (tmp_path / "pictures").mkdir()
    with contextlib.closing(open(tmp_path / "pictures" / f"{key(record.spec)}.npz", "wb")) as file:
        np.savez(file, inputs=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        notebook.pictures_of(record, Store(tmp_path))


def test_the_committed_pictures_are_whole():
    encoders = report.autoencoders(report.recorded())
    shown = [record for record in encoders if record.spec.seed == 0]
    assert shown, "chapters 2 and 3 show one"
    for record in shown:
        pictures = notebook.pictures_of(record)
        kinds = ("inputs", "reproductions", "strongest", "picked", "random", "drawn")
        assert all(pictures[kind].dtype == np.uint8 and pictures[kind].size for kind in kinds)
        assert pictures["codes"].shape == (len(pictures["inputs"]), record.metrics["elements"])
        assert len(pictures["strongest"]) == len(pictures["elements"]) == len(pictures["drawn"]) - 1
