"""The series as files: finding the notebooks, their parameters, and which of them need which."""

import ast
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from helpers.files import literal, number

UNKNOWN = object()  # the default of a parameter that is no literal
KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list such as [4, 5]",
    tuple: "a list such as [4, 5]",
    dict: 'fields such as {"epochs": 1}',
}


class NotebookError(ValueError):
    """A notebook, or what was asked of one, does not fit; the message says what does."""


@dataclass(frozen=True)
class Notebook:
    """One notebook of the series.

    Attributes:
        path: its source file, NN_name.ipynb.
        node: its content.
        parameters: name and default of what its tagged cell declares.
        needs: prefixes of the notebooks whose runs it uses.
        compares: whether it shows all full runs that are known, so that a new one outdates it.
        reads: files of the repository whose content it shows, by their paths in it; another content outdates it.
    """

    path: Path
    node: NotebookNode
    parameters: dict[str, Any]
    needs: tuple[str, ...]
    compares: bool = False
    reads: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """File name without the ending, for example "05_train_one_cycle"."""
        return self.path.stem

    @property
    def key(self) -> str:
        """The number it starts with, for example "05"."""
        return self.name[:2]


def read(path: Path) -> Notebook:
    """Read a notebook and what it declares.

    Raises:
        NotebookError: not a notebook, or its parameters cell is missing, doubled or not Python.
    """
    try:
        node = nbformat.read(path, as_version=4)
    except (ValueError, OSError) as error:
        raise NotebookError(f"{path.name} cannot be read as a notebook: {error}") from error
    facts = node.metadata.get("helpers", {})
    needs, compares = tuple(facts.get("needs", [])), bool(facts.get("compares"))
    return Notebook(path, node, declared(node, path.name), needs, compares, tuple(facts.get("reads", [])))


def tagged(node: NotebookNode, tag: str) -> list[NotebookNode]:
    """Cells that carry a tag."""
    return [cell for cell in node.cells if tag in cell.metadata.get("tags", [])]


def declared(node: NotebookNode, name: str) -> dict[str, Any]:
    """Parameters that the tagged cell assigns, with their defaults (UNKNOWN where no literal stands).

    Parsed rather than searched line by line: papermill's own inspection misreads a line with two "=".
    """
    cells = [cell for cell in tagged(node, "parameters") if cell.cell_type == "code"]
    if len(cells) != 1:
        raise NotebookError(f"{name} has {len(cells)} code cells tagged 'parameters'; it needs exactly one")
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise NotebookError(f"{name}: the parameters cell is not plain Python: {error}") from error
    return dict(pair for statement in statements for pair in _assigned(statement))


def _assigned(statement: ast.stmt) -> Iterable[tuple[str, Any]]:
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    for target in targets:
        if isinstance(target, ast.Name) and isinstance(statement, ast.Assign | ast.AnnAssign):
            try:
                yield target.id, ast.literal_eval(statement.value)
            except (ValueError, TypeError):
                yield target.id, UNKNOWN


def discover(folder: Path) -> dict[str, Notebook]:
    """Read every NN_*.ipynb of a folder, by number.

    Raises:
        NotebookError: none there, one unreadable, a number used twice, or a need that is not there.
    """
    notebooks: dict[str, Notebook] = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        notebook = read(path)
        if notebook.key in notebooks:
            raise NotebookError(f"{path.name} and {notebooks[notebook.key].path.name} have the same number")
        notebooks[notebook.key] = notebook
    if not notebooks:
        raise NotebookError(f"no notebook named NN_*.ipynb in {folder}")
    for notebook in notebooks.values():
        unknown = set(notebook.needs) - set(notebooks)
        if unknown:
            raise NotebookError(f"{notebook.name} needs {sorted(unknown)}; there are {', '.join(notebooks)}")
    return notebooks


def select(notebooks: Mapping[str, Notebook], only: Iterable[str]) -> list[str]:
    """Numbers of the notebooks meant by names such as 5, 05, 05_train or 05_train.ipynb; all if none is given.

    Raises:
        NotebookError: a name that means none of them.
    """
    chosen = []
    for name in only:
        stem = Path(name).name.removesuffix(".ipynb")
        key = stem.zfill(2)
        matches = [n.key for n in notebooks.values() if n.key == key or n.name == stem]
        if not matches:
            known = ", ".join(n.name for n in notebooks.values())
            raise NotebookError(f"no notebook {name!r}; there are: {known}")
        chosen += matches
    return sorted(set(chosen)) or list(notebooks)


def in_order(notebooks: Mapping[str, Notebook], chosen: Iterable[str]) -> list[str]:
    """The chosen notebooks and all they need, what is needed first, else by number.

    Raises:
        NotebookError: notebooks that need each other.
    """
    wanted = set(chosen)
    for key in (queue := list(wanted)):
        queue += [need for need in notebooks[key].needs if need not in wanted]
        wanted.update(notebooks[key].needs)
    order: list[str] = []
    ready = [key for key in sorted(wanted) if not notebooks[key].needs]
    while ready:
        order.append(heapq.heappop(ready))
        for key in wanted - set(order) - set(ready):
            if set(notebooks[key].needs) <= set(order):
                heapq.heappush(ready, key)
    if len(order) < len(wanted):
        raise NotebookError(f"notebooks need each other in a circle: {', '.join(sorted(wanted - set(order)))}")
    return order


def assign(notebooks: Iterable[Notebook], settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give each notebook the NAME=VALUE settings that it declares, typed as its defaults are.

    Returns:
        {notebook number: {name: value}}

    Raises:
        NotebookError: a setting without "=", a name none of the notebooks declares, a value of another type.
    """
    notebooks = list(notebooks)
    values: dict[str, dict[str, Any]] = {notebook.key: {} for notebook in notebooks}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            raise NotebookError(f"--set takes NAME=VALUE, got {setting!r}")
        takers = [notebook for notebook in notebooks if name in notebook.parameters]
        if not takers:
            known = sorted({parameter for notebook in notebooks for parameter in notebook.parameters})
            raise NotebookError(f"no selected notebook declares {name!r}; declared are: {', '.join(known)}")
        for notebook in takers:
            values[notebook.key][name] = _typed(name, text, notebook.parameters[name])
    return values


def _typed(name: str, text: str, default: Any) -> Any:
    value = literal(text)
    if isinstance(default, str):
        return value if isinstance(value, str) else text
    kind = KINDS.get(type(default))
    if kind and KINDS.get(type(value)) != kind:
        raise NotebookError(f"{name} takes {kind} (default {default!r}), got {text!r}")
    if name == "seed":
        try:
            number(name, value, low=0, whole=True)
        except ValueError as error:
            raise NotebookError(str(error)) from None
    return value
