"""Train the runs that the published tables need, in order: python -m helpers.results.campaign SECONDS.

What lies in the run store is taken up, what ends is published, and it may be killed and started again at any time. On a
CPU one run is trained at a time, and goes on in the next call. On a GPU a minute of trial comes first, then as many are
trained at a time as memory and cores bear, and only those that can end in time. Without seconds it shows how far every
run has come.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from helpers import devices, files, recipes, training
from helpers.data import datasets
from helpers.results import archive, rate_grid
from helpers.training import runs as store
from helpers.training.__main__ import DIVERGED
from helpers.training.__main__ import main as train_one

DAVIDNETS = ("davidnet-onecycle", "davidnet-onecycle-plus")
ORDER = (
    *((name, 0) for name in DAVIDNETS),
    *((f"published-{name}", 0) for name in ("d", "b1", "e-step", "e-plateau", "a", "c", "b2")),
    *((name, 0) for name in ("resnet18-plateau", "resnet18-onecycle")),
    *((name, seed) for seed in (1, 2) for name in DAVIDNETS),
)
DONE, NO_GRID = "done", "waiting for its rate grid"
TRIAL_SECONDS = 60  # for all trials together
START_SECONDS = 20  # of a training's process: libraries, data, nets
CORES_EACH = 3  # of a training beside others: its own thread, and those that make its batches
Run = tuple[str, int]  # a recipe's name, overrides included, and a seed
Kind = tuple[Any, ...]
Pace = tuple[float, int]  # seconds of an epoch, its tests included, and bytes of device memory


def states() -> dict[Run, str]:
    """All runs in order, the cells of rate grids as far as they can be told: "done", "3 of 24 epochs" or "waiting"."""
    tables = [archive.read(name) for name in ("results.csv", "rate_grid.csv")]
    done = {run for table in tables for run in zip(table["recipe"], table["seed"])}
    cells, undecided = [], set()
    for grid in rate_grid.GRIDS:
        known = rate_grid.read(grid)
        cells += [(rate_grid.recipe_of(grid, rates).name, seed) for rates, seed in rate_grid.cells(grid, known)]
        if rate_grid.chosen(grid, known) != rate_grid.rates_of(recipes.get(grid.recipe).to_dict()):
            undecided.add(grid.recipe)
    return {run: DONE if run in done else NO_GRID if run[0] in undecided else progress(run) for run in (*cells, *ORDER)}


def progress(run: Run) -> str:
    """ "3 of 24 epochs" or "waiting"."""
    epochs = epochs_done(run)
    return f"{epochs} of {recipes.get(run[0]).epochs} epochs" if epochs else "waiting"


def epochs_done(run: Run) -> int:
    """Epochs that a run has come to in the run store."""
    return len(training.run_directory("cifar10", "full", *run).history() or ())


def in_turn(on_gpu: bool) -> list[Run]:
    """The runs to train, the next first: on a CPU those that were begun, on a GPU those of the slower net."""
    waiting = [run for run, state in states().items() if state not in (DONE, NO_GRID)]
    return sorted(waiting, key=lambda run: recipes.get(run[0]).net != "resnet18" if on_gpu else not epochs_done(run))


def overview() -> str:
    """One line per run, with its state."""
    return "\n".join(f"{name}, seed {seed}: {state}" for (name, seed), state in states().items())


# ---- how fast a run will be on a GPU, found by training a little of it ----


def kind(recipe: recipes.Recipe) -> Kind:
    """What decides a run's pace; runs of one kind need one trial."""
    return recipe.net, recipe.batch_size, recipe.transforms, recipe.ema_epochs > 0


