"""The README's tables: results and ablations, made from results.csv and curves.csv, and what the profiles change."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.regenerate.words import in_words

if TYPE_CHECKING:  # they load torch
    import pandas as pd

    from helpers.recipes import Profile

COLUMNS = (
    *("Recipe", "Net, epochs", "Runs", "Test accuracy, last epoch", "Train accuracy", "Published claim"),
    *("Best epoch on test", "Decides on", "Time of a run", "Device"),
)
ABLATION = (
    *("Recipe", "Change", "Seeds", "Without the change", "With it", "Difference, seed by seed"),
    "Pairs that show {points:g} points",
)
CHANGES = {  # fields of a profile in words, where they change anything
    "n_train": "{n_train:,} training images",
    "n_test": "{n_test:,} test images",
    "epochs": "{epochs} epochs",
    "batch_size": "{batch_size} images a batch at most",
    "width": "nets of width {width}",
    "side_width": "nets of width {side_width} in experiments beside the main run",
    "steady_lr": "schedules that only fall start at {steady_lr} at most",
    "ema_epochs": "averages over {ema_epochs} epochs at most",
    "finder_steps": "range tests of {finder_steps} steps",
}
DECIDES = {
    "": "nothing",
    "validation": "validation images",
    "test": "test images",
    "last batch": "its last training batch",
}
Row = Mapping[str, Any]
Histories = Mapping[tuple[str, int], Sequence[Row]]


def with_tables(readme: str, runs: "pd.DataFrame", histories: Histories, problems: list[str]) -> str:
    """The README's text with fresh tables between their markers.

    Args:
        readme: the text.
        runs: as `results.runs` gives them.
        histories: of them and of runs that are under way, as `results.histories` gives them.
        problems: is told which markers are missing, and which runs of one name differ in their recipe.
    """
    problems += mixed(runs)
    results = results_table(runs, histories)
    tables = {"results": results, "ablations": ablations_table(runs), "profiles": profiles_table()}
    for name, lines in tables.items():
        readme = between(readme, name, lines, problems)
    return readme


def between(text: str, name: str, content: str, problems: list[str]) -> str:
    """The text with something else between the markers <!-- name --> and <!-- /name -->.

    Args:
        problems: is told if the README, whose text this is, lacks them.
    """
    markers = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
    if not markers.search(text):
        problems.append(f"README.md lacks the markers <!-- {name} --> and <!-- /{name} --> around its {name}")
    return markers.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", text)


def results_table(runs: "pd.DataFrame", histories: Histories) -> str:
    """One line per recipe, in Markdown: what full runs on CIFAR-10 gave, beside what was claimed; or "not run".

    Overridden recipes follow the recipe that they change; those of which `ablations_table` tells are left to it. Of a
    recipe without a finished run, what has begun is told as far as it has come.
    """
    from helpers import recipes, results  # here, since they load torch

    groups = {name: group.to_dict("records") for name, group in runs.groupby("recipe")}
    told = {one.changed for one in results.ablations(runs).itertuples()} - set(recipes.RECIPES)
    names = sorted({*recipes.RECIPES, *groups} - told, key=lambda name: (results.place(name), name))
    return table(COLUMNS, [_line(name, groups.get(name, []), histories.get((name, 0), ())) for name in names])


def ablations_table(runs: "pd.DataFrame") -> str:
    """One line per single change of a recipe, in Markdown: what it did to the accuracy of full runs on CIFAR-10."""
    from helpers import results
    from helpers.results.ablations import GAP

    lines = []
    for one in results.ablations(runs).itertuples():
        sides = [f"{side}, {weights} weights" for side, weights in zip((one.without, one.with_it), one.weights)]
        effect = f"{one.effect}, undecided" if one.effect.verdict == "undecided" else str(one.effect)
        lines.append([f"`{one.base}`", one.change, str(len(one.differences)), *sides, effect, str(one.needed)])
    columns = [column.format(points=100 * GAP) for column in ABLATION]
    return table(columns, lines) if lines else "None was run yet."


def mixed(runs: "pd.DataFrame") -> list[str]:
    """What is wrong with runs of one recipe name whose recipes differ: a mean of them would be one of nothing."""
    from helpers import recipes

    problems = []
    for name, group in runs.groupby("recipe"):
        values = {field: [str(value) for value in group[field].unique()] for field in recipes.FIELDS if field in group}
        differing = "; ".join(f"{field}: {', '.join(found)}" for field, found in values.items() if len(found) > 1)
        if differing:
            problems.append(f"runs of {name} differ in their recipe ({differing}); train the older ones anew")
    return problems


def profiles_table() -> str:
    """One line per profile, in Markdown: what it is for, and what it makes of a recipe."""
    from helpers.recipes import PROFILES

    lines = [[f"`{name}`", profile.purpose, _changes(profile)] for name, profile in PROFILES.items()]
    automatic = ["`auto`", "the default", "`full` on a GPU, else `quick`"]
    return table(("Profile", "For", "What it changes"), [*lines, automatic])


def _changes(profile: "Profile") -> str:
    from helpers.recipes import Profile

    told = [words for name, words in CHANGES.items() if getattr(profile, name) != getattr(Profile, name)]
    told += ["patience, steps of the rate and images held out shrink alike"] if told else []
    return ", ".join(told).format(**vars(profile)) or "nothing"


def _line(name: str, runs: Sequence[Row], history: Sequence[Row]) -> list[str]:
    from helpers import recipes, results

    recipe = recipes.RECIPES.get(name)
    net, epochs = (runs[0]["net"], runs[0]["epochs"]) if runs else (recipe.net, recipe.epochs)
    claim = results.CLAIMS.get(name)
    claimed = f"{claim} ({claim.note})" if claim and claim.note else str(claim or "")
    head = [f"`{name}`", f"{net}, {epochs}", str(len(runs))]
    decides = runs[0]["decides_on"] if runs else recipe.decides_on or ""
    if not runs:
        return [*head, _so_far(name, history), "", claimed, "", DECIDES[decides], "", ""]
    train = _spread([run["train_accuracy"] for run in runs])
    best = _spread([run["best_test_accuracy"] for run in runs]) if claim else ""
    seconds = sum(run["run_seconds"] for run in runs) / len(runs)
    devices = "; ".join(sorted({short_device(run["device"]) for run in runs}))
    return [*head, _accuracy(runs), train, claimed, best, DECIDES[decides], in_words(seconds), devices]


def _accuracy(runs: Sequence[Row]) -> str:
    """The headline with its kind of weights; beside that of averaged ones the raw ones', to compare with raw."""
    told = f"{_spread([run['test_accuracy'] for run in runs])}, {runs[0]['weights']} weights"
    if runs[0]["weights"] == "raw":
        return told
    return f"{told}; raw {_spread([run['raw_test_accuracy'] for run in runs])}"


def short_device(told: str) -> str:
    """A record's device without its kind: "AMD EPYC, 2 threads, bf16" for "cpu (AMD EPYC, 2 threads), bf16"."""
    return re.sub(r"\b(?:cpu|cuda|mps) \((.*?)\), ", r"\1, ", told)


def _so_far(name: str, history: Sequence[Row]) -> str:
    """How far a run has come, beside the published log at the same epoch where there is one."""
    from helpers import recipes, results

    if not history:
        return "not run"
    told = f"{len(history)} of {recipes.RECIPES[name].epochs} epochs: {100 * judged(history[-1]):.2f} %"
    theirs = results.claimed_curves().get(name)
    return told + (f" (theirs then: {100 * theirs[len(history) - 1]:.2f} %)" if theirs else "")


def _spread(accuracies: Sequence[float]) -> str:
    from helpers import results

    return str(results.mean(accuracies))


def judged(row: Row) -> float:
    """Test accuracy of an epoch's judged weights: the averaged ones where the run keeps them."""
    averaged = row.get("ema_test_accuracy")
    return row["test_accuracy"] if averaged is None else averaged


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
