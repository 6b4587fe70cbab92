"""Range tests by torch-lr-finder that leave nothing behind, of any net or of a recipe as it trains, kept on disk."""

import contextlib
import copy
import dataclasses
import functools
import io
import itertools
import json
import math
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from helpers import devices, files, recipes, training
from helpers.data import Dataset
from helpers.devices import Compute
from helpers.rates.curves import NAMES, Curve, Sweep, suggest
from helpers.recipes import Recipe
from helpers.training import Setting, store

PUBLISHED = files.REPO_ROOT / "images" / "range_curves.csv"
COLUMNS = ["lr", "loss", "accuracy"]
UNSEEN = {  # fields of a recipe that change no range test
    *("name", "overridden", "claim", "epochs", "schedule", "max_lr", "min_lr", "peak", "factor", "patience"),
    *("ease", "cuts", "watches", "ema_epochs", "ema_warmup"),
}
Batch = tuple[torch.Tensor, torch.Tensor]  # images (N, 3, 32, 32) as the net takes them, labels (N,)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    sweep: Sweep,
    loss: Loss = F.cross_entropy,
    compute: Compute | None = None,
    validation: Batch | None = None,
) -> Curve:
    """Train a copy of a net while the rate rises from step to step, and note what becomes of the loss.

    Net, optimizer and random generators stay as they are, even on error; the optimizer's rate and schedule are ignored.

    Args:
        batches: begun again where they end before the sweep does.
        loss: of (logits, labels), a scalar, the mean over the images.
        validation: images to measure after every step, instead of the training batch before it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, about its own notebook bars
        from torch_lr_finder import LRFinder, TrainDataLoaderIter
    compute, noted = compute or devices.compute(), _Noted(loss)
    held_out = validation and DataLoader(TensorDataset(*validation), batch_size=1000)
    with contextlib.ExitStack() as stack:
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(random.setstate, random.getstate())
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(devices.repeatable())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # the finder's words; its bar goes to stderr
        model, optimizer = _copied(model, optimizer)
        model.forward = compute.autocast()(model.forward)  # the finder's own autocast leaves validation out
        amp = {"amp_backend": "torch", "amp_config": {"device_type": compute.device, "enabled": False}}
        scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)
        finder = LRFinder(model, optimizer, noted, grad_scaler=scaler, **amp)
        ends = {"start_lr": sweep.start_lr, "end_lr": sweep.end_lr, "num_iter": sweep.steps}
        try:
            rules = {"step_mode": sweep.scale, "diverge_th": sweep.diverge_at}
            finder.range_test(TrainDataLoaderIter(batches), held_out, **ends, **rules)
        except StopIteration:
            raise ValueError("no batches, or they cannot be begun again: give a list that is not empty") from None
    return noted.curve(finder.history["lr"], sweep)


class _Noted:
    """The finder's criterion; notes loss and accuracy of every step, as the finder's history has a lagging average."""

    def __init__(self, loss: Loss):
        self.loss = loss
        self.steps: list[list[torch.Tensor]] = []  # sums of loss and right answers, and images: trained, validated …

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.loss(logits.float(), labels).nan_to_num(nan=math.inf, posinf=math.inf)  # which ends the sweep
        right, count = (logits.argmax(1) == labels).sum(), len(labels)
        if torch.is_grad_enabled():
            self.steps.append([])
        self.steps[-1].append(torch.stack((loss.detach() * count, right, torch.full_like(right, count))))
        return loss

    def curve(self, rates: list[float], sweep: Sweep) -> Curve:
        """What was noted, of the validation images where there are some, up to the last loss that is a number."""
        sums = torch.stack([torch.stack(step[1:] or step).sum(0) for step in self.steps])
        losses, right, counts = sums.cpu().double().numpy().T  # there, since MPS has no float64
        kept = np.isfinite(losses)
        return Curve(np.array(rates)[kept], (losses / counts)[kept], (right / counts)[kept], sweep)


def _copied(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A net and its optimizer once more, as the finder takes them and with what a copy lacks."""
    model, copied = copy.deepcopy((model, optimizer))
    copied._step_supports_amp_scaling = getattr(optimizer, "_step_supports_amp_scaling", False)  # of a fused one
    copied._opt_called = True  # else torch warns, without need, where the scaler skips the first step
    for group in copied.param_groups:
        group.pop("initial_lr", None)  # a scheduler's mark, which the finder refuses
        if group.get("fused") and group.get("momentum") and not group["dampening"]:
            for weight in group["params"]:  # fused SGD leaves momenta unfilled until a first step, which may be skipped
                copied.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
    return model, copied


