"""Train the runs that the published tables need, in order: python -m helpers.results.campaign SECONDS.

What lies in the run store is taken up, what ends is published, and it may be stopped and started at any time. On a CPU
one run is trained at a time, and goes on in the next call. On a GPU a minute of trial comes first, then as many are
trained at a time as memory and cores bear, and only those that can end in time. Without seconds it shows how far every
run has come.
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from helpers import devices, files, recipes
from helpers.data import choose_path
from helpers.devices import cores
from helpers.recipes import Recipe
from helpers.results import published, rate_grid, weights
from helpers.training import runs
from helpers.training.__main__ import DIVERGED
from helpers.training.__main__ import main as train_one
from helpers.training.engine import TrainState, train_epoch
from helpers.training.progress import EpochBar
from helpers.training.settings import Setting

DAVIDNETS = ("davidnet-onecycle", "davidnet-onecycle-plus")
ORDER = (
    *((name, 0) for name in DAVIDNETS),
    *((f"published-{name}", 0) for name in ("d", "b1", "e-step", "e-plateau", "a", "c", "b2")),
    *((name, 0) for name in ("resnet18-plateau", "resnet18-onecycle")),
    *((name, seed) for seed in (1, 2) for name in DAVIDNETS),
)
TRIAL_SECONDS = 60  # for all trials together
START_SECONDS = 20  # of a training's process: libraries, data, nets
CORES_EACH = 3  # of a training beside others: its own thread, and those that make its batches


@dataclass(frozen=True)
class Run:
    """One run that is needed; `cell` tells whether it is one of a rate grid."""

    recipe: Recipe
    seed: int
    cell: bool = False

    @property
    def name(self) -> str:
        """ "davidnet-onecycle, seed 0"."""
        return f"{self.recipe.name}, seed {self.seed}"

    @property
    def folder(self) -> runs.RunDirectory:
        """Its place in the run store."""
        return runs.run_directory("cifar10", "full", self.recipe.name, self.seed)

    def epochs_done(self) -> int:
        """Epochs that it has come to in the run store."""
        return len(self.folder.history() or ())

    def arguments(self) -> list[str]:
        """What `python -m helpers.training` is called with."""
        return [self.recipe.name, "--dataset", "cifar10", "--profile", "full", "--seed", str(self.seed)]


def needed(images: Path) -> list[Run]:
    """All runs in order, as far as they can be told: cells of rate grids follow from the cells before them."""
    found = [(grid, rate_grid.read(grid, images)) for grid in rate_grid.GRIDS]
    cells = [
        Run(rate_grid.recipe_of(grid, rates), seed, cell=True)
        for grid, accuracies in found
        for rates, seed in rate_grid.cells(grid, accuracies)
    ]
    return cells + [Run(recipes.RECIPES[name], seed) for name, seed in ORDER]


def state(run: Run, images: Path) -> str:
    """ "done", "3 of 24 epochs", "waiting", or "waiting for its rate grid"."""
    rows = published.read_table(images / ("rate_grid.csv" if run.cell else "results.csv"))
    mine = [row for row in rows if published.key_of(row) == ("cifar10", run.recipe.name, run.seed)]
    if mine or run.folder.record() is not None or (run.folder.path / "diverged.json").exists():
        return "done"
    if not run.cell and not decided(run.recipe, images):
        return "waiting for its rate grid"
    done = run.epochs_done()
    return f"{done} of {run.recipe.epochs} epochs" if done else "waiting"


def decided(recipe: Recipe, images: Path) -> bool:
    """Whether the recipe's rates are those that its grid has found, or no grid is to find them."""
    grid = next((grid for grid in rate_grid.GRIDS if grid.recipe == recipe.name), None)
    if grid is None:
        return True
    return rate_grid.chosen(grid, rate_grid.read(grid, images)) == rate_grid.rates_of(recipe.to_dict())


def in_turn(images: Path, on_gpu: bool) -> list[Run]:
    """The runs to train, the next first: on a CPU those that were begun, on a GPU those of the slower net."""
    waiting = [run for run in needed(images) if state(run, images) != "done"]
    waiting = [run for run in waiting if run.cell or decided(run.recipe, images)]
    return sorted(waiting, key=lambda run: run.recipe.net != "resnet18" if on_gpu else not run.epochs_done())  # stable


# ---- how fast a run will be, found by training a few steps of it ----


@dataclass(frozen=True)
class Pace:
    """What a trial found: seconds of an epoch, its tests included, and bytes of device memory."""

    epoch_seconds: float
    memory: int


