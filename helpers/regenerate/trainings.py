"""Recipes × seeds, each trained by a process of its own: python -m helpers.regenerate --sweep RECIPE … --seeds K …"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from helpers.regenerate.batch import DONE, Batch, Display, until_signalled
from helpers.regenerate.notebooks import NotebookError
from helpers.regenerate.planning import Survey, Task
from helpers.regenerate.processes import Result, end, environment, how_it_ended, launch
from helpers.regenerate.report import columns, shown
from helpers.regenerate.words import in_words

if TYPE_CHECKING:
    from helpers.recipes import Recipe


@dataclass(frozen=True)
class Training:
    """One run to be had.

    Attributes:
        recipe: its base recipe, as the command line takes it.
        name: that of the run, overrides included, with its seed.
        seed, epochs: of the run.
        folder: its place in the run store.
        needs: runs that have to come first: none.
    """

    recipe: str
    name: str
    seed: int
    epochs: int
    folder: Path
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the batch knows it by."""
        return self.name

    def record(self) -> dict[str, Any] | None:
        """Its record, once it is finished.

        Raises:
            NotebookError: the record is damaged.
        """
        from helpers.training import Run, RunError  # here, since it loads torch

        try:
            return Run(self.folder).record()
        except RunError as error:
            raise NotebookError(str(error)) from error

    def seconds(self) -> float:
        """Its time so far, at the pace of the median epoch."""
        from helpers.training import Run

        seconds = [row["seconds"] for row in Run(self.folder).history() or ()]
        return len(seconds) * median(seconds) if seconds else 0.0

    def epochs_done(self) -> int:
        """Epochs in its history so far."""
        history = self.folder / "history.csv"
        return max(0, len(history.read_text().splitlines()) - 1) if history.is_file() else 0


