"""What single changes of a recipe did: full runs whose recipes differ in one field, compared seed by seed."""

import json
from typing import Any

import numpy as np
import pandas as pd

from helpers.recipes import FIELDS
from helpers.results.intervals import FEWEST, difference, mean, runs_needed

GAP = 0.002  # the difference whose pairs are counted
ALIKE = ["dataset", "seed", "loader", "format"]  # in pairs; their threads and CPUs may differ


def ablations(runs: pd.DataFrame) -> pd.DataFrame:
    """Every single change that full runs, rows of results.csv, allow to judge; those of one base together.

    Of two recipes the base is the one with fewer overridden fields, or the first of two that have none. Columns: base
    and changed, names of recipes; change, in words; weights, of both; without, with_it and effect, intervals;
    differences of the pairs; and needed, how many pairs show GAP. Effects hold at once for all that have pairs enough.
    """
    if runs.empty:
        return runs
    younger = dict.fromkeys([*runs, *FIELDS, "overridden", "loader"])  # columns may be younger than the runs
    runs = runs.reindex(columns=list(younger)).assign(order=range(len(runs)))
    runs["overrides"] = runs["overridden"].astype(object).fillna("[]").map(json.loads).map(len)
    runs["format"] = runs["device"].str.rpartition(", ")[2]
    pairs = runs.merge(runs, on=ALIKE, suffixes=("", "_then"))
    before, after = (pairs[[name + side for name in FIELDS]].astype(str).to_numpy() for side in ("", "_then"))
    pairs["field"] = np.array(FIELDS)[(before != after).argmax(1)]
    named = (pairs["overrides"] + pairs["overrides_then"] == 0) & (pairs["order"] < pairs["order_then"])
    pairs = pairs[((before != after).sum(1) == 1) & (named | (pairs["overrides"] < pairs["overrides_then"]))]
    groups = [group for _, group in pairs.groupby(["recipe", "recipe_then"], sort=False)]
    verdicts = max(1, sum(len(group) >= FEWEST for group in groups))
    return pd.DataFrame([_compared(group, verdicts) for group in groups])


def _compared(pairs: pd.DataFrame, verdicts: int) -> dict[str, Any]:
    """One change in one row, from the pairs of runs that show it."""
    pair, without, with_it = pairs.iloc[0], pairs["test_accuracy"], pairs["test_accuracy_then"]
    effect = difference(with_it, without, paired=True, comparisons=verdicts)
    return {
        "base": pair["recipe"],
        "changed": pair["recipe_then"],
        "change": worded(pair["field"], pair[pair["field"]], pair[pair["field"] + "_then"]),
        "weights": (pair["weights"], pair["weights_then"]),
        "without": mean(without),
        "with_it": mean(with_it),
        "effect": effect,
        "differences": list(with_it - without),
        "needed": runs_needed(GAP, effect.deviation, True, verdicts) if len(pairs) >= FEWEST else "unknown",
    }


def worded(field: str, before: Any, after: Any) -> str:
    """A change in words: "label_smoothing 0.2 → 0"; of transforms, JSON, such as "without Flip (p 0.5)"."""
    if field != "transforms":
        return f"{field} " + " → ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in (before, after))
    old, new = ([_told(**step) for step in json.loads(text)] for text in (before, after))
    sides = {"without": [one for one in old if one not in new], "with": [one for one in new if one not in old]}
    told = [f"{word} {', '.join(ones)}" for word, ones in sides.items() if ones]
    return ", ".join(told) or "transforms in another order"


def _told(transform: str, **settings: Any) -> str:
    return f"{transform} ({', '.join(f'{name} {value}' for name, value in settings.items())})"
