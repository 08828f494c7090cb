"""What a run is and what is kept of it: `Run` and `Autoencoder` say what to do, a `Record` what came of it.

Knows nothing of how a run is carried out.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from filelock import FileLock

from embsel import selection
from embsel.errors import InputError, require, unknown

VERSION = 1  # of a record; a reader skips what a later version wrote
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book" / "results"
FEEDS = ("device", "host", "encoded")  # where the images of a step come from
PLANS = ("switch", "fresh", "grow", "sift", "prune")  # how a run goes through its images (`recipes`)
SCHEDULES = ("constant", "linear", "restart")  # of the learning rate; restart: down to zero by the end of each phase
NETWORKS = ("paper", "resnet")
PRECISIONS = ("float32", "bfloat16")  # of the network's arithmetic; its weights and the loss are float32 in both
ALL = "all"  # the selector that selects nothing: every training image, the baseline
# How the weights are averaged where no constant decay is given: over the last tenth of all steps, or as in the tutorial
# (`training.TutorialAverage`), anew with each phase and with batch norm's statistics taken again.
AVERAGES = ("tenth", "tutorial")
_NAMED = {"plan": PLANS, "schedule": SCHEDULES, "optimizer": ("sgd", "adamw"), "network": NETWORKS, "feed": FEEDS,
          "precision": PRECISIONS, "average": AVERAGES, "divide_by": ("deviation", "variance"),
          "selector": (ALL, *selection.SELECTORS)}  # what a field may say, where that is a name
_NUMBERS = (int, float, int | None, float | None)


class Spec:
    """What can be carried out: an autoencoder, pixels' components, ready-made vectors, a run."""

    # The largest value of the numbers that may be zero; the others must be above it.
    _most = {"seed": math.inf, "split": 100} | dict.fromkeys(("momentum", "averaging", "norm_momentum", "shrink"), 1)

    def __post_init__(self):
        """Refuse a field of another type, a number out of range or a name that is not known; make 1 the 1.0 of a float
        field, for equal keys.
        """
        for item in dataclasses.fields(self):
            value, limits = getattr(self, item.name), ""
            if type(value) is int and item.type in (float, float | None) and abs(value) < 2**53:  # a float holds it
                value = float(value)
            elif type(value) is list:  # as JSON has a tuple
                value = tuple(value)
            object.__setattr__(self, item.name, value)
            good = isinstance(value, item.type) and isinstance(value, bool) == (item.type is bool)
            if item.type in _NUMBERS:
                most = self._most.get(item.name)
                limits = {None: ", above 0 and finite", math.inf: ", at least 0"}.get(most, f", from 0 to {most}")
                good = good and (value is None or (0 < value < math.inf if most is None else 0 <= value <= most))
            wanted = getattr(item.type, "__name__", item.type)
            require(good, f"{type(self).__name__}.{item.name} must be of type {wanted}{limits}, not {value!r}.")
        for name, known in _NAMED.items():
            if getattr(self, name, known[0]) not in known:
                raise unknown("way to standardise" if name == "divide_by" else name, getattr(self, name), known)


@dataclass(frozen=True)
class Autoencoder(Spec):
    """How an embedding is made: the autoencoder's training (paper, section 4.2). `dataset` is its fingerprint.

    Without any step the encoder keeps its random weights: a random convolutional feature of each image.
    """

    dataset: str
    steps: int
    batch: int
    rate: float = 0.1
    widths: tuple = (64, 32, 24)
    final: str | None = "relu"
    seed: int = 0
    average: str = "tenth"
    _most = Spec._most | {"steps": math.inf}

    def __post_init__(self):
        super().__post_init__()
        good = len(self.widths) == 3 and all(type(width) is int and width > 0 for width in self.widths)
        require(good, f"Autoencoder.widths must be three whole numbers of at least 1, not {self.widths!r}.")


@dataclass(frozen=True)
class Pixels(Spec):
    """An embedding without training: the first principal components of the pixels of each image's centre crop."""

    dataset: str
    components: int = 216
    seed: int = 0


