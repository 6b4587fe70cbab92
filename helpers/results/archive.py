"""Full runs on CIFAR-10: those published in images/ with those of the run store, and what others claimed."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helpers import files, recipes, training
from helpers.rates import sweeps
from helpers.results import weights
from helpers.training import Answers, Run, packed

IMAGES = files.REPO_ROOT / "images"
PART = 15_000_000  # bytes of a file outside images/, which is carried from machine to machine
KEY = ["dataset", "profile", "recipe", "seed"]
CIFAR10 = {"dataset": "cifar10", "profile": "full"}  # shorter runs and other data sets are no results
NUMBERED = ("seed", "epoch", "step")  # what orders the rows of a recipe
GRID = (  # columns of rate_grid.csv beside the key
    *("net", "epochs", "holdout", "max_lr", "min_lr", "logit_scale"),
    *("val_accuracy", "train_accuracy", "seconds", "device", "loader", "commit", "date"),
)
TEXTS = (  # columns that hold no numbers; a commit such as 12345e67 would pass for one
    *("dataset", "profile", "recipe", "sweep", "net", "schedule", "transforms", "statistics", "ease"),
    *("watches", "cuts", "overridden", "decides_on", "weights", "device", "loader"),
    *("commit", "date", "python", "torch", "torchvision", "albumentations", "numpy"),
)
Row = dict[str, Any]


class Claim(NamedTuple):
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
    return pd.read_csv(IMAGES / "claimed_curves.csv").groupby("recipe")["test_accuracy"].agg(list).to_dict()


def runs(images: Path | None = None, root: Path | None = None) -> pd.DataFrame:
    """A row of results.csv for each full run, published or of the run store, in the order of recipes and seeds.

    `run_seconds` is its time at the pace of the median epoch: during others the machine may have had other work.
    """
    found, curves = read("results.csv", images, root), histories(images, root)
    epochs = [[row["seconds"] for row in curves.get(run, ())] for run in zip(found["recipe"], found["seed"])]
    found["run_seconds"] = [len(seconds) * np.median(seconds) if seconds else np.nan for seconds in epochs]
    return found.sort_values("recipe", key=lambda names: names.map(place), kind="stable", ignore_index=True)


def place(recipe: str) -> int:
    """Where a recipe, or the one that it changes, stands among all; behind them if it is not there."""
    order, name = list(recipes.RECIPES), recipe.partition("+")[0]
    return order.index(name) if name in order else len(order)


def histories(images: Path | None = None, root: Path | None = None) -> dict[tuple[str, int], list[Row]]:
    """One row per epoch of each full run, finished or not, by recipe and seed; None for what was not measured."""
    curves = read("curves.csv", images, root)
    curves = curves.astype(object).where(curves.notna(), None)
    return {run: rows.drop(columns=KEY).to_dict("records") for run, rows in curves.groupby(["recipe", "seed"])}


def answers(run: Any, images: Path | None = None, root: Path | None = None) -> Answers | None:
    """What a run, a row of `runs`, said about every test image; None where that was not kept."""
    return all_answers(images, root).get(f"cifar10/{run.recipe}/{run.seed}")


def all_answers(images: Path | None = None, root: Path | None = None) -> dict[str, Answers]:
    """The answers of all full runs, by "cifar10/RECIPE/SEED", as the arrays of predictions.npz are named."""
    path = (images or IMAGES) / "predictions.npz"
    arrays = dict(np.load(path)) if path.is_file() else {}
    names = [name.removesuffix("/predicted") for name in arrays if name.endswith("/predicted")]
    labels = arrays.get("cifar10/labels")
    found = {name: Answers(arrays[f"{name}/predicted"], arrays[f"{name}/confidence"], labels) for name in names}
    ours = {f"cifar10/{name}/{seed}": run.answers() for (name, seed), run in finished(root).items()}
    return found | {name: said for name, said in ours.items() if said is not None}


def read(name: str, images: Path | None = None, root: Path | None = None) -> pd.DataFrame:
    """One of the `tables` with its numbers as such; where nothing was known, NaN, or "" among texts."""
    text = io.StringIO(tables(images, root)[name].to_csv(index=False))
    return pd.read_csv(text, dtype=dict.fromkeys(TEXTS, str)).fillna(dict.fromkeys(TEXTS, ""))


def tables(images: Path | None = None, root: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables of images/, where rows of the run store replace those of the same run; all cells are text."""
    images, full, (tests, steps) = images or IMAGES, finished(root), range_tests(root)
    results = merged(images / "results.csv", [flat(run.record()) for run in full.values()])
    known = set(zip(results["recipe"], results["seed"].astype(int)))
    begun = {key: run for key, run in stored(root).items() if key[0] in recipes.RECIPES and key not in known}
    curves = [
        {**CIFAR10, "recipe": recipe, "seed": seed, **epoch}
        for (recipe, seed), run in (full | begun).items()
        for epoch in run.history() or ()
    ]
    rows = {"curves.csv": curves, "rate_grid.csv": cells(root), "range_tests.csv": tests, "range_curves.csv": steps}
    return {"results.csv": results} | {name: merged(images / name, new) for name, new in rows.items()}