def of_recipe(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",
    *,
    profile: str = "auto",
    seed: int = 0,
    sweep: Sweep | None = None,
    keep: bool = True,
) -> Curve:
    """Test the rates of a recipe just as it trains: same first weights, batches, augmentation, optimizer and loss.

    Args:
        recipe, dataset, profile, seed: as in `training.fit`; the recipe's own rate and schedule are ignored.
        sweep: the rates; default 1e-4 to 10, multiplied at every step, in as many steps as the profile gives.
        keep: keep the test in the run store, and take it from there where it was made before.
    """
    setting = Setting.of(recipe, dataset, profile, seed)
    sweep = sweep or Sweep(steps=recipes.resolve_profile(setting.profile).finder_steps)
    if not keep:
        return _curve(_measured(setting, sweep))
    folder = training.runs_root() / setting.dataset.name / setting.profile / setting.recipe.name / "range-tests"
    path, settings = folder / f"{sweep.name}-seed-{seed}.json", _settings(setting, sweep)
    if _read(path).get("settings") != settings:
        folder.mkdir(parents=True, exist_ok=True)
        with files.exclusive(folder / ".lock", lambda: tqdm.write("another process sweeps; waiting for it to end")):
            if _read(path).get("settings") != settings:  # it may have measured this one
                files.write_atomic(path, json.dumps(_measured(setting, sweep)) + "\n")
    return _curve(_read(path))


def _measured(setting: Setting, sweep: Sweep) -> dict[str, Any]:
    """A recipe's range test as its file has it: what was measured, under which settings, and what made it."""
    normalize, loader = setting.normalize, setting.batches(setting.splits()["train"])
    endless = itertools.chain.from_iterable(map(loader.epoch, itertools.count()))
    batches = ((normalize(images), labels.to(setting.compute.device)) for images, labels in endless)
    loss = functools.partial(training.recipe_loss, recipe=setting.recipe)
    begun = time.perf_counter()
    curve = range_test(*training.start(setting), batches, sweep, loss, setting.compute)
    facts = {"seconds": round(time.perf_counter() - begun, 1), "device": setting.compute.describe()}
    about = f"{setting.recipe.name}, {setting.dataset.title}, seed {setting.seed}"
    columns = {name: [float(f"{x:.6g}") for x in getattr(curve, name)] for name in COLUMNS}
    return {**columns, "about": about, **facts, **store.provenance(), "settings": _settings(setting, sweep)}


def _settings(setting: Setting, sweep: Sweep) -> dict[str, Any]:
    """Everything a curve depends on, as plain JSON values; but for number format and loader, which move it little."""
    recipe = {name: value for name, value in setting.recipe.to_dict().items() if name not in UNSEEN}
    return json.loads(json.dumps({**recipe, "n_train": len(setting.dataset.train), "sweep": dataclasses.asdict(sweep)}))


def _read(path: Path) -> dict[str, Any]:
    """What the file of a range test holds, nothing where there is none."""
    return store.read_json(path, "delete it to make this range test anew") if path.exists() else {}


def _curve(stored: Mapping[str, Any]) -> Curve:
    columns = (np.array(stored[name], dtype=float) for name in COLUMNS)
    return Curve(*columns, Sweep(**stored["settings"]["sweep"]), stored["about"])


def stored_sweeps(runs_root: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every range test of the run store: what it is in one flat row, and all that its file holds."""
    for path in sorted(runs_root.glob("*/*/*/range-tests/*-seed-*.json")):
        dataset, profile, recipe = path.parts[-5:-2]
        name, _, seed = path.stem.rpartition("-seed-")
        row = {"dataset": dataset, "profile": profile, "recipe": recipe, "seed": int(seed), "sweep": name}
        yield row, _read(path)


def suggestions(stored: Mapping[str, Any]) -> dict[str, float | None]:
    """What a stored range test suggests, by name; None where its curve does not show it."""
    found = suggest(_curve(stored))
    return {name: getattr(found, name) for name in NAMES}


def published(recipe: str, sweep: Sweep, path: Path = PUBLISHED) -> list[Curve]:
    """The published tests of a recipe on CIFAR-10 at full scale, in the order of seeds; none without their file."""
    if not path.exists():
        return []
    rows = pd.read_csv(path).query("dataset == 'cifar10' and recipe == @recipe and sweep == @sweep.name")
    tests = rows.groupby("seed")[COLUMNS]
    return [Curve(*points.to_numpy().T, sweep, f"{recipe}, CIFAR-10, seed {seed}") for seed, points in tests]
