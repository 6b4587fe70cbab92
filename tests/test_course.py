"""The class kit: students get no solution, stubs run and tell when they are right, sessions fit."""

import json
import math
import random
import re
import statistics
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from fixture_series import SERIES
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scipy import stats
from script import load

from helpers import data, devices, gradcam, rates, recipes, results, training

make = load("docs/course/make.py")
every_notebook = pytest.mark.parametrize("name, node", SERIES.items(), ids=[name[:2] for name in SERIES])
BADGE = "[![Open in Colab](x.svg)](https://colab.research.google.com/github/ada/lesson/blob/main/notebooks/00_a.ipynb)"
EXERCISES = """## Exercises

**1. First.** Do it.

<details><summary>Hint</summary>

Try.

</details>
<details><summary>Solution</summary>

```python
secret = 1
```

</details>

**2. Second.** Why?

<details><summary>Solution</summary>

Because of the secret.

</details>

**Next:** go on."""


@pytest.fixture
def master():
    """Three texts and three cells of code, with everything that is marked."""
    figure = new_output("display_data", {"image/png": "aGVsbG8="})
    guess = "## 1 · A\n\nSome words.\n\n**Guess**: how many?"
    return new_notebook(
        cells=[
            new_markdown_cell(f"# 00 · Title\n\n{BADGE}\n\nWhat it is."),
            new_code_cell("import this"),
            new_markdown_cell(guess),
            new_code_cell("x = 3 * 14", metadata={"tags": ["stub:accuracy", "keep"]}, outputs=[figure]),
            new_markdown_cell("It is 42.\n\nWhat follows.", metadata={"tags": ["answer"]}),
            new_code_cell("draw()", metadata={"tags": ["hint"]}, outputs=[figure], execution_count=2),
            new_code_cell("the_answer()", metadata={"tags": ["solution"]}),
            new_markdown_cell(EXERCISES),
        ]
    )


