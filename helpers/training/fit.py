"""A whole training run: what changes, one step, one epoch, and all of them, kept and taken up again."""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from helpers import data, devices, models
from helpers.data import Dataset, DeviceLoader, Images, Normalize, TrainLoader
from helpers.devices import Compute
from helpers.recipes import Recipe
from helpers.training import answers, optim, schedules, store
from helpers.training.progress import RunningMeans, epoch_line, progress_bar, rate, say
from helpers.training.setting import Setting
from helpers.training.store import Run, RunError

EPOCHS_PER_SEED = 1000  # seeds of epochs: those of run seed 1 begin at 1000


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


class Fitted(NamedTuple):
    """What `fit` returns."""

    # In eval mode, on the device: the averaged weights where the recipe keeps an average, else the last ones; the
    # logit scale is folded into the head, so that a softmax of the logits is the net's confidence
    model: nn.Module
    history: list[dict[str, Any]]  # one dict per epoch; accuracies in [0, 1], `lr` the rate of the epoch's last step
    record: dict[str, Any]  # as in record.json


def start(setting: Setting) -> tuple[nn.Module, torch.optim.SGD]:
    """A recipe's net on the device, with the first weights of its seed, and its optimizer."""
    recipe, compute = setting.recipe, setting.compute
    with devices.seeded(setting.seed):
        model = compute.place(models.build(recipe.net, len(setting.dataset.classes), recipe.width))
    return model, optim.make_optimizer(model, recipe)


class State:
    """All that changes while a net trains; `saved` is what a checkpoint holds of it."""

    def __init__(self, setting: Setting, steps_per_epoch: int):
        recipe, compute = setting.recipe, setting.compute
        self.model, self.optimizer = start(setting)
        self.plan = schedules.plan_of(recipe, steps_per_epoch)  # the rate of every step; None where a plateau decides
        cut = {"factor": recipe.factor, "patience": recipe.patience, "min_lr": recipe.min_lr}
        self.plateau = ReduceLROnPlateau(self.optimizer, **cut) if self.plan is None else None
        horizon = recipe.ema_epochs * steps_per_epoch
        self.average = optim.MovingAverage(self.model, horizon, recipe.ema_warmup) if horizon else None
        self.scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)
        self.history: list[dict[str, Any]] = []
        self.steps: list[tuple[float, float]] = []  # learning rate and momentum of every step
        self.predicted: list[np.ndarray] = []  # (N,) uint8 per epoch: the judged weights' classes of the test images
        self.devices, self.commits = [compute.describe()], [store.commit()]  # that trained it, the latest last

    @property
    def judged(self) -> nn.Module:
        """The net that the headline is about: the averaged one where there is one."""
        return self.average.module if self.average else self.model

    def saved(self) -> dict[str, Any]:
        """State dicts and plain values only, so that torch.load(weights_only=True) reads it."""
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "history": self.history,
            "steps": torch.tensor(self.steps, dtype=torch.float64),
            "predicted": torch.tensor(np.array(self.predicted)),
            "devices": self.devices,
            "commits": self.commits,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up what `saved` gave, on this device or another."""
        for name, part in self._parts().items():
            if saved[name]:  # a run may go on without the gradient scaler it began with, or with one it had not
                part.load_state_dict(saved[name])
        optim.use_own_kernel(self.optimizer)
        self.history = list(saved["history"])
        self.steps = [(lr, momentum) for lr, momentum in saved["steps"].tolist()]
        self.predicted = list(saved["predicted"].numpy())
        self.devices = [one for one in saved["devices"] if one not in self.devices] + self.devices
        self.commits = [one for one in saved["commits"] if one not in self.commits] + self.commits

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}
        parts |= {"plateau": self.plateau, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}


def fit(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",
    *,
    profile: str = "auto",
    seed: int = 0,
    root: Path | None = None,
    compute: Compute | None = None,
    hidden: bool = False,
) -> Fitted:
    """Train a recipe, or take up where an earlier call was stopped, or return the run that is finished.

    A checkpoint is written after every epoch. Killed at any moment and called again, a run continues from its last
    epoch and ends with the same weights, on the CPU bit for bit. A run is never continued under another configuration.

    Args:
        dataset: a data set or its name; "auto" is CIFAR-10 where it can be had, else Shapes-10.
        profile: "smoke", "quick", "full" or "auto".
        seed: of the initial weights, the order of the images and their augmentation.
        root: folder of all runs, default `runs_root()`.
        compute: device and number format, default what the machine does well.
        hidden: show no progress.

    Raises:
        RunError: what lies on disk of this run is incomplete or broken.
        TrainingDiverged: the loss became infinite or not a number.
    """
    setting = Setting.of(recipe, dataset, profile, seed, compute)
    run = store.run_directory(setting.dataset.name, setting.profile, setting.recipe.name, seed, root)
    name = f"{setting.recipe.name}, seed {seed}"
    if run.record() is None:
        with run.lock(lambda: say(f"{name}: another process trains it; waiting for its result", hidden)):
            return _train(setting, run, hidden)
    return _train(setting, run, hidden)  # a finished run is only read: its folder may be one that cannot be written to


def _train(setting: Setting, run: Run, hidden: bool) -> Fitted:
    saved, recipe, record = run.checkpoint(setting.configuration()), setting.recipe, run.record()
    if record and not saved:
        raise RunError(f"{run.path} is incomplete; delete it to train this run anew")
    if saved:  # a run keeps the loader it began with, also on another device, as the loader's draws are part of it
        setting = dataclasses.replace(setting, compute=dataclasses.replace(setting.compute, loader=saved["loader"]))
    splits = setting.splits()
    batches = setting.batches(splits.pop("train"))
    state = State(setting, len(batches))
    if saved:
        state.restore(saved)
        for row in state.history:
            say(epoch_line(row, recipe.epochs), hidden)
        say(came_of(record) if record else f"continuing {recipe.name} after epoch {len(state.history)}", hidden)
    before = state.history[:]
    if not record:
        if saved:
            run.follow(saved)  # a kill may have come between the checkpoint and these
        for epoch in range(len(before), recipe.epochs):
            state.history.append(one_epoch(state, setting, batches, splits, epoch, hidden))
            run.keep({**state.saved(), "loader": setting.loader}, setting.configuration())
            say(epoch_line(state.history[-1], recipe.epochs), hidden)
        logits = predict(state.judged, splits["test"], setting.normalize) * recipe.logit_scale
        said = answers.of_logits(logits.numpy(), splits["test"].labels)
        record = record_of(setting, state)
        run.finish(record, said, np.array(state.predicted))
    store.note_use(record, before)
    return Fitted(calibrated(state.judged, recipe.logit_scale), state.history, record)


def one_epoch(
    state: State,
    setting: Setting,
    batches: TrainLoader | DeviceLoader,
    measured: Mapping[str, Images],
    epoch: int,
    hidden: bool,
) -> dict[str, Any]:
    """Train one epoch, measure, move a plateau on; returns the epoch's row of the history."""
    started = time.perf_counter()
    with devices.seeded(setting.seed * EPOCHS_PER_SEED + epoch):  # resumed or not, an epoch draws the same
        row = train_epoch(state, setting, batches, epoch, hidden)
        row |= measure(state, setting, measured)
    if state.plateau is not None:
        watched = {"validation": "val_loss", "test": "test_loss", "last batch": "last_batch_loss"}
        state.plateau.step(row[watched[setting.recipe.watches]])
    return {**row, "seconds": round(time.perf_counter() - started, 3)}


