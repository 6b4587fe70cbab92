"""One running notebook, seen from the runner: started, watched, and ended together with its kernel."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import psutil

from helpers import devices
from helpers.files import write_atomic
from helpers.regenerate.cleaning import clean

REPO_ROOT = Path(__file__).resolve().parents[2]
WORK = ".work"  # folder of what is not finished
GRACE_SECONDS = 2.0
CLOSING_SECONDS = 15.0
BAR_SECONDS = "15"
USES = "uses.jsonl"


@dataclass
class Result:
    """How a notebook's run ended; an entry of the summary.

    Attributes:
        name: the notebook.
        status: "ok", "failed", "timeout", "interrupted", "skipped" or "unchanged".
        seconds: wall time.
        cells_run, cells: code cells finished, and in all.
        note: one line for the table.
        error: cell number, first line, ename and evalue of a failure.
        fingerprint, parameters: of what ran.
        device: what it computed on.
        trained_before: seconds of training that came from the run store, and on what device, by run.
        started, finished: ISO 8601, UTC.
    """

    name: str
    status: str
    seconds: float = 0.0
    cells_run: int = 0
    cells: int = 0
    note: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    trained_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: str = ""
    finished: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def launch(
    command: Sequence[str], variables: Mapping[str, str], log: Path, folder: Path | None = None
) -> subprocess.Popen:
    """Start a process whose whole output goes to a log, with this environment, in a folder."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # a process that outlived its runner keeps the file it writes to
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the runner alone, which then ends its processes in order
        )


def environment(jobs: int, runs_root: Path) -> dict[str, str]:
    """Environment of a notebook's process.

    Threads are divided among the jobs, the repository is importable, and paths that the caller gave relative to his
    folder still mean the same.
    """
    divided = {name: str(max(1, devices.cores() // jobs)) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    divided["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that wait at a barrier leave their core to the other jobs
    path = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH")]))
    own = {
        **(divided if jobs > 1 else {}),  # alone, a notebook takes what torch and the caller think best
        "TQDM_MININTERVAL": BAR_SECONDS,
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else every kernel warns of frozen modules in the log
        "PYTHONPATH": path,
        "RUNS_ROOT": str(runs_root.resolve()),
    }
    if os.environ.get("CIFAR10_ROOT"):
        own["CIFAR10_ROOT"] = str(Path(os.environ["CIFAR10_ROOT"]).expanduser().resolve())
    return {**os.environ, **own}


def uses(path: Path) -> dict[str, dict[str, Any]]:
    """Training that a notebook took from the run store, as `store.note_use` wrote it: seconds and device by run."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    first: dict[str, dict[str, Any]] = {}
    for use in map(json.loads, lines):
        first.setdefault(use.pop("run"), use)  # a run trained in this notebook and then used again took nothing
    return {run: use for run, use in first.items() if use["seconds"]}


class Execution:
    """A notebook being executed by a child process, in a folder of its own until it is done.

    Args:
        source: the notebook.
        parameters: what is passed to it.
        out: where the executed notebook, its rendering and logs/NAME.log go; the working directory too.
        environment: of the child process.
        timeout: seconds for the whole notebook.
    """

    def __init__(
        self, source: Path, parameters: dict[str, Any], out: Path, environment: dict[str, str], timeout: float
    ):
        self.name = source.stem
        self.out = out
        self.timeout = timeout
        self.folder = out / WORK / f"{self.name}-{os.getpid()}"  # a killed runner's child may live for a second more
        job = {"source": str(source.resolve()), "parameters": parameters}
        write_atomic(self.folder / "job.json", json.dumps(job))
        self.log = out / "logs" / f"{self.name}.log"
        self.started = datetime.now(UTC)
        self._clock = time.monotonic()
        command = [sys.executable, "-m", "helpers.regenerate.execution", str(self.folder.resolve()), str(os.getpid())]
        variables = {**environment, "HELPERS_RUNS_USED": str((self.folder / USES).resolve())}
        self.process = launch(command, variables, self.log, out)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._clock

    def state(self) -> dict[str, Any]:
        """Last state the child wrote: status, cell, cells, line, and the error if any."""
        try:
            return json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"status": "running", "cell": 0, "cells": 0, "line": ""}

    def poll(self) -> Result | None:
        """The result if the notebook has ended, by itself or because its time is up; else None."""
        if self.process.poll() is not None:
            return self._ended()
        return self.stop("timeout", f"after {self.timeout:g} s") if self.elapsed > self.timeout else None

    def stop(self, status: str, note: str = "") -> Result:
        """End the notebook together with its kernel; what it had put out is kept."""
        state = self.state()
        family = psutil.Process(self.process.pid).children(recursive=True)  # kernels live in sessions of their own
        end(family)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSING_SECONDS)  # the child sees the dead kernel, saves and leaves
        self.kill()
        where = f"in cell {state['cell']} of {state['cells']}" if state["cell"] else "before its first cell"
        return self._result(status, state, f"{note}, {where}" if note else where)

    def kill(self) -> None:
        """Kill what is left of the child process and its descendants."""
        if self.process.poll() is None:
            end([*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)])
        self.process.wait()

    def _ended(self) -> Result:
        state = self.state()
        if state["status"] == "ok":
            return self._result("ok", state)
        if state["status"] == "running":
            reason = f"the process running it {how_it_ended(self.process.returncode)}"
            state |= {"ename": "ProcessDied", "evalue": f"{reason}; see the log"}
        cell = f"cell {state['cell']}: " if state["cell"] else ""
        first_line = (state["evalue"].strip().splitlines() or [""])[0]
        return self._result("failed", state, f"{cell}{state['ename']}: {first_line}")

    def _result(self, status: str, state: dict[str, Any], note: str = "") -> Result:
        trained_before = uses(self.folder / USES)
        self._keep()
        cells_run = state["cell"] if status == "ok" else max(0, state["cell"] - 1)
        error = {key: state[key] for key in ("cell", "line", "ename", "evalue") if key in state}
        return Result(
            name=self.name,
            status=status,
            seconds=round(state.get("seconds", self.elapsed), 1),
            cells_run=cells_run,
            cells=state["cells"],
            note=note,
            error=error if status == "failed" else {},
            trained_before=trained_before,
            started=self.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _keep(self) -> None:
        """Move what the child left to its place, whole files only."""
        notebook, rendered = self.folder / "notebook.ipynb", self.out / f"{self.name}.html"
        if notebook.is_file():
            node = nbformat.read(notebook, as_version=4)
            clean(node)  # a killed child had no time to
            write_atomic(self.out / f"{self.name}.ipynb", nbformat.writes(node) + "\n")
            rendered.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.folder / "notebook.html", rendered)
        shutil.rmtree(self.folder, ignore_errors=True)


def how_it_ended(code: int) -> str:
    """The end of a process that did not say itself what went wrong, in words.

    Args:
        code: its exit status; -k if signal k killed it.
    """
    if code >= 0:
        return f"ended with code {code}"
    reason = "; out of memory is the usual reason" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{reason}"


def end(processes: list[psutil.Process], grace: float = GRACE_SECONDS) -> None:
    """Ask processes to leave, and kill those that have not after some seconds."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=grace)
