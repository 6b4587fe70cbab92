"""Learning-rate schedules as numbers: the rate of every step of a run.

A plateau has no plan; here it is a function of the losses it saw.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from helpers.recipes import Recipe

THRESHOLD = 1e-4  # an epoch is better if its loss is below best · (1 − THRESHOLD), as for ReduceLROnPlateau
SMALLEST_CUT = 1e-8  # a smaller one is not made; ReduceLROnPlateau's eps


def triangular(step: float, step_size: float, min_lr: float, max_lr: float) -> float:
    """The triangular wave of Smith, "Cyclical Learning Rates" (2017), section 3.1.

    A step is whole or not, from 0 on; `step_size` is half a cycle, the steps from `min_lr` up to `max_lr`.
    """
    cycle = np.floor(1 + step / (2 * step_size))
    distance = abs(step / step_size - 2 * cycle + 1)  # 1 at the feet, 0 at the peak
    return float(min_lr + (max_lr - min_lr) * max(0.0, 1 - distance))


def linear(share: float) -> float:
    """The straight way from 0 to 1."""
    return share


def cosine(share: float) -> float:
    """Half a cosine wave from 0 to 1, level at both ends (Loshchilov & Hutter 2017, equation 5)."""
    return (1 - math.cos(math.pi * share)) / 2


Ease = Callable[[float], float]
EASES: dict[str, Ease] = {"linear": linear, "cosine": cosine}


def peak_step(total_steps: int, peak: float) -> int:
    """The step at which a run of `total_steps` peaks: the nearest to the share `peak` that leaves a rise and a fall.

    A share of 5/24 in 24 epochs of 98 steps is step 490, the first of the sixth epoch.
    """
    return min(max(round(peak * total_steps), 1), max(total_steps - 2, 1))


def one_cycle_plan(total_steps: int, peak: float, min_lr: float, max_lr: float, ease: Ease = linear) -> np.ndarray:
    """One Cycle without annihilation (Smith 2018, "A disciplined approach", section 4): up, and back down.

    Steps 0 and the last one train at `min_lr` exactly, the peak at `max_lr`, (total_steps,) float64. `peak` is where
    it lies, as a share of the run; 5/24 in the assignment.
    """
    if total_steps < 3:
        raise ValueError(f"a cycle needs at least 3 steps, not {total_steps}: train more epochs or smaller batches")
    if not 0 < peak < 1:
        raise ValueError(f"peak is a share of the run between 0 and 1, not {peak}")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"need 0 <= min_lr <= max_lr, got min_lr={min_lr}, max_lr={max_lr}")
    return piecewise_plan([(0, min_lr), (peak_step(total_steps, peak), max_lr), (total_steps - 1, min_lr)], ease)


def piecewise_plan(knots: Sequence[tuple[int, float]], ease: Ease = linear) -> np.ndarray:
    """Any schedule that is drawn as knots and joined between them: the rate of every step, (last step + 1,) float64.

    Args:
        knots: at least two (step, rate); the first at step 0, the last at the run's last step. Every knot's step trains
            at its rate exactly.
        ease: how to get from one knot to the next; maps [0, 1] to [0, 1], with both ends fixed.
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


def annihilation_plan(
    total_steps: int,
    peak: float,
    min_lr: float,
    max_lr: float,
    tail: float = 0.1,
    ease: Ease = linear,
) -> np.ndarray:
    """One Cycle that ends early and spends the rest of the run falling from `min_lr` to zero, (total_steps,) float64.

    Smith 2018, "A disciplined approach to neural network hyper-parameters", section 4. `peak` is where the peak lies
    and `tail` what follows the cycle, both as shares of the run, 0 < peak < 1 - tail.
    """
    if total_steps < 4:
        raise ValueError(f"a cycle and its tail need at least 4 steps, not {total_steps}: train more epochs")
    if not (0 < tail < 1 and 0 < peak < 1 - tail):
        raise ValueError(f"need 0 < tail < 1 and 0 < peak < 1 - tail, got peak={peak}, tail={tail}")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"need 0 <= min_lr <= max_lr, got min_lr={min_lr}, max_lr={max_lr}")
    end = min(max(round((1 - tail) * total_steps), 2), total_steps - 2)
    at = min(peak_step(total_steps, peak), end - 1)
    return piecewise_plan([(0, min_lr), (at, max_lr), (end, min_lr), (total_steps - 1, 0.0)], ease)


def mirrored_momentum(plan: np.ndarray, low: float = 0.85, high: float = 0.95) -> np.ndarray:
    """A momentum that falls while the rate rises, and rises while it falls (Smith 2018, section 4.3).

    It is `low` at the plan's highest rate and `high` at its lowest, 0 <= low <= high < 1; a constant plan has `high`.
    Plan and momentum have one value for every step, (total_steps,) float64.
    """
    if not 0 <= low <= high < 1:
        raise ValueError(f"need 0 <= low <= high < 1, got low={low}, high={high}")
    span = plan.max() - plan.min()
    share = (plan - plan.min()) / span if span > 0 else np.zeros(len(plan))
    return (1 - share) * high + share * low


def step_decay_plan(total_steps: int, cuts: Sequence[int], max_lr: float, factor: float) -> np.ndarray:
    """A rate that is held and cut: `max_lr` times `factor` for every cut so far, (total_steps,) float64.

    Cuts are steps that begin at a lower rate, in rising order; one that stands twice counts twice, one after the end
    does nothing.
    """
    return max_lr * factor ** np.searchsorted(np.asarray(cuts, dtype=int), np.arange(total_steps), side="right")


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
    states, best, bad, lr = [], math.inf, 0, max_lr
    for loss in losses:
        better = loss < best * (1 - THRESHOLD)
        best, bad = (loss, 0) if better else (best, bad + 1)
        lower = max(lr * factor, min_lr)
        cut = bad > patience and lr - lower > SMALLEST_CUT
        states.append(PlateauState(loss, lr, best, bad, cut, lower if cut else lr))
        lr, bad = states[-1].next_lr, 0 if bad > patience else bad
    return states


def plan_of(recipe: Recipe, steps_per_epoch: int) -> np.ndarray | None:
    """The rate of every step of a run, (steps,) float64; None where a plateau decides as it goes."""
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "one-cycle":
        return one_cycle_plan(steps, recipe.peak, recipe.min_lr, recipe.max_lr, EASES[recipe.ease])
    if recipe.schedule == "step":
        cuts = [epoch * steps_per_epoch for epoch in recipe.cuts]
        return step_decay_plan(steps, cuts, recipe.max_lr, recipe.factor)
    return None
