"""Train the runs that the published tables need, in order: python -m helpers.results.campaign SECONDS.

What lies in the run store is taken up, what ends is published, and it may be killed and started again at any time. On a
CPU one run is trained at a time, and goes on in the next call. On a GPU there are as many as memory and cores bear, and
none that cannot end in time at the pace of its recipe's other runs. Without seconds it tells their states.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from helpers import devices, files, recipes, training
from helpers.rates import grid as rate_grid
from helpers.results import archive
from helpers.training import __main__ as command_line
from helpers.training import store

DAVIDNETS = ("davidnet-onecycle", "davidnet-onecycle-plus")
FORMS = ("peak=0.2083", "ease=rex", "ease=cosine+head_lr=2685.0+max_lr=0.255+shift_lr=213.0")  # at their best rates
CHANGES = ("whiten=False", "label_smoothing=0.0", "small_epochs=0", *FORMS)  # of sprint, one a run
ORDER = (
    *((name, seed) for seed in range(10) for name in ("sprint", "speedrun")),
    *((name, 0) for name in DAVIDNETS),
    *((f"published-{name}", 0) for name in ("d", "b1", "e-step", "e-plateau", "a", "c", "b2")),
    *((name, 0) for name in ("resnet18-plateau", "resnet18-onecycle")),
    *((name, seed) for seed in (1, 2) for name in DAVIDNETS),
    *((f"sprint+{change}", seed) for seed in range(5, 10) for change in CHANGES),  # of which sprint is in bf16
)
START_SECONDS = 20  # of a training's process: libraries, data, nets
CORES_EACH, BYTES_EACH = 3, 6e9  # of a training beside others: its own thread and those of its batches; on the GPU
DONE, NO_RATES = "done", "waiting until its recipe has the rates of its grid"
Key = tuple[str, int]  # a run: its recipe's name, overrides included, and a seed


def states() -> dict[Key, str]:
    """All runs in order, cells of rate grids as far as they can be told: "done", "3 of 24 epochs" or "waiting"."""
    results, cells = archive.read("results.csv"), archive.read("rate_grid.csv")
    done = {*zip(results["recipe"], results["seed"]), *zip(cells["recipe"], cells["seed"])}
    runs, undecided = [], []
    for grid in rate_grid.GRIDS:
        found = rate_grid.read(grid, cells)
        runs += [(rate_grid.recipe_of(grid, rates).name, seed) for rates, seed in rate_grid.cells(grid, found)]
        if rate_grid.chosen(grid, found) != rate_grid.rates_of(recipes.get(grid.recipe).to_dict()):
            undecided.append(grid.recipe)
    told = {}
    for run in (*runs, *ORDER):
        epochs = epochs_done(run)
        waiting = f"{epochs} of {recipes.get(run[0]).epochs} epochs" if epochs else "waiting"
        told[run] = DONE if run in done else NO_RATES if run[0] in undecided else waiting
    return told


def epochs_done(run: Key) -> int:
    """Epochs that a run has come to in the run store."""
    return len(training.run_directory("cifar10", "full", *run).history() or ())


def in_turn(on_gpu: bool) -> list[Key]:
    """The runs to train, the next first: on a CPU those that were begun, on a GPU those of the slower net."""
    waiting = [run for run, state in states().items() if state not in (DONE, NO_RATES)]
    return sorted(waiting, key=lambda run: recipes.get(run[0]).net != "resnet18" if on_gpu else not epochs_done(run))


def pace(run: Key) -> float:
    """Seconds of an epoch, its tests included, in the store's runs of the same recipe, changed ones too; 0 for none."""
    recipe = run[0].partition("+")[0]
    alike = (one for (name, _), one in archive.stored(None).items() if name.partition("+")[0] == recipe)
    seconds = [row["seconds"] for one in alike for row in one.history() or ()]
    return median(seconds) if seconds else 0.0


