"""Whether the published files say the same: the README's results, results.csv, curves.csv, predictions.npz, weights."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from helpers.regenerate.tables import Begun, with_tables

TOLERANCE = 5e-4  # five images in ten thousand: another device rounds otherwise where a run was asked again


def disagreements(root: Path) -> list[str]:
    """What does not fit together among the published files of a repository; empty where all does.

    Args:
        root: the repository, with README.md and images/.
    """
    from helpers.results import published  # here, since it loads torch

    images = root / "images"
    runs = published.read_published(images)
    rows, curves = (published.read_table(images / f"{name}.csv") for name in ("results", "curves"))
    begun = published.begun(curves, rows)
    found = list(_readme(root, runs.values(), begun))
    for key, run in runs.items():
        found += [f"{'/'.join(map(str, key))}: {fault}" for fault in _run(run)]
    unknown = set(published.read_answers(images / "predictions.npz")) - set(runs)
    found += [f"predictions.npz has {'/'.join(map(str, key))}, results.csv has not" for key in sorted(unknown)]
    found += _begun(begun)
    return found + list(_weights(images / "weights", runs))


def _readme(root: Path, runs: Iterable[Any], begun: Begun) -> Iterator[str]:
    problems: list[str] = []
    text = (root / "README.md").read_text(encoding="utf-8")
    if with_tables(text, runs, problems, begun) != text:
        yield "README.md: its tables are not those of results.csv, curves.csv and the profiles; publish again"
    yield from problems


def _run(run: Any) -> Iterator[str]:
    """Faults of one run: its epochs, its answers and its row in results.csv must tell the same accuracy."""
    from helpers.regenerate.tables import judged

    facts = run.facts
    if len(run.history) != facts["epochs"]:
        yield f"curves.csv has {len(run.history)} epochs, results.csv {facts['epochs']}"
    elif judged(run.history[-1]) != facts["test_accuracy"]:
        yield f"curves.csv ends at {judged(run.history[-1])}, results.csv says {facts['test_accuracy']}"
    if run.answers is None:
        yield "predictions.npz has no answers of it"
    elif abs(run.answers.accuracy - facts["test_accuracy"]) > TOLERANCE:
        yield f"predictions.npz has {run.answers.accuracy} right, results.csv says {facts['test_accuracy']}"


def _begun(begun: Begun) -> Iterator[str]:
    """Faults of the curves of runs under way: their recipe must be known, and not be over."""
    from helpers import recipes

    for (name, seed), history in begun.items():
        if name not in recipes.RECIPES or len(history) >= recipes.RECIPES[name].epochs:
            yield f"curves.csv has {name}, seed {seed}, results.csv has not"


def _weights(folder: Path, runs: dict[Any, Any]) -> Iterator[str]:
    from helpers.results import weights

    for net, facts in weights.index(folder).items():
        try:
            weights.checked(folder / facts["file"], facts)
        except weights.WeightsError as error:
            yield str(error)
        run = runs.get((facts["dataset"], facts["recipe"], facts["seed"]))
        if run is None:
            yield f"the weights of {net} are of {facts['recipe']}, seed {facts['seed']}, which results.csv lacks"
        elif run.facts["test_accuracy"] != facts["test_accuracy"]:
            yield f"the weights of {net} claim {facts['test_accuracy']}, results.csv {run.facts['test_accuracy']}"
