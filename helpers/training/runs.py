"""The run store: what a training leaves on disk, written so that a kill at any moment loses no finished epoch.

runs/<dataset>/<profile>/<recipe>/seed-<k>/ holds history.csv, steps.csv, test_right.npy, test_answers.npz, record.json,
checkpoint.pt and, where a validation split decided, best.pt.
"""

import contextlib
import csv
import datetime
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from helpers import files
from helpers.files import exclusive, replacing, write_atomic
from helpers.training.answers import Answers, packed

Row = dict[str, Any]


class RunError(RuntimeError):
    """A run on disk cannot be used as it is; the message says what to do."""


def runs_root() -> Path:
    """The folder of all runs: the environment's RUNS_ROOT, else runs/ beside the package."""
    return Path(os.environ.get("RUNS_ROOT") or files.REPO_ROOT / "runs").absolute()


@dataclass(frozen=True)
class RunDirectory:
    """One run on disk; reading returns None where nothing was written yet."""

    path: Path

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run for this process; a second one calls `waiting` once and waits for the first to end."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise PermissionError(
                f"cannot write to {self.path} ({error.strerror}); name a folder you can write to in RUNS_ROOT"
            ) from None
        with exclusive(self.path / ".lock", waiting):
            for left in self.path.glob(".*.part"):  # of a process that was killed while it wrote
                left.unlink()
            yield

    def history(self) -> list[Row] | None:
        """One row per epoch; whole numbers as int, others as float, an absent measurement as None."""
        return _read_csv(self.path / "history.csv")

    def steps(self) -> list[Row] | None:
        """One row per optimizer step: step, lr, momentum."""
        return _read_csv(self.path / "steps.csv")

    def test_right(self) -> np.ndarray | None:
        """Which test images were right after each epoch, (epochs, N) bool, by the averaged weights if there are any."""
        path = self.path / "test_right.npy"
        return np.load(path) if path.exists() else None

    def test_answers(self) -> Answers | None:
        """What the judged weights said in the end about every test image."""
        path = self.path / "test_answers.npz"
        if not path.exists():
            return None
        with np.load(path) as stored:
            return Answers(**stored)

    def record(self) -> Row | None:
        """The finished run's record: recipe, seed, accuracies, wall time, device, versions, date.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / "record.json"
        return read_json(path, f"delete {self.path} to train this run anew") if path.exists() else None

    def checkpoint(self) -> dict[str, Any] | None:
        """The state after the last finished epoch, on the CPU.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunError(f"{path} cannot be read ({error}); delete it to train this run anew") from error

    def write_history(self, rows: Sequence[Row]) -> None:
        _write_csv(self.path / "history.csv", rows)

    def write_steps(self, rows: Sequence[Row]) -> None:
        _write_csv(self.path / "steps.csv", rows)

    def write_test_right(self, right: np.ndarray) -> None:
        with replacing(self.path / "test_right.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, right)

    def write_test_answers(self, given: Answers) -> None:
        write_atomic(self.path / "test_answers.npz", packed(vars(given)))

    def write_record(self, record: Mapping[str, Any]) -> None:
        write_atomic(self.path / "record.json", json.dumps(record, indent=2) + "\n")

    def write_checkpoint(self, state: Mapping[str, Any], name: str = "checkpoint.pt") -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        with replacing(self.path / name) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:  # so torch tells of a full disk, in words of its own
                raise OSError(f"cannot write {self.path / name}; is the disk full? ({error})") from error


def run_directory(dataset: str, profile: str, recipe: str, seed: int, root: Path | None = None) -> RunDirectory:
    """Where a run lives: root/dataset/profile/recipe/seed-k; `root` defaults to `runs_root()`."""
    return RunDirectory(Path(root or runs_root()) / dataset / profile / recipe / f"seed-{seed}")


def run_of(record: Mapping[str, Any], root: Path | None = None) -> RunDirectory:
    """The directory a record came from."""
    return run_directory(record["dataset"], record["profile"], record["recipe"]["name"], record["seed"], root)


def epoch_seconds(history: Sequence[Row]) -> float:
    """Median wall time of a run's epochs, tests included: they are the same work, but a machine may have had other."""
    return median(row["seconds"] for row in history)


def run_seconds(history: Sequence[Row]) -> float:
    """The time of a run that is published: its epochs at the pace of the median one; 0 before the first."""
    return len(history) * epoch_seconds(history) if history else 0.0


def note_use(record: Mapping[str, Any], history: Sequence[Row]) -> None:
    """Tell the batch runner, where one listens, which epochs of a run came from the store, not trained now."""
    listener = os.environ.get("HELPERS_RUNS_USED")
    if listener:
        with open(listener, "a", encoding="utf-8") as file:
            run = "/".join(run_of(record, Path()).path.parts)
            use = {"run": run, "seconds": run_seconds(history), "device": record["device"]}
            file.write(json.dumps(use) + "\n")


def finished_runs(root: Path | None = None) -> list[RunDirectory]:
    """Every run that has a record, in the order of their paths."""
    records = sorted(Path(root or runs_root()).glob("*/*/*/seed-*/record.json"))
    return [RunDirectory(path.parent) for path in records]


def read_json(path: Path, advice: str) -> Row:
    """The object in a JSON file; a damaged one is a RunError whose message ends with the advice."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} cannot be read ({error}); {advice}") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no JSON object; {advice}")
    return found


def provenance() -> dict[str, Any]:
    """What made a record: library versions, the commit of the code, the time (UTC)."""
    names = ("torch", "torchvision", "albumentations", "numpy")
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"versions": versions, "commit": _commit(), "date": now}


def _commit() -> str | None:
    """The commit of the package's checkout, marked where files differ from it; None outside a checkout."""
    here = str(Path(__file__).resolve().parent)
    command = ["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read_csv(path: Path) -> list[Row] | None:
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: value_of(text) for key, text in row.items()} for row in csv.DictReader(file)]


def value_of(text: str) -> int | float | None:
    """A number as it stands in a CSV file: whole ones as int; None for an empty cell."""
    if text == "":
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)
