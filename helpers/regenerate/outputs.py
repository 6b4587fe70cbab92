"""What of an executed notebook is published: its outputs under the source's cells, its figures and its headline."""

import base64
import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nbformat import NotebookNode

from helpers.regenerate.notebooks import tagged
from helpers.regenerate.planning import RUN_TIME

WIDGET = "application/vnd.jupyter.widget-view+json"
MACHINE_PATH = re.compile(r"(?<![\w/+.~-])(?:/(?:home|Users|root|mnt|content|tmp)/|[A-Z]:\\)[^\s'\"<>]*")
FIGURE = re.compile(r"figure:([a-z0-9_-]+)")


def published(
    source: NotebookNode, executed: NotebookNode, stamp: str, hidden: Mapping[str, str]
) -> tuple[NotebookNode, list[str]]:
    """Put the outputs of a run under the cells of the source, which stays as it is in all else.

    Args:
        source: the notebook as written; the parameters injected for the run do not get into it.
        executed: the same notebook after a run.
        stamp: run time, written between the markers of the first cell.
        hidden: folders of this machine, and what to write in their place.

    Returns:
        The notebook to publish, and what speaks against publishing it.
    """
    node = copy.deepcopy(source)
    node.metadata.pop("widgets", None)  # half a widget state keeps GitHub and Colab from showing the page at all
    node.metadata.setdefault("language_info", {"name": "python"})  # without it papermill takes no parameters
    ran = {cell.get("id"): cell for cell in executed.cells}
    changed = 0
    for number, cell in enumerate(code_cells(node), 1):
        twin = ran.get(cell.get("id"))
        changed += twin is None or twin.source != cell.source
        cell.execution_count = number
        cell.outputs = [_published(output, number, hidden) for output in (twin or cell).outputs if not _widget(output)]
    problems = [f"{changed} code cells are not those that ran, or have no id; run it again"] if changed else []
    if node.cells and RUN_TIME.search(node.cells[0].source):
        node.cells[0].source = RUN_TIME.sub(lambda found: found[1] + stamp + found[2], node.cells[0].source)
    else:
        problems.append("its first cell lacks the markers <!-- run-time --><!-- /run-time -->")
    return node, problems + list(_faults(node))


def code_cells(node: NotebookNode) -> list[NotebookNode]:
    """Cells that a kernel runs: code, and not empty."""
    return [cell for cell in node.cells if cell.cell_type == "code" and cell.source.strip()]


def _widget(output: NotebookNode) -> bool:
    return WIDGET in output.get("data", {})


def _published(output: NotebookNode, number: int, hidden: Mapping[str, str]) -> NotebookNode:
    output = copy.deepcopy(output)
    if output.output_type == "execute_result":
        output.execution_count = number
    for holder, name in _texts(output):
        holder[name] = without_folders(holder[name], hidden)
    return output


def _texts(output: NotebookNode) -> Iterator[tuple[dict[str, Any], str]]:
    """Where an output holds text, as (dictionary, key)."""
    if isinstance(output.get("text"), str):
        yield output, "text"
    data = output.get("data", {})
    for kind, value in data.items():
        if isinstance(value, str) and (kind.startswith("text/") or kind.endswith("xml")):
            yield data, kind


def without_folders(text: str, hidden: Mapping[str, str]) -> str:
    """Text in which folders of this machine are replaced, the longest first; by nothing where the name is empty."""
    for folder in sorted(hidden, key=len, reverse=True):
        name = hidden[folder]
        text = re.sub(re.escape(folder) + "/", f"{name}/" if name else "", text)
        text = re.sub(re.escape(folder) + r"(?![\w-])", name or ".", text)
    return text


def _faults(node: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(code_cells(node), 1):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                yield f"cell [{number}] wrote to stderr: {output.text.strip().splitlines()[0]}"
            for holder, name in _texts(output):
                found = MACHINE_PATH.search(holder[name])
                if found:
                    yield f"cell [{number}] shows a path of this machine: {found[0]}"
    yield from (
        f"its cell tagged figure:{name} has no PNG output" for name, image in figures(node).items() if not image
    )


def figures(node: NotebookNode) -> dict[str, bytes]:
    """First PNG of each cell tagged figure:NAME, by name; empty where there is none."""
    found = {}
    for cell in code_cells(node):
        for name in filter(None, map(FIGURE.fullmatch, cell.metadata.get("tags", []))):
            images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            found[name[1]] = base64.b64decode(images[0]) if images else b""
    return found


def headline(node: NotebookNode) -> str:
    """The notebook's result: the last line printed by its cell tagged `headline`; empty where there is none."""
    texts = [output.text for cell in tagged(node, "headline") for output in cell.get("outputs", []) if "text" in output]
    lines = "".join(texts).strip().splitlines()
    return lines[-1].strip() if lines else ""


def stamped(node: NotebookNode) -> str:
    """The run time that stands in the first cell."""
    found = RUN_TIME.search(node.cells[0].source) if node.cells else None
    return found[0].removeprefix(found[1]).removesuffix(found[2]).strip() if found else ""
