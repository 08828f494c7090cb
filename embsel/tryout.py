"""A trial of selection on data of the reader's own: four arms, a verdict with its interval, a report, the subset.

Chapter 9 goes through these functions one by one, and `python -m embsel try` runs that chapter on a folder.
"""

import itertools
import numbers
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from embsel import data, selection
from embsel.errors import require, whole
from embsel.files import replacing, write_npy
from embsel.lab import compare, experiments, plots, profiles
from embsel.lab.compare import NAMES, Interval
from embsel.lab.records import ALL, ROOT, Record, Run, Spec, Store

Arms = dict[str, list[Record]]  # the runs of each arm by its selector's name, in the order of `specs`
AGAINST = {
    "random_subset": "a random subset of the same size",
    "stratified_random": "a random subset in which each class has its share",
    ALL: "all the data",
}
TRAINING = ("training", "loading", "evaluation")  # the stages of a run that are not part of choosing
MOST = 20  # classes that the table shows
LINES = """import numpy
rows = numpy.load("subset.npy")

import pandas
table = pandas.read_csv("subset.csv", dtype={"class": str}, keep_default_na=False)"""
CHAPTER, TEMPLATE = ROOT / "notebooks" / "09_your_dataset.ipynb", ROOT / "notebooks" / "report.html.j2"
REST = "## Embeddings that you already have"  # where chapter 9 goes on to what is not about the reader's data


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
    at most the training set. `embeddings`: an array `(N, n)` or an `.npy` file with a row for each training image,
    instead of an autoencoder; one embedding serves all seeds. `out`: the folder, by default `_try/NAME-FINGERPRINT`.
    Raises `InputError`, also for a selector that is a rival in every trial.
    """
    sizes, needs, images = profiles.profile(profile), selection.selector(selector).needs, len(dataset.train_images)
    require(needs != "nothing", f"selector: {selector!r} is a baseline of every trial; name another selector.")
    require(selector not in ("top_activations_drop", "top_activations_keep"),
            f"selector: {selector!r} picks fewer different images than its random rivals, so that the sizes of the "
            "subsets would differ as well; use 'top_activations'.")
    require(embeddings is None or needs == "embedding",
            f"selector: {selector!r} chooses by a proxy's class probabilities, not by embeddings: leave them out.")
    is_whole = isinstance(keep, numbers.Integral) and not isinstance(keep, bool)
    good = 1 <= keep <= images if is_whole else isinstance(keep, numbers.Real) and 0 < keep < 1
    require(good, f"keep: expected a fraction between 0 and 1 or a whole number from 1 to {images}, found {keep!r}.")
    sizes = replace(
        sizes,
        keep=int(keep) if is_whole else max(1, round(keep * images)),
        batch=min(sizes.batch, images),
        curve_images=min(sizes.curve_images, len(dataset.test_images)),
        seeds=tuple(range(whole("seeds", seeds, 1))),
    )
    vectors = None
    if embeddings is not None:
        embedding, vectors = experiments.vectors(embeddings, dataset)
    else:
        embedding = (profiles.proxy if needs == "proxy" else profiles.autoencoder)(sizes, dataset)
    name = re.sub(r"[^\w.-]+", "-", dataset.name)[:50].strip("-.") or "data"
    folder = Path(os.path.expanduser(out)) if out else Path("_try", f"{name}-{dataset.fingerprint}")
    return Trial(dataset, sizes, selector, embedding, vectors, folder)


def specs(trial: Trial) -> dict[str, list[Run]]:
    """Return the runs of the four arms, one for each seed: all with the same steps, and pairs where seeds are equal."""
    arms = {ALL: [profiles.baseline(trial.sizes, trial.dataset, seed=seed) for seed in trial.sizes.seeds]}
    for name in ("random_subset", "stratified_random", trial.selector):
        chosen = {"selector": name, "keep": trial.sizes.keep, "embedding": None}
        if name == trial.selector:
            chosen["embedding"] = trial.embedding
        arms[name] = [replace(run, **chosen) for run in arms[ALL]]
    return arms


def carry_out(trial: Trial, say: Callable[[str], None] = print) -> Arms:
    """Train and record what is not recorded in the trial's folder yet, seed by seed, and return all runs by arm."""
    if trial.vectors is not None:
        experiments.given(trial.vectors, trial.dataset, trial.store, trial.sizes.name)
    wanted = [trial.embedding, *itertools.chain(*zip(*specs(trial).values(), strict=True))]
    experiments.record(wanted, trial.dataset, trial.store, trial.sizes.name, say=say)
    return recorded(trial)


