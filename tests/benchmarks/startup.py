"""What passes before the first line of work: importing the package, and starting a notebook."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
import papermill
from table import Row, Scale, Work, compare

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "05_train_one_cycle.ipynb"
DEPENDENCIES = "import torch, torchvision, albumentations"
HEAD = 4  # code cells: set-up, imports, parameters, and the data they name


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """Imports in fresh processes, and the first cells of a notebook in fresh kernels."""
    small = {"nothing": "pass", "helpers.files": "import helpers.files"}
    full = {"torch": "import torch", "torch, torchvision, albumentations": DEPENDENCIES}
    imports = small if scale.tiny else {**full, "helpers.training": "import helpers.training"}
    works = {name: _python(code) for name, code in imports.items()}
    rows = compare("Import, in a fresh process", works, scale.rounds, dict.fromkeys(works, 1), "start")
    kernels = {"an empty notebook": _notebook([])}
    if not scale.tiny:
        kernels["05, to the end of its set-up"] = _notebook(_head())
    return rows + compare("Notebook", kernels, scale.rounds, dict.fromkeys(kernels, 1), "start")


def _python(code: str) -> Work:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def _head() -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"][:HEAD]


def _notebook(cells: list[nbformat.NotebookNode]) -> Work:
    values = {"profile": "smoke", "dataset": "shapes10"} if cells else {}
    notebook = nbformat.v4.new_notebook(cells=cells or [nbformat.v4.new_code_cell("pass")])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "started.ipynb")
            nbformat.write(notebook, path)
            papermill.execute_notebook(str(path), None, values, progress_bar=False)

    return run
