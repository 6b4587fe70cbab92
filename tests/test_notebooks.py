"""The notebooks, as they are committed, keep the house rules."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest
from fixture_series import SERIES

from helpers.regenerate.publish import code_cells

ROOT = Path(__file__).resolve().parent.parent
every_notebook = pytest.mark.parametrize("notebook", SERIES.values(), ids=list(SERIES))


@every_notebook
def test_opens_as_the_series_does(notebook):
    cells = notebook.node.cells
    first, code = cells[0].source, code_cells(notebook.node)
    assert re.match(r"# \d\d · .+\?", first) and "colab-badge.svg" in first and "**The question:**" in first
    assert f"blob/main/notebooks/{notebook.path.name}" in first
    imports = [i for i, cell in enumerate(code) if re.search(r"^(import|from) ", cell.source, re.MULTILINE)]
    assert imports == [0, 1]
    assert "parameters" in code[2].metadata.tags
    assert list(notebook.parameters)[:3] == ["profile", "dataset", "seed"]
    assert [notebook.parameters[name] for name in ("profile", "dataset", "seed")] == ["auto", "auto", 0]
    assert all(line.count("=") == 1 for line in code[2].source.splitlines() if line.strip())
    assert notebook.node.metadata["accelerator"] == "GPU"  # what Colab opens it on


@every_notebook
def test_cells_are_short_and_told(notebook):
    code = code_cells(notebook.node)
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    prose = [cell for cell in notebook.node.cells if cell.cell_type == "markdown"]
    assert statistics.median(lines) <= 8 and max(lines) <= 40
    assert len(prose) >= len(code) * 0.8
    assert len({cell.id for cell in notebook.node.cells}) == len(notebook.node.cells)
    whole = "\n".join(cell.source for cell in prose)
    assert "**Guess**" in whole and "<details>" in whole and "<summary>Solution" in whole
    assert sum("assert " in cell.source for cell in code) >= 3


@every_notebook
def test_committed_outputs_are_whole_quiet_and_described(notebook):
    code = code_cells(notebook.node)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell.outputs]
    assert outputs and not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]
    images = [out for out in outputs if "image/png" in out.get("data", {})]
    assert images and all(out.metadata.get("image/png", {}).get("alt") for out in images)
    assert notebook.path.stat().st_size < (1_500_000 if notebook.key == "06" else 500_000)
    assert not [cell for cell in notebook.node.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    nbformat.validate(notebook.node)


def test_readme_links_and_figures_exist():
    text = (ROOT / "README.md").read_text()
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)\)", text) if not t.startswith("http")]
    assert targets and [t for t in targets if not (ROOT / t).exists()] == []


def test_readme_lists_every_notebook():
    text = (ROOT / "README.md").read_text()
    assert [n.name for n in SERIES.values() if f"notebooks/{n.path.name}" not in text] == []


def test_each_requirement_says_which_notebooks_use_it():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.search(r"# (all|\d\d(, \d\d)*|headless runs|reading)\b", line) for line in lines)