@dataclass(frozen=True)
class Vectors(Spec):
    """Ready-made embeddings, of `elements` numbers for each training image; `digest` names their content.

    Nothing makes them here: `experiments.given` checks them and keeps them beside a store.
    """

    dataset: str
    digest: str
    elements: int
    seed: int = 0


@dataclass(frozen=True)
class Run(Spec):
    """One training of the classifier, from nothing to its test accuracy.

    The first `split` percent of the `steps` train on the `keep` images that `selector` picks, the rest on all of them
    (section 4.4, Figure 4); the selector `"all"` is the baseline. `plan` is how the subset's steps go through the
    images (`recipes`), `schedule` what the learning rate does, `shrink` the share of its own weights that the network
    keeps at the switch (`training.shrink_and_perturb`). `embedding` says where the embeddings come from: an
    autoencoder, the pixels, ready-made vectors or, for a selector that needs a proxy, another run with `proxy`, whose
    class probabilities they are; a selector that needs none has None. `dataset` is the fingerprint. With `validation`
    the test set is a tenth of the training set, held out. `budget` ends training after so many seconds (section 5.3).
    `averaging` is a constant decay of the average of the weights; where it is None, `average` says how it is made. The
    run is evaluated after every `every` steps and after the steps in `marks`. `feed` is how the images reach the
    network (`images.fetcher`). `precision` is that of its arithmetic, not of its weights.
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
    embedding: Spec | None = None
    every: int | None = None
    curve_images: int = 2000
    budget: float | None = None
    averaging: float | None = None
    norm_momentum: float = 0.9
    feed: str = "device"
    plan: str = "switch"
    schedule: str = "constant"
    shrink: float | None = None
    optimizer: str = "sgd"
    network: str = "paper"
    proxy: bool = False
    precision: str = "float32"
    average: str = "tenth"
    marks: tuple = ()

    @property
    def switch(self) -> int:
        """The steps on a subset, after which all the data comes in."""
        return 0 if self.selector == ALL else round(self.steps * self.split / 100)

    def __post_init__(self):
        super().__post_init__()
        good = all(type(mark) is int and mark > 0 for mark in self.marks)
        require(good, f"Run.marks must be whole numbers of steps, at least 1, not {self.marks!r}.")
        source, name = self.embedding, repr(self.selector)
        good = not isinstance(source, Run) or source.proxy
        require(good, "Run.embedding may be a Run that keeps its class probabilities: proxy=True.")
        if self.selector == ALL:
            idle = self.plan == "switch" and self.shrink is None
            require(idle, "A Run on all the data has no subset to begin with: it takes neither a plan nor shrink.")
            return
        require(self.keep, f"The selector {name} needs the number of images to keep: give Run.keep.")
        needs = selection.SELECTORS[self.selector].needs
        if self.plan == "prune":  # it chooses by the class probabilities of the very network that it trains
            require(needs == "proxy", f"The plan 'prune' chooses by class probabilities, and {name} does not.")
            require(source is None, "The plan 'prune' asks the network that it trains: leave Run.embedding None.")
        elif needs == "proxy":
            good = isinstance(source, Run)
            require(good, f"The selector {name} needs class probabilities: give the Run one with proxy=True.")
        elif needs == "embedding":
            require(source, f"The selector {name} needs embeddings: give the Run an Autoencoder.")


def key(spec: Spec) -> str:
    """Return the name of a spec in the store: 12 hex digits of its fields, those at their default left out.

    Leaving them out lets a later version add a field without renaming what is recorded.
    """

    def lean(spec: Spec) -> dict:
        changed = [item.name for item in dataclasses.fields(spec) if getattr(spec, item.name) != item.default]
        return {"kind": type(spec).__name__} | {name: getattr(spec, name) for name in changed}

    return hashlib.sha256(json.dumps(spec, default=lean, sort_keys=True).encode()).hexdigest()[:12]


def beginning(spec: Spec) -> Run | None:
    """Return what names the beginning of a run: the same for all that train alike until one of them ends or switches.

    None for what shares nothing: where the rate or the average of the weights depends on the length of the run, or the
    images on what it has learned.
    """
    alike = isinstance(spec, Run) and spec.plan == "switch" and spec.schedule == "constant" and spec.budget is None
    if not alike or (spec.average == "tenth" and spec.averaging is None):
        return None
    return dataclasses.replace(spec, steps=1, split=100, shrink=None, proxy=False)


def ends_of_beginning(spec: Run, steps: Iterable[int]) -> list[int]:
    """Return those of `steps` that are of the beginning of `spec` and at which it is evaluated, in ascending order."""
    last = spec.steps if spec.selector == ALL else spec.switch
    marked = {*spec.marks, last} | {step for step in steps if spec.every and step % spec.every == 0}
    return sorted(step for step in marked.intersection(steps) if 0 < step <= last)


@dataclass(frozen=True)
class Record:
    """What one spec gave: `metrics`, a `curve` of lists (one entry per evaluation), the `ledger` of `{stage, seconds,
    samples}`, and the `provenance`: dataset, hardware, backend, versions, commit, time, profile, and `nice` if other
    work came first on the machine.
    """

    spec: Spec
    metrics: dict
    ledger: list[dict]
    provenance: dict
    curve: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as one line of JSON; `InputError` if a number in it is NaN or infinite."""
        head = {"version": VERSION, "key": key(self.spec), "kind": type(self.spec).__name__}
        try:
            return json.dumps(head | dataclasses.asdict(self), allow_nan=False)
        except ValueError as error:
            named = [*self.metrics.items(), *self.curve.items(), *((line["stage"], line) for line in self.ledger)]
            bad = ", ".join(name for name, value in named if re.search("NaN|Infinity", json.dumps(value)))
            raise InputError(f"A record holds finite numbers only, found NaN or infinity in: {bad}.") from error

    @classmethod
    def from_json(cls, line: str | bytes) -> "Record":
        """Return the record that `to_json` wrote; `InputError` if the line is torn, foreign or of a later version."""
        try:
            content = json.loads(line, parse_float=_finite, parse_constant=_finite)
            require(content["version"] <= VERSION, f"record version {content['version']} is of a later embsel")
            members = {"metrics": dict, "ledger": list, "provenance": dict, "curve": dict}
            wrong = ", ".join(name for name, kind in members.items() if not isinstance(content[name], kind))
            require(not wrong, f"of another type than expected: {wrong}")
            sound = all(isinstance(line["stage"], str) and line["seconds"] < math.inf for line in content["ledger"])
            require(sound, "a line of the ledger is no stage with its seconds")
            return cls(_spec(content["spec"], content["kind"]), **{name: content[name] for name in members})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"it is not a record that can be read ({type(error).__name__}: {error}).") from error

    def seconds(self, *stages: str) -> float:
        """Return the seconds of the named stages, of all of them if none is named: also of an autoencoder it shares."""
        return sum(line["seconds"] for line in self.ledger if not stages or line["stage"] in stages)

    @property
    def quiet(self) -> bool:
        """Whether nothing else was at work on the machine, so that its seconds may be compared with others."""
        return not self.provenance.get("nice")

    def own_seconds(self) -> float:
        """Return the seconds this record alone took: without its embedding, which has a record of its own."""
        shared = ("autoencoder", "proxy", "embedding") if isinstance(self.spec, Run) else ()
        return sum(line["seconds"] for line in self.ledger if line["stage"].split()[0] not in shared)


