"""The paper's filter beside one pass over the embeddings, farthest first beside its products, and what all others cost.

Random numbers stand for embeddings: half of them zero, as they come from a ReLU.
"""

from pathlib import Path

import numpy as np
import pytest
from side_by_side import FULL, ROUNDS, in_a_process, in_turns, shares, timed

from embsel import selection

LARGE, SMALL = ((1_281_167, 216), (50_000, 216)) if FULL else ((3_000, 6), (300, 6))
KEEP = 4320 if FULL else 60
CLASSES = 10

ALONE = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import test_selection_speed as speed
from embsel import selection

def peak():
    return int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024

select, known, labels, keep = speed.arguments(sys.argv[1], *map(int, sys.argv[2:5]))
select(known[:100], 10, labels=labels[:100])  # imports what it needs
seconds, extra = [], []
for seed in range(int(sys.argv[5])):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = peak(), time.perf_counter()
    rows = select(known, keep, labels=labels, seed=seed)
    seconds.append(time.perf_counter() - start)
    extra.append(peak() - before)
    assert 0 < len(np.unique(rows)) <= keep
print(json.dumps([seconds, extra]))
"""


def embeddings(shape):
    values = np.random.default_rng(0).standard_normal(shape, "float32")
    return np.maximum(values, 0, out=values)


def arguments(name, rows, elements, keep):
    """Return a selector of the registry and what to call it with."""
    labels = np.arange(rows) % CLASSES
    select = selection.SELECTORS[name]
    if select.needs == "proxy":
        known = np.random.default_rng(0).dirichlet(np.ones(CLASSES), rows)
    else:
        known = embeddings((rows, elements))
    return select, known, labels, keep


PEAK = Path("/proc/self/clear_refs")
linux = pytest.mark.skipif(not PEAK.exists(), reason="The peak of memory is read as Linux tells it.")


@pytest.fixture(scope="module")
def large():
    return embeddings(LARGE)


def test_the_filter_takes_little_more_than_one_pass(large, report):
    def select():
        assert len(np.unique(selection.top_activations(large, KEEP))) == KEEP

    def one_pass():
        assert large.max(axis=0).shape == LARGE[1:]

    def sort():
        assert np.argpartition(large, LARGE[0] - KEEP // LARGE[1], axis=0).shape == LARGE

    select()
    own, reading, sorting = in_turns(*(lambda work=work: timed(work) for work in (select, one_pass, sort)))
    what, of = "top_activations, seconds", f"of {LARGE[0]:,} x {LARGE[1]} float32 in memory"
    remark = f"{np.median(own):.2f} s beside {np.median(reading):.2f} s, {of}"
    report(what, "X.max(axis=0)", shares(own, reading), 1.5, False, remark)
    remark = f"{np.median(own):.2f} s beside {np.median(sorting):.1f} s"
    report("top_activations, times as fast", "np.argpartition(X, axis=0)", shares(sorting, own), 50, True, remark)


def test_the_filter_does_not_mind_the_order_of_rows(large, report):
    ascending = np.sort(large, axis=0)
    assert np.unique(selection.top_activations(ascending, KEEP)).tolist() == list(range(LARGE[0] - KEEP, LARGE[0]))
    own, usual = in_turns(*(lambda x=x: timed(selection.top_activations, x, KEEP) for x in (ascending, large)))
    remark = f"{np.median(own):.2f} s beside {np.median(usual):.2f} s"
    what = "top_activations, rows ascending in every element, seconds"
    report(what, "random order", shares(own, usual), 4, False, remark)


@linux
def test_the_filter_needs_little_memory(report):
    _, extra = in_a_process(ALONE, "top_activations", *LARGE, KEEP, ROUNDS)
    remark = f"{max(extra):.0f} MiB beside the embeddings"
    report("top_activations, extra memory", "64 MiB", [max(peak, 0.01) / 64 for peak in extra], 1, False, remark)


def test_farthest_first_takes_little_more_than_its_products(report):
    known = embeddings(SMALL)
    row, products = known[0].copy(), np.empty(len(known), "float32")

    def multiply():
        for _ in range(KEEP):
            np.dot(known, row, out=products)

    def select():
        assert len(np.unique(selection.SELECTORS["farthest_first"](known, KEEP))) == KEEP

    own, bare = in_turns(lambda: timed(select), lambda: timed(multiply))
    of = f"{KEEP:,} of {SMALL[0]:,} x {SMALL[1]} float32"
    remark = f"{np.median(own):.1f} s beside {np.median(bare):.1f} s, {of}"
    report("farthest_first, seconds", f"{KEEP:,} products of matrix and vector", shares(own, bare), 1.5, False, remark)


@linux
@pytest.mark.parametrize("name", selection.SELECTORS if FULL else ["top_activations_drop", "margin"])
def test_every_selector_says_what_it_costs(name, report_selector):
    seconds, extra = in_a_process(ALONE, name, *SMALL, KEEP, ROUNDS)
    assert len(seconds) == ROUNDS
    assert min(seconds) > 0
    report_selector(name, seconds, max(extra))
