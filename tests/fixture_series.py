"""Runs a notebook of the series headlessly, for the tests of both data sets, which two processes share."""

from pathlib import Path

import papermill

from helpers.regenerate.publish import code_cells
from helpers.regenerate.series import Notebook, discover

SERIES = discover(Path(__file__).resolve().parent.parent / "notebooks")


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
