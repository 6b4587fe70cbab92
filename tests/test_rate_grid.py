import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import recipes
from helpers.results import rate_grid
from helpers.results.rate_grid import GRIDS, Rates

DAVIDNET, RESNET18 = GRIDS


def run_all(grid, accuracy):
    """Every cell of a grid in the order in which it asks for them, with what a function of (rates, seed) gives."""
    found, order = {}, []
    while cells := rate_grid.waiting(grid, found):
        assert rate_grid.chosen(grid, found) is None
        order.append(cells)
        found |= {cell: accuracy(*cell) for cell in cells}
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


def test_rows_come_back_as_cells(tmp_path):
    from helpers.results import archive

    rates = Rates(0.2, 0.002, 1.0)
    made_by = {"device": "cpu", "commit": "1", "date": "today"}
    known = {"dataset": "cifar10", "profile": "full", "recipe": rate_grid.recipe_of(DAVIDNET, rates).to_dict()}
    rows = [
        rate_grid.row_of({**known, "seed": 0, "val_accuracy": 0.75, "train_accuracy": 0.7, "seconds": 60.0, **made_by}),
        rate_grid.row_of({**known, "seed": 1, **made_by}),  # diverged
    ]
    path = tmp_path / "rate_grid.csv"
    path.write_text(archive.merge(path, rows))
    assert rate_grid.read(DAVIDNET, tmp_path) == {(rates, 0): 0.75, (rates, 1): 0.0}
    assert rate_grid.read(RESNET18, tmp_path) == {} == rate_grid.read(DAVIDNET, tmp_path / "nowhere")


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.recipe)
def test_recipes_have_the_rates_that_their_grid_found(grid):
    found = rate_grid.chosen(grid, rate_grid.read(grid))
    if found is not None:  # the grid is complete
        assert rate_grid.rates_of(recipes.RECIPES[grid.recipe].to_dict()) == found
