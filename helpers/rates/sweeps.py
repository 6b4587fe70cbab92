"""Range tests on disk: each sweep is kept beside the runs of its recipe, so that it has to be run only once.

`python -m helpers.rates.sweeps RECIPE` runs them without a notebook. Those of the published recipes lie in images/.
"""

import argparse
import csv
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helpers import files, recipes
from helpers.data import Dataset, DatasetError
from helpers.files import write_atomic
from helpers.rates import range_test
from helpers.rates.rate_curves import NAMES, SCALES, Curve, Sweep, spread, suggest
from helpers.recipes import Recipe
from helpers.training import progress, runs
from helpers.training.settings import Setting

PUBLISHED = files.REPO_ROOT / "images" / "range_curves.csv"
SCHEDULE = ("name", "epochs", "schedule", "max_lr", "min_lr", "peak", "factor", "patience", "ema_epochs")
LEFT_OUT = (*SCHEDULE, "claim", "overridden")  # fields of a recipe that a sweep does not see


def kept(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",
    *,
    profile: str = "auto",
    seed: int = 0,
    sweep: Sweep | None = None,
    validate: int = 0,
) -> Curve:
    """The curve of `range_test.for_recipe`, from the run store where it was measured before under these settings.

    Raises:
        RunError: the file of the sweep is damaged.
    """
    setting = Setting.of(recipe, dataset, profile, seed)
    sweep = sweep or range_test.default_sweep(setting.profile)
    settings = _settings(setting, sweep, validate)
    directory = runs.run_directory(setting.dataset.name, setting.profile, setting.recipe.name, seed)
    path = directory.path.parent / "range-tests" / f"{key(sweep, validate)}-seed-{seed}.json"
    stored = _stored(path)
    if stored.get("settings") != settings:
        with runs.RunDirectory(path.parent).lock(lambda: progress.say("another process sweeps; waiting for it to end")):
            stored = _stored(path)  # it may have measured this one
            if stored.get("settings") != settings:
                stored = _measure(setting, sweep, validate)
                stored["settings"] = settings
                write_atomic(path, json.dumps(stored) + "\n")
    return _curve(stored, sweep)


def published(recipe: str, sweep: Sweep, path: Path = PUBLISHED) -> list[Curve]:
    """The published curves of a recipe's sweep on CIFAR-10, at full scale; one per seed, in the order of seeds."""
    points: dict[int, list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["dataset"], row["recipe"], row["sweep"]) == ("cifar10", recipe, key(sweep)):
                points.setdefault(int(row["seed"]), []).append(row)
    curves = []
    for seed, rows in sorted(points.items()):
        lr, loss, accuracy = (np.array([float(row[name]) for row in rows]) for name in ("lr", "loss", "accuracy"))
        curves.append(Curve(lr, loss, accuracy, sweep, f"{recipe}, CIFAR-10, seed {seed}"))
    return curves


def key(sweep: Sweep, validate: int = 0) -> str:
    """A sweep's name in files: "exp-0.0001-10-100", with "-validate-500" where it was validated."""
    name = f"{sweep.scale}-{sweep.start_lr:g}-{sweep.end_lr:g}-{sweep.steps}"
    return f"{name}-validate-{validate}" if validate else name


def stored_sweeps(runs_root: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every sweep of the run store: what it is in one flat row, and all that its file holds."""
    for path in sorted(runs_root.glob("*/*/*/range-tests/*-seed-*.json")):
        dataset, profile, recipe = path.parts[-5:-2]
        name, _, seed = path.stem.rpartition("-seed-")
        row = {"dataset": dataset, "profile": profile, "recipe": recipe, "seed": int(seed), "sweep": name}
        yield row, _stored(path)


def suggestions(stored: Mapping[str, Any]) -> dict[str, float | None]:
    """What a stored sweep suggests, by name; None where its curve does not show it."""
    found = suggest(_curve(stored, Sweep(**stored["settings"]["sweep"])))
    return {name: getattr(found, name) for name in NAMES}


def _stored(path: Path) -> dict[str, Any]:
    """What the file of a sweep holds, nothing where there is none."""
    return runs.read_json(path, "delete it to measure this sweep anew") if path.exists() else {}


def _measure(setting: Setting, sweep: Sweep, validate: int) -> dict[str, Any]:
    started = time.perf_counter()
    curve = range_test.of_setting(setting, sweep, validate)
    columns = {name: [float(f"{x:.6g}") for x in getattr(curve, name)] for name in ("lr", "loss", "accuracy")}
    facts = {"seconds": round(time.perf_counter() - started, 1), "device": setting.compute.describe()}
    return {**columns, "about": curve.about, **facts, "loader": setting.loader_path, **runs.provenance()}


def _settings(setting: Setting, sweep: Sweep, validate: int) -> dict[str, Any]:
    """Everything a curve depends on, as plain JSON values; but for number format and loader, which move it little."""
    recipe = {name: value for name, value in setting.recipe.to_dict().items() if name not in LEFT_OUT}
    rest = {"n_train": len(setting.dataset.train), "sweep": dataclasses.asdict(sweep), "validate": validate}
    return json.loads(json.dumps({**recipe, **rest}))


def _curve(stored: Mapping[str, Any], sweep: Sweep) -> Curve:
    lr, loss, accuracy = (np.array(stored[name], dtype=np.float64) for name in ("lr", "loss", "accuracy"))
    return Curve(lr, loss, accuracy, sweep, stored["about"])


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.rates.sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--start", type=float, metavar="RATE")
    parser.add_argument("--end", type=float, metavar="RATE")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--scale", choices=SCALES)
    parser.add_argument("--validate", type=int, default=0, metavar="IMAGES", help="measure on held-out images")
    given = parser.parse_args(arguments)
    try:
        _report(given)
    except (ValueError, OSError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the sweep it was at", file=sys.stderr)
        return 130
    return 0


def _report(given: argparse.Namespace) -> None:
    """Run the sweeps asked for, and print what each suggests and how far they lie apart."""
    names = {"start_lr": given.start, "end_lr": given.end, "steps": given.steps, "scale": given.scale}
    asked = {name: value for name, value in names.items() if value is not None}
    default = range_test.default_sweep(given.profile)
    sweep = dataclasses.replace(default, **asked)
    found = []
    for seed in given.seeds:
        curve = kept(
            given.recipe, given.dataset, profile=given.profile, seed=seed, sweep=sweep, validate=given.validate
        )
        found.append(suggest(curve))
        print(curve.about, *(f"{name} {rate:.3g}" for name, rate in found[-1].rates().items()), sep="  ")
        for problem in found[-1].problems:
            print(f"  {problem}")
    for name, among in spread(found).items():
        print(f"{name:<14}{among.middle:.3g}  ({among.low:.3g} to {among.high:.3g}, n = {among.count})")


if __name__ == "__main__":
    sys.exit(main())
