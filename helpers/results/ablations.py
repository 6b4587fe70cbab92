"""What single changes of a recipe did: full runs whose recipes differ in one field, compared seed by seed."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.recipes import FIELDS
from helpers.results.intervals import FEWEST, difference, mean, runs_needed

GAP = 0.002  # the difference whose pairs are counted
YOUNG = ["overridden", "loader"]  # as some fields of recipes, they may be younger than the runs
ALIKE = ["dataset", "seed", "loader", "format"]  # in pairs, so that nothing but the change sets two runs apart


def ablations(runs: pd.DataFrame) -> pd.DataFrame:
    """Every single change that full runs, rows of results.csv, allow to judge; those of one base together.

    Of two recipes the base is the one with fewer overridden fields, or the first of two that have none. Columns: base
    and changed, names of recipes; change, in words; weights, of both; without, with_it and effect, intervals;
    differences of the pairs; and needed, how many pairs show GAP. Effects hold at once for all that have pairs enough.
    """
    if runs.empty:
        return runs
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *FIELDS, *YOUNG])))
    overrides = runs["overridden"].astype(object).fillna("[]").map(json.loads).map(len)
    runs = runs.assign(overrides=overrides, format=runs["device"].str.rpartition(", ")[2])
    runs = runs.sort_values("overrides", kind="stable")
    runs["place"] = runs.groupby(["dataset", *FIELDS], sort=False, dropna=False).ngroup()
    runs[["recipe", "overrides"]] = runs.groupby("place")[["recipe", "overrides"]].transform("first")
    pairs = runs.merge(runs, on=ALIKE, suffixes=("", "_then"))
    variants = (pairs["overrides"] == pairs["overrides_then"]) & (pairs["overrides"] > 0)  # beside each other
    pairs = pairs[(pairs["place"] < pairs["place_then"]) & ~variants]
    groups = [group for _, group in pairs.groupby(["place", "place_then"]) if len(_changed(group.iloc[0])) == 1]
    verdicts = max(1, sum(len(group) >= FEWEST for group in groups))
    return pd.DataFrame([_compared(group, verdicts) for group in groups])


def _changed(pair: Mapping[str, Any]) -> list[str]:
    """The fields in which two runs differ."""
    return [name for name in FIELDS if str(pair[name]) != str(pair[f"{name}_then"])]


def _compared(pairs: pd.DataFrame, verdicts: int) -> dict[str, Any]:
    """One change in one row, from the pairs of runs that show it."""
    pair, without, with_it = pairs.iloc[0], pairs["test_accuracy"], pairs["test_accuracy_then"]
    (field,) = _changed(pair)
    effect = difference(with_it, without, paired=True, comparisons=verdicts)
    decidable = len(pairs) >= FEWEST
    return {
        "base": pair["recipe"],
        "changed": pair["recipe_then"],
        "change": worded(field, pair[field], pair[f"{field}_then"]),
        "weights": (pair["weights"], pair["weights_then"]),
        "without": mean(without),
        "with_it": mean(with_it),
        "effect": effect,
        "differences": list(with_it - without),
        "needed": runs_needed(GAP, effect.deviation, True, verdicts) if decidable else "unknown",
    }


def worded(field: str, before: Any, after: Any) -> str:
    """A change in words: "label_smoothing 0.2 → 0"; of transforms, JSON, "without Cutout" or "Cutout size 8 → 16"."""
    if field != "transforms":
        return f"{field} {_short(before)} → {_short(after)}"
    old, new = ({step["transform"]: step for step in json.loads(text)} for text in (before, after))
    anew = [
        f"{name} {key} {_short(old[name][key])} → {_short(new[name][key])}"
        for name in old.keys() & new.keys()
        for key in old[name]
        if old[name][key] != new[name][key]
    ]
    sides = {"without": old.keys() - new.keys(), "with": new.keys() - old.keys()}
    lists = [f"{word} {', '.join(sorted(names))}" for word, names in sides.items() if names]
    return ", ".join(sorted(anew) + lists) or "transforms in another order"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
