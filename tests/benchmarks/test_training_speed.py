"""Training and evaluation beside what bounds them and beside what others would write; seconds are of training alone.

Each contender trains the paper's network with the same optimizer for the same number of steps, after a warm-up that
compiles. What differs is how the images reach the network.
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from side_by_side import FULL, PATH, ROUNDS, in_a_process, in_turns, shares, timed

from embsel import images, models, training
from embsel.backend import BACKEND, keras

SIZES = {"width": 64, "dense": (384, 192)} if FULL else {"width": 4, "dense": (8, 8)}
BATCHES = (128, 256) if FULL else (8,)
IMAGES = 5120 if FULL else 24  # of one round of training
TESTED = 10_000 if FULL else 24
SCAN, TORCH = (Path(__file__).with_name(name) for name in ("scan.py", "torch_loop.py"))
SERVE = "import sys, test_training_speed as speed; speed.serve(int(sys.argv[1]))"
RATE, MOMENTUM, AVERAGING = 0.01, 0.9, 0.999


on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="Its lines are left out: they are of TensorFlow.")


def drawn():
    rng = np.random.default_rng(0)
    count = max(IMAGES, TESTED)
    return rng.integers(0, 256, (count, 32, 32, 3), "uint8"), rng.integers(0, 10, count).astype("int32")


@pytest.fixture(scope="module")
def pixels():
    return drawn()


def network():
    return models.classifier(10, **SIZES)


def sgd():
    return keras.optimizers.SGD(RATE, MOMENTUM, use_ema=True, ema_momentum=AVERAGING)


def compiled():
    model = network()
    model.compile(sgd(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model


def ours(pixels, batch):
    """Return what trains with embsel, all augmentation on, and returns the seconds without those of compiling."""
    store = images.ImageStore(pixels[0][:IMAGES])
    model = training.classifier_trainer(network(), store, rate=RATE, seed=0, averaging=AVERAGING)
    phase = training.Phase(np.arange(IMAGES), IMAGES // batch)

    def run():
        histories = []
        spent = timed(lambda: histories.append(training.train(model, pixels[1], [phase], batch=batch, seed=0)))
        assert histories[0].samples == IMAGES
        assert np.isfinite(histories[0].points[-1]["loss"])
        return spent - histories[0].compile_seconds

    return run


def bare_fit(pixels, batch):
    """Return the limit: Keras' `fit` on ready-made 24 x 24 crops of float32, in memory."""
    crops = np.random.default_rng(0).standard_normal((IMAGES, training.CROP, training.CROP, 3), "float32")
    return fitting(compiled(), crops, pixels[1][:IMAGES], batch_size=batch)


