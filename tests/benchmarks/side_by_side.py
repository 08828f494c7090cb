"""Two ways to do the same work, measured in turns: what the benchmarks share.

A ratio of two times that were taken one after the other in one process means the same on a fast and on a slow machine;
a time alone does not. The ratio of each round is kept, so that its spread shows how far it can be trusted.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

FULL = os.environ.get("EMBSEL_BENCH") == "full"  # else small: does it work, and does it measure what it says?
ROUNDS = 5 if FULL else 2
ROOT = Path(__file__).resolve().parents[2]
# The modules that processes of their own find: embsel, the benchmarks, and whatever this process was told of.
PATH = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclass(frozen=True)
class Line:
    """One line of the table: a ratio for each round, the value to reach (at least or at most), and a remark."""

    what: str
    against: str
    ratios: list[float]
    reach: float
    at_least: bool
    remark: str = ""

    def __post_init__(self):
        assert len(self.ratios) >= ROUNDS, f"{self.what}: {len(self.ratios)} rounds, wanted {ROUNDS}"
        assert all(0 < ratio < float("inf") for ratio in self.ratios), f"{self.what}: measured nothing: {self.ratios}"

    @property
    def middle(self) -> float:
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool:
        return self.middle >= self.reach if self.at_least else self.middle <= self.reach

    def cells(self) -> list[str]:
        """Return the line as words: what, against, the ratio with its range, the value to reach, whether it is."""
        digits = 0 if self.middle > 20 else 2 if self.middle > 0.1 else 3
        low, middle, high = (f"{value:.{digits}f}" for value in (min(self.ratios), self.middle, max(self.ratios)))
        reach = f"{'at least' if self.at_least else 'at most'} {self.reach:g}"
        ratio, reached = f"{middle} ({low} to {high})", "yes" if self.reached else "no"
        return [self.what, self.against, ratio, reach, reached, self.remark]

    def asdict(self) -> dict:
        return asdict(self) | {"cells": self.cells()}


def in_turns(*functions: Callable[[], float], rounds: int = ROUNDS) -> list[list[float]]:
    """Return the seconds that each function says its work took, round by round; every second round goes backwards."""
    seconds = [[] for _ in functions]
    for number in range(rounds):
        order = list(range(len(functions)))
        for i in order if number % 2 == 0 else reversed(order):
            seconds[i].append(functions[i]())
    return seconds


def timed(function: Callable, *arguments) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def shares(seconds: list[float], others: list[float]) -> list[float]:
    """Return the ratio of each round."""
    return [one / other for one, other in zip(seconds, others, strict=True)]


def in_a_process(script: str | Path, *arguments, **environment) -> dict:
    """Run a Python script (a path, or its text) in a process of its own; return what its last line, JSON, says."""
    program = [str(script)] if isinstance(script, Path) else ["-c", script]
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": PATH} | environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}:\n{done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])
