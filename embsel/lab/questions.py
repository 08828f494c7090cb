"""What the book asks: one declaration for each question. Its runs, tables, figures and sentences follow from it."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from embsel import data, selection
from embsel.errors import require, unknown
from embsel.lab.compare import NAMES, compare, said
from embsel.lab.profiles import Profile, made, profile
from embsel.lab.records import ALL, FEEDS, PRECISIONS, Pixels, Record, Run, Spec

FILTER, RANDOM = "top_activations", "random_subset"
BUDGET = 7 / 12.27  # the paper's seven minutes, as a share of its full run of 736 seconds
# One selector of each kind where all of them would take too long: no choice, the paper's, coverage, density, a proxy.
KINDS = (RANDOM, FILTER, "facility_location", "density_typical", "el2n")
TUNED = (RANDOM, FILTER)  # the arms whose rates are tuned, beside all the data
SHORT = 0.65  # of the steps: what a recipe trains, so that it may spend 0.15 on choosing and still save a fifth
FULL = "all"  # the recipe that all others are set against
ADAMW_RATE = 0.001  # Keras' default
FEW, EVERY, ONE = (0, 3), (0, None), (0, 1)  # of a profile's seeds, the first and the one after the last

Arms = dict[Hashable, dict]


@dataclass(frozen=True)
class Question:
    """A question to the runs: `words` ask it, and `where` is the chapter and the heading at which it is answered.

    `arms` maps the name of an arm to what it changes in the run on all the data: fields of a `Run`, among them the
    `selector` of the subset that comes first, and as `embedding` what it changes in the autoencoder, or `Pixels`. Or
    it is a function of the profile and, with `after`, of the arms of that question that are recorded. All arms have
    the same `seeds`, of the profile's from one to before another, and are set against the arm `against`. `resize`
    changes the profile itself. With `paper`, the paper's own difference in accuracy of the first arm from `against`
    (infinite: a direction without a number), the question stands on the claims page, as `claim`.
    """

    name: str
    words: str
    arms: Arms | Callable[..., Arms]
    against: Hashable = None
    where: str = ""
    seeds: tuple[int, int | None] = FEW
    after: str = ""
    resize: Callable[[Profile], Profile] = lambda sizes: sizes
    paper: float | None = None
    claim: str = ""

    def runs(self, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> dict:
        """Return the runs, arm to one run of each seed; none while a question that this one builds on is open."""
        given, place = [], (self.resize(sizes), dataset)
        if self.after:
            before = QUESTIONS[self.after]
            given = [_there(wanted := before.runs(*place), recorded)]
            if sum(map(len, given[0].values())) < sum(map(len, wanted.values())):
                return {}
        arms = self.arms(place[0], *given) if callable(self.arms) else self.arms
        seeds = sizes.seeds[slice(*self.seeds)]
        return {name: [made(*place, seed=seed, **changes) for seed in seeds] for name, changes in arms.items()}

    def specs(self, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> list[Spec]:
        """Return what has to be carried out, in order: one seed of each arm first, what a run chooses by before it."""
        before = QUESTIONS[self.after].specs(sizes, dataset) if self.after else []
        groups = list(self.runs(sizes, dataset, recorded).values())
        turns = [group[place] for place in range(max(map(len, groups), default=0)) for group in groups]
        chain = [spec for run in turns for spec in (run.embedding, run) if spec is not None]
        return list(dict.fromkeys([*before, *chain]))

    def found(self, records: Iterable[Record]) -> dict[Hashable, list[Record]]:
        """Return the arms that are recorded, at the profile and on the dataset of `records`."""
        records = list(records)
        require(records, "A question is answered at the profile and on the dataset of records, and there are none.")
        place = profile(records[0].provenance["profile"]), records[0].spec.dataset
        return _there(self.runs(*place, records), records)

    def behind(self, records: Iterable[Record]) -> list[Record]:
        """Return all recorded runs of the question."""
        return list(itertools.chain.from_iterable(self.found(records).values()))

    def table(self, records: Iterable[Record]) -> pd.DataFrame:
        """Return what is recorded of each arm, beside the arm that all are set against (`compare.compare`)."""
        return compare(self.found(records), self.against)

    def sentence(self, records: Iterable[Record]) -> str:
        """Return the question with each arm's difference and its verdict, or that there is none yet."""
        rows, than = self.table(records), NAMES.get(self.against, self.against)
        told = [f"{row.Index}: {said(row.difference, than=than)}" for row in rows.itertuples() if row.verdict]
        return f"**{self.words}** {'; '.join(told) or 'Not recorded yet'}."

    def figure(self, records: Iterable[Record]):
        """Draw the final test accuracy of each arm (`plots.arms`)."""
        from embsel.lab import plots

        return plots.arms(self.found(records))


