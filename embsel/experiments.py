"""Runs that are specified, executed once and recorded for ever: `Run` in, `Record` out, in a store that only grows.

Knows nothing of plotting. A record carries what was run, what came out, what each stage cost and where it ran.
"""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
from filelock import FileLock

from embsel import data, selection
from embsel.errors import InputError, unknown

VERSION = 1  # of a record; a reader skips what a later version wrote
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results"
ALL = "all"  # the selector that selects nothing: every training image, the baseline


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile. Rates are learning rates, `keep` the images in a subset, `every` the steps between evaluations."""

    name: str
    source: str
    steps: int
    batch: int
    rate: float
    keep: int
    width: int
    embedding_steps: int
    embedding_widths: tuple[int, int, int]
    every: int
    curve_images: int
    seeds: tuple[int, ...]
    embedding_rate: float = 0.1


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("tiny", "shapes", 200, 64, 0.05, 360, 16, 200, (16, 16, 8), 50, 1000, (0,)),
        Profile("laptop", "cifar10", 600, 128, 0.05, 4320, 64, 1500, (64, 32, 24), 100, 2000, (0, 1, 2)),
        Profile("paper", "cifar10", 10_000, 1024, 0.1, 4320, 64, 40_000, (64, 32, 24), 500, 10_000, (0, 1, 2, 3, 4)),
    )
}


def profile(name: str | None = None) -> Profile:
    """Return the profile of that name, by default the one that the environment variable EMBSEL_PROFILE names, or `tiny`."""
    name = name or os.environ.get("EMBSEL_PROFILE") or "tiny"
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]


def _positive(spec, *names: str) -> None:
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{type(spec).__name__}.{name} must be a whole number of at least 1, not {value!r}.")


@dataclass(frozen=True)
class Autoencoder:
    """How an embedding is made: the autoencoder's training (paper, section 4.2). `dataset` is its fingerprint."""

    dataset: str
    steps: int
    batch: int
    rate: float = 0.1
    widths: tuple[int, int, int] = (64, 32, 24)
    final: str | None = "relu"
    seed: int = 0

    def __post_init__(self):
        _positive(self, "steps", "batch")
        object.__setattr__(self, "widths", tuple(self.widths))


@dataclass(frozen=True)
class Run:
    """One training of the classifier, from nothing to its test accuracy.

    The first `split` percent of the `steps` train on the `keep` images that `selector` picks, the rest on all of them (section
    4.4, Figure 4); the selector `"all"` is the baseline. `dataset` is the fingerprint. With `validation` the test set is a tenth
    of the training set, held out. `embedding` says where the embeddings come from; a selector that needs none has None.
    """

    dataset: str
    selector: str
    steps: int
    batch: int
    rate: float
    keep: int | None = None
    split: int = 100
    width: int = 64
    augment: bool = True
    divide_by: str = "deviation"
    momentum: float = 0.9
    seed: int = 0
    validation: bool = False
    embedding: Autoencoder | None = None
    every: int | None = None
    curve_images: int = 2000

    def __post_init__(self):
        _positive(self, "steps", "batch")
        if not 0 <= self.split <= 100:
            raise InputError(f"Run.split is a percentage of the steps, from 0 to 100, not {self.split!r}.")
        if not self.rate > 0:
            raise InputError(f"Run.rate, the learning rate, must be positive, not {self.rate!r}.")
        if self.divide_by not in ("deviation", "variance"):
            raise unknown("way to standardise", self.divide_by, ["deviation", "variance"])
        if self.selector == ALL:
            return
        if self.selector not in selection.SELECTORS:
            raise unknown("selector", self.selector, [ALL, *selection.SELECTORS])
        _positive(self, "keep")
        if self.embedding is None and self.selector not in selection.NEEDS_NO_EMBEDDING:
            raise InputError(f"The selector {self.selector!r} needs embeddings: give the Run an Autoencoder.")


