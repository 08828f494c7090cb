"""Several virtual devices train to the same weights as one, on both backends; what should differ, differs by far.

Each backend gets one process, in which the devices are set up before it starts: the program that chapter 10 runs.
"""

import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from embsel import parallel, training
from embsel.errors import InputError

COUNTS = [1, 2, 4]
FAR = 30  # what should differ, differs by so many times as much as may come of rounding


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def runs(request):
    """What the program prints for one backend, as a list, and the name of the backend."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return parallel.measure(request.param, COUNTS), request.param


def arms(runs, name):
    return [run for run in runs[0] if run["arm"] == name]


@pytest.mark.slow
def test_one_device_and_several_agree(runs):
    fitted = arms(runs, "fit")
    assert [run["devices"] for run in fitted] == COUNTS  # counted at a variable, not repeated from the command line
    for run in fitted:
        assert len(run["loss"]) == parallel.STEPS
        assert run["loss_gap"] < parallel.TOLERANCE, run["devices"]
        assert run["weight_gap"] < parallel.TOLERANCE, run["devices"]


@pytest.mark.slow
def test_the_loop_of_the_book_agrees_with_fit_and_learns(runs):
    first, *_ = runs[0]
    assert first["arm"] == parallel.OWN  # what the gaps are measured from
    (fitted,) = [run for run in arms(runs, "fit") if run["devices"] == 1]
    assert max(fitted["loss_gap"], fitted["weight_gap"]) < parallel.TOLERANCE
    assert first["loss"][-1] < first["loss"][0]


@pytest.mark.slow
def test_another_order_of_the_batches_is_told_from_rounding(runs):
    (other,) = arms(runs, parallel.ORDER)
    assert other["loss_gap"] > FAR * parallel.TOLERANCE
    assert other["weight_gap"] > FAR * parallel.TOLERANCE


@pytest.mark.slow
def test_batch_norm_of_each_device_for_itself_is_told_from_rounding(runs):
    apart = arms(runs, parallel.APART)
    assert [run["devices"] for run in apart] == ([max(COUNTS)] if runs[1] == "tensorflow" else [])
    for run in apart:
        assert run["loss_gap"] > 10 * parallel.TOLERANCE
        assert run["weight_gap"] > FAR * parallel.TOLERANCE


def test_the_batches_are_those_of_the_books_loop():
    count = 100  # the batches do not end where a pass ends
    batches = training._Batches(np.arange(count), parallel.BATCH, training._State(None, np.random.default_rng(3)))
    expected = np.concatenate([next(batches) for _ in range(parallel.STEPS)])
    np.testing.assert_array_equal(parallel.in_order(count, seed=3), expected)
    assert (parallel.in_order(count, seed=4) != expected).any()


def test_gaps_are_shares_of_what_training_moved():
    start = [np.zeros(2), np.ones(3)]
    first = parallel.Fitted([2.0, 1.0], start, [np.array([3.0, 4.0]), np.full(3, 2.0)], 1)
    other = parallel.Fitted([2.0, 1.1], start, [np.array([3.0, 4.5]), np.full(3, 2.0)], 2)
    found = parallel.gaps(other, first)
    assert found == pytest.approx({"loss_gap": 0.1, "weight_gap": 0.1})
    assert parallel.gaps(first, first) == {"loss_gap": 0, "weight_gap": 0}


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(InputError, match="found 1000"):
        parallel.across(1000)


@pytest.mark.parametrize("kinds", [["CPU", "GPU", "GPU"], ["CPU", "CPU"]])
def test_the_processor_does_not_share_batches_with_accelerators(kinds, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    there = [SimpleNamespace(name=f"{kind}:{i}", device_type=kind) for i, kind in enumerate(kinds)]
    strategy = Mock()
    monkeypatch.setattr("embsel.backend.BACKEND", "tensorflow")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [d for d in there if d.device_type == kind])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", strategy)
    parallel.across(2)
    names, reduction = strategy.call_args.args
    assert names == [device.name for device in there[-2:]]
    assert (reduction is None) == ("GPU" in kinds)


@pytest.mark.parametrize("count", [0, 3, -1])
def test_a_number_of_devices_that_does_not_divide_the_batch_is_refused(count, capsys):
    with pytest.raises(SystemExit, match="2"):
        parallel.main(["--devices", "1", str(count)])
    said = capsys.readouterr().err
    assert f"found {count}." in said
    assert str(parallel.BATCH) in said


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="found 3"):
        parallel.measure("tensorflow", [3])


def test_importing_the_room_imports_no_backend():
    code = "import json, sys, embsel.parallel; print(json.dumps([n for n in ('keras', 'jax') if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
