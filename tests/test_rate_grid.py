import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import recipes
from helpers.rates import grid as rate_grid
from helpers.rates.grid import GRIDS, Rates
from helpers.results import archive

DAVIDNET, RESNET18 = GRIDS


def found_in(grid, images, root):
    """The cells of a grid that are published or lie in the run store."""
    return rate_grid.read(grid, archive.read("rate_grid.csv", images, root))


def run_all(grid, accuracy):
    """Every cell of a grid in the order in which it asks for them, with what a function of (rates, seed) gives."""
    found, order = {}, []
    while rate_grid.chosen(grid, found) is None:
        order.append([cell for cell in rate_grid.cells(grid, found) if cell not in found])
        found |= {cell: accuracy(*cell) for cell in order[-1]}
    return found, order


def peaked(rates, seed):
    """Best at a peak of 0.2 and ends of 0.02; the small scale is better by half a point, seeds differ a little."""
    return 0.8 - abs(math.log(rates.max_lr / 0.2)) / 10 + rates.min_lr + (rates.logit_scale < 1) / 200 + seed / 1000


def test_a_grid_asks_in_three_stages_and_ends_with_the_best():
    found, order = run_all(DAVIDNET, peaked)
    assert [len(stage) for stage in order] == [10, 4, 4] and len(found) == 18
    assert order[0][0] == (Rates(0.05, 0.0005, 1.0), 0) and order[0][9] == (Rates(0.8, 0.008, 1 / 8), 0)
    assert [(rates.max_lr, rates.min_lr) for rates, _ in order[1]] == 2 * [(0.2, 0.02), (0.2, 0.0002)]
    assert order[2] == [(Rates(0.2, 0.02, scale), seed) for scale in (1.0, 1 / 8) for seed in (1, 2)]
    assert rate_grid.chosen(DAVIDNET, found) == Rates(0.2, 0.02, 1 / 8)


def test_the_mean_over_seeds_decides_between_the_scales():
    def lucky(rates, seed):
        return peaked(rates, seed) - (0.03 if seed and rates.logit_scale < 1 else 0)

    found, _ = run_all(DAVIDNET, lucky)
    assert rate_grid.chosen(DAVIDNET, found) == Rates(0.2, 0.02, 1.0)


def test_resnet18_has_one_stage():
    found, order = run_all(RESNET18, lambda rates, seed: rates.max_lr)
    assert [len(stage) for stage in order] == [3] and rate_grid.chosen(RESNET18, found) == Rates(0.2, 0.002, 1.0)


@given(st.data())
def test_any_accuracies_end_in_a_choice_that_was_measured(data):
    shares = st.floats(0, 1)
    found, _ = run_all(DAVIDNET, lambda rates, seed: data.draw(shares))
    rates = rate_grid.chosen(DAVIDNET, found)
    assert all((rates, seed) in found for seed in DAVIDNET.seeds)
    assert found[rates, 0] == max(found[other, 0] for other, seed in found if other.logit_scale == rates.logit_scale)


def test_a_cell_is_a_short_run_judged_on_images_held_out():
    recipe = rate_grid.recipe_of(DAVIDNET, Rates(0.4, 0.004, 1 / 8))
    assert recipe.name == "davidnet-onecycle+epochs=5+holdout=5000+logit_scale=0.125+max_lr=0.4+min_lr=0.004"
    assert (recipe.epochs, recipe.holdout, recipe.label_smoothing, recipe.peak) == (5, 5000, 0, 5 / 24)


def test_cells_of_the_store_and_published_ones_come_back(tmp_path):
    rates, empty = Rates(0.2, 0.002, 1.0), tmp_path / "nowhere"
    recipe = rate_grid.recipe_of(DAVIDNET, rates)
    known = {"dataset": "cifar10", "profile": "full", "recipe": recipe.to_dict(), "device": "cpu", "commit": "1"}
    trained = {**known, "seed": 0, "val_accuracy": 0.75, "train_accuracy": 0.7, "seconds": 60.0, "date": "today"}
    for name, record in {"seed-0/record.json": trained, "seed-1/diverged.json": {**known, "seed": 1}}.items():
        path = tmp_path / "runs/cifar10/full" / recipe.name / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    for path, content in archive.data(tmp_path, tmp_path / "runs").items():
        path.write_bytes(content)
    assert [path.name for path in tmp_path.glob("*.*")] == ["rate_grid.csv"]
    for where in ((tmp_path, empty), (empty, tmp_path / "runs")):
        assert found_in(DAVIDNET, *where) == {(rates, 0): 0.75, (rates, 1): 0.0}
        assert found_in(RESNET18, *where) == {}
    assert found_in(DAVIDNET, empty, empty) == {}


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.recipe)
def test_recipes_have_the_rates_that_their_grid_found(grid):
    found = rate_grid.chosen(grid, rate_grid.read(grid))
    if found is not None:  # the grid is complete
        assert rate_grid.rates_of(recipes.RECIPES[grid.recipe].to_dict()) == found
