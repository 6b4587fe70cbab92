"""A whole training run: fit it, resume it, keep it."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from helpers import devices
from helpers.data import Dataset, DeviceLoader, Images, TrainLoader
from helpers.devices import Compute
from helpers.recipes import Recipe
from helpers.training import answers, checkpoints, engine, progress, runs
from helpers.training.engine import (
    TrainState,
    check_finite,
    predict,
    train_epoch,
)
from helpers.training.runs import RunDirectory, RunError
from helpers.training.settings import Setting


class Fitted(NamedTuple):
    """What `fit` returns.

    The model is in eval mode, on the device, with the averaged weights where the recipe keeps an average, else the last
    ones. The recipe's logit scale is folded into its head, so that a softmax of its logits is its confidence.
    """

    model: nn.Module
    history: list[dict[str, Any]]  # one dict per epoch; accuracies in [0, 1], `lr` the rate of the epoch's last step
    record: dict[str, Any]  # as in record.json


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
        root: folder of all runs, default `runs.runs_root()`.
        compute: device and number format, default what the machine does well.
        hidden: show no progress.

    Raises:
        RunError: what lies on disk of this run is incomplete or broken.
        TrainingDiverged: the loss became infinite or not a number.
    """
    setting = Setting.of(recipe, dataset, profile, seed, compute)
    run = runs.run_directory(setting.dataset.name, setting.profile, setting.recipe.name, seed, root)
    if run.record() is None:
        name = f"{setting.recipe.name}, seed {seed}"
        with run.lock(lambda: progress.say(f"{name}: another process trains it; waiting for its result", hidden)):
            if run.record() is None:
                return _train(setting, run, hidden)
    return _finished(setting, run, hidden)


def _train(setting: Setting, run: RunDirectory, hidden: bool) -> Fitted:
    checkpoint, recipe, splits = run.checkpoint(), setting.recipe, setting.splits()
    # A run that has begun keeps its loader, also on another device, as the loader's draws are part of the run
    setting = dataclasses.replace(setting, loader=checkpoint["loader"] if checkpoint else setting.loader_path)
    makers = checkpoints.makers(setting, checkpoint)
    loader = setting.train_loader(splits.pop("train"))
    with devices.seeded(setting.seed):
        state = TrainState(recipe, len(setting.dataset.classes), len(loader), setting.compute)
        checkpoints.resume(state, setting, run, checkpoint, hidden)
        before = state.history[:]
        for epoch in range(len(state.history), recipe.epochs):
            row = _epoch(state, setting, loader, splits, epoch, hidden)
            checkpoints.keep(state, setting, run, row, makers)
            progress.say(progress.epoch_line(row, recipe.epochs), hidden)
    logits = predict(state.best_model(), splits["test"], setting.normalize) * recipe.logit_scale
    run.write_test_answers(answers.of_logits(logits.numpy(), splits["test"].labels))
    record = checkpoints.make_record(setting, state, makers)
    run.write_record(record)
    runs.note_use(record, before)
    return Fitted(_with_scale(state.best_model(), recipe.logit_scale), state.history, record)


def _epoch(
    state: TrainState,
    setting: Setting,
    loader: TrainLoader | DeviceLoader,
    measured: Mapping[str, Images],
    epoch: int,
    hidden: bool,
) -> dict[str, Any]:
    """Train one epoch, measure, move a plateau on; returns the epoch's row of the history."""
    started, normalize, scale = time.perf_counter(), setting.normalize, setting.recipe.logit_scale
    bar = progress.EpochBar(epoch + 1, setting.recipe.epochs, len(loader), hidden)
    try:
        trained = train_epoch(state, loader.epoch(epoch), normalize, setting.recipe, bar)
    finally:
        bar.close()
    lr, momentum = state.steps[-1]
    row = {"epoch": epoch + 1, "lr": lr, "momentum": momentum}
    row |= {"train_loss": trained.loss, "train_accuracy": trained.accuracy}
    averaged = state.averaged.module if state.averaged is not None else None
    for prefix, model in (("", state.model), ("ema_", averaged)):
        for name in ("val", "test"):
            known = model is not None and name in measured
            scores = engine.measure(model, measured[name], normalize, scale) if known else (None, None, None)
            row[f"{prefix}{name}_loss"], row[f"{prefix}{name}_accuracy"], right = scores
            if name == "test" and model is state.best_model():
                state.test_right.append(right)
            if model is state.model and known:
                check_finite(scores[0], state)
    losses = {"validation": row["val_loss"], "test": row["test_loss"], "last batch": trained.last_loss}
    state.after_epoch(losses[setting.recipe.watches])
    if setting.recipe.decides_on == "last batch":
        row["last_batch_loss"] = trained.last_loss
    return {**row, "seconds": round(time.perf_counter() - started, 3)}


def _finished(setting: Setting, run: RunDirectory, hidden: bool) -> Fitted:
    """Load a finished run: the net from the checkpoint, the rest from the files beside it."""
    record, history, checkpoint = run.record(), run.history(), run.checkpoint()
    if record is None or history is None or checkpoint is None:
        raise RunError(f"{run.path} is incomplete; delete it to train this run anew")
    checkpoints.check_same(json.loads(checkpoint["configuration"]), setting, run)
    with devices.seeded(setting.seed):  # the first weights are drawn in vain, but the caller's generator is kept
        state = TrainState(setting.recipe, len(setting.dataset.classes), 3, setting.compute)
    state.load_weights(checkpoint)
    for row in history:
        progress.say(progress.epoch_line(row, setting.recipe.epochs), hidden)
    made = f"on {record['date'][:10]} by torch {record['versions']['torch']}, commit {record['commit']}"
    progress.say(f"{setting.recipe.name}, seed {setting.seed}: trained before, {made}", hidden)
    runs.note_use(record, history)
    return Fitted(_with_scale(state.best_model(), setting.recipe.logit_scale), history, record)


def _with_scale(model: nn.Module, logit_scale: float) -> nn.Module:
    """Fold the loss's logit scale into the head; the predictions stay, the confidences become the trained ones."""
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(logit_scale)
    return model.eval().requires_grad_(True)
