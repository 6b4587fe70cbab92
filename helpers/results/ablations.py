"""What single changes of a recipe did: full runs whose recipes differ in one field, compared seed by seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from helpers.recipes import FIELDS
from helpers.results.comparisons import FEWEST, Difference, Summary, paired_difference, pairs_needed, summarise

Run = Mapping[str, Any]  # a row of results.csv


@dataclass(frozen=True)
class Ablation:
    """Runs of a recipe beside runs that differ in one field, in pairs of one seed, loader and number format."""

    base: str  # name of the recipe that was changed
    changed: str  # name of the recipe with the change
    change: str  # what was changed, in words
    seeds: tuple[int, ...]  # of the pairs
    without: tuple[float, ...]  # test accuracies without the change, in [0, 1], in the order of the seeds
    with_it: tuple[float, ...]  # and with it
    weights: tuple[str, str]  # "averaged" or "raw", without and with the change: what these accuracies are of
    comparisons: int = 1  # changes judged side by side; see `comparisons.level_of_each`

    @property
    def differences(self) -> list[float]:
        """What the change added to the accuracy, seed by seed."""
        return [changed - unchanged for changed, unchanged in zip(self.with_it, self.without)]

    @property
    def effect(self) -> Difference:
        """The mean of the differences with its interval, which is wider the more changes are judged side by side."""
        return paired_difference(self.with_it, self.without, comparisons=self.comparisons)

    def pairs_needed(self, gap: float) -> int | None:
        """Pairs that show a true difference, `gap` in [0, 1], four times out of five, by the spread of these.

        None where these are too few.
        """
        if len(self.seeds) < FEWEST:
            return None
        return pairs_needed(gap, summarise(self.differences).deviation, self.comparisons)

    @property
    def summaries(self) -> tuple[Summary, Summary]:
        """The accuracies without and with the change in short."""
        return summarise(self.without), summarise(self.with_it)


def ablations(runs: pd.DataFrame) -> list[Ablation]:
    """Every single change that the runs allow to judge, those of one base together.

    Of two recipes the base is the one with fewer overridden fields, or the first of two that have none. Intervals are
    corrected for the number of changes with pairs enough to decide. A run's raw weights beside its averaged ones are
    no change of its recipe, nor a fair one: where the rate does not fall to zero, raw weights alone stop too early.
    The runs are those of `archive.runs`, in its order.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs.astype(object).where(runs.notna(), None).to_dict("records"):
        groups.setdefault((run["dataset"], *map(run.get, FIELDS)), []).append(run)
    found, ordered = [], sorted(groups.values(), key=lambda runs: len(_overridden(runs[0])))  # stable
    for place, base in enumerate(ordered):
        found += [pair for other in ordered[place + 1 :] for pair in _paired(base, other)]
    decidable = sum(len(one.seeds) >= FEWEST for one in found)
    return [replace(one, comparisons=max(1, decidable)) for one in found]


def _paired(base: Sequence[Run], other: Sequence[Run]) -> list[Ablation]:
    """The comparison of two recipes, if they differ in one field and the other is no variant beside the base."""
    facts, changed = base[0], other[0]
    fields = [name for name in ("dataset", *FIELDS) if facts.get(name) != changed.get(name)]
    beside = len(_overridden(base[0])) == len(_overridden(other[0])) > 0
    if len(fields) != 1 or "dataset" in fields or beside:
        return []
    ours, theirs = ({_drawn_alike(run): run["test_accuracy"] for run in runs} for runs in (base, other))
    shared = [key for key in ours if key in theirs]
    if not shared:
        return []
    values = (tuple(side[key] for key in shared) for side in (ours, theirs))
    change = worded(fields[0], facts[fields[0]], changed[fields[0]])
    names, seeds = (facts["recipe"], changed["recipe"]), tuple(seed for seed, *_ in shared)
    return [Ablation(*names, change, seeds, *values, (facts["weights"], changed["weights"]))]


def _drawn_alike(run: Run) -> tuple[int, str | None, str]:
    """What two runs must share so that nothing but the change sets them apart: seed, augmentation's draws, format."""
    return run["seed"], run.get("loader"), str(run.get("device", "")).rpartition(", ")[2]


def worded(field: str, before: Any, after: Any) -> str:
    """A change in words: "label_smoothing 0.2 → 0"; for transforms "without Cutout" or "Cutout size 8 → 16".

    The values of the field are as results.csv has them; transforms are JSON.
    """
    if field != "transforms":
        return f"{field} {_short(before)} → {_short(after)}"
    old, new = json.loads(before), json.loads(after)
    gone, come = ({t["transform"]: t for t in one if t not in other} for one, other in ((old, new), (new, old)))
    set_anew = [_set_anew(gone[name], come[name]) for name in gone if name in come]
    sides = {"without": gone.keys() - come.keys(), "with": come.keys() - gone.keys()}
    lists = [f"{word} {', '.join(sorted(names))}" for word, names in sides.items() if names]
    return ", ".join(set_anew + lists) or "transforms in another order"


def _set_anew(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = [name for name in before if before[name] != after[name]]
    changes = [f"{name} {_short(before[name])} → {_short(after[name])}" for name in names]
    return f"{before['transform']} {', '.join(changes)}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _overridden(run: Run) -> list[str]:
    return json.loads(run.get("overridden") or "[]")
