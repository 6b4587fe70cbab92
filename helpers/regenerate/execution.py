"""One notebook run by papermill in a process of its own: python -m helpers.regenerate.execution FOLDER RUNNER.

RUNNER is the process number of the runner, with which this one ends. FOLDER holds job.json
({"source": path, "parameters": {...}}). While the notebook runs, state.json there says how far it is and notebook.ipynb
what it has put out; at the end come a notebook.html and the final state.
"""

import contextlib
import json
import logging
import re
import sys
import time
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from helpers.files import write_atomic
from helpers.regenerate.children import end_with_parent
from helpers.regenerate.cleaning import clean

SAVE_SECONDS = 30
UNDESCRIBED = 'alt="No description has been provided for this image"'  # what nbconvert writes
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Recorder:
    """Writes down how far a notebook is and what it has put out so far.

    Attributes:
        state: status ("running", "ok", "failed" or "dead"), code cell reached, their number, and in the
            end seconds and the error if any.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.state: dict[str, Any] = {"status": "running", "cell": 0, "cells": 0, "line": ""}
        self.manager: NotebookExecutionManager | None = None
        self._begun = self._saved = time.monotonic()

    def follow(self, manager: NotebookExecutionManager) -> None:
        """Hook into papermill's record of a run: it saves into one place only, and not atomically."""
        self.manager = manager
        self.state["cells"] = sum(_runs(cell) for cell in manager.nb.cells)
        noted = manager.cell_start

        def cell_start(cell: nbformat.NotebookNode, cell_index: int | None = None, **rest: Any) -> None:
            noted(cell, cell_index=cell_index, **rest)
            if _runs(cell):
                self.reach(cell)

        manager.cell_start = cell_start
        manager.log_output = False  # its headings count text cells too; `reach` writes better ones
        manager.autosave_cell = self.autosave  # papermill calls it with every message of the kernel

    def reach(self, cell: nbformat.NotebookNode) -> None:
        """Note that a code cell begins."""
        self.state["cell"] += 1
        self.state["line"] = cell.source.strip().splitlines()[0]
        logging.info("--- cell %d of %d: %s", self.state["cell"], self.state["cells"], self.state["line"])
        self.save()
        self.write_state()

    def autosave(self) -> None:
        """Save within a long cell, now and then."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the notebook as it is."""
        if self.manager is not None:
            write_atomic(self.folder / "notebook.ipynb", nbformat.writes(self.manager.nb))
        self._saved = time.monotonic()

    def write_state(self) -> None:
        """Write how far the notebook is."""
        write_atomic(self.folder / "state.json", json.dumps(self.state))

    def finish(self, status: str, **error: str) -> None:
        """Write the cleaned notebook, its rendering and the final state, in this order."""
        self.state["seconds"] = time.monotonic() - self._begun  # measured here: the runner may be paused meanwhile
        if self.manager is not None:
            clean(self.manager.nb)
            self.save()
            render(self.folder / "notebook.ipynb")
        self.state |= {"status": status} | error
        self.write_state()


class RecordingEngine(NBClientEngine):
    """Papermill's own engine, watched by a recorder."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, recorder: Recorder, **options: Any
    ) -> None:
        """Execute as papermill does, once the recorder follows."""
        recorder.follow(nb_man)
        super().execute_managed_notebook(nb_man, kernel_name, **options)


def _runs(cell: nbformat.NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


def render(path: Path) -> None:
    """Write a notebook as HTML beside it, where nbconvert is installed; a failure is logged, for the run is good."""
    with contextlib.suppress(ImportError):
        from nbconvert import HTMLExporter

        try:
            exporter = HTMLExporter(embed_images=True)
            exporter.log.setLevel(logging.ERROR)  # it warns of missing texts, which are put in below
            node = nbformat.read(path, as_version=4)
            body = described(exporter.from_notebook_node(node)[0], node)
        except Exception:
            logging.exception("%s could not be rendered", path.name)
        else:
            write_atomic(path.with_suffix(".html"), body)


def described(body: str, node: nbformat.NotebookNode) -> str:
    """Rendered HTML with the alternative texts of the notebook's figures, which nbconvert 7 leaves out."""
    outputs = [output for cell in node.cells for output in cell.get("outputs", [])]
    texts = [o.metadata.get("image/png", {}).get("alt", "") for o in outputs if "image/png" in o.get("data", {})]
    parts = body.split(UNDESCRIBED)
    if len(parts) != len(texts) + 1:
        return body
    words = [f'alt="{escape(text)}"' if text else UNDESCRIBED for text in texts]
    return "".join(part + word for part, word in zip(parts, [*words, ""]))


def execute(folder: Path) -> None:
    """Run the job of a folder; whatever happens is in state.json afterwards."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recorder = Recorder(folder)
    papermill_engines.register("recording", RecordingEngine)
    try:
        papermill.execute_notebook(
            nbformat.read(job["source"], as_version=4),  # not the path: papermill reads braces in one as a template
            None,
            job["parameters"],
            engine_name="recording",
            kernel_name="python3",  # this environment's, whatever a saved notebook names
            language="python",
            progress_bar=False,
            log_output=True,
            recorder=recorder,
        )
    except PapermillExecutionError as error:
        logging.error(COLOUR.sub("", "\n".join(error.traceback)))
        recorder.finish("failed", ename=error.ename, evalue=error.evalue)
    except DeadKernelError:
        recorder.finish("dead", ename="DeadKernelError", evalue="the kernel died; out of memory is the usual reason")
    except Exception as error:
        logging.exception("The notebook could not be run")
        recorder.finish("failed", ename=type(error).__name__, evalue=str(error))
    else:
        recorder.finish("ok")


def main() -> None:
    """Run the job in the folder named on the command line."""
    end_with_parent(int(sys.argv[2]))
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    execute(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
