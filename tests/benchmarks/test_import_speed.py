"""What an import costs, in processes of their own: the module itself, and all of it that trains, beside Keras alone."""

import statistics

from side_by_side import FULL, in_a_process, in_turns, shares

TIMED = """
import json, time
start = time.perf_counter()
{}
print(json.dumps(time.perf_counter() - start))
"""
STATEMENTS = (
    "import embsel", "from embsel import data, selection", "from embsel.lab import experiments", "import keras",
)


def seconds(statement):
    return lambda: in_a_process(TIMED.format(statement))


def test_importing_costs_no_more_than_keras(report):
    *own, other = STATEMENTS if FULL else ("import embsel", "import numpy")  # Keras takes seconds
    *measured, beside = in_turns(*map(seconds, (*own, other)))
    for statement, spent in zip(own, measured, strict=True):
        remark = f"{statistics.median(spent):.3f} s beside {statistics.median(beside):.2f} s"
        report(f"{statement}, seconds", other, shares(spent, beside), 1.1, False, remark)
