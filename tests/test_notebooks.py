"""The notebooks, as they are committed, keep the house rules."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest
from fixture_series import FOLDER, SERIES

from helpers.regenerate.publish import code_cells, figures
from helpers.regenerate.series import RUN_TIME, declared

ROOT = Path(__file__).resolve().parent.parent
MACHINE_PATH = re.compile(r"(?<![\w/+.~-])(?:/(?:home|Users|root|mnt|content|tmp)/|[A-Z]:\\)[^\s'\"<>]*")
READS = {  # published data that lie behind a call
    r"results\.runs\(": ("curves.csv", "results.csv"),
    r"results\.histories\(": ("curves.csv",),
    r"results\.answers\(": ("predictions.npz",),
    r"results\.claims\(": ("claims.csv",),
    r"results\.claimed_curves\(": ("claimed_curves.csv",),
    r"results\.weights\.": ("weights/weights.json",),
    r"rates\.grid\.|rate_grid\.csv": ("rate_grid.csv",),
    r"rates\.published\(": ("range_curves.csv",),
}
every_notebook = pytest.mark.parametrize("name, node", SERIES.items(), ids=[name[:2] for name in SERIES])


def test_every_number_is_that_of_one_notebook():
    assert SERIES and len({name[:2] for name in SERIES}) == len(SERIES)


@every_notebook
def test_opens_as_the_series_does(name, node):
    first, code, parameters = node.cells[0].source, code_cells(node), declared(name, node)
    assert re.match(r"# \d\d · .+\?", first) and "colab-badge.svg" in first and "**The question:**" in first
    assert f"blob/main/notebooks/{name}.ipynb" in first
    assert RUN_TIME.search(first)  # where publishing stamps it
    imports = [i for i, cell in enumerate(code) if re.search(r"^(import|from) ", cell.source, re.MULTILINE)]
    assert imports == [0]  # one cell, folded in JupyterLab, in Colab and in the book
    assert code[0].metadata == {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    assert "parameters" in code[1].metadata.tags
    assert list(parameters.items())[:3] == [("profile", "auto"), ("dataset", "auto"), ("seed", 0)]
    assert all(line.count("=") == 1 for line in code[1].source.splitlines() if line.strip())
    assert node.metadata["accelerator"] == "GPU"  # what Colab opens it on
    assert node.metadata.language_info.name == "python"  # without it papermill takes no parameters


@every_notebook
def test_what_outdates_a_notebook_is_declared(name, node):
    """Else a batch leaves it as it is when other results are pulled or published."""
    code = "\n".join(cell.source for cell in code_cells(node))
    needed = {f"images/{file}" for call, files in READS.items() if re.search(call, code) for file in files}
    assert needed == set(node.metadata["helpers"].get("reads", ()))
    runs = re.search(r"results\.(runs|histories)\(", code)
    assert bool(runs) == node.metadata["helpers"].get("compares", False)


@every_notebook
def test_cells_are_short_and_told(name, node):
    code = code_cells(node)
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    prose = [cell for cell in node.cells if cell.cell_type == "markdown"]
    assert statistics.median(lines) <= 8 and max(lines) <= 40
    assert len(prose) >= (len(code) - 1) * 0.8  # the set-up needs none
    ids = [cell.id for cell in node.cells if "id" in cell]  # Colab saves none
    assert len(set(ids)) == len(ids)
    whole = "\n".join(cell.source for cell in prose)
    assert "**Guess**" in whole and "<details>" in whole and "<summary>Solution" in whole
    assert sum("assert " in cell.source for cell in code) >= 3


@every_notebook
def test_committed_outputs_are_whole_quiet_and_described(name, node):
    code = code_cells(node)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell.outputs]
    assert outputs and not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    images = [out for out in outputs if "image/png" in out.get("data", {})]
    assert images and all(out.metadata.get("image/png", {}).get("alt") for out in images)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < (1_500_000 if name[:2] == "06" else 500_000)
    assert not [cell for cell in node.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "widgets" not in node.metadata  # half a widget state keeps GitHub and Colab from showing the page at all
    nbformat.validate(node)


def paths_in(node):
    """Paths of one machine in a notebook's texts."""
    outputs = [out for cell in code_cells(node) for out in cell.outputs]
    texts = (str(out.get("text", out.get("data", {}).get("text/plain", ""))) for out in outputs)
    return [found[0] for found in map(MACHINE_PATH.search, texts) if found]


@every_notebook
def test_committed_outputs_show_no_path_of_a_machine(name, node):
    assert paths_in(node) == []


def test_a_path_of_a_machine_is_seen():
    outputs = [nbformat.v4.new_output("stream", text=text) for text in ("in /home/me/x.py\n", "runs/home/a", "/tmp/b")]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    assert paths_in(node) == ["/home/me/x.py", "/tmp/b"]


@every_notebook
def test_figures_of_the_repository_are_those_that_a_notebook_shows(name, node):
    tags = [tag for cell in node.cells for tag in cell.metadata.get("tags", []) if tag.startswith("figure:")]
    shown = figures(node)
    assert shown.keys() == {tag.removeprefix("figure:") for tag in tags} != set()
    assert [figure for figure, png in shown.items() if (ROOT / f"images/{figure}.png").read_bytes() != png] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_and_figures_of_a_page_exist(page):
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()) if not t.startswith("http")]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_the_readme_is_one_screen():
    """A thousand words, the table of notebooks not counted."""
    text = re.sub(r"<!-- notebooks -->.*<!-- /notebooks -->", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(text.split()) <= 1_000


def test_readme_lists_every_notebook():
    text = (ROOT / "README.md").read_text()
    assert [name for name in SERIES if f"notebooks/{name}.ipynb" not in text] == []


def test_each_requirement_says_which_notebooks_use_it():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.search(r"# (all|\d\d(, \d\d)*|headless runs|reading)\b", line) for line in lines)
