"""Measuring a net on a split: ours over a bare forward pass."""

from collections.abc import Mapping

import torch
from steps import net_and_batch, recipes
from table import Row, Scale, Work, compare, random_images

from helpers import training
from helpers.data import Normalize, eval_batches
from helpers.recipes import Recipe

HALF = (0.5, 0.5, 0.5)


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """Both nets."""
    rows, count = [], scale.size(2000, 16)
    for recipe in recipes(scale):
        works = variants(recipe, scale, count)
        what = f"Evaluation: {recipe.net}, {count} images, {scale.compute.describe()}"
        rows += compare(what, works, scale.rounds, dict.fromkeys(works, count), "image")
    return rows


def variants(recipe: Recipe, scale: Scale, count: int) -> dict[str, Work]:
    """A bare loop over batches that lie ready, and ours from uint8 images to loss and accuracy."""
    compute = scale.compute.suited_to(recipe.width)
    model = net_and_batch(recipe, compute)[0].eval()
    normalize, split = Normalize(HALF, HALF, compute), random_images(count)
    ready = [normalize(images) for images, _ in eval_batches(split)]

    def bare() -> None:
        with torch.no_grad(), compute.autocast():
            for images in ready:
                model(images)
        compute.synchronize()

    return {"bare forward passes": bare, "ours": lambda: training.evaluate(model, split, normalize)}
