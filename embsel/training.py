"""The training loop: phases of steps or of seconds, evaluated on the way, the same on TensorFlow and on JAX.

Knows nothing of how a subset was chosen: a phase is a list of image numbers and a length (paper, section 4.4).
"""

import contextlib
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from tqdm.auto import tqdm

from embsel import images
from embsel.backend import BACKEND, keras
from embsel.errors import as_array, require, whole
from embsel.files import replacing
from embsel.scale import chunks
from embsel.scale.store import Store

ops = keras.ops

CROP = 24  # the paper's networks see 24 x 24 pixels of each image
DECAY = 0.004  # of the weights, as the paper's: AdamW takes it from the weights themselves, not by way of the loss
MOMENTUM = 0.9  # "SGD with momentum": the coefficient is not given, this is the convention
AVERAGED = 10  # of the constant decay that `averaging_for` gives: it spans about the last tenth of a run
TUTORIAL = "tutorial"  # the average of the weights as the paper's model has it, see `TutorialAverage`
STATISTICS = 10  # batches that batch norm's statistics are taken from for averaged weights
CHUNK = 50  # steps per compiled call: the host speaks to the device once in so many steps
BATCH = 1000  # images that are predicted at a time


@dataclass(frozen=True)
class Phase:
    """A stretch of training: so many `steps` on the images `indices` `(n,)`.

    `indices` may also be a function that takes a random generator and returns the images of one
    pass, in their order: it is called before each pass, when the steps of the pass before are
    trained. `begin` is called before the first step, on training time.
    """

    indices: np.ndarray | Callable[[np.random.Generator], np.ndarray]
    steps: int
    begin: Callable[[], None] | None = None

    def __post_init__(self):
        if not callable(self.indices):
            rows = as_array("Phase.indices", self.indices)
            require(rows.size, "A phase needs at least one image to train on, and got none.")
            require(rows.ndim == 1 and rows.dtype.kind in "iu", "Phase.indices: expected image numbers "
                    f"(n,) or a function that returns them, found {rows.dtype} of shape {rows.shape}.")
        whole("Phase.steps", self.steps, 0)


@dataclass
class History:
    """What a training run measured, a point per evaluation, and totals.

    A point has `step`, `seconds` (of training alone), `phase` (0, 1, ...), `loss` (mean training loss since the point
    before, weight decay included) and what the evaluation returned; with the tutorial's average also as ``raw_...`` of
    the weights as they are, and as ``stale_...`` of the average with batch norm's statistics as they are. `shared`
    steps were taken over from the run `shared_with`; `resumed` counts how often this one went on after a kill.
    """

    points: list[dict] = field(default_factory=list)
    samples: int = 0
    training_seconds: float = 0.0
    loading_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    compile_seconds: float = 0.0
    shared: int = 0
    shared_with: str = ""
    resumed: int = 0

    def column(self, name: str) -> np.ndarray:
        """Return one quantity of every point, `(points,)` float, NaN where it was not measured."""
        return np.array([point.get(name, np.nan) for point in self.points], dtype=float)


@dataclass(frozen=True)
class Checkpoints:
    """Where a run that may be killed keeps its state: in `file`, every so many `seconds`. It begins from the state
    `begin`, if there is one, of another that was trained alike so far, and keeps states for others in `keep`, step to
    file, under its `name`.
    """

    file: Path
    begin: Path | None = None
    keep: dict[int, Path] = field(default_factory=dict)
    name: str = ""
    seconds: float = 240.0


