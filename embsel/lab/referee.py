"""Which runs a question needs: the suites of Part II, one for each thing that the paper's reviewers asked for."""

import dataclasses
from collections.abc import Sequence

from embsel import data, selection
from embsel.lab.profiles import Profile, autoencoder, baseline, subset_run
from embsel.lab.records import ALL, Pixels, Record, Run, Spec

Groups = dict[str, list[Run]]  # what is compared: its name to one run of each seed
# One selector of each kind where all of them would take too long: no choice, the paper's, coverage, density, a proxy.
KINDS = ("random_subset", "top_activations", "facility_location", "density_typical", "el2n")
SHORT = 0.65  # of the steps: what a recipe trains, so that it may spend 0.15 on choosing and still save a fifth
FULL = "all"  # the recipe that all others are set against
ADAMW_RATE = 0.001  # Keras' default
TUNED = ("random_subset", "top_activations")  # the arms whose rates are tuned, beside all the data


def rivals(sizes: Profile, dataset: data.Dataset | str) -> list[Spec]:
    """Return the runs on a subset alone of every selector, with what each chooses by."""
    suite = []
    for seed in sizes.few:
        runs = [subset_run(sizes, dataset, name, seed) for name in selection.SELECTORS]
        suite += dict.fromkeys([*(run.embedding for run in runs if run.embedding), *runs])
    return suite


def at_fixed_steps(sizes: Profile, dataset: data.Dataset | str, names: Sequence[str] = KINDS) -> list[Run]:
    """Return the runs on a subset alone of other sizes, all with the steps of the full run: more passes over less.

    Each costs as much as a full run, so that only the first of `names` has all sizes where `sizes.compared` is small.
    """
    first, *others = names  # that of chance for all sizes first: it tells which random share does as well
    cells = [(first, keep) for keep in sizes.keeps]
    cells += [(name, keep) for keep in sizes.keeps[: sizes.compared] for name in others]
    return [subset_run(sizes, dataset, name, seed, keep=keep) for name, keep in cells for seed in sizes.few]


def at_fixed_epochs(sizes: Profile, dataset: data.Dataset | str, names: Sequence[str] = KINDS) -> list[Run]:
    """Return the runs on a subset alone that pass over it as often as the full run over all the data: fewer steps."""
    runs = []
    for name in names:
        for keep in (sizes.keep, *sizes.keeps):
            steps = max(1, round(sizes.steps * keep / sizes.images))
            change = {"keep": keep, "steps": steps, "every": min(sizes.every, steps)}
            runs += [subset_run(sizes, dataset, name, seed, **change) for seed in sizes.few]
    return runs


