"""Carries out what a `Run` or an `Autoencoder` says, and records it. Knows nothing of plotting."""

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from embsel import data, images, models, selection, training
from embsel.backend import BACKEND, hardware, keras
from embsel.errors import InputError, as_array, require
from embsel.files import replacing, write_npy
from embsel.lab import recipes, records
from embsel.lab.records import ALL, ROOT, Autoencoder, Pixels, Record, Run, Spec, Store, Vectors, beginning, key
from embsel.selection import door


def provenance(dataset: data.Dataset, profile_name: str) -> dict:
    """Return where and with what a record is made."""
    said = {"dataset": dataset.name, "class_names": list(dataset.class_names), "profile": profile_name}
    if nice := os.nice(0) if hasattr(os, "nice") else 0:
        said["nice"] = nice  # other work came first: no claim about seconds rests on the record
    said |= {"hardware": hardware(), "backend": BACKEND, "versions": {"python": platform.python_version()}}
    said["versions"] |= {name: metadata.version(name) for name in ("keras", "numpy", BACKEND) if name != "tensorflow"}
    if BACKEND == "tensorflow":
        import tensorflow

        said["versions"]["tensorflow"] = tensorflow.__version__  # the package may be tensorflow or tensorflow-cpu
        said["onednn"] = os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"  # which its seconds depend on
    said["commit"] = None
    with contextlib.suppress(OSError):  # without git, a record says nothing of the commit
        git = ["git", "describe", "--always", "--dirty"]
        said["commit"] = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip() or None
    return said | {"when": datetime.now(UTC).isoformat(timespec="seconds")}


def execute(
    spec: Spec, dataset: data.Dataset, store: Store, profile_name: str, progress: bool = False, keep: Iterable[int] = ()
) -> Record:
    """Carry out `spec` on `dataset` and return its record, which is not yet in the store.

    Embeddings are made once per `Autoencoder` and kept beside the store; if they have to be made first, that record
    is appended. A run that is killed goes on, when it is executed again, from its last checkpoint beside the store; the
    states after the steps in `keep` stay there for the runs that begin alike (`records.beginning`), and this one begins
    from the latest such state. Its record is charged the whole length and says what it shared. On one CPU, with
    the same versions, a run without a `budget` gives the same metrics and curve to the last digit each time; another
    type of CPU, or a GPU, adds in another order.
    """
    _check(spec, dataset)
    if isinstance(spec, Vectors):
        raise InputError(f"The vectors {spec.digest} are not at hand in {store.folder}: hand them to `given` again.")
    if isinstance(spec, Pixels):
        return _execute_pixels(spec, dataset, store, profile_name)
    carry_out = _execute_run if isinstance(spec, Run) else _execute_autoencoder
    return carry_out(spec, dataset, store, profile_name, progress, _checkpoints(spec, store, keep))


def _checkpoints(spec: Spec, store: Store, keep: Iterable[int]) -> training.Checkpoints | None:
    """Return where the states of a run are kept; None for one whose next images depend on what it has learned."""
    if isinstance(spec, Run) and (spec.budget is not None or spec.plan not in ("switch", "grow")):
        return None
    folder, shared = store.folder / ".checkpoints", beginning(spec)
    file = folder / f"{key(spec)}.npz"
    if shared is None:
        return training.Checkpoints(file)
    states = {int(path.stem.split("-")[1]): path for path in folder.glob(f"{key(shared)}-*.npz")}
    begin = [states[step] for step in records.ends_of_beginning(spec, states)]
    kept = {step: folder / f"{key(shared)}-{step}.npz" for step in records.ends_of_beginning(spec, keep)}
    return training.Checkpoints(file, begin[-1] if begin else None, kept, key(spec))


def _check(spec: Spec, dataset: data.Dataset) -> None:
    """Refuse what cannot be carried out on `dataset`, before any long work."""
    name, mark = dataset.name, dataset.fingerprint
    require(spec.dataset == mark, f"The run wants the dataset {spec.dataset}, but {name} has the fingerprint {mark}.")
    if isinstance(spec, Run):
        found = len(dataset.train_images)
        good = spec.selector == ALL or spec.keep <= found
        require(good, f"Run.keep is {spec.keep}, but {name} has only {found} training images.")
        if spec.embedding is not None:
            _check(spec.embedding, dataset)