def _there(groups: dict[Hashable, list[Run]], records: Iterable[Record]) -> dict[Hashable, list[Record]]:
    have = {record.spec: record for record in records}
    there = {name: [have[run] for run in runs if run in have] for name, runs in groups.items()}
    return {name: group for name, group in there.items() if group}


QUESTIONS: dict[str, Question] = {}


def ask(name: str, words: str, arms: Arms | Callable[..., Arms], *rest, **options) -> Question:
    """Add a question, as the fields of `Question`, to those of the book and return it."""
    require(name not in SUITES, f"There is a question or a suite {name!r} already: give this one another name.")
    QUESTIONS[name] = Question(name, words, arms, *rest, **options)
    SUITES[name] = (name,)
    return QUESTIONS[name]


# What is recorded together: the questions, most valuable first. Every question is a suite of its own, too.
SUITES: dict[str, Sequence[str]] = {
    "part-one": ("filtering", "budget", "splits", "suspects", "feeding", "choices", "linear-decoder"),
    "ablations": ("crossed", "conditions", "tuned"),
    "referee": ("rivals", "recipes", "crossed", "conditions", "embeddings", "many-passes", "fixed-epochs",
                "fixed-steps", "sizing", "schedules", "tuned"),
    "ladder": tuple(f"ladder-{part}" for part in ("R", "A0", "B0", "A1", "C0", "B1", "C1", "D")),
}


def suite(name: str, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record] = ()) -> list[Spec]:
    """Return the specs of a suite, each once, most valuable first. It may ask for more once they are recorded, for a
    question can build on what another one found: it ends at a question that waits for that.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    specs, recorded = [], list(recorded)
    for question in (QUESTIONS[one] for one in SUITES[name]):
        specs += question.specs(sizes, dataset, recorded)
        if waits(question.name, sizes, dataset, recorded):
            break
    return list(dict.fromkeys(specs))


def waits(name: str, sizes: Profile, dataset: data.Dataset | str, recorded: Iterable[Record]) -> bool:
    """Return whether a question or suite waits for another one's runs before it can name all of its own."""
    questions, recorded = [QUESTIONS[one] for one in SUITES[name]], list(recorded)
    return any(one.after and not one.runs(sizes, dataset, recorded) for one in questions)


def _alone(*names: str, **changes) -> Arms:  # all the data and subsets alone
    return {name: {"selector": name} | changes for name in names}


