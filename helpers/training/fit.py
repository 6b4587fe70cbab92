"""A whole training run: one step, one epoch, and all of them, kept and taken up again."""

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from helpers import data, devices, files, models
from helpers.data import Dataset, Images, Normalize
from helpers.devices import Compute
from helpers.recipes import SMALL, WATCHED, Recipe, epoch_flops
from helpers.training import store
from helpers.training.state import Loader, Setting, State
from helpers.training.store import Row, Run, RunError

EPOCHS_PER_SEED = 1000  # seeds of epochs: those of run seed 1 begin at 1000
FIRST_STEPS = 3  # that tell how long a run will take
SHARES = {  # of the `six_views` of a test image in the answers of a finished run (six: as in airbench94)
    "test_accuracy": (1.0, 0, 0, 0, 0, 0),
    "mirrored_accuracy": (1 / 2, 0, 0, 1 / 2, 0, 0),
    "six_view_accuracy": (1 / 4, 1 / 8, 1 / 8, 1 / 4, 1 / 8, 1 / 8),
}


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


class Fitted(NamedTuple):
    """What `fit` returns."""

    model: nn.Module  # in eval mode, on the device: averaged weights if kept; the head does the logit scaling
    history: list[Row]  # one dict per epoch; accuracies in [0, 1], `lr` the rate of the epoch's last step
    record: Row  # as in record.json


def fit(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",  # or its name; "auto" is CIFAR-10 where it can be had, else Shapes-10
    *,
    profile: str = "auto",  # "smoke", "quick", "full", or "auto": full on a GPU, else quick
    seed: int = 0,  # of the initial weights, the order of the images and their augmentation
    root: Path | None = None,  # folder of all runs, default `runs_root()`
    compute: Compute | None = None,  # device and number format, default what the machine does well
    hidden: bool = False,  # show no progress
) -> Fitted:
    """Train a recipe, or take up where an earlier call was stopped, or return the run that is finished.

    A checkpoint is written after every epoch. Killed at any moment and called again, a run continues from its last
    epoch and ends with the same weights, on a CPU of the same kind in the same number format bit for bit: it keeps the
    threads and the loader that it began with. A run is never continued under another configuration or with other data.
    RunError says that what lies on disk is incomplete or broken, TrainingDiverged that the loss is no longer a number.
    """
    setting = Setting.of(recipe, dataset, profile, seed, compute)
    run = store.run_directory(setting.dataset.name, setting.profile, setting.recipe.name, setting.seed, root)
    waiting = f"{setting.recipe.name}, seed {seed}: another process trains it; waiting for its result"
    with contextlib.ExitStack() as held:
        if run.record() is None:  # a finished run is only read: its folder may be one that cannot be written to
            held.enter_context(run.lock(lambda: say(waiting, hidden)))
        saved = run.checkpoint(setting.configuration())
        held.enter_context(devices.trainable((saved or {}).get("threads")))
        return _train(setting, run, saved, hidden)


def _train(setting: Setting, run: Run, saved: Row | None, hidden: bool) -> Fitted:
    recipe, record = setting.recipe, run.record()
    if record and not saved:
        raise RunError(f"{run.path} is incomplete; delete it to train this run anew")
    if saved:  # the loader's draws are part of a run, also on another device
        setting = dataclasses.replace(setting, compute=dataclasses.replace(setting.compute, loader=saved["loader"]))
    splits = setting.splits()
    batches = setting.batches(splits.pop("train"))
    state = State(setting, len(batches))
    if saved:
        state.restore(saved)
        for row in state.history:
            say(epoch_line(row, recipe.epochs), hidden)
        how = f"trained before, on {record['date'][:10]}" if record else f"continuing after epoch {len(state.history)}"
        say(f"{recipe.name}, seed {setting.seed}: {how}; so far on {', then '.join(saved['devices'])}", hidden)
    if saved and not record:
        run.follow(saved)  # a kill may have come between the checkpoint and its tables
    for epoch in range(len(state.history), recipe.epochs):  # none of a finished run
        started = time.perf_counter()
        with devices.seeded(setting.seed * EPOCHS_PER_SEED + epoch):  # resumed or not, an epoch draws the same
            row = train_epoch(state, setting, batches, epoch, hidden) | measure(state, setting, splits)
        if state.plateau:
            state.plateau.step(row[WATCHED[recipe.watches]])
        state.history.append({**row, "seconds": round(time.perf_counter() - started, 3)})
        kept = {**state.saved(), "loader": setting.loader, "threads": torch.get_num_threads()}
        run.keep(kept, setting.configuration())
        say(epoch_line(state.history[-1], recipe.epochs), hidden)
    if not record:
        test = splits["test"]
        seen = predict(state.judged, test, setting.normalize, six_views)
        logits = {name: torch.einsum("nvk,v->nk", seen, torch.tensor(shares)) for name, shares in SHARES.items()}
        record = record_of(setting, state) | {name: scores(mean, test, 1)[1] for name, mean in logits.items()}
        answers = store.of_logits((logits["test_accuracy"] * recipe.logit_scale).numpy(), test.labels)
        run.finish(record, answers, np.array(state.predicted))
    return Fitted(calibrated(state.judged, recipe.logit_scale), state.history, record)


