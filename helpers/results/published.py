"""What is known of full runs: those published in images/, those of the own run store, and what others claimed."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers import files, recipes
from helpers.training import runs
from helpers.training.answers import Answers
from helpers.training.runs import RunDirectory

IMAGES = files.REPO_ROOT / "images"
KEY = ("dataset", "profile", "recipe", "seed")
TEXTS = {  # columns of results.csv that hold no numbers; a commit such as 12345e67 would pass for one
    *KEY[:3],
    *("net", "schedule", "transforms", "statistics", "ease", "watches", "cuts", "overridden"),
    *("decides_on", "weights", "device", "loader"),
    *("commit", "date", "python", "torch", "torchvision", "albumentations", "numpy"),
}
Row = dict[str, Any]
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Claim:
    """The accuracy that a published project reported."""

    source: str  # owner/repository, and its session
    best: float | None  # test accuracy in [0, 1] of its best epoch, chosen on the test set; None where it is not known
    last: float | None  # of its last epoch
    note: str = ""  # how its net, its schedule or its measurement differs from what they are taken for, if it does

    def __str__(self) -> str:
        """ "best 91.86 %, last 91.61 %"."""
        known = {"best": self.best, "last": self.last}
        return ", ".join(f"{name} {100 * value:.2f} %" for name, value in known.items() if value is not None)


TWICE = "its net adds the skip twice"
CLAIMS = {
    "published-a": Claim(
        "rishabh-bhardwaj-64rr/EVA5, S10", 0.9165, None, f"{TWICE}; its plateau saw one training batch of 80 images"
    ),
    "published-b1": Claim("firekind/athena, experiment 1", 0.9186, 0.9161, TWICE),
    "published-b2": Claim("firekind/athena, experiment 2", 0.9213, 0.9196, TWICE),
    "published-c": Claim(
        "rohansh-tty/EVA4, S10", 0.8891, 0.8891, f"{TWICE}; its plateau cut at fixed epochs, whatever the loss did"
    ),
    "published-d": Claim(
        "abksyed/EVA4, S11", 0.892, None, "a convolution of each residual block is unused; rates read off its figure"
    ),
    "published-e-step": Claim("vedapragna/EVA_from_S9, S9", 0.8770, 0.8751),
    "published-e-plateau": Claim("vedapragna/EVA_from_S9, S10", None, 0.8851, "its code had other settings"),
}


def claimed_curves() -> dict[str, list[float]]:
    """Test accuracies in [0, 1] of every epoch, by recipe, of the published projects whose logs can be read."""
    curves: dict[str, list[float]] = {}
    for row in read_table(IMAGES / "claimed_curves.csv"):
        curves.setdefault(row["recipe"], []).append(row["test_accuracy"])
    return curves


@dataclass(frozen=True)
class FullRun:
    """One finished run of the full profile."""

    facts: Row  # its row of results.csv, typed; accuracies in [0, 1], times in seconds
    history: list[Row]  # one row per epoch, as `RunDirectory.history`
    answers: Answers | None = None  # what it said about every test image; None where that was not kept

    @property
    def recipe(self) -> str:
        """Name of its recipe, overrides included."""
        return self.facts["recipe"]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.facts["seed"]

    @property
    def accuracy(self) -> float:
        """The headline: test accuracy of the judged weights after the last epoch, in [0, 1]."""
        return self.facts["test_accuracy"]

    @property
    def weights(self) -> str:
        """Which weights that accuracy is of: "averaged" or "raw"."""
        return self.facts["weights"]

    @property
    def seconds(self) -> float:
        """The time of the run, at the pace of its median epoch; the wall time of its record may hold other work."""
        return runs.run_seconds(self.history)

    @property
    def best(self) -> float:
        """Test accuracy of the best epoch, which was chosen on the test set: only to compare with claims that were."""
        return self.facts["best_test_accuracy"]


def full_runs(images: Path = IMAGES, root: Path | None = None) -> list[FullRun]:
    """Every full run on CIFAR-10: those of the run store, and the published ones that it does not have.

    They come in the order of recipes and seeds. The folder `images` may lack all published data.
    """
    found = {**read_published(images), **read_store(root)}
    order = list(recipes.RECIPES)
    known = [run for (name, _, _), run in found.items() if name == "cifar10"]
    return sorted(known, key=lambda run: (place(run.recipe, order), run.recipe, run.seed))


def by_recipe(given: list[FullRun]) -> dict[str, list[FullRun]]:
    """Runs by the name of their recipe, in their order."""
    groups: dict[str, list[FullRun]] = {}
    for run in given:
        groups.setdefault(run.recipe, []).append(run)
    return groups


def read_published(images: Path = IMAGES) -> dict[Key, FullRun]:
    """The runs of results.csv with their curves and answers, by data set, recipe and seed."""
    answers = read_answers(images / "predictions.npz")
    return assembled(read_table(images / "results.csv"), read_table(images / "curves.csv"), answers)


def assembled(rows: list[Row], curves: list[Row], answers: Mapping[Key, Answers]) -> dict[Key, FullRun]:
    """Runs by data set, recipe and seed, from the typed rows of results.csv and curves.csv, and their answers."""
    histories: dict[Key, list[Row]] = {}
    for row in curves:
        histories.setdefault(key_of(row), []).append({name: row[name] for name in row if name not in KEY})
    facts = {key_of(row): row for row in rows}
    return {key: FullRun(row, histories.get(key, []), answers.get(key)) for key, row in facts.items()}


def read_store(root: Path | None = None) -> dict[Key, FullRun]:
    """The finished full runs of the run store, by data set, recipe and seed."""
    found = {}
    for directory in stored(root):
        row = flat(directory.record())
        found[key_of(row)] = FullRun(row, directory.history() or [], directory.test_answers())
    return found


def stored(root: Path | None = None) -> list[RunDirectory]:
    """Where the run store keeps its finished full runs; shorter ones are no results, nor are rehearsals."""
    full = [run for run in runs.finished_runs(root) if run.record()["profile"] == "full"]
    return [run for run in full if not is_rehearsal(run.record()["recipe"])]


def is_rehearsal(recipe: Mapping[str, Any]) -> bool:
    """Whether a run holds images out that its recipe trains on: it serves a decision, such as a cell of a rate grid."""
    return "holdout" in recipe["overridden"] and recipe["holdout"] > 0


def begun(curves: list[Row], results: list[Row]) -> dict[tuple[str, int], list[Row]]:
    """Histories so far of full runs on CIFAR-10 that are under way, by recipe and seed; from typed rows."""
    done, found = {key_of(row) for row in results}, {}
    for row in curves:
        if key_of(row) not in done and row["dataset"] == "cifar10":
            found.setdefault((row["recipe"], row["seed"]), []).append(row)
    return found


def read_table(path: Path) -> list[Row]:
    """Rows of a CSV file of images/, typed: numbers as int or float, absent values as None; none if it is missing."""
    return parse_table(path.read_text(encoding="utf-8")) if path.is_file() else []


def parse_table(text: str) -> list[Row]:
    """Rows of such a file's text, typed."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [{name: _typed(name, value) for name, value in row.items()} for row in rows]