def train_epoch(
    state: State, setting: Setting, batches: TrainLoader | DeviceLoader, epoch: int, hidden: bool = True
) -> dict[str, Any]:
    """Train on every batch once; epochs are counted from 0.

    Returns the first columns of the epoch's row. Loss and accuracy are means over the augmented images, each measured
    before its step; the loss is the one that was minimised.

    Raises:
        TrainingDiverged: the loss became infinite or not a number.
    """
    means, compute = RunningMeans(setting.compute.device), setting.compute
    state.model.train()
    with devices.repeatable(), progress_bar(epoch, setting.recipe.epochs, len(batches), hidden) as bar:
        for images, labels in batches.epoch(epoch):
            labels = devices.sent(labels, compute.device)
            loss, logits = train_step(state, setting.normalize(images), labels, setting.recipe, compute)
            means.add(loss, logits, labels)
            if bar.update():  # at most once a second, since reading waits for the device
                mean, accuracy = means.read()
                check_finite(mean, state)
                said = f"loss {mean:.3f}, accuracy {accuracy:6.2%}, rate {rate(state.steps[-1][0])}"
                bar.set_postfix_str(said, refresh=False)
    mean, accuracy = means.read()
    check_finite(mean, state)
    lr, momentum = state.steps[-1]
    row = {"epoch": epoch + 1, "lr": lr, "momentum": momentum, "train_loss": mean, "train_accuracy": accuracy}
    return row | ({"last_batch_loss": loss.item()} if setting.recipe.decides_on == "last batch" else {})


