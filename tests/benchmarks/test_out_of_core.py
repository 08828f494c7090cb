"""Selecting from a memory map: its time beside that of reading the map once, and its memory.

`pytest tests/benchmarks -s` runs it small, in seconds, to see that it works. The figures that count are those of

    EMBSEL_BENCH_ROWS=10000000 pytest tests/benchmarks/test_out_of_core.py -s

which makes a file of 8.6 GB, in the folder EMBSEL_BENCH_FOLDER or else the one for temporary files, and removes it.
`EMBSEL_BENCH_KEEP` is the number of rows to pick, by default the paper's 4,320.

Reading once is the same loop over the same chunks, taking the maximum of each element with NumPy: a selection cannot
look at less, as it needs the elements apart. A plain sum of everything need not keep them apart and is faster where the
file is in memory already; from a disk, both wait for the disk. Both ratios are printed, and the limit is set to the
first, from five million rows on: below that, the start weighs too much. How long it all takes is the machine's affair.
The memory is limited in any run: a small one reads in chunks that are small beside its file.
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

from embsel import selection
from embsel.scale import chunks

ELEMENTS = 216
ROWS = int(os.environ.get("EMBSEL_BENCH_ROWS", "50000"))
KEEP = int(os.environ.get("EMBSEL_BENCH_KEEP", "4320"))
LARGE = ROWS >= 5_000_000

MEASURE = """
import json, re, resource, sys, time
from pathlib import Path
import numpy as np
from embsel import selection
from embsel.scale import chunks

chunks.CHUNK_BYTES = int(sys.argv[4])
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

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, the other measure begins with what the parent had
        return 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

start = peak()
read()  # whatever of the file stays in the system's memory is there for all three
times = [[timed(function) for function in (read, add, select)] for _ in range(int(sys.argv[3]))]
measured = dict(zip(("read", "add", "select"), zip(*times), strict=True))
print(json.dumps(measured | {"start": start, "peak": peak()}))
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
    chunk_bytes = chunks.CHUNK_BYTES if LARGE else 2**22
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file), str(KEEP), "5", str(chunk_bytes)],
        check=True, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    measured = json.loads(found.stdout)
    seconds = {name: statistics.median(measured[name]) for name in ("read", "add", "select")}
    ratios = {
        name: [select / other for other, select in zip(measured[name], measured["select"], strict=True)]
        for name in ("read", "add")
    }
    ratio = {name: statistics.median(values) for name, values in ratios.items()}
    grown = measured["peak"] - measured["start"]
    print(
        f"\n{ROWS:,} x {ELEMENTS} float32 ({file.stat().st_size / 1e9:.2f} GB), k = {KEEP:,}: "
        f"reading {seconds['read']:.2f} s (with a sum {seconds['add']:.2f} s), selecting {seconds['select']:.2f} s, "
        f"ratio {ratio['read']:.2f} ({min(ratios['read']):.2f} to {max(ratios['read']):.2f}; to the sum "
        f"{ratio['add']:.2f}), peak {measured['peak'] / 1e6:.0f} MB, {grown / 1e6:.0f} MB of it above the start"
    )
    assert measured["peak"] < 1e9
    assert LARGE or grown < 30e6
    assert not LARGE or ratio["read"] <= 2


def reference(embeddings, k, duplicates):
    """The same by sorting each element as a whole."""
    n, free, picked = embeddings.shape[1], np.ones(len(embeddings), bool), []
    for element, column in enumerate(embeddings.T):
        rows = np.argsort(-column, kind="stable")
        rows = rows[free[rows]] if duplicates == "refill" else rows
        picked.append(rows[: k // n + (element < k % n)])
        free[picked[-1]] = False
    picked = np.concatenate(picked).tolist()
    return list(dict.fromkeys(picked)) if duplicates == "drop" else picked


@pytest.mark.parametrize("duplicates", selection.DUPLICATES)
def test_the_answer_from_many_chunks_is_that_of_sorting(duplicates, file, monkeypatch):
    part = np.load(file, mmap_mode="r")[ROWS // 3 : ROWS // 3 + 40_000]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", part.nbytes // 10)
    found = selection.top_activations(part, KEEP, duplicates=duplicates)
    assert found.tolist() == reference(np.array(part), KEEP, duplicates)
