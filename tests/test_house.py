"""The package stays small and thin: few entries, few lines, imports that go one way, few names in a notebook."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
HELPERS = ROOT / "helpers"
BELOW = {  # what each entry may import
    "files": "",
    "colab": "files",
    "devices": "files",
    "models": "files",
    "data": "files devices",
    "recipes": "files devices models data",
    "training": "files devices models data recipes",
    "rates": "files devices models data recipes training",
    "results": "files devices models data recipes training rates",
    "gradcam": "files devices models",
    "figures": "files devices models data recipes training rates results gradcam",
    "regenerate": "files devices models data recipes training rates results gradcam figures colab",
}
MOST_LINES = 3_707  # not blank, without regenerate
MOST_LINES_OF_THE_RUNNER = 593  # its Snakefile included


def lines_of(paths):
    """How many lines of some files are not blank."""
    return sum(bool(line.strip()) for path in paths for line in path.read_text().splitlines())


def modules(*left_out):
    """Every module's path by its dotted name, such as "helpers.training.fit"; a package's face has the package's."""
    paths = [path for path in sorted(HELPERS.rglob("*.py")) if path.relative_to(HELPERS).parts[0] not in left_out]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path, known):
    """The modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            wanted = {f"{node.module}.{name.name}" for name in node.names}
            yield from wanted & set(known)
            if wanted - set(known):  # names of the module itself
                yield node.module


def test_there_are_twelve_entries_and_the_docs_name_them_in_order():
    entries = {path.stem for path in HELPERS.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert entries == set(BELOW) and len(BELOW) == 12
    table = (ROOT / "docs/design.md").read_text().split("stands above it:")[1]
    assert re.findall(r"^\| `(\w+)", table, re.MULTILINE)[:12] == list(BELOW)


def test_no_entry_imports_upward():
    known = modules()
    upward = []
    for name, path in known.items():
        entry = (name.split(".") + [""])[1]
        allowed = {entry, *BELOW.get(entry, "").split()}
        upward += [(name, other) for other in imports(path, known) if other.split(".")[1] not in allowed]
    assert len(known) > 30 and upward == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {name: set(imports(path, known)) - {name} for name, path in known.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(known)  # raises a CycleError that names them


def test_the_package_is_small():
    assert lines_of(modules("regenerate").values()) <= MOST_LINES
    runner = [path for path in (HELPERS / "regenerate").iterdir() if path.is_file()]
    assert lines_of(runner) <= MOST_LINES_OF_THE_RUNNER


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem[:2])
def test_a_notebook_imports_six_entries_at_most(path):
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    tree = ast.parse(
        "\n".join(line for source in code for line in source.splitlines() if line.lstrip()[:1] not in "%!")
    )
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module.startswith("helpers")]
    names = [name.name for node in found if node.module == "helpers" for name in node.names]
    assert {node.module for node in found} <= {"helpers", "helpers.colab"}
    assert 0 < len(names) <= 6 and set(names) <= set(BELOW)
