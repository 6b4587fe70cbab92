"""The tables of README and docs: results and single changes of full runs on CIFAR-10, and the profiles."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from helpers import recipes, results
from helpers.files import in_words
from helpers.results.ablations import GAP

DECIDES = {"": "nothing", "last batch": "its last training batch"}
Row = Mapping[str, Any]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; their keys are its columns."""
    frame = pd.DataFrame(rows).astype(str).replace(r"\|", r"\\|", regex=True)
    lines = [list(frame), ["---"] * frame.shape[1], *frame.values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_table(runs: pd.DataFrame, histories: Mapping[tuple[str, int], Sequence[Row]]) -> str:
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
    times = pd.DataFrame(runs, columns=["device", "run_seconds"]).groupby("device")["run_seconds"].min()
    return {
        "Recipe": f"`{name}`",
        "Net, epochs": f"{facts['net']}, {facts['epochs']}",
        "Runs": str(len(runs)),
        "Test accuracy, last epoch": _headline(runs, facts["epochs"], history),
        "Train accuracy": _mean(runs, "train_accuracy"),
        "Published claim": f"{claim or ''}{note}",
        "Best epoch on test": _mean(runs, "best_test_accuracy") if claim else "",
        "Decides on": DECIDES.get(decides, f"{decides} images"),
        "Time of the fastest run": "; ".join(f"{in_words(took)} on {device}" for device, took in times.items()),
    }


def _headline(runs: Sequence[Row], epochs: int, history: Sequence[Row]) -> str:
    """The accuracy and its kind of weights; or how far a run has come."""
    if runs:
        raw = "" if runs[0]["weights"] == "raw" else f"; raw {_mean(runs, 'raw_test_accuracy')}"
        return f"{_mean(runs, 'test_accuracy')}, {runs[0]['weights']} weights{raw}"
    if not history:
        return "not run"
    accuracy = history[-1].get("ema_test_accuracy") or history[-1]["test_accuracy"]  # averaged where it is kept
    return f"{len(history)} of {epochs} epochs: {100 * accuracy:.2f} %"


def _mean(runs: Sequence[Row], column: str) -> str:
    return str(results.mean([run[column] for run in runs])) if runs else ""


def ablations_table(runs: pd.DataFrame) -> str:
    """One line per single change of a recipe: what it did to the accuracy of full runs on CIFAR-10."""
    heads = ("Recipe", "Change", "Seeds", "Without the change", "With it", "Difference, seed by seed")
    rows = []
    for one in results.ablations(runs).itertuples():
        sides = (f"{side}, {weights} weights" for side, weights in zip((one.without, one.with_it), one.weights))
        effect = f"{one.effect}{', undecided' * (one.effect.verdict == 'undecided')}"
        row = (f"`{one.base}`", one.change, len(one.differences), *sides, effect, one.needed)
        rows.append(dict(zip((*heads, f"Pairs that show {100 * GAP:g} points"), row)))
    return markdown(rows) if rows else "None was run yet."


def profiles_table() -> str:
    """What the profiles make of a recipe, one column each."""
    frame = pd.DataFrame([asdict(profile) for profile in recipes.PROFILES.values()], dtype=object).set_index("name").T
    return markdown([{"": field, **row.fillna("as it is")} for field, row in frame.iterrows()])
