"""A trial of selection on data of the reader's own: four arms, a verdict with its interval, a report, the subset.

Chapter 9 goes through these functions one by one, and `python -m embsel try` runs that chapter on a folder.
"""

import contextlib
import csv
import numbers
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from embsel import data, onepage, selection
from embsel.errors import InputError, require, whole
from embsel.files import replacing, write_npy
from embsel.lab import compare, experiments, plots, profiles, report
from embsel.lab.compare import NAMES, Interval
from embsel.lab.records import ALL, Record, Run, Spec, Store, key
from embsel.onepage import text

Arms = dict[str, list[Record]]  # the runs of each arm by its selector's name, in the order of `specs`
AGAINST = {
    "random_subset": "a random subset of the same size",
    "stratified_random": "a random subset in which each class has its share",
    ALL: "all the data",
}
FEWER = ("top_activations_drop", "top_activations_keep")  # what they do with duplicates leaves fewer different images
TRAINING = ("training", "loading", "evaluation")  # the stages of a run that are not part of choosing
MOST = 20  # classes that a figure or a table shows
LINES = """import numpy
rows = numpy.load("subset.npy")

import pandas
table = pandas.read_csv("subset.csv", dtype={"class": str}, keep_default_na=False)"""


@dataclass(frozen=True, eq=False)
class Trial:
    """What is tried: `selector` on `dataset`, in runs of these `sizes`, with embeddings that `embedding` describes.

    `vectors` are the ready-made ones `(N, n)`, or None. Records, report and subset are kept in `folder`.
    """

    dataset: data.Dataset
    sizes: profiles.Profile
    selector: str
    embedding: Spec
    vectors: np.ndarray | None
    folder: Path

    @property
    def store(self) -> Store:
        """The records of the trial."""
        return Store(self.folder)


def plan(
    dataset: data.Dataset,
    *,
    keep: float = 0.1,
    profile: str | None = None,
    selector: str = "top_activations",
    seeds: int = 3,
    embeddings: np.ndarray | str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
) -> Trial:
    """Return the trial of these choices, all of them checked and nothing trained or written yet.

    `keep`: a fraction of the training images, or a whole number of them. `profile`: the sizes of the runs; a batch is
    at most the training set. `selector`: one of `selection.SELECTORS`, neither a draw nor one of `FEWER`. `embeddings`:
    an array `(N, n)` or an `.npy` file with a row for each training image, instead of an autoencoder. `out`: the
    folder, by default `_try/NAME-FINGERPRINT`. One embedding serves all seeds. Raises `InputError`.
    """
    sizes, entry, images = profiles.profile(profile), selection.selector(selector), len(dataset.train_images)
    require(entry.needs != "nothing", f"selector: {selector!r} is a baseline of every trial; name another selector.")
    require(selector not in FEWER, f"selector: {selector!r} picks fewer different images than its random rivals, so "
                                   "that the sizes of the subsets would differ as well; use 'top_activations'.")
    require(embeddings is None or entry.needs == "embedding",
            f"selector: {selector!r} chooses by a proxy's class probabilities, not by embeddings: leave them out.")
    sizes = replace(
        sizes,
        keep=how_many(keep, images),
        batch=min(sizes.batch, images),
        curve_images=min(sizes.curve_images, len(dataset.test_images)),
        seeds=tuple(range(whole("seeds", seeds, 1))),
    )
    vectors = None
    if embeddings is not None:
        embedding, vectors = experiments.vectors(embeddings, dataset)
    else:
        embedding = (profiles.proxy if entry.needs == "proxy" else profiles.autoencoder)(sizes, dataset)
    name = re.sub(r"[^\w.-]+", "-", dataset.name)[:50].strip("-.") or "data"
    folder = Path(os.path.expanduser(out)) if out else Path("_try", f"{name}-{dataset.fingerprint}")
    return Trial(dataset, sizes, selector, embedding, vectors, folder)


def how_many(keep: float, images: int) -> int:
    """Return how many of so many images `keep` means: a fraction of them, one at least, or a whole number."""
    is_whole = isinstance(keep, numbers.Integral) and not isinstance(keep, bool)
    good = 1 <= keep <= images if is_whole else isinstance(keep, numbers.Real) and 0 < keep < 1
    require(good, f"keep: expected a fraction between 0 and 1 or a whole number from 1 to {images}, found {keep!r}.")
    return int(keep) if is_whole else max(1, round(keep * images))


