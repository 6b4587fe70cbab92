"""A run in two parts: its setting, which is fixed, and its state, which changes with every step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from helpers import data, devices, files, models, recipes
from helpers.data import Dataset, DeviceLoader, Images, Normalize, TrainLoader
from helpers.devices import Compute
from helpers.recipes import Recipe
from helpers.training import schedules, store
from helpers.training.muon import Muon

Loader = TrainLoader | DeviceLoader
PARTS = ("model", "optimizer", "scaler", "plateau", "average")  # of a state; the last two may be missing
PER_IMAGE = (0.2023, 0.1994, 0.2010)  # CIFAR-10's deviation within an image, on average; many projects copied it
EMA_EVERY = 5  # steps between two updates of the average, as in cifar10-fast; every step where its horizon is short


@dataclass(frozen=True)
class Setting:
    """All that is fixed during a run: what is trained, on what, and how the arithmetic is done."""

    recipe: Recipe  # as it runs: cut to the profile
    dataset: Dataset
    profile: str
    seed: int
    compute: Compute

    @classmethod
    def of(
        cls,
        recipe: Recipe | str,
        dataset: Dataset | str = "auto",
        profile: str = "auto",
        seed: int = 0,
        compute: Compute | None = None,
    ) -> "Setting":
        """Look up names, and cut recipe and data set to the profile."""
        compute = compute or devices.compute()
        size = recipes.resolve_profile(profile, compute)
        seed = files.number("seed", seed, low=0, whole=True)
        recipe = recipes.under(recipes.get(recipe) if isinstance(recipe, str) else recipe, size)
        counts = size.n_train, size.n_test
        dataset = data.load(dataset, *counts) if isinstance(dataset, str) else dataset.subset(*counts)
        return cls(recipe, dataset, size.name, seed, compute.suited_to(recipe.width))

    @property
    def normalize(self) -> Normalize:
        """What turns this run's uint8 images (N, 32, 32, 3) into the net's input (N, 3, 32, 32)."""
        mean, std, half = self.dataset.mean, self.dataset.std, (0.5, 0.5, 0.5)
        known = {"dataset": (mean, std), "half": (half, half), "per-image": (mean, PER_IMAGE)}
        return Normalize(*known[self.recipe.statistics], self.compute)

    @property
    def loader(self) -> str:
        """Who makes the training batches: "albumentations" or "device"."""
        return data.choose_path(self.recipe.transforms, self.compute)

    def batches(self, split: Images) -> Loader:
        """The run's shuffled, augmented batches of a split; `.epoch(k)` yields those of an epoch."""
        common = split, self.recipe.transforms, self.normalize.mean, self.recipe.batch_size, self.seed
        if self.loader == "device":
            return DeviceLoader(*common, self.compute.device)
        workers = 0 if self.compute.device == "cpu" else min(8, devices.cores())  # there, training needs every core
        return TrainLoader(*common, workers)

    def splits(self) -> dict[str, Images]:
        """The images to train on and to measure: "train", "val" where the recipe holds some out, and "test"."""
        train, test = self.dataset.train, self.dataset.test
        if not self.recipe.holdout:
            return {"train": train, "test": test}
        kept, held_out = data.split_validation(train.labels, self.recipe.holdout)
        return {"train": train.take(kept), "val": train.take(held_out), "test": test}

    def configuration(self) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        sizes = {"n_train": len(self.dataset.train), "n_test": len(self.dataset.test)}
        names = {"dataset": self.dataset.name, "profile": self.profile, "seed": self.seed}
        return {"recipe": self.recipe.to_dict(), **names, **sizes, "data_digest": self.dataset.digest}


