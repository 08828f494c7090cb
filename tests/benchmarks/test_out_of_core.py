"""Selecting from a memory map: its time beside that of reading the map once, and its memory.

`pytest tests/benchmarks -s` runs it small, in seconds, to see that it works. The figures that count are those of

    EMBSEL_BENCH_ROWS=10000000 pytest tests/benchmarks/test_out_of_core.py -s

which makes a file of 8.6 GB, in the folder EMBSEL_BENCH_FOLDER or else the one for temporary files, and removes it.
`EMBSEL_BENCH_KEEP` is the number of rows to pick, by default the paper's 4,320. Reading once is the same loop over the
same chunks, taking the maximum of each element as NumPy does; the time with a plain sum in its place is printed too.
How long it all takes is the machine's affair: a limit is set to the ratio alone, and only from five million rows on:
below that, the start weighs too much.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

ELEMENTS = 216
ROWS = int(os.environ.get("EMBSEL_BENCH_ROWS", "50000"))
KEEP = int(os.environ.get("EMBSEL_BENCH_KEEP", "4320"))

MEASURE = """
import json, resource, sys, time
import numpy as np
from embsel import chunks, selection

vectors, keep = np.load(sys.argv[1], mmap_mode="r"), int(sys.argv[2])

def read():
    return max(chunk.max(axis=0).max() for _, chunk in chunks.stream(vectors))

def add():
    return sum(chunk.sum() for _, chunk in chunks.stream(vectors))

def select():
    return selection.top_activations(vectors, keep)

def timed(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin

read()  # whatever of the file stays in the system's memory is there for both
times = [[timed(function) for function in (read, add, select)] for _ in range(int(sys.argv[3]))]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps(dict(zip(("read", "add", "select"), zip(*times), strict=True)) | {"peak": peak}))
"""


@pytest.fixture(scope="module")
def file():
    """A file of `ROWS` random embeddings, half of the values zero, as they come from a ReLU."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("EMBSEL_BENCH_FOLDER")) as folder:
        path = Path(folder) / "vectors.npy"
        rng, step = np.random.default_rng(0), 50_000
        np.lib.format.open_memmap(path, "w+", "float32", (ROWS, ELEMENTS))
        for start in range(0, ROWS, step):
            vectors = np.load(path, mmap_mode="r+")  # anew each time, so that what is written does not stay
            part = vectors[start : start + step]
            np.maximum(rng.standard_normal(part.shape, "float32"), 0, out=part)
        yield path


def test_selecting_from_a_map_takes_little_memory_and_twice_the_time_of_reading_it(file, root):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file), str(KEEP), "5"],
        check=True, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    measured = json.loads(found.stdout)
    seconds = {name: statistics.median(measured[name]) for name in ("read", "add", "select")}
    ratios = [select / read for read, select in zip(measured["read"], measured["select"], strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"\n{ROWS:,} x {ELEMENTS} float32 ({file.stat().st_size / 1e9:.2f} GB), k = {KEEP:,}: "
        f"reading {seconds['read']:.2f} s (with a sum {seconds['add']:.2f} s), selecting {seconds['select']:.2f} s, "
        f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), peak {measured['peak'] / 1e6:.0f} MB"
    )
    assert measured["peak"] < 1e9
    if ROWS >= 5_000_000:
        assert ratio <= 2


def test_the_answer_is_that_in_memory(file):
    from embsel import selection

    vectors = np.load(file, mmap_mode="r")
    part = vectors[ROWS // 3 : ROWS // 3 + 40_000]
    for duplicates in selection.DUPLICATES:
        rows = selection.top_activations(part, KEEP, duplicates=duplicates)
        assert rows.tolist() == selection.top_activations(np.array(part), KEEP, duplicates=duplicates).tolist()
