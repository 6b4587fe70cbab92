"""One job of a request in a process of its own: python -m helpers.regenerate.job REQUEST ENGINE NAME.

NAME is that of a notebook, or the place of a run in the run store. The job ends with the engine that started it, whose
process number is ENGINE, and a notebook at its limit; what it has put out is kept.
"""

import json
import logging
import os
import re
import signal
import sys
import time
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NoReturn, TextIO

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from helpers.files import end_with, in_words, write_atomic

SAVE_SECONDS = 30
COLOUR = re.compile(r"\x1b\[[\d;]*m")
CURSOR_UP = re.compile(r"\x1b\[\d*A")  # nested progress bars move the cursor; a notebook has none
UNDESCRIBED = 'alt="No description has been provided for this image"'  # what nbconvert writes


class TimeIsUp(BaseException):
    """The whole notebook took longer than its limit."""


def notebook(request: dict[str, Any], name: str) -> tuple[bool, str]:
    """Execute a notebook; it appears in its place when it is finished, as NAME.partial.ipynb before.

    Returns whether it went well, and what to say; NAME.json, an entry of the summary, says it in full.
    """
    out, asked = Path(request["out"]), request["notebooks"][name]
    part, began = out / f"{name}.partial.ipynb", time.monotonic()
    entry = {"name": name, "status": "killed", "begun": time.time(), "seconds": 0}
    entry |= {"parameters": asked["values"], "device": request["device"]}
    write_atomic(out / "logs" / f"{name}.json", json.dumps(entry))  # true until something better is known
    signal.setitimer(signal.ITIMER_REAL, request["limit"])
    try:
        run(asked, part, out)
        entry["status"] = "ok"
    except TimeIsUp:
        entry |= {"status": "timeout", "note": f"after {request['limit']:g} s"}
    except KeyboardInterrupt:
        entry["status"] = "interrupted"
    except Exception as error:
        entry |= {"status": "failed"} | told(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    entry |= {"seconds": round(time.monotonic() - began, 1), "finished": datetime.now(UTC).isoformat("T", "seconds")}
    write_atomic(out / "logs" / f"{name}.json", json.dumps(entry))
    if part.is_file() and entry["status"] != "interrupted":  # then there is no time
        tidy(part, out / f"{name}.html", final=out / f"{name}.ipynb" if entry["status"] == "ok" else part)
    lines = [f"{name}: {entry['status']} after {in_words(entry['seconds'])}", entry.get("note", "")]
    lines += [] if entry["status"] == "ok" else [f"what ran: {part}"]
    return entry["status"] == "ok", "\n    ".join(filter(None, lines))


def run(asked: dict[str, Any], part: Path, out: Path) -> None:
    """Let papermill execute a notebook into a file that it saves after every cell."""
    papermill.execute_notebook(
        nbformat.read(asked["source"], as_version=4),
        str(part).replace("{", "{{").replace("}", "}}"),  # papermill reads braces in a path as a template
        asked["values"],
        kernel_name="python3",  # this environment's, whatever a saved notebook names
        language="python",
        progress_bar=False,
        log_output=True,
        autosave_cell_every=SAVE_SECONDS,
        cwd=str(out),
    )


def told(error: Exception) -> dict[str, Any]:
    """Cell and error of a failure, as far as they are known."""
    if isinstance(error, DeadKernelError):
        return {"note": "the kernel died; out of memory is the usual reason"}
    if not isinstance(error, PapermillExecutionError):
        return {"note": f"{type(error).__name__}: {error}"}
    logging.error(COLOUR.sub("", "\n".join(error.traceback)))
    line = error.source.strip().splitlines()[0]
    return {"cell": error.exec_count, "note": f"cell {error.exec_count}, {line!r}: {error.ename}: {error.evalue}"}


def tidy(part: Path, page: Path, final: Path) -> None:
    """Move an executed notebook to its place, cleaned; `page` is its rendering as HTML."""
    node = nbformat.read(part, as_version=4)
    clean(node)
    page.write_text(rendered(node), encoding="utf-8")
    write_atomic(part, nbformat.writes(node) + "\n")
    os.replace(part, final)


def clean(node: NotebookNode) -> None:
    """Join the pieces of a stream, settle progress bars, and drop papermill's notes on paths and times.

    The cell of injected parameters stays: it says what ran.
    """
    node.metadata.pop("papermill", None)
    for cell in node.cells:
        for trace in ("papermill", "execution"):
            cell.metadata.pop(trace, None)
        if not cell.metadata.get("tags", True):  # papermill leaves an empty list everywhere
            del cell.metadata["tags"]
        outputs: list[NotebookNode] = []
        for output in cell.get("outputs", []):
            if outputs and "text" in output and output.get("name") == outputs[-1].get("name"):
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        for output in (output for output in outputs if "text" in output):
            output.text = settled(output.text)
        if cell.cell_type == "code":
            cell.outputs = [output for output in outputs if output.get("text", "shown").strip()]


def settled(text: str) -> str:
    """What a terminal shows of a text in the end: in each line, what followed the last carriage return.

    >>> settled("10%\\r50%\\r100%\\ndone")
    '100%\\ndone'
    """
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in CURSOR_UP.sub("", text).split("\n"))
    return "\n".join(line.rstrip() for line in lines)


def rendered(node: NotebookNode) -> str:
    """A notebook as an HTML page, with the alternative texts of its figures, which nbconvert 7 leaves out."""
    exporter = HTMLExporter(embed_images=True)
    exporter.log.setLevel(logging.ERROR)  # it warns of missing texts, which are put in here
    page = exporter.from_notebook_node(node)[0]
    for output in (output for cell in node.cells for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            text = output.metadata.get("image/png", {}).get("alt", "figure")
            page = page.replace(UNDESCRIBED, f'alt="{escape(text)}"', 1)
    return page


def training(request: dict[str, Any], place: str) -> tuple[bool, str]:
    """Train a run, or go on with it; returns whether it went well, and what to say."""
    from helpers.training import __main__ as command_line

    asked = request["trainings"][place]
    began, status = time.monotonic(), command_line.main(asked)
    return status == 0, f"{place}: {'failed' if status else 'trained'} after {in_words(time.monotonic() - began)}"


def to_log(path: Path) -> TextIO:
    """Send this process's output to a log from now on; returns the console that it had."""
    console = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return console


def stop(number: int, frame: object) -> NoReturn:
    """What a signal means."""
    raise TimeIsUp if number == signal.SIGALRM else KeyboardInterrupt


def main(path: str, engine: str, name: str) -> int:
    """Command line; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    end_with(int(engine))
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    is_notebook = name in request["notebooks"]
    folder = Path(request["out"] if is_notebook else request["runs"]) / "logs"
    log = folder / f"{name.replace('/', '-')}.log"
    console = to_log(log)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    good, said = (notebook if is_notebook else training)(request, name)
    print(said if good else f"{said}\n    log: {log}", file=console, flush=True)
    return not good


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