def _execute_autoencoder(spec, dataset, store, profile_name, progress, checkpoints) -> Record:
    pixels = dataset.train_images
    encoder, decoder = _autoencoder(spec, dataset)
    options = {"averaging": _averaging(spec), **_fields(spec, "rate", "seed")}
    history = training.train(
        training.autoencoder_trainer(encoder, decoder, _on_device(dataset), **options),
        dataset.train_labels,
        [training.Phase(np.arange(len(pixels)), spec.steps)],
        every=max(1, spec.steps // 20),
        checkpoints=checkpoints,
        progress=f"autoencoder, seed {spec.seed}" if progress else None,
        **_fields(spec, "batch", "seed"),
    )
    ledger = _training_ledger("autoencoder", history)
    embeddings = _embed(store, spec, ledger, lambda: training.embed(encoder, pixels))
    metrics = {"loss": history.points[-1]["loss"] if spec.steps else None, "elements": embeddings.shape[1]}
    metrics["dead_elements"] = int((embeddings.max(axis=0) == embeddings.min(axis=0)).sum())
    metrics["digest"] = _digest(embeddings)
    with store.writing(), replacing(_encoder_file(store, spec)) as part:
        np.savez(part, *encoder.get_weights())
    if spec.seed == 0:  # one set of pictures is enough for the pages
        _keep_pictures(store, spec, dataset, encoder, decoder, embeddings)
    return _recorded(spec, metrics, ledger, provenance(dataset, profile_name), history)


def _autoencoder(spec: Autoencoder, dataset: data.Dataset):
    return models.autoencoder(shape=_crop_shape(dataset), **_fields(spec, "widths", "final", "seed"))


def _crop_shape(dataset: data.Dataset) -> tuple[int, int, int]:
    return training.CROP, training.CROP, dataset.train_images.shape[-1]


def _averaging(spec: Autoencoder | Run) -> float | str:
    if getattr(spec, "averaging", None) is not None:
        return spec.averaging
    return training.TUTORIAL if spec.average == training.TUTORIAL else training.averaging_for(spec.steps)


def _fields(spec: Spec, *names: str) -> dict:
    return {name: getattr(spec, name) for name in names}


def _recorded(spec, metrics, ledger, where, history) -> Record:
    """Return the record of a training; it says of one that went on after a kill that its seconds are of more parts."""
    curve = {name: [point[name] for point in history.points] for name in (history.points or [{}])[0]}
    return Record(spec, metrics, ledger, where | ({"resumed": history.resumed} if history.resumed else {}), curve)


def _digest(embeddings: np.ndarray) -> str:
    """Return what names the content of embeddings: runs of one digest chose by the same numbers."""
    return hashlib.sha256(np.ascontiguousarray(embeddings)).hexdigest()[:12]


def _execute_pixels(spec, dataset, store, profile_name) -> Record:
    from sklearn.decomposition import PCA

    def components():
        crops = _centre(dataset.train_images).reshape(len(dataset.train_images), -1).astype("float32")
        count = min(spec.components, *crops.shape)
        return PCA(count, svd_solver="covariance_eigh").fit_transform(crops).astype("float32")

    ledger = []
    embeddings = _embed(store, spec, ledger, components)
    return Record(spec, {"elements": embeddings.shape[1]}, ledger, provenance(dataset, profile_name))


def vectors(embeddings, dataset: data.Dataset, seed: int = 0) -> tuple[Vectors, np.ndarray]:
    """Return what names ready-made `embeddings`, and the array `(N, n)`: an array, or the path of an `.npy` file.

    They must pass the door of a selector and have a row for each training image of `dataset`, in its order. Raises
    `InputError`.
    """
    array = _read(embeddings) if isinstance(embeddings, str | os.PathLike) else as_array("embeddings", embeddings)
    array = _passed(array, 1)
    rows, count = len(array), len(dataset.train_images)
    wanted = f"a row for each of the {count} training images of {dataset.name}"
    require(rows == count, f"embeddings: expected {wanted}, found {rows} rows.")
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array))
    return Vectors(dataset.fingerprint, digest.hexdigest()[:12], array.shape[1], seed), array


@door()
def _passed(embeddings, k, *, labels=None, seed=0) -> np.ndarray:
    """Return what the door of every selector lets through."""
    return embeddings