def start(setting: Setting) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A recipe's net on the device, with the first weights of its seed, and its optimizer."""
    recipe = setting.recipe
    with devices.seeded(setting.seed):
        model = setting.compute.place(models.build(recipe.net, len(setting.dataset.classes), recipe.width))
    if recipe.whiten:
        models.whiten(model, setting.normalize(torch.tensor(setting.dataset.train.images[:5_000])))
    return model, make_optimizer(model, recipe)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD, on CUDA in one fused kernel, which waits for no scaler; or Muon for filters.

    Beside Muon, the head's matrix and what is added to channels take SGD's steps, at rates of their own.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if recipe.optimizer == "muon":
        rates = {4: recipe.max_lr, 2: recipe.head_lr, 1: recipe.shift_lr}  # highest ones, by a weight's dimensions
        kinds = {ndim: [weight for weight in weights if weight.ndim == ndim] for ndim in rates}
        groups = [{"params": kinds[ndim], "lr": lr, "orthogonal": ndim == 4} for ndim, lr in rates.items()]
        optimizer: torch.optim.Optimizer = Muon(groups, recipe.max_lr, recipe.momentum)
    else:
        settings = {"momentum": recipe.momentum, "nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay}
        fused = weights[0].is_cuda or None  # on a CPU it gains nothing
        optimizer = torch.optim.SGD(weights, recipe.max_lr, fused=fused, **settings)
    start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give every weight a momentum of zero, from which the first step is the same as from none.

    Left to itself, fused SGD allocates the momenta without filling them and trusts the first step to do so; where the
    gradient scaler skips that step, as it often does, they would stay whatever was in memory.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


class MovingAverage:
    """An exponential moving average of a net's weights, and of the BatchNorm statistics that belong to them.

    averaged ← decay · averaged + (1 − decay) · current. Early on the decay is smaller, so that the first weights do not
    linger: min(decay, (1 + n) / (warmup + n)) after n updates. A warm-up of 2 weighs all alike up to the horizon.
    """

    def __init__(self, model: nn.Module, horizon: float, warmup: int = 2):
        self.module = models.copied(model).requires_grad_(False)  # the averaged net; it starts at the model's weights
        self.every = EMA_EVERY if horizon >= 10 * EMA_EVERY else 1  # steps between two updates
        self.decay = max(0.0, 1 - self.every / max(horizon, self.every))  # horizon: steps it looks back in the end
        self.warmup, self.updates = warmup, 0

    @property
    def present_decay(self) -> float:
        """The decay of the coming update."""
        return min(self.decay, (1 + self.updates) / (self.warmup + self.updates))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the net's present weights; counters are copied."""
        for averaged, current in zip(self.module.state_dict().values(), model.state_dict().values()):
            if averaged.is_floating_point():
                averaged.lerp_(current, 1 - self.present_decay)
            else:
                averaged.copy_(current)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers and the number of updates."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]


class State:
    """All that changes while a net trains; `saved` is what a checkpoint holds of it."""

    def __init__(self, setting: Setting, steps_per_epoch: int):
        recipe, compute = setting.recipe, setting.compute
        self.model, self.optimizer = start(setting)
        self.plan = schedules.plan_of(recipe, steps_per_epoch)  # the rate of every step; None where a plateau decides
        self.shares = [group["lr"] / recipe.max_lr for group in self.optimizer.param_groups]  # of it, for each group
        cut = {"factor": recipe.factor, "patience": recipe.patience, "min_lr": recipe.min_lr}
        self.plateau = ReduceLROnPlateau(self.optimizer, **cut) if self.plan is None else None
        horizon = recipe.ema_epochs * steps_per_epoch
        self.average = MovingAverage(self.model, horizon, recipe.ema_warmup) if horizon else None
        self.scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)
        self.history: list[dict[str, Any]] = []
        self.began: int | None = 0  # the epoch with which this process begins, until it has told how long it takes
        self.steps: list[tuple[float, float]] = []  # learning rate and momentum of every step
        self.predicted: list[np.ndarray] = []  # (N,) uint8 per epoch: the judged weights' classes of the test images
        self.makers = {"devices": [compute.describe()], "commits": [store.commit()]}  # that trained it, the latest last

    @property
    def judged(self) -> nn.Module:
        """The net that the headline is about: the averaged one where there is one."""
        return self.average.module if self.average else self.model

    def saved(self) -> dict[str, Any]:
        """State dicts and plain values only, so that torch.load(weights_only=True) reads it."""
        steps, predicted = torch.tensor(self.steps, dtype=torch.float64), torch.tensor(np.array(self.predicted))
        states = {name: getattr(self, name).state_dict() for name in PARTS if getattr(self, name)}
        return {**states, "history": self.history, "steps": steps, "predicted": predicted, **self.makers}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `saved` gave, on this device or another."""
        for name in PARTS:
            if saved.get(name):  # a run may go on without the gradient scaler it began with, or with one it had not
                getattr(self, name).load_state_dict(saved[name])
        for group in self.optimizer.param_groups:  # with the kernel of this device, not of the one before
            group["fused"] = self.optimizer.defaults.get("fused")
        self.history, self.predicted = list(saved["history"]), list(saved["predicted"].numpy())
        self.steps = [(lr, momentum) for lr, momentum in saved["steps"].tolist()]
        self.began = len(self.history)
        for kind, now in self.makers.items():
            self.makers[kind] = [one for one in saved[kind] if one not in now] + now