def test_a_student_gets_everything_but_the_answers(master):
    made = make.student("00_a", master)
    text = "\n".join(cell.source for cell in made.cells)
    for gone in ("secret", "42", "the_answer", "3 * 14", "Solution", "Open in Colab"):
        assert gone not in text
    for kept in ("What follows.", make.YOURS, "Try.", "**2. Second.** Why?", "**Next:** go on.", "accuracy: not yet"):
        assert kept in text
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == ["import this", make.stub("accuracy"), "draw()"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert code[1].metadata["tags"] == ["stub:accuracy", "keep"] and code[2].metadata["tags"] == []
    hint = made.cells[made.cells.index(code[2]) - 1]
    assert hint.attachments == {"figure.png": {"image/png": "aGVsbG8="}} and "<details>" in hint.source
    assert "> **build** · about " in text and "> **explain** · about " in text and "for who is ahead" in text


@pytest.mark.parametrize("badge", [BADGE, f"<!-- {BADGE} -->"], ids=["shown", "hidden"])
def test_a_badge_goes_whole(badge):
    """Half a comment would hide all that follows."""
    assert make.without_solutions(f"# T\n{badge}\nWhat it is.", {}, {}) == "# T\n\nWhat it is."


def test_an_answer_may_have_several_paragraphs():
    assert make.without_solutions("One.\n\nTwo.\n\nThree.", {"answer": "2"}, {}) == f"{make.YOURS}\n\nThree."


def test_a_teacher_gets_all_and_unfolded(master):
    made = make.solved(master)
    assert [cell.source for cell in made.cells[:-1]] == [cell.source for cell in master.cells[:-1]]
    assert made.cells[-1].source.count("<details open><summary>Solution") == 2
    assert "<details><summary>Hint" in made.cells[-1].source and made.cells[3].outputs


def test_every_task_is_of_one_kind(master):
    found = make.tasks("00_a", master)
    assert [(one.name, one.kind) for one in found] == [
        ("guess 1", "predict"),
        ("write `accuracy`", "build"),
        ("exercise 1: First", "build"),
        ("exercise 2: Second", "explain"),
    ]
    assert [one.whom for one in found[2:]] == ["everyone", "who is ahead"]


def test_minutes_by_the_formula():
    cells = [
        new_markdown_cell("# T\n\n<!-- run-time -->1 h 2 min 30 s on cpu<!-- /run-time -->"),
        new_code_cell("set_up()"),
    ]
    cells += [new_markdown_cell("## A\n" + "word " * 298), new_code_cell("x = 1\n" * 12)]
    cells += [new_markdown_cell("## B\n**Guess**" + " word" * 147), new_code_cell("y = 1\n" * 36)]
    found = make.sections("00", new_notebook(cells=cells))
    assert [one.title for one in found] == ["A", "B"]
    assert [one.minutes for one in found] == pytest.approx([2 + 1 + 62.5 / 4, 1 + 1 + 3 + 62.5 * 3 / 4], abs=0.03)


def test_sessions_keep_notebooks_whole_and_split_those_that_do_not_fit():
    lengths = {"00": [30, 30], "01": [50], "02": [60, 50, 20]}
    parts = [make.Section(name, str(k), n) for name, all_of in lengths.items() for k, n in enumerate(all_of)]
    told = [[(part.notebook, part.title) for part in one] for one in make.sessions(parts)]
    assert told == [[("00", "0"), ("00", "1")], [("01", "0")], [("02", "0")], [("02", "1"), ("02", "2")]]


# --- the committed notebooks


@every_notebook
def test_a_student_s_notebook_holds_no_solution(name, node):
    made = make.student(name, node)
    nbformat.validate(made)
    text = "\n".join(cell.source for cell in made.cells)
    assert "<summary>Solution" not in text and "colab-badge" not in text
    assert not any(cell.get("outputs") for cell in made.cells)
    assert not {"answer", "solution"} & {tag for cell in made.cells for tag in make.tags(cell)}
    given, held_back = json.dumps(made), make.solutions(node)
    elsewhere = "\n".join(make.SOLUTION.sub("", cell.source) for cell in node.cells if "stub" not in make.tags(cell))
    for line in {line.strip() for block in held_back for line in block.splitlines()}:
        if len(line) > 30 and line not in elsewhere.replace("\n".join(held_back), ""):
            assert json.dumps(line)[1:-1] not in given, line
    assert len(re.findall(r"^> \*\*(?:build|explain)\*\*", text, re.MULTILINE)) >= min(2, len(held_back))


@every_notebook
def test_tags_name_stubs_that_are_there(name, node):
    for cell in node.cells:
        marked = make.tags(cell)
        if "stub" in marked:
            assert cell.cell_type == "code" and "yours" in make.stub(marked["stub"])
            assert len(re.findall(r"^print\(", make.stub(marked["stub"]), re.MULTILINE)) == 1  # the check
        if "answer" in marked:
            assert cell.cell_type == "markdown" and len(cell.source.split("\n\n")) >= int(marked["answer"] or 1)
        if "hint" in marked:
            assert make.figure(cell)


def names(number):
    """What the cells above a notebook's stubs leave behind, in small."""
    generator = torch.Generator().manual_seed(0)
    left = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "np": np, "math": math, "random": random}
    left |= {"data": data, "gradcam": gradcam, "rates": rates, "results": results, "training": training}
    if number == "00":
        return left | {"test_labels": torch.arange(20) % 10, "ds": SimpleNamespace(classes=[""] * 10)}
    if number == "01":
        images = np.arange(192 * 3072).reshape(192, 32, 32, 3).astype(np.uint8)
        ds = SimpleNamespace(train=data.Images(images, np.arange(192)), mean=(0.5, 0.5, 0.5))
        recipe = recipes.get("davidnet-onecycle")
        return left | {"ds": ds, "recipe": recipe, "pipeline": data.pipeline(recipe.transforms, ds.mean), "seed": 0}
    if number == "02":
        return left | {"start": lambda: (0, 0), "train": lambda net, optimizer, lrs: np.array(lrs)}
    if number == "05":
        used = recipes.under(recipes.get("davidnet-onecycle-plus"), recipes.PROFILES["smoke"])
        compute = devices.compute("cpu", "fp32").suited_to(used.width)
        setting = training.Setting(used, SimpleNamespace(classes=range(10)), "smoke", 0, compute)
        batch = {"images": torch.randn(16, 3, 32, 32, generator=generator), "labels": torch.arange(16) % 10}
        return left | {"setting": setting, "used": used, "compute": compute, "loader": range(8), **batch}
    if number == "06":
        left["activations"] = torch.rand(1, 6, 4, 4, generator=generator)
        return left | {"gradients": torch.randn(1, 6, 4, 4, generator=generator)}
    if number == "07":
        left |= {"statistics": statistics, "stats": stats}
        return left | {"ours": [0.51, 0.54, 0.52], "recipe": "sprint"}
    return left | {"gradient": torch.randn(8, 27, generator=generator)}


