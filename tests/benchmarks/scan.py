"""Training on the JAX backend beside a loop written by hand for it; run by `test_training_speed.py`, best on a GPU.

    KERAS_BACKEND=jax python tests/benchmarks/scan.py BATCH STEPS WIDTH DENSE DENSE ROUNDS [POLICY]

By hand means `lax.scan` over all steps, the images and their order on the device, nothing but JAX: what the hardware
gives to this network without any library around it. POLICY is Keras' dtype policy for our side, e.g. mixed_bfloat16.
The last line of output is JSON: the device, and the seconds of each round.
"""

import functools
import json
import sys

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from side_by_side import in_turns, timed

from embsel import images, models, training
from embsel.backend import keras

COUNT, SIDE, CLASSES = 50_000, training.CROP, 10
RATE, MOMENTUM, AVERAGING, DECAY, NORM = 0.01, 0.9, 0.999, 0.004, 0.9


def start(key, width, dense):
    """Return the starting weights of the paper's classifier, Glorot's uniform distribution."""
    shapes = [(5, 5, 3, width), (5, 5, width, width), (SIDE * SIDE // 16 * width, dense[0]), dense, (dense[1], CLASSES)]
    make, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key, 5)
    weights = {f"w{i}": make(keys[i], shape) for i, shape in enumerate(shapes)}
    weights |= {f"b{i}": jnp.zeros(shape[-1]) for i, shape in enumerate(shapes)}
    return weights | {f"{name}{i}": made(width) for i in range(2) for name, made in (("g", jnp.ones), ("s", jnp.zeros))}


def forward(weights, x, moving):
    """Return the logits of a batch, and batch norm's moving means and variances."""
    new = []
    for i in range(2):
        x = lax.conv_general_dilated(x, weights[f"w{i}"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + weights[f"b{i}"])
        x = pool(x) if i == 0 else x  # the paper pools before the first norm, and after the second
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = (x - mean) * lax.rsqrt(variance + 1e-3) * weights[f"g{i}"] + weights[f"s{i}"]
        new.append(tuple(NORM * old + (1 - NORM) * now for old, now in zip(moving[i], (mean, variance), strict=True)))
    x = pool(x).reshape(len(x), -1)
    for i in (2, 3):
        x = jax.nn.relu(x @ weights[f"w{i}"] + weights[f"b{i}"])
    return x @ weights["w4"] + weights["b4"], new


def pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def augment(key, pixels):
    """Return random crops of uint8 (B, 32, 32, 3), flipped, lightened and standardised, each image on its own."""
    keys, count = jax.random.split(key, 5), len(pixels)
    top, left = (jax.random.randint(one, (count,), 0, pixels.shape[1] - SIDE + 1) for one in keys[:2])
    cut = jax.vmap(lambda image, y, x: lax.dynamic_slice(image, (y, x, 0), (SIDE, SIDE, 3)))
    crop = cut(pixels, top, left).astype("float32") / 255
    each = (count, 1, 1, 1)
    crop = jnp.where(jax.random.bernoulli(keys[2], shape=each), crop[:, :, ::-1], crop)
    crop += jax.random.uniform(keys[3], each, minval=-images.BRIGHTNESS, maxval=images.BRIGHTNESS)
    mean, (low, high) = crop.mean((1, 2), keepdims=True), images.CONTRAST
    crop = (crop - mean) * jax.random.uniform(keys[4], each, minval=low, maxval=high) + mean
    crop -= crop.mean((1, 2, 3), keepdims=True)
    return crop / jnp.maximum(crop.std((1, 2, 3), keepdims=True), 1 / (255 * (3 * SIDE * SIDE) ** 0.5))


def by_hand(pixels, labels, batch, steps, width, dense):
    """Return what trains so many steps and returns the seconds it took."""
    pixels, labels = jnp.asarray(pixels), jnp.asarray(labels)
    weights = start(jax.random.key(0), width, dense)
    moving = [(jnp.zeros(width), jnp.ones(width)) for _ in range(2)]
    state = weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.copy, weights), moving, jax.random.key(1)

    def loss_of(weights, moving, crops, labels):
        logits, moving = forward(weights, crops, moving)
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()
        return loss + DECAY / 2 * sum(jnp.square(weights[name]).sum() for name in ("w2", "w3")), moving

    def step(state, rows):
        weights, speed, average, moving, key = state
        key, now = jax.random.split(key)
        crops = augment(now, pixels[rows])
        (loss, moving), slope = jax.value_and_grad(loss_of, has_aux=True)(weights, moving, crops, labels[rows])
        speed = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, speed, slope)
        weights = jax.tree.map(jnp.add, weights, speed)
        average = jax.tree.map(lambda a, w: AVERAGING * a + (1 - AVERAGING) * w, average, weights)
        return (weights, speed, average, moving, key), loss

    all_steps = jax.jit(functools.partial(lax.scan, step), donate_argnums=0)
    holder = [state]

    def run():
        rows = jax.random.permutation(jax.random.key(2), len(pixels))
        rows = jnp.resize(rows, (steps, batch))

        def work():
            holder[0], losses = all_steps(holder[0], rows)
            assert np.isfinite(float(losses[-1]))  # waits for the device

        return timed(work)

    return run


def ours(pixels, labels, batch, steps, width, dense):
    """Return what trains so many steps with embsel and returns the seconds without those of compiling."""
    network = models.classifier(CLASSES, width=width, dense=dense)
    model = training.classifier_trainer(network, images.ImageStore(pixels), rate=RATE, seed=0, averaging=AVERAGING)
    phase = training.Phase(np.arange(len(pixels)), steps)

    def run():
        history = None

        def work():
            nonlocal history
            history = training.train(model, labels, [phase], batch=batch, seed=0)

        spent = timed(work)
        assert history.samples == batch * steps
        return spent - history.compile_seconds

    return run


def main(batch, steps, width, first, second, rounds, policy="float32"):
    keras.config.set_dtype_policy(policy)
    count = min(COUNT, 20 * int(batch) * int(steps))
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (count, 32, 32, 3), "uint8"), rng.integers(0, CLASSES, count).astype("int32")
    sizes = int(batch), int(steps), int(width), (int(first), int(second))
    runs = [make(pixels, labels, *sizes) for make in (ours, by_hand)]
    for run in runs:
        run()  # compiles
    own, hand = in_turns(*runs, rounds=int(rounds))
    print(json.dumps({"device": jax.devices()[0].device_kind, "ours": own, "by hand": hand}))


if __name__ == "__main__":
    main(*sys.argv[1:])
