"""Several virtual devices train to the same weights as one, on both backends; what should differ, differs by far.

Each backend gets one process, in which the devices are set up before it starts, as in chapter 10. Other processors are
imitated by telling the libraries to leave out what this one can do.
"""

import importlib.util
import os
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from embsel.errors import InputError
from embsel.lab import parallel

FAR = 1e6  # what should differ, differs by so many times as much as may come of rounding
PROCESSORS = {
    "SSE4.1": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX2 FMA3 AVX512F AVX512_SKX",  # old and new names
    },
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "no oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
PLACES = [pytest.param(backend, {}, [1, 2], id=backend) for backend in ("tensorflow", "jax")] + [
    pytest.param(backend, environment, [1, 4], id=f"{backend}, {name}", marks=pytest.mark.long)
    for name, environment in PROCESSORS.items()
    for backend in ("tensorflow", *["jax"] * ("XLA_FLAGS" in environment))  # the other words are for TensorFlow
]


@pytest.mark.parametrize(("backend", "environment", "counts"), PLACES)
def test_devices_agree_with_each_other_and_with_the_loop_of_the_book_and_what_differs_is_told(
    backend, environment, counts, monkeypatch
):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    for name, value in environment.items():
        before = os.environ.get(name, "") if name == "XLA_FLAGS" else ""
        monkeypatch.setenv(name, f"{before} {value}".strip())
    measured = parallel.measure(backend, counts)
    first, *others = measured
    assert first["arm"] == parallel.OWN  # what the gaps are measured from
    assert first["loss"][-1] < first["loss"][0]
    fitted = [run for run in others if run["arm"] == "fit"]
    assert [run["devices"] for run in fitted] == counts  # counted at a variable, not repeated from the command line
    for run in fitted:
        assert len(run["loss"]) == parallel.STEPS
        assert max(run["loss_gap"], run["weight_gap"]) < parallel.TOLERANCE, run["devices"]
    differ = [run for run in others if run["arm"] != "fit"]
    apart = [(parallel.APART, max(counts))] * (backend == "tensorflow")
    assert [(run["arm"], run["devices"]) for run in differ] == [(parallel.ORDER, 1), *apart]
    for run in differ:
        assert min(run["loss_gap"], run["weight_gap"]) > FAR * parallel.TOLERANCE, run["arm"]


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
def test_a_number_of_devices_that_does_not_divide_the_batch_is_refused(count):
    with pytest.raises(InputError, match=rf"divisors of the batch of {parallel.BATCH}, found {count}\."):
        parallel.measure("tensorflow", [1, count])