def schedules(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return the runs that the schedule and the rate of full and short runs are chosen by, on a validation split."""
    return [
        baseline(sizes, dataset, steps=round(share * sizes.steps), rate=rate, schedule=schedule, validation=True)
        for rate in (sizes.rate, 2 * sizes.rate, 4 * sizes.rate, 8 * sizes.rate)
        for schedule in ("constant", "linear")
        for share in (1.0, SHORT)
    ]


def recipes(sizes: Profile, dataset: data.Dataset | str) -> Groups:
    """Return the runs that could save time: full ones with fewer steps, and what begins with a choice, all with SHORT
    of the steps. Half of a recipe's steps are the subset's. The rate is constant, which is best here (`schedules`).
    None is evaluated on the way, and one seed of each is recorded after the other: their seconds are to be compared.
    """
    steps, half = round(SHORT * sizes.steps), sizes.images // 2

    def full(share: float, schedule: str = "constant") -> list[Run]:
        length = {"steps": round(share * sizes.steps), "schedule": schedule, "every": None}
        return [baseline(sizes, dataset, seed=seed, **length) for seed in sizes.few]

    def first(selector: str, **changes) -> list[Run]:
        usual = {"steps": steps, "split": 50, "every": None} | changes
        return [subset_run(sizes, dataset, selector, seed, **usual) for seed in sizes.few]

    def of_pixels(selector: str) -> list[Run]:
        runs = first(selector)
        return [dataclasses.replace(run, embedding=Pixels(run.dataset, seed=run.seed)) for run in runs]

    longer = {"keep": half, "split": 80}  # of the data, and of the steps: as methods that drop what is easy do it
    return {
        FULL: full(1.0),
        "all, 80 % of the steps": full(0.8),
        "all, 65 % of the steps": full(SHORT),
        "all, 50 % of the steps": full(0.5),
        "all, 35 % of the steps": full(0.35),
        "all, 65 %, rate falling to zero": full(SHORT, "linear"),
        "random, then all": first("random_subset"),
        "random, a fresh one each pass": first("random_subset", plan="fresh", split=100),
        "random, rate falling twice (restart)": first("random_subset", schedule="restart"),
        "random, shrink and perturb": first("random_subset", shrink=0.5),
        "random, growing": first("random_subset", plan="grow", split=80),
        "filter, then all": first("top_activations"),
        "filter of pixels, then all": of_pixels("top_activations"),
        "typical of pixels, then all": of_pixels("density_typical"),
        "hard half of each batch (proxy)": first("el2n", plan="sift", **longer),
        "easy half of each batch (proxy)": first("el2n_easiest", plan="sift", **longer),
        "unsure half of each batch (proxy)": first("margin", plan="sift", **longer),
        "hard half, network's own view": first("el2n", plan="prune", embedding=None, **longer),
    }


def many_passes(sizes: Profile, dataset: data.Dataset | str) -> Groups:
    """Return the cheap ones of `recipes` for four times the steps and a network of a quarter of the width.

    It passes over all the data four times as often, so that more of them is learned before the end.
    """
    longer = dataclasses.replace(sizes, steps=4 * sizes.steps, width=max(1, sizes.width // 4))
    dear = ("filter", "typical", "all, 35 %", "all, 65 %, rate", "random, rate", "random, shrink")
    return {name: runs for name, runs in recipes(longer, dataset).items() if not name.startswith(dear)}


def embeddings(sizes: Profile, dataset: data.Dataset | str) -> Groups:
    """Return the runs on a subset alone that is chosen by embeddings of different cost, from none to the paper's."""
    groups = {}
    for name in ("top_activations", "facility_location"):
        for what, source in sources(sizes, dataset).items():
            runs = [subset_run(sizes, dataset, name, seed) for seed in sizes.few]
            seeded = [dataclasses.replace(source, seed=run.seed) for run in runs]
            pairs = zip(runs, seeded, strict=True)
            groups[f"{selection.SELECTORS[name].title}: {what}"] = [
                dataclasses.replace(run, embedding=embedding) for run, embedding in pairs
            ]
    return groups


def sources(sizes: Profile, dataset: data.Dataset | str) -> dict[str, Spec]:
    """Return what the embeddings of the suite `embeddings` come from, by name."""
    trained = autoencoder(sizes, dataset)
    shares = {"random convolutions": 0.0, "1 % of the autoencoder's steps": 0.01, "10 %": 0.1, "100 %": 1.0}
    made = {name: dataclasses.replace(trained, steps=round(share * trained.steps)) for name, share in shares.items()}
    return {"principal components of the pixels": Pixels(trained.dataset)} | made


def sizing(sizes: Profile, dataset: data.Dataset | str) -> dict[tuple[int | None, int], list[Run]]:
    """Return the runs of the filter for a third, once and three times the embedding's size and half, once and twice the
    images: by the embedding's last width (None: a random subset, without embedding) and the images kept.
    """
    trained, grid = autoencoder(sizes, dataset), {}
    *first, last = trained.widths
    for keep in (sizes.keep, sizes.keep // 2, 2 * sizes.keep):
        grid[None, keep] = [subset_run(sizes, dataset, "random_subset", seed, keep=keep) for seed in sizes.few]
        for width in (last, max(1, last // 3), 3 * last):
            runs = [subset_run(sizes, dataset, "top_activations", seed, keep=keep) for seed in sizes.few]
            made = [dataclasses.replace(run.embedding, widths=(*first, width)) for run in runs]
            pairs = zip(runs, made, strict=True)
            grid[width, keep] = [dataclasses.replace(run, embedding=embedding) for run, embedding in pairs]
    return grid


def crossed(sizes: Profile, dataset: data.Dataset | str) -> list[Run]:
    """Return the filter's runs for every pair of an autoencoder's seed and a training seed: a two-way table."""
    return [
        subset_run(sizes, dataset, "top_activations", seed, embedding=autoencoder(sizes, dataset, other))
        for seed in sizes.few
        for other in sizes.few
    ]


def settings(sizes: Profile) -> dict[str, dict]:
    """Return what else the comparison is made under: name to the changes of every arm."""
    return {
        "as in Part I": {},
        "neither crops, flips nor light": {"augment": False},
        "AdamW": {"optimizer": "adamw", "rate": ADAMW_RATE},
        "a small ResNet": {"network": "resnet", "rate": 4 * sizes.rate},
    }


def conditions(sizes: Profile, dataset: data.Dataset | str) -> dict[str, dict[str, list[Run]]]:
    """Return the runs of all the data, a random subset and the filter under each of the `settings`: setting to arm."""
    return {
        name: {arm: [_arm(sizes, dataset, arm, seed, **change) for seed in sizes.few] for arm in (ALL, *TUNED)}
        for name, change in settings(sizes).items()
    }


def _arm(sizes: Profile, dataset: data.Dataset | str, name: str, seed: int, **changes) -> Run:
    make = baseline if name == ALL else subset_run
    return make(sizes, dataset, **({} if name == ALL else {"selector": name}), seed=seed, **changes)


def rates(sizes: Profile, dataset: data.Dataset | str) -> dict[str, list[Run]]:
    """Return the runs that each arm's learning rate is chosen by: arm to runs, judged on a validation split."""
    grid = [sizes.rate * factor for factor in (1, 2, 4, 0.5)]
    return {
        arm: [_arm(sizes, dataset, arm, sizes.seeds[0], rate=rate, validation=True) for rate in grid]
        for arm in (ALL, *TUNED)
    }


def tuned(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> dict[str, list[Run]]:
    """Return each arm's runs at the learning rate that was best on the validation split; none until that is known."""
    seen = {record.spec: record.metrics.get("test_accuracy") for record in recorded}
    groups = {}
    for arm, tried in rates(sizes, dataset).items():
        if all(run in seen for run in tried):
            best = max(tried, key=seen.get).rate
            groups[arm] = [_arm(sizes, dataset, arm, seed, rate=best) for seed in sizes.few]
    return groups


def other_data(sizes: Profile, dataset: data.Dataset | str) -> list[Spec]:
    """Return the runs that a further dataset is judged by: subsets of two sizes, by chance and by the filter.

    Needs another dataset than the profile's own: `--data`.
    """
    names = ("random_subset", "stratified_random", "top_activations")
    suite = []
    for seed in sizes.few:
        suite += [autoencoder(sizes, dataset, seed), baseline(sizes, dataset, seed=seed)]
        for keep in (sizes.keep, min(sizes.keeps)):
            suite += [subset_run(sizes, dataset, name, seed, keep=keep) for name in names]
    return suite


def in_turn(*groups: Sequence[Run]) -> list[Run]:
    """Return the runs of all groups, one seed of each first."""
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def ablations(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> list[Run]:
    """Return what chapter 8 changes but the sizes; the tuned arms once their rates are known."""
    under = [runs for arms in conditions(sizes, dataset).values() for runs in arms.values()]
    known = tuned(sizes, dataset, recorded)
    return [
        *crossed(sizes, dataset),
        *in_turn(*rates(sizes, dataset).values()),
        *in_turn(*under),
        *in_turn(*known.values()),
    ]


def everything(sizes: Profile, dataset: data.Dataset | str, recorded: Sequence[Record]) -> list[Spec]:
    """Return all that Part II shows of one dataset, most valuable first."""
    return [
        *rivals(sizes, dataset),
        *in_turn(*recipes(sizes, dataset).values()),
        *ablations(sizes, dataset, recorded),
        *in_turn(*embeddings(sizes, dataset).values()),
        *in_turn(*many_passes(sizes, dataset).values()),
        *at_fixed_epochs(sizes, dataset),
        *at_fixed_steps(sizes, dataset),
        *in_turn(*sizing(sizes, dataset).values()),
        *schedules(sizes, dataset),
    ]


SUITES = {
    "rivals": rivals,
    "schedules": schedules,
    "recipes": lambda sizes, dataset: in_turn(*recipes(sizes, dataset).values()),
    "many-passes": lambda sizes, dataset: in_turn(*many_passes(sizes, dataset).values()),
    "embeddings": lambda sizes, dataset: in_turn(*embeddings(sizes, dataset).values()),
    "fixed-steps": at_fixed_steps,
    "fixed-epochs": at_fixed_epochs,
    "ablations": ablations,
    "sizing": lambda sizes, dataset: in_turn(*sizing(sizes, dataset).values()),
    "other-data": other_data,
    "referee": everything,
}
BUILDING = dict.fromkeys((ablations, everything), lambda sizes, dataset: in_turn(*rates(sizes, dataset).values()))