def specs(trial: Trial) -> dict[str, list[Run]]:
    """Return the runs of the four arms, one for each seed: all with the same steps, and pairs where seeds are equal."""

    def run(name: str, seed: int) -> Run:
        if name == ALL:
            return profiles.baseline(trial.sizes, trial.dataset, seed=seed)
        source = trial.embedding if name == trial.selector else None
        return profiles.subset_run(trial.sizes, trial.dataset, name, seed, embedding=source)

    names = (ALL, "random_subset", "stratified_random", trial.selector)
    return {name: [run(name, seed) for seed in trial.sizes.seeds] for name in names}


def carry_out(trial: Trial, say: Callable[[str], None] = print) -> Arms:
    """Train and record what is not recorded in the trial's folder yet, seed by seed, and return all runs by arm."""
    if trial.vectors is not None:
        experiments.given(trial.vectors, trial.dataset, trial.store, trial.sizes.name)
    by_seed = zip(*specs(trial).values(), strict=True)
    wanted = [trial.embedding, *(run for runs in by_seed for run in runs)]
    experiments.record(wanted, trial.dataset, trial.store, trial.sizes.name, say=say)
    return recorded(trial)


def recorded(trial: Trial) -> Arms:
    """Return the runs that are in the trial's folder, by arm; `InputError` if an arm has none."""
    have = trial.store.records()
    arms = {name: [have[key(run)] for run in runs if key(run) in have] for name, runs in specs(trial).items()}
    missing = ", ".join(repr(NAMES[name]) for name, runs in arms.items() if not runs)
    if missing:
        raise InputError(f"{trial.folder}: expected runs of every arm, found none on {missing}. Either they are still "
                         "to be made, or their loss became infinite, which another profile's learning rate may cure.")
    return arms


def subset(trial: Trial) -> np.ndarray:
    """Return the rows that the selector picks, int64: those that the run of the first seed trained on."""
    known = experiments.embeddings_of(trial.embedding, trial.dataset, trial.store, trial.sizes.name)
    select = selection.SELECTORS[trial.selector]
    return select(known, trial.sizes.keep, labels=trial.dataset.train_labels, seed=trial.sizes.seeds[0])


def difference(first: Sequence[Record], second: Sequence[Record]) -> Interval:
    """Return the interval of the difference in test accuracy, first minus second, between runs of the same seed.

    It covers the seeds of the training *and* the draw of the test images. All runs share these, so that seeds that
    agree on a handful of images would otherwise seem certain. With accuracies around p on m test images, the draw adds
    a variance of at most 2 p (1 - p) / m, that of errors that have nothing to do with each other: the two networks
    usually fail on the same images, and then it is less. Raises `InputError` if no two runs share a seed.
    """
    gap = compare.paired(first, second)
    p = (compare.accuracies(first).mean() + compare.accuracies(second).mean()) / 2
    draw = stats.norm.ppf(0.975) * np.sqrt(2 * p * (1 - p) / first[0].metrics["test_images"])
    return replace(gap, half=float(np.hypot(gap.half, draw)))


def verdict(arms: Arms) -> list[str]:
    """Return the verdict in sentences: against each of `AGAINST`, what choosing cost, what to do, how it was measured.

    `arms` has the selector's runs last. The intervals are those of `difference`.
    """
    *_, chosen = arms
    runs, full = arms[chosen], arms[ALL]
    gaps = {name: difference(runs, arms[name]) for name in AGAINST}
    said = []
    for name, gap in gaps.items():
        neither = "selection made no measurable difference"
        neither = neither if gap.n > 1 else "one seed cannot tell whether selection gained or lost"
        word = gap.verdict("selection gained", "selection lost", neither)
        said.append(f"On this data, in this budget, {word} against {AGAINST[name]}: "
                    f"{gap.text(' points', sign=True)} of test accuracy.")
    spent = costs(runs)
    choosing = {stage: seconds for stage, seconds in spent.items() if stage not in TRAINING}
    parts = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in choosing.items())
    uncounted = " What the given embeddings cost to make is not counted." if "given" in choosing else ""
    said.append(f"Choosing cost {sum(choosing.values()):.1f} s ({parts}), and a training {spent['training']:.1f} s. "
                f"All arms train for the same steps, so choosing saves no time by itself.{uncounted}")
    if min(gap.n for gap in gaps.values()) == 1:
        said.append("Give it more seeds, five or so, before you decide.")
    else:
        said.append(_advice(*gaps.values()))
    kept, of, count = (runs[0].metrics["kept"], full[0].metrics["kept"], runs[0].metrics["test_images"])
    said.append(f"Measured on {count:,} test images, of which one is {100 / count:.2g} points, after "
                f"{full[0].spec.steps:,} steps of {full[0].spec.batch:,} images, with {kept:,} of {of:,} images kept "
                f"({NAMES[chosen]}). The intervals cover the seeds of the training and the draw of the test images.")
    return said


