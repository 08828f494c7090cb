"""The command line: its exit codes, and one line on stderr for what cannot be done."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from embsel import data
from embsel.__main__ import main
from embsel.lab import experiments, profiles, questions, records
from embsel.lab.questions import QUESTIONS, SUITES, Question
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store

LEAST = profiles.Profile("tiny", "shapes", 2, 8, 0.01, 20, 2, 1, (2, 2, 2), 5, 10, (0,), (50,))
TINY = profiles.PROFILES["tiny"]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A dataset file of 100 images, and a `tiny` profile and a suite of two runs that are hardly there."""
    dataset = data.shapes(train=100, test=20)
    file = tmp_path / "small.npz"
    np.savez(file, **{name: getattr(dataset, name) for name in data.ARRAYS}, class_names=dataset.class_names)
    monkeypatch.setitem(profiles.PROFILES, "tiny", LEAST)
    monkeypatch.setitem(QUESTIONS, "pair", Question("pair", "Warmer?", {ALL: {}, "warmer": {"rate": 0.02}}))
    monkeypatch.setitem(SUITES, "pair", ("pair",))
    return file


@pytest.fixture
def call(capsys):
    """A function that gives the exit code, the lines on stdout and those on stderr of one command."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture
def record(small, tmp_path, call):
    """A function that records a suite of `small`, and gives the exit code and the lines on stdout."""
    return lambda suite, *more: call("record", "--suite", suite, "--data", small, "--out", tmp_path / "out", *more)[:2]


def nothing_is_left(record, suite, folder):
    """Whether a second call of the same command says what the dataset is and that all is there, and writes nothing."""
    before = (folder / "tiny.jsonl").read_bytes()
    code, said = record(suite)
    return (code, len(said)) == (0, 2) and (folder / "tiny.jsonl").read_bytes() == before


def a_record(spec, seconds=60.0, **where):
    provenance = {"profile": "tiny", "dataset": "shapes", "hardware": "a processor", "backend": "tensorflow"} | where
    metrics = {"loss": 0.5} if isinstance(spec, Autoencoder) else {"test_accuracy": 0.5}
    return Record(spec, metrics, [{"stage": "training", "seconds": seconds, "samples": 8}], provenance)


def test_record_then_status(record, tmp_path, call):
    out = tmp_path / "out"
    code, said = record("pair")
    assert code == 0
    assert "100 training and 20 test images" in said[0]
    assert [line[:5] for line in said[1:3]] == ["[1/2]", "[2/2]"]
    assert said[3:] == [f"The suite 'pair' is recorded: 2 runs in {out}."]
    recorded = Store(out).records().values()
    assert [record.provenance["profile"] for record in recorded] == ["tiny"] * 2
    assert nothing_is_left(record, "pair", out)

    code, said, err = call("status", "--out", out)
    assert (code, len(said), err) == (0, 1 + len(SUITES), [])
    assert ": 2 records, " in said[0]
    assert f"  pair: 2 recorded, 0 missing, {sum(record.seconds() for record in recorded):,.0f} s" in said
    assert "  filtering: 1 recorded, 6 missing" in "\n".join(said)  # its baseline is one of the two


@pytest.mark.long
def test_the_budget_suite_is_recorded_in_one_command(record, tmp_path, call):
    """The first run is timed, and then the suite asks for those that have its budget."""
    out = tmp_path / "out"
    code, said = record("budget")
    assert code == 0
    assert [line[:5] for line in said[1:-1]] == ["[1/1]", "[1/5]", "[2/5]", "[3/5]", "[4/5]", "[5/5]"]
    full, *others = [record for record in Store(out).records().values() if isinstance(record.spec, Run)]
    assert full.spec.budget is None
    budget = 7 / 12.27 * full.seconds("training")
    assert [record.spec.budget for record in others] == [pytest.approx(budget, rel=0.005)] * 4
    assert [record.spec.keep for record in others] == [None, 20, 20, 100]  # not 200 of 100
    assert nothing_is_left(record, "budget", out)
    assert "  budget: 6 recorded, 0 missing" in "\n".join(call("status", "--out", out)[1])


@pytest.mark.parametrize("really", [False, pytest.param(True, marks=pytest.mark.long)])
def test_part_two_is_recorded_in_one_command(really, small, record, tmp_path, call, monkeypatch):
    """Every arm of the tiny profile, with fewer steps, images and filters: invented, or really carried out.

    Of the latter one run of each kind; those that differ from it in a number alone are given its record.
    """
    least = dataclasses.replace(
        LEAST, steps=20, width=4, embedding_steps=100, embedding_widths=(2, 2, 3), images=100, keeps=(5, 60)
    )
    monkeypatch.setitem(profiles.PROFILES, "tiny", least)
    dataset, out = data.load(small), tmp_path / "out"
    asked = set(questions.suite("referee", least, dataset))
    carried_out, execute = {}, experiments.execute

    def one_of_a_kind(spec, *arguments, **options):
        kind = spec
        if isinstance(spec, Run) and spec not in {run.embedding for run in asked if isinstance(run, Run)}:
            kind = dataclasses.replace(spec, steps=1, rate=1, keep=spec.keep and 20, every=None)
        if kind not in carried_out:
            carried_out[kind] = execute(spec, *arguments, **options) if really else a_record(spec)
        return dataclasses.replace(carried_out[kind], spec=spec)

    monkeypatch.setattr(experiments, "execute", one_of_a_kind)
    assert len(asked) == len(set(questions.suite("referee", TINY, dataset)))
    code, said = record("referee")
    assert code == 0, said
    recorded = Store(out).records().values()
    specs = {record.spec for record in recorded}
    wanted = set(questions.suite("referee", least, dataset, recorded))
    assert specs >= wanted >= asked
    assert specs - wanted <= {spec.embedding for spec in wanted if isinstance(spec, Run)}  # made on the way
    tuned = QUESTIONS["tuned"].runs(least, dataset, recorded)
    assert {run for group in tuned.values() for run in group} <= specs
    assert len(tuned) == 3
    assert len(carried_out) > len(specs) / 3
    runs = [record for record in recorded if isinstance(record.spec, Run)]
    assert all(0 <= run.metrics["test_accuracy"] <= 1 for run in runs)
    assert not really or all(np.isfinite(run.metrics["test_loss"]) for run in runs)

    assert nothing_is_left(record, "referee", out)
    by_name = dict(line.strip().split(": ") for line in call("status", "--out", out)[1][1:])
    assert by_name["referee"].startswith(f"{len(wanted)} recorded, 0 missing, ")
    whole = {name for name, rest in by_name.items() if " recorded, 0 missing, " in rest}
    assert whole >= {"referee", "ablations", *SUITES["referee"]}
    assert not whole & {"splits", "budget", "part-one"}  # those of Part I are another command


@pytest.fixture
def ten_seconds_each(monkeypatch):
    """Runs that are not carried out: each takes ten seconds on a clock that hardly anything else moves."""
    clock = [0.0]

    def look():
        clock[0] += 1e-6
        return clock[0]

    def invent(spec, dataset, store, profile_name, progress=False, keep=()):
        clock[0] += 10.0
        record = a_record(spec, seconds=10.0, profile=profile_name)
        record.metrics["kept"] = 100
        return record

    monkeypatch.setattr(experiments.time, "perf_counter", look)
    monkeypatch.setattr(experiments, "execute", invent)


def test_part_one_goes_on_once_the_budget_is_known(small, record, tmp_path, call, ten_seconds_each):
    out = tmp_path / "out"
    code, said = record("part-one")
    assert code == 0
    numbered = [*(f"[{n}/8]" for n in range(1, 9)), *(f"[{n}/31]" for n in range(1, 32))]
    assert [line.split()[0] for line in said[1:-1]] == numbered
    assert said[-1] == f"The suite 'part-one' is recorded: 39 runs in {out}."
    recorded = Store(out).records().values()
    specs = [record.spec for record in recorded]
    assert specs == questions.suite("part-one", LEAST, data.load(small), recorded)
    assert {getattr(spec, "budget", None) for spec in specs} == {None, 5.7}
    assert "  part-one: 39 recorded, 0 missing, 390 s" in call("status", "--out", out)[1]


@pytest.mark.parametrize(("suite", "steps"), [
    ("budget", [("29", 4), ("40.1", 0)]),  # 10 for the full run, and of the 19 left two runs would be too much
    ("pair", [("0", 2), ("0.2", 1), ("1e9", 0)]),  # the first is started, as nothing is known of its length
])  # fmt: skip
def test_the_seconds_are_those_of_the_whole_command(suite, steps, record, tmp_path, ten_seconds_each):
    for seconds, left in steps:
        count = {"budget": 6, "pair": 2}[suite]
        code, said = record(suite, "--seconds", seconds)
        assert (code, len(Store(tmp_path / "out").records())) == (2 if left else 0, count - left)
        assert not left or said[-1] == f"Stopped in time: {left} of {count} runs are still to be recorded."


def test_the_environment_names_profile_and_data(small, tmp_path, call, monkeypatch):
    monkeypatch.setenv("EMBSEL_DATA", str(small))
    monkeypatch.setenv("EMBSEL_PROFILE", "tiny")
    command = ["record", "--suite", "pair", "--out", tmp_path / "out", "--seconds", "0"]
    code, said, _ = call(*command)
    assert code == 2
    assert "100 training" in said[0]
    monkeypatch.setenv("EMBSEL_PROFILE", "tinny")
    assert call(*command)[0] == 1
    assert call(*command, "--profile", "tiny")[0] == 2  # the option wins
    monkeypatch.setenv("EMBSEL_DATA", "nowhere")
    assert call(*command, "--profile", "tiny")[0] == 1
    assert call(*command, "--profile", "tiny", "--data", small)[0] == 2


def test_bad_input_is_one_line_and_exit_code_1(small, tmp_path, call, monkeypatch):
    (tmp_path / "other").write_text("a text")
    monkeypatch.setitem(profiles.PROFILES, "laptop", dataclasses.replace(LEAST, keep=101))
    places = {"OTHER": tmp_path / "other", "SMALL": small}
    for arguments, message in [
        ("--suite filtring", "no suite named 'filtring'; did you mean 'filtering' or 'timing' or 'sizing'?"),
        ("--suite filtring --data /no/such/place", "no suite named"),  # said before anything is loaded
        ("--profile labtop", "There is no profile named 'labtop'; did you mean 'laptop'?"),
        ("--data shaeps", "no dataset named 'shaeps'; did you mean 'shapes' or 'shapes-20'? No folder or .npz"),
        ("--data /no/such/place", "No folder or .npz file was found at '/no/such/place'"),
        ("--data OTHER", "expected a folder of images or an .npz file, found something else"),
        ("--data SMALL --out OTHER", "cannot be written to"),
        ("--data SMALL --profile laptop", "Run.keep is 101"),  # more than there are
    ]:
        arguments = [places.get(argument, argument) for argument in arguments.split()]
        code, _, (said,) = call("record", "--out", tmp_path / "out", *arguments)
        assert code == 1
        assert said.startswith("embsel: ")
        assert message in said
        assert not (tmp_path / "out").exists()


def test_what_argparse_refuses_is_exit_code_2_with_the_usage(capsys):
    for arguments in ([], ["replay"], ["record", "--seconds", "soon"], ["status", "--suite", "x"]):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.startswith("usage: python -m embsel")


def test_status_of_an_empty_folder(tmp_path, call):
    for folder in (tmp_path, tmp_path / "missing"):
        assert call("status", "--out", folder) == (0, [f"Nothing is recorded in {folder}."], [])
    assert not (tmp_path / "missing").exists()


def test_status_says_that_a_suite_waits_for_the_run_it_builds_on(small, tmp_path, call):
    Store(tmp_path).append(a_record(profiles.baseline(LEAST, "d")))
    suite_lines = call("status", "--out", tmp_path)[1][1:]
    assert "  budget: 0 recorded, more than 1 missing, 0 s" in suite_lines
    assert "  choices: 1 recorded, 9 missing, 60 s" in suite_lines
    assert "  pair: 1 recorded, 1 missing, 60 s" in suite_lines
    timed = a_record(QUESTIONS["timing"].specs(LEAST, "d")[0], seconds=30)
    Store(tmp_path).append(dataclasses.replace(timed, metrics={"kept": 90}))
    assert "  budget: 1 recorded, 5 missing, 30 s" in call("status", "--out", tmp_path)[1]


def test_status_counts_an_autoencoder_that_runs_share_once(tmp_path, call):
    store, embedding = Store(tmp_path), Autoencoder("d", 10, 8)
    for seed in range(3):
        store.append(a_record(Run("d", ALL, 10, 8, 0.1, seed=seed), seconds=90))
    store.append(a_record(embedding, seconds=30))
    filtered = a_record(Run("d", "top_activations", 10, 8, 0.1, keep=8, embedding=embedding), profile="paper")
    shared = {"stage": "autoencoder", "seconds": 6000, "samples": 80}  # has a record of its own
    store.append(dataclasses.replace(filtered, ledger=[shared, *filtered.ledger]))
    code, said, err = call("status", "--out", tmp_path)
    assert (code, err) == (0, [])
    assert sorted(line for line in said if line[0] != " ") == [
        "paper | shapes | a processor | tensorflow: 1 records, 1 min",
        "tiny | shapes | a processor | tensorflow: 4 records, 5 min",
    ]


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "embsel", "record", "--suite", "x", "--out", tmp_path]
    done = subprocess.run(command, cwd=records.ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"embsel: There is no suite named 'x'; known: {', '.join(sorted(SUITES))}.\n"
