"""Rate grids: short cycles judged on held-out images, which decide a recipe's rates and its logit scale.

A range test says at which rate an untrained net explodes; what rate serves a whole cycle best, only cycles tell. A grid
has three stages, each of which needs the one before: rates × logit scales; then, of the best rate of each scale, other
rates at the ends; then the best of each scale with two more seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from helpers import recipes
from helpers.recipes import Recipe
from helpers.results import published

SHORT = {"epochs": 5, "holdout": 5_000}  # cycles of five epochs on 45,000 images, judged on the other 5,000
Row = dict[str, Any]


class Rates(NamedTuple):
    """What a grid decides: the rate of the peak, that of both ends, and the factor on the logits in the loss."""

    max_lr: float
    min_lr: float
    logit_scale: float


@dataclass(frozen=True)
class Grid:
    """What is tried for one recipe.

    Attributes:
        recipe: its name.
        max_lr, logit_scale: all combinations are tried, with the ends at a hundredth of the peak.
        floors: other shares of the peak that the ends are tried at.
        seeds: of the best of each scale; the first is that of all other cells.
    """

    recipe: str
    max_lr: tuple[float, ...]
    logit_scale: tuple[float, ...] = (1.0,)
    floors: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)


GRIDS = (
    Grid("davidnet-onecycle", (0.05, 0.1, 0.2, 0.4, 0.8), (1.0, 1 / 8), floors=(10, 1000), seeds=(0, 1, 2)),
    Grid("resnet18-onecycle", (0.05, 0.1, 0.2)),
)
Accuracies = Mapping[tuple[Rates, int], float]


def read(grid: Grid, images: Path = published.IMAGES) -> dict[tuple[Rates, int], float]:
    """Held-out accuracies of a grid's cells so far, by rates and seed; 0 for one that diverged."""
    rows = published.read_table(images / "rate_grid.csv")
    ours = [row for row in rows if row["recipe"].partition("+")[0] == grid.recipe]
    return {(rates_of(row), row["seed"]): row["val_accuracy"] or 0.0 for row in ours}


def rates_of(row: Mapping[str, Any]) -> Rates:
    """The rates and scale of a row of rate_grid.csv, or of a recipe as it stands in a record."""
    return Rates(*(float(row[name]) for name in Rates._fields))


def cells(grid: Grid, found: Accuracies) -> list[tuple[Rates, int]]:
    """All cells of the stages that can be told by now, in order.

    Args:
        grid: what is tried.
        found: accuracies by rates and seed, as `read` gives them; later stages depend on them.
    """
    first = grid.seeds[0]
    wanted = [(_rates(lr, 100, scale), first) for scale in grid.logit_scale for lr in grid.max_lr]
    for stage in (_other_floors, _other_seeds):
        if all(cell in found for cell in wanted):
            wanted += [cell for scale in grid.logit_scale for cell in stage(grid, _best(grid, scale, found))]
    return wanted


def waiting(grid: Grid, found: Accuracies) -> list[tuple[Rates, int]]:
    """The cells to train next; none once the grid is complete."""
    return [cell for cell in cells(grid, found) if cell not in found]


def chosen(grid: Grid, found: Accuracies) -> Rates | None:
    """What a complete grid decides: the best of each scale, and of these the higher mean over seeds; None before."""
    if waiting(grid, found):
        return None
    best = [_best(grid, scale, found) for scale in grid.logit_scale]
    return max(best, key=lambda rates: fmean(found[rates, seed] for seed in grid.seeds))


def recipe_of(grid: Grid, rates: Rates) -> Recipe:
    """The short run of a cell."""
    return recipes.get(grid.recipe, {**SHORT, **rates._asdict()})


def row_of(record: Mapping[str, Any]) -> Row:
    """A cell's row of rate_grid.csv; its accuracy is that of the last epoch on the images held out.

    Args:
        record: of a finished run, or what is known of one that diverged, without accuracies.
    """
    recipe = record["recipe"]
    key = {name: recipe["name"] if name == "recipe" else record[name] for name in published.KEY}
    facts = {name: recipe[name] for name in ("net", "epochs", "holdout", *Rates._fields)}
    known = ("val_accuracy", "train_accuracy", "seconds", "device", "loader", "commit", "date")
    return {**key, **facts, **{name: record.get(name) for name in known}}


def _rates(max_lr: float, floor: float, logit_scale: float) -> Rates:
    return Rates(max_lr, float(f"{max_lr / floor:.6g}"), logit_scale)  # .4 / 100 as 0.004, which names a folder


def _best(grid: Grid, scale: float, found: Accuracies) -> Rates:
    """The best rates of a scale by the first seed; of equal ones the first."""
    ours = {rates: found[rates, seed] for rates, seed in found if (rates.logit_scale, seed) == (scale, grid.seeds[0])}
    return max(ours, key=lambda rates: ours[rates])


def _other_floors(grid: Grid, best: Rates) -> list[tuple[Rates, int]]:
    return [(_rates(best.max_lr, floor, best.logit_scale), grid.seeds[0]) for floor in grid.floors]


def _other_seeds(grid: Grid, best: Rates) -> list[tuple[Rates, int]]:
    return [(best, seed) for seed in grid.seeds[1:]]
