"""What a range test costs beside its arithmetic: a sweep over as many bare steps, same net, batch and format.

    python tests/benchmarks/finder_over_bare_loop.py [--recipe NAME] [--steps N] [--rounds N]

Both are fed the same normalised tensors again and again and take turns in one process; the ratio is of medians. The
sweep's fixed costs, such as copying the net, count in full.
"""

import argparse
import functools
import statistics
from collections.abc import Callable

import torch
from fit_over_bare_loop import bare_loop, seconds

from helpers import devices, recipes
from helpers.engine import make_optimizer, recipe_loss
from helpers.finder import range_test
from helpers.models import build
from helpers.rate_curves import Sweep


def our_sweep(recipe: recipes.Recipe, compute: devices.Compute, steps: int) -> Callable[[], None]:
    """A function that sweeps `steps` rates, too low to explode."""
    model = compute.place(build(recipe.net, 10, recipe.width)).train()
    optimizer = make_optimizer(model, recipe)
    images = torch.randn(recipe.batch_size, 3, 32, 32).to(compute.device, memory_format=compute.memory_format)
    labels = torch.randint(0, 10, (recipe.batch_size,), device=compute.device)
    loss, sweep = functools.partial(recipe_loss, recipe=recipe), Sweep(1e-5, 1e-3, steps)

    def run() -> None:
        curve = range_test(model, optimizer, [(images, labels)], sweep, loss=loss, compute=compute)
        compute.synchronize()
        assert len(curve.lr) == steps

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="resnet18-plateau")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    recipe, compute = recipes.get(given.recipe), devices.compute()
    bare, ours = (make(recipe, compute, given.steps) for make in (bare_loop, our_sweep))
    bare(), ours()  # warm up: memory, kernels, imports
    pairs = [(seconds(bare), seconds(ours)) for _ in range(given.rounds)]
    bare_median, ours_median = (statistics.median(times) for times in zip(*pairs))
    ratios = [o / b for b, o in pairs]
    print(f"{recipe.name}, batch {recipe.batch_size}, {given.steps} steps, {compute.describe()}")
    print(f"bare loop  {bare_median / given.steps * 1000:7.1f} ms per step (median of {given.rounds})")
    print(f"sweep      {ours_median / given.steps * 1000:7.1f} ms per step")
    print(f"ratio      {ours_median / bare_median:.3f} (single rounds {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