def key(spec: Run | Autoencoder) -> str:
    """Return the name of a spec in the store: 12 hex digits of its fields, those at their default left out.

    Leaving them out lets a later version add a field without renaming what is recorded.
    """
    return hashlib.sha256(json.dumps(_lean(spec), sort_keys=True).encode()).hexdigest()[:12]


def _lean(spec) -> dict:
    lean = {"kind": type(spec).__name__}
    for item in dataclasses.fields(spec):
        value = getattr(spec, item.name)
        if value != item.default:
            lean[item.name] = _lean(value) if dataclasses.is_dataclass(value) else value
    return lean


@dataclass(frozen=True)
class Record:
    """What one spec gave: `metrics`, a `curve` of lists (one entry per evaluation), the `ledger` of `{stage, seconds, samples}`,
    and the `provenance`: dataset, hardware, backend, versions, commit, time, profile.
    """

    spec: Run | Autoencoder
    metrics: dict
    ledger: list[dict]
    provenance: dict
    curve: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        content = {"version": VERSION, "key": key(self.spec), "kind": type(self.spec).__name__}
        content |= dataclasses.asdict(self)
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """Return the record that `to_json` wrote; `InputError` if the line is torn, foreign or of a later version."""
        try:
            content = json.loads(line)
            if content["version"] > VERSION:
                raise InputError(f"it was written by a later version of embsel (record version {content['version']})")
            spec = dict(content["spec"])
            if spec.get("embedding"):
                spec["embedding"] = Autoencoder(**spec["embedding"])
            spec = {"Run": Run, "Autoencoder": Autoencoder}[content["kind"]](**spec)
            return cls(spec, content["metrics"], content["ledger"], content["provenance"], content["curve"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"it is not a whole record ({type(error).__name__}: {error})") from error

    def seconds(self, *stages: str) -> float:
        """Return the seconds of the named stages, of all of them if none is named."""
        return sum(line["seconds"] for line in self.ledger if not stages or line["stage"] in stages)


class Store:
    """Records in `folder`, one JSON line each, one file per profile; nothing in it is ever changed.

    Safe against being killed in mid-line (the torn line is skipped, said, and left where it is) and against two writers.
    """

    def __init__(self, folder: Path | str = RESULTS):
        self.folder = Path(folder)

    def records(self) -> dict[str, Record]:
        """Return all whole records by key, in the order they were written; warn about each line that is none."""
        found = {}
        for file in sorted(self.folder.glob("*.jsonl")):
            for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
                if not line.strip():
                    continue
                try:
                    record = Record.from_json(line.decode("utf-8", errors="replace"))
                    found.setdefault(key(record.spec), record)
                except InputError as error:
                    warnings.warn(f"{file.name}, line {number} is skipped: {error}.", stacklevel=2)
        return found

    def append(self, record: Record) -> bool:
        """Write `record` to the disk and return True; return False if its key is there already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if key(record.spec) in self.records():
                    return False
            with open(self.folder / f"{record.provenance['profile']}.jsonl", "ab+") as file:
                line = record.to_json().encode() + b"\n"
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a killed writer's torn line: end it, so that it takes no whole one along
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        return True


def provenance(dataset: data.Dataset, profile_name: str) -> dict:
    """Return where and with what a record is made."""
    from embsel.backend import BACKEND, hardware

    names = ["keras", "numpy", BACKEND]
    versions = {name: metadata.version(name) for name in names if name != "tensorflow"}
    if BACKEND == "tensorflow":
        import tensorflow

        versions["tensorflow"] = tensorflow.__version__  # the package may be tensorflow or tensorflow-cpu
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "dataset": dataset.name,
        "profile": profile_name,
        "hardware": hardware(),
        "backend": BACKEND,
        "versions": {"python": platform.python_version(), **versions},
        "commit": git.stdout.strip() or None,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def execute(spec: Run | Autoencoder, dataset: data.Dataset, store: Store, profile_name: str, progress: bool = False) -> Record:
    """Carry out `spec` on `dataset` and return its record, which is not yet in the store.

    Embeddings are made once per `Autoencoder` and kept beside the store; if they have to be made first, that record is appended.
    """
    if spec.dataset != dataset.fingerprint:
        raise InputError(f"The run wants the dataset {spec.dataset}, but {dataset.name} has the fingerprint {dataset.fingerprint}.")
    if isinstance(spec, Autoencoder):
        return _execute_autoencoder(spec, dataset, store, profile_name, progress)
    return _execute_run(spec, dataset, store, profile_name, progress)


def _execute_autoencoder(spec, dataset, store, profile_name, progress) -> Record:
    from embsel import images, models, training

    pixels = dataset.train_images
    shape = (training.CROP, training.CROP, pixels.shape[-1])
    encoder, decoder = models.autoencoder(shape=shape, widths=spec.widths, final=spec.final, seed=spec.seed)
    trainer = training.autoencoder_trainer(
        encoder,
        decoder,
        images.ImageStore(pixels),
        rate=spec.rate,
        seed=spec.seed,
        averaging=training.averaging_for(spec.steps),
    )
    history = training.train(
        trainer,
        dataset.train_labels,
        [training.Phase(np.arange(len(pixels)), spec.steps)],
        batch=spec.batch,
        seed=spec.seed,
        every=max(1, spec.steps // 20),
        progress=f"autoencoder, seed {spec.seed}" if progress else None,
    )
    start = time.perf_counter()
    embeddings = training.embed(encoder, pixels)
    embedding_seconds = time.perf_counter() - start
    _keep_embeddings(store, spec, embeddings)
    ledger = _training_ledger("autoencoder", history)
    ledger.append({"stage": "embedding", "seconds": embedding_seconds, "samples": len(pixels)})
    metrics = {"loss": history.points[-1]["loss"], "elements": embeddings.shape[1]}
    metrics["dead_elements"] = int((embeddings.max(axis=0) == embeddings.min(axis=0)).sum())
    _keep_pictures(store, spec, dataset, encoder, decoder, embeddings)
    return Record(spec, metrics, ledger, provenance(dataset, profile_name), _curve(history))


def _embeddings_file(store: Store, spec: Autoencoder) -> Path:
    return store.folder / ".embeddings" / f"{key(spec)}.npy"


def _keep_embeddings(store: Store, spec: Autoencoder, embeddings: np.ndarray) -> None:
    file = _embeddings_file(store, spec)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with open(part, "wb") as target:
        np.save(target, embeddings, allow_pickle=False)
    os.replace(part, file)  # whole or not at all


def _keep_pictures(store, spec, dataset, encoder, decoder, embeddings, elements: int = 6, each: int = 8) -> None:
    """Save the few pictures that the chapters show of an autoencoder: Figure 3, and what some elements respond to."""
    from embsel import training

    edge = (dataset.train_images.shape[1] - training.CROP) // 2
    shown = np.random.default_rng(0).choice(len(dataset.test_images), elements, replace=False)
    crops = dataset.test_images[shown][:, edge : edge + training.CROP, edge : edge + training.CROP]
    codes = training.embed(encoder, dataset.test_images[shown])
    columns = np.linspace(0, embeddings.shape[1] - 1, elements).astype(int)
    strongest = np.argsort(-embeddings[:, columns], axis=0, kind="stable")[:each].T
    centre, spread = embeddings.mean(axis=0), embeddings.std(axis=0)
    raised = centre + 4 * spread * np.eye(len(centre))[columns]
    file = store.folder / "pictures" / f"{key(spec)}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        file,
        inputs=crops,
        codes=codes.astype("float16"),
        reproductions=_as_uint8(decoder.predict(codes, verbose=0)),
        elements=columns,
        strongest=dataset.train_images[strongest],
        drawn=_as_uint8(decoder.predict(np.vstack([centre[None], raised]).astype("float32"), verbose=0)),
    )


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    return np.clip(255 * pixels, 0, 255).round().astype("uint8")


def embeddings_of(spec: Autoencoder, dataset: data.Dataset, store: Store, profile_name: str, progress: bool = False) -> np.ndarray:
    """Return the embeddings `(N, n)` float32 that `spec` describes, trained now if they are not at hand."""
    file = _embeddings_file(store, spec)
    if not file.exists():
        store.append(execute(spec, dataset, store, profile_name, progress))
    return np.load(file, allow_pickle=False)


def _execute_run(spec, dataset, store, profile_name, progress) -> Record:
    from embsel import images, models, training

    where = provenance(dataset, profile_name)
    ledger, embeddings = [], np.empty((len(dataset.train_images), 1), dtype="float32")
    if spec.embedding is not None:
        embeddings = embeddings_of(spec.embedding, dataset, store, profile_name, progress)
        ledger += store.records()[key(spec.embedding)].ledger
    if spec.validation:
        dataset = data.hold_out(dataset)
    pixels, labels = dataset.train_images, dataset.train_labels
    everything = np.arange(len(pixels))
    steps_on_subset = 0 if spec.selector == ALL else round(spec.steps * spec.split / 100)
    metrics, phases = {}, []
    if steps_on_subset:
        start = time.perf_counter()
        subset = selection.SELECTORS[spec.selector](embeddings, spec.keep, labels=labels, seed=spec.seed)
        ledger.append({"stage": "selection", "seconds": time.perf_counter() - start, "samples": len(pixels)})
        metrics |= {"kept": len(subset), "distinct": len(np.unique(subset))}
        metrics["class_counts"] = np.bincount(labels[subset], minlength=len(dataset.class_names)).tolist()
        phases.append(training.Phase(subset, steps_on_subset))
    if spec.steps > steps_on_subset:
        phases.append(training.Phase(everything, spec.steps - steps_on_subset))

    network = models.classifier(
        len(dataset.class_names), shape=(training.CROP, training.CROP, pixels.shape[-1]), width=spec.width, seed=spec.seed
    )
    trainer = training.classifier_trainer(
        network,
        images.ImageStore(pixels),
        rate=spec.rate,
        seed=spec.seed,
        augment=spec.augment,
        divide_by=spec.divide_by,
        momentum=spec.momentum,
        averaging=training.averaging_for(spec.steps),
    )
    test, test_labels = dataset.test_images, dataset.test_labels
    some = np.random.default_rng(0).permutation(len(test))[: spec.curve_images]
    classify_some = training.classify(network, test[some], divide_by=spec.divide_by)
    history = training.train(
        trainer,
        labels,
        phases,
        batch=spec.batch,
        seed=spec.seed,
        evaluate=lambda: training.score(classify_some(), test_labels[some]),
        every=spec.every,
        progress=f"{spec.selector}, seed {spec.seed}" if progress else None,
    )
    ledger += _training_ledger("training", history)
    start = time.perf_counter()
    logits = training.classify(network, test, divide_by=spec.divide_by)()
    seconds = history.evaluation_seconds + time.perf_counter() - start
    ledger.append({"stage": "evaluation", "seconds": seconds, "samples": len(test) + len(some) * len(history.points)})
    metrics |= training.score(logits, test_labels)
    right = logits.argmax(axis=1) == test_labels
    metrics["class_accuracy"] = [float(right[test_labels == c].mean()) for c in np.unique(test_labels)]
    metrics["test_images"] = len(test)
    return Record(spec, metrics, ledger, where, _curve(history))


def _training_ledger(stage: str, history) -> list[dict]:
    return [
        {"stage": f"{stage} compilation", "seconds": history.compile_seconds, "samples": 0},
        {"stage": stage, "seconds": history.training_seconds, "samples": history.samples},
    ]


def _curve(history) -> dict:
    names = history.points[0] if history.points else {}
    return {name: [point[name] for point in history.points] for name in names}


# --- suites: which runs a question needs, most valuable first ------------------------------------------------------------------


def baseline(sizes: Profile, dataset: data.Dataset, **changes) -> Run:
    """Return the run on all the data at a profile's sizes, with `changes` to its fields."""
    run = Run(
        dataset.fingerprint,
        ALL,
        sizes.steps,
        sizes.batch,
        sizes.rate,
        width=sizes.width,
        every=sizes.every,
        curve_images=sizes.curve_images,
    )
    return dataclasses.replace(run, **changes)


def autoencoder(sizes: Profile, dataset: data.Dataset, seed: int = 0) -> Autoencoder:
    """Return the autoencoder at a profile's sizes."""
    return Autoencoder(
        dataset.fingerprint, sizes.embedding_steps, sizes.batch, sizes.embedding_rate, sizes.embedding_widths, seed=seed
    )


def subset_run(sizes: Profile, dataset: data.Dataset, selector: str, seed: int, **changes) -> Run:
    """Return the run that starts on what `selector` picks, with the autoencoder of the same seed where one is needed."""
    embedding = None if selector in selection.NEEDS_NO_EMBEDDING else autoencoder(sizes, dataset, seed)
    return baseline(sizes, dataset, selector=selector, keep=sizes.keep, seed=seed, embedding=embedding, **changes)


def learning_rate(sizes: Profile, dataset: data.Dataset) -> list[Run]:
    """Which learning rate suits this profile's batch and steps? All the data, judged on a validation split."""
    return [baseline(sizes, dataset, rate=rate, validation=True) for rate in (0.05, 0.1, 0.025, 0.0125)]


def filtering(sizes: Profile, dataset: data.Dataset) -> list[Run | Autoencoder]:
    """The baseline and the 100/0 comparison: the filter with each duplicate policy against random and stratified subsets."""
    suite = []
    for seed in sizes.seeds:
        suite.append(autoencoder(sizes, dataset, seed))
        suite.append(baseline(sizes, dataset, seed=seed))
        for selector in ("top_activations", "random_subset", "stratified_random", "top_activations_drop", "top_activations_keep"):
            suite.append(subset_run(sizes, dataset, selector, seed))
    return suite


SUITES: dict[str, Callable[[Profile, data.Dataset], list]] = {"learning-rate": learning_rate, "filtering": filtering}


def suite(name: str, sizes: Profile, dataset: data.Dataset) -> list:
    """Return the specs of a suite, most valuable first."""
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name](sizes, dataset)


