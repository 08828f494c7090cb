"""The same run twice on the processor, in fresh processes: the same record to the last digit, but for its seconds."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_backends import answer, needs_both


def recorded(folder):
    """Print the metrics and the curve, without seconds, of a run that chooses by chance among embeddings."""
    from embsel import data
    from embsel.lab import experiments
    from embsel.lab.records import Pixels, Run, Store

    drawn = data.shapes(train=60, test=20)
    dataset = data.load((drawn.train_images[..., :1], drawn.train_labels))  # grey: principal components in no time
    run = Run(dataset.fingerprint, "kmeans_prototypes", 4, 8, 0.01, keep=20, width=2, every=2, split=50,
              embedding=Pixels(dataset.fingerprint, 5))  # fmt: skip
    record = experiments.execute(run, dataset, Store(folder), "test")
    print(json.dumps([record.metrics, {name: made for name, made in record.curve.items() if name != "seconds"}]))


@needs_both
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.long)])
def test_the_same_run_gives_the_same_record(backend, tmp_path):
    code = "import test_determinism; test_determinism.recorded({!r})"
    codes = [code.format(str(tmp_path / name)) for name in "ab"]
    with ThreadPoolExecutor() as two:  # side by side: most of it is importing and compiling
        first, second = two.map(lambda each: answer(each, backend=backend, quiet=False), codes)
    assert first == second
