"""Writing a finished run back into the tree: notebooks, figures, data and the README's tables. All of it or nothing."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat

from helpers.colab import repository
from helpers.files import PartlyReplaced, write_all
from helpers.regenerate.notebooks import Notebook, read
from helpers.regenerate.outputs import figures, headline, published, stamped
from helpers.regenerate.planning import sources
from helpers.regenerate.tables import between, table, with_tables
from helpers.regenerate.words import in_words

BYTES = 500_000
BYTES_OF = {"06": 1_500_000}  # a page full of images and maps


class PublishError(ValueError):
    """Something cannot be published as it is: the message lists all that is wrong, and says if anything was written."""


COLUMNS = ("Notebook", "Colab", "Question", "Run time", "Result")
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github"


def publish(
    root: Path,
    series: Mapping[str, Notebook],
    chosen: Iterable[str],
    out: Path,
    entries: Mapping[str, Mapping[str, Any]],
    runs_root: Path,
) -> list[Path]:
    """Write what a successful run put out into the tree.

    Args:
        root: the repository.
        series: every notebook, by number.
        chosen: numbers of those to publish.
        out: folder of the executed notebooks.
        entries: the summary, by notebook name.
        runs_root: the run store, source of the data in images/.

    Returns:
        The files written.

    Raises:
        PublishError: see there.
    """
    files: dict[Path, str | bytes] = {}
    problems: list[str] = []
    hidden = machine_folders(root, out, runs_root)
    series = dict(series)
    for key in chosen:
        name = series[key].name
        executed = nbformat.read(out / f"{name}.ipynb", as_version=4)
        node, faults = published(series[key].node, executed, run_time(entries[name]), hidden)
        text = nbformat.writes(node) + "\n"
        edited = sources(read(series[key].path)) != sources(series[key])
        faults += ["its source was edited while it ran; run it again"] if edited else []
        problems += [f"{name}: {fault}" for fault in [*faults, *_too_large(key, text)]]
        series[key] = replace(series[key], node=node)
        files[series[key].path] = text
        files |= {root / "images" / f"{figure}.png": image for figure, image in figures(node).items()}
    return _write(root, files, series, problems, runs_root)


def publish_data(root: Path, series: Mapping[str, Notebook], runs_root: Path) -> list[Path]:
    """Write the data of full runs and the README's tables into the tree, and no notebook.

    Args:
        root, series, runs_root: as in `publish`.

    Returns:
        The files written.

    Raises:
        PublishError: the README lacks a table's markers, or runs of the store are damaged.
    """
    return _write(root, {}, series, [], runs_root)


def _write(
    root: Path, files: dict[Path, str | bytes], series: Mapping[str, Notebook], problems: list[str], runs_root: Path
) -> list[Path]:
    """Write files, the data of full runs and the README that belongs to them, unless something speaks against it."""
    from helpers.results import archive  # here, since it loads torch

    try:
        files |= archive.data(root / "images", runs_root)
        files[root / "README.md"] = _readme(root, series, problems, runs_root)
    except (RuntimeError, ValueError) as error:
        raise PublishError(f"nothing was published:\n  {error}") from error
    if problems:
        raise PublishError("nothing was published:\n  " + "\n  ".join(problems))
    try:
        write_all(files)
    except PartlyReplaced as error:
        raise PublishError(f"{error}; make it writable, and publish again") from error
    except OSError as error:
        raise PublishError(f"nothing was published: {error}") from error
    return list(files)


def machine_folders(root: Path, out: Path, runs_root: Path) -> dict[str, str]:
    """Folders of this machine, and what published outputs say in their place."""
    folders = {root: "", out: "runs/notebooks", runs_root: "runs", Path.home(): "~"}
    data = os.environ.get("CIFAR10_ROOT")
    if data:
        folders[Path(data)] = "data"
    return {str(folder.absolute()): name for folder, name in folders.items() if folder != Path("/")}


def run_time(entry: Mapping[str, Any]) -> str:
    """How long a notebook took, and on what: "6 min 12 s on cpu (2 threads), bf16; full profile, cifar10"."""
    given = entry["parameters"]
    how = [f"{given['profile']} profile"] if "profile" in given else []
    how += [given["dataset"]] if "dataset" in given else []
    before: dict[str, list[float]] = {}
    for use in entry.get("trained_before", {}).values():
        before.setdefault(use["device"], []).append(use["seconds"])
    words = [f"{in_words(entry['seconds'])} on {entry['device']}", ", ".join(how)]
    for device, seconds in before.items():
        runs = f" in {len(seconds)} runs" if len(seconds) > 1 else ""
        words.append(f"and before that {in_words(sum(seconds))} of training{runs}, on {device}")
    return "; ".join(filter(None, words))


def _too_large(key: str, text: str) -> list[str]:
    size, limit = len(text.encode()), BYTES_OF.get(key, BYTES)
    if size <= limit:
        return []
    return [f"{size / 1000:.0f} KB are more than {limit / 1000:.0f} KB; show fewer or smaller figures"]


def _readme(root: Path, series: Mapping[str, Notebook], problems: list[str], runs_root: Path) -> str:
    from helpers import results  # here, since it loads torch

    text = (root / "README.md").read_text(encoding="utf-8")
    notebooks = table(COLUMNS, [_row(notebook, repository(root)) for notebook in series.values()])
    text = between(text, "notebooks", notebooks, problems)
    where = (root / "images", runs_root)
    return with_tables(text, results.runs(*where), results.histories(*where), problems)


def _row(notebook: Notebook, repo: str) -> list[str]:
    path = f"notebooks/{notebook.name}.ipynb"
    title = notebook.name[:2] + " " + notebook.name[3:].replace("_", " ")
    badge = f"[![Open in Colab]({BADGE})]({COLAB}/{repo}/blob/main/{path})"
    question = notebook.node.metadata.get("helpers", {}).get("question", "")
    return [f"[{title}]({path})", badge, question, stamped(notebook.node), headline(notebook.node)]
