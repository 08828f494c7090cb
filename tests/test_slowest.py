"""The limit on what a single test may take: who works too long is named, who waits for a busy machine is not."""

import os
import subprocess
import sys

WORK = "import time\nstart = time.process_time()\nwhile time.process_time() - start < 0.6: pass\n"
FILE = f'''
import pathlib, subprocess, sys, time
import pytest

@pytest.fixture(scope="module")
def made():
    exec("""{WORK}""")

def test_set_up(made): pass
def test_after(made): pass
def test_child(): subprocess.run([sys.executable, "-c", """{WORK}"""])
def test_waits(): time.sleep(0.9)
def test_only_beside_others():
    first = not pathlib.Path("was here").exists()
    pathlib.Path("was here").touch()
    if first:
        exec("""{WORK}""")
'''


def test_a_test_that_works_too_long_is_named(root, tmp_path):
    half_as_fast = "\nspeed = lambda: 2.0\n"  # as this machine
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text() + half_as_fast)
    (tmp_path / "test_file.py").write_text(FILE)
    environment = {name: value for name, value in os.environ.items() if name != "EMBSEL_TEST_ALONE"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # seconds each time
    for options, found in [(["0.25", "-n", "1"], (1, ["test_set_up", "test_child"])), (["0.45"], (0, []))]:
        (tmp_path / "was here").unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "--slowest", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        slow = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("Too slow")]
        assert "5 passed" in done.stdout
        assert (done.returncode, slow) == found
