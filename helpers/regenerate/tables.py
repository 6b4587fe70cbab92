"""The README's tables: results and single changes of full runs on CIFAR-10, and the profiles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from helpers import recipes, results
from helpers.files import in_words
from helpers.results.ablations import GAP

DECIDES = {"": "nothing", "last batch": "its last training batch"}
Row = Mapping[str, Any]
Histories = Mapping[tuple[str, int], Sequence[Row]]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; their keys are its columns."""
    frame = pd.DataFrame(rows).astype(str).replace(r"\|", r"\\|", regex=True)
    lines = [list(frame), ["---"] * frame.shape[1], *frame.values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_table(runs: pd.DataFrame, histories: Histories) -> str:
    """One line per recipe: what its full runs gave, beside what was claimed; without one, how far it has come.

    Overridden recipes follow the recipe that they change; those of which `ablations_table` tells are left to it.
    """
    groups = {name: group.to_dict("records") for name, group in runs.groupby("recipe")}
    told = {one.changed for one in results.ablations(runs).itertuples()} - set(recipes.RECIPES)
    names = sorted({*recipes.RECIPES, *groups} - told, key=lambda name: (results.place(name), name))
    return markdown([_line(name, groups.get(name, []), histories.get((name, 0), ())) for name in names])


def _line(name: str, runs: Sequence[Row], history: Sequence[Row]) -> dict[str, str]:
    facts = runs[0] if runs else vars(recipes.RECIPES[name]) | {"decides_on": recipes.RECIPES[name].decides_on or ""}
    claim, decides = results.claims().get(name), facts["decides_on"]
    note = f" ({claim.note})" if claim and claim.note else ""
    return {
        "Recipe": f"`{name}`",
        "Net, epochs": f"{facts['net']}, {facts['epochs']}",
        "Runs": str(len(runs)),
        "Test accuracy, last epoch": _accuracy(runs) if runs else _so_far(name, facts["epochs"], history),
        "Train accuracy": _mean(runs, "train_accuracy"),
        "Published claim": f"{claim or ''}{note}",
        "Best epoch on test": _mean(runs, "best_test_accuracy") if claim else "",
        "Decides on": DECIDES.get(decides, f"{decides} images"),
        "Time of a run": in_words(sum(run["run_seconds"] for run in runs) / len(runs)) if runs else "",
        "Device": "; ".join(sorted({short_device(run["device"]) for run in runs})),
    }


def _accuracy(runs: Sequence[Row]) -> str:
    """The headline with its kind of weights; beside that of averaged ones the raw ones', to compare with raw."""
    told = f"{_mean(runs, 'test_accuracy')}, {runs[0]['weights']} weights"
    return told if runs[0]["weights"] == "raw" else f"{told}; raw {_mean(runs, 'raw_test_accuracy')}"


def _mean(runs: Sequence[Row], column: str) -> str:
    return str(results.mean([run[column] for run in runs])) if runs else ""


def _so_far(name: str, epochs: int, history: Sequence[Row]) -> str:
    """How far a run has come, beside the published log at the same epoch where there is one."""
    if not history:
        return "not run"
    theirs = results.claimed_curves().get(name)
    told = f"{len(history)} of {epochs} epochs: {100 * judged(history[-1]):.2f} %"
    return told + (f" (theirs then: {100 * theirs[len(history) - 1]:.2f} %)" if theirs else "")


def judged(row: Row) -> float:
    """Test accuracy of an epoch's judged weights: the averaged ones where the run keeps them."""
    averaged = row.get("ema_test_accuracy")
    return row["test_accuracy"] if averaged is None else averaged


def short_device(told: str) -> str:
    """A record's device without its kind: "AMD EPYC, 2 threads, bf16" for "cpu (AMD EPYC, 2 threads), bf16"."""
    return re.sub(r"\b(?:cpu|cuda|mps) \((.*?)\), ", r"\1, ", told)


def ablations_table(runs: pd.DataFrame) -> str:
    """One line per single change of a recipe: what it did to the accuracy of full runs on CIFAR-10."""
    rows = [
        {
            "Recipe": f"`{one.base}`",
            "Change": one.change,
            "Seeds": len(one.differences),
            "Without the change": f"{one.without}, {one.weights[0]} weights",
            "With it": f"{one.with_it}, {one.weights[1]} weights",
            "Difference, seed by seed": f"{one.effect}{', undecided' * (one.effect.verdict == 'undecided')}",
            f"Pairs that show {100 * GAP:g} points": one.needed,
        }
        for one in results.ablations(runs).itertuples()
    ]
    return markdown(rows) if rows else "None was run yet."


def mixed(runs: pd.DataFrame) -> list[str]:
    """What is wrong with runs of one recipe name whose recipes differ: a mean of them would be one of nothing."""
    counts = runs.groupby("recipe")[[name for name in recipes.FIELDS if name in runs]].nunique(dropna=False)
    differing = {name: ", ".join(row.index[row > 1]) for name, row in counts.iterrows() if (row > 1).any()}
    return [f"runs of {name} differ in their recipe ({f}); train the older ones anew" for name, f in differing.items()]


def profiles_table() -> str:
    """What the profiles make of a recipe, one column each."""
    frame = pd.DataFrame([asdict(profile) for profile in recipes.PROFILES.values()], dtype=object).set_index("name").T
    return markdown([{"": field, **row.fillna("as it is")} for field, row in frame.iterrows()])