def train_epoch(state: State, setting: Setting, batches: Loader, epoch: int, hidden: bool = True) -> Row:
    """Train on every batch once; epochs are counted from 0.

    Returns the first columns of the epoch's row. Loss and accuracy are means over the augmented images, each measured
    before its step; the loss is the one that was minimised.
    """
    compute, normalize = setting.compute, setting.normalize
    sums, seen = torch.zeros(2, device=compute.device), 0  # of losses and of right answers, kept where no step waits
    state.model.train()
    with devices.repeatable(), progress_bar(epoch, setting.recipe.epochs, len(batches), hidden) as bar:
        for images, labels in batches.epoch(epoch):
            images, labels = normalize(images), devices.sent(labels, compute.device)
            if epoch < setting.recipe.small_epochs:
                images = F.interpolate(images, scale_factor=SMALL, mode="bilinear", antialias=True)
            loss, logits = train_step(state, images, labels, setting.recipe, compute)
            sums += torch.stack((loss * len(labels), (logits.argmax(1) == labels).sum()))
            seen += len(labels)
            if bar.update():  # at most once a second, since reading waits for the device
                mean, accuracy = _means(sums, seen, state)
                if epoch == state.began and bar.n >= FIRST_STEPS:
                    tell_when_done(state, bar, epoch_flops(setting.recipe)[epoch:])
                bar.set_postfix_str(f"loss {mean:.3f}, accuracy {accuracy:6.2%}", refresh=False)
    mean, accuracy = _means(sums, seen, state)
    lr, momentum = state.steps[-1]
    row = {"epoch": epoch + 1, "lr": lr, "momentum": momentum, "train_loss": mean, "train_accuracy": accuracy}
    return row | ({"last_batch_loss": loss.item()} if setting.recipe.decides_on == "last batch" else {})


def _means(sums: Tensor, seen: int, state: State) -> tuple[float, float]:
    """Mean loss and accuracy so far, weighted by samples; waits for the device."""
    loss, accuracy = (total / seen for total in sums.tolist())
    check_finite(loss, state)
    return loss, accuracy


def train_step(state: State, images: Tensor, labels: Tensor, recipe: Recipe, compute: Compute) -> tuple[Tensor, Tensor]:
    """Set the rate, forward, loss, backward, optimizer step, average; the net is in train mode.

    Images (B, 3, 32, 32) float32, normalised, and labels (B,) int64 are on the device. Returns the loss before the
    step, a scalar, and the logits (B, K); both detached, neither waited for.
    """
    if state.plan is not None:
        for group, share in zip(state.optimizer.param_groups, state.shares):
            group["lr"] = share * float(state.plan[len(state.steps)])
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
    if state.average and len(state.steps) % state.average.every == 0:
        state.average.update(state.model)
    return loss.detach(), logits.detach()


