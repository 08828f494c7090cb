"""Records made by hand, of which the answer is known: for all tests of what the records say."""

import dataclasses

from embsel.lab import profiles
from embsel.lab.questions import QUESTIONS
from embsel.lab.records import ALL, Autoencoder, Record, Run
from embsel.selection import SELECTORS

DATA = "0123456789ab"
PLACE = {
    "dataset": "a set",
    "profile": "laptop",
    "hardware": "a processor",
    "backend": "tensorflow",
    "versions": {"tensorflow": "2.21.0", "jax": "0.7.0"},
}


def encoder(seed=0):
    return Autoencoder(DATA, 1500, 128, seed=seed)


UNUSUAL = dataclasses.replace(encoder(), final=None)


def an_encoder(seed=0, seconds=300.0, **where):
    ledger = [
        {"stage": "autoencoder", "seconds": 0.8 * seconds, "samples": 192_000},
        {"stage": "embedding", "seconds": 0.2 * seconds, "samples": 50_000},
    ]
    return Record(encoder(seed), {"loss": 0.01, "elements": 216, "dead_elements": 0}, ledger, PLACE | where)


def a_run(selector, seed=0, accuracy=0.5, *, seconds=60.0, distinct=4320, counts=(432,) * 10, where=None, **changes):
    """A run; one whose selector needs embeddings has the 300 seconds of its seed's autoencoder in its ledger."""
    needs = selector != ALL and SELECTORS[selector].needs == "embedding"
    first = {} if selector == ALL else {"selector": selector}
    make = profiles.baseline if selector == ALL else profiles.subset_run
    spec = make(profiles.profile("laptop"), DATA, **first, seed=seed, **changes)
    ledger = an_encoder(seed).ledger if needs else []
    ledger = [*ledger, {"stage": "training", "seconds": seconds, "samples": 76_800}]
    metrics = {"test_accuracy": accuracy, "distinct": distinct, "class_counts": list(counts)}
    return Record(spec, metrics, ledger, PLACE | (where or {}))


def arm(selector, *accuracies, **changes):
    return [a_run(selector, seed, accuracy, **changes) for seed, accuracy in enumerate(accuracies)]


LEVELS = {"top_activations": 0.4, "random_subset": 0.5, ALL: 0.8}


def a_ladder(*parts):
    """The runs of some parts: the accuracy grows with the steps, and the filter's with the seed."""
    found, sizes = [], profiles.profile("paper")
    asked = (QUESTIONS[f"ladder-{part}"].runs(sizes, "c1fa").values() for part in parts)
    for spec in dict.fromkeys(run for groups in asked for runs in groups for run in runs):
        steps = [step for step in (300, 1250, 5000, 5705, 10_000) if step <= spec.steps]
        level = LEVELS[spec.selector] + 0.01 * spec.seed * (spec.selector == "top_activations")
        accuracy = [level * (1 - 100 / step) for step in steps]
        curve = {"step": steps, "loss": [2 - value for value in accuracy], "test_accuracy": accuracy}
        place = PLACE | {"profile": "paper", "dataset": "CIFAR-10", "nice": 19}
        found.append(Record(spec, {"test_accuracy": accuracy[-1]}, [], place, curve))
    return found


def charged(accuracy, seconds=100.0, seed=0, **metrics):
    """A run of so many seconds in all, half of them its training, and an evaluation that nobody is charged."""
    stages = {"selection": 0.2, "training compilation": 0.3, "training": 0.5, "evaluation": 7.0}
    ledger = [{"stage": stage, "seconds": share * seconds, "samples": 1} for stage, share in stages.items()]
    return Record(Run("d", ALL, 10, 8, 0.1, seed=seed), {"test_accuracy": accuracy, **metrics}, ledger, {})


def charged_runs(*accuracies, **common):
    return [charged(accuracy, seed=seed, **common) for seed, accuracy in enumerate(accuracies)]
