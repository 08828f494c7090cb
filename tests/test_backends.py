"""The same numbers on TensorFlow and on JAX, each in a process of its own, and JAX without TensorFlow.

The functions below that are no tests are what such a process runs; their names are given to `python`.
"""

import importlib
import importlib.util
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent


def installed(*backends):
    return all(importlib.util.find_spec(name) for name in backends)


needs_both = pytest.mark.skipif(not installed("tensorflow", "jax"), reason="needs TensorFlow and JAX")


def python(code, backend=None, block=()):
    """Run `code` in a fresh process on `backend`, where the modules in `block` cannot be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "True"  # it spends its time here on compiling
    if backend:
        environment["KERAS_BACKEND"] = backend
    if block:
        code = f"import test_backends; test_backends.Block({list(block)}); {code}"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=300)


def answer(*arguments, quiet=True, **options):
    """Return what the code printed on its last line, as JSON; `quiet`: and nothing but that was printed."""
    done = python(*arguments, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    if quiet:
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout.splitlines()[-1])


# --- what the processes run ---


class Block:
    """Makes a process look as if some packages were not installed."""

    def __init__(self, names):
        self.names = names
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def start(*networks):
    """Give the networks starting weights that no backend draws."""
    rng = np.random.default_rng(1)
    for network in networks:
        for variable in network.trainable_variables:
            fan = max(1, int(np.prod(variable.shape[:-1])))
            if variable.name in ("kernel", "bias"):
                variable.assign(rng.normal(size=variable.shape) * (fan**-0.5 if variable.name == "kernel" else 0.1))


def core(loop="host"):
    """Train both networks for five steps in float64 without chance and print what can be compared.

    In float32 the backends round otherwise, and one ReLU that a rounding flips would be trained on in every step.
    The images are 24 x 24 and their own mirrors: a random crop and flip leaves them as they are.
    """
    from embsel import backend, images, models, training
    from embsel.backend import keras
    from embsel.lab import parallel

    parallel.in_float64()
    if loop == "device":  # the loop that JAX runs on an accelerator
        import jax

        jax.default_backend = lambda: "gpu"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 24, 12, 3))
    pixels = np.concatenate([pixels, pixels[:, :, ::-1]], axis=2).astype("uint8")
    kept, labels = pixels.copy(), np.arange(12) % 3
    phases = [training.Phase(np.arange(12), 2), training.Phase(np.arange(6), 3)]
    order = {"batch": 6, "seed": 2, "every": 1}

    def numbers(tensors):
        return [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor)).tolist() for tensor in tensors]

    def classify(store, fetch=None):
        network = models.classifier(3, width=4, dense=(8, 6))
        start(network)
        model = training.classifier_trainer(network, store, rate=0.05, seed=0, augment=False, averaging=0.6)
        logits = training.classify(network, pixels)
        evaluate = lambda: training.score(logits(), labels)  # noqa: E731
        history = training.train(model, labels, phases, **order, evaluate=evaluate, fetch=fetch)
        curve = [history.column(name).tolist() for name in ("loss", "test_loss", "test_accuracy")]
        moving = numbers(variable for variable in network.non_trainable_variables if "moving" in variable.path)
        averaged = numbers(model.trainable_variables)
        return {"curve": curve, "averaged": averaged, "moving": moving, "logits": logits().tolist()}

    found = {"hardware": backend.hardware(), **classify(images.ImageStore(pixels))}
    found["fed"] = classify(pixels.shape[1:], images.fetcher("host", pixels))["curve"]
    if loop == "device":  # slow to compile on a CPU: once is enough
        print(json.dumps(found))
        return

    encoder, decoder = models.autoencoder(widths=(4, 3, 2))
    start(encoder, decoder)
    model = training.autoencoder_trainer(encoder, decoder, images.ImageStore(pixels), rate=0.1, seed=0, averaging=0.6)
    history = training.train(model, labels, phases, **order)
    found["autoencoder"] = [history.column("loss").tolist(), numbers(model.trainable_variables)]
    found["embeddings"] = training.embed(encoder, pixels).tolist()
    assert (pixels == kept).all()  # JAX may share the memory of what it is given
    print(json.dumps(found))


def record(folder):
    """Import every room, record an autoencoder and the filter twice, and print how it ended and what is recorded."""
    import dataclasses

    import embsel
    from embsel import data
    from embsel.lab import experiments, profiles, questions, records

    rooms = [room.name for room in pkgutil.walk_packages(embsel.__path__, "embsel.") if "__main__" not in room.name]
    for room in rooms:
        importlib.import_module(room)
    small = data.shapes(train=40, test=20)
    sizes = {"steps": 3, "batch": 8, "keep": 18, "width": 4, "every": 2, "curve_images": 10}
    sizes |= {"embedding_steps": 3, "embedding_widths": (4, 4, 2)}
    profile = dataclasses.replace(profiles.PROFILES["tiny"], **sizes)
    specs, store = questions.suite("filtering", profile, small)[2:3], records.Store(Path(folder))
    left = [experiments.record(specs, small, store, "tiny", say=lambda _: None) for _ in range(2)]
    found = [[one.metrics, one.provenance] for one in store.records().values()]
    print(json.dumps({"left": left, "found": found, "tensorflow": "tensorflow" in sys.modules}))


# --- the same on both ---


@pytest.fixture(scope="module")
def on_tensorflow():
    found = answer("import test_backends; test_backends.core()", "tensorflow")
    assert found.pop("hardware")
    return found


@needs_both
@pytest.mark.parametrize("loop", ["host", "device"])
def test_jax_gives_the_numbers_of_tensorflow(on_tensorflow, loop):
    on_jax = answer(f"import test_backends; test_backends.core({loop!r})", "jax")
    assert on_jax.pop("hardware")
    assert loop == "device" or on_jax.keys() == on_tensorflow.keys()
    for on_one in (on_tensorflow, on_jax):
        np.testing.assert_allclose(on_one["fed"], on_one["curve"], rtol=1e-9, err_msg="fed by the host")

    def compare(one, other, name):
        if isinstance(one, list) and one and isinstance(one[0], list):
            for number, pair in enumerate(zip(one, other, strict=True)):
                compare(*pair, f"{name}, {number}")
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)  # of float32, as logits are

    for name, found in on_jax.items():
        compare(found, on_tensorflow[name], name)
    loss, test_loss, _ = on_tensorflow["curve"]
    assert len(loss) == len(set(loss)) == len(set(test_loss)) == 5
    assert np.ptp(on_tensorflow["embeddings"]) > 0.1


# --- a backend that is not there ---


@pytest.mark.skipif(not installed("jax"), reason="needs JAX")
def test_everything_works_without_tensorflow(tmp_path):
    code = f"import test_backends; test_backends.record({str(tmp_path)!r})"
    found = answer(code, "jax", ["tensorflow"], quiet=False)  # it tells how far it is
    assert (found["left"], found["tensorflow"]) == ([0, 0], False)
    (autoencoder, where), (subset, also) = found["found"]  # the run has the autoencoder made that it needs
    assert np.isfinite([autoencoder["loss"], subset["test_loss"]]).all()
    assert (autoencoder["elements"], subset["kept"], subset["distinct"]) == (3 * 3 * 2, 18, 18)
    for place in (where, also):
        assert (place["backend"], place["profile"]) == ("jax", "tiny")
        assert place["hardware"]
        assert {"jax", "keras", "numpy", "python"} == place["versions"].keys()


@pytest.mark.parametrize(("backend", "block", "message"), [
    ("jax", ["jax"], "ModuleNotFoundError: Keras needs a backend, and 'jax' is not installed: install tensorflow, or "
                     "install jax and set the environment variable KERAS_BACKEND=jax."),
    ("numpy", [], "ImportError: KERAS_BACKEND=numpy is not supported here: use tensorflow or jax."),  # it cannot train
])
def test_a_backend_that_is_not_installed_or_not_supported_is_refused_by_name(backend, block, message):
    done = python("import embsel.backend", backend, block)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == message


@pytest.mark.parametrize("said", [None, "0"])
def test_onednn_is_on_unless_the_user_says_otherwise(said, monkeypatch):
    for name in ("TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    if said:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", said)
    seen = "from tensorflow.python.util import _pywrap_util_port as port; print(json.dumps(port.IsMklEnabled()))"
    assert answer(f"import json; import embsel.backend; {seen}", "tensorflow") == (said is None)


# --- rooms without Keras ---


def test_importing_these_imports_no_keras():
    heavy = ["keras", "tensorflow", "jax", "torch"]
    rooms = "embsel, embsel.data, embsel.selection, embsel.errors, embsel.lab.parallel"
    seen = f"print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    assert answer(f"import json, sys, {rooms}; {seen}") == []


def test_the_command_line_needs_keras_only_to_train(tmp_path):
    code = f"import sys; from embsel.__main__ import main; sys.exit(main(['status', '--out', {str(tmp_path)!r}]))"
    done = python(code, block=["keras", "tensorflow", "jax"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing is recorded")
