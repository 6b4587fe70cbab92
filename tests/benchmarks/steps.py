"""A training step: the plain loop of kuangliu/pytorch-cifar, a bare loop in our number format, and ours; both nets."""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from table import Row, Scale, Work, against, compare, random_data
from torch.nn import functional as F

from helpers import devices, models
from helpers.devices import Compute
from helpers.recipes import RECIPES, Recipe
from helpers.training import Setting, State, make_optimizer, train_epoch

NAMES = ("davidnet-onecycle-plus", "resnet18-plateau")
PLAIN, BARE, OURS, LOADER = "plain fp32 NCHW", "bare loop", "ours, the whole loop", "of that, our loader"


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """Of every net, per image: the plain loop, the bare loop, ours, and what our loader takes of it."""
    rows = []
    for recipe in recipes(scale):
        steps = scale.size(3, 2)
        works = variants(recipe, scale.compute, steps)
        images = recipe.batch_size * steps
        amounts = {name: recipe.batch_size if name == PLAIN else images for name in works}
        what = f"Training step: {recipe.net}, batch {recipe.batch_size}, {scale.compute.describe()}"
        found = compare(what, works, scale.rounds, amounts, "image")
        flop, precision = models.count_flops(recipe.net, recipe.width, backward=True), scale.compute.precision
        for row, name in zip(found, ("fp32", precision, precision)):
            rows.append(against(row, row.amount * flop, yardsticks, name))
        rows.append(found[-1])
    return rows


def recipes(scale: Scale) -> Iterator[Recipe]:
    """Both nets' recipes as published, or narrow ones."""
    for name in NAMES:
        recipe = dataclasses.replace(RECIPES[name], holdout=0, watches="last batch")
        yield dataclasses.replace(recipe, width=8, batch_size=8) if scale.tiny else recipe


def variants(recipe: Recipe, compute: Compute, steps: int) -> dict[str, Work]:
    """What is compared; the plain loop takes one step, since it is slow."""
    compute = compute.suited_to(recipe.width)
    setting = Setting(recipe, random_data(steps * recipe.batch_size), "full", 0, compute)
    loader = setting.batches(setting.dataset.train)
    return {
        PLAIN: plain_loop(recipe, compute.device, 1),
        BARE: bare_loop(recipe, compute, steps),
        OURS: whole_loop(setting),
        LOADER: lambda: sum(1 for _ in loader.epoch(0)),
    }


def plain_loop(recipe: Recipe, device: str, steps: int) -> Work:
    """As the main.py of kuangliu/pytorch-cifar trains: fp32, NCHW, and the loss and the hits read after every step."""
    compute = Compute(device, "fp32", torch.contiguous_format)
    model, images, labels = net_and_batch(recipe, compute)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def run() -> None:
        total_loss = correct = 0
        for _ in range(steps):
            optimizer.zero_grad()
            outputs = model(images)
            loss = F.cross_entropy(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
            correct += outputs.max(1)[1].eq(labels).sum().item()
        compute.synchronize()

    return run


def bare_loop(recipe: Recipe, compute: Compute, steps: int) -> Work:
    """Steps in our format with nothing around them: the same batch again and again, no schedule, no average."""
    model, images, labels = net_and_batch(recipe, compute)
    optimizer = make_optimizer(model, recipe)
    scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)

    def run() -> None:
        for _ in range(steps):
            with compute.autocast():
                logits = model(images)
            scaler.scale(F.cross_entropy(logits.float() * recipe.logit_scale, labels)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        compute.synchronize()

    return run


def whole_loop(setting: Setting) -> Work:
    """An epoch as `training.fit` trains it: augmentation, schedule, average, bar."""
    loader = setting.batches(setting.dataset.train)
    state = State(setting, max(3, len(loader)))

    def run() -> None:
        state.steps.clear()  # every round follows the plan from its beginning
        train_epoch(state, setting, loader, 0)
        setting.compute.synchronize()

    return run


def net_and_batch(recipe: Recipe, compute: Compute) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    compute = compute.suited_to(recipe.width)
    with devices.seeded(0):
        model = compute.place(models.build(recipe.net, 10, recipe.width)).train()
        images = torch.randn(recipe.batch_size, 3, 32, 32).to(compute.device, memory_format=compute.memory_format)
        return model, images, torch.randint(0, 10, (recipe.batch_size,)).to(compute.device)
