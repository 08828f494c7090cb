"""What a run is and what is kept of it: `Run` and `Autoencoder` say what to do, a `Record` what came of it.

Knows nothing of how a run is carried out.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from embsel import selection
from embsel.errors import InputError, unknown

VERSION = 1  # of a record; a reader skips what a later version wrote
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results"
FEEDS = ("device", "host", "encoded")  # where the images of a step come from
ALL = "all"  # the selector that selects nothing: every training image, the baseline


def _check(spec) -> None:
    """Refuse a value of another type than its field, a rate and a seed that cannot be; make 1 the 1.0 of a float field,
    as equal specs must have equal keys.
    """
    for item in dataclasses.fields(spec):
        value = getattr(spec, item.name)
        if item.type in (float, float | None) and type(value) is int:
            object.__setattr__(spec, item.name, float(value))
        elif item.name != "widths" and (
            not isinstance(value, item.type) or (isinstance(value, bool) and item.type is not bool)
        ):
            wanted = getattr(item.type, "__name__", item.type)
            raise InputError(f"{type(spec).__name__}.{item.name} must be of type {wanted}, not {value!r}.")
    if not 0 < spec.rate < math.inf:
        kind = type(spec).__name__
        raise InputError(f"{kind}.rate, the learning rate, must be positive and finite, not {spec.rate!r}.")
    if spec.seed < 0:
        raise InputError(f"{type(spec).__name__}.seed must be a whole number of at least 0, not {spec.seed!r}.")


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
        _check(self)
        widths = self.widths
        good = isinstance(widths, tuple | list) and len(widths) == 3
        if not good or not all(type(width) is int and width > 0 for width in widths):
            raise InputError(f"Autoencoder.widths must be three whole numbers of at least 1, not {widths!r}.")
        object.__setattr__(self, "widths", tuple(widths))


@dataclass(frozen=True)
class Run:
    """One training of the classifier, from nothing to its test accuracy.

    The first `split` percent of the `steps` train on the `keep` images that `selector` picks, the rest on all of them
    (section 4.4, Figure 4); the selector `"all"` is the baseline. `dataset` is the fingerprint. With `validation` the
    test set is a tenth of the training set, held out. `embedding` says where the embeddings come from; a selector
    that needs none has None. `budget` ends training after so many seconds (section 5.3). `averaging` None means the
    last tenth of the run (`training.averaging_for`). `feed` says how the images reach the network (`images.fetcher`).
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
    budget: float | None = None
    averaging: float | None = None
    norm_momentum: float = 0.9
    feed: str = "device"

    def __post_init__(self):
        _positive(self, "steps", "batch", "width", "curve_images")
        if self.every is not None:
            _positive(self, "every")
        _check(self)
        for name in ("momentum", "averaging", "norm_momentum"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise InputError(f"Run.{name} must be a number from 0 to 1, not {getattr(self, name)!r}.")
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise InputError(f"Run.budget, in seconds, must be positive and finite, not {self.budget!r}.")
        if not 0 <= self.split <= 100:
            raise InputError(f"Run.split is a percentage of the steps, from 0 to 100, not {self.split!r}.")
        if self.divide_by not in ("deviation", "variance"):
            raise unknown("way to standardise", self.divide_by, ["deviation", "variance"])
        if self.feed not in FEEDS:
            raise unknown("feed", self.feed, FEEDS)
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
    """What one spec gave: `metrics`, a `curve` of lists (one entry per evaluation), the `ledger` of `{stage, seconds,
    samples}`, and the `provenance`: dataset, hardware, backend, versions, commit, time, profile.
    """

    spec: Run | Autoencoder
    metrics: dict
    ledger: list[dict]
    provenance: dict
    curve: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the record as one line of JSON; `InputError` if a number in it is NaN or infinite."""
        content = {"version": VERSION, "key": key(self.spec), "kind": type(self.spec).__name__}
        content |= dataclasses.asdict(self)
        try:
            return json.dumps(content, allow_nan=False)
        except ValueError as error:
            named = [*self.metrics.items(), *self.curve.items(), *((line["stage"], line) for line in self.ledger)]
            bad = ", ".join(name for name, value in named if not _is_finite(value))
            raise InputError(f"A record holds finite numbers only, found NaN or infinity in: {bad}.") from error

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """Return the record that `to_json` wrote; `InputError` if the line is torn, foreign or of a later version."""
        try:
            content = json.loads(line)
            if content["version"] > VERSION:
                raise InputError(f"it was written by a later version of embsel (record version {content['version']}).")
            spec = dict(content["spec"])
            if spec.get("embedding"):
                spec["embedding"] = Autoencoder(**spec["embedding"])
            spec = {"Run": Run, "Autoencoder": Autoencoder}[content["kind"]](**spec)
            return cls(spec, content["metrics"], content["ledger"], content["provenance"], content["curve"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"it is not a whole record ({type(error).__name__}: {error}).") from error

    def seconds(self, *stages: str) -> float:
        """Return the seconds of the named stages, of all of them if none is named: also of an autoencoder it shares."""
        return sum(line["seconds"] for line in self.ledger if not stages or line["stage"] in stages)

    def own_seconds(self) -> float:
        """Return the seconds this record alone took: without the autoencoder, which has a record of its own."""
        shared = ("autoencoder compilation", "autoencoder", "embedding") if isinstance(self.spec, Run) else ()
        return self.seconds() - (self.seconds(*shared) if shared else 0)


def _is_finite(value) -> bool:
    try:
        return bool(json.dumps(value, allow_nan=False))
    except ValueError:
        return False


class Store:
    """Records in `folder`, one JSON line each, one file per profile; nothing in it is ever changed.

    Safe against being killed in mid-line (the torn line is skipped, said, and left where it is) and against two
    writers.
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
            reason = error.strerror or error
            raise InputError(f"The folder {str(self.folder)!r} cannot be written to: {reason}.") from error

    def append(self, record: Record) -> bool:
        """Write `record` to the disk and return True; return False if its key is there already.

        Raises `InputError` if the folder cannot be written to, or a number in the record is NaN or infinite.
        """
        with self.writing():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if key(record.spec) in self.records():
                    return False
            with open(self.folder / f"{record.provenance['profile']}.jsonl", "ab+") as file:
                line = record.to_json().encode() + b"\n"
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if (
                        file.read(1) != b"\n"
                    ):  # a killed writer's torn line: end it, so that it takes no whole one along
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        return True


def describe(record: Record) -> str:
    """Return one line on a record: what it was, what came out and the seconds it took."""
    spec, metrics = record.spec, record.metrics
    if isinstance(spec, Autoencoder):
        what, result = f"autoencoder, {spec.steps} steps", f"loss {metrics['loss']:.4f}"
    else:
        what, result = f"{spec.selector} {spec.split}/{100 - spec.split}", f"accuracy {metrics['test_accuracy']:.3f}"
    return f"{what}, seed {spec.seed}: {result}, {record.seconds():.0f} s"


_ABSENT = object()  # equal to nothing: a spec without the field is not one where it is None


def find(records: Iterable[Record], **wanted) -> list[Record]:
    """Return the records of a `Run` or `Autoencoder` whose spec fields, or `profile`, have the wanted values."""

    def value(record, name):  # the spec first: its dataset is a fingerprint, the provenance's is a name
        fields = vars(record.spec)
        return fields[name] if name in fields else record.provenance.get(name, _ABSENT)

    return [record for record in records if all(value(record, name) == wish for name, wish in wanted.items())]
