"""The limit on what a single test may take: who works too long is named, who waits for a busy machine is not."""

import subprocess
import sys

import pytest

WORK = "import time\nstart = time.process_time()\nwhile time.process_time() - start < {}: pass\n"
FILE = f'''
import subprocess, sys, time
import pytest

@pytest.fixture(scope="module")
def made():
    exec("""{WORK.format(0.6)}""")

def test_set_up(made): pass
def test_after(made): pass
def test_child(): subprocess.run([sys.executable, "-c", """{WORK.format(0.6)}"""])
def test_waits(): time.sleep(0.9)
'''


@pytest.mark.parametrize("processes", [[], ["-n", "1"]])
def test_a_test_that_works_too_long_is_named(processes, root, tmp_path):
    (tmp_path / "conftest.py").write_text(
        (root / "tests" / "conftest.py").read_text() + "\nspeed = lambda: 2.0  # a machine that is half as fast\n"
    )
    (tmp_path / "test_file.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *processes]

    def run(*options):
        done = subprocess.run([*command, *options, tmp_path], capture_output=True, text=True, cwd=tmp_path, check=False)
        slow = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("Too slow")]
        assert "4 passed" in done.stdout
        return done.returncode, slow

    assert run("--slowest", "0.25") == (1, ["test_set_up", "test_child"])
    if not processes:
        assert run("--slowest", "0.45") == run() == (0, [])
