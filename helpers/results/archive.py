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
KEY = ["dataset", "profile", "recipe", "seed"]
CELL = "+holdout="  # in the name of a run that holds images out to decide something: a cell of a rate grid
GRID = (  # columns of rate_grid.csv
    *(*KEY, "net", "epochs", "holdout", "max_lr", "min_lr", "logit_scale"),
    *("val_accuracy", "train_accuracy", "seconds", "device", "loader", "commit", "date"),
)
TEXTS = dict.fromkeys(("commit", "data_digest", "decides_on", "loader"), str)  # may look like numbers, or be empty
KINDS = ("predicted", "confidence")  # of arrays in predictions.npz; "cifar10/labels" are those of all runs
Row = dict[str, Any]


class Claim(NamedTuple):
    """The accuracy that a published project reported."""

    source: str  # owner/repository, and its session
    best: float | None  # test accuracy in [0, 1] of its best epoch, chosen on the test set; None where it is not known
    last: float | None  # of its last epoch
    note: str  # how its net, its schedule or its measurement differs from what they are taken for, if it does

    def __str__(self) -> str:
        """ "best 91.86 %, last 91.61 %"."""
        known = {"best": self.best, "last": self.last}
        return ", ".join(f"{name} {100 * value:.2f} %" for name, value in known.items() if value is not None)


def claims() -> dict[str, Claim]:
    """What the published projects reported, by the recipe that trains as they did."""
    table = pd.read_csv(IMAGES / "claims.csv", index_col="recipe").fillna({"note": ""}).astype(object)
    return {row.Index: Claim(*row[1:]) for row in table.where(table.notna(), None).itertuples()}


def claimed_curves() -> dict[str, list[float]]:
    """Test accuracies in [0, 1] of every epoch, by recipe, of the published projects whose logs can be read."""
    return pd.read_csv(IMAGES / "claimed_curves.csv").groupby("recipe")["test_accuracy"].agg(list).to_dict()


def runs(images: Path | None = None, root: Path | None = None) -> pd.DataFrame:
    """A row of results.csv for each full run, published or of the run store, in the order of recipes and seeds.

    `run_seconds` is its time at the median pace, of epochs with small images and of others: some had a busy machine.
    """
    found, run = read("results.csv", images, root), ["recipe", "seed"]
    epochs = read("curves.csv", images, root).reindex(columns=[*run, "epoch", "seconds"])
    epochs = epochs.merge(found.reindex(columns=[*run, "small_epochs"]), on=run)
    kinds = epochs.groupby([*run, epochs["epoch"] <= epochs["small_epochs"]])["seconds"]
    pace = (kinds.median() * kinds.size()).groupby(run).sum()
    found = found.merge(pace.rename("run_seconds"), "left", run)
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


def answers(images: Path | None = None, root: Path | None = None) -> dict[str, Answers]:
    """What full runs said about every test image, where that was kept, by "cifar10/RECIPE/SEED"."""
    path = (images or IMAGES) / "predictions.npz"
    arrays = dict(np.load(path)) if path.is_file() else {}
    names = {name.rpartition("/")[0] for name in arrays} - {"cifar10"}
    found = {name: Answers(*(arrays[f"{name}/{kind}"] for kind in KINDS), arrays["cifar10/labels"]) for name in names}
    ours = {f"cifar10/{name}/{seed}": run.answers() for (name, seed), run in stored(root).items() if CELL not in name}
    return found | {name: said for name, said in ours.items() if said is not None}


def read(name: str, images: Path | None = None, root: Path | None = None) -> pd.DataFrame:
    """One of the `tables` with its numbers as such; where nothing was known, NaN, or "" among texts."""
    text = io.StringIO(tables(images, root)[name].to_csv(index=False))
    return pd.read_csv(text, dtype=TEXTS).fillna(dict.fromkeys(TEXTS, ""))


