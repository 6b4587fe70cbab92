"""Runs a notebook of the series headlessly, for two files of tests, which two processes share."""

import os
from pathlib import Path

import papermill
import pytest

from helpers.regenerate.publish import code_cells
from helpers.regenerate.series import Notebook, discover

SERIES = discover(Path(__file__).resolve().parent.parent / "notebooks")
HAS_CIFAR10 = bool(os.environ.get("CIFAR10_ROOT"))


def cases(which: int) -> pytest.MarkDecorator:
    """Every second notebook, on CIFAR-10 where it is there, and on Shapes-10: then only with the slow tests."""
    shapes = [
        pytest.param(one, "shapes10", id=f"{key}-shapes10", marks=[pytest.mark.slow] * HAS_CIFAR10)
        for key, one in SERIES.items()
    ]
    real = [pytest.param(one, "cifar10", id=f"{key}-cifar10") for key, one in SERIES.items()] if HAS_CIFAR10 else []
    return pytest.mark.parametrize("notebook, dataset", [*real[which::2], *shapes[which::2]])


def runs_headlessly(notebook: Notebook, dataset: str, folder: Path) -> None:
    """Execute it from a folder in `smoke`; every cell runs, quietly, and nothing is left where it was started."""
    values = {"profile": "smoke", "dataset": dataset}
    executed = papermill.execute_notebook(
        str(notebook.path), "executed.ipynb", values, kernel_name="python3", progress_bar=False, execution_timeout=600
    )
    cells = code_cells(executed)
    assert all(cell.execution_count for cell in cells)
    noise = [out.text for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert noise == []
    assert {path.name for path in folder.iterdir()} <= {"executed.ipynb", "runs"}
