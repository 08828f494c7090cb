"""Fault by fault: each ends in a clear sentence, and nothing that was finished is lost.

Elsewhere, beside what they are about: `kill -9` during a sweep (test_experiments: killed while it runs; between the
embeddings and their record), `kill -9` during `embed` at any moment (scale/test_store), a record torn at every byte,
several writers at once and a folder that cannot be made (test_records), a damaged or unwritable cache of images
(tests/sources/test_folders.py).
"""

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from filelock import FileLock

from embsel import data, files
from embsel.__main__ import main
from embsel.errors import InputError
from embsel.lab import records
from embsel.lab.records import ALL, Autoencoder, Record, Run, Store
from embsel.scale.store import Store as Vectors

resource = pytest.importorskip("resource")  # not on Windows

BASELINE = Run("0123456789ab", ALL, 200, 64, 0.05)
FULL = "cannot be written to: .*(File too large|No space left on device|is the disk full)"


def a_record(seed=0, **metrics):
    where = {"profile": "tiny", "dataset": "shapes", "hardware": "a processor", "backend": "tensorflow"}
    return Record(dataclasses.replace(BASELINE, seed=seed), {"test_accuracy": 0.5} | metrics, [], where)


@contextlib.contextmanager
def full_disk(size):
    """Let the kernel refuse whatever would make a file longer than `size` bytes, after it has written the first part
    of it: as a full disk does, without being root.
    """
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


# --- a full disk ---


