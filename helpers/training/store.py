"""The run store: what a training leaves on disk, written so that a kill at any moment loses no finished epoch.

runs/<dataset>/<profile>/<recipe>/seed-<k>/ holds history.csv, steps.csv, answers.npz, record.json, checkpoint.pt and,
where images are held out, best.pt, the weights of the lowest validation loss.
"""

import contextlib
import csv
import datetime
import functools
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

from helpers.files import REPO_ROOT, exclusive, replacing, write_atomic
from helpers.training.answers import Answers, packed

Row = dict[str, Any]


class RunError(RuntimeError):
    """A run on disk cannot be used as it is; the message says what to do."""


def runs_root() -> Path:
    """The folder of all runs: the environment's RUNS_ROOT, else runs/ beside the package."""
    return Path(os.environ.get("RUNS_ROOT") or REPO_ROOT / "runs").absolute()


@dataclass(frozen=True)
class Run:
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
        return _read_table(self.path / "history.csv")

    def steps(self) -> list[Row] | None:
        """One row per optimizer step: step, lr, momentum."""
        return _read_table(self.path / "steps.csv")

    def record(self) -> Row | None:
        """The finished run's record: recipe, seed, accuracies, wall time, device, versions, date.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / "record.json"
        return read_json(path, f"delete {self.path} to train this run anew") if path.exists() else None

    def checkpoint(self, wanted: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The state after the last finished epoch, on the CPU; one of another configuration than `wanted` is refused.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunError(f"{path} cannot be read ({error}); delete it to train this run anew") from error
        if wanted:
            self._check_same(json.loads(saved["configuration"]), json.loads(json.dumps(wanted)))
        return saved

    def _check_same(self, there: Row, here: Row) -> None:
        there, here = ({**side.pop("recipe"), **side} for side in (there, here))
        changed = [f"{k} was {there.get(k)}, is {here[k]}" for k in here if k != "claim" and there.get(k) != here[k]]
        if changed:
            raise ValueError(
                f"{self.path} holds a run of another configuration ({'; '.join(changed)}). Move or delete that "
                "folder, or make the change an override: its runs get a folder of their own"
            )

    def answers(self) -> Answers | None:
        """What the judged weights said in the end about every test image."""
        stored = self._arrays()
        return stored and Answers(stored["predicted"][-1], stored["confidence"], stored["labels"])

    def right_by_epoch(self) -> np.ndarray | None:
        """Which test images the judged weights got right after each epoch, (epochs, N) bool."""
        stored = self._arrays()
        return None if stored is None else stored["predicted"] == stored["labels"]

    def _arrays(self) -> dict[str, np.ndarray] | None:
        path = self.path / "answers.npz"
        if not path.exists():
            return None
        with np.load(path) as stored:
            return dict(stored)

    def keep(self, saved: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
        """Write the state after an epoch, then what follows from it; a kill between the two is mended by `follow`."""
        self._write_state("checkpoint.pt", {**saved, "configuration": json.dumps(configuration)})
        self.follow(saved)

    def follow(self, saved: Mapping[str, Any]) -> None:
        """Write what follows from a checkpoint: its tables, and its weights where their validation loss is the best."""
        history, steps = saved["history"], saved["steps"].tolist()
        losses = [row["val_loss"] for row in history]
        if losses[-1] is not None and losses[-1] not in losses[:-1] and losses[-1] == min(losses):
            self._write_state("best.pt", {"model": saved["model"], "epoch": len(losses)})
        _write_table(self.path / "history.csv", history)
        rows = [{"step": step, "lr": lr, "momentum": momentum} for step, (lr, momentum) in enumerate(steps)]
        _write_table(self.path / "steps.csv", rows)

    def finish(self, record: Mapping[str, Any], answers: Answers, predicted: np.ndarray) -> None:
        """Write the answers, those of every epoch (epochs, N) uint8 included, then the record: the run is over."""
        arrays = {"predicted": predicted, "confidence": answers.confidence, "labels": answers.labels}
        write_atomic(self.path / "answers.npz", packed(arrays))
        write_atomic(self.path / "record.json", json.dumps(record, indent=2) + "\n")

    def _write_state(self, name: str, state: Mapping[str, Any]) -> None:
        with replacing(self.path / name) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:  # so torch tells of a full disk, in words of its own
                raise OSError(f"cannot write {self.path / name}; is the disk full? ({error})") from error


def run_directory(dataset: str, profile: str, recipe: str, seed: int, root: Path | None = None) -> Run:
    """Where a run lives: root/dataset/profile/recipe/seed-k; `root` defaults to `runs_root()`."""
    return Run(Path(root or runs_root()) / dataset / profile / recipe / f"seed-{seed}")


def run_of(record: Mapping[str, Any], root: Path | None = None) -> Run:
    """The run a record came from."""
    return run_directory(record["dataset"], record["profile"], record["recipe"]["name"], record["seed"], root)


def run_seconds(history: Sequence[Row]) -> float:
    """Wall time of a run at the pace of its median epoch, since a machine may have had other work during some."""
    return len(history) * median(row["seconds"] for row in history) if history else 0.0


def note_use(record: Mapping[str, Any], history: Sequence[Row]) -> None:
    """Tell the batch runner, where one listens, which epochs of a run came from the store, not trained now."""
    listener = os.environ.get("HELPERS_RUNS_USED")
    if listener:
        run = "/".join(run_of(record, Path()).path.parts)
        use = {"run": run, "seconds": run_seconds(history), "device": record["device"]}
        with open(listener, "a", encoding="utf-8") as file:
            file.write(json.dumps(use) + "\n")


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
    return {"versions": versions, "commit": commit(), "date": now}


@functools.cache  # what a process runs is what it found when it began
def commit() -> str:
    """The commit of the package's checkout, marked where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(REPO_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read_table(path: Path) -> list[Row] | None:
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: value_of(text) for key, text in row.items()} for row in csv.DictReader(file)]


def value_of(text: str) -> int | float | None:
    """A number as it stands in a CSV file: whole ones as int; None for an empty cell."""
    if text == "":
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)