def train(
    model: keras.Model, labels: np.ndarray, phases: Sequence[Phase], *, batch: int, seed: int,
    evaluate: Callable[[], dict] | None = None, every: int | None = None, marks: Sequence[int] = (),
    budget: float | None = None, fetch: Callable[[np.ndarray], np.ndarray] | None = None,
    checkpoints: Checkpoints | None = None, progress: str | None = None,
) -> History:
    """Train `model` through `phases` and return the `History`; its weights end up averaged.

    `labels` `(N,)` belong to all images of the store. Each batch of `batch` images comes from a fresh
    shuffle of the phase's, each once before any comes again, in an order fixed by `seed`. After every
    `every` steps, after the steps in `marks` and at the end of each phase and of all, `evaluate()`
    returns numbers for the history, of the averaged weights. The tutorial's average starts anew with
    each phase, and batch norm's statistics, which belong to the weights that they were taken with, are
    taken again for it. `budget` are the seconds after which training ends whatever the phases still
    hold (section 5.3); neither compilation nor evaluation counts. `fetch` turns image numbers
    `(n, batch)` into what the model takes instead; its time is counted apart. `checkpoints` are for
    phases of given images without a budget. `progress` labels a progress bar; None shows none.
    """
    labels = np.asarray(labels, dtype="int32")
    state = _State(model, np.random.default_rng(seed))
    if checkpoints:
        state.load(checkpoints, phases, budget)
    history, run, retake = state.history, _compiled_steps(model), _statistics_taker(model)
    numbers = np.zeros((CHUNK, batch), dtype="int32")  # one shape, so that it is compiled once
    fed = fetch(numbers) if fetch else numbers

    def statistics():  # from images that are the same whatever was evaluated before
        rng = np.random.default_rng((seed, state.step))
        drawn = rng.choice(np.sort(batches.images), (STATISTICS, batch)).astype("int32")
        retake(fetch(drawn) if fetch else drawn)

    if total := sum(phase.steps for phase in phases):
        history.compile_seconds += _timed(run, fed, numbers, 0)[1]  # no step taken: compiles and changes nothing
    with _bar(progress, state.step, total) as bar:
        for phase in phases[state.phase :]:
            if state.steps or state.left(phase, budget):
                batches = _Batches(phase.indices, batch, state)
                state.enter(phase)
            while left := state.left(phase, budget):
                mark = _next_mark(state.step, every, marks)
                drawn = batches.before_a_pause(min(left, CHUNK, mark - state.step))
                if not drawn:
                    continue
                n = len(drawn)
                numbers[:n] = drawn
                if fetch:
                    fed[:n], spent = _timed(fetch, numbers[:n])
                    history.loading_seconds += spent
                loss, spent = _timed(run, fed, labels[numbers], n)
                state.count(n, n * batch, loss, spent)
                bar.update(n)
                if state.step == mark or not state.left(phase, budget):
                    found, spent = _timed(_measure, model, evaluate, statistics) if evaluate else ({}, 0.0)
                    history.evaluation_seconds += spent
                    history.points.append(state.point() | found)
                if checkpoints:
                    state.save(checkpoints)
            state.leave()
    if state.step:
        _use_average(model)
        if isinstance(model.optimizer, TutorialAverage):
            statistics()
    return history


