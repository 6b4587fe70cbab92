"""Executed notebooks made readable: progress bars as a terminal would leave them, no traces of the runner."""

import re
from itertools import groupby

from nbformat import NotebookNode

CURSOR_UP = re.compile(r"\x1b\[\d*A")  # nested progress bars move the cursor; a notebook has none


def settle(text: str) -> str:
    """What a terminal shows of a text in the end: in each line, what followed the last carriage return.

    >>> settle("10%\\r50%\\r100%\\ndone")
    '100%\\ndone'
    """
    return "\n".join(_settle_line(line) for line in CURSOR_UP.sub("", text).split("\n"))


def _settle_line(line: str) -> str:
    if "\r" not in line:
        return line
    written = [part for part in line.split("\r") if part]
    return written[-1].rstrip() if written else ""  # a closed bar is wiped out with spaces


def clean(notebook: NotebookNode) -> None:
    """Clean an executed notebook in place.

    Progress bars are settled, neighbouring pieces of one stream joined, and what papermill and nbclient note about
    paths and times removed. The cell of injected parameters stays: it says what ran.
    """
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for trace in ("papermill", "execution"):
            cell.metadata.pop(trace, None)
        if not cell.metadata.get("tags", True):  # papermill leaves an empty list everywhere
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = settled(cell.outputs)


def settled(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbouring pieces of one stream joined and settled, and empty ones dropped."""
    result = []
    for stream, group in groupby(outputs, key=lambda output: output.get("name", "")):
        pieces = list(group)
        if stream:
            pieces[0].text = settle("".join(piece.text for piece in pieces))
            pieces = pieces[:1] if pieces[0].text.strip() else []
        result += pieces
    return result