def _read(path: str | os.PathLike) -> np.ndarray:
    try:
        array = np.load(os.path.expanduser(path), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise InputError(f"embeddings: {path} cannot be read as an .npy file: {error}.") from None
    require(isinstance(array, np.ndarray), f"embeddings: expected an .npy file of one array, found the .npz {path}.")
    return array


def given(embeddings, dataset: data.Dataset, store: Store, profile_name: str, seed: int = 0) -> Vectors:
    """Check ready-made `embeddings` (as `vectors` does), keep them beside the store, record them and return their spec.

    The ledger of a run on them has the stage "given", of no seconds: what they cost to make is not known here.
    """
    spec, array = vectors(embeddings, dataset, seed)
    _keep_embeddings(store, spec, array)
    ledger = [{"stage": "given", "seconds": 0.0, "samples": len(array)}]
    store.append(Record(spec, {"elements": spec.elements}, ledger, provenance(dataset, profile_name)))
    return spec


def _embed(store: Store, spec: Spec, ledger: list, make: Callable, stage: str = "embedding") -> np.ndarray:
    """Return the embeddings that `make` makes; they are kept beside the store, and their time goes into the ledger."""
    start = time.perf_counter()
    embeddings = make()
    ledger.append({"stage": stage, "seconds": time.perf_counter() - start, "samples": len(embeddings)})
    _keep_embeddings(store, spec, embeddings)
    return embeddings


def _centre(pixels: np.ndarray) -> np.ndarray:
    top, left = ((size - training.CROP) // 2 for size in pixels.shape[1:3])
    return pixels[:, top : top + training.CROP, left : left + training.CROP]


@functools.lru_cache(maxsize=2)
def _on_device(dataset: data.Dataset, split: str = "train") -> images.ImageStore:
    """Return the images of a split, "train" or "test", on the device: one copy for all runs of a sweep.

    TensorFlow keeps for ever whatever a training function has touched, so a copy for each run would fill the memory.
    """
    return images.ImageStore(getattr(dataset, f"{split}_images"))


def _embeddings_file(store: Store, spec: Spec) -> Path:
    return store.folder / ".embeddings" / f"{key(spec)}.npy"


def _encoder_file(store: Store, spec: Autoencoder) -> Path:
    return store.folder / "encoders" / f"{key(spec)}.npz"


def _keep_embeddings(store: Store, spec: Spec, embeddings: np.ndarray) -> None:
    with store.writing(), replacing(_embeddings_file(store, spec)) as part:
        write_npy(part, embeddings)


def _keep_pictures(store, spec, dataset, encoder, decoder, embeddings, elements: int = 6, each: int = 8) -> None:
    """Save the few pictures that the chapters show of an autoencoder: Figure 3, what some elements respond to, and some
    of the images that the filter picks from all of the embedding, beside as many random ones.
    """
    count = len(dataset.test_images)
    shown = np.random.default_rng(0).choice(count, min(elements, count), replace=False)
    crops = _centre(dataset.test_images[shown])
    codes = training.embed(encoder, dataset.test_images[shown])
    columns = np.linspace(0, embeddings.shape[1] - 1, elements).astype(int)
    strongest = np.argsort(-embeddings[:, columns], axis=0, kind="stable")[:each].T
    centre, spread = embeddings.mean(axis=0), embeddings.std(axis=0)
    raised = centre + 4 * spread * np.eye(len(centre))[columns]
    picked = selection.top_activations(embeddings, min(20 * embeddings.shape[1], len(embeddings)))
    picked = picked[np.linspace(0, len(picked) - 1, 6 * each).astype(int)]
    arrays = {
        "inputs": crops,
        "codes": codes.astype("float16"),
        "reproductions": _as_uint8(decoder.predict(codes, verbose=0)),
        "elements": columns,
        "strongest": dataset.train_images[strongest],
        "picked": dataset.train_images[picked],
        "random": dataset.train_images[selection.random_subset(embeddings, min(6 * each, len(embeddings)))],
        "drawn": _as_uint8(decoder.predict(np.vstack([centre[None], raised]).astype("float32"), verbose=0)),
    }
    with store.writing(), replacing(store.folder / "pictures" / f"{key(spec)}.npz") as part:
        np.savez_compressed(part, **arrays)


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    return np.clip(255 * pixels, 0, 255).round().astype("uint8")


def embeddings_of(spec: Spec, dataset: data.Dataset, store: Store, profile_name: str, progress=False) -> np.ndarray:
    """Return the embeddings `(N, n)` float32 that `spec` describes.

    If they are not at hand, an autoencoder whose weights are kept makes them again; anything else is trained now.
    """
    file, weights = _embeddings_file(store, spec), _encoder_file(store, spec)
    known = key(spec) in store.records()
    if known and not file.exists() and weights.exists():
        encoder, _ = _autoencoder(spec, dataset)
        with np.load(weights, allow_pickle=False) as kept:
            encoder.set_weights([kept[f"arr_{number}"] for number in range(len(kept.files))])
        _keep_embeddings(store, spec, training.embed(encoder, dataset.train_images))
    elif not known or not file.exists():  # one without the other: killed between the two
        store.append(execute(spec, dataset, store, profile_name, progress))
    return np.load(file, allow_pickle=False)


def _execute_run(spec, dataset, store, profile_name, progress, checkpoints) -> Record:
    where = provenance(dataset, profile_name)
    ledger, metrics, embeddings = [], {}, np.zeros((len(dataset.train_images), 1), dtype="float32")
    if spec.embedding is not None:
        embeddings = embeddings_of(spec.embedding, dataset, store, profile_name, progress)
        ledger += _shared(store.records()[key(spec.embedding)])
        metrics["embedding"] = _digest(embeddings)
    whole = dataset  # a proxy has probabilities of the held-out images too, so that they fit the rows of any run
    if spec.validation:
        dataset, embeddings = data.hold_out(dataset), embeddings[data.training_rows(dataset)]
    pixels, labels = dataset.train_images, dataset.train_labels
    network = _network(spec, dataset, spec.seed)
    select = selection.SELECTORS.get(spec.selector)
    cost = {"stage": "selection", "seconds": 0.0, "samples": 0}
    chosen, asked = [], 0  # the rows of the first pass, and how many it asked for: a selector may return fewer

    @functools.cache
    def probabilities_of(dataset: data.Dataset) -> Callable[[], np.ndarray]:
        return training.classify(network, _on_device(dataset), divide_by=spec.divide_by, softmax=True)

    def choose(k: int, seed: int = spec.seed, now: bool = False, among: np.ndarray | slice = slice(None)) -> np.ndarray:
        nonlocal asked
        start = time.perf_counter()
        known = (probabilities_of(dataset)() if now else embeddings)[among]
        rows = np.arange(len(pixels))[among][select(known, k, labels=labels[among], seed=seed)]
        cost["seconds"] += time.perf_counter() - start
        cost["samples"] += len(known)
        if asked < spec.keep:
            chosen.append(rows)
        asked += k
        return rows

    shrink = None
    if spec.shrink is not None:
        other = _network(spec, dataset, spec.seed + 1000)  # the start of no other run
        shrink = functools.partial(training.shrink_and_perturb, network, other, spec.shrink)
    phases = recipes.phases(spec, len(pixels), choose, shrink)
    trainer = training.classifier_trainer(
        network,
        _on_device(dataset) if spec.feed == "device" else pixels.shape[1:],
        averaging=_averaging(spec),
        ends=recipes.rate_ends(spec, phases),
        **_fields(spec, "rate", "seed", "augment", "divide_by", "momentum", "optimizer"),
    )
    test, test_labels = dataset.test_images, dataset.test_labels
    some = np.random.default_rng(0).permutation(len(test))[: spec.curve_images]
    classify = training.classify(network, _on_device(dataset, "test"), divide_by=spec.divide_by)
    history = training.train(
        trainer,
        labels,
        phases,
        evaluate=lambda: training.score(classify(some), test_labels[some]),
        fetch=images.fetcher(spec.feed, pixels),
        checkpoints=checkpoints,
        progress=f"{spec.selector}, seed {spec.seed}" if progress else None,
        **_fields(spec, "batch", "seed", "every", "marks", "budget"),
    )
    metrics |= {"kept": len(pixels), "distinct": len(pixels)}
    if history.shared:
        metrics |= {"shared_with": history.shared_with, "shared_steps": history.shared}
    if chosen:
        ledger.append(cost)
        metrics |= _of_subset(np.concatenate(chosen), dataset)
    ledger += _training_ledger("training", history)
    start = time.perf_counter()
    logits = classify()
    seconds = history.evaluation_seconds + time.perf_counter() - start
    ledger.append({"stage": "evaluation", "seconds": seconds, "samples": len(test) + len(some) * len(history.points)})
    metrics |= training.score(logits, test_labels)
    right = logits.argmax(axis=1) == test_labels
    of_class = [right[test_labels == c] for c in range(len(dataset.class_names))]
    metrics["class_accuracy"] = [float(part.mean()) if len(part) else None for part in of_class]  # None: no test image
    metrics["test_images"] = len(test)
    if spec.proxy:
        _embed(store, spec, ledger, lambda: probabilities_of(whole)(), "probabilities")
    return _recorded(spec, metrics, ledger, where, history)


def _shared(record: Record) -> list[dict]:
    """Return the ledger of an embedding as one of its runs carries it: a proxy's stages by another name than its own,
    and without the evaluation, which was made for the pages.
    """
    if not isinstance(record.spec, Run):
        return record.ledger
    return [line | {"stage": f"proxy {line['stage']}"} for line in record.ledger if line["stage"] != "evaluation"]


def _network(spec: Run, dataset: data.Dataset, seed: int):
    options = {"shape": _crop_shape(dataset), "seed": seed, **_fields(spec, "width", "norm_momentum")}
    if spec.optimizer == "adamw":
        options["decay"] = 0.0  # it has a decay of its own
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if spec.precision == "bfloat16" else "float32")
    try:
        return models.NETWORKS[spec.network](len(dataset.class_names), **options)
    finally:
        keras.config.set_dtype_policy(usual)


def _of_subset(subset: np.ndarray, dataset: data.Dataset) -> dict:
    counts = np.bincount(dataset.train_labels[subset], minlength=len(dataset.class_names)).tolist()
    contrast = (dataset.train_images[subset] / 255).std(axis=(1, 2, 3)).mean()  # of an image, on average
    return {"kept": len(subset), "distinct": len({*subset}), "class_counts": counts, "contrast": float(contrast)}


def _training_ledger(stage: str, history) -> list[dict]:
    stages = [(f"{stage} compilation", history.compile_seconds, 0), (stage, history.training_seconds, history.samples)]
    stages += [("loading", history.loading_seconds, history.samples)] * bool(history.loading_seconds)
    return [{"stage": name, "seconds": seconds, "samples": samples} for name, seconds, samples in stages]


def record(
    specs: Sequence[Spec], dataset: data.Dataset, store: Store, profile_name: str, *, seconds: float | None = None,
    states: bool = False, say: Callable[[str], None] = print,
) -> int:
    """Execute and append what is not in the store yet, in order, and return how many specs are still missing.

    With `seconds`, no run is started that would, by the longest one so far, end after them. With `states`, the state at
    the end or the switch of each run stays beside the store, for runs that go on from there. A run whose loss becomes
    infinite is said and passed over, so it stays missing.
    """
    began, longest, diverged = time.perf_counter(), 0.0, 0
    have = store.records()
    todo = [spec for spec in dict.fromkeys(specs) if key(spec) not in have]
    ends = {}  # of what begins alike: the steps at which a run ends or switches, where another may go on
    for spec in todo:
        _check(spec, dataset)
        if states and (shared := beginning(spec)):
            ends.setdefault(shared, set()).add(spec.steps if spec.selector == ALL else spec.switch)
    store.file(profile_name)
    with store.writing():
        pass  # if nothing can be written, that is said now and not after an hour of training
    for number, spec in enumerate(todo):
        left, start = len(todo) - number, time.perf_counter()
        if seconds is not None and start - began + longest > seconds:
            say(f"Stopped in time: {left} of {len(specs)} runs are still to be recorded.")
            return left
        try:
            keep = ends.get(beginning(spec), ())
            new = execute(spec, dataset, store, profile_name, progress=True, keep=keep)
        except FloatingPointError as error:  # one run that diverges must not stop the sweep
            what = getattr(spec, "selector", "autoencoder")
            say(f"[{number + 1}/{len(todo)}] {what}, seed {spec.seed} is not recorded: {error}")
            diverged += 1
            continue
        store.append(new)
        (store.folder / ".checkpoints" / f"{key(spec)}.npz").unlink(missing_ok=True)
        longest = max(longest, time.perf_counter() - start)
        rest = (time.perf_counter() - began) / (number + 1) * (left - 1)
        say(f"[{number + 1}/{len(todo)}] {records.describe(new)}; about {rest / 60:.0f} min to go")
    return diverged