def read_answers(path: Path) -> dict[Key, Answers]:
    """The answers of every published run; none if the file is missing."""
    if not path.is_file():
        return {}
    with np.load(path) as stored:
        arrays = dict(stored)
    found = {}
    for name in arrays:
        dataset, recipe, seed, kind = (name.split("/") + ["", "", ""])[:4]
        if kind == "predicted":
            rest = arrays[f"{dataset}/{recipe}/{seed}/confidence"], arrays[f"{dataset}/labels"]
            found[dataset, recipe, int(seed)] = Answers(arrays[name], *rest)
    return found


def answer_arrays(given: Mapping[Key, Answers]) -> dict[str, np.ndarray]:
    """Answers as the arrays of predictions.npz: "DATASET/RECIPE/SEED/predicted", ".../confidence", "DATASET/labels"."""
    arrays: dict[str, np.ndarray] = {}
    for (dataset, recipe, seed), answers in given.items():
        labels = arrays.setdefault(f"{dataset}/labels", answers.labels)
        if not np.array_equal(labels, answers.labels):
            raise ValueError(f"{recipe}, seed {seed}: its test images on {dataset} are not those of the other runs")
        arrays[f"{dataset}/{recipe}/{seed}/predicted"] = answers.predicted
        arrays[f"{dataset}/{recipe}/{seed}/confidence"] = answers.confidence
    return arrays


def flat(record: Mapping[str, Any]) -> Row:
    """A run's record as one flat row: its key, every field of its recipe, what came of it, and the versions used."""
    recipe = {name: value for name, value in record["recipe"].items() if name != "name"}
    recipe = {name: json.dumps(value) if isinstance(value, list | tuple) else value for name, value in recipe.items()}
    key = {name: record["recipe"]["name"] if name == "recipe" else record[name] for name in KEY}
    plain = {name: value for name, value in record.items() if value is None or isinstance(value, str | int | float)}
    return {**key, **recipe, **plain, **record.get("versions", {})}


def key_of(row: Mapping[str, Any]) -> Key:
    """Data set, recipe and seed of a row."""
    return row["dataset"], row["recipe"], int(row["seed"])


def _typed(name: str, text: str) -> Any:
    if name in TEXTS:
        return text or None
    if text in ("True", "False"):
        return text == "True"
    return runs.value_of(text)


def place(recipe: str, order: list[str]) -> int:
    """Where the recipe, or the one it overrides, stands in the order; behind all others if it is not there."""
    name = recipe.partition("+")[0]
    return order.index(name) if name in order else len(order)