def record(
    specs: Sequence[Run | Autoencoder],
    dataset: data.Dataset,
    store: Store,
    profile_name: str,
    *,
    seconds: float | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Execute and append what is not in the store yet, in order, and return how many specs are still missing.

    With `seconds`, no run is started that would, by the longest one so far, end after them.
    """
    began, longest = time.perf_counter(), 0.0
    have = store.records()
    todo = [spec for spec in dict.fromkeys(specs) if key(spec) not in have]
    for number, spec in enumerate(todo):
        left = len(todo) - number
        spent = time.perf_counter() - began
        if seconds is not None and spent + longest > seconds:
            say(f"Stopped in time: {left} of {len(specs)} runs are still to be recorded.")
            return left
        start = time.perf_counter()
        new = execute(spec, dataset, store, profile_name, progress=True)
        store.append(new)
        longest = max(longest, time.perf_counter() - start)
        rest = (time.perf_counter() - began) / (number + 1) * (left - 1)
        say(f"[{number + 1}/{len(todo)}] {describe(new)}; about {rest / 60:.0f} min to go")
    return 0


def describe(record: Record) -> str:
    """Return one line on a record: what it was, what came out and the seconds it took."""
    spec, metrics = record.spec, record.metrics
    if isinstance(spec, Autoencoder):
        what, result = f"autoencoder, {spec.steps} steps", f"loss {metrics['loss']:.4f}"
    else:
        what, result = f"{spec.selector} {spec.split}/{100 - spec.split}", f"accuracy {metrics['test_accuracy']:.3f}"
    return f"{what}, seed {spec.seed}: {result}, {record.seconds():.0f} s"


def find(records: Iterable[Record], **wanted) -> list[Record]:
    """Return the records of a `Run` or `Autoencoder` whose spec fields, or `profile`, have the wanted values."""

    def value(record, name):
        return record.provenance[name] if name in record.provenance else getattr(record.spec, name, None)

    return [record for record in records if all(value(record, name) == wish for name, wish in wanted.items())]
