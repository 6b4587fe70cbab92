"""Train the runs that the published tables need, in order: python -m helpers.results.campaign SECONDS.

What lies in the run store is taken up, what ends is published, and it may be stopped and started again at any time. On
a CPU one run is trained at a time. On a GPU every kind of run is tried first, then as many are trained side by side as
memory and cores bear, and only those that can end in time. Without seconds it only shows
what is waiting.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from subprocess import Popen
from typing import Any

import torch

from helpers import data, devices, files, recipes, training
from helpers.rates import grid as rate_grid
from helpers.results import archive
from helpers.training import store
from helpers.training.__main__ import DIVERGED

DAVIDNETS = ("davidnet-onecycle", "davidnet-onecycle-plus")
ORDER = (
    *((name, 0) for name in DAVIDNETS),
    *((f"published-{name}", 0) for name in ("d", "b1", "e-step", "e-plateau", "a", "c", "b2")),
    *(("resnet18-plateau", 0), ("resnet18-onecycle", 0)),
    *((name, seed) for seed in (1, 2) for name in DAVIDNETS),
)
START_SECONDS = 20  # of a training's process: libraries, data, nets
CORES_EACH = 3  # of a training beside others: its own thread, and those that make its batches
Key = tuple[str, int]  # a recipe's name, overrides included, and a seed
Kind = tuple[Any, ...]  # what decides a run's pace: net, loader and optimizer


def waiting(on_gpu: bool = False) -> dict[Key, int]:
    """The runs to be trained and the epochs that each has come to; cells of rate grids as far as they can be told.

    The next is first: on a CPU those that were begun, on a GPU those of the slower net. A recipe waits for its grid.
    """
    tables = [archive.read(name) for name in ("results.csv", "rate_grid.csv")]
    done = {key for table in tables for key in zip(table["recipe"], table["seed"])}
    cells, undecided = [], []
    for grid in rate_grid.GRIDS:
        found = rate_grid.read(grid, tables[1])
        cells += [(rate_grid.recipe_of(grid, rates).name, seed) for rates, seed in rate_grid.cells(grid, found)]
        if rate_grid.chosen(grid, found) != rate_grid.rates_of(recipes.get(grid.recipe).to_dict()):
            undecided.append(grid.recipe)
    keys = [key for key in (*cells, *ORDER) if key not in done and key[0] not in undecided]
    epochs = {key: len(training.run_directory("cifar10", "full", *key).history() or ()) for key in keys}
    keys.sort(key=lambda key: recipes.get(key[0]).net != "resnet18" if on_gpu else not epochs[key])
    return {key: epochs[key] for key in keys}


def kind(key: Key) -> Kind:
    """The kind of a run; those of one kind need one trial."""
    recipe = recipes.get(key[0])
    return recipe.net, recipe.batch_size, recipe.transforms, recipe.ema_epochs > 0


def trial(name: str) -> float:
    """Seconds of a recipe's epoch, its tests included: trains two epochs on a tenth of the images."""
    few = data.load("cifar10").subset(5_000, 1_000)
    recipe = recipes.get(name, {"epochs": 2, "holdout": recipes.get(name).holdout // 10})
    with tempfile.TemporaryDirectory() as folder:
        fitted = training.fit(recipe, few, profile="full", root=Path(folder), hidden=True)
    return 10 * fitted.history[-1]["seconds"]


def trials(keys: Iterable[Key]) -> dict[Kind, float]:
    """The pace of every kind among some runs; those that fail are named and left out."""
    paces = {}
    for one, (name, _) in {kind(key): key for key in keys}.items():
        try:
            paces[one] = trial(name)
        except Exception as error:
            print(f"{name}: left out, its trial failed: {error}", flush=True)
        torch.cuda.empty_cache()
    return paces


def side_by_side() -> int:
    """How many trainings the cores bear at a time, and the device's memory, each with that of the largest trial."""
    if not torch.cuda.is_available():
        return 1
    most = 1.2 * torch.cuda.max_memory_reserved() + 600e6  # and what each process takes
    room = torch.cuda.get_device_properties(0).total_memory // most
    return int(max(1, min(devices.cores() // CORES_EACH, room)))


def train(end: float, out: Path) -> None:
    """Train what fits, one after another or side by side, until time is up or nothing is left; publish what ends."""
    on_gpu = devices.compute().device != "cpu"
    paces = trials(waiting()) if on_gpu else {}
    at_a_time = side_by_side() if on_gpu else 1
    under_way: dict[Key, Popen] = {}
    begun: set[Key] = set()
    try:
        while time.monotonic() < end:
            for key, epochs in waiting(on_gpu).items():
                left = recipes.get(key[0]).epochs - epochs
                needed = START_SECONDS + left * at_a_time * paces.get(kind(key), torch.inf) if on_gpu else 0
                if len(under_way) < at_a_time and key not in begun and time.monotonic() + needed < end:
                    under_way[key] = start(key, at_a_time)
                    begun.add(key)
            archive.publish(out)
            if not under_way:
                return
            while time.monotonic() < end and all(process.poll() is None for process in under_way.values()):
                time.sleep(0.2)
            for key in [key for key, process in under_way.items() if process.poll() is not None]:
                note_end(key, under_way.pop(key).returncode)
    finally:
        for process in under_way.values():
            process.terminate()
            process.wait()
        archive.publish(out)


def start(key: Key, at_a_time: int) -> Popen:
    """Begin or go on with a run; beside others it writes to a log."""
    name, seed = key
    print(f"{name}, seed {seed}: training", flush=True)
    asked = [sys.executable, "-m", "helpers.training", name, "--dataset", "cifar10", "--profile", "full"]
    asked += ["--seed", str(seed)]
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # threads that wait leave the cores to others
    if at_a_time == 1:
        return Popen(asked, env=variables)
    variables |= {"OMP_NUM_THREADS": str(max(1, devices.cores() // at_a_time)), "TQDM_MININTERVAL": "60"}
    path = training.runs_root() / "logs" / f"campaign-{name}-seed-{seed}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as log:
        return Popen(asked, env=variables, stdout=log, stderr=log)


def note_end(key: Key, status: int) -> None:
    """Say how a run ended; of a cell that diverged this is the result, its rates are too high: diverged.json tells."""
    name, seed = key
    print(f"{name}, seed {seed}: {f'exit status {status}' if status else 'done'}", flush=True)
    if status == DIVERGED and archive.CELL in name:
        record = {"dataset": "cifar10", "profile": "full", "seed": seed, "recipe": recipes.get(name).to_dict()}
        record |= {"device": devices.compute().describe(), **store.provenance()}
        path = training.run_directory("cifar10", "full", *key).path / "diverged.json"
        files.write_atomic(path, json.dumps(record, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Command line. Stopped by Ctrl-C or SIGTERM, it ends as when time is up."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=0.0, help="how long to train; without: only show")
    parser.add_argument("--out", type=Path, default=archive.IMAGES, help="write results there, not into images/")
    given = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        if given.seconds:
            train(time.monotonic() + given.seconds, given.out.resolve())
    for (name, seed), epochs in waiting().items():
        print(f"{name}, seed {seed}: {epochs} of {recipes.get(name).epochs} epochs", flush=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    main()
