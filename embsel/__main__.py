"""The command line: `python -m embsel record …` and `python -m embsel status`."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

from embsel import data, records, report, suites
from embsel.errors import InputError, unknown


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 bad input, 2 stopped in time with runs still missing."""
    parser = argparse.ArgumentParser("python -m embsel", description="Record the book's runs, and list what is there.")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="execute the runs of a suite that are not recorded yet")
    status = commands.add_parser("status", help="list what is recorded, and what is missing of each suite")
    for command in (record, status):
        command.add_argument("--out", type=Path, default=records.RESULTS, help="the folder of the records")
    record.add_argument("--suite", default="filtering", help=f"one of: {', '.join(suites.SUITES)}")
    record.add_argument("--profile", help="tiny, laptop or paper (default: $EMBSEL_PROFILE, or tiny)")
    record.add_argument("--data", help="a dataset name, image folder or .npz (default: $EMBSEL_DATA, or the profile's)")
    record.add_argument("--seconds", type=float, default=math.inf, help="start no run that would end after so many")
    options = parser.parse_args(arguments)
    try:
        return _record(options) if options.command == "record" else _status(options)
    except InputError as error:
        print(f"embsel: {error}", file=sys.stderr)
        return 1


def _record(options) -> int:
    sizes = suites.profile(options.profile)
    if options.suite not in suites.SUITES:  # said before anything is loaded
        raise unknown("suite", options.suite, suites.SUITES)
    dataset = data.load(options.data or os.environ.get("EMBSEL_DATA") or sizes.source)
    print(dataset)
    store = records.Store(options.out)
    from embsel import experiments  # imports Keras: only where something is trained

    asked, left = None, options.seconds
    while asked != (specs := suites.suite(options.suite, sizes, dataset, store.records().values())):
        start = time.perf_counter()
        missing = experiments.record(specs, dataset, store, sizes.name, seconds=left)
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


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # so that a log file grows with every run
    sys.exit(main())