@every_notebook
def test_a_stub_runs_as_it_stands_and_its_check_knows_the_solution(name, node, capsys):
    for cell in (cell for cell in node.cells if "stub" in make.tags(cell)):
        given = make.stub(make.tags(cell)["stub"])
        check = given[given.index("\n\n") :]
        exec(given, names(name[:2]))
        assert "not yet" in capsys.readouterr().out
        exec(cell.source, known := names(name[:2]))
        capsys.readouterr()
        exec(check, known)
        assert capsys.readouterr().out.endswith(": right\n")


def test_every_stub_is_used():
    used = {make.tags(cell).get("stub") for node in SERIES.values() for cell in node.cells} - {None}
    assert used == {path.stem for path in (make.HERE / "stubs").glob("*.py")}


def test_the_kit_is_whole(tmp_path):
    make.make(tmp_path)
    for kind in ("student", "solutions"):
        assert {path.stem for path in (tmp_path / kind).iterdir()} == set(SERIES)
    assert {path.name for path in tmp_path.glob("*.md")} == {*make.PAGES, "lesson_plan.md", "tasks.md"}
    plan = (tmp_path / "lesson_plan.md").read_text()
    lengths = [int(minutes) for minutes in re.findall(r"## Session \d+: (\d+) minutes", plan)]
    assert lengths and max(lengths) <= make.LONGEST
    assert all(f"| {name[:2]} | " in plan for name in SERIES)
    kinds = set(re.findall(r"\| (build|predict|explain) \|", (tmp_path / "tasks.md").read_text()))
    assert kinds == {"build", "predict", "explain"}
    assert len((tmp_path / "cheat_sheet.md").read_text().split()) < 600  # one page


@pytest.mark.slow
@pytest.mark.parametrize("number", [name[:2] for name in SERIES])
@pytest.mark.parametrize("filled", [False, True], ids=["as it stands", "filled in"])
def test_a_student_s_notebook_runs_and_its_checks_tell(number, filled, tmp_path):
    papermill = pytest.importorskip("papermill")
    (name,) = (name for name in SERIES if name[:2] == number)
    node = make.student(name, SERIES[name])
    if filled:
        checks = [cell for cell in node.cells if "stub" in make.tags(cell)]
        masters = [cell for cell in SERIES[name].cells if "stub" in make.tags(cell)]
        for cell, master in zip(checks, masters):
            check = cell.source.split("\n\n")[-1]
            cell.source = f"{master.source}\n\n{check}"
    nbformat.write(node, tmp_path / "in.ipynb")
    asked = {"profile": "smoke", "dataset": "shapes10"}
    done = papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", asked, cwd=tmp_path)
    said = ["".join(out.get("text", "") for out in cell.outputs) for cell in done.cells if "stub" in make.tags(cell)]
    assert said and all((": right" in text) == filled and ("not yet" in text) != filled for text in said)