def trial(recipe: Recipe) -> Pace:
    """Train two steps, write and resume a checkpoint, then time some more steps; any failure raises as it comes."""
    setting = Setting.of(recipe, "cifar10", "full", 0)
    splits = setting.splits()
    train, measured = splits.pop("train"), sum(map(len, splits.values()))
    loader, compute = setting.train_loader(train), setting.compute
    batches, count = loader.epoch(0), 2 if compute.device == "cpu" else 30

    def steps(state: TrainState, number: int) -> float:
        started, bar = time.perf_counter(), EpochBar(1, 1, number, hidden=True)
        train_epoch(state, itertools.islice(batches, number), setting.normalize, recipe, bar)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder, devices.seeded(0):
        state, again = (TrainState(recipe, len(setting.dataset.classes), len(loader), compute) for _ in range(2))
        steps(state, 2)
        place = runs.RunDirectory(Path(folder))
        place.write_checkpoint(state.state_dict())
        again.load_state_dict(place.checkpoint())
        seconds = steps(again, count) / count
    nets = 2 if recipe.ema_epochs else 1
    tests = nets * measured / len(train) / 3  # a forward pass is a third of a step
    memory = torch.cuda.max_memory_reserved() if compute.device == "cuda" else 0
    return Pace(seconds * len(loader) * (1 + tests), memory)


def kind(recipe: Recipe) -> tuple[Any, ...]:
    """What decides a run's pace: runs of one kind need one trial."""
    loader = choose_path(recipe.transforms, devices.compute())
    return recipe.net, recipe.batch_size, loader, recipe.ema_epochs > 0, recipe.l1 > 0, recipe.schedule


