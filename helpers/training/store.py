"""The run store: what a training leaves on disk, written so that a kill at any moment loses no finished epoch.

runs/<dataset>/<profile>/<recipe>/seed-<k>/ holds history.csv, steps.csv, answers.npz, record.json, checkpoint.pt and,
where images are held out, best.pt, the weights of the lowest validation loss.
"""

import contextlib
import csv
import datetime
import functools
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from helpers.files import REPO_ROOT, exclusive, literal, replacing, runs_root, write_atomic

Row = dict[str, Any]


class RunError(RuntimeError):
    """A run on disk cannot be used as it is; the message says what to do."""


@dataclass(frozen=True)
class Answers:
    """What a net said about every image of a split; on disk three bytes an image, and a label."""

    predicted: np.ndarray  # (N,) the most probable class; on disk uint8, as are the labels
    confidence: np.ndarray  # (N,) its probability, in [0, 1]; on disk float16
    labels: np.ndarray  # (N,) the true classes
    probabilities: np.ndarray | None = None  # (N, K) float64 of all classes, rows sum to 1; not on disk

    @property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return float(self.right.mean())


def of_logits(logits: np.ndarray, labels: np.ndarray) -> Answers:
    """The answers that logits (N, K), K <= 256, give for labels (N,); nothing is rounded."""
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    matching = logits.ndim == 2 and logits.shape[1] <= 256 and labels.shape == logits.shape[:1]
    if not matching or not np.isfinite(logits).all():
        raise ValueError(f"need finite logits (N, K <= 256) and labels (N,), got {logits.shape} and {labels.shape}")
    probabilities = softmax(logits, axis=1)
    return Answers(logits.argmax(1), probabilities.max(1), labels.astype(int), probabilities)


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an .npz file, by name; the same arrays give the same bytes, whenever and wherever.

    They are not compressed, since versions of zlib differ in what they write.
    """
    file = io.BytesIO()
    np.savez(file, **{name: arrays[name] for name in sorted(arrays)})  # numpy dates every entry 1980
    return file.getvalue()


@dataclass(frozen=True)
class Run:
    """One run on disk; reading returns None where nothing was written yet."""

    path: Path

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the run for this process; a second one calls `waiting` once and waits for the first to end."""
        self.path.mkdir(parents=True, exist_ok=True)
        with exclusive(self.path / ".lock", waiting):
            for left in self.path.glob(".*.part"):  # of a process that was killed while it wrote
                left.unlink()
            yield

    def history(self) -> list[Row] | None:
        """One row per epoch; whole numbers as int, others as float, None for no measurement; RunError if damaged."""
        path, record = self.path / "history.csv", self.record()
        if not path.exists():
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
        rows = [{key: literal(x or "None") for key, x in row.items()} for row in csv.DictReader(io.StringIO(text))]
        if text.endswith("\n") and (record is None or len(rows) == record["recipe"]["epochs"]):
            return rows
        saved = self.checkpoint()  # the file was cut short
        if saved is None:
            raise RunError(f"{path} is incomplete; delete {self.path} to train this run anew")
        return saved["history"]

    def record(self) -> Row | None:
        """The finished run's record: recipe, seed, accuracies, time, device, versions, date; RunError if damaged."""
        path = self.path / "record.json"
        return read_json(path) if path.exists() else None

    def checkpoint(self, wanted: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The state after the last finished epoch, on the CPU; refused if of another configuration than `wanted`."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        with legible(path):
            saved = torch.load(path, map_location="cpu", weights_only=True)
        if wanted:
            self._check_same(json.loads(saved["configuration"]), json.loads(json.dumps(wanted)))
        return saved

    def _check_same(self, there: Row, here: Row) -> None:
        there, here = ({**side.pop("recipe"), **side} for side in (there, here))
        changed = [f"{k} was {there.get(k)}, is {here[k]}" for k in here if there.get(k) != here[k]]
        if changed:
            mend = "Move or delete that folder, or make the change an override, and give other data another name"
            raise ValueError(f"{self.path} holds a run of another configuration ({'; '.join(changed)}). {mend}")

    def answers(self) -> Answers | None:
        """What the judged weights said in the end about every test image."""
        path = self.path / "answers.npz"
        if not path.exists():
            return None
        with legible(path):
            kept = np.load(path)
            return Answers(kept["predicted"][-1], kept["confidence"], kept["labels"])

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
        confidence, labels = answers.confidence.astype(np.float16), answers.labels.astype(np.uint8)
        arrays = {"predicted": predicted, "confidence": confidence, "labels": labels}
        write_atomic(self.path / "answers.npz", packed(arrays))
        write_atomic(self.path / "record.json", json.dumps(record, indent=2) + "\n")

    def _write_state(self, name: str, state: Mapping[str, Any]) -> None:
        with replacing(self.path / name) as temporary:
            torch.save(dict(state), temporary)


def run_directory(dataset: str, profile: str, recipe: str, seed: int, root: Path | None = None) -> Run:
    """Where a run lives: root/dataset/profile/recipe/seed-k; `root` defaults to `runs_root()`."""
    return Run(Path(root or runs_root()) / dataset / profile / recipe / f"seed-{seed}")


def run_of(record: Mapping[str, Any], root: Path | None = None) -> Run:
    """The run a record came from."""
    return run_directory(record["dataset"], record["profile"], record["recipe"]["name"], record["seed"], root)


def read_json(path: Path, advice: str = "") -> Row:
    """The object in a JSON file; RunError if damaged, see `legible`."""
    with legible(path, advice):
        return {**json.loads(path.read_text(encoding="utf-8"))}


@contextlib.contextmanager
def legible(path: Path, advice: str = "") -> Iterator[None]:
    """Whatever goes wrong inside the block is a RunError: the file is damaged; it ends with advice, or a run's."""
    try:
        yield
    except Exception as error:
        advice = advice or f"delete {path.parent} to train this run anew"
        raise RunError(f"{path} cannot be read ({error}); {advice}") from error


def provenance() -> dict[str, Any]:
    """What made a record: library versions, the commit of the code, the time (UTC)."""
    names = ("torch", "torchvision", "albumentations", "numpy")
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"versions": versions, "commit": commit(), "date": now}


@functools.cache  # what a process runs is what it found when it began
def commit() -> str:
    """The commit of the package's checkout, marked where files differ from it; "unknown" outside a checkout."""
    command = ["git", "--git-dir=.git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    own = {"cwd": REPO_ROOT, "env": {"PATH": os.environ.get("PATH", os.defpath)}}  # a hook's name another repository
    with contextlib.suppress(OSError):  # no git
        return subprocess.run(command, capture_output=True, text=True, **own).stdout.strip() or "unknown"
    return "unknown"


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