def train_step(
    state: State, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, compute: Compute
) -> tuple[torch.Tensor, torch.Tensor]:
    """Set the rate, forward, loss, backward, optimizer step, average; the net is in train mode.

    Images (B, 3, 32, 32) float32, normalised, and labels (B,) int64 are on the device. Returns the loss before the
    step, a scalar, and the logits (B, K); both detached, neither waited for.
    """
    if state.plan is not None:
        optim.set_rate(state.optimizer, float(state.plan[len(state.steps)]))
    with compute.autocast():
        logits = state.model(images)
    loss = recipe_loss(logits, labels, recipe)
    if recipe.l1:
        loss = loss + recipe.l1 * sum(weight.abs().sum() for weight in state.model.parameters())
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    group = state.optimizer.param_groups[0]
    state.steps.append((float(group["lr"]), float(group["momentum"])))
    if state.average:
        state.average.after_step(state.model, len(state.steps))
    return loss.detach(), logits.detach()


def recipe_loss(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Mean cross-entropy of logits (B, K), scaled and with smoothed labels (B,) as the recipe says; float32."""
    scaled = logits.float() * recipe.logit_scale
    return F.cross_entropy(scaled, labels, label_smoothing=recipe.label_smoothing)


@torch.no_grad()
def predict(model: nn.Module, split: Images, normalize: Normalize) -> torch.Tensor:
    """Logits (N, K) of every image of a split, float32 on the CPU; the net is in eval mode meanwhile."""
    with models.evaluating(model), normalize.compute.autocast():
        return torch.cat([model(normalize(images)).float() for images, _ in data.eval_batches(split)]).cpu()


def evaluate(model: nn.Module, split: Images, normalize: Normalize, logit_scale: float = 1.0) -> tuple[float, float]:
    """Mean cross-entropy, without smoothing, and accuracy in [0, 1], both weighted by images."""
    return scores(predict(model, split, normalize), split, logit_scale)


def scores(logits: torch.Tensor, split: Images, logit_scale: float) -> tuple[float, float]:
    """The same of logits (N, K)."""
    labels = torch.tensor(split.labels)
    loss = F.cross_entropy(logits * logit_scale, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


def measure(state: State, setting: Setting, splits: Mapping[str, Images]) -> dict[str, float | None]:
    """Validation and test loss and accuracy, raw and averaged, None where there is none; keeps what was predicted."""
    row: dict[str, float | None] = {}
    for prefix, model in (("", state.model), ("ema_", state.average and state.average.module)):
        for name in ("val", "test"):
            row[f"{prefix}{name}_loss"] = row[f"{prefix}{name}_accuracy"] = None
            if model is None or name not in splits:
                continue
            logits = predict(model, splits[name], setting.normalize)
            loss, accuracy = scores(logits, splits[name], setting.recipe.logit_scale)
            row[f"{prefix}{name}_loss"], row[f"{prefix}{name}_accuracy"] = loss, accuracy
            if model is state.model:
                check_finite(loss, state)
            if name == "test" and model is state.judged:
                state.predicted.append(logits.argmax(1).numpy().astype(np.uint8))
    return row


def check_finite(loss: float, state: State) -> None:
    """Raise TrainingDiverged, with advice, if the loss is no number."""
    if not math.isfinite(loss):
        steps, lr = len(state.steps), state.steps[-1][0]
        advice = "lower max_lr, or scale the logits (logit_scale = 1/8)"
        raise TrainingDiverged(f"the loss became {loss} by step {steps}, at a learning rate of {lr:.4g}: {advice}")


def calibrated(model: nn.Module, logit_scale: float) -> nn.Module:
    """Fold the loss's logit scale into the head; the predictions stay, the confidences become the trained ones."""
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(logit_scale)
    return model.eval().requires_grad_(True)


def record_of(setting: Setting, state: State) -> dict[str, Any]:
    """Everything needed to repeat a finished run, and what came of it.

    `test_accuracy` is the headline: the last epoch's, of the averaged weights where the recipe keeps them.
    `best_test_accuracy` is chosen on the test set, and there only to compare with claims that were.
    """
    last, prefix = state.history[-1], "ema_" if state.average else ""
    best = max(state.history, key=lambda row: row[f"{prefix}test_accuracy"])
    return {
        **setting.configuration(),
        "weights": "averaged" if prefix else "raw",
        "decides_on": setting.recipe.decides_on,
        "test_accuracy": last[f"{prefix}test_accuracy"],
        "test_loss": last[f"{prefix}test_loss"],
        "raw_test_accuracy": last["test_accuracy"],
        "val_accuracy": last[f"{prefix}val_accuracy"],
        "train_accuracy": last["train_accuracy"],
        "best_test_accuracy": best[f"{prefix}test_accuracy"],
        "best_test_epoch": best["epoch"],
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "device": ", then ".join(state.devices),
        "loader": setting.loader,
        **(store.provenance() | {"commit": ", then ".join(state.commits)}),
    }


def came_of(record: Mapping[str, Any]) -> str:
    """Which run this was, and what made it."""
    made = f"on {record['date'][:10]} by torch {record['versions']['torch']}, commit {record['commit']}"
    return f"{record['recipe']['name']}, seed {record['seed']}: trained before, {made}"
