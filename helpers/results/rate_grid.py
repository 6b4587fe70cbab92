"""The grids of `helpers.rates.grid`, with the cells that are published or lie in the run store."""

from pathlib import Path

from helpers.rates.grid import GRIDS, Accuracies, Grid, Rates, cells, chosen, of_rows, rates_of, recipe_of
from helpers.results import archive

__all__ = ["GRIDS", "Accuracies", "Grid", "Rates", "cells", "chosen", "rates_of", "read", "recipe_of"]


def read(grid: Grid, images: Path | None = None, root: Path | None = None) -> dict[tuple[Rates, int], float]:
    """Held-out accuracies of a grid's cells so far, by rates and seed; 0 for one that diverged."""
    return of_rows(grid, archive.read("rate_grid.csv", images, root).to_dict("records"))
