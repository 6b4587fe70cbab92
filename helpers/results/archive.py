"""The data behind the published figures, gathered from the run store: runs, epochs, answers, grids, sweeps, weights.

python -m helpers.archive FOLDER writes them there; it needs no more than a training does.
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they load torch
    from helpers.training.answers import Answers
    from helpers.training.runs import RunDirectory

PART = 15_000_000  # bytes of a file that is carried from machine to machine
Row = dict[str, Any]


class PublishError(ValueError):
    """Something cannot be published as it is: the message lists all that is wrong, and says if anything was written."""


def publish(folder: Path, runs_root: Path) -> None:
    """Write the data of the run store's full runs into a folder, beside what it holds of others.

    In other folders than images/, for which files must be small to be carried, long ones are split: NAME.0, NAME.1, …
    """
    from helpers.files import write_atomic
    from helpers.results import published

    written = data(folder, runs_root)
    if folder != published.IMAGES:
        written = dict(part for file in written.items() for part in parts(*file))
    for path, content in written.items():
        write_atomic(path, content)


def parts(path: Path, content: str | bytes) -> Iterator[tuple[Path, str | bytes]]:
    """A file as it is or, if it is long, in parts of at most PART bytes."""
    if len(content) <= PART:
        yield path, content
        return
    for number, begin in enumerate(range(0, len(content), PART)):
        yield path.with_name(f"{path.name}.{number}"), content[begin : begin + PART]


def data(folder: Path, runs_root: Path) -> dict[Path, str | bytes]:
    """Files of images/ as they are to be, from the full runs of a run store; shorter runs are no results.

    Raises:
        PublishError: a run lacks its answers and its weights, or saw other test images than the published ones, or
            one ended while the others were read, so that some files would tell of it and some not.
    """
    before = _records(runs_root)
    try:
        files = {**_tables(folder, runs_root), **_arrays(folder, runs_root)}
    except (RuntimeError, ValueError) as error:
        raise PublishError(f"nothing was published:\n  {error}") from error
    if _records(runs_root) != before:
        raise PublishError("nothing was published: a training ended meanwhile; publish again")
    return files


def _records(runs_root: Path) -> list[Path]:
    return sorted(runs_root.glob("*/full/*/seed-*/record.json"))


def _tables(folder: Path, runs_root: Path) -> dict[Path, str | bytes]:
    rows = {
        "results.csv": collect_runs(runs_root),
        "curves.csv": collect_curves(runs_root) + collect_begun(folder, runs_root),
        "rate_grid.csv": collect_grid(runs_root),
        "range_tests.csv": collect_range_tests(runs_root),
        "range_curves.csv": collect_range_curves(runs_root),
    }
    return {folder / name: merge(folder / name, new) for name, new in rows.items() if new}


def _arrays(folder: Path, runs_root: Path) -> dict[Path, str | bytes]:
    path = folder / "predictions.npz"
    answers = merged_answers(path, runs_root)
    return ({path: answers} if answers is not None else {}) | collect_weights(folder / "weights", runs_root)


def collect_runs(runs_root: Path) -> list[Row]:
    """One flat row per finished run: its key, every field of its recipe, what came of it, and the versions used.

    Only runs of the `full` profile count; shorter ones are no results.
    """
    return [row for row, _ in _finished(runs_root)]


def collect_curves(runs_root: Path) -> list[Row]:
    """One row per epoch of every finished run: its key and the columns of its history."""
    from helpers.results import published  # here, since it loads torch

    return [
        {**{key: row[key] for key in published.KEY}, **epoch}
        for row, history in _finished(runs_root)
        for epoch in history or ()
    ]


def collect_begun(folder: Path, runs_root: Path) -> list[Row]:
    """The same of full runs on CIFAR-10 that are under way; not of recipes with overrides, nor of published runs.

    Args:
        folder: images/ as it is.
        runs_root: the run store.
    """
    from helpers import recipes
    from helpers.results import published
    from helpers.training import runs

    known, rows = {published.key_of(row) for row in published.read_table(folder / "results.csv")}, []
    for path in sorted(runs_root.glob("cifar10/full/*/seed-*/history.csv")):
        recipe, seed = path.parent.parent.name, int(path.parent.name.removeprefix("seed-"))
        run, key = runs.RunDirectory(path.parent), ("cifar10", recipe, seed)
        if recipe in recipes.RECIPES and key not in known and run.record() is None:
            rows += [{**dict(zip(published.KEY, ("cifar10", "full", recipe, seed))), **row} for row in run.history()]
    return rows


def collect_grid(runs_root: Path) -> list[Row]:
    """One row per cell of a rate grid that has ended, well or diverged; see `rate_grid.row_of`."""
    from helpers.results import published, rate_grid
    from helpers.training import runs

    records = [run.record() for run in runs.finished_runs(runs_root)]
    diverged = sorted(runs_root.glob("cifar10/full/*/seed-*/diverged.json"))
    records += [runs.read_json(path, "delete it to train this cell anew") for path in diverged]
    cells = [record for record in records if record["profile"] == "full" and published.is_rehearsal(record["recipe"])]
    return [rate_grid.row_of(record) for record in cells]


def collect_range_tests(runs_root: Path) -> list[Row]:
    """One row per learning-rate range test at full scale: its key, what it suggests, and what made it."""
    from helpers.rates import sweeps  # here, since it loads torch

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
    from helpers.rates import sweeps

    return ((row, stored) for row, stored in sweeps.stored_sweeps(runs_root) if row["profile"] == "full")


def _finished(runs_root: Path) -> Iterable[tuple[Row, list[Row] | None]]:
    from helpers.results import published

    return ((published.flat(run.record()), run.history()) for run in published.stored(runs_root))


def merged_answers(path: Path, runs_root: Path) -> bytes | None:
    """Content of predictions.npz in which the run store's answers replace those they had, and other runs' stay.

    Args:
        path: the file as it is; it may be missing.
        runs_root: the run store.

    Returns:
        The bytes; None where the run store has no full run.
    """
    from helpers.results import published
    from helpers.training import answers

    new = {published.key_of(published.flat(run.record())): _answers(run) for run in published.stored(runs_root)}
    if not new:
        return None
    return answers.packed(published.answer_arrays({**published.read_answers(path), **new}))


def _answers(run: "RunDirectory") -> "Answers":
    """What a run said about its test images; a run that did not keep it is asked again, from its checkpoint."""
    kept = run.test_answers()
    if kept is None:
        kept = _asked(run)
        run.write_test_answers(kept)
    return kept


def _asked(run: "RunDirectory") -> "Answers":
    from helpers import recipes
    from helpers.results import weights
    from helpers.training import Setting, answers, engine

    record, state = run.record(), weights.judged_state(run)
    recipe = recipes.from_dict(record["recipe"])
    setting = Setting.of(recipe, record["dataset"], record["profile"], record["seed"])
    test = setting.splits()["test"]
    model = weights.restored(recipe.net, recipe.width, len(setting.dataset.classes), state)
    logits = engine.predict(setting.compute.place(model), test, setting.normalize)
    return answers.of_logits(logits.numpy(), test.labels)


def collect_weights(folder: Path, runs_root: Path) -> dict[Path, str | bytes]:
    """Weights to publish and their index, by path, see `weights.files`; none on a machine without safetensors."""
    from helpers.results import weights

    return weights.files(runs_root, folder) if weights.can_be_written() else {}


def merge(path: Path, rows: Iterable[Row]) -> str:
    """The text of a CSV file in which the given runs' rows replace those they had, and other runs' rows stay.

    Args:
        path: the file as it is; it may be missing.
        rows: new rows; all rows of one run together.
    """
    from helpers.results import published

    new = [{name: _text(value) for name, value in row.items()} for row in rows]
    replaced = {_run(row) for row in new}
    kept = [row for row in _read(path) if _run(row) not in replaced]
    merged = sorted(kept + new, key=_run)  # stable: epochs stay in order
    names = list(dict.fromkeys([*published.KEY, *(name for row in merged for name in row)]))
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


def main() -> int:
    """Command line; returns the exit status."""
    from helpers.training import runs

    try:
        publish(Path(sys.argv[1]).resolve(), runs.runs_root())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
