"""What a call of the runner tells: the plan, a line and a block per notebook, the table, summary.json, index.html."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from helpers.files import write_atomic
from helpers.regenerate.batch import clock
from helpers.regenerate.planning import Task
from helpers.regenerate.processes import Result

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Executed notebooks</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }} th, td {{ text-align: left; padding: .3rem .8rem .3rem 0 }}
tr {{ border-bottom: 1px solid #ddd }} .failed, .timeout, .interrupted, .skipped {{ color: #b00020 }}
</style></head><body><h1>Executed notebooks</h1>
<table><tr><th>Notebook</th><th>Status</th><th>Time</th><th>Cells</th><th>Files</th><th>Ran with</th><th>Note</th></tr>
{rows}
</table></body></html>
"""


def load_summary(out: Path) -> dict[str, dict[str, Any]]:
    """Entries of the last summary by notebook name; none if there is no readable one."""
    try:
        entries = json.loads((out / "summary.json").read_text(encoding="utf-8"))["notebooks"]
        return {name: Result(**entry).to_dict() for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing, damaged, or of an older form
        return {}


def write_summary(out: Path, entries: Mapping[str, Mapping[str, Any]], status: str) -> None:
    """Replace summary.json and index.html.

    Args:
        out: their folder.
        entries: by notebook name; those of earlier calls stay.
        status: "running", "ok", "failed" or "interrupted", of the call.
    """
    ordered = {name: entries[name] for name in sorted(entries)}
    write_atomic(out / "summary.json", json.dumps({"status": status, "notebooks": ordered}, indent=1) + "\n")
    rows = "\n".join(_row(out, entry) for entry in ordered.values())
    write_atomic(out / "index.html", PAGE.format(rows=rows))


def _row(out: Path, entry: Mapping[str, Any]) -> str:
    name = entry["name"]
    files = {f"{name}.html": "read", f"{name}.ipynb": "notebook", f"logs/{name}.log": "log"}
    links = " · ".join(f'<a href="{escape(file)}">{text}</a>' for file, text in files.items() if (out / file).is_file())
    ran_with = ", ".join(f"{key}={value}" for key, value in entry["parameters"].items())
    cells = [name, entry["status"], clock(entry["seconds"]), f"{entry['cells_run']}/{entry['cells']}"]
    columns = [*map(escape, cells), links, escape(ran_with), escape(entry["note"])]
    return f'<tr class="{escape(entry["status"])}">' + "".join(f"<td>{column}</td>" for column in columns) + "</tr>"


def describe_plan(plan: Iterable[Task]) -> str:
    """One line per notebook: whether it would run, why, and with which parameters."""
    rows = []
    for task in plan:
        passed = " ".join(f"{name}={value!r}" for name, value in task.parameters.items())
        rows.append([task.notebook.name, "run" if task.why else "skip", task.why or "finished and unchanged", passed])
    return columns(["notebook", "", "why", "parameters"], rows)


def describe_result(result: Result, out: Path) -> str:
    """What to print when a notebook ends: one line, or a block with cell, error and files where it went wrong."""
    head = f"{result.name}: {result.status} after {clock(result.seconds)}"
    if result.status in ("ok", "skipped"):
        return f"{head}, {result.cells_run} cells" if result.status == "ok" else f"{result.name}: {result.note}"
    lines = [f"{head}, {result.note}"]
    if result.error:
        error = result.error
        lines = [f"{head}, in cell {error['cell']} of {result.cells}", f"    {error['line']}"]
        lines.append(f"    {error['ename']}: {error['evalue']}")
    lines.append(f"    what ran: {shown(out / result.name)}.ipynb, log: {shown(out / 'logs' / result.name)}.log")
    return "\n".join(lines)


def shown(path: Path) -> Path:
    """A path as the reader would type it: relative where it lies below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def table(plan: Iterable[Task], results: Mapping[str, Result], entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The closing table: notebook, status, seconds, cells, note."""
    rows = []
    for task in plan:
        result = results.get(task.notebook.key) or Result(task.notebook.name, "not started")
        ran = result.cells > 0
        note = f"finished {entries[result.name]['finished']}" if result.status == "unchanged" else result.note
        seconds, cells = f"{result.seconds:.1f}" if ran else "", f"{result.cells_run}/{result.cells}" if ran else ""
        rows.append([result.name, result.status, seconds, cells, note])
    return columns(["notebook", "status", "seconds", "cells", "note"], rows)


def columns(head: list[str], rows: list[list[str]]) -> str:
    """Rows of text, aligned under their head."""
    every = [head, *rows]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in every)
