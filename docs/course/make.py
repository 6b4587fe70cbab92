"""The class kit, from the committed notebooks: writes runs/course/, as README.md beside it tells."""

import ast
import copy
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from helpers import colab, files
from helpers.regenerate import tables

HERE = Path(__file__).resolve().parent
MASTERS = sorted((files.REPO_ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PAGES = ("cheat_sheet.md", "help.md", "assistants.md")
SOLUTION = re.compile(r"<details[^>]*>\s*<summary>\s*Solution.*?</details>\n*", re.DOTALL)
FENCE = re.compile(r"```.*?```", re.DOTALL)
GUESS = re.compile(r"\*\*Guess\*\*")
EXERCISE = re.compile(r"^\*\*(?:Exercise )?(\d+)\.(.*?)(?:\*\*|$)", re.MULTILINE)
RUN_TIME = re.compile(r"<!-- run-time -->(?:(\d+) h )?(?:(\d+) min)? ?(?:(\d+) s)?")
YOURS = "*Your answer to the guess, in a sentence:*"
LONGEST = 90  # minutes of a session
LEVELS = ("●○○", "●●○", "●●●")


class Task(NamedTuple):
    """Something that a student does."""

    notebook: str
    name: str
    kind: str  # "build", "predict" or "explain", see assistants.md
    minutes: int
    level: str  # how hard, one of LEVELS
    whom: str  # "everyone", or "who is ahead"

    def box(self) -> str:
        """As it stands in a notebook."""
        return f"> **{self.kind}** · about {self.minutes} min · {self.level} · for {self.whom}"


# ---- what is marked ----


def tags(cell: NotebookNode) -> dict[str, str]:
    """A cell's tags, such as {"stub": "accuracy", "answer": ""}."""
    return {name: value for name, _, value in (tag.partition(":") for tag in cell.metadata.get("tags", []))}


def solutions(node: NotebookNode) -> list[str]:
    """What a student is not given: solution blocks, marked cells, and lines that a stub leaves out."""
    found = []
    for cell in node.cells:
        marked = tags(cell)
        found += SOLUTION.findall(cell.source) if cell.cell_type == "markdown" else []
        if "solution" in marked:
            found.append(cell.source)
        if "answer" in marked:
            found.append("\n\n".join(cell.source.split("\n\n")[: int(marked["answer"] or 1)]))
        if "stub" in marked:
            kept = stub(marked["stub"]).splitlines()
            found.append("\n".join(line for line in cell.source.splitlines() if line not in kept))
    return found


def stub(name: str) -> str:
    """What a student gets in place of a cell."""
    return (HERE / f"stubs/{name}.py").read_text(encoding="utf-8").rstrip()


def code_lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in text.splitlines())


def minutes(words: int, lines: int) -> float:
    """To read words, and lines of code."""
    return words / 150 + lines / 12


# ---- tasks ----


def tasks(name: str, node: NotebookNode) -> list[Task]:
    """All tasks of a notebook, in order. A line to write takes a minute; the rest is read."""
    found, guesses = [], 0
    for cell in node.cells:
        if "stub" in (marked := tags(cell)):
            left = set(cell.source.splitlines()) - set(stub(marked["stub"]).splitlines())
            title = f"write `{marked['stub']}`"
            found.append(Task(name, title, "build", 3 + len(left), LEVELS[min(len(left) // 4, 2)], "everyone"))
        if cell.cell_type != "markdown":
            continue
        starts = list(EXERCISE.finditer(cell.source))
        told = cell.source[: starts[0].start()] if starts else cell.source
        for _ in GUESS.findall(told):
            guesses += 1
            found.append(Task(name, f"guess {guesses}", "predict", 1, LEVELS[0], "everyone"))
        ends = [one.start() for one in starts[1:]] + [len(cell.source)]
        found += [exercise(name, one, cell.source[one.end() : end]) for one, end in zip(starts, ends)]
    return found


def exercise(name: str, title: re.Match, text: str) -> Task:
    """An exercise: to build where its solution has code, else to explain; the first is for everyone."""
    solved = "".join(SOLUTION.findall(text))
    code = sum(code_lines(block) - 2 for block in FENCE.findall(solved))
    spent = max(3, round(minutes(len(text.split()), 0) + code)) + (0 if code else 3)
    level = LEVELS[0 if code < 5 else 1 if code < 10 else 2]
    whom = "everyone" if title[1] == "1" else "who is ahead"
    said = f"exercise {title[1]}{': ' * bool(title[2].strip())}{title[2].strip().rstrip('.')}"
    return Task(name, said, "build" if code else "explain", spent, level, whom)


# ---- the two kinds of notebooks ----


def student(name: str, node: NotebookNode) -> NotebookNode:
    """A notebook without solutions, answers and outputs, with stubs, and a box for each exercise."""
    made = copy.deepcopy(node)
    boxes = {task.name.split(":")[0].split()[1]: task.box() for task in tasks(name, node) if "exercise" in task.name}
    cells = []
    for cell in made.cells:
        marked = tags(cell)
        if "solution" in marked:
            continue
        if "hint" in marked and (png := figure(cell)):
            cells.append(hint(png))
        if cell.cell_type == "markdown":
            cell.source = without_solutions(cell.source, marked, boxes)
        else:
            cell.outputs, cell.execution_count = [], None
            cell.source = stub(marked["stub"]) if "stub" in marked else cell.source
        cells.append(cell)
    made.cells = [cell for cell in cells if cell.source.strip()]
    for cell in made.cells:
        kept = [tag for tag in cell.metadata.get("tags", []) if tag.split(":")[0] not in ("answer", "hint")]
        if "tags" in cell.metadata:
            cell.metadata["tags"] = kept
    return made


def without_solutions(source: str, marked: dict[str, str], boxes: dict[str, str]) -> str:
    """A text for students."""
    if "answer" in marked:
        source = "\n\n".join([YOURS, *source.split("\n\n")[int(marked["answer"] or 1) :]])
    source = SOLUTION.sub("", colab.BADGE.sub("", source))  # a badge leads to the master
    return EXERCISE.sub(lambda one: f"{boxes[one[1]]}\n\n{one[0]}" if one[1] in boxes else one[0], source).rstrip()


def figure(cell: NotebookNode) -> str | None:
    """A cell's last figure, a PNG in base64."""
    found = [out.data["image/png"] for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    return found[-1] if found else None


def hint(png: str) -> NotebookNode:
    """A folded figure that shows what is to come out."""
    shown = "![The figure of the solution](attachment:figure.png)"
    text = f"<details><summary>Hint: so the next figure should look</summary>\n\n{shown}\n\n</details>"
    return new_markdown_cell(text, attachments={"figure.png": {"image/png": png}})


def solved(node: NotebookNode) -> NotebookNode:
    """A master with its solutions unfolded."""
    made = copy.deepcopy(node)
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"<details>(\s*<summary>\s*Solution)", r"<details open>\1", cell.source)
    return made


# ---- the lesson plan ----


class Section(NamedTuple):
    """A part of a notebook, from one heading of the second level to the next."""

    notebook: str
    title: str
    minutes: float


def sections(name: str, node: NotebookNode) -> list[Section]:
    """Words / 150 + lines of code / 12 + the run, which is shared out by lines of code; tasks come on top.

    Exercises are homework, and folded solutions are not read; what stands before the first heading is the opening.
    """
    parts: list[list] = [["opening", 0, 0]]
    for cell in node.cells[:1] + node.cells[2:]:  # all but the folded set-up
        if cell.cell_type == "code":
            parts[-1][2] += code_lines(cell.source)
            continue
        text = cell.source[: start.start()] if (start := EXERCISE.search(cell.source)) else cell.source
        for piece in re.split(r"^(?=## )", SOLUTION.sub("", text), flags=re.MULTILINE):
            if piece.startswith("## "):
                parts.append([piece.splitlines()[0][3:], 0, 0])
            parts[-1][1] += len(piece.split()) + 150 * len(GUESS.findall(piece))  # a guess takes a minute
    spent = run_minutes(node)
    whole = sum(lines for *_, lines in parts) or 1
    return [Section(name, title, minutes(words, n) + spent * n / whole) for title, words, n in parts if words + n > 20]


def run_minutes(node: NotebookNode) -> float:
    """How long the committed run took, as its stamp says."""
    told = RUN_TIME.search(node.cells[0].source)
    hours, whole, seconds = (int(value or 0) for value in told.groups()) if told else (0, 0, 0)
    return 60 * hours + whole + seconds / 60


def sessions(parts: list[Section], longest: float = LONGEST) -> Iterator[list[Section]]:
    """Sections in order, in sessions of at most so many minutes; a notebook is split only where it has to be."""
    current: list[Section] = []
    names = list(dict.fromkeys(part.notebook for part in parts))
    for name in names:
        ours = [part for part in parts if part.notebook == name]
        if current and lasting(current + ours) > longest and lasting(ours) <= longest:
            yield current
            current = []
        for part in ours:
            if current and lasting([*current, part]) > longest:
                yield current
                current = []
            current.append(part)
    if current:
        yield current


def lasting(parts: list[Section]) -> float:
    """Minutes of some sections."""
    return sum(part.minutes for part in parts)


def lesson_plan(parts: list[Section]) -> str:
    """As Markdown."""
    lines = ["# Lesson plan", "", f"Sessions of at most {LONGEST} minutes."]
    lines[-1] += " A section takes words / 150 + lines of code / 12 + its share of the run as it was last published,"
    lines[-1] += " and a minute for each guess. Exercises are homework; their minutes are in tasks.md."
    for number, session in enumerate(sessions(parts), 1):
        lines += ["", f"## Session {number}: {lasting(session):.0f} minutes", ""]
        rows = [{"notebook": one.notebook[:2], "section": one.title, "minutes": round(one.minutes)} for one in session]
        lines.append(tables.markdown(rows))
    return "\n".join(lines) + "\n"


def task_table(found: list[Task]) -> str:
    """As Markdown."""
    heads = ("notebook", "task", "kind", "minutes", "how hard", "for")
    rows = [dict(zip(heads, one._replace(notebook=one.notebook[:2]))) for one in found]
    return f"# Tasks\n\nWhat an assistant may do in each kind is in assistants.md.\n\n{tables.markdown(rows)}\n"


def make(out: Path, masters: list[Path] = MASTERS) -> None:
    """Write the kit into a folder, whose former kit goes."""
    nodes = {path.stem: nbformat.read(path, 4) for path in masters}
    for kind in ("student", "solutions"):
        shutil.rmtree(out / kind, ignore_errors=True)
    for name, node in nodes.items():
        for kind, made in (("student", student(name, node)), ("solutions", solved(node))):
            nbformat.validate(made)
            files.write_atomic(out / kind / f"{name}.ipynb", nbformat.writes(made) + "\n")
            code = "\n".join(cell.source for cell in made.cells if cell.cell_type == "code")
            ast.parse(re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE))  # a cell that is cut badly is seen here
    files.write_atomic(out / "lesson_plan.md", lesson_plan([part for one in nodes.items() for part in sections(*one)]))
    files.write_atomic(out / "tasks.md", task_table([task for one in nodes.items() for task in tasks(*one)]))
    for page in PAGES:
        files.write_atomic(out / page, (HERE / page).read_text(encoding="utf-8"))


if __name__ == "__main__":
    make(files.runs_root() / "course")
    print(f"{files.runs_root() / 'course'}: student/ and solutions/, nine notebooks each, lesson_plan.md and tasks.md")