class Process:
    """A training as the batch sees it: started, watched and, where need be, ended.

    Args:
        training: what to train.
        command: of the child process.
        variables: its environment.
        log: where its output goes.
    """

    def __init__(self, training: Training, command: Sequence[str], variables: dict[str, str], log: Path):
        self.training, self.name, self.log = training, training.name, log
        self.started, self._clock = datetime.now(UTC), time.monotonic()
        self.process = launch(command, variables, log)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._clock

    def state(self) -> dict[str, Any]:
        """Where it is: the epoch it works on, and how many there are."""
        at = min(self.training.epochs_done() + 1, self.training.epochs)
        return {"cell": at, "cells": self.training.epochs, "unit": "epoch"}

    def poll(self) -> Result | None:
        """The result if the training has ended, else None."""
        code = self.process.poll()
        if code is None:
            return None
        if code == 0 and self.training.record() is not None:
            return self._result("ok")
        said = self._reason() if code > 0 else ""  # one that was killed leaves its progress bar as the last line
        return self._result("failed", said or f"the process {how_it_ended(code)}")

    def stop(self, status: str, note: str = "") -> Result:
        """End it; its last finished epoch is kept, and the same call goes on from there."""
        self.kill()
        return self._result(status, note or f"after epoch {self.training.epochs_done()}")

    def kill(self) -> None:
        """End the process and what it started."""
        if self.process.poll() is None:
            child = psutil.Process(self.process.pid)
            end([*child.children(recursive=True), child])
        self.process.wait()

    def _reason(self) -> str:
        """The line in which the child says what went wrong: its own error, else whatever it wrote last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "").strip()

    def _result(self, status: str, note: str = "") -> Result:
        seconds, done = round(self.elapsed, 1), self.training.epochs_done()
        return Result(self.name, status, seconds, done, self.training.epochs, note)


def check(names: Iterable[str], seeds: Iterable[int], settings: list[str]) -> None:
    """Refuse what cannot be trained, before anything is downloaded or run.

    Raises:
        NotebookError: an unknown recipe or field, or a seed below 0.
    """
    _chosen(names, settings)
    if min(seeds) < 0:
        raise NotebookError(f"seeds are whole numbers of 0 or more, not {min(seeds)}")


def plan(names: Iterable[str], seeds: Iterable[int], settings: list[str], where: Survey, runs_root: Path) -> list[Task]:
    """Every recipe with every seed, seeds outermost, so that each recipe soon has a run; finished ones need not run.

    Args:
        names, seeds, settings: as in `check`; settings are FIELD=VALUE overrides, for all recipes alike.
        where: data set and profile.

    Raises:
        NotebookError: a finished run of that name was made by other settings than the recipe has now.
    """
    from helpers import recipes
    from helpers.training import run_directory

    profile, tasks = recipes.resolve_profile(where.profile), []
    for seed in dict.fromkeys(seeds):
        for name, recipe in _chosen(names, settings).items():
            cut = recipes.under(recipe, profile)
            folder = run_directory(where.dataset, where.profile, recipe.name, seed, runs_root).path
            item = Training(name, f"{recipe.name}, seed {seed}", seed, cut.epochs, folder)
            _check_same(item, cut)
            begun = f"after epoch {item.epochs_done()}" if item.epochs_done() else "not run yet"
            tasks.append(Task(item, {"recipe": recipe.name, "seed": seed}, "", "" if item.record() else begun))
    return tasks


def _check_same(item: Training, recipe: "Recipe") -> None:
    """Refuse to count a run of another recipe among those of this one."""
    record, asked = item.record(), json.loads(json.dumps(recipe.to_dict()))
    there = record["recipe"] if record else asked
    other = [f"{k} was {there.get(k)}, is {v}" for k, v in asked.items() if k != "claim" and there.get(k) != v]
    if other:
        raise NotebookError(f"{item.folder} was trained by another recipe ({'; '.join(other)}); move or delete it")


def _chosen(names: Iterable[str], settings: list[str]) -> "dict[str, Recipe]":
    from helpers import recipes  # here, since they load torch
    from helpers.training.__main__ import overrides_from

    try:
        changes = overrides_from(settings)
        return {name: recipes.get(name, changes) for name in names}
    except ValueError as error:
        raise NotebookError(str(error)) from None


def run(tasks: list[Task], settings: list[str], where: Survey, runs_root: Path, jobs: int, display: Display) -> str:
    """Train what is missing, so many at a time; one that fails does not stop the others.

    Returns:
        "ok", "failed" or "interrupted".
    """
    logs = runs_root / "logs"

    def start(task: Task) -> Process:
        item = task.notebook
        command = [sys.executable, "-m", "helpers.regenerate.children", str(os.getpid())]
        command += [item.recipe, "--seed", str(item.seed)]
        command += ["--dataset", where.dataset, "--profile", where.profile]
        command += [part for setting in settings for part in ("--set", setting)]
        log = logs / f"{where.dataset}-{where.profile}-{item.folder.parent.name}-seed-{item.seed}.log"
        return Process(item, command, environment(jobs, runs_root), log)

    def ended(result: Result) -> None:
        display.line(f"{result.name}: {result.status} after {in_words(result.seconds)}{_and(result.note)}")

    batch = Batch(tasks, start, jobs, display, ended)
    with until_signalled() as interruption:
        batch.run(interruption)
    display.line(closing_table(tasks, batch.results))
    status = "interrupted" if interruption.asked else _status(batch.results.values())
    display.line(f"{status}; logs in {shown(logs)}")
    return status


def closing_table(tasks: Iterable[Task], results: dict[str, Result]) -> str:
    """One line per run with its status, epochs, time and accuracy, then one per recipe with mean and spread."""
    from helpers.results import intervals

    rows, found = [], {}
    for task in tasks:
        item, record = task.notebook, task.notebook.record()
        result = results.get(item.key) or Result(item.name, "not started")
        accuracy = f"{record['test_accuracy']:.2%}" if record else result.note
        seconds = in_words(item.seconds()) if record else ""
        rows.append([item.name, result.status, f"{item.epochs_done()}/{item.epochs}", seconds, accuracy])
        if record:
            found.setdefault(task.parameters["recipe"], []).append(record["test_accuracy"])
    means = [f"{name}: {intervals.mean(values)}" for name, values in found.items()]
    return "\n".join([columns(["run", "status", "epochs", "training time", "test accuracy"], rows), *means])


def describe(tasks: Iterable[Task]) -> str:
    """One line per run: whether it would be trained, and why."""
    rows = [[t.notebook.name, "train" if t.why else "skip", t.why or "finished"] for t in tasks]
    return columns(["run", "", "why"], rows)


def _status(results: Iterable[Result]) -> str:
    return "ok" if all(result.status in DONE for result in results) else "failed"


def _and(note: str) -> str:
    return f", {note}" if note else ""
