"""What single changes of a recipe did: full runs whose recipes differ in one field, compared seed by seed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.comparisons import Difference, Summary, paired_difference, summarise
from helpers.published import FullRun
from helpers.recipes import FIELDS


@dataclass(frozen=True)
class Ablation:
    """Runs of a recipe beside runs that differ from them in one field, in pairs of one seed, loader and number format.

    Attributes:
        base: name of the recipe that was changed.
        changed: name of the recipe with the change; the base's own for what its runs tell themselves.
        change: what was changed, in words.
        seeds: of the pairs.
        without, with_it: test accuracies without and with the change, in [0, 1], in the order of the seeds.
    """

    base: str
    changed: str
    change: str
    seeds: tuple[int, ...]
    without: tuple[float, ...]
    with_it: tuple[float, ...]

    @property
    def differences(self) -> list[float]:
        """What the change added to the accuracy, seed by seed."""
        return [changed - unchanged for changed, unchanged in zip(self.with_it, self.without)]

    @property
    def effect(self) -> Difference:
        """The mean of the differences with its interval."""
        return paired_difference(self.with_it, self.without)

    @property
    def summaries(self) -> tuple[Summary, Summary]:
        """The accuracies without and with the change in short."""
        return summarise(self.without), summarise(self.with_it)


def ablations(given: Iterable[FullRun]) -> list[Ablation]:
    """Every single change that the runs allow to judge, those of one base together.

    Of two recipes the base is the one with fewer overridden fields, or the first of two that have none. What the
    average of the weights does needs no run of its own, since averaging does not act on the training.

    Args:
        given: full runs in the order of `published.full_runs`.
    """
    groups: dict[tuple[Any, ...], list[FullRun]] = {}
    for run in given:
        groups.setdefault((run.facts["dataset"], *map(run.facts.get, FIELDS)), []).append(run)
    found, ordered = [], sorted(groups.values(), key=lambda runs: len(_overridden(runs[0])))  # stable
    for place, base in enumerate(ordered):
        pairs = [pair for other in ordered[place + 1 :] for pair in _paired(base, other)]
        if pairs or not _overridden(base[0]):
            found += _averaging(base)
        found += pairs
    return found


def _averaging(runs: Sequence[FullRun]) -> list[Ablation]:
    if runs[0].facts["weights"] != "averaged":
        return []
    seeds, accuracies = (tuple(getattr(run, name) for run in runs) for name in ("seed", "accuracy"))
    raw = tuple(run.facts["raw_test_accuracy"] for run in runs)
    return [Ablation(runs[0].recipe, runs[0].recipe, "raw weights, no average", seeds, accuracies, raw)]


def _paired(base: Sequence[FullRun], other: Sequence[FullRun]) -> list[Ablation]:
    """The comparison of two recipes, if they differ in one field and the other is no variant beside the base."""
    facts, changed = base[0].facts, other[0].facts
    fields = [name for name in ("dataset", *FIELDS) if facts.get(name) != changed.get(name)]
    beside = len(_overridden(base[0])) == len(_overridden(other[0])) > 0
    if len(fields) != 1 or "dataset" in fields or beside:
        return []
    ours, theirs = ({_drawn_alike(run): run.accuracy for run in runs} for runs in (base, other))
    shared = [key for key in ours if key in theirs]
    if not shared:
        return []
    values = (tuple(side[key] for key in shared) for side in (ours, theirs))
    change = worded(fields[0], facts[fields[0]], changed[fields[0]])
    return [Ablation(base[0].recipe, other[0].recipe, change, tuple(seed for seed, *_ in shared), *values)]


def _drawn_alike(run: FullRun) -> tuple[int, str | None, str]:
    """What two runs must share so that nothing but the change sets them apart: seed, augmentation's draws, format."""
    return run.seed, run.facts.get("loader"), str(run.facts.get("device", "")).rpartition(", ")[2]


def worded(field: str, before: Any, after: Any) -> str:
    """A change in words: "label_smoothing 0.2 → 0"; for transforms "without Cutout" or "Cutout size 8 → 16".

    Args:
        field: of a recipe.
        before, after: its values as results.csv has them; transforms as JSON.
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


def _overridden(run: FullRun) -> list[str]:
    return json.loads(run.facts.get("overridden") or "[]")