ask(
    "learning-rate", "Which learning rate suits the batch and the steps?",
    {rate: {"rate": rate, "validation": True} for rate in (0.05, 0.1, 0.025, 0.0125, 0.00625)},
    where="01_classifier", seeds=ONE,
)
ask(
    "filtering", "Is the filter's subset better than a random one?",
    _alone(ALL, FILTER, RANDOM, "stratified_random", f"{FILTER}_drop", f"{FILTER}_keep"),
    RANDOM, "03_filtering", EVERY,
)
ask(
    "subset", "What does it cost to train on a random subset alone?", _alone(RANDOM, ALL), ALL, "03_filtering", EVERY,
    paper=0.576 - 0.833, claim="Random alone is far behind all the data",
)
ask(
    "splits", "How much of the training may the subset have (Figure 4)?",
    lambda sizes: {
        (name, split): {"selector": name, "split": split}
        for names in ((FILTER, RANDOM), ("stratified_random",))  # the paper's two arms first
        for split in sizes.splits
        for name in names
    },
    where="04_splits", seeds=EVERY,
)
ask(
    "timing", "How long does the full run take?",  # just before the race, and evaluated as often as its runs
    lambda sizes: {ALL: {"every": max(1, sizes.every // 4)}},
    where="05_fixed_budget", seeds=ONE,
)


def race(sizes: Profile, timed: dict[str, list[Record]]) -> Arms:
    """Return the arms of Figures 5 and 6: so many seconds of training, with a subset for half of the steps or never.

    The budget is the paper's share, 7 of 12.27 minutes, of what the full run took. The last arm has the ten times
    larger subset of Figure 6, 86.4 % of the data.
    """
    full = timed[ALL][0]
    limits = {"budget": float(f"{full.seconds('training') * BUDGET:.3g}"), "every": full.spec.every}
    first = {name: {"selector": name, "split": 50} | limits for name in (FILTER, RANDOM)}
    larger = min(10 * sizes.keep, full.metrics["kept"])  # no more than there are
    return {ALL: limits} | first | {"larger": first[FILTER] | {"keep": larger}}


ask("budget", "Who is ahead when the time is up?", race, ALL, "05_fixed_budget", EVERY, after="timing")
ask(
    "suspects", "What might make a full run read ten percent at seven of twelve minutes?",
    lambda sizes: {
        ALL: {},
        # To this profile's steps this decay is what a constant one of 0.9999 is to the paper's 10,000.
        **{name: change | {"every": max(1, sizes.every // 4)} for name, change in {
            "weights averaged over the whole run": {"averaging": 1 - 1 / sizes.steps},
            "batch norm's statistics averaged over the whole run": {"norm_momentum": 1 - 1 / sizes.steps},
            "batch norm's statistics never updated": {"norm_momentum": 1.0},
            "a learning rate eight times as high": {"rate": 8 * sizes.rate},
            "rate and batch eight times as high, half the steps": {
                "rate": 8 * sizes.rate, "batch": 8 * sizes.batch, "steps": sizes.steps // 2,
            },
        }.items()},
    },
    ALL, "05_fixed_budget#ten-percent",
)
ask(
    "feeding", "Does a subset that fits into memory train faster?",
    lambda sizes: {
        (width, feed, name): {"width": width, "feed": feed, "selector": name} | dict.fromkeys(
            ("steps", "every"), max(1, sizes.steps // 3)
        )
        for width in (sizes.width, max(1, sizes.width // 16))  # a narrow network is quick, and waits for its images
        for feed in FEEDS
        for name in (ALL, RANDOM)
    },
    where="05_fixed_budget",
)
ask(
    "precision", "What does bfloat16 arithmetic save?",
    lambda sizes: {name: {"precision": name, "every": sizes.steps} for name in PRECISIONS},
    "float32", "../book/benchmarks",
)
ask(
    "averages", "What is averaged at a switch, and what is it worth?",
    lambda sizes: {
        f"{what}, {average}": {"average": average, "every": sizes.steps, "curve_images": 10_000} | changes
        for average in ("tutorial", "tenth")
        for what, changes in (("90/10", {"selector": RANDOM, "split": 90}), ("all the data", {}))
    },
    where="04_splits",
)
ask(
    "choices", "What are the choices worth that the paper leaves open?",
    {
        ALL: {},
        "the last weights, not their average": {"averaging": 0.0},
        "divide by the variance": {"divide_by": "variance"},
        "no momentum": {"momentum": 0.0},
        "batch norm's statistics over 100 steps, not 10": {"norm_momentum": 0.99},
        "neither crops, flips nor light": {"augment": False},
    },
    ALL, "05_fixed_budget",
)
ask(
    "linear-decoder", "Does the ReLU at the decoder's end matter?",
    {
        FILTER: {"selector": FILTER},
        "no ReLU at the decoder's end (the filter's subset)": {"selector": FILTER, "embedding": {"final": None}},
    },
    FILTER, "05_fixed_budget",
)
SUITES["choices"] += ("linear-decoder",)
ask(
    "rivals", "Which selectors are better than chance?", _alone(*selection.SELECTORS), RANDOM,
    "06_baselines#all-of-them-recorded",
)
ask(
    "fixed-steps", "How many images, at equal steps?",  # that of chance for all sizes first, as each is a full run
    lambda sizes: {(name, keep): {"selector": name, "keep": keep} for name, keep in (
        *((RANDOM, keep) for keep in sizes.keeps),
        *((name, keep) for keep in sizes.keeps[: sizes.compared] for name in KINDS[1:]),
    )},
    where="06_baselines",
)


def equal_passes(sizes: Profile) -> Arms:
    """Return arms that pass over their subset as often as the full run over all the data: fewer steps."""
    steps = {keep: max(1, round(sizes.steps * keep / sizes.images)) for keep in (sizes.keep, *sizes.keeps)}
    return {
        (name, keep): {"selector": name, "keep": keep, "steps": count, "every": min(sizes.every, count)}
        for name in KINDS
        for keep, count in steps.items()
    }


ask("fixed-epochs", "How many images, at equal passes?", equal_passes, where="06_baselines")
ask(
    "schedules", "Which rate and schedule suit a full run and a short one?",
    lambda sizes: {
        (rate, schedule, share): {
            "steps": round(share * sizes.steps), "rate": rate, "schedule": schedule, "validation": True,
        }
        for rate in (sizes.rate, 2 * sizes.rate, 4 * sizes.rate, 8 * sizes.rate)
        for schedule in ("constant", "linear")
        for share in (1.0, SHORT)
    },
    where="07_cost", seeds=ONE,
)


def recipes(sizes: Profile) -> Arms:
    """Return the recipes that could save time: full runs with fewer steps, and what begins with a choice, all with
    SHORT of the steps, half of them the subset's. None is evaluated on the way: their seconds are to be compared.
    """

    def full(share: float, **changes) -> dict:
        return {"steps": round(share * sizes.steps), "every": None} | changes

    def first(selector: str, **changes) -> dict:
        return full(SHORT, selector=selector, split=50) | changes

    longer = {"keep": sizes.images // 2, "split": 80}  # as methods that drop what is easy do it
    return {
        FULL: full(1.0),
        "all, 80 % of the steps": full(0.8),
        "all, 65 % of the steps": full(SHORT),
        "all, 50 % of the steps": full(0.5),
        "all, 35 % of the steps": full(0.35),
        "all, 65 %, rate falling to zero": full(SHORT, schedule="linear"),
        "random, then all": first(RANDOM),
        "random, a fresh one each pass": first(RANDOM, plan="fresh", split=100),
        "random, rate falling twice (restart)": first(RANDOM, schedule="restart"),
        "random, shrink and perturb": first(RANDOM, shrink=0.5),
        "random, growing": first(RANDOM, plan="grow", split=80),
        "filter, then all": first(FILTER),
        "filter of pixels, then all": first(FILTER, embedding=Pixels),
        "typical of pixels, then all": first("density_typical", embedding=Pixels),
        "hard half of each batch (proxy)": first("el2n", plan="sift", **longer),
        "easy half of each batch (proxy)": first("el2n_easiest", plan="sift", **longer),
        "unsure half of each batch (proxy)": first("margin", plan="sift", **longer),
        "hard half, network's own view": first("el2n", plan="prune", **longer),
    }


def cheap_recipes(sizes: Profile) -> Arms:
    """Return the cheap ones of `recipes`."""
    dear = ("filter", "typical", "all, 35 %", "all, 65 %, rate", "random, rate", "random, shrink")
    return {name: changes for name, changes in recipes(sizes).items() if not name.startswith(dear)}


ask("recipes", "Does any recipe pay?", recipes, FULL, "07_cost#accuracy-against-total-time")
ask(
    "many-passes", "Does one pay in many passes?", cheap_recipes, FULL, "07_cost",
    # Four times the steps and a quarter of the width: more of the data is learned before the end.
    resize=lambda sizes: dataclasses.replace(sizes, steps=4 * sizes.steps, width=max(1, sizes.width // 4)),
)


def embeddings(sizes: Profile) -> dict[str, dict | type]:
    """Return embeddings of different cost, from next to none to the paper's: name to the change of the autoencoder."""
    shares = {"random convolutions": 0.0, "1 % of the autoencoder's steps": 0.01, "10 %": 0.1, "100 %": 1.0}
    made = {name: {"steps": round(share * sizes.embedding_steps)} for name, share in shares.items()}
    return {"principal components of the pixels": Pixels} | made


ask(
    "embeddings", "How good must an embedding be?",
    lambda sizes: {
        f"{selection.SELECTORS[name].title}: {what}": {"selector": name, "embedding": change}
        for name in (FILTER, "facility_location")
        for what, change in embeddings(sizes).items()
    },
    where="07_cost",
)


def grid(sizes: Profile) -> Arms:
    """Return the filter for a third, once and three times the embedding's size and half, once and twice the images: by
    the embedding's last width (None: a random subset, without embedding) and the images kept.
    """
    *first, last = sizes.embedding_widths
    cells = {}
    for keep in (sizes.keep, sizes.keep // 2, 2 * sizes.keep):
        cells[None, keep] = {"selector": RANDOM, "keep": keep}
        for width in (last, max(1, last // 3), 3 * last):
            cells[width, keep] = {"selector": FILTER, "keep": keep, "embedding": {"widths": (*first, width)}}
    return cells


ask("sizing", "How long an embedding, how many images?", grid, where="08_ablations")
ask(
    "crossed", "Where does the scatter come from?",
    lambda sizes: {seed: {"selector": FILTER, "embedding": {"seed": seed}} for seed in sizes.few},
    where="08_ablations#where-the-scatter-comes-from",
)


def settings(sizes: Profile) -> dict[str, dict]:
    """Return what else the comparison is made under: name to the changes of every arm."""
    return {
        "as in Part I": {},
        "neither crops, flips nor light": {"augment": False},
        "AdamW": {"optimizer": "adamw", "rate": ADAMW_RATE},
        "a small ResNet": {"network": "resnet", "rate": 4 * sizes.rate},
    }


ask(
    "conditions", "Does another network, optimiser or no augmentation change the answer?",
    lambda sizes: {
        (name, arm): {"selector": arm} | change for name, change in settings(sizes).items() for arm in (ALL, *TUNED)
    },
    where="08_ablations",
)
ask(
    "rates", "Which learning rate suits each arm?",  # on a validation split
    lambda sizes: {
        (arm, factor): {"selector": arm, "rate": sizes.rate * factor, "validation": True}
        for factor in (1, 2, 4, 0.5)
        for arm in (ALL, *TUNED)
    },
    where="08_ablations", seeds=ONE,
)


def best_rates(sizes: Profile, tried: dict[tuple, list[Record]]) -> Arms:
    """Return each arm at the learning rate that was best on the validation split."""
    best = {}
    for (arm, _), (run,) in tried.items():
        if arm not in best or run.metrics["test_accuracy"] > best[arm].metrics["test_accuracy"]:
            best[arm] = run
    return {arm: {"selector": arm, "rate": run.spec.rate} for arm, run in best.items()}


ask("tuned", "And at each arm's own rate?", best_rates, RANDOM, "08_ablations#a-learning-rate-for-each-arm",
    after="rates")
ask(
    "other-data", "Does it hold on another dataset?",  # of two sizes; needs --data
    lambda sizes: {ALL: {}} | {
        (name, keep): {"selector": name, "keep": keep}
        for keep in (sizes.keep, min(sizes.keeps))
        for name in (RANDOM, "stratified_random", FILTER)
    },
    where="08_ablations#more-classes",
)


def _ladder(part: str, words: str, arms: Callable[..., Arms], *rest, share: float = 0.1, where="04_splits", **options):
    """Ask a part of the ladder: runs at the paper's own size, each evaluated on its way, so that one run answers for
    every length of training, and going on from a shorter one that is there. `share` is of the autoencoder's steps.
    """

    def with_autoencoder(sizes: Profile) -> Arms:
        encoder = {"embedding": {"steps": round(share * sizes.embedding_steps)}}
        return {name: encoder | changes for name, changes in arms(sizes).items()}

    ask(f"ladder-{part}", words, with_autoencoder, *rest, where=where, **options)


def _eighth(sizes: Profile) -> dict:
    return {"steps": max(1, sizes.steps // 8)}


def _brief(sizes: Profile) -> Arms:
    brief = max(1, sizes.steps // 250)
    shape = {"steps": brief, "every": brief, "marks": (), "embedding": {"steps": brief}}
    return _alone(ALL, FILTER, RANDOM, **shape)


_rivals = ("stratified_random", "kmeans_prototypes_per_class", "facility_location", "farthest_first", "el2n_easiest")
_ladder(
    "P", "Is bfloat16 as good at the paper's batch?",
    lambda sizes: {
        name: {"selector": RANDOM, "steps": min([*sizes.marks, *_eighth(sizes).values()]), "precision": name}
        for name in PRECISIONS
    },
    seeds=(0, 2), where="../book/benchmarks",
)
_ladder("S", "How long do the steps take, on a quiet machine?", _brief, seeds=ONE, where="07_cost")
_ladder("R", "Filter, random or all the data, to an eighth of the paper's steps?",
        lambda sizes: _alone(RANDOM, ALL, FILTER, **_eighth(sizes)), RANDOM)
for number in (0, 1):
    seed = (number, number + 1)
    _ladder(f"A{number}", "The subset alone, for all of the paper's steps?",
            lambda sizes: _alone(FILTER, RANDOM), RANDOM, seeds=seed)
    _ladder(f"B{number}", "All the data, for all of them?", lambda sizes: _alone(ALL), seeds=seed)
    _ladder(  # they go on from A's runs at the switch
        f"C{number}", "The subset first, then all the data?",
        lambda sizes: {
            (name, split): {"selector": name, "split": split} for split in (95, 90, 50) for name in (FILTER, RANDOM)
        },
        seeds=seed,
    )
_ladder(
    "D", "Other selectors, and no augmentation, to an eighth of the steps?",
    lambda sizes: _alone(*_rivals, **_eighth(sizes)) | {
        (name, "plain"): {"selector": name, "augment": False} | _eighth(sizes) for name in (ALL, FILTER, RANDOM)
    },
    where="06_baselines",
)
_ladder("E", "And with many classes?",  # for a dataset of its own, with half of A's autoencoder
        lambda sizes: _alone(ALL, RANDOM, "stratified_random", FILTER, **_eighth(sizes)), RANDOM, share=0.05,
        where="08_ablations#more-classes")
_ladder("F", "Does all of the autoencoder's training help?", lambda sizes: _alone(FILTER), share=1.0, seeds=ONE)
_ladder("G", "And with more seeds?", lambda sizes: _alone(FILTER, RANDOM, ALL), RANDOM, seeds=(2, None))
