"""One job of a request in a process of its own: python -m helpers.regenerate.job REQUEST ENGINE NAME.

NAME is that of a notebook, or the place of a run in the run store. The job ends with the engine that started it, whose
process number is ENGINE, and a notebook at its limit; what it has put out is kept. logs/NAME.json, an entry of the
summary, says what came of it; file descriptor 3, the console, is told, too.
"""

import json
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.exceptions import PapermillExecutionError

from helpers.files import end_with, in_words, write_atomic

PAGE = """{% extends "lab/index.html.j2" %}
{% block data_png scoped %}{# with alternative texts, which nbconvert 7 leaves out #}
{% set alt = output.metadata.get("image/png", {}).get("alt", "figure") %}
{{ super() | replace("<img", '<img alt="' ~ (alt | escape_html) ~ '"', 1) }}
{% endblock %}"""


class TimeIsUp(BaseException):
    """The whole notebook took longer than its limit."""


def outcome(request: dict[str, Any], name: str) -> tuple[str, str]:
    """Do the job; returns its status, and what to say of it."""
    try:
        return "ok", (notebook if name in request["notebooks"] else training)(request, name)
    except TimeIsUp:
        return "timeout", f"after {request['limit']:g} s"
    except KeyboardInterrupt:
        return "interrupted", ""
    except DeadKernelError:
        return "failed", "the kernel died; out of memory is the usual reason"
    except PapermillExecutionError as error:
        logging.error(error)
        line = error.source.strip().splitlines()[0]
        return "failed", f"cell {error.exec_count}, {line!r}: {error.ename}: {error.evalue}"
    except Exception as error:
        logging.exception("the job failed")
        return "failed", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def notebook(request: dict[str, Any], name: str) -> str:
    """Let papermill execute a notebook into NAME.partial.ipynb, which it saves after every cell."""
    signal.setitimer(signal.ITIMER_REAL, request["limit"])
    papermill.execute_notebook(
        nbformat.read(request["notebooks"][name]["source"], as_version=4),
        f"{request['out']}/{name}.partial.ipynb",
        request["notebooks"][name]["values"],
        kernel_name="python3",  # this environment's, whatever a saved notebook names
        progress_bar=False,
        log_output=True,
        cwd=request["out"],
    )
    return ""


def training(request: dict[str, Any], place: str) -> str:
    """Train a run, or go on with it."""
    from helpers import recipes
    from helpers.training import fit

    asked = request["trainings"][place]
    recipe = recipes.get(asked["recipe"], asked["overrides"])
    record = fit(recipe, request["dataset"], profile=request["profile"], seed=asked["seed"]).record
    return f"test accuracy {record['test_accuracy']:.2%} ({record['weights']} weights, last epoch), {record['device']}"


def tidy(part: Path, page: Path, final: Path) -> None:
    """Move an executed notebook to its place, streams in one piece and progress bars as they ended; `page` is HTML."""
    node = nbformat.read(part, as_version=4)
    CoalesceStreamsPreprocessor().preprocess(node, {})
    for cell in (cell for cell in node.cells if cell.cell_type == "code"):
        for output in (output for output in cell.outputs if "text" in output):
            output.text = "\n".join(line.rstrip() for line in output.text.split("\n"))
        cell.outputs = [output for output in cell.outputs if output.get("text", "shown").strip()]
    page.write_text(HTMLExporter(raw_template=PAGE, embed_images=True).from_notebook_node(node)[0], encoding="utf-8")
    write_atomic(part, nbformat.writes(node) + "\n")
    os.replace(part, final)


def stop(number: int, frame: object) -> NoReturn:
    """What a signal means."""
    raise TimeIsUp if number == signal.SIGALRM else KeyboardInterrupt


def main(path: str, engine: str, name: str) -> int:
    """Command line; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, stop)
    end_with(int(engine))
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    out = Path(request["out"])
    asked = request["notebooks"][name]["values"] if name in request["notebooks"] else request["trainings"][name]
    entry = {"name": name, "status": "killed", "seconds": 0, "note": ""}
    entry |= {"parameters": asked, "device": request["device"], "begun": time.time()}
    write_atomic(out / f"logs/{name}.json", json.dumps(entry))  # true until something better is known
    status, note = outcome(request, name)
    entry |= {"status": status, "note": note, "seconds": round(time.time() - entry["begun"], 1)}
    entry |= {"finished": datetime.now(UTC).isoformat("T", "seconds")}
    write_atomic(out / f"logs/{name}.json", json.dumps(entry))
    part, good = out / f"{name}.partial.ipynb", status == "ok"
    if part.is_file() and status != "interrupted":  # then there is no time
        tidy(part, out / f"{name}.html", final=out / f"{name}.ipynb" if good else part)
    lines = [f"{name}: {status} after {in_words(entry['seconds'])}", note, f"log: {out}/logs/{name}.log" * (not good)]
    with open(3, "w", encoding="utf-8") as console:
        print("\n    ".join(filter(None, lines)), file=console)
    return not good


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
