"""The notebooks of the series, what each declares, and the parameters of a request, checked before anything runs.

A notebook's metadata has "helpers": its question, and what outdates it, if anything does. trains: the run of its own
parameters recipe, overrides and seed; compares: any full run; reads: these files of the repository.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from helpers.files import literal

SHARED = ("profile", "dataset")  # parameters that are the same for all notebooks of a request
RUN_TIME = re.compile(r"(<!-- run-time -->).*?(<!-- /run-time -->)", re.DOTALL)


def discover(folder: Path, only: Sequence[str] = ()) -> dict[str, NotebookNode]:
    """Read the notebooks NN_name.ipynb of a folder, by their names; `only` those such as 5, 05 or 05_name.ipynb."""
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    numbers = {Path(name).stem.partition("_")[0].zfill(2) for name in only} or {path.name[:2] for path in paths}
    for number in numbers - {path.name[:2] for path in paths}:
        raise ValueError(f"no notebook {number}; there are: {', '.join(path.stem for path in paths)}")
    found: dict[str, NotebookNode] = {}
    for path in (path for path in paths if path.name[:2] in numbers):
        try:
            found[path.stem] = nbformat.read(path, as_version=4)
        except ValueError as error:
            raise ValueError(f"{path.name} cannot be read as a notebook: {error}") from error
    return found


def declared(name: str, node: NotebookNode) -> dict[str, Any]:
    """Parameters of a notebook, with their defaults.

    Parsed rather than searched line by line: papermill's own inspection misreads a line with two "=".
    """
    try:
        (cell,) = [cell for cell in node.cells if "parameters" in cell.metadata.get("tags", [])]
        return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    except (SyntaxError, AttributeError, ValueError) as why:
        raise ValueError(f"{name} needs one cell tagged 'parameters', of lines NAME = LITERAL alone: {why}") from why


def digest(node: NotebookNode, files: Iterable[Path] = ()) -> str:
    """Of what decides a notebook's outputs: its cells, their tags and some files; no outputs, no stamped run time."""
    cells = [[cell.cell_type, RUN_TIME.sub(r"\1\2", cell.source), cell.metadata.get("tags", [])] for cell in node.cells]
    parts = [json.dumps(cells).encode(), *(path.read_bytes() for path in files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def assigned(notebooks: Mapping[str, NotebookNode], settings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """All parameters of each notebook; those that are set have the type of their default."""
    values = {name: declared(name, node) for name, node in notebooks.items()}
    known = {parameter for own in values.values() for parameter in own if parameter not in SHARED}
    for name, text in settings.items():
        if name not in known:
            raise ValueError(f"--set takes what a chosen notebook declares ({', '.join(sorted(known))}), not {name!r}")
        for own in values.values():
            if name in own:
                own[name] = typed(name, text, own[name])
    return values


def typed(name: str, text: str, default: Any) -> Any:
    """A setting's value in the type of its default."""
    value = text if isinstance(default, str) else literal(text)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"{name} takes a value of type {type(default).__name__}, as {default!r} is; got {text!r}")
    return value