def recorded(trial: Trial) -> Arms:
    """Return the runs that are in the trial's folder, by arm; `InputError` if an arm has none."""
    have = {record.spec: record for record in trial.store.records().values()}
    arms = {name: [have[run] for run in runs if run in have] for name, runs in specs(trial).items()}
    missing = ", ".join(repr(NAMES[name]) for name, runs in arms.items() if not runs)
    require(not missing, f"{trial.folder}: expected runs of every arm, found none on {missing}. Either they are still "
                         "to be made, or their loss became infinite, which another profile's learning rate may cure.")
    return arms


def subset(trial: Trial) -> np.ndarray:
    """Return the rows that the selector picks, int64: those that the run of the first seed trained on."""
    known = experiments.embeddings_of(trial.embedding, trial.dataset, trial.store, trial.sizes.name)
    labels = trial.dataset.train_labels
    return selection.SELECTORS[trial.selector](known, trial.sizes.keep, labels=labels, seed=trial.sizes.seeds[0])


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
    first, gaps = arms[chosen][0], {name: difference(arms[chosen], arms[name]) for name in AGAINST}
    said = []
    for name, gap in gaps.items():
        neither = "selection made no measurable difference"
        neither = neither if gap.n > 1 else "one seed cannot tell whether selection gained or lost"
        word = gap.verdict("selection gained", "selection lost", neither)
        said.append(f"On this data, in this budget, {word} against {AGAINST[name]}: "
                    f"{gap.text(' points', sign=True)} of test accuracy.")
    spent = costs(arms).loc[NAMES[chosen]]
    choosing = spent.drop([*TRAINING, "total"], errors="ignore")
    parts = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in choosing.items())
    uncounted = " What the given embeddings cost to make is not counted." * ("given" in choosing)
    said.append(f"Choosing cost {choosing.sum():.1f} s ({parts}), and a training {spent['training']:.1f} s. "
                f"All arms train for the same steps, so choosing saves no time by itself.{uncounted}")
    said.append(_advice(*gaps.values()))
    count, full = first.metrics["test_images"], arms[ALL][0]
    said.append(f"Measured on {count:,} test images, of which one is {100 / count:.2g} points, after "
                f"{full.spec.steps:,} steps of {full.spec.batch:,} images, with {first.metrics['kept']:,} of "
                f"{full.metrics['kept']:,} images kept ({NAMES[chosen]}). The intervals cover the seeds of the "
                "training and the draw of the test images.")
    return said


def _advice(random: Interval, balanced: Interval, full: Interval) -> str:
    """Return what to do, after the selector's differences from the arms in `AGAINST`."""
    if min(random.n, balanced.n, full.n) == 1:
        return "Give it more seeds, five or so, before you decide."
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


def costs(arms: Arms) -> pd.DataFrame:
    """Return the mean seconds of each stage, and in total, in a run of each arm (a row); compilation counts with its
    stage. The stages are in the order of the last arm's.
    """
    lines = [(NAMES[name], line["stage"].split()[0], line["seconds"] / len(runs))
             for name, runs in reversed(arms.items()) for run in runs for line in run.ledger]
    table = pd.DataFrame(lines, columns=["trained on", "stage", "seconds"])
    table = table.pivot_table("seconds", "trained on", "stage", "sum", fill_value=0, sort=False)[::-1]
    return table.assign(total=table.sum(axis=1)).rename_axis(index=None, columns="trained on")


def accuracy(arms: Arms) -> pd.DataFrame:
    """Return the test accuracy of each arm (a row), and what it is less that of the arms in `AGAINST`, as words.

    The intervals of the accuracies cover the seeds; those of the differences are the verdict's, see `difference`.
    """
    columns = {"different images": [f"{runs[0].metrics['distinct']:,}" for runs in arms.values()],
               "test accuracy": [Interval.of(compare.accuracies(runs)).text() for runs in arms.values()]}
    for other in AGAINST:
        columns[f"minus {NAMES[other]}"] = [
            "" if name == other else difference(runs, arms[other]).text(" points", sign=True)
            for name, runs in arms.items()
        ]
    return pd.DataFrame(columns, index=map(NAMES.get, arms)).rename_axis(columns="trained on")