def recipe_loss(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Mean cross-entropy of logits (B, K), scaled and with smoothed labels (B,) as the recipe says; float32."""
    scaled = logits.float() * recipe.logit_scale
    return F.cross_entropy(scaled, labels, label_smoothing=recipe.label_smoothing)


@torch.no_grad()
@devices.repeatable()
def predict(model: nn.Module, split: Images, normalize: Normalize, views: Callable | None = None) -> Tensor:
    """Logits (N, K) of every image of a split, float32 on the CPU, in eval mode; or (N, V, K) of V views of each."""
    found = []
    with models.evaluating(model), normalize.compute.autocast():
        for images, _ in data.eval_batches(split):
            shown = views(normalize(images)) if views else [normalize(images)]
            found.append(torch.stack([model(view).float() for view in shown], 1))
    return torch.cat(found).cpu().squeeze(1)  # of one view


def six_views(images: Tensor) -> list[Tensor]:
    """Images (N, 3, H, W), as they are, moved by one pixel up and left, and down and right; then the same mirrored."""
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    upright = [images, padded[..., 2:, 2:], padded[..., :height, :width]]
    return upright + [view.flip(3) for view in upright]


def evaluate(model: nn.Module, split: Images, normalize: Normalize, logit_scale: float = 1.0) -> tuple[float, float]:
    """Mean cross-entropy, without smoothing, and accuracy in [0, 1], both weighted by images."""
    return scores(predict(model, split, normalize), split, logit_scale)


def scores(logits: Tensor, split: Images, logit_scale: float) -> tuple[float, float]:
    """The same of logits (N, K)."""
    labels = torch.tensor(split.labels)
    loss = F.cross_entropy(logits * logit_scale, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


def measure(state: State, setting: Setting, splits: Mapping[str, Images]) -> Row:
    """Validation and test loss and accuracy, raw and averaged, None where there is none; keeps what was predicted."""
    row: Row = {}
    for prefix, model in (("", state.model), ("ema_", state.average and state.average.module)):
        for name in ("val", "test"):
            loss = accuracy = None
            if model is not None and name in splits:
                logits = predict(model, splits[name], setting.normalize)
                loss, accuracy = scores(logits, splits[name], setting.recipe.logit_scale)
                if name == "test" and model is state.judged:
                    state.predicted.append(logits.argmax(1).numpy().astype(np.uint8))
            row |= {f"{prefix}{name}_loss": loss, f"{prefix}{name}_accuracy": accuracy}
    check_finite(row["test_loss"], state)
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


def record_of(setting: Setting, state: State) -> Row:
    """Everything needed to repeat a finished run, and what came of it, but for the accuracies of SHARES.

    The first of those is the headline: the last epoch's, of the averaged weights where the recipe keeps them.
    `best_test_accuracy` is chosen on the test set, and there only to compare with claims that were.
    """
    last, prefix = state.history[-1], "ema_" if state.average else ""
    best = max(state.history, key=lambda row: row[f"{prefix}test_accuracy"])
    return {
        **setting.configuration(),
        "weights": "averaged" if prefix else "raw",
        "decides_on": setting.recipe.decides_on,
        "test_loss": last[f"{prefix}test_loss"],
        "raw_test_accuracy": last["test_accuracy"],
        "val_accuracy": last[f"{prefix}val_accuracy"],
        "train_accuracy": last["train_accuracy"],
        "best_test_accuracy": best[f"{prefix}test_accuracy"],
        "best_test_epoch": best["epoch"],
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "device": ", then ".join(state.makers["devices"]),
        "matrix_rate": devices.matrix_rate(setting.compute),  # FLOP/s
        "loader": setting.loader,
        **(store.provenance() | {"commit": ", then ".join(state.makers["commits"])}),
    }


def progress_bar(epoch: int, epochs: int, steps: int, hidden: bool) -> tqdm:
    """An epoch's bar on stdout, counted from 0; refreshed once a second, or as rarely as TQDM_MININTERVAL says."""
    seconds = max(1.0, float(os.environ.get("TQDM_MININTERVAL", "1")))
    shown = {"desc": f"epoch {epoch + 1:>2}/{epochs}", "file": sys.stdout, "leave": False, "disable": hidden}
    return tqdm(total=steps, mininterval=seconds, **shown)


def tell_when_done(state: State, bar: tqdm, left: Sequence[int]) -> None:
    """Say once when a run will be over, if it takes a minute; `left`: operations of each epoch from this one on."""
    seconds = (bar.total * sum(left) / left[0] - bar.n) * bar.format_dict["elapsed"] / bar.n
    state.began = None
    if seconds > 60:
        say(f"at this pace it will be done in {files.in_words(seconds)}")


def say(line: str, hidden: bool = False) -> None:
    """Write one line to stdout without breaking a bar."""
    if not hidden:
        tqdm.write(line, file=sys.stdout)


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """An epoch of the history as one line: rate, then loss and accuracy of each split that was measured."""
    parts = [f"epoch {row['epoch']:>2}/{epochs}", f"rate {row['lr']:<7.4g}"]
    for split in ("train", "val", "test"):
        if row.get(f"{split}_loss") is not None:
            parts.append(f"{split} {row[f'{split}_loss']:.3f} {row[f'{split}_accuracy']:6.2%}")
    if row.get("ema_test_accuracy") is not None:
        parts.append(f"averaged {row['ema_test_accuracy']:6.2%}")
    return "  ".join([*parts, f"{row['seconds']:.0f} s"])
