"""Writing a finished run back into the tree: notebooks, figures, data and the README's tables; all checked first."""

import base64
import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from helpers import results
from helpers.colab import repository
from helpers.files import in_words, write_atomic
from helpers.regenerate import tables
from helpers.regenerate.series import RUN_TIME, Notebook, discover
from helpers.results import archive

BYTES = {"06": 1_500_000}  # of a notebook at most; a page full of images and maps may have more
WIDGET = "application/vnd.jupyter.widget-view+json"
MACHINE_PATH = re.compile(r"(?<![\w/+.~-])(?:/(?:home|Users|root|mnt|content|tmp)/|[A-Z]:\\)[^\s'\"<>]*")
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
COLAB = "https://colab.research.google.com/github"


class PublishError(ValueError):
    """Something cannot be published as it is: the message lists all that is wrong."""


def publish(root: Path, entries: Mapping[str, Mapping[str, Any]], out: Path, runs: Path) -> list[Path]:
    """Write what a run put out, and the data of full runs, into the tree; returns the files written.

    Args:
        root: the repository.
        entries: of the notebooks to publish, by number, as the summary has them; their outputs lie in `out`.
        runs: the run store.
    """
    series = discover(root / "notebooks")
    written: dict[Path, str | bytes] = {}
    problems: list[str] = []
    for key, entry in entries.items():
        path = series[key].path
        executed = nbformat.read(out / path.name, as_version=4)
        node = with_outputs(series[key].node, executed)
        node.cells[0].source = RUN_TIME.sub(rf"\g<1>{run_time(entry)}\g<2>", node.cells[0].source)
        written[path] = nbformat.writes(node) + "\n"
        written |= {root / "images" / f"{name}.png": image for name, image in figures(node).items()}
        size, most = len(written[path].encode()), BYTES.get(key, 500_000)
        problems += [f"{path.stem}: {fault}" for fault in faults(node, executed, size, most)]
        series[key] = replace(series[key], node=node)
    written |= archive.data(root / "images", runs)
    written[root / "README.md"] = readme(root, series, runs, problems)
    if problems:
        raise PublishError("nothing was published:\n  " + "\n  ".join(problems))
    for path, content in written.items():
        write_atomic(path, content)
    return list(written)


def run_time(entry: Mapping[str, Any]) -> str:
    """How long a notebook took, and on what: "6 min 12 s on cpu (2 threads), bf16; full profile, cifar10"."""
    given = entry["parameters"]
    return f"{in_words(entry['seconds'])} on {entry['device']}; {given['profile']} profile, {given['dataset']}"


# ---- notebooks ----


def with_outputs(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The source with the outputs of a run under its cells; the parameters injected for the run do not get into it."""
    node = copy.deepcopy(source)
    node.metadata.pop("widgets", None)  # half a widget state keeps GitHub and Colab from showing the page at all
    node.metadata.setdefault("language_info", {"name": "python"})  # without it papermill takes no parameters
    ran = {cell.get("id"): cell for cell in executed.cells}
    for number, cell in enumerate(code_cells(node), 1):
        outputs = copy.deepcopy(ran.get(cell.get("id"), cell).outputs)
        cell.outputs = [output for output in outputs if WIDGET not in output.get("data", {})]
        for counted in (cell, *(output for output in cell.outputs if output.output_type == "execute_result")):
            counted.execution_count = number
    return node


def code_cells(node: NotebookNode) -> list[NotebookNode]:
    """Cells that a kernel runs: code, and not empty."""
    return [cell for cell in node.cells if cell.cell_type == "code" and cell.source.strip()]


def faults(node: NotebookNode, executed: NotebookNode, size: int, most: int) -> Iterator[str]:
    """What speaks against publishing a notebook of so many bytes, of which it may have `most`."""
    ran = {cell.get("id"): cell.source for cell in executed.cells}
    if changed := sum(ran.get(cell.get("id")) != cell.source for cell in code_cells(node)):
        yield f"{changed} code cells are not those that ran, or have no id; run it again"
    if not RUN_TIME.search(node.cells[0].source):
        yield "its first cell lacks the markers <!-- run-time --><!-- /run-time -->"
    if size > most:
        yield f"{size:,} bytes are more than {most:,}; show fewer or smaller figures"
    for number, cell in enumerate(code_cells(node), 1):
        for output in cell.outputs:
            said = str(output.get("text", output.get("data", {}).get("text/plain", "")))
            if output.get("name") == "stderr":
                yield f"cell [{number}] wrote to stderr: {said.strip().splitlines()[0]}"
            if found := MACHINE_PATH.search(said):
                yield f"cell [{number}] shows a path of this machine: {found[0]}"
    yield from (f"its cell tagged figure:{name} has no PNG output" for name, png in figures(node).items() if not png)


def figures(node: NotebookNode) -> dict[str, bytes]:
    """First PNG of each cell tagged figure:NAME, by name; empty where there is none."""
    found = {}
    for cell in code_cells(node):
        for tag in (tag for tag in cell.metadata.get("tags", []) if tag.startswith("figure:")):
            images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            found[tag.removeprefix("figure:")] = base64.b64decode(images[0]) if images else b""
    return found


# ---- the README ----


def readme(root: Path, series: Mapping[str, Notebook], runs: Path, problems: list[str]) -> str:
    """The README's text with fresh tables between their markers; `problems` is told what is wrong."""
    text, where = (root / "README.md").read_text(encoding="utf-8"), (root / "images", runs)
    found = results.runs(*where)
    problems += tables.mixed(found)
    fresh = {
        "notebooks": tables.markdown([row(notebook, repository(root)) for notebook in series.values()]),
        "results": tables.results_table(found, results.histories(*where)),
        "ablations": tables.ablations_table(found),
        "profiles": tables.profiles_table(),
    }
    for name, content in fresh.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin in text and end in text:
            text = f"{text.partition(begin)[0]}{begin}\n{content}\n{end}{text.partition(end)[2]}"
        else:
            problems.append(f"README.md lacks the markers {begin} and {end} around its {name}")
    return text


def row(notebook: Notebook, repo: str) -> dict[str, str]:
    """A notebook's row in the README."""
    node, path = notebook.node, f"notebooks/{notebook.path.name}"
    told = [cell.outputs for cell in node.cells if "headline" in cell.metadata.get("tags", [])]
    took = RUN_TIME.search(node.cells[0].source)
    return {
        "Notebook": f"[{notebook.path.stem.replace('_', ' ')}]({path})",
        "Colab": f"{BADGE}({COLAB}/{repo}/blob/main/{path})",
        "Question": node.metadata.get("helpers", {}).get("question", ""),
        "Run time": took[0].removeprefix(took[1]).removesuffix(took[2]) if took else "",
        "Result": "".join(o.get("text", "") for o in sum(told, [])).strip().rpartition("\n")[2],  # its last line
    }