def balance(trial: Trial, rows: np.ndarray) -> pd.DataFrame:
    """Return how many images each class (a row, the `MOST` largest) has, how many are picked, and what its share is."""
    dataset = trial.dataset
    fair = selection.stratified_random(dataset.train_labels[:, None], len(rows), labels=dataset.train_labels)
    groups = {"training images": dataset.train_labels, "test images": dataset.test_labels,
              "picked": dataset.train_labels[rows], NAMES["stratified_random"]: dataset.train_labels[fair]}
    counts = {name: np.bincount(labels, minlength=len(dataset.class_names)) for name, labels in groups.items()}
    table = pd.DataFrame(counts, index=dataset.class_names).rename_axis(columns="class")
    return table.sort_values("training images", ascending=False, kind="stable")[:MOST]


def pictures(trial: Trial, rows: np.ndarray, each: int = 24) -> Figure:
    """Show some of the images that are picked above some that are left out, each from its first to its last."""
    images, lines, labels = trial.dataset.train_images, [], []
    for name, part in (("picked", rows), ("left out", np.setdiff1d(np.arange(len(images)), rows))):
        some = part[np.linspace(0, len(part) - 1, min(each, len(part))).astype(int)]
        halves = [half for half in np.array_split(images[some], 2) if len(half)]
        lines, labels = lines + halves, labels + [name, ""][: len(halves)]
    return plots.pictures(lines, labels)


def save(trial: Trial, rows: np.ndarray, say: Callable[[str], None] = print) -> list[Path]:
    """Write `subset.npy` (int64 rows) and `subset.csv` (row, class, file), and return their paths.

    Those of an earlier trial in the same folder are replaced, which is said. The table is for programs, and has every
    name as it is: a spreadsheet may take one that begins with `=`, `+`, `-` or `@` for a formula.
    """
    dataset = trial.dataset
    files = array, table = [trial.folder / name for name in ("subset.npy", "subset.csv")]
    if any(file.exists() for file in files):
        say(f"The subset that was in {trial.folder} is replaced; `out` names another folder.")
    classes = [dataset.class_names[label] for label in dataset.train_labels[rows]]
    names = [dataset.train_files[row] for row in rows] if dataset.train_files else ""
    lines = pd.DataFrame({"row": rows, "class": classes, "file": names})
    with trial.store.writing(), replacing(array) as first, replacing(table) as second:  # both, or none
        write_npy(first, rows)
        lines.to_csv(second, index=False, lineterminator="\r\n", errors="backslashreplace")
    return files


def chapter(file: str | os.PathLike):
    """Return the notebook of chapter 9 in `file` without what is not about the reader's data."""
    import nbformat

    found = nbformat.read(file, as_version=4)
    found.cells = list(itertools.takewhile(lambda cell: not cell.source.startswith(REST), found.cells))
    return found


def render(trial: Trial, file: str | os.PathLike) -> Path:
    """Write `report.html`, a page that needs nothing else, from the chapter as it was run and saved in `file`.

    It has no code, begins with the cells tagged "verdict" and is without those tagged "not-in-report". An earlier
    report in the trial's folder is replaced.
    """
    from nbconvert import HTMLExporter

    notebook, path = chapter(file), trial.folder / "report.html"
    notebook.metadata.title = f"Is selection worth it? {trial.dataset.name}"
    notebook.cells.sort(key=lambda cell: "verdict" not in cell.metadata.get("tags", []))
    exporter = HTMLExporter(
        template_name="basic",
        raw_template=TEMPLATE.read_text("utf-8"),
        exclude_input=True,
        exclude_anchor_links=True,
        config={"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": ["not-in-report"]}},
    )
    page, _ = exporter.from_notebook_node(notebook)
    with trial.store.writing(), replacing(path) as part:
        part.write_text(page, "utf-8", errors="backslashreplace")
    return path
