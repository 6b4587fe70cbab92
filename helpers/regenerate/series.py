"""The notebooks of the series, what each declares, and the parameters of a request, checked before anything runs."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from helpers.files import literal

KINDS = {bool: "True or False", int: "a whole number", float: "a number", list: "a list", dict: "a dictionary"}
RUN_TIME = re.compile(r"(<!-- run-time -->).*?(<!-- /run-time -->)", re.DOTALL)


class RequestError(ValueError):
    """What was asked for makes no sense, or a notebook does not declare what it must."""


@dataclass(frozen=True)
class Notebook:
    """A notebook of the series; its metadata's "helpers" has a question, and may have trains, compares and reads."""

    path: Path
    node: NotebookNode
    parameters: dict[str, Any]  # name and default of what its tagged cell declares
    trains: bool  # shows the run of its own parameters recipe, overrides and seed
    compares: bool  # shows all full runs that are known, so that a new one outdates it
    reads: tuple[str, ...]  # files of the repository that it shows, so that another content outdates it

    @property
    def key(self) -> str:
        """The number it starts with, for example "05"."""
        return self.path.stem[:2]

    def digest(self) -> str:
        """Of what decides its outputs: cells and their tags, but no outputs and no stamped run time."""
        cells = [
            [cell.cell_type, RUN_TIME.sub(r"\1\2", cell.source), sorted(cell.metadata.get("tags", []))]
            for cell in self.node.cells
        ]
        return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def read(path: Path) -> Notebook:
    """Read a notebook and what it declares."""
    try:
        node = nbformat.read(path, as_version=4)
    except (ValueError, OSError) as error:
        raise RequestError(f"{path.name} cannot be read as a notebook: {error}") from error
    facts = node.metadata.get("helpers", {})
    kinds = bool(facts.get("trains")), bool(facts.get("compares"))
    return Notebook(path, node, declared(node, path.name), *kinds, tuple(facts.get("reads", ())))


def declared(node: NotebookNode, name: str) -> dict[str, Any]:
    """Parameters that the tagged cell assigns, with their defaults, which are literals.

    Parsed rather than searched line by line: papermill's own inspection misreads a line with two "=".
    """
    cells = [cell.source for cell in node.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise RequestError(f"{name} has {len(cells)} cells tagged 'parameters'; it needs exactly one")
    try:
        return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cells[0]).body}
    except (SyntaxError, AttributeError, ValueError) as error:
        raise RequestError(f"{name}: the parameters cell may hold lines NAME = LITERAL alone: {error}") from error


def discover(folder: Path) -> dict[str, Notebook]:
    """Read every NN_*.ipynb of a folder, by number."""
    notebooks: dict[str, Notebook] = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        notebook = read(path)
        if notebook.key in notebooks:
            raise RequestError(f"{path.name} and {notebooks[notebook.key].path.name} have the same number")
        notebooks[notebook.key] = notebook
    if not notebooks:
        raise RequestError(f"no notebook named NN_*.ipynb in {folder}")
    return notebooks


def select(notebooks: Mapping[str, Notebook], only: Iterable[str]) -> list[Notebook]:
    """The notebooks meant by names such as 5, 05, 05_train or 05_train.ipynb, in order; all if none is given."""
    chosen = set()
    for name in only:
        stem = Path(name).name.removesuffix(".ipynb")
        matches = [key for key, one in notebooks.items() if stem in (one.path.stem, key, key.lstrip("0"))]
        if not matches:
            raise RequestError(f"no notebook {name!r}; there are: {', '.join(n.path.stem for n in notebooks.values())}")
        chosen.update(matches)
    return [notebooks[key] for key in sorted(chosen or notebooks)]


def assign(notebooks: Iterable[Notebook], settings: Iterable[str], fixed: Mapping[str, Any]) -> dict[str, dict]:
    """Give each notebook, by its number, the NAME=VALUE settings that it declares, typed as its defaults are.

    `fixed` are values that options of their own set for all notebooks alike.
    """
    notebooks = list(notebooks)
    values: dict[str, dict[str, Any]] = {
        one.key: {k: v for k, v in fixed.items() if k in one.parameters} for one in notebooks
    }
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise RequestError(f"--set takes NAME=VALUE, got {setting!r}")
        if name in fixed:
            raise RequestError(f"{name} is set by --{name}, for all notebooks alike")
        takers = [notebook for notebook in notebooks if name in notebook.parameters]
        if not takers:
            known = sorted({parameter for notebook in notebooks for parameter in notebook.parameters})
            raise RequestError(f"no selected notebook declares {name!r}; declared are: {', '.join(known)}")
        for notebook in takers:
            values[notebook.key][name] = typed(name, text, notebook.parameters[name])
    return values


def typed(name: str, text: str, default: Any) -> Any:
    """A setting's value in the type of its default."""
    value = text if isinstance(default, str) else literal(text)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise RequestError(f"{name} takes {KINDS[type(default)]} (default {default!r}), got {text!r}")
    if name == "seed" and value < 0:
        raise RequestError(f"seed must be 0 or more, got {text}")
    return value