def trials(wanted: Sequence[Run]) -> dict[tuple[Any, ...], Pace | str]:
    """The pace of every kind among some runs, each tried in a process of its own; or in words what failed."""
    first = {kind(run.recipe): run for run in reversed(wanted)}
    command = [sys.executable, "-m", "helpers.results.campaign", "--trial"]
    started = {
        key: subprocess.Popen([*command, run.recipe.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for key, run in first.items()
    }
    found, end = {}, time.monotonic() + TRIAL_SECONDS
    for key, process in started.items():
        try:
            said = process.communicate(timeout=max(1.0, end - time.monotonic()))[0].strip().splitlines()
            found[key] = Pace(**json.loads(said[-1])) if process.returncode == 0 else (said or ["it said nothing"])[-1]
        except subprocess.TimeoutExpired:
            process.kill()
            found[key] = f"no answer within {TRIAL_SECONDS} s"
    return found


# ---- training them ----


@dataclass
class Training:
    """A run under way in a process of its own."""

    run: Run
    process: subprocess.Popen
    log: TextIO | None

    def stop(self) -> None:
        """End it; its last finished epoch is kept."""
        self.process.terminate()
        self.process.wait()


def command(run: Run) -> list[str]:
    """Trains a run, and leaves when the campaign is gone."""
    return [sys.executable, "-m", "helpers.results.campaign", "--train", str(os.getpid()), *run.arguments()]


def start(run: Run, at_a_time: int) -> Training:
    """Begin or go on with a run; beside others it writes to a log."""
    log = None
    if at_a_time > 1:
        folder = runs.runs_root() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        log = open(folder / f"campaign-{run.recipe.name}-seed-{run.seed}.log", "a", encoding="utf-8")  # noqa: SIM115
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // at_a_time)), "HELPERS_BAR_SECONDS": "60"} if log else {}
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **threads}  # threads that wait leave the cores to others
    process = subprocess.Popen(command(run), stdout=log, stderr=log and subprocess.STDOUT, env=variables)
    return Training(run, process, log)


class Campaign:
    """A call of the campaign: what it trains now, and what it leaves alone from here on.

    Args:
        images: folder of the published data.
        seconds: how long to train.
    """

    def __init__(self, images: Path, seconds: float):
        self.images, self.end = images, time.monotonic() + seconds
        self.on_gpu = devices.compute().device != "cpu"
        self.under_way: list[Training] = []
        self.left_alone: set[str] = set()
        self.paces: dict[tuple[Any, ...], Pace | str] = {}
        self.at_a_time = 1

    def train(self) -> None:
        """Train what fits, one after another or side by side, until time is up or nothing is left."""
        if self.on_gpu:
            self._try(in_turn(self.images, self.on_gpu))
            known = [pace.memory for pace in self.paces.values() if isinstance(pace, Pace)]
            self.at_a_time = side_by_side(max(known, default=1))
        try:
            while (self._fill() or self.under_way) and time.monotonic() < self.end:
                time.sleep(0.2)
                ended = [one for one in self.under_way if one.process.poll() is not None]
                for one in ended:
                    self._settle(one)
                if ended and self.on_gpu:
                    self._fill()  # a GPU works on meanwhile; a CPU may have to know what a grid has found
                if ended:
                    publish(self.images)
        finally:
            for one in self.under_way:
                one.stop()
            publish(self.images)

    def _fill(self) -> bool:
        """Start runs while there is room for them; whether one was started."""
        started = False
        while len(self.under_way) < self.at_a_time and time.monotonic() < self.end and (run := self._next()):
            pace = self.paces.get(kind(run.recipe))  # on a CPU the training's own bar says how long it takes
            print(f"{run.name}: " + (f"about {pace.epoch_seconds:.0f} s an epoch" if pace else "begins"), flush=True)
            self.under_way.append(start(run, self.at_a_time))
            started = True
        return started

    def _next(self) -> Run | None:
        busy = {one.run.name for one in self.under_way} | self.left_alone
        for run in in_turn(self.images, self.on_gpu):
            if run.name not in busy and (not self.on_gpu or self._fits(run)):
                return run
        return None

    def _fits(self, run: Run) -> bool:
        """Whether a run can end in time even if the device is shared evenly."""
        self._try([run])
        if run.name in self.left_alone:
            return False
        epochs = run.recipe.epochs - run.epochs_done()
        needs = epochs * self.paces[kind(run.recipe)].epoch_seconds * self.at_a_time
        return needs + START_SECONDS < self.end - time.monotonic()

    def _try(self, wanted: Sequence[Run]) -> None:
        """Have a pace for each of some runs; what fails is named and left alone."""
        self.paces |= trials([run for run in wanted if kind(run.recipe) not in self.paces])
        for run in wanted:
            failed = self.paces[kind(run.recipe)]
            if isinstance(failed, str):
                self.left_alone.add(run.name)
                print(f"{run.name}: left out, its trial failed: {failed}", flush=True)

    def _settle(self, one: Training) -> None:
        """Say how a run ended; what failed is left alone for the rest of this call."""
        self.under_way.remove(one)
        status = one.process.wait()
        if status == DIVERGED and one.run.cell:
            note_diverged(one.run)
        elif status:
            self.left_alone.add(one.run.name)
            where = f"; see {one.log.name}" if one.log else ""
            print(f"{one.run.name}: failed with exit status {status}{where}", flush=True)
            return
        print(f"{one.run.name}: {'diverged' if status else 'done'}", flush=True)


def side_by_side(memory: int) -> int:
    """How many trainings of so many bytes a GPU and its cores bear at a time."""
    if not torch.cuda.is_available():
        return 1
    room = torch.cuda.get_device_properties(0).total_memory // (1.2 * memory + 600e6)  # and what each process takes
    return int(max(1, min(cores() // CORES_EACH, room)))


# ---- what it leaves ----


def publish(images: Path) -> None:
    """Have what finished and unfinished runs have left written into a folder of published data, see `archive.publish`.

    It stands above the trainings, so that it is called as a program and not imported.
    """
    done = subprocess.run(
        [sys.executable, "-m", "helpers.results.archive", str(images)], stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        print(f"not published: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}", flush=True)


def note_diverged(run: Run) -> None:
    """Leave word in the run store that a cell came to no accuracy; it is entered when the grid is published."""
    made_by = {"device": devices.compute().describe(), **runs.provenance()}
    record = {"dataset": "cifar10", "profile": "full", "seed": run.seed, "recipe": run.recipe.to_dict(), **made_by}
    files.write_atomic(run.folder.path / "diverged.json", json.dumps(record, indent=2) + "\n")


def overview(images: Path) -> str:
    """One line per run, with its state."""
    shown = needed(images)
    width = max(len(run.name) for run in shown)
    return "\n".join(f"{run.name:<{width}}  {state(run, images)}" for run in shown)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--train"]:
        return _leave_with_parent(int(given[1])) or train_one(given[2:])
    if given[:1] == ["--trial"]:
        print(json.dumps(vars(trial(recipes.get(given[1])))))
        return 0
    parser = argparse.ArgumentParser(prog="python -m helpers.results.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=0.0, help="how long to train; without: only show")
    parser.add_argument("--out", type=Path, default=published.IMAGES, help="write results there, not into images/")
    call = parser.parse_args(given)
    try:
        return _run(call.seconds, call.out.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(seconds: float, images: Path) -> int:
    if not seconds:
        print(overview(images))
        return 0
    root = runs.runs_root()
    root.mkdir(parents=True, exist_ok=True)

    def refuse() -> None:
        raise RuntimeError(f"another campaign is under way in {root}")

    try:
        with files.exclusive(root / ".campaign.lock", refuse), _stoppable():
            _begin(images)
            Campaign(images, seconds).train()
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on after the last finished epoch", file=sys.stderr)
        return 130
    finally:
        print(overview(images), flush=True)
    return 0


def _begin(images: Path) -> None:
    """Another folder begins with the tables that are published; what an earlier call left is published first."""
    images.mkdir(parents=True, exist_ok=True)
    for name in ("results.csv", "curves.csv", "predictions.npz", "rate_grid.csv", "weights/weights.json"):
        source, target = published.IMAGES / name, images / name
        if source.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    if not weights.can_be_written():
        print("weights are left out: safetensors is not installed", flush=True)
    publish(images)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let an interrupt and a polite kill end the campaign alike, also in a background job, which ignores the first."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_with_parent(parent: int) -> None:
    """End this process once the campaign that started it is gone, even by SIGKILL."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
