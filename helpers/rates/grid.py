"""Rate grids: short cycles judged on held-out images, which decide a recipe's rates and its logit scale.

A range test says at which rate an untrained net explodes; what rate serves a whole cycle best, only cycles tell.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from helpers import files, recipes
from helpers.recipes import Recipe

PUBLISHED = files.REPO_ROOT / "images" / "rate_grid.csv"
SHORT = {"epochs": 5, "holdout": 5_000}  # cycles of five epochs on 45,000 images, judged on the other 5,000


class Rates(NamedTuple):
    """What a grid decides: the rate of the peak, that of both ends, and the factor on the logits in the loss."""

    max_lr: float
    min_lr: float
    logit_scale: float


class Grid(NamedTuple):
    """What is tried for one recipe, in three stages, each of which needs the accuracies of the one before."""

    recipe: str
    max_lr: tuple[float, ...]  # 1. with every scale; the ends lie at a hundredth of the peak
    logit_scale: tuple[float, ...] = (1.0,)
    floors: tuple[float, ...] = ()  # 2. of the best of each scale: what the peak is divided by for other ends
    seeds: tuple[int, ...] = (0,)  # 3. of the best of each scale; the first is that of all other cells


Accuracies = Mapping[tuple[Rates, int], float]
GRIDS = (
    Grid("davidnet-onecycle", (0.05, 0.1, 0.2, 0.4, 0.8), (1.0, 1 / 8), floors=(10, 1000), seeds=(0, 1, 2)),
    Grid("resnet18-onecycle", (0.05, 0.1, 0.2)),
)


def read(grid: Grid, rows: pd.DataFrame | None = None) -> dict[tuple[Rates, int], float]:
    """Held-out accuracies of a grid's cells, by default the published ones, by rates and seed; 0 where one diverged."""
    rows = (pd.read_csv(PUBLISHED) if rows is None else rows).fillna({"val_accuracy": 0.0}).to_dict("records")
    ours = [row for row in rows if row["recipe"].startswith(f"{grid.recipe}+")]
    return {(rates_of(row), row["seed"]): row["val_accuracy"] for row in ours}


def rates_of(row: Mapping[str, Any]) -> Rates:
    """The rates and scale of a row of rate_grid.csv, or of a recipe as it stands in a record."""
    return Rates(*(float(row[name]) for name in Rates._fields))


def cells(grid: Grid, found: Accuracies) -> list[tuple[Rates, int]]:
    """The cells of the stages that can be told by now, in order."""
    first, *others = grid.seeds
    wanted = [(_rates(lr, 100, scale), first) for scale in grid.logit_scale for lr in grid.max_lr]
    if all(cell in found for cell in wanted):
        best = ((one, floor) for one in _best(grid, found) for floor in grid.floors)
        wanted += [(_rates(one.max_lr, floor, one.logit_scale), first) for one, floor in best]
    if all(cell in found for cell in wanted):
        wanted += [(one, seed) for one in _best(grid, found) for seed in others]
    return wanted


def chosen(grid: Grid, found: Accuracies) -> Rates | None:
    """What a complete grid decides: the best of each scale, and of these the higher mean over seeds; None before."""
    if not all(cell in found for cell in cells(grid, found)):
        return None
    return max(_best(grid, found), key=lambda rates: fmean(found[rates, seed] for seed in grid.seeds))


def recipe_of(grid: Grid, rates: Rates) -> Recipe:
    """The short run of a cell."""
    return recipes.get(grid.recipe, {**SHORT, **rates._asdict()})


def _rates(max_lr: float, floor: float, logit_scale: float) -> Rates:
    return Rates(max_lr, float(f"{max_lr / floor:.6g}"), logit_scale)  # .4 / 100 as 0.004, which names a folder


def _best(grid: Grid, found: Accuracies) -> list[Rates]:
    """The best rates of each scale by the first seed; of equal ones the first."""
    ours = {rates: found[rates, seed] for rates, seed in found if seed == grid.seeds[0]}
    return [max((one for one in ours if one.logit_scale == scale), key=ours.get) for scale in grid.logit_scale]