def side_by_side() -> int:
    """How many trainings the device's memory and the cores bear at a time."""
    if devices.compute().device != "cuda":
        return 1
    room = torch.cuda.get_device_properties(0).total_memory // BYTES_EACH
    return int(max(1, min(devices.cores() // CORES_EACH, room)))


# ---- training ----


def train(end: float, out: Path) -> None:
    """Train what fits, one after another or side by side, until time is up or nothing is left; publish what ends."""
    on_gpu = devices.compute().device != "cpu"
    at_a_time = side_by_side()
    under_way: dict[Key, subprocess.Popen] = {}
    failed: set[Key] = set()
    try:
        while True:
            for run in in_turn(on_gpu):
                free = len(under_way) < at_a_time and run not in under_way and run not in failed
                left = recipes.get(run[0]).epochs - epochs_done(run)
                if free and (not on_gpu or time.monotonic() + START_SECONDS + left * pace(run) < end):
                    under_way[run] = start(run, at_a_time)
            publish(out)
            while under_way and time.monotonic() < end and all(one.poll() is None for one in under_way.values()):
                time.sleep(0.2)
            ended = [run for run, process in under_way.items() if process.poll() is not None]
            if not ended:
                return
            failed |= {run for run in ended if not succeeded(run, under_way.pop(run).returncode)}
    finally:
        for process in under_way.values():
            process.terminate()
            process.wait()
        publish(out)


def start(run: Key, at_a_time: int) -> subprocess.Popen:
    """Begin or go on with a run; beside others it writes to a log."""
    name, seed = run
    print(f"{name}, seed {seed}: from epoch {epochs_done(run) + 1}", flush=True)
    asked = command(name, "--dataset", "cifar10", "--profile", "full", "--seed", str(seed))
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # threads that wait leave the cores to others
    if at_a_time == 1:
        return subprocess.Popen(asked, env=variables)
    variables |= {"OMP_NUM_THREADS": str(max(1, devices.cores() // at_a_time)), "TQDM_MININTERVAL": "60"}
    path = training.runs_root() / "logs" / f"campaign-{name}-seed-{seed}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as log:
        return subprocess.Popen(asked, env=variables, stdout=log, stderr=log)


def command(*arguments: str) -> list[str]:
    """Calls this module as a child of this process, see `as_child`."""
    return [sys.executable, "-m", "helpers.results.campaign", "--train", str(os.getpid()), *arguments]


def succeeded(run: Key, status: int) -> bool:
    """Say how a run ended. A cell that diverged is a result, too: its rates are too high, as diverged.json tells."""
    name, seed = run
    diverged = status == command_line.DIVERGED and archive.CELL in name
    print(f"{name}, seed {seed}: {'diverged' if diverged else f'failed with exit status {status}' if status else DONE}")
    if diverged:
        record = {"dataset": "cifar10", "profile": "full", "seed": seed, "recipe": recipes.get(name).to_dict()}
        record |= {"device": devices.compute().describe(), **store.provenance()}
        path = training.run_directory("cifar10", "full", name, seed).path / "diverged.json"
        files.write_atomic(path, json.dumps(record, indent=2) + "\n")
    return diverged or status == 0


def publish(out: Path) -> None:
    """Write what all runs have left so far into a folder of published data, or say what speaks against it."""
    try:
        archive.publish(out)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"not published: {error}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=0.0, help="how long to train; without: only show")
    parser.add_argument("--out", type=Path, default=archive.IMAGES, help="write results there, not into images/")
    given, root = parser.parse_args(arguments), training.runs_root()
    end = time.monotonic() + given.seconds

    if given.seconds:
        root.mkdir(parents=True, exist_ok=True)
        try:
            with files.exclusive(root / ".campaign.lock", refuse=f"another campaign is under way in {root}"):
                train(end, given.out.expanduser().resolve())
        except BlockingIOError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on after the last finished epoch", file=sys.stderr)
            return 130
    for (name, seed), state in states().items():
        print(f"{name}, seed {seed}: {state}", flush=True)
    return 0


def as_child(parent: str, *arguments: str) -> int:
    """A training that a campaign starts; it leaves when the campaign is gone, even by SIGKILL."""
    files.end_with(int(parent))
    return command_line.main(list(arguments))


if __name__ == "__main__":
    files.write_anything()
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background ignores the first
        signal.signal(number, signal.default_int_handler)
    sys.exit(as_child(*sys.argv[2:]) if sys.argv[1:2] == ["--train"] else main())
