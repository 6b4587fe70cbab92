"""A range test over as many bare steps on the same batch; a sweep's fixed costs, such as copying the net, count."""

import functools
from collections.abc import Mapping

from steps import bare_loop, net_and_batch, recipes
from table import Row, Scale, Work, compare

from helpers.rates import Sweep, range_test
from helpers.recipes import Recipe
from helpers.training import make_optimizer, recipe_loss


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """ResNet18, the net with the smaller steps."""
    recipe, steps = list(recipes(scale))[-1], scale.size(12, 3)
    works = {"bare loop": bare_loop(recipe, scale.compute, steps), "range test": our_sweep(recipe, scale, steps)}
    what = f"Range test: {recipe.net}, batch {recipe.batch_size}, {steps} steps, {scale.compute.describe()}"
    return compare(what, works, scale.rounds, dict.fromkeys(works, steps), "step")


def our_sweep(recipe: Recipe, scale: Scale, steps: int) -> Work:
    """A function that sweeps `steps` rates, too low to explode."""
    compute = scale.compute.suited_to(recipe.width)
    model, images, labels = net_and_batch(recipe, compute)
    optimizer = make_optimizer(model, recipe)
    loss, sweep = functools.partial(recipe_loss, recipe=recipe), Sweep(1e-5, 1e-3, steps)

    def run() -> None:
        curve = range_test(model, optimizer, [(images, labels)], sweep, loss=loss, compute=compute)
        compute.synchronize()
        assert len(curve.lr) == steps

    return run