def test_a_full_disk_leaves_the_records_as_they_were(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store, file = Store(tmp_path), tmp_path / "tiny.jsonl"
    store.append(a_record(0))
    before = file.read_bytes()
    with full_disk(len(before) + 40), pytest.raises(InputError, match=FULL):
        store.append(a_record(1))
    assert file.read_bytes() == before  # no half line
    with monkeypatch.context() as patch:
        patch.setattr(records.os, "fsync", full)  # the disk says so only when it is asked to keep it
        with pytest.raises(InputError, match=FULL):
            store.append(a_record(1))
    assert file.read_bytes() == before
    assert store.append(a_record(1))  # once there is room
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [record.spec.seed for record in store.records().values()] == [0, 1]


def a_store(path):
    return Vectors(path, (40, 5), "float32", 20, {"encoder": "e"})


@pytest.mark.parametrize(("name", "room"), [("vectors.npy", 700), ("vectors.zarr", 200)])
def test_a_full_disk_keeps_the_embeddings_that_are_counted(name, room, tmp_path):
    out, rows = tmp_path / name, np.random.default_rng(0).random((20, 5), "float32")
    store = a_store(out)
    with store.filling():
        store.append(rows)
        message = rf"{name} cannot be written to: .*\. Its first 20 rows are kept, and the same call goes on"
        with full_disk(room), pytest.raises(InputError, match=message):
            store.append(2 * rows)
    store = a_store(out)
    assert store.done == 20
    assert np.array_equal(store.array()[:20], rows)
    with store.filling():
        store.append(2 * rows)
    assert np.array_equal(store.array()[:], np.concatenate([rows, 2 * rows]))


@pytest.mark.parametrize("room", [20, 300])  # for neither of the two, for the mark alone
def test_a_full_disk_when_a_store_begins_leaves_what_can_be_begun_again(room, tmp_path):
    out, rows = tmp_path / "vectors.zarr", np.ones((20, 5), "float32")
    with full_disk(room), pytest.raises(InputError, match="Its first 0 rows are kept"), a_store(out).filling():
        pytest.fail("there was no room")
    store = a_store(out)
    with store.filling():
        store.append(rows)
        store.append(rows)
    assert np.array_equal(store.array()[:], np.ones((40, 5)))


@pytest.mark.parametrize("rows", [5, 4_096])  # of the first and the last, np.save says nothing
def test_a_full_disk_has_no_room_for_the_end_of_an_array(rows, tmp_path):
    array = np.arange(4.0 * rows).reshape(rows, 4).T  # of Fortran's order
    files.write_npy(tmp_path / "whole.npy", array)
    size = (tmp_path / "whole.npy").stat().st_size
    with full_disk(size - 1), pytest.raises(OSError, match="File too large"):
        files.write_npy(tmp_path / "torn.npy", array)
    np.save(tmp_path / "numpy.npy", array)
    assert (tmp_path / "whole.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_full_disk_leaves_the_embeddings_of_a_sweep_as_they_were(tmp_path):
    from embsel.lab import experiments

    store, spec, old = Store(tmp_path), Autoencoder("0123456789ab", 3, 16), np.zeros((30, 5), "float32")
    experiments._keep_embeddings(store, spec, old)
    [file] = (tmp_path / ".embeddings").iterdir()
    with full_disk(400), pytest.raises(InputError, match=FULL):
        experiments._keep_embeddings(store, spec, old + 1)
    assert list((tmp_path / ".embeddings").iterdir()) == [file]  # no part of a file
    assert np.array_equal(np.load(file), old)
    experiments._keep_embeddings(store, spec, old + 1)
    assert np.array_equal(np.load(file), old + 1)


@pytest.mark.parametrize("large", ["report.html", "subset.npy", "subset.csv"])
def test_a_full_disk_leaves_report_and_subset_as_they_were(large, tmp_path):
    from embsel import tryout

    dataset = data.shapes(train=40, test=10)
    names = [f"{'x' * 90 * (large == 'subset.csv')}{number}.png" for number in range(40)]
    trial = tryout.plan(dataclasses.replace(dataset, train_files=names), out=tmp_path)
    rows = np.arange(5 if large == "subset.npy" else 30)  # its head is long, its rows are short
    files = [*tryout.save(trial, rows[::-1], say=lambda _: None), tmp_path / "report.html"]
    files[-1].write_text("an earlier report")
    before = {file.name: file.read_bytes() for file in files}

    def write():
        tryout.save(trial, rows, say=lambda _: None) if large != "report.html" else tryout.render(trial, tryout.CHAPTER)

    room = 1 + max(len(was) for name, was in before.items() if name != large)
    with full_disk(room), pytest.raises(InputError, match=FULL):
        write()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != ".lock"} == before
    write()  # once there is room
    assert (tmp_path / large).read_bytes() != before[large]


def mounted(folder, commands, code):
    """Run `code` in a process that alone sees what `commands` mount on `folder`: with its end, the mounts are gone."""
    away = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{commands} && shift && exec "$@"', "sh", str(folder)]
    if not shutil.which("unshare") or subprocess.run([*away, "true"], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    path = os.pathsep.join(map(str, [records.ROOT, records.ROOT / "tests"]))
    environment = os.environ | {"PYTHONPATH": path, "EMBSEL_CACHE": str(folder)}
    command = [*away, sys.executable, "-W", "error::UserWarning", "-c", code, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines() + done.stderr.splitlines()


A_FULL_DISK = """
import contextlib, pathlib, sys
import numpy as np
from embsel import files
from embsel.lab.records import Store
from embsel.scale.store import Store as Vectors
from test_faults import a_record

folder = pathlib.Path(sys.argv[1])
store, rows = Store(folder), np.ones((2000, 5), "float32")
vectors = Vectors(folder / "vectors.npy", (4000, 5), "float32", 2000, {})

def replace(array):
    with store.writing(), files.replacing(folder / "array.npy") as part:
        files.write_npy(part, array)

def refused(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        print(error)
        return True

with vectors.filling():
    vectors.append(rows)
    replace(rows)
    store.append(a_record(0))
    with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))
    refused(vectors.append, 2 * rows)
    refused(replace, 2 * rows)
    seed = next(seed for seed in range(1, 1000) if refused(store.append, a_record(seed)))
    assert len(store.records()) == seed > 1  # what is left of the page that the first is in
    assert np.array_equal(np.load(folder / "array.npy"), rows)
    assert vectors.done == 2000
    (folder / "ballast").unlink()
    vectors.append(2 * rows)
replace(2 * rows)
assert store.append(a_record(seed)) and len(store.records()) == seed + 1
assert np.array_equal(np.load(folder / "array.npy"), 2 * rows)
assert np.array_equal(vectors.array(), np.concatenate([rows, 2 * rows]))
assert not list(folder.glob(".embsel-part-*"))
"""


def test_a_disk_that_is_really_full_is_said_and_loses_nothing(tmp_path):
    filled, replaced, appended = mounted(tmp_path, 'mount -t tmpfs -o size=256k tmpfs "$1"', A_FULL_DISK)
    why = "cannot be written to: No space left on device."
    assert filled.startswith(f"{tmp_path}/vectors.npy {why} Its first 2,000 rows are kept")
    assert replaced.startswith(f"The folder '{tmp_path}' cannot be written to: ")
    assert appended == f"The folder '{tmp_path}' {why}"


A_READ_ONLY_DISK = """
import pathlib, sys
import numpy as np
from embsel import data
from embsel.__main__ import main
from test_faults import a_record, a_store

folder = pathlib.Path(sys.argv[1])
whole, half = a_store(folder / "whole.npy"), a_store(folder / "half.npy")
with whole.filling():  # nothing is missing, so nothing need be written
    assert whole.array().sum() == 200
try:
    with half.filling():
        pass
except ValueError as error:
    print(error)
assert main(["status", "--out", sys.argv[1]]) == 0
data.load = lambda *_: sys.exit("the data was loaded")
assert main(["record", "--out", sys.argv[1]]) == 1
"""


def test_a_disk_that_is_really_read_only_is_read_and_said(tmp_path):
    Store(tmp_path).append(a_record())
    for name, count in (("whole", 2), ("half", 1)):
        store = a_store(tmp_path / f"{name}.npy")
        with store.filling():
            for _ in range(count):
                store.append(np.ones((20, 5), "float32"))
    commands = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'
    half, *status, refused = mounted(tmp_path, commands, A_READ_ONLY_DISK)
    assert half.startswith(f"{tmp_path}/half.npy cannot be written to: ")
    assert "Its first 20 rows are kept" in half
    assert "1 records" in status[0]
    assert refused.startswith(f"embsel: The folder '{tmp_path}' cannot be written to: ")


# --- killed ---

def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    code = "import os, sys\nfrom embsel.lab.records import Store\n"
    code += "with Store(sys.argv[1]).writing(): os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False, cwd=records.ROOT)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").exists()
    assert Store(tmp_path).append(a_record())


# --- two at once ---


def test_a_second_process_does_not_write_the_same_embeddings(tmp_path):
    out, rows = tmp_path / "vectors.npy", np.ones((20, 5), "float32")
    first, second = a_store(out), a_store(out)
    with FileLock(f"{out}.lock"):
        message = r"vectors\.npy is being written by another process: wait for its end"
        with pytest.raises(InputError, match=message), second.filling():
            pytest.fail("two write at once")
    with first.filling():
        first.append(rows)
    with second.filling():
        assert second.done == 20  # it looks again once it may write
        second.append(rows)
    assert a_store(out).done == 40


# --- read-only, interrupted ---


@pytest.mark.parametrize(("place", "error", "code", "message"), [
    ((records, "FileLock"), OSError(errno.EROFS, "Read-only file system"), 1,
     "The folder 'FOLDER' cannot be written to: Read-only file system."),
    ((data, "load"), KeyboardInterrupt(), 130, "interrupted. What is recorded is kept: the same command goes on from"),
])  # fmt: skip
def test_record_that_cannot_begin_says_why_in_a_sentence(place, error, code, message, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise error

    Store(tmp_path).append(a_record())
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("the data was loaded"))
    monkeypatch.setattr(*place, refuse)
    assert main(["record", "--out", str(tmp_path)]) == code
    [said] = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("embsel: " + message.replace("FOLDER", str(tmp_path)))
    assert len(Store(tmp_path).records()) == 1
