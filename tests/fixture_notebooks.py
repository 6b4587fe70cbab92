"""A tiny repository with notebooks made in place, for the tests of the runner."""

import contextlib
import json
import time

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'profile = "auto"\ndataset = "auto"\nseed = 0'
FIRST = "# Title\n\nTakes <!-- run-time --><!-- /run-time -->."


def notebook(*cells, parameters=PARAMETERS, **facts):
    """A notebook with a title, a parameters cell and code cells; a cell is a source or (source, tag)."""
    code = [cell if isinstance(cell, tuple) else (cell, None) for cell in cells]
    node = new_notebook(metadata={"helpers": {"question": "Why?"} | facts, "language_info": {"name": "python"}})
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


def change(path, edit):
    """Edit a notebook on disk."""
    node = nbformat.read(path, as_version=4)
    edit(node)
    nbformat.write(node, path)


def outputs(path):
    """All outputs of a notebook on disk."""
    node = nbformat.read(path, as_version=4)
    return [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]


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