class _State:
    """How far a run has come: all that it needs, beside the model, to go on as if it had never been interrupted."""

    def __init__(self, model: keras.Model, rng: np.random.Generator):
        self.model, self.rng, self.history = model, rng, History()
        self.step, self.phase, self.steps = 0, 0, 0  # steps in all; the phase, and its own steps
        self.losses: list[tuple[int, float]] = []  # since the last evaluation
        self.waiting = np.empty(0, dtype="int32")  # images of the pass that were not yet in a batch
        self.saved = 0.0  # when, by the clock

    def left(self, phase: Phase, budget: float | None) -> int:
        """Return how many steps the phase still has, or else the budget at the pace so far."""
        own, spent = phase.steps - self.steps, self.history.training_seconds
        if budget is None or spent >= budget:
            return own if budget is None else 0
        return min(own, max(1, int((budget - spent) * self.step / spent)) if self.step else 1)

    def enter(self, phase: Phase) -> None:
        if self.steps == 0:  # else it goes on from a checkpoint
            if phase.begin:
                self.history.training_seconds += _timed(phase.begin)[1]
            if self.phase and isinstance(self.model.optimizer, TutorialAverage):
                self.model.optimizer.restart()

    def leave(self) -> None:
        self.phase, self.steps, self.waiting = self.phase + 1, 0, self.waiting[:0]

    def count(self, steps: int, samples: int, loss: float, seconds: float) -> None:
        self.step, self.steps = self.step + steps, self.steps + steps
        if not np.isfinite(loss):
            raise FloatingPointError(f"The loss became {loss} by step {self.step}: try a lower learning rate.")
        self.losses.append((steps, loss))
        self.history.samples += samples
        self.history.training_seconds += seconds

    def point(self) -> dict:
        loss = sum(n * loss for n, loss in self.losses) / sum(n for n, _ in self.losses)
        self.losses = []
        return {"step": self.step, "seconds": self.history.training_seconds, "phase": self.phase, "loss": loss}

    def _variables(self) -> list:
        return [*self.model.trainable_variables, *_remembered(self.model), *self.model.optimizer.variables]

    def save(self, checkpoints: Checkpoints) -> None:
        """Write the state where it is to be kept, and now and then to the run's own file."""
        files = [checkpoints.keep[self.step]] if self.step in checkpoints.keep else []
        if time.perf_counter() - self.saved > checkpoints.seconds:
            files.append(checkpoints.file)
            self.saved = time.perf_counter()
        for file in files:
            told = {name: getattr(self, name) for name in ("step", "phase", "steps", "losses")}
            told |= {"history": vars(self.history), "rng": self.rng.bit_generator.state, "name": checkpoints.name}
            arrays = [ops.convert_to_numpy(variable.value) for variable in self._variables()]
            with replacing(file) as part:
                np.savez(part, *arrays, told=np.array(json.dumps(told)), waiting=self.waiting)

    def load(self, checkpoints: Checkpoints, phases: Sequence[Phase], budget: float | None) -> None:
        """Take over the state of the run's own file or, if there is none, the one that it begins from."""
        good = budget is None and not any(callable(phase.indices) for phase in phases)
        require(good, "Only a run through given images, in steps, can go on from a checkpoint.")
        self.saved = time.perf_counter()
        file = next((file for file in (checkpoints.file, checkpoints.begin) if file and file.exists()), None)
        if file is None:
            return
        with np.load(file, allow_pickle=False) as found:
            told = json.loads(str(found["told"]))
            for number, variable in enumerate(self._variables()):
                variable.assign(found[f"arr_{number}"])
            self.waiting = found["waiting"]
        self.rng.bit_generator.state, name = told.pop("rng"), told.pop("name")
        vars(self).update(told | {"history": History(**told["history"])})
        if file == checkpoints.file:
            self.history.resumed += 1
        else:
            self.history.shared, self.history.shared_with = self.step, name


class _Batches:
    """Batches `(batch,)` for ever: one pass after the other, shuffled anew, cut without a gap.

    Before a function is asked for the next pass, one batch is None: it may look at the network, so train that first.
    `images` are those of the present pass; what waits of it, and the order, are kept in the run's state.
    """

    def __init__(self, indices, batch: int, state: _State):
        self.indices, self.batch, self.state, self.images, self.paused = indices, batch, state, indices, False

    def __next__(self) -> np.ndarray | None:
        state, asks = self.state, callable(self.indices)
        while len(state.waiting) < self.batch:
            if asks and not self.paused:
                self.paused = True
                return None
            self.paused = False
            new = self.images = self.indices(state.rng) if asks else state.rng.permutation(self.indices)
            state.waiting = np.concatenate([state.waiting, new.astype("int32")])
        batch, state.waiting = state.waiting[: self.batch], state.waiting[self.batch :]
        return batch

    def before_a_pause(self, most: int) -> list[np.ndarray]:
        return list(itertools.takewhile(lambda one: one is not None, (next(self) for _ in range(most))))


def _bar(label: str | None, done: int, total: int) -> tqdm:
    return tqdm(initial=done, total=total or None, desc=label, disable=label is None, leave=False)