def _advice(random: Interval, balanced: Interval, full: Interval) -> str:
    """Return what to do, after the selector's differences from the arms in `AGAINST`."""
    drawn, shared = (gap.verdict("gained", "lost", "unknown") for gap in (random, balanced))
    if "lost" in (drawn, shared):
        share = "" if drawn == "lost" else ", each class with its share,"
        return f"Not worth it here: as many images drawn at random{share} are better, and cost nothing to choose."
    if drawn == "unknown":
        said = ("Not shown to be worth it: as many images drawn at random cost nothing to choose, and whether they are "
                "better or worse, these runs cannot tell.")
    else:
        said = full.verdict(
            "Worth it: the subset is better than chance and than all the data.",
            "Worth it only where all the data cannot be kept: then choose the subset, do not draw it.",
            "Worth it where a small set is wanted: it is better than chance. Whether it is better or worse than all "
            "the data, these runs cannot tell.",
        )
        if shared == "unknown":
            said += " Whether a draw in which each class has its share would do as well, these runs cannot tell."
    return said + " More seeds and more test images make the intervals narrower." * ("cannot tell" in said)


def costs(runs: Sequence[Record]) -> dict[str, float]:
    """Return the mean seconds that a run spends on each stage; compilation counts with the stage that it is for."""
    seconds = {}
    for run in runs:
        for line in run.ledger:
            stage = line["stage"].split()[0]
            seconds[stage] = seconds.get(stage, 0.0) + line["seconds"] / len(runs)
    return seconds


def ledger(arms: Arms) -> list[list[str]]:
    """Return a table, its header first: the mean seconds of each stage in a run of each arm, and their sum."""
    spent = {name: costs(runs) for name, runs in arms.items()}
    *_, chosen = spent
    rows = [[NAMES[name], *(f"{of[stage]:.1f}" if stage in of else "" for stage in spent[chosen]),
             f"{sum(of.values()):.1f}"] for name, of in spent.items()]
    return [["trained on", *(f"{stage} (s)" for stage in spent[chosen]), "total (s)"], *rows]


def accuracy(arms: Arms) -> list[list[str]]:
    """Return a table, its header first: the test accuracy of each arm, and less that of the arms in `AGAINST`.

    The intervals of the accuracies cover the seeds; those of the differences are the verdict's, see `difference`.
    """
    rows = [["trained on", "different images", "test accuracy", *(f"minus {NAMES[other]}" for other in AGAINST)]]
    for name, runs in arms.items():
        gaps = ["" if name == other else difference(runs, arms[other]).text(" points", sign=True)
                for other in AGAINST]
        distinct = f"{runs[0].metrics['distinct']:,}"
        rows.append([NAMES[name], distinct, Interval.of(compare.accuracies(runs)).text(), *gaps])
    return rows


def balance(trial: Trial, rows: np.ndarray) -> list[list[str]]:
    """Return a table, its header first: the images of each class (the largest `MOST`) that are there and are picked."""
    table, shown = [["class", "training images", "test images", "picked"]], _largest(trial.dataset)
    labels = (trial.dataset.train_labels, trial.dataset.test_labels, trial.dataset.train_labels[rows])
    counts = [np.bincount(part, minlength=len(trial.dataset.class_names)) for part in labels]
    return table + [[trial.dataset.class_names[c], *(f"{count[c]:,}" for count in counts)] for c in shown]


def _largest(dataset: data.Dataset) -> np.ndarray:
    return np.argsort(-np.bincount(dataset.train_labels), kind="stable")[:MOST]


