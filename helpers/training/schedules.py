"""Learning-rate schedules as numbers: the rate of every step of a run.

A plateau has no plan; here it is a function of the losses it saw.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from helpers.recipes import Recipe


def linear(share: float) -> float:
    """The straight way from 0 to 1."""
    return share


def cosine(share: float) -> float:
    """Half a cosine wave from 0 to 1, level at both ends (Loshchilov & Hutter 2017, equation 5)."""
    return (1 - math.cos(math.pi * share)) / 2


def rex(share: float) -> float:
    """Slow at first, then ever faster: a rate that falls so is (1 − z) / (½ + ½ (1 − z)) (Chen et al. 2022, REX)."""
    return share / (2 - share)


Ease = Callable[[float], float]
EASES: dict[str, Ease] = {"linear": linear, "cosine": cosine, "rex": rex}


def peak_step(total_steps: int, peak: float) -> int:
    """The step at which a run of `total_steps` peaks: the nearest to the share `peak` that leaves a rise and a fall.

    A share of 5/24 in 24 epochs of 98 steps is step 490, the first of the sixth epoch.
    """
    return min(max(round(peak * total_steps), 1), max(total_steps - 2, 1))


def one_cycle_plan(total_steps: int, peak: float, min_lr: float, max_lr: float, ease: Ease = linear) -> np.ndarray:
    """One Cycle without annihilation (Smith 2018, "A disciplined approach", section 4): up, and back down.

    Steps 0 and the last one train at `min_lr` exactly, the peak at `max_lr`, (total_steps,) float64. `peak` is where
    it lies, as a share of the run, such as 5/24; 0 leaves the fall alone.
    """
    if not 0 <= peak < 1:
        raise ValueError(f"peak is a share of the run, at least 0 and below 1, not {peak}")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"need 0 <= min_lr <= max_lr, got min_lr={min_lr}, max_lr={max_lr}")
    rise = [(0, min_lr), (peak_step(total_steps, peak), max_lr)] if peak else [(0, max_lr)]
    return piecewise_plan([*rise, (total_steps - 1, min_lr)], ease)


def piecewise_plan(knots: Sequence[tuple[int, float]], ease: Ease = linear) -> np.ndarray:
    """Any schedule that is drawn as knots (step, rate) and joined between them: every step's rate, (steps,) float64.

    The first knot is step 0, the last the run's last step; each of them trains at its rate exactly. `ease` is the way
    from one knot to the next: it maps [0, 1] to [0, 1], with both ends fixed.
    """
    steps, rates = [step for step, _ in knots], [float(rate) for _, rate in knots]
    if len(steps) < 2 or steps[0] != 0 or any(b <= a for a, b in zip(steps, steps[1:])):
        raise ValueError(f"knots need at least two steps that rise from 0, not {steps}: give every part a step")
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        raise ValueError(f"a rate is finite and at least 0, not one of {rates}: a negative one would climb the loss")
    plan = rates[:1]
    for (start, low), (stop, high) in zip(zip(steps, rates), zip(steps[1:], rates[1:])):
        shares = [ease((step - start) / (stop - start)) for step in range(start + 1, stop + 1)]
        plan += [(1 - share) * low + share * high for share in shares]
    return np.array(plan)


def step_decay_plan(total_steps: int, cuts: Sequence[int], max_lr: float, factor: float) -> np.ndarray:
    """A rate that is held and cut: `max_lr` times `factor` for every cut so far, (total_steps,) float64.

    Cuts are steps that begin at a lower rate, in rising order; one that stands twice counts twice.
    """
    return max_lr * factor ** np.searchsorted(np.asarray(cuts, dtype=int), np.arange(total_steps), side="right")


def plan_of(recipe: Recipe, steps_per_epoch: int) -> np.ndarray | None:
    """The rate of every step of a run, (steps,) float64; None where a plateau decides as it goes."""
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "one-cycle":
        return one_cycle_plan(steps, recipe.peak, recipe.min_lr, recipe.max_lr, EASES[recipe.ease])
    if recipe.schedule == "step":
        cuts = [epoch * steps_per_epoch for epoch in recipe.cuts]
        return step_decay_plan(steps, cuts, recipe.max_lr, recipe.factor)
    return None


class PlateauState(NamedTuple):
    """What a plateau schedule knows after an epoch."""

    loss: float  # that it watches
    lr: float  # of the epoch
    best: float  # the lowest loss so far, as far as it counted as an improvement
    bad: int  # epochs in a row without an improvement, this one included; a cut starts the count again
    cut: bool  # whether the rate was lowered
    next_lr: float  # of the coming epoch


def plateau_states(
    losses: Sequence[float], max_lr: float, factor: float, patience: int, min_lr: float = 0.0
) -> list[PlateauState]:
    """Replay torch's ReduceLROnPlateau, mode "min" without cooldown, on the losses of a run's epochs.

    `patience` bad epochs in a row are tolerated; one more multiplies the rate by `factor`, in (0, 1).
    """
    optimizer, states = torch.optim.SGD([torch.zeros(1)], max_lr), []
    plateau, group = ReduceLROnPlateau(optimizer, "min", factor, patience, min_lr=min_lr), optimizer.param_groups[0]
    for loss in losses:
        lr, best, bad = group["lr"], plateau.best, plateau.num_bad_epochs
        plateau.step(loss)
        bad = 0 if plateau.best < best else bad + 1
        states.append(PlateauState(loss, lr, plateau.best, bad, group["lr"] < lr, group["lr"]))
    return states
