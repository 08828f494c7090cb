"""Keras, imported without TensorFlow's log lines; what it downloads, and what it runs on."""

import contextlib
import os
import platform
import re
from pathlib import Path

from embsel.errors import InputError


@contextlib.contextmanager
def _silence():
    """Send file descriptor 2 to the null device: TensorFlow writes to it before any log level is read."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # else only where a processor has instructions made for networks
try:
    with _silence():
        import keras

        BACKEND = keras.backend.backend()
        if BACKEND == "tensorflow":
            import tensorflow

            tensorflow.get_logger().setLevel("ERROR")  # else it advises on retracing whenever a second model predicts
            tensorflow.config.list_physical_devices()  # the first look at the devices writes log lines too
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"Keras needs a backend, and {error.name!r} is not installed: install tensorflow, or "
                              "install jax and set the environment variable KERAS_BACKEND=jax.") from error
if BACKEND not in ("tensorflow", "jax"):
    raise ImportError(f"KERAS_BACKEND={BACKEND} is not supported here: use tensorflow or jax.")


def download(name: str) -> tuple:
    """Return the images and labels, for training and for testing, of a dataset that Keras downloads and keeps."""
    try:
        train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception when an address cannot be reached
        kept = Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets", "fashion-mnist")
        torn = f"remove the folder '{kept}', in which half a file may be left, and "
        torn *= name == "fashion_mnist"  # of the others Keras knows a torn file by its hash
        raise InputError(f"{name} could not be downloaded ({error}). Check the connection, {torn}try again, or pass a "
                         "folder of images or an .npz file instead, or 'shapes', which needs no download.") from error
    return *train, *test


def hardware() -> str:
    """Return what the backend computes on, e.g. ``"NVIDIA H200"`` or ``"AMD EPYC (2 cores)"``."""
    if BACKEND == "jax":
        import jax

        devices = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    else:
        found = tensorflow.config.list_physical_devices("GPU")
        devices = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in found]
    if devices:
        return devices[0] if len(devices) == 1 else f"{len(devices)} x {devices[0]}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpuinfo = Path("/proc/cpuinfo")  # where there is none, Python may know no more than the architecture
    named = re.search(r"^model name\s*:(.+)", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    processor = named[1] if named else platform.processor() or platform.machine()
    return f"{' '.join(processor.split())} ({cores} cores)"
