"""Writing a finished run back into the tree: notebooks, figures, data and the tables of README and docs."""

import base64
import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers import results
from helpers.colab import BADGE, badges, repository
from helpers.files import in_words, write_atomic
from helpers.regenerate import tables
from helpers.regenerate.series import RUN_TIME, discover
from helpers.results import archive

WIDGET = "application/vnd.jupyter.widget-view+json"
PAGES = ("README.md", "docs/results.md", "docs/batch.md")


def publish(root: Path, names: Iterable[str], out: Path, runs: Path) -> list[Path]:
    """Write notebooks, as executed into `out`, and the data of full runs into the tree; returns the files written."""
    series = discover(root / "notebooks")
    written: dict[Path, str | bytes] = {}
    for name in names:
        entry = json.loads((out / f"logs/{name}.json").read_text(encoding="utf-8"))
        node = with_outputs(name, series[name], nbformat.read(out / f"{name}.ipynb", as_version=4))
        had, took = entry["parameters"], in_words(entry["seconds"])
        if node.metadata.get("helpers", {}).get("trains"):
            request = json.loads((out / "request.json").read_text(encoding="utf-8"))
            record = json.loads(Path(request["inputs"][name][-1]).read_text(encoding="utf-8"))
            took += f" after {in_words(record['seconds'])} of training"
        stamp = rf"\g<1>{took} on {entry['device']}; {had['profile']} profile, {had['dataset']}\g<2>"
        node.cells[0].source = RUN_TIME.sub(stamp, node.cells[0].source)
        written[root / f"notebooks/{name}.ipynb"] = nbformat.writes(node) + "\n"
        written |= {root / f"images/{figure}.png": image for figure, image in figures(node).items()}
        series[name] = node
    written |= archive.data(root / "images", runs)
    written |= pages(root, series, runs)
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


def pages(root: Path, series: Mapping[str, NotebookNode], runs: Path) -> dict[Path, str]:
    """The texts of PAGES, with fresh tables between their markers."""
    texts = {root / page: (root / page).read_text(encoding="utf-8") for page in PAGES if (root / page).is_file()}
    where = (root / "images", runs)
    found = results.runs(*where)
    fresh = {
        "notebooks": tables.markdown([row(name, node) for name, node in series.items()]),
        "results": tables.results_table(found, results.histories(*where)),
        "ablations": tables.ablations_table(found),
        "profiles": tables.profiles_table(),
    }
    for name, content in fresh.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        holding = [path for path, text in texts.items() if begin in text and end in text]
        if not holding:
            raise ValueError(f"nothing was published: none of {', '.join(PAGES)} has the markers {begin} and {end}")
        for path, text in ((path, texts[path]) for path in holding):
            texts[path] = f"{text.partition(begin)[0]}{begin}\n{content}\n{end}{text.partition(end)[2]}"
    return {path: badges(text, repository(root)) for path, text in texts.items()}


def row(name: str, node: NotebookNode) -> dict[str, str]:
    """A notebook's row in the README, from its first cell: badges, and how long it took, without the device."""
    path, took = f"notebooks/{name}.ipynb", RUN_TIME.search(node.cells[0].source)
    return {
        "Notebook": f"[{name.replace('_', ' ')}]({path})",
        "Question": node.metadata.get("helpers", {}).get("question", ""),
        "Run time": took[0].removeprefix(took[1]).removesuffix(took[2]).partition(" on ")[0] if took else "",
        "Open": " ".join(BADGE.findall(node.cells[0].source)),
    }
