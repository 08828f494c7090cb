"""The command line: `python -m embsel record …` and `python -m embsel status`."""

import argparse
import os
import sys
from pathlib import Path

from embsel import data, records, report, suites
from embsel.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 bad input, 2 stopped in time with runs still missing."""
    parser = argparse.ArgumentParser(
        prog="python -m embsel", description="Record the book's runs, and list what is recorded."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="execute the runs of a suite that are not recorded yet")
    record.add_argument("--suite", default="filtering", help=f"one of: {', '.join(suites.SUITES)}")
    record.add_argument("--profile", help="tiny, laptop or paper (default: $EMBSEL_PROFILE, or tiny)")
    record.add_argument(
        "--data", help="a dataset name, an image folder or an .npz (default: $EMBSEL_DATA, or the profile's)"
    )
    record.add_argument("--seconds", type=float, help="start no run that would end after so many seconds")
    record.add_argument("--out", type=Path, default=records.RESULTS, help="the folder of the records")
    status = commands.add_parser("status", help="list what is recorded")
    status.add_argument("--out", type=Path, default=records.RESULTS, help="the folder of the records")
    options = parser.parse_args(arguments)
    try:
        return _record(options) if options.command == "record" else _status(options)
    except InputError as error:
        print(f"embsel: {error}", file=sys.stderr)
        return 1


def _record(options) -> int:
    sizes = suites.profile(options.profile)
    if options.suite not in suites.SUITES:
        suites.suite(options.suite, sizes, None)  # says which names there are, before anything is loaded
    dataset = data.load(options.data or os.environ.get("EMBSEL_DATA") or sizes.source)
    print(dataset, flush=True)
    store = records.Store(options.out)
    specs = suites.suite(options.suite, sizes, dataset, store.records().values())
    from embsel import experiments  # imports Keras: only where something is trained

    missing = experiments.record(
        specs, dataset, store, sizes.name, seconds=options.seconds, say=lambda line: print(line, flush=True)
    )
    if not missing:
        print(f"The suite {options.suite!r} is recorded: {len(specs)} runs in {options.out}.")
    return 2 if missing else 0


def _status(options) -> int:
    rows = report.status(records.Store(options.out))
    for *group, count, minutes in rows:
        print(f"{' | '.join(group)}: {count} records, {minutes:.0f} min")
    if not rows:
        print(f"Nothing is recorded in {options.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
