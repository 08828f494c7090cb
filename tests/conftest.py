"""What holds for every test: quiet libraries, no window for a figure, the same examples each time, none too slow."""

import collections
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before any test imports TensorFlow
os.environ["MPLBACKEND"] = "Agg"
for name in ("EMBSEL_PROFILE", "EMBSEL_DATA"):  # a test that is about these sets them itself
    os.environ.pop(name, None)

# A busy machine must not fail a test, and each run tries the same examples: EMBSEL_FUZZ=20 tries twenty times as many
# in tests/test_fuzz.py and tests/sources/test_archives.py, others each time.
settings.register_profile("book", deadline=None, derandomize=os.environ.get("EMBSEL_FUZZ", "1") == "1")
settings.load_profile("book")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds the book and the package."""
    return ROOT


# --- no test above so many seconds ---

# Seconds of the processor, of the test and of the processes that it waited for: those of the clock would fail a test
# for what else the machine does. Two at a time they are more than alone, so a test above the limit is run once more,
# alone, and that counts. Where it is above it again, it is asked how long this machine takes for a piece of work that
# takes REFERENCE seconds on an idle one, and a slower machine has more time in proportion. So a test that sleeps is
# not seen here; it is by --durations.
REFERENCE = 0.105  # measured on an AMD EPYC of the fourth generation
CLOCK, SLOW = pytest.StashKey[float](), pytest.StashKey[list]()
SPENT = collections.Counter()  # by test
ALONE = "EMBSEL_TEST_ALONE"  # set where a slow test is run once more


def pytest_addoption(parser):
    parser.addoption("--slowest", type=float, help="fail where a test takes more seconds of an idle processor")


def processor_seconds() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.config.stash[CLOCK] = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report, now = (yield), processor_seconds()
    report.processor_seconds = now - item.config.stash[CLOCK]  # travels with the report, if another process has it
    item.config.stash[CLOCK] = now
    return report


def speed() -> float:
    """How many times as long as an idle machine this one takes now."""

    def work():
        start = time.process_time()
        sum(i * i % 7 for i in range(2_000_000))
        return time.process_time() - start

    return max(1.0, statistics.median(work() for _ in range(5)) / REFERENCE)


def pytest_runtest_logreport(report):
    """Add up set-up, call and teardown: what is made for a whole file counts for the test that comes first."""
    SPENT[report.nodeid] += getattr(report, "processor_seconds", 0)


def slow_alone(name: str, config) -> list[str]:
    """Run a test once more, with nothing beside it, and return the line that names it if it is too slow again."""
    command = [sys.executable, "-m", "pytest", name, "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command += ["--slowest", str(config.getoption("slowest"))]
    environment = {**os.environ, ALONE: "1"}
    again = subprocess.run(command, cwd=config.rootpath, env=environment, capture_output=True, text=True, check=False)
    return [line for line in again.stdout.splitlines() if line.startswith("Too slow")]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    config = session.config
    limit = config.getoption("slowest")
    if limit is None or hasattr(config, "workerinput"):  # of several processes one decides
        return
    slow = {name: seconds for name, seconds in SPENT.items() if seconds > limit}
    if ALONE in os.environ:
        times = speed() if slow else 1.0
        lines = [
            f"Too slow: {name} took {seconds:.1f} s of the processor, and this machine allows {limit * times:.1f}."
            for name, seconds in slow.items()
            if seconds > limit * times
        ]
    else:
        lines = [line for name in slow for line in slow_alone(name, config)]
    config.stash[SLOW] = lines
    if lines and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(SLOW, []):
        terminalreporter.write_line(line, red=True)