def tables(images: Path | None = None, root: Path | None = None) -> dict[str, pd.DataFrame]:
    """The tables of images/, where rows of the run store replace those of the same run; all cells are text."""
    images, store = images or IMAGES, stored(root)
    full = {key: run for key, run in store.items() if CELL not in key[0] and run.record()}
    results = merged(images / "results.csv", (flat(run.record()) for run in full.values()))
    known = set(zip(results["recipe"], results["seed"].astype(int)))
    begun = {key: run for key, run in store.items() if key[0] in recipes.RECIPES and key not in known}
    curves = (
        {"dataset": "cifar10", "profile": "full", "recipe": recipe, "seed": seed, **epoch}
        for (recipe, seed), run in (full | begun).items()
        for epoch in run.history() or ()
    )
    points = sweeps.stored(root or training.runs_root())
    rows = {"curves.csv": curves, "rate_grid.csv": cells(root), "range_curves.csv": points}
    return {"results.csv": results} | {name: merged(images / name, new) for name, new in rows.items()}


def merged(path: Path, rows: Iterable[Row]) -> pd.DataFrame:
    """A CSV file as a table of texts in which the given rows replace all those of the same runs."""
    old = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame(columns=KEY)
    new = pd.DataFrame(rows, dtype=object)
    if new.empty:
        return old
    new = new.where(new.notna(), "").astype(str)
    run = [name for name in ("recipe", "sweep", "seed") if name in new]
    replaced = pd.MultiIndex.from_frame(old.reindex(columns=run)).isin(pd.MultiIndex.from_frame(new[run]))
    both = pd.concat([old[~replaced], new]).fillna("")
    order = run + [name for name in ("epoch", "step") if name in new]
    return both.sort_values(order, key=lambda column: column if column.name in run[:-1] else column.astype(int))


def stored(root: Path | None) -> dict[tuple[str, int], Run]:
    """The run store's runs on CIFAR-10 under the full profile, by recipe and seed; one is where its record says."""
    folders = files.full_runs(root or training.runs_root())
    found = {(path.parent.name, seed): Run(path) for path, seed in folders.items()}
    placed = {key: training.run_of(one, root) if (one := run.record()) else run for key, run in found.items()}
    return {key: run for key, run in found.items() if run == placed[key]}


def cells(root: Path | None) -> Iterator[Row]:
    """Rows of rate_grid.csv: the cells that have ended, without accuracies where they diverged."""
    for (name, _), run in stored(root).items():
        path = run.path / "diverged.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else run.record()
        if record and CELL in name:
            row = flat(record)
            yield {name: row.get(name) for name in GRID}


def flat(record: Mapping[str, Any]) -> Row:
    """A run's record as a row: its key, every field of its recipe, what came of it, and the versions used."""
    recipe = {name: json.dumps(v) if isinstance(v, list | tuple) else v for name, v in record["recipe"].items()}
    key = {name: recipe.pop("name") if name == "recipe" else record[name] for name in KEY}
    plain = {name: value for name, value in record.items() if not isinstance(value, list | dict)}
    return {**key, **recipe, **plain, **record.get("versions", {})}


def data(images: Path, root: Path | None = None) -> dict[Path, bytes]:
    """The files of images/ that the run store changes, as they are to be."""
    found = weights.to_publish(runs(images, root), images / "weights", root)
    for name, table in tables(images, root).items():
        if len(table):
            found[images / name] = table.to_csv(index=False, lineterminator="\n").encode()
    if said := answers(images, root):
        arrays = {f"{name}/{kind}": getattr(one, kind) for name, one in said.items() for kind in KINDS}
        found[images / "predictions.npz"] = packed(arrays | {"cifar10/labels": next(iter(said.values())).labels})
    return {path: new for path, new in found.items() if not path.exists() or path.read_bytes() != new}


def publish(folder: Path = IMAGES, root: Path | None = None) -> None:
    """Write the files of images/ that the run store changes there, or into another folder."""
    for path, content in data(IMAGES, root).items():
        files.write_atomic(folder / path.relative_to(IMAGES), content)
