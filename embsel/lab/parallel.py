"""Training on several devices at once by Keras' own `fit`, and whether that comes to what one device comes to.

The loop of `embsel.training` is for one device. Here TensorFlow's MirroredStrategy or, on JAX, Keras' DataParallel
gives each device a copy of the network and its share of every batch. Devices are set up before the backend starts, so
`measure` begins a process, and Keras is imported where it is used. Unlike the rest of this wing, this room trains.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from embsel import data
from embsel.errors import require, whole

STEPS, BATCH, RATE = 20, 64, 0.02
IMAGES, WIDTH, DENSE = 512, 8, (32, 16)  # small: it is about agreement, not about speed
TOLERANCE = 1e-9  # far above what rounding leaves of a gap in float64; in float32 one ReLU that flips leaves 2e-2
OWN, ORDER, APART = "the book's own loop", "fit, batches in another order", "fit, batch norm for itself"


class Fitted(NamedTuple):
    """One training."""

    loss: list[float]  # after each step, the mean over the steps so far
    start: list[np.ndarray]  # the network's variables before
    end: list[np.ndarray]  # and after
    devices: int  # that hold them


def in_float64() -> None:
    """Let Keras calculate in float64 in this process, on JAX too; before the backend computes anything."""
    from embsel.backend import BACKEND, keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    if BACKEND == "jax":
        import jax
        from keras.src.backend.common import dtypes

        jax.config.update("jax_enable_x64", True)
        # On JAX, Keras makes float32 of float64 wherever it joins two types, as its batch norm does.
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


def split_processor(devices: int) -> None:
    """Make so many virtual devices of the processor, and hide accelerators; before the backend computes anything."""
    from embsel.backend import BACKEND

    if BACKEND == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices)
    else:
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")
        part = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [part] * devices)


def across(devices: int) -> contextlib.AbstractContextManager:
    """Return the context for a model on the first so many devices: make, compile and fit it inside.

    These are accelerators, or the processor's devices where there are none; InputError if they are too few.
    """
    from embsel.backend import BACKEND, keras

    if whole("devices", devices, 1) == 1:
        return contextlib.nullcontext()
    if BACKEND == "jax":
        found = keras.distribution.list_devices()  # accelerators only, if there are any
    else:
        import tensorflow as tf

        # asked for by kind: a list of all begins with the processor, which would then share batches with accelerators
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    require(devices <= len(found), f"devices: expected at most {len(found)}, as there are here, found {devices}.")
    if BACKEND == "jax":
        return keras.distribution.DataParallel(devices=found[:devices]).scope()
    # the default is quick on accelerators; on the processor its groups of devices cannot change within a process
    plain = tf.distribute.ReductionToOneDevice() if found[0].device_type == "CPU" else None
    return tf.distribute.MirroredStrategy([device.name for device in found[:devices]], plain).scope()


def in_order(count: int, seed: int) -> np.ndarray:
    """Return the numbers, below `count`, of the images of all batches, `(STEPS * BATCH,)`, as `training.train` does."""
    rng = np.random.default_rng(seed)
    passes = [rng.permutation(count) for _ in range(0, STEPS * BATCH, count)]
    return np.concatenate(passes)[: STEPS * BATCH].astype("int32")


def fit(dataset: data.Dataset, devices: int, *, seed: int = 0, synchronized: bool = True, own: bool = False) -> Fitted:
    """Train the book's classifier on so many devices, each with its part of every batch of BATCH images.

    `seed` gives the order of the images; nothing else is random. Without `synchronized`, batch norm on TensorFlow sees
    the share of its device alone. `own` trains with `training.train` instead, on one device.
    """
    from embsel import images, models, training
    from embsel.backend import BACKEND, keras

    loss: list[float] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: loss.append(float(logs["loss"])))
    labels, order = dataset.train_labels.astype("int32"), in_order(len(dataset.train_labels), seed)
    with across(devices):
        store = images.ImageStore(dataset.train_images)
        together = synchronized and BACKEND == "tensorflow"  # on JAX a mean over a batch is over all of it anyway
        network = models.classifier(len(dataset.class_names), width=WIDTH, dense=DENSE, synchronized=together)
        model = training.classifier_trainer(network, store, rate=RATE, seed=0, augment=False)
        start = [keras.ops.convert_to_numpy(variable) for variable in network.weights]
        if own:
            phase = training.Phase(np.arange(len(labels)), STEPS)
            steps = training.train(model, labels, [phase], batch=BATCH, seed=seed, every=1).column("loss")
            loss += (np.cumsum(steps) / np.arange(1, STEPS + 1)).tolist()
        else:
            model.jit_compile = BACKEND == "jax"  # the trainer leaves compiling to the loop in `training`
            model.fit(order, labels[order], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[note])
        end = [keras.ops.convert_to_numpy(variable) for variable in network.weights]
    value = network.weights[0].value
    holders = value.devices() if BACKEND == "jax" else getattr(value, "values", [value])
    return Fitted(loss, start, end, len(holders))


def gaps(run: Fitted, first: Fitted) -> dict[str, float]:
    """Return how far `run` is from `first` where it is farthest: `loss_gap`, as a share of the loss, and `weight_gap`,
    of a variable at the end, as a share of the distance that training moved it.
    """
    ends = zip(first.start, first.end, run.end, strict=True)
    weight = max(np.linalg.norm(other - end) / np.linalg.norm(end - start) for start, end, other in ends)
    return {"loss_gap": float(np.abs(np.array(run.loss) / first.loss - 1).max()), "weight_gap": float(weight)}


def measure(backend: str, counts: Sequence[int]) -> list[dict]:
    """Train in a process of its own with this backend by the book's own loop, by `fit` on each of these numbers of
    virtual devices, and in ways that must differ: batches in another order; on TensorFlow, batch norm by each device
    for itself. Each has `arm`, `devices`, `loss` and `gaps`. InputError if one of `counts` does not divide the batch.
    """
    for count in counts:
        require(count > 0 and not BATCH % count, f"counts: expected divisors of the batch of {BATCH}, found {count}.")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_compare, backend, counts).result()


def _compare(backend: str, counts: Sequence[int]) -> list[dict]:
    os.environ["KERAS_BACKEND"] = backend
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries log there is for no page; an error travels by itself
    in_float64()
    split_processor(max(counts))
    arms = [(OWN, 1, {"own": True}), *(("fit", count, {}) for count in counts), (ORDER, 1, {"seed": 1})]
    if backend == "tensorflow" and max(counts) > 1:
        arms.append((APART, max(counts), {"synchronized": False}))
    dataset = data.shapes(train=IMAGES, test=10)
    runs = [(arm, fit(dataset, count, **options)) for arm, count, options in arms]
    return [{"arm": arm, "devices": run.devices, "loss": run.loss, **gaps(run, runs[0][1])} for arm, run in runs]