def merged(path: Path, rows: Iterable[Row]) -> pd.DataFrame:
    """A CSV file as a table of texts in which the given rows replace all those of the same runs."""
    old = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame(columns=KEY)
    new = pd.DataFrame(rows, dtype=object)
    if new.empty:
        return old
    new = new.where(new.notna(), "").astype(str)
    run = [*KEY, "sweep"] if "sweep" in old and "sweep" in new else KEY
    replaced = pd.MultiIndex.from_frame(old[run]).isin(pd.MultiIndex.from_frame(new[run]))
    both = pd.concat([old[~replaced], new]).fillna("")
    order = [name for name in (*KEY[:3], "sweep", *NUMBERED) if name in both]
    return both.sort_values(order, key=lambda column: column.astype(int) if column.name in NUMBERED else column)


def stored(root: Path | None) -> dict[tuple[str, int], Run]:
    """The run store's runs on CIFAR-10 under the full profile, by recipe and seed."""
    folders = sorted((root or training.runs_root()).glob("cifar10/full/*/seed-*"))
    return {(path.parent.name, int(path.name.removeprefix("seed-"))): Run(path) for path in folders}


def finished(root: Path | None) -> dict[tuple[str, int], Run]:
    """Those of them that are results: they have a record, and are no cells of a rate grid."""
    known = {key: (run, run.record()) for key, run in stored(root).items()}
    return {key: run for key, (run, record) in known.items() if record and not is_cell(record["recipe"])}


def is_cell(recipe: Mapping[str, Any]) -> bool:
    """Whether a run holds images out that its recipe trains on: it serves a decision, as cells of a rate grid do."""
    return "holdout" in recipe["overridden"] and recipe["holdout"] > 0


def flat(record: Mapping[str, Any]) -> Row:
    """A run's record as a row: its key, every field of its recipe, what came of it, and the versions used."""
    recipe = {name: json.dumps(v) if isinstance(v, list | tuple) else v for name, v in record["recipe"].items()}
    key = {name: recipe.pop("name") if name == "recipe" else record[name] for name in KEY}
    plain = {name: value for name, value in record.items() if not isinstance(value, list | dict)}
    return {**key, **recipe, **plain, **record.get("versions", {})}


def cells(root: Path | None) -> Iterator[Row]:
    """Rows of rate_grid.csv: the cells that have ended, without accuracies where they diverged."""
    for run in stored(root).values():
        path = run.path / "diverged.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else run.record()
        if record and is_cell(record["recipe"]):
            row = dict.fromkeys(GRID) | flat(record)
            yield {name: row[name] for name in (*KEY, *GRID)}


def range_tests(root: Path | None) -> tuple[list[Row], list[Row]]:
    """Rows of range_tests.csv, one for each test with what it suggests, and of range_curves.csv, one for each step."""
    tests, steps = [], []
    for key, test in sweeps.stored_sweeps(root or training.runs_root()):
        if key["profile"] == "full":
            facts = {name: test[name] for name in ("seconds", "device", "commit", "date")}
            versions = {name: test["versions"][name] for name in ("python", "torch")}
            tests.append({**key, "steps": len(test["lr"]), **sweeps.suggestions(test), **facts, **versions})
            points = enumerate(zip(test["lr"], test["loss"], test["accuracy"]))
            steps += [{**key, "step": i, "lr": lr, "loss": loss, "accuracy": right} for i, (lr, loss, right) in points]
    return tests, steps


def data(images: Path, root: Path | None = None) -> dict[Path, bytes]:
    """The files of images/ that the run store changes, as they are to be."""
    found = weights.to_publish(runs(images, root), images / "weights", root)
    for name, table in tables(images, root).items():
        if len(table):
            found[images / name] = table.to_csv(index=False, lineterminator="\n").encode()
    if said := all_answers(images, root):
        found[images / "predictions.npz"] = packed(arrays_of(said))
    return {path: new for path, new in found.items() if not path.exists() or path.read_bytes() != new}


def arrays_of(said: Mapping[str, Answers]) -> dict[str, np.ndarray]:
    """Answers as the arrays of predictions.npz; ValueError where runs were asked about different images."""
    found = {f"{name}/{kind}": getattr(one, kind) for name, one in said.items() for kind in ("predicted", "confidence")}
    for name, one in said.items():
        if not np.array_equal(one.labels, found.setdefault("cifar10/labels", one.labels)):
            raise ValueError(f"{name}: its test images are not those of the other runs")
    return found


def publish(folder: Path = IMAGES, root: Path | None = None) -> None:
    """Write what the run store changes into images/; or elsewhere, long files as parts NAME.0, NAME.1, …"""
    for path, content in data(IMAGES, root).items():
        target, pieces = folder / path.relative_to(IMAGES), {"": content}
        if len(content) > PART and folder != IMAGES:
            pieces = {f".{begin // PART}": content[begin : begin + PART] for begin in range(0, len(content), PART)}
        for suffix, piece in pieces.items():
            files.write_atomic(target.with_name(target.name + suffix), piece)