def _timed(function: Callable, *arguments):
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def _next_mark(step: int, every: int | None, marks: Sequence[int]) -> float:
    """Return the next step that is to be evaluated, infinity if there is none."""
    return min([mark for mark in marks if mark > step] + ([step - step % every + every] if every else [np.inf]))


def _compiled_steps(model: keras.Model) -> Callable[[np.ndarray, np.ndarray, int], float]:
    """Return `run(fed, labels, n)`: n of Keras' own training steps in one compiled call, giving their mean loss.

    Keras' `fit` returns to Python after each. Here the backends part: JAX wants its state handed in and out.
    """
    if BACKEND == "tensorflow":
        import tensorflow

        @tensorflow.function
        def steps(fed, labels, n):
            for i in tensorflow.range(n):
                model.train_step((fed[i], labels[i]))

    else:
        import jax

        def step(state, fed, labels):
            return model.train_step(state, (fed, labels))[1]

        @functools.partial(jax.jit, donate_argnums=0)
        def loop(state, fed, labels, n):
            return ops.fori_loop(0, n, lambda i, state: step(state, fed[i], labels[i]), state)

        if jax.default_backend() == "cpu":  # XLA's convolutions inside a compiled loop are 20 times slower on a CPU
            compiled = jax.jit(step, donate_argnums=0)

            def loop(state, fed, labels, n):
                if n == 0:  # the call that compiles
                    compiled(jax.tree.map(ops.copy, state), fed[0], labels[0])
                return functools.reduce(lambda state, i: compiled(state, fed[i], labels[i]), range(n), state)

        def steps(fed, labels, n):
            update = model.optimizer.variables
            owners = model.trainable_variables, model.non_trainable_variables, update, model.metrics_variables
            state = loop(tuple([variable.value for variable in group] for group in owners), fed, labels, n)
            for variable, value in zip(itertools.chain(*owners), itertools.chain(*state), strict=True):
                variable.assign(value)

    def run(fed, labels, n):
        model.reset_metrics()
        steps(*(ops.convert_to_tensor(value, dtype=value.dtype) for value in (fed, labels, np.int32(n))))
        return float(model.get_metrics_result()["loss"])

    return run


class TutorialAverage:
    """Of an optimizer: the average of the weights that the paper's model has (section 4.1.3).

    It is that of TensorFlow's CIFAR-10 tutorial, whose decay grows with the steps t:
    min(0.9999, (1 + t) / (10 + t)). So it spans about the last ninth of the past, whatever that is,
    and at a constant learning rate the average at any step is what a run that ends there would have.
    `restart` begins it anew, at the present weights.
    """

    def build(self, variables):
        super().build(variables)
        dtype = self.iterations.dtype
        self.begun = self.add_variable((), dtype=dtype, name="begun")  # the step at which t is 0

    @property
    def ema_momentum(self):
        t = ops.cast(self.iterations - self.begun, keras.config.floatx())
        return ops.minimum(0.9999, (1 + t) / (10 + t))

    @ema_momentum.setter
    def ema_momentum(self, value):
        """Ignore the constant that Keras' constructor sets."""

    def restart(self):
        averages = self._model_variables_moving_average
        for average, variable in zip(averages, self._trainable_variables, strict=True):
            average.assign(ops.copy(variable.value))
        self.begun.assign(ops.copy(self.iterations.value))  # of its own: JAX gives its buffer away


def averaging_for(steps: int) -> float:
    """Return a constant decay of the weight average, as in `laptop` runs: it spans the last tenth of so many steps.

    Before the end of a run, and after a switch, it still holds what is long past: `TutorialAverage` does not.
    """
    return max(0.0, 1 - AVERAGED / steps) if steps else 0.0


def _use_average(model: keras.Model) -> None:
    if model.optimizer.use_ema and int(model.optimizer.iterations):  # before the first step there is none: zeros
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for variable in model.trainable_variables:  # a copy of its own: JAX gives away the buffers of what it is handed
            variable.assign(ops.copy(variable.value))