def _spec(values: dict, kind: str | None = None) -> Spec:
    """Return the spec with these fields; one inside another has not written down its `kind`, so its fields tell."""
    values, telling = dict(values), {"selector": Run, "components": Pixels, "digest": Vectors}
    guess = next((made for name, made in telling.items() if name in values), Autoencoder)
    if values.get("embedding"):
        values["embedding"] = _spec(values["embedding"])
    return {made.__name__: made for made in (guess, Autoencoder, *telling.values())}[kind or guess.__name__](**values)


def _finite(number: str) -> float:
    value = float(number)
    require(math.isfinite(value), f"{number[:20]} is no finite number")
    return value


class Store:
    """Records in `folder`, one JSON line each, one file per profile; nothing in it is ever changed.

    Safe against two writers and against being killed in mid-line: the torn line is skipped, said, and left there.
    """

    def __init__(self, folder: Path | str = RESULTS):
        self.folder = Path(folder)

    def records(self) -> dict[str, Record]:
        """Return all whole records by key, in the order they were written; warn about each line that is none, and raise
        `InputError` for a file that cannot be read.
        """
        found = {}
        for file in sorted(self.folder.glob("*.jsonl")):
            try:
                lines = file.read_bytes().split(b"\n")
            except OSError as error:
                raise InputError(f"The file '{file}' cannot be read: {error.strerror}.") from None
            for number, line in enumerate(lines, start=1):
                try:
                    if line.strip():
                        record = Record.from_json(line)
                        found.setdefault(key(record.spec), record)
                except InputError as error:
                    warnings.warn(f"{file.name}, line {number} is skipped: {error}", stacklevel=2)
        return found

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the folder, which is made if need be; `InputError` if it cannot be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                yield
        except OSError as error:
            why = error.strerror or f"{error}: is the disk full?"  # NumPy says no more than how far it came
            raise InputError(f"The folder '{self.folder}' cannot be written to: {why}.") from error

    def file(self, profile: str) -> Path:
        """Return the file of the records of a profile; `InputError` if that cannot be the name of a file."""
        good = isinstance(profile, str) and re.fullmatch(r"[^/\\\0]+", profile)
        require(good, f"A record's profile is the name of its file: expected no slash in it, found {profile!r}.")
        return self.folder / f"{profile}.jsonl"

    def append(self, record: Record) -> bool:
        """Write `record` to the disk and return True; return False if its key is there already. On a full disk the file
        stays as it was. `InputError` as of `writing`, `file` and `Record.to_json`.
        """
        path = self.file(record.provenance.get("profile"))
        with self.writing():
            if key(record.spec) in self.records():
                return False
            before = path.read_bytes() if path.exists() else b""
            torn = before[-1:] not in (b"", b"\n")  # a killed writer's line is ended: it takes no whole one along
            line = b"\n" * torn + record.to_json().encode() + b"\n"
            try:
                with open(path, "ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(path, len(before))
                raise
        return True


def describe(record: Record) -> str:
    """Return one line on a record: what it was, what came out and the seconds it took."""
    spec, metrics = record.spec, record.metrics
    what, result = type(spec).__name__.lower(), "not trained"
    if isinstance(spec, Run):
        what, result = f"{spec.selector} {spec.split}/{100 - spec.split}", f"accuracy {metrics['test_accuracy']:.3f}"
    elif getattr(spec, "steps", 0):
        what, result = f"autoencoder, {spec.steps} steps", f"loss {metrics['loss']:.4f}"
    return f"{what}, seed {spec.seed}: {result}, {record.seconds():.0f} s"


def find(records: Iterable[Record], **wanted) -> list[Record]:
    """Return the records of a `Run` or `Autoencoder` whose spec fields, or `profile`, have the wanted values."""
    # The spec comes last, so that it counts: its dataset is a fingerprint, the provenance's is a name.
    return [record for record in records if wanted.items() <= (record.provenance | vars(record.spec)).items()]


def table(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row for each record, indexed by its key: the fields of its spec (of its `embedding` the key), each
    number that was measured, the seconds of each stage of its ledger as `seconds: STAGE`, and where it was made.
    """
    rows = {}
    for record in records:
        spec = vars(record.spec) | {"fingerprint": record.spec.dataset}
        if spec.get("embedding"):
            spec["embedding"] = key(spec["embedding"])
        measured = {name: value for name, value in record.metrics.items() if not isinstance(value, list)}
        stages = {f"seconds: {line['stage']}": line["seconds"] for line in record.ledger}
        where = {name: record.provenance.get(name) for name in ("dataset", "profile", "hardware", "backend", "commit")}
        kind = {"kind": type(record.spec).__name__, "quiet": record.quiet}
        rows[key(record.spec)] = kind | spec | measured | stages | where
    return pd.DataFrame.from_dict(rows, orient="index")


def curves(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row for each evaluation of each record, with its `key`: the step, the seconds, what was measured."""
    parts = [pd.DataFrame(record.curve).assign(key=key(record.spec)) for record in records if record.curve]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["key", "step"])
