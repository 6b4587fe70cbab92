"""The parts of a training: its state, one step, one epoch, and measuring a net."""

import copy
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from helpers import devices, models
from helpers.data import Batch, Images, Normalize, eval_batches
from helpers.devices import Compute
from helpers.recipes import Recipe
from helpers.training import schedules
from helpers.training.progress import EpochBar, RunningMeans

EMA_EVERY = 5  # steps between two updates of the average, as in cifar10-fast; every step where its horizon is short


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


class MovingAverage:
    """An exponential moving average of a net's weights, and of the BatchNorm statistics that belong to them.

    averaged ← decay · averaged + (1 − decay) · current. Early on the decay is smaller, so that the first weights do not
    linger: min(decay, (1 + n) / (warmup + n)) after n updates. A warm-up of 2 weighs all weights so far alike until
    about 1 / (1 − decay) updates are over, the average's horizon; from then on the decay is the one asked for. Larger
    ones look back over a shorter part of the training so far, and come to their horizon later: 10 after nine times as
    many updates. The decay is in [0, 1), the warm-up at least 1; 1 takes the first weights for as good as all others.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: int = 2):
        self.module = copy.deepcopy(model).requires_grad_(False)  # the averaged net; it starts at the model's weights
        self.decay, self.warmup, self.updates = decay, warmup, 0

    @property
    def present_decay(self) -> float:
        """The decay of the coming update."""
        return min(self.decay, (1 + self.updates) / (self.warmup + self.updates))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the net's present weights; counters are copied."""
        pairs = list(zip(self.module.state_dict().values(), model.state_dict().values()))
        averaged, current = zip(*(pair for pair in pairs if pair[0].is_floating_point()))
        torch._foreach_lerp_(averaged, current, 1 - self.present_decay)
        for ours, theirs in pairs:
            if not ours.is_floating_point():
                ours.copy_(theirs)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers and the number of updates."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]


class TrainState:
    """All that changes while a net trains, and what a checkpoint must hold; the recipe is already cut to a profile."""

    def __init__(self, recipe: Recipe, num_classes: int, steps_per_epoch: int, compute: Compute):
        self.model = compute.place(models.build(recipe.net, num_classes, recipe.width))
        self.optimizer = make_optimizer(self.model, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, steps_per_epoch)
        self.scaler = torch.amp.GradScaler(compute.device, enabled=compute.needs_scaler)
        self.ema_every, decay = ema_settings(recipe.ema_epochs * steps_per_epoch)
        self.averaged = MovingAverage(self.model, decay, recipe.ema_warmup) if recipe.ema_epochs else None
        self.history: list[dict[str, Any]] = []
        self.steps: list[tuple[float, float]] = []  # learning rate and momentum of every step
        self.test_right: list[torch.Tensor] = []  # (N,) bool per epoch: the test images the judged weights got right

    @property
    def lr(self) -> float:
        """The rate of the coming step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Note the step, then move the schedule and the average on by one; so also where the scaler skipped it."""
        self.steps.append((self.lr, float(self.optimizer.param_groups[0]["momentum"])))
        if isinstance(self.scheduler, schedules.PlannedLR):
            self.scheduler.step()
        if self.averaged is not None and len(self.steps) % self.ema_every == 0:
            self.averaged.update(self.model)

    def after_epoch(self, watched_loss: float) -> None:
        """Let a plateau schedule see the loss it watches."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(watched_loss)

    def best_model(self) -> nn.Module:
        """The net the recipe is judged by: the averaged one where there is one."""
        return self.averaged.module if self.averaged is not None else self.model

    def state_dict(self) -> dict[str, Any]:
        """State dicts and plain values only, so that torch.load(weights_only=True) reads it."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": devices.random_state(),
            "history": self.history,
            "steps": torch.tensor(self.steps, dtype=torch.float64),
            "test_right": torch.stack(self.test_right) if self.test_right else None,
        }

    def load_weights(self, state: dict[str, Any]) -> None:
        """Take up the weights and BatchNorm buffers, raw and averaged, of a `state_dict`."""
        self.model.load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of `state_dict`, torch's random generators included."""
        self.load_weights(state)
        self.optimizer.load_state_dict(state["optimizer"])
        adapt_optimizer(self.optimizer)
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"] and self.scaler.is_enabled():  # one of the two machines may do without a scaler
            self.scaler.load_state_dict(state["scaler"])
        devices.set_random_state(state["random"])
        self.history = list(state["history"])
        self.steps = [(lr, momentum) for lr, momentum in state["steps"].tolist()]
        self.test_right = [] if state["test_right"] is None else list(state["test_right"])


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD as the recipe says, starting at its `max_lr`; on CUDA in one fused kernel, which waits for no scaler."""
    decayed = [p for p in model.parameters() if p.ndim > 1 or recipe.decay_norm_and_bias]
    free = [p for p in model.parameters() if p.ndim <= 1 and not recipe.decay_norm_and_bias]
    groups = [{"params": decayed}] + ([{"params": free, "weight_decay": 0.0}] if free else [])
    fused = next(model.parameters()).is_cuda or None  # on a CPU it gains nothing: updates are a hundredth of a step
    optimizer = torch.optim.SGD(
        groups,
        lr=recipe.max_lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )
    if fused and recipe.momentum:
        start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every weight that has no momentum one of zero, from which the first step is the same as from none.

    Left to itself, fused SGD allocates the momenta without filling them and trusts the first step to do so; where the
    gradient scaler skips that step, as it often does, they would stay whatever was in memory.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if optimizer.state[weight].get("momentum_buffer") is None:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def adapt_optimizer(optimizer: torch.optim.SGD) -> None:
    """Make a state that was loaded suit this device, not the one before: the kernel, and the layout of the momenta.

    A net narrower than 16 channels has another layout on a CPU than on a GPU, whose fused kernel refuses momenta that
    do not lie as their weights do.
    """
    for group in optimizer.param_groups:
        group["fused"] = optimizer.defaults["fused"]
    for weight, state in optimizer.state.items():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"] = torch.empty_like(weight).copy_(state["momentum_buffer"])


def make_scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
) -> LRScheduler | ReduceLROnPlateau:
    """The recipe's schedule: a plan followed step by step, or a plateau that reacts to what it sees."""
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "one-cycle":
        ease = schedules.EASES[recipe.ease]
        plan = schedules.one_cycle_plan(steps, recipe.peak, recipe.min_lr, recipe.max_lr, ease)
        return schedules.PlannedLR(optimizer, plan)
    if recipe.schedule == "step":
        cuts = [epoch * steps_per_epoch for epoch in recipe.cuts]
        plan = schedules.step_decay_plan(steps, cuts, recipe.max_lr, recipe.factor)
        return schedules.PlannedLR(optimizer, plan)
    return ReduceLROnPlateau(optimizer, factor=recipe.factor, patience=recipe.patience, min_lr=recipe.min_lr)


