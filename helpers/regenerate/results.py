"""The data behind the published figures, gathered from the run store: runs, their epochs, range tests, their steps."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RUN = ("dataset", "profile", "recipe", "seed")
RECIPE_FIELDS = ("net", "width", "batch_size", "epochs", "schedule", "claim")
Row = dict[str, Any]


def collect_runs(runs_root: Path) -> list[Row]:
    """One flat row per finished run: its key, what the recipe is in short, and the plain values of its record.

    Only runs of the `full` profile count; shorter ones are no results.
    """
    return [row for row, _ in _finished(runs_root)]


def collect_curves(runs_root: Path) -> list[Row]:
    """One row per epoch of every finished run: its key and the columns of its history."""
    return [
        {**{key: row[key] for key in RUN}, **epoch} for row, history in _finished(runs_root) for epoch in history or ()
    ]


def collect_range_tests(runs_root: Path) -> list[Row]:
    """One row per learning-rate range test at full scale: its key, what it suggests, and what made it."""
    from helpers import sweeps  # here, since it loads torch

    rows = []
    for row, stored in _full_sweeps(runs_root):
        found = sweeps.suggestions(stored)
        versions = {name: stored["versions"][name] for name in ("python", "torch")}
        facts = {name: stored[name] for name in ("seconds", "device", "commit", "date")}
        rows.append({**row, "steps": len(stored["lr"]), **found, **facts, **versions})
    return rows


def collect_range_curves(runs_root: Path) -> list[Row]:
    """One row per step of those range tests: its key, rate, loss and accuracy."""
    return [
        {**row, "step": step, "lr": lr, "loss": loss, "accuracy": accuracy}
        for row, stored in _full_sweeps(runs_root)
        for step, (lr, loss, accuracy) in enumerate(zip(stored["lr"], stored["loss"], stored["accuracy"]))
    ]


def _full_sweeps(runs_root: Path) -> Iterable[tuple[Row, Row]]:
    from helpers import sweeps

    return ((row, stored) for row, stored in sweeps.stored_sweeps(runs_root) if row["profile"] == "full")


def _finished(runs_root: Path) -> Iterable[tuple[Row, list[Row] | None]]:
    from helpers import runs  # here, since it loads torch

    for directory in runs.finished_runs(runs_root):
        record = directory.record()
        if record and record["profile"] == "full":
            yield _flat(record), directory.history()


def _flat(record: Mapping[str, Any]) -> Row:
    recipe = record["recipe"]
    key = {name: recipe["name"] if name == "recipe" else record[name] for name in RUN}
    short = {name: recipe.get(name) for name in RECIPE_FIELDS}
    plain = {name: value for name, value in record.items() if value is None or isinstance(value, str | int | float)}
    return {**key, **short, **plain}


def merge(path: Path, rows: Iterable[Row]) -> str:
    """The text of a CSV file in which the given runs' rows replace those they had, and other runs' rows stay.

    Args:
        path: the file as it is; it may be missing.
        rows: new rows; all rows of one run together.
    """
    new = [{name: _text(value) for name, value in row.items()} for row in rows]
    replaced = {_run(row) for row in new}
    kept = [row for row in _read(path) if _run(row) not in replaced]
    merged = sorted(kept + new, key=_run)  # stable: epochs stay in order
    names = list(dict.fromkeys([*RUN, *(name for row in merged for name in row)]))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(merged)
    return file.getvalue()


def _run(row: Mapping[str, str]) -> tuple[str, str, str, str, int]:
    return row["dataset"], row["profile"], row["recipe"], row.get("sweep", ""), int(row["seed"])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
