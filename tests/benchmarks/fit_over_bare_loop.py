"""What the training loop costs beside its arithmetic: an epoch of ours over a bare loop, same net, batch and format.

    python tests/benchmarks/fit_over_bare_loop.py [--recipe NAME] [--steps N] [--rounds N]

The bare loop feeds the same normalised tensors again and again: no augmentation, no progress, no schedule, no average.
Both take turns in one process; the ratio is of medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from helpers import devices, recipes
from helpers.datasets import Images
from helpers.engine import TrainState, make_optimizer, train_epoch
from helpers.loaders import Normalize, TrainLoader
from helpers.models import build
from helpers.progress import EpochBar


def bare_loop(recipe: recipes.Recipe, compute: devices.Compute, steps: int) -> Callable[[], None]:
    """A function that takes `steps` optimizer steps with nothing around them."""
    model = compute.place(build(recipe.net, 10, recipe.width)).train()
    optimizer = make_optimizer(model, recipe)
    images = torch.randn(recipe.batch_size, 3, 32, 32).to(compute.device, memory_format=compute.memory_format)
    labels = torch.randint(0, 10, (recipe.batch_size,), device=compute.device)

    def run() -> None:
        for _ in range(steps):
            with compute.autocast():
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        compute.synchronize()

    return run


def our_epoch(recipe: recipes.Recipe, compute: devices.Compute, steps: int) -> Callable[[], None]:
    """A function that trains an epoch of `steps` steps as `fit` does, with augmentation, bar, schedule and average."""
    rng = np.random.default_rng(0)
    count = steps * recipe.batch_size
    split = Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count))
    workers = devices.default_workers(compute)
    loader = TrainLoader(split, recipe.transforms, (0.5, 0.5, 0.5), recipe.batch_size, workers=workers)
    state = TrainState(recipe, 10, steps, compute)
    normalize = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), compute)

    def run() -> None:
        bar = EpochBar(1, 1, steps)
        train_epoch(state, loader.epoch(0), normalize, recipe, bar)
        bar.close()
        compute.synchronize()

    return run


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="davidnet-onecycle-plus")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    recipe, compute = recipes.get(given.recipe), devices.compute()
    bare, ours = (make(recipe, compute, given.steps) for make in (bare_loop, our_epoch))
    bare(), ours()  # warm up: memory, kernels, workers
    pairs = [(seconds(bare), seconds(ours)) for _ in range(given.rounds)]
    bare_median, ours_median = (statistics.median(times) for times in zip(*pairs))
    ratios = [o / b for b, o in pairs]
    print(f"{recipe.name}, batch {recipe.batch_size}, {given.steps} steps, {compute.describe()}")
    print(f"bare loop  {bare_median / given.steps * 1000:7.1f} ms per step (median of {given.rounds})")
    print(f"ours       {ours_median / given.steps * 1000:7.1f} ms per step")
    print(f"ratio      {ours_median / bare_median:.3f} (single rounds {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
