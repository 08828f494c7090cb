"""The command line: `python -m embsel record …`, `python -m embsel status` and `python -m embsel try …`."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from embsel import data, selection
from embsel.errors import InputError, require, unknown
from embsel.lab import profiles, questions, records, report


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    `record` and `status`: 0 done, 1 bad input, 2 stopped in time with runs still missing. `try`: 0 done, 1 its notebook
    failed, 2 bad input. All of them: 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        "python -m embsel", description="Record the book's runs, list what is there, or try selection on other data."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="execute the runs of a suite that are not recorded yet")
    status = commands.add_parser("status", help="list what is recorded, and what is missing of each suite")
    attempt = commands.add_parser("try", help="find out whether selection is worth it on data of your own (chapter 9)")
    for command in (record, status):
        command.add_argument("--out", type=Path, default=records.RESULTS, help="the folder of the records")
    for command in (record, attempt):
        command.add_argument("--profile", help="tiny, laptop or paper (default: $EMBSEL_PROFILE, or tiny)")
    record.add_argument("--suite", default="filtering", help=f"one of: {', '.join(questions.SUITES)}")
    record.add_argument("--data", help="a dataset name, image folder or .npz (default: $EMBSEL_DATA, or the profile's)")
    record.add_argument("--seconds", type=float, default=math.inf, help="start no run that would end after so many")
    record.add_argument("--nice", action="store_true", help="let other work come first; the records will say so")
    attempt.add_argument("data", metavar="DATA", help="a folder of images, an .npz file or a dataset name")
    attempt.add_argument("--keep", type=number, default=0.1, help="a fraction of the training images, or how many")
    attempt.add_argument("--selector", default="top_activations", help="the selector to try")
    attempt.add_argument("--seeds", type=int, default=3, help="how many runs of each arm")
    attempt.add_argument("--embeddings", help="an .npy file with a row for each training image: no autoencoder then")
    attempt.add_argument("--out", help="the folder of report, subset and records (default: _try/NAME-FINGERPRINT)")
    options = parser.parse_args(arguments)
    try:
        return {"record": _record, "status": _status, "try": _try}[options.command](options)
    except InputError as error:
        print(f"embsel: {error}", file=sys.stderr)
        return 2 if options.command == "try" else 1
    except KeyboardInterrupt:
        print("\nembsel: interrupted. What is recorded is kept: the same command goes on from there.", file=sys.stderr)
        return 130


def number(word: str) -> int | float:
    """Return the number that an option is, whole or not."""
    return int(word) if word.isdecimal() else float(word)


def _record(options) -> int:
    if options.nice:
        os.nice(19)
    sizes, store = profiles.profile(options.profile), records.Store(options.out)
    if options.suite not in questions.SUITES:  # said before anything is loaded
        raise unknown("suite", options.suite, questions.SUITES)
    if store.folder.exists():  # if nothing can be written to it, that is said before a long download
        with store.writing():
            pass
    dataset = data.load(options.data or os.environ.get("EMBSEL_DATA") or sizes.source)
    print(dataset)
    from embsel.lab import experiments  # imports Keras: only where something is trained

    asked, left = None, options.seconds
    while asked != (specs := questions.suite(options.suite, sizes, dataset, store.records().values())):
        start = time.perf_counter()
        missing = experiments.record(specs, dataset, store, sizes.name, seconds=left, states=True)
        asked, left = specs, left - (time.perf_counter() - start)
    if not missing:
        print(f"The suite {options.suite!r} is recorded: {len(specs)} runs in {options.out}.")
    return 2 if missing else 0


def _status(options) -> int:
    store = records.Store(options.out)
    rows, progress = report.status(store), report.progress(store)
    for *place, count, minutes in rows:
        print(f"{' | '.join(place)}: {count} records, {minutes:.0f} min")
        for *where, name, done, missing, seconds in progress:
            if where == place:
                print(f"  {name}: {done} recorded, {missing} missing, {seconds:,.0f} s")
    if not rows:
        print(f"Nothing is recorded in {options.out}.")
    return 0


def _try(options) -> int:
    """Check everything at the door, then run the chapter: what is wrong with the input is said before any long work."""
    try:
        import nbconvert  # noqa: F401 - makes the report, when all is done
        import nbformat
        import papermill
    except ModuleNotFoundError:
        raise InputError("`try` runs a notebook and makes a page of it: pip install 'embsel[book]'.") from None
    profile = profiles.profile(options.profile).name
    selection.selector(options.selector)
    choices = {name: getattr(options, name) for name in ("keep", "selector", "seeds", "embeddings", "out")}
    dataset = data.load(options.data, image_size="fit")
    from embsel import tryout  # imports Keras: only where something is trained

    trial = tryout.plan(dataset, profile=profile, **choices)
    missing = f"`try` runs a chapter of the book, and {tryout.CHAPTER} is not there: use a copy of the repository."
    require(tryout.CHAPTER.exists(), missing)
    with trial.store.writing():
        pass  # if nothing can be written, that is said now
    done = trial.folder / "notebook.ipynb"
    parameters = choices | {"source": options.data, "profile": profile, "out": str(trial.folder)}
    try:
        nbformat.write(tryout.chapter(tryout.CHAPTER), done)
        inline = ["--InteractiveShellApp.matplotlib=inline"]  # pictures, also where $MPLBACKEND says otherwise
        papermill.execute_notebook(done, done, parameters, stdout_file=sys.stdout, extra_arguments=inline)
    except papermill.PapermillExecutionError as error:
        begins = error.source.strip().split("\n")[0]
        why = f"Cell [{error.exec_count}] of the notebook, which begins with {begins!r}, failed: {error.ename}: "
        why += error.evalue.rstrip(".")
    except Exception as error:  # the kernel died or never came: each has its own exception
        why = f"The notebook could not be run ({type(error).__name__}: {error})"
    else:
        said = tryout.verdict(tryout.recorded(trial))
        print("", *said, "", f"The report: {tryout.render(trial, done)}", sep="\n")
        return 0
    print(f"embsel: {why}. The notebook as far as it ran: {done}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # so that a log file grows with every run
    sys.exit(main())
