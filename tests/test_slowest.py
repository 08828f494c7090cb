"""The limit on what a single test may take: who works too long is named, who waits for a busy machine is not."""

import os
import subprocess
import sys

WORK = "import time\nstart = time.process_time()\nwhile time.process_time() - start < {}: pass\n"
FILE = f'''
import pathlib, subprocess, sys, time
import pytest

@pytest.fixture(scope="module")
def made():
    exec("""{WORK.format(0.6)}""")

def test_set_up(made): pass
def test_after(made): pass
def test_child(): subprocess.run([sys.executable, "-c", """{WORK.format(0.6)}"""])
def test_waits(): time.sleep(0.9)
def test_only_beside_others():
    first = not pathlib.Path("was here").exists()
    pathlib.Path("was here").touch()
    if first:
        exec("""{WORK.format(0.6)}""")
'''


def test_a_test_that_works_too_long_is_named(root, tmp_path):
    (tmp_path / "conftest.py").write_text(
        (root / "tests" / "conftest.py").read_text() + "\nspeed = lambda: 2.0  # a machine that is half as fast\n"
    )
    (tmp_path / "test_file.py").write_text(FILE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist"]
    environment = {name: value for name, value in os.environ.items() if name != "EMBSEL_TEST_ALONE"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # seconds each time

    def run(*options):
        (tmp_path / "was here").unlink(missing_ok=True)
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, env=environment)
        slow = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("Too slow")]
        assert "5 passed" in done.stdout
        return done.returncode, slow

    assert run("--slowest", "0.25", "-n", "1") == (1, ["test_set_up", "test_child"])  # in another process
    assert run("--slowest", "0.45") == (0, [])