def balance_figure(trial: Trial, rows: np.ndarray) -> Figure:
    """Show how many images of each class are picked, beside a subset in which each class has its share."""
    dataset, shown = trial.dataset, _largest(trial.dataset)
    fair = selection.stratified_random(dataset.train_labels[:, None], len(rows), labels=dataset.train_labels)
    groups = {trial.selector: rows, "stratified_random": fair}
    counts = {name: np.bincount(dataset.train_labels[part], minlength=shown.max() + 1) for name, part in groups.items()}
    names = [dataset.class_names[c].replace("$", r"\$") for c in shown]  # or two of them would begin a formula
    return plots.class_balance({name: count[shown] for name, count in counts.items()}, names)


def pictures(trial: Trial, rows: np.ndarray, each: int = 24) -> Figure:
    """Show some of the images that are picked above some that are left out, each from its first to its last."""
    images, lines, labels = trial.dataset.train_images, [], []
    for name, part in (("picked", rows), ("left out", np.setdiff1d(np.arange(len(images)), rows))):
        some = part[np.linspace(0, len(part) - 1, min(each, len(part))).astype(int)]
        halves = [half for half in np.array_split(images[some], 2) if len(half)]
        lines, labels = lines + halves, labels + [name, ""][: len(halves)]
    return plots.pictures(lines, labels)


def save(trial: Trial, rows: np.ndarray, arms: Arms, say: Callable[[str], None] = print) -> list[Path]:
    """Write `report.html`, `subset.npy` (int64 rows) and `subset.csv` (row, class, file), and return their paths.

    Those of an earlier trial in the same folder are replaced, which is said. The table is for programs, and has every
    name as it is: a spreadsheet may take one that begins with `=`, `+`, `-` or `@` for a formula.
    """
    dataset, files = trial.dataset, [trial.folder / name for name in ("report.html", "subset.npy", "subset.csv")]
    if any(file.exists() for file in files):
        say(f"The report and the subset that were in {trial.folder} are replaced; `out` names another folder.")
    names, report = dataset.train_files or [""] * len(dataset.train_images), page(trial, rows, arms)
    with trial.store.writing(), contextlib.ExitStack() as stack:  # all three are written before any is replaced
        parts = [stack.enter_context(replacing(file)) for file in files]
        parts[0].write_text(report, encoding="utf-8", errors="backslashreplace")
        write_npy(parts[1], rows)
        with open(parts[2], "w", newline="", encoding="utf-8", errors="backslashreplace") as target:
            table = csv.writer(target)
            table.writerow(("row", "class", "file"))
            table.writerows((row, dataset.class_names[dataset.train_labels[row]], names[row]) for row in rows.tolist())
    return files


def page(trial: Trial, rows: np.ndarray, arms: Arms) -> str:
    """Return the report as one HTML file that needs nothing else."""
    dataset, said, classes = trial.dataset, verdict(arms), len(trial.dataset.class_names)
    return onepage.page(dataset.name, [
        text("h1", f"Is selection worth it? {dataset.name}"),
        *(f"<p>{text('strong', line)}</p>" for line in said[: len(AGAINST)]),
        *(text("p", line) for line in said[len(AGAINST) :]),
        text("h2", "Accuracy at the same steps"),
        onepage.table(accuracy(arms)),
        text("p", "Differences are between runs of equal seed, and their intervals cover the seeds and the draw of the "
                  "test images. The intervals of the accuracies, in the table and the figure, cover the seeds alone."),
        onepage.image(plots.arms(arms), "Test accuracy of each arm: dots for seeds, the mean and its 95 % interval."),
        text("h2", "What it cost"),
        onepage.table(ledger(arms)),
        text("p", "Means over the seeds. One embedding serves all of them, and each is charged the whole of it."),
        text("h2", "What is picked, and what is left out"),
        onepage.image(pictures(trial, rows), "Images that are picked above images that are left out."),
        onepage.image(balance_figure(trial, rows), "How many images of each class are picked."),
        text("h2", "What was loaded"),
        text("p", f"{dataset!r}. {dataset.note}"),
        onepage.table(balance(trial, rows)),
        text("p", f"Up to {MOST} classes are shown, the largest; there are {classes:,}."),
        text("h2", "The subset, for other tools"),
        text("p", f"{len(rows):,} row numbers of training images, in the selector's order, lie beside this page:"),
        text("pre", LINES),
        text("p", report.caption([run for runs in arms.values() for run in runs])),
    ])