def tf_data(pixels, batch):
    """Return the usual pipeline: `tf.image` changes each image on its own, in parallel, ahead of the training."""
    import tensorflow as tf

    def augment(image, label):
        image = tf.image.random_crop(tf.cast(image, tf.float32) / 255, (training.CROP, training.CROP, 3))
        image = tf.image.random_flip_left_right(image)
        image = tf.image.random_brightness(image, images.BRIGHTNESS)
        image = tf.image.random_contrast(image, *images.CONTRAST)
        return tf.image.per_image_standardization(image), label

    source = tf.data.Dataset.from_tensor_slices((pixels[0][:IMAGES], pixels[1][:IMAGES])).cache().shuffle(IMAGES)
    source = source.repeat().map(augment, tf.data.AUTOTUNE, deterministic=False).batch(batch, drop_remainder=True)
    return fitting(compiled(), source.prefetch(tf.data.AUTOTUNE), steps_per_epoch=IMAGES // batch, shuffle=False)


def fitting(model, *data, **options):
    steps = options.get("steps_per_epoch") or len(data[0]) // options["batch_size"]

    def run():
        before = int(model.optimizer.iterations)
        spent = timed(lambda: model.fit(*data, epochs=1, verbose=0, **options))
        assert int(model.optimizer.iterations) - before == steps
        return spent

    return run


def serve(batch):
    """Train as `ours` does for every line on the standard input, and answer with the seconds that took."""
    run = ours(drawn(), batch)
    for _ in sys.stdin:
        print(run(), flush=True)


def torch_arguments(batch):
    size = SIZES | {"batch": batch, "images": IMAGES, "pixels": 32, "side": training.CROP, "classes": 10}
    size |= {"decay": training.DECAY, "rate": RATE, "momentum": MOMENTUM, "averaging": AVERAGING}
    return TORCH, json.dumps(size | {"brightness": images.BRIGHTNESS, "contrast": images.CONTRAST})


@contextlib.contextmanager
def apart(*arguments, **environment):
    """Let a Python program that answers each line with the seconds it trained run inside the `with`."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        env=os.environ | {"PYTHONPATH": PATH} | environment,
    ) as process:  # fmt: skip

        def run():
            process.stdin.write("go\n")
            return float(process.stdout.readline())

        yield run
        process.stdin.close()


@on_tensorflow
@pytest.mark.parametrize("batch", BATCHES)
def test_training_is_as_fast_as_the_bare_network(batch, pixels, report):
    with contextlib.ExitStack() as stack:
        runs = {"": ours(pixels, batch)}
        runs["Keras fit on ready-made crops: the limit"] = bare_fit(pixels, batch)
        runs["tf.data with tf.image"] = tf_data(pixels, batch)
        runs["the same without oneDNN"] = stack.enter_context(apart("-c", SERVE, batch, TF_ENABLE_ONEDNN_OPTS="0"))
        if importlib.util.find_spec("torch"):
            runs["PyTorch with the same augmentation"] = stack.enter_context(apart(*torch_arguments(batch)))
        for run in runs.values():
            run()  # compiles, fills caches
        own, *others = in_turns(*runs.values())
    for name, reach, seconds in zip([*runs][1:], (0.95, 1.0, 1.0, 1.3), others, strict=False):
        remark = f"{IMAGES / np.median(own):.0f} images/s beside {IMAGES / np.median(seconds):.0f}"
        report(f"training, batch {batch}, images/s", name, shares(seconds, own), reach, True, remark)
    if FULL and not importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is not installed: its line is left out (pip install torch).")


@on_tensorflow
def test_evaluation_is_as_fast_as_the_forward_pass(pixels, report):
    import tensorflow as tf

    net, tested = network(), pixels[0][:TESTED]
    classify = training.classify(net, images.ImageStore(tested))
    size = min(training.BATCH, TESTED)
    batches = [tf.random.normal((size, training.CROP, training.CROP, 3))] * (TESTED // size)
    forward = tf.function(lambda crops: net(crops, training=False))
    answers = []

    def evaluate():
        answers.append(classify())

    def bare():
        answers.append(np.concatenate([forward(crops).numpy() for crops in batches]))

    evaluate(), bare()
    own, others = in_turns(lambda: timed(evaluate), lambda: timed(bare))
    assert {answer.shape for answer in answers} == {(TESTED, 10)}
    remark = f"{np.median(own):.2f} s beside {np.median(others):.2f} s"
    what = f"evaluation of {TESTED:,} test images, seconds"
    report(what, "the bare forward pass", shares(own, others), 1.15, False, remark)


@pytest.mark.long
def test_training_on_a_gpu_is_as_fast_as_a_scan_by_hand(report):
    """Run on the JAX backend in a process of its own; without a GPU only small, to see that it works."""
    pytest.importorskip("jax", reason="JAX is not installed: the lines on training with it are left out.")
    gpu = in_a_process("import jax, json; print(json.dumps(jax.default_backend()))") == "gpu"
    batch, steps, rounds = (1024, 10_000, ROUNDS) if FULL and gpu else (8, 2, 1)
    sizes = [64, 384, 192] if FULL and gpu else [4, 8, 8]
    for policy in ("float32", "mixed_bfloat16"):
        found = in_a_process(SCAN, batch, steps, *sizes, rounds, policy, KERAS_BACKEND="jax")
        own, hand = found["ours"], found["by hand"]
        assert len(own) == len(hand) == rounds
        assert min(own + hand) > 0
        if FULL and gpu:
            what = f"training on {found['device']}, JAX, batch {batch:,}, {policy}, images/s"
            remark = f"{steps:,} steps in {np.median(own):.1f} s beside {np.median(hand):.1f} s"
            report(what, "a lax.scan by hand, float32", shares(hand, own), 0.8, True, remark)
    if FULL and not gpu:
        pytest.skip("No GPU that JAX can use: the lines on training on one are left out.")
