"""A tiny repository with notebooks made in place, for the tests of the runner."""

import contextlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.regenerate import planning
from helpers.regenerate.processes import Result

REPO = Path(__file__).resolve().parent.parent
PARAMETERS = 'profile = "auto"\ndataset = "auto"\nseed = 0'
FIRST = "# Title\n\nTakes <!-- run-time --><!-- /run-time -->."
SURVEY = planning.Survey("quick", "shapes10", "cpu (a test), fp32")


def notebook(*cells, parameters=PARAMETERS, needs=(), question="Why?"):
    """A notebook with a title, a parameters cell and code cells; a cell is a source or (source, tag)."""
    code = [cell if isinstance(cell, tuple) else (cell, None) for cell in cells]
    node = new_notebook(metadata={"helpers": {"needs": list(needs), "question": question}})
    node.cells = [new_markdown_cell(FIRST), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    node.cells += [new_code_cell(source, metadata={"tags": [tag]} if tag else {}) for source, tag in code]
    return node


def write(root, **nodes):
    """Write notebooks NN_name.ipynb; keyword n05_name is 05_name."""
    for name, node in nodes.items():
        path = root / "notebooks" / f"{name[1:]}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(node, path)
    return root


def executed_as(node, number=1):
    """The node as a run would leave it: each code cell prints its own source's length."""
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{len(cell.source)}\n")]
    return node


class FakeExecution:
    """Stands in for processes.Execution: ends after some polls, with a status by name, and notes what it saw."""

    log: list[SimpleNamespace] = []
    statuses: dict[str, str] = {}
    ended = 0  # a clock that never goes back
    running = 0
    most_at_once = 0

    def __init__(self, source, parameters, out, environment, timeout):
        self.name, self.out, self.polls, self.elapsed = source.stem, out, 0, 0.0
        self.source = source
        seen = SimpleNamespace(name=self.name, parameters=parameters, environment=environment, timeout=timeout)
        FakeExecution.log.append(seen)
        FakeExecution.running += 1
        FakeExecution.most_at_once = max(FakeExecution.most_at_once, FakeExecution.running)

    @classmethod
    def reset(cls, **statuses):
        cls.log, cls.running, cls.most_at_once = [], 0, 0
        cls.statuses = {name[1:]: status for name, status in statuses.items()}

    def state(self):
        return {"status": "running", "cell": 1, "cells": 2, "line": ""}

    def poll(self):
        self.polls += 1
        return self.stop(self.statuses.get(self.name, "ok")) if self.polls > 2 else None

    def stop(self, status, note=""):
        FakeExecution.running -= 1
        FakeExecution.ended += 1
        nbformat.write(executed_as(nbformat.read(self.source, as_version=4)), self.out / f"{self.name}.ipynb")
        now = f"2030-01-01T00:00:{FakeExecution.ended:06}+00:00"
        return Result(self.name, status, seconds=1.0, cells_run=2, cells=2, note=note, started=now, finished=now)

    def kill(self):
        FakeExecution.running -= 1


def names_run():
    return [seen.name for seen in FakeExecution.log]


def summary(out):
    return json.loads((out / "summary.json").read_text())


def wait_for(condition, seconds=600.0):
    """Wait until condition() is true; fail where it hangs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def gone(pid):
    """Whether a process has ended (a zombie nobody has waited for counts as ended)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def child_environment():
    """Environment in which a script started by a test finds the package."""
    return {**os.environ, "PYTHONPATH": str(REPO)}
