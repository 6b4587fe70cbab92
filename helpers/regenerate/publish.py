"""Writing a finished run back into the tree: notebooks, figures, data and the README's tables."""

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers import results
from helpers.colab import badges, repository
from helpers.files import in_words, write_atomic
from helpers.regenerate import tables
from helpers.regenerate.series import RUN_TIME, discover
from helpers.results import archive

WIDGET = "application/vnd.jupyter.widget-view+json"
COLAB = "https://colab.research.google.com"


def publish(root: Path, names: Iterable[str], out: Path, runs: Path) -> list[Path]:
    """Write notebooks, as executed into `out`, and the data of full runs into the tree; returns the files written."""
    series = discover(root / "notebooks")
    written: dict[Path, str | bytes] = {}
    for name in names:
        entry = json.loads((out / f"logs/{name}.json").read_text(encoding="utf-8"))
        node = with_outputs(name, series[name], nbformat.read(out / f"{name}.ipynb", as_version=4))
        had, took = entry["parameters"], f"{in_words(entry['seconds'])} on {entry['device']}"
        stamp = rf"\g<1>{took}; {had['profile']} profile, {had['dataset']}\g<2>"
        node.cells[0].source = RUN_TIME.sub(stamp, node.cells[0].source)
        written[root / f"notebooks/{name}.ipynb"] = nbformat.writes(node) + "\n"
        written |= {root / f"images/{figure}.png": image for figure, image in figures(node).items()}
        series[name] = node
    written |= archive.data(root / "images", runs)
    written[root / "README.md"] = readme(root, series, runs)
    for path, content in written.items():
        write_atomic(path, content)
    return list(written)


def with_outputs(name: str, source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The source with the outputs of a run under its cells; the parameters injected for the run do not get into it."""
    node = copy.deepcopy(source)
    ran = [cell for cell in code_cells(executed) if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in ran] != [cell.source for cell in code_cells(node)]:
        raise ValueError(f"nothing was published: the code of {name} is not what ran; run it again")
    for number, (cell, done) in enumerate(zip(code_cells(node), ran), 1):
        cell.outputs = [output for output in done.outputs if WIDGET not in output.get("data", {})]
        for counted in (cell, *(output for output in cell.outputs if output.output_type == "execute_result")):
            counted.execution_count = number
    return node


def code_cells(node: NotebookNode) -> list[NotebookNode]:
    """Cells that a kernel runs: code, and not empty."""
    return [cell for cell in node.cells if cell.cell_type == "code" and cell.source.strip()]


def figures(node: NotebookNode) -> dict[str, bytes]:
    """First PNG of each cell tagged figure:NAME, by name."""
    found: dict[str, bytes] = {}
    for cell in code_cells(node):
        images = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("figure:") and images:
                found[tag.removeprefix("figure:")] = base64.b64decode(images[0])
    return found


def readme(root: Path, series: Mapping[str, NotebookNode], runs: Path) -> str:
    """The README's text with fresh tables between their markers."""
    text, where = (root / "README.md").read_text(encoding="utf-8"), (root / "images", runs)
    found = results.runs(*where)
    fresh = {
        "notebooks": tables.markdown([row(name, node, repository(root)) for name, node in series.items()]),
        "results": tables.results_table(found, results.histories(*where)),
        "ablations": tables.ablations_table(found),
        "profiles": tables.profiles_table(),
    }
    for name, content in fresh.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"nothing was published: README.md lacks the markers {begin} and {end}")
        text = f"{text.partition(begin)[0]}{begin}\n{content}\n{end}{text.partition(end)[2]}"
    return badges(text, repository(root))


def row(name: str, node: NotebookNode, repo: str) -> dict[str, str]:
    """A notebook's row in the README."""
    path, took = f"notebooks/{name}.ipynb", RUN_TIME.search(node.cells[0].source)
    told = [output for cell in node.cells if "headline" in cell.metadata.get("tags", []) for output in cell.outputs]
    return {
        "Notebook": f"[{name.replace('_', ' ')}]({path})",
        "Colab": f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/{repo}/blob/main/{path})",
        "Question": node.metadata.get("helpers", {}).get("question", ""),
        "Run time": took[0].removeprefix(took[1]).removesuffix(took[2]) if took else "",
        "Result": "".join(output.get("text", "") for output in told).strip().rpartition("\n")[2],  # its last line
    }
