"""The README's table of results, made from results.csv alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helpers.regenerate.words import in_words

MARKERS = re.compile(r"(<!-- results -->).*?(<!-- /results -->)", re.DOTALL)
COLUMNS = (
    *("Recipe", "Net, epochs", "Runs", "Test accuracy, last epoch", "Published claim"),
    *("Best epoch on test", "Decides on", "Time of a run", "Device"),
)
DECIDES = {None: "nothing", "validation": "validation images", "test": "test images, as theirs did"}
Row = Mapping[str, Any]


def with_results(readme: str, rows: Iterable[Row], problems: list[str]) -> str:
    """The README's text with a fresh table between its markers.

    Args:
        readme: the text.
        rows: of results.csv, typed as `published.read_table` does.
        problems: is told if there are no markers.
    """
    if not MARKERS.search(readme):
        problems.append("README.md lacks the markers <!-- results --> and <!-- /results --> around its results")
    return MARKERS.sub(lambda found: f"{found[1]}\n{results_table(rows)}\n{found[2]}", readme)


def results_table(rows: Iterable[Row]) -> str:
    """One line per recipe, in Markdown: what full runs on CIFAR-10 gave, beside what was claimed; or "not run".

    Args:
        rows: of results.csv, typed. Overridden recipes follow the recipe that they change.
    """
    from helpers import recipes  # here, since it loads torch

    runs: dict[str, list[Row]] = {}
    for row in rows:
        if (row["dataset"], row["profile"]) == ("cifar10", "full"):
            runs.setdefault(row["recipe"], []).append(row)
    names = [*recipes.RECIPES, *(name for name in runs if name not in recipes.RECIPES)]
    order = list(recipes.RECIPES)
    names.sort(key=lambda name: (order.index(name.partition("+")[0]), name))
    lines = [_line(name, runs.get(name, [])) for name in names]
    return "\n".join(map(table_row, [COLUMNS, ["---"] * len(COLUMNS), *lines]))


def _line(name: str, runs: Sequence[Row]) -> list[str]:
    from helpers import published, recipes

    recipe = recipes.RECIPES.get(name)
    net, epochs = (runs[0]["net"], runs[0]["epochs"]) if runs else (recipe.net, recipe.epochs)
    claim = published.CLAIMS.get(name)
    claimed = f"{100 * claim.accuracy:.2f} % ({claim.chosen})" if claim else ""
    head = [f"`{name}`", f"{net}, {epochs}", str(len(runs))]
    decides = runs[0]["decides_on"] if runs else recipe.decides_on
    if not runs:
        return [*head, "not run", claimed, "", DECIDES[decides], "", ""]
    best = _spread([run["best_test_accuracy"] for run in runs]) if claim else ""
    accuracy = _spread([run["test_accuracy"] for run in runs]) + f", {runs[0]['weights']} weights"
    seconds = sum(run["seconds"] for run in runs) / len(runs)
    devices = "; ".join(sorted({run["device"] for run in runs}))
    return [*head, accuracy, claimed, best, DECIDES[decides], in_words(seconds), devices]


def _spread(accuracies: Sequence[float]) -> str:
    from helpers import comparisons

    return str(comparisons.summarise(accuracies))


def table_row(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
