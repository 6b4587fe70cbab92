"""Range tests by torch-lr-finder that leave nothing behind, of any net or of a recipe as it trains, kept on disk."""

import contextlib
import functools
import io
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from helpers import devices, files, models, recipes, training
from helpers.data import Dataset
from helpers.devices import Compute
from helpers.rates.curves import Curve, Sweep
from helpers.recipes import Recipe
from helpers.training import Setting, store

PUBLISHED = files.REPO_ROOT / "images" / "range_curves.csv"
COLUMNS = ["lr", "loss", "accuracy"]
ADVICE = "delete it to make this range test anew"
Batch = tuple[torch.Tensor, torch.Tensor]  # images (N, 3, 32, 32) as the net takes them, labels (N,)


@devices.trainable()
def range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],  # begun again where they end before the sweep does
    sweep: Sweep,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
    compute: Compute | None = None,
    validation: Batch | None = None,  # measured after every step, instead of the training batch before it
) -> Curve:
    """Train a copy of a net while the rate rises from step to step, and note what becomes of the loss.

    Net, optimizer and torch's generators stay as they are, even on error; the optimizer's rate is ignored. The loss, of
    (logits, labels), is the mean over the images.
    """
    compute, points = compute or devices.compute(), []

    def noted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The finder's criterion; notes loss and accuracy, as the finder's history has a lagging average."""
        value = loss(logits.float(), labels).nan_to_num(nan=torch.inf, posinf=torch.inf)  # which ends the sweep
        if not torch.is_grad_enabled():
            points.pop()  # the held-out images count instead
        points.append(torch.stack((value.detach(), (logits.argmax(1) == labels).float().mean())))
        return value

    model, copied = models.copied((model, optimizer))
    model.forward = compute.autocast()(model.forward)  # the finder's own autocast leaves validation out
    amp = {"amp_backend": "torch", "amp_config": {"device_type": compute.device, "enabled": False}}
    scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)
    held_out = validation and DataLoader(TensorDataset(*validation), len(validation[1]))
    ends = {"start_lr": sweep.start_lr, "end_lr": sweep.end_lr, "num_iter": sweep.steps}
    rules = {"step_mode": sweep.scale, "diverge_th": sweep.diverge_at}
    with warnings.catch_warnings(), devices.seeded(0), contextlib.redirect_stdout(io.StringIO()):  # its bar is stderr
        warnings.simplefilter("ignore")  # tqdm's, about notebook bars, and torch's, about a first step that is skipped
        from torch_lr_finder import LRFinder, TrainDataLoaderIter

        finder = LRFinder(model, copied, noted, grad_scaler=scaler, **amp)
        finder.range_test(TrainDataLoaderIter(batches), held_out, **ends, **rules)
    losses, accuracies = torch.stack(points).cpu().double().numpy().T  # there, since MPS has no float64
    kept = np.isfinite(losses)
    return Curve(np.array(finder.history["lr"])[kept], losses[kept], accuracies[kept], sweep)


def of_recipe(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",
    *,
    profile: str = "auto",
    seed: int = 0,
    sweep: Sweep | None = None,
) -> Curve:
    """Test the rates of a recipe just as it trains: same first weights, batches, augmentation, optimizer and loss.

    But images have their full size, l1 is left out, and Muon, which has three rates, is a ValueError. Rates go from
    1e-4 to 10 without a `sweep`, in as many steps as the profile gives. The run store keeps a test, and gives it back.
    """
    setting = Setting.of(recipe, dataset, profile, seed)
    if setting.recipe.optimizer == "muon":
        raise ValueError(f"a range test finds one rate, and {setting.recipe.name} has three: choose a recipe with SGD")
    sweep = sweep or Sweep(steps=recipes.resolve_profile(setting.profile).finder_steps)
    folder = training.runs_root() / setting.dataset.name / setting.profile / setting.recipe.name / "range-tests"
    path = folder / f"{sweep.name}-seed-{seed}.json"
    settings = json.loads(json.dumps({**setting.configuration(), "sweep": vars(sweep)}, default=files.literal))
    found = store.read_json(path, ADVICE) if path.exists() else {}
    if found.get("settings") != settings:
        found = _measured(setting, sweep) | {"settings": settings}
        files.write_atomic(path, json.dumps(found) + "\n")
    return Curve(*(np.array(found[name], dtype=float) for name in COLUMNS), sweep, found["about"])


@devices.trainable()
def _measured(setting: Setting, sweep: Sweep) -> dict[str, Any]:
    """A recipe's range test: the columns of its curve, and what made it."""
    normalize, loader = setting.normalize, setting.batches(setting.splits()["train"])
    endless = itertools.chain.from_iterable(map(loader.epoch, itertools.count()))
    batches = ((normalize(images), labels.to(setting.compute.device)) for images, labels in endless)
    loss = functools.partial(training.recipe_loss, recipe=setting.recipe)
    curve = range_test(*training.start(setting), batches, sweep, loss, setting.compute)
    about = f"{setting.recipe.name}, {setting.dataset.title}, seed {setting.seed}"
    columns = {name: [float(f"{x:.6g}") for x in getattr(curve, name)] for name in COLUMNS}
    return {**columns, "about": about, "device": setting.compute.describe(), **store.provenance()}


def stored(root: Path) -> Iterator[dict[str, Any]]:
    """Rows of range_curves.csv, one for each step: the full range tests on CIFAR-10 of a run store."""
    for path in sorted(root.glob("cifar10/full/*/range-tests/*-seed-*.json")):
        (name, _, seed), test = path.stem.rpartition("-seed-"), store.read_json(path, ADVICE)
        key = {"dataset": "cifar10", "profile": "full", "recipe": path.parts[-3], "seed": seed, "sweep": name}
        points = enumerate(zip(*(test[column] for column in COLUMNS))) if seed.isdecimal() else ()  # else it is a copy
        yield from ({**key, "step": step, **dict(zip(COLUMNS, point))} for step, point in points)


def published(recipe: str, sweep: Sweep, path: Path = PUBLISHED) -> list[Curve]:
    """The published tests of a recipe on CIFAR-10 at full scale, in the order of seeds."""
    rows = pd.read_csv(path).query("recipe == @recipe and sweep == @sweep.name")
    tests = rows.groupby("seed")[COLUMNS]
    return [Curve(*points.to_numpy().T, sweep, f"{recipe}, CIFAR-10, seed {seed}") for seed, points in tests]
