"""Collects what the benchmarks measured, prints it as one table, and writes it down where EMBSEL_BENCH_OUT says."""

import contextlib
import json
import os
from importlib import metadata
from pathlib import Path

import pytest
from side_by_side import FULL, Line

HEADER = ["what", "against", "ratio (range)", "to reach", "reached", "remark"]
LINES = pytest.StashKey[list]()
SELECTORS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[LINES], config.stash[SELECTORS] = [], []


@pytest.fixture
def report(request):
    """Take one line of the table."""

    def take(*arguments, **options):
        request.config.stash[LINES].append(Line(*arguments, **options))

    return take


@pytest.fixture
def report_selector(request):
    """Take one line of the table of selectors: name, seconds of each round, peak megabytes above the start."""
    return lambda *line: request.config.stash[SELECTORS].append(line)


def pytest_terminal_summary(terminalreporter, config):
    lines, selectors = config.stash[LINES], config.stash[SELECTORS]
    if not FULL:
        return
    table = [HEADER[:-1], *(line.cells()[:-1] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    terminalreporter.section("side by side, ratio of each round: median (lowest to highest)")
    for row in table:
        words = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line(words.rstrip())
    for line in lines:
        if line.remark:
            terminalreporter.write_line(f"{line.what}, against {line.against}: {line.remark}")
    if selectors:
        terminalreporter.section("every selector")
        for name, seconds, peak in selectors:
            terminalreporter.write_line(f"{name:24} {min(seconds):8.3f} to {max(seconds):.3f} s, {peak:.0f} MB")
    reached = sum(line.reached for line in lines)
    terminalreporter.write_line(f"{reached} of {len(lines)} ratios reach what they should.")
    out = os.environ.get("EMBSEL_BENCH_OUT")
    if out:
        skipped = [report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])]
        Path(out).write_text(json.dumps(_where() | {
            "header": HEADER, "lines": [line.asdict() for line in lines], "selectors": selectors, "skipped": skipped,
        }, indent=1) + "\n")  # fmt: skip
        terminalreporter.write_line(f"Written to {out}.")


def pytest_sessionfinish(session, exitstatus):
    """A run that measured nothing has not passed."""
    if FULL and exitstatus == pytest.ExitCode.OK and not session.config.stash[LINES]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _where() -> dict:
    """Return where this was measured; only at the end, as it imports Keras."""
    from embsel import data
    from embsel.lab import experiments

    where = experiments.provenance(data.shapes(train=10, test=10), "benchmarks")
    with contextlib.suppress(metadata.PackageNotFoundError):
        where["versions"]["torch"] = metadata.version("torch")
    return {name: where[name] for name in ("hardware", "backend", "versions", "commit", "when")}
