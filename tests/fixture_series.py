"""Runs a notebook of the series headlessly, for two files of tests, which two processes share."""

import copy
import os
from pathlib import Path

import papermill
import pytest
from nbformat import NotebookNode

from helpers.regenerate.publish import code_cells
from helpers.regenerate.series import discover

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
SERIES = discover(FOLDER)
HAS_CIFAR10 = bool(os.environ.get("CIFAR10_ROOT"))


def cases(which: int) -> pytest.MarkDecorator:
    """Every second notebook, on CIFAR-10 where it is there, and on Shapes-10: then only with the slow tests."""
    shapes = [
        pytest.param(name, "shapes10", id=f"{name[:2]}-shapes10", marks=[pytest.mark.slow] * HAS_CIFAR10)
        for name in SERIES
    ]
    real = [pytest.param(name, "cifar10", id=f"{name[:2]}-cifar10") for name in SERIES] if HAS_CIFAR10 else []
    return pytest.mark.parametrize("name, dataset", [*real[which::2], *shapes[which::2]])


def twice(node: NotebookNode) -> NotebookNode:
    """The notebook of a reader who runs every cell two times, but that of the parameters."""
    node = copy.deepcopy(node)
    times = [1 if "parameters" in cell.metadata.get("tags", []) else 2 for cell in node.cells]
    node.cells = [copy.deepcopy(cell) for cell, count in zip(node.cells, times) for _ in range(count)]
    for number, cell in enumerate(node.cells):
        cell.id = str(number)
    return node


def runs_headlessly(name: str, dataset: str, folder: Path, source: NotebookNode | None = None) -> None:
    """Execute it from a folder in `smoke`; every cell runs, quietly, and nothing is left where it was started."""
    values = {"profile": "smoke", "dataset": dataset}
    source = source or str(FOLDER / f"{name}.ipynb")
    executed = papermill.execute_notebook(
        source, "executed.ipynb", values, kernel_name="python3", progress_bar=False, execution_timeout=600
    )
    cells = code_cells(executed)
    assert all(cell.execution_count for cell in cells)
    noise = [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert noise == []
    assert {path.name for path in folder.iterdir()} <= {"executed.ipynb", "runs"}