@contextlib.contextmanager
def _kept(variables: Iterable):
    """Let variables have other values inside the `with`, and their own again after it."""
    own = [(variable, ops.copy(variable.value)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in own:
            variable.assign(value)


@contextlib.contextmanager
def averaged_weights(model: keras.Model):
    """Let `model` have the average of its weights inside the `with`, and its own again after it."""
    with _kept(model.trainable_variables):
        _use_average(model)
        yield


def _remembered(model: keras.Model) -> list:
    """Return what a model keeps but does not train: batch norm's statistics and the seeds, not the images."""
    return [variable for variable in model.non_trainable_variables if variable.dtype != "uint8"]


def _measure(model: keras.Model, evaluate: Callable[[], dict], statistics: Callable[[], None]) -> dict:
    """Return what `evaluate` finds with averaged weights; with the tutorial's also what it finds otherwise."""
    if not isinstance(model.optimizer, TutorialAverage):
        with averaged_weights(model):
            return evaluate()
    others = {f"raw_{name}": value for name, value in evaluate().items()}
    with averaged_weights(model), _kept(_remembered(model)):
        others |= {f"stale_{name}": value for name, value in evaluate().items()}
        statistics()
        return evaluate() | others


def _statistics_taker(model: keras.Model) -> Callable[[Iterable[np.ndarray]], None]:
    """Return a function that gives batch norm the mean and variance of its inputs in batches, as the weights are."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    statistics, usual = [(norm.moving_mean, norm.moving_variance) for norm in norms], [norm.momentum for norm in norms]

    def look(fed):
        for norm in norms:
            norm.momentum = 0.0  # so that the statistics of this batch are left, nothing of those before
        model(fed, training=True)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum

    if BACKEND == "tensorflow":  # a call without compilation takes as long as three training steps of a small network
        import tensorflow

        look = tensorflow.function(look)

    def take(batches: Iterable[np.ndarray]) -> None:
        found = []
        with _kept(_remembered(model)):  # the calls draw crops: training must not notice
            for fed in batches:
                look(ops.convert_to_tensor(fed))
                found.append([[ops.convert_to_numpy(variable) for variable in pair] for pair in statistics])
        for (mean, variance), parts in zip(statistics, zip(*found, strict=True), strict=True):
            means, variances = np.moveaxis(np.array(parts, dtype="float64"), 1, 0)
            mean.assign(means.mean(axis=0))
            variance.assign(variances.mean(axis=0) + means.var(axis=0))

    return take


def classifier_trainer(
    network, store: images.ImageStore | tuple[int, int, int], *, rate: float, seed: int, augment: bool = True,
    divide_by: str = images.DIVIDE_BY, momentum: float = MOMENTUM, averaging: float | str = 0.0,
    ends: Sequence[int] = (), optimizer: str = "sgd",
) -> keras.Model:
    """Return the model that trains `network`: image numbers `(B,)` in, logits out, cross-entropy (Equation 1).

    On the way each image is cropped, flipped, lightened and standardised (section 4.1.2), or only centre-cropped
    without `augment`. `rate` is the learning rate of SGD with momentum or, for the `optimizer` ``"adamw"``, of AdamW,
    which decays all weights by itself: its network should have no decay in the loss. With `ends` the rate falls to zero
    by each of these steps (`Falling`). `averaging` is the constant decay of the average of the weights, or TUTORIAL
    (`TutorialAverage`). Where the host feeds the images, `store` is their shape `(H, W, C)`: the model takes uint8.
    """
    fed, pixels = _entrance(store)
    if augment:
        pixels = images.RandomCropFlip(CROP, 2 * seed + 1)(pixels)
        pixels = images.RandomLight(2 * seed + 2)(pixels)
    else:
        pixels = keras.layers.CenterCrop(CROP, CROP)(pixels)
    logits = ops.cast(network(images.Standardise(divide_by)(pixels)), keras.config.floatx())  # of one in bfloat16 too
    options = {"weight_decay": DECAY} if optimizer == "adamw" else {"momentum": float(momentum)}
    update = _optimizer(optimizer, averaging)(Falling(rate, ends) if ends else float(rate), **options)
    return _compile(keras.Model(fed, logits), keras.losses.SparseCategoricalCrossentropy(from_logits=True), update)


def autoencoder_trainer(
    encoder, decoder, store: images.ImageStore, *, rate: float, seed: int,
    momentum: float = MOMENTUM, averaging: float | str = 0.0,
) -> keras.Model:
    """Return the model that trains encoder and decoder: image numbers in, reproduction minus crop out,
    its mean square (Equation 2).

    The crops are random and flipped but keep their light: the decoder's last ReLU needs targets in
    [0, 1].
    """
    numbers, pixels = _entrance(store)
    crop = images.RandomCropFlip(CROP, 2 * seed + 1)(pixels)
    model = keras.Model(numbers, decoder(encoder(crop)) - crop)
    update = _optimizer("sgd", averaging)(float(rate), momentum=float(momentum))
    return _compile(model, lambda _, error: ops.mean(ops.square(error), axis=(1, 2, 3)), update)


def _entrance(store: images.ImageStore | tuple[int, int, int]) -> tuple:
    """Return what a model takes, and the pixels in [0, 1] that this stands for."""
    stored = isinstance(store, images.ImageStore)
    shape = store.images.shape[1:] if stored else store
    require(min(shape[:2]) >= CROP,  # Keras' centre crop would enlarge them without a word
            f"The networks see {CROP} x {CROP} pixels, and the images have only {shape[0]} x {shape[1]}.")
    fed = keras.Input((), dtype="int32") if stored else keras.Input(shape, dtype="uint8")
    return fed, store(fed) if stored else ops.cast(fed, keras.config.floatx()) / 255.0


def _optimizer(name: str, averaging: float | str) -> Callable:
    """Return what makes an optimizer, ``"sgd"`` or ``"adamw"``, with this average of the weights."""
    plain = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW}[name]
    if averaging == TUTORIAL:
        return functools.partial(type(f"Averaged{plain.__name__}", (TutorialAverage, plain), {}), use_ema=True)
    return functools.partial(plain, use_ema=True, ema_momentum=averaging) if averaging else plain


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that falls from `rate` in a straight line to zero at each of the steps `ends`, ascending, and
    starts anew after it: one end is a linear schedule, two are a restart.
    """

    def __init__(self, rate: float, ends: Sequence[int]):
        self.rate, self.ends = float(rate), [int(end) for end in ends]

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = ops.zeros_like(step)
        for start, end in itertools.pairwise([0, *self.ends]):
            inside = ops.logical_and(step >= start, step < end)
            rate = ops.where(inside, self.rate * (end - step) / max(1, end - start), rate)
        return rate


def _compile(model, loss, optimizer):
    model.compile(optimizer, loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def shrink_and_perturb(network, fresh, keep: float) -> None:
    """Move `network`'s weights towards those of `fresh`, a newly started one: `keep` of their own and the rest of its
    (Ash and Adams, 2020). What batch norm and the optimizer remember stays.
    """
    for own, new in zip(network.trainable_variables, fresh.trainable_variables, strict=True):
        own.assign(keep * own + (1 - keep) * new)


def classify(
    network, pixels: np.ndarray | images.ImageStore, *, divide_by: str = images.DIVIDE_BY, softmax: bool = False
) -> Callable[..., np.ndarray]:
    """Return a function that gives `network`'s logits `(n, classes)`, or with `softmax` class probabilities, for the
    centre crops of uint8 `pixels` `(N, H, W, C)`: of the image numbers `(n,)` that it is called with, or of all.
    """

    def answer(crop):
        logits = ops.cast(network(images.Standardise(divide_by)(crop)), "float32")
        return ops.softmax(logits) if softmax else logits

    return _predictor(answer, pixels)


def score(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Return `test_loss`, the cross-entropy in nats (Equation 1), and `test_accuracy`, the fraction that is right."""
    likelihood = log_softmax(logits.astype("float64"), axis=1)[np.arange(len(labels)), labels]
    return {"test_loss": float(-likelihood.mean()), "test_accuracy": float((logits.argmax(axis=1) == labels).mean())}


def embed(encoder, pixels, out=None, *, rows: int = 10_000, progress: str | None = None):
    """Return the embeddings `(N, n)` float32 of the centre crops of uint8 `pixels` `(N, H, W, C)`.

    With `out`, a path ending in .npy or .zarr, neither need fit in memory: `pixels` is anything with that shape that
    can be sliced by rows, and the embeddings are written to `out`, `rows` at a time, and returned opened for reading.
    After a kill, the same call goes on where it was (`embsel.scale.store`); what was begun with another encoder, other
    images (sixteen are compared) or other `rows`, or is being written, is refused. `progress` labels a progress bar.
    """
    if out is None:
        return _predictor(encoder, pixels)()
    images.check(pixels)
    rows, count = whole("rows", rows, 1), pixels.shape[0]
    fed, entrance = _entrance(tuple(pixels.shape[1:]))
    model = keras.Model(fed, encoder(keras.layers.CenterCrop(CROP, CROP)(entrance)))
    made_of = {"encoder": _digest_of_encoder(encoder), "images": _digest_of_images(pixels)}
    store = Store(out, (count, model.output.shape[1]), model.output.dtype, rows, made_of)
    with _bar(progress, store.done, count) as bar, store.filling():
        while store.done < count:
            some = pixels[store.done : min(store.done + rows, count)]
            store.append(model.predict(np.asarray(some), batch_size=min(BATCH, len(some)), verbose=0))
            chunks.release(some)
            bar.update(len(some))
    return store.array()


def _predictor(network: Callable, pixels) -> Callable[..., np.ndarray]:
    store = pixels if isinstance(pixels, images.ImageStore) else images.ImageStore(pixels)
    numbers, pixels = _entrance(store)
    model = keras.Model(numbers, network(keras.layers.CenterCrop(CROP, CROP)(pixels)))
    every = np.arange(store.images.shape[0], dtype="int32")

    def predict(chosen: np.ndarray = every) -> np.ndarray:
        parts = (chosen[i : i + BATCH].astype("int32") for i in range(0, len(chosen), BATCH))
        return np.concatenate([model.predict_on_batch(part) for part in parts])  # without all that `predict` prepares

    return predict


def _digest(arrays: Iterable[np.ndarray]) -> str:
    whole = b"".join(f"{array.shape} {array.dtype} ".encode() + array.tobytes() for array in arrays)
    return hashlib.sha256(whole).hexdigest()[:12]


def _digest_of_encoder(encoder) -> str:
    """Return a digest of the weights and of the layers, whatever these happen to be called in this process."""
    plan, names = "", {}

    def see(item: dict) -> None:
        if isinstance(item.get("name"), str) and len(item) > 1:  # a layer; a dtype has nothing but a name, which counts
            names.setdefault(item["name"], len(names))

    with contextlib.suppress(NotImplementedError):  # a layer of the caller's own need not say how it is made
        plan = json.dumps(encoder.get_config(), sort_keys=True, default=str)
        json.loads(plan, object_hook=see)
    for name, number in names.items():
        plan = plan.replace(json.dumps(name), str(number))
    return _digest([np.frombuffer(plan.encode(), np.uint8), *encoder.get_weights()])


def _digest_of_images(pixels) -> str:
    """Return a digest of the shape and of 16 images from the first to the last: reading all would take a pass."""
    some = np.unique(np.linspace(0, pixels.shape[0] - 1, 16).astype(int))
    return _digest([np.array(pixels.shape), *(np.asarray(pixels[i : i + 1]) for i in some.tolist())])
