"""The optimizer of a recipe, and the moving average of the weights it moves."""

import copy
from typing import Any

import torch
from torch import nn

from helpers.recipes import Recipe

EMA_EVERY = 5  # steps between two updates of the average, as in cifar10-fast; every step where its horizon is short


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD as the recipe says, starting at its `max_lr`; on CUDA in one fused kernel, which waits for no scaler."""
    decayed = [p for p in model.parameters() if p.ndim > 1 or recipe.decay_norm_and_bias]
    free = [p for p in model.parameters() if p.ndim <= 1 and not recipe.decay_norm_and_bias]
    optimizer = torch.optim.SGD(
        [{"params": decayed}] + ([{"params": free, "weight_decay": 0.0}] if free else []),
        lr=recipe.max_lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=next(model.parameters()).is_cuda or None,  # on a CPU it gains nothing
    )
    if recipe.momentum:
        start_momentum(optimizer)
    return optimizer


def use_own_kernel(optimizer: torch.optim.SGD) -> None:
    """Go on with this device's kernel, after a state was loaded that names the one of another device."""
    for group in optimizer.param_groups:
        group["fused"] = optimizer.defaults["fused"]


def start_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every weight a momentum of zero, from which the first step is the same as from none.

    Left to itself, fused SGD allocates the momenta without filling them and trusts the first step to do so; where the
    gradient scaler skips that step, as it often does, they would stay whatever was in memory.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the coming step use this learning rate, in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class MovingAverage:
    """An exponential moving average of a net's weights, and of the BatchNorm statistics that belong to them.

    averaged ← decay · averaged + (1 − decay) · current. Early on the decay is smaller, so that the first weights do not
    linger: min(decay, (1 + n) / (warmup + n)) after n updates. A warm-up of 2 weighs all weights so far alike until the
    horizon is reached; from then on the decay is the one that belongs to the horizon. A larger warm-up looks back over
    a shorter part of the training so far: 10 comes to its horizon after nine times as many updates.
    """

    def __init__(self, model: nn.Module, horizon: float, warmup: int = 2):
        self.module = copy.deepcopy(model).requires_grad_(False)  # the averaged net; it starts at the model's weights
        self.every = EMA_EVERY if horizon >= 10 * EMA_EVERY else 1  # steps between two updates
        self.decay = max(0.0, 1 - self.every / max(horizon, self.every))  # horizon: steps it looks back in the end
        self.warmup, self.updates = warmup, 0

    @property
    def present_decay(self) -> float:
        """The decay of the coming update."""
        return min(self.decay, (1 + self.updates) / (self.warmup + self.updates))

    def after_step(self, model: nn.Module, steps: int) -> None:
        """Update where it is due after so many steps."""
        if steps % self.every == 0:
            self.update(model)

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