def trial(name: str) -> Pace:
    """Train two epochs of a tenth of the images, and read the checkpoint again; any failure raises as it comes."""
    data, recipe = datasets.load("cifar10"), recipes.get(name)
    few = data.subset(len(data.train) // 10, len(data.test) // 10)
    short = recipes.get(name, {"epochs": 2, "holdout": recipe.holdout // 10})
    with tempfile.TemporaryDirectory() as folder:
        training.fit(short, few, profile="full", root=Path(folder), hidden=True)
        next(Path(folder).rglob("record.json")).unlink()  # as if it had been killed after the last epoch
        fitted = training.fit(short, few, profile="full", root=Path(folder), hidden=True)
    memory = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return 10 * fitted.history[-1]["seconds"], memory


def trials(wanted: Iterable[Run]) -> dict[Kind, Pace]:
    """The pace of every kind among some runs, each tried in a process of its own; what fails is named and left out."""
    first: dict[Kind, str] = {}
    for name, _ in wanted:
        first.setdefault(kind(recipes.get(name)), name.partition("+")[0])
    started = {
        key: child("--trial", name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for key, name in first.items()
    }
    found, end = {}, time.monotonic() + TRIAL_SECONDS
    for key, process in started.items():
        try:
            said = process.communicate(timeout=max(1.0, end - time.monotonic()))[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"no answer within {TRIAL_SECONDS} s"
        *_, last = ["it said nothing", *said.strip().splitlines()]
        if process.returncode == 0:
            found[key] = tuple(json.loads(last))
        else:
            print(f"{first[key]}: left out, its trial failed: {last}", flush=True)
    return found


def fits(run: Run, paces: Mapping[Kind, Pace], at_a_time: int, seconds: float) -> bool:
    """Whether a run can end in time even if the device is shared evenly; never one whose trial failed."""
    recipe = recipes.get(run[0])
    pace, _ = paces.get(kind(recipe), (float("inf"), 0))
    return (recipe.epochs - epochs_done(run)) * pace * at_a_time + START_SECONDS < seconds


def side_by_side(memory: int) -> int:
    """How many trainings of so many bytes a GPU and its cores bear at a time."""
    if not torch.cuda.is_available():
        return 1
    room = torch.cuda.get_device_properties(0).total_memory // (1.2 * memory + 600e6)  # and what each process takes
    return int(max(1, min(devices.cores() // CORES_EACH, room)))


# ---- training them ----


def train(end: float, out: Path) -> None:
    """Train what fits, one after another or side by side, until time is up or nothing is left; publish what ends."""
    on_gpu = devices.compute().device != "cpu"
    paces = trials(in_turn(on_gpu)) if on_gpu else {}
    at_a_time = side_by_side(max((memory for _, memory in paces.values()), default=0))
    under_way: dict[Run, subprocess.Popen] = {}
    failed: set[Run] = set()
    try:
        while True:
            for run in in_turn(on_gpu):
                busy = len(under_way) == at_a_time or run in under_way or run in failed
                if not busy and (not on_gpu or fits(run, paces, at_a_time, end - time.monotonic())):
                    under_way[run] = start(run, at_a_time)
            publish(out)
            ended = wait_for_one(under_way, end)
            if not ended:
                return
            failed |= {run for run in ended if not succeeded(run, under_way.pop(run).returncode)}
    finally:
        for process in under_way.values():
            process.terminate()
            process.wait()
        publish(out)


def start(run: Run, at_a_time: int) -> subprocess.Popen:
    """Begin or go on with a run; beside others it writes to a log."""
    name, seed = run
    print(f"{name}, seed {seed}: {states()[run]}", flush=True)
    arguments = (name, "--dataset", "cifar10", "--profile", "full", "--seed", str(seed))
    if at_a_time == 1:
        return child("--train", *arguments)
    threads = {"OMP_NUM_THREADS": str(max(1, devices.cores() // at_a_time)), "HELPERS_BAR_SECONDS": "60"}
    log = training.runs_root() / "logs" / f"campaign-{name}-seed-{seed}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        return child("--train", *arguments, stdout=file, stderr=file, env=threads)


def child(mode: str, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen:
    """This module in a process of its own that leaves when this one is gone; see `main`."""
    command = [sys.executable, "-m", "helpers.results.campaign", mode, str(os.getpid()), *arguments]
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(env or {})}  # waiting threads leave the cores to others
    return subprocess.Popen(command, env=variables, text=True, **streams)


def wait_for_one(under_way: Mapping[Run, subprocess.Popen], end: float) -> list[Run]:
    """The runs that have ended, once there is one; none when time is up."""
    while under_way and time.monotonic() < end:
        if ended := [run for run, process in under_way.items() if process.poll() is not None]:
            return ended
        time.sleep(0.2)
    return []


def succeeded(run: Run, status: int) -> bool:
    """Say how a run ended; of a cell that diverged leave word in the run store, as it is to be published, too."""
    name, seed = run
    told = {0: "done", DIVERGED: "diverged"}.get(status, f"failed with exit status {status}")
    print(f"{name}, seed {seed}: {told}", flush=True)
    recipe = recipes.get(name)
    if status == DIVERGED and archive.is_cell(recipe.to_dict()):
        made_by = {"device": devices.compute().describe(), **store.provenance()}
        record = {"dataset": "cifar10", "profile": "full", "seed": seed, "recipe": recipe.to_dict(), **made_by}
        path = training.run_directory("cifar10", "full", name, seed).path / "diverged.json"
        files.write_atomic(path, json.dumps(record, indent=2) + "\n")
        return True
    return status == 0


def publish(out: Path) -> None:
    """Write what all runs have left so far into a folder of published data, or say what speaks against it."""
    try:
        archive.publish(out)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"not published: {error}", flush=True)


# ---- command line ----


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status. `--train PID …` and `--trial PID RECIPE` are calls of its own."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["--train"], ["--trial"]):
        leave_with(int(given[1]))
        if given[0] == "--train":
            return train_one(given[2:])
        print(json.dumps(trial(given[2])))
        return 0
    parser = argparse.ArgumentParser(prog="python -m helpers.results.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=0.0, help="how long to train; without: only show")
    parser.add_argument("--out", type=Path, default=archive.IMAGES, help="write results there, not into images/")
    call = parser.parse_args(given)
    try:
        return alone(call.seconds, call.out.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def alone(seconds: float, out: Path) -> int:
    """Train for so long, unless another campaign is under way in the run store, and show the state of every run."""
    root, end = training.runs_root(), time.monotonic() + seconds

    def refuse() -> None:
        raise RuntimeError(f"another campaign is under way in {root}")

    if seconds:
        root.mkdir(parents=True, exist_ok=True)
        try:
            with files.exclusive(root / ".campaign.lock", refuse):
                train(end, out)
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on after the last finished epoch", file=sys.stderr)
            return 130
    print(overview(), flush=True)
    return 0


def leave_with(parent: int) -> None:
    """End this process once the one that started it is gone, even by SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # also in a background job, which ignores the first
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