def ema_settings(horizon: float) -> tuple[int, float]:
    """How often to update an average that looks back about `horizon` steps, and its decay per update.

    A horizon of 500 steps gives (5, 0.99).
    """
    every = EMA_EVERY if horizon >= 10 * EMA_EVERY else 1
    return every, max(0.0, 1 - every / max(horizon, every))


def recipe_loss(logits: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Mean cross-entropy of logits (B, K), scaled and with smoothed labels (B,) as the recipe says; float32."""
    scaled = logits.float() * recipe.logit_scale
    return F.cross_entropy(scaled, labels, label_smoothing=recipe.label_smoothing)


def train_step(
    state: TrainState, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, compute: Compute
) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward, loss, backward, optimizer step, schedule.

    The net is in train mode; images (B, 3, 32, 32) float32, normalised, and labels (B,) int64 are on the device.
    Returns the loss before the step, a scalar, and the logits (B, K); both detached, neither waited for.
    """
    with compute.autocast():
        logits = state.model(images)
    loss = recipe_loss(logits, labels, recipe)
    if recipe.l1:
        loss = loss + recipe.l1 * sum(weight.abs().sum() for weight in state.model.parameters())
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.after_step()
    return loss.detach(), logits.detach()


class Trained(NamedTuple):
    """What an epoch of training measured; loss and accuracy are means over its images."""

    loss: float  # that was minimised, smoothing, logit scale and L1 term included
    accuracy: float  # in [0, 1]
    last_loss: float  # of the last batch alone


def train_epoch(
    state: TrainState, batches: Iterable[Batch], normalize: Normalize, recipe: Recipe, bar: EpochBar
) -> Trained:
    """Train on every batch once; loss and accuracy are of the augmented images, each measured before its step.

    Raises:
        TrainingDiverged: the loss became infinite or not a number.
    """
    compute = normalize.compute
    state.model.train()
    means = RunningMeans(compute.device)
    with devices.repeatable():
        for images, labels in batches:
            labels = devices.sent(labels, compute.device)
            loss, logits = train_step(state, normalize(images), labels, recipe, compute)
            means.add(loss, logits, labels)
            shown = bar.advance(means, state.steps[-1][0])
            if shown is not None:
                check_finite(shown[0], state)
        trained = Trained(*means.read(), loss.item())
    check_finite(trained.loss, state)
    return trained


@torch.no_grad()
def predict(model: nn.Module, split: Images, normalize: Normalize) -> torch.Tensor:
    """Logits of every image in the split's order, (N, K) float32 on the CPU; every module's mode is given back."""
    logits = []
    with models.evaluating(model):
        for images, _ in eval_batches(split):
            with normalize.compute.autocast():
                logits.append(model(normalize(images)).float())
    return torch.cat(logits).cpu()


class Scores(NamedTuple):
    """How good a net is on a split; loss and accuracy are means over its images."""

    loss: float  # cross-entropy, without label smoothing
    accuracy: float  # in [0, 1]
    right: torch.Tensor  # (N,) bool, whether each image's class was named


def measure(model: nn.Module, split: Images, normalize: Normalize, logit_scale: float = 1.0) -> Scores:
    """Loss and accuracy of a net, and which images it got right; the loss sees logits times `logit_scale`."""
    logits, labels = predict(model, split, normalize), torch.tensor(split.labels)
    right = logits.argmax(1) == labels
    return Scores(F.cross_entropy(logits * logit_scale, labels).item(), right.double().mean().item(), right)


def evaluate(model: nn.Module, split: Images, normalize: Normalize, logit_scale: float = 1.0) -> tuple[float, float]:
    """Loss and accuracy of `measure` alone."""
    return measure(model, split, normalize, logit_scale)[:2]


def check_finite(loss: float, state: TrainState) -> None:
    """Raise TrainingDiverged, with advice, if a loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"the loss became {loss} by step {len(state.steps)}, at a learning rate of {state.steps[-1][0]:.4g}: "
            "lower max_lr, or scale the logits (logit_scale = 1/8)"
        )
