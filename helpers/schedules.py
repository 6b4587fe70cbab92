"""Learning-rate schedules: first as plain functions of the step, then as torch schedulers that follow them."""

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler


def triangular(step: float, step_size: float, min_lr: float, max_lr: float) -> float:
    """The triangular wave of Smith, "Cyclical Learning Rates" (2017), section 3.1.

    Args:
        step: any step, whole or not, from 0 on.
        step_size: half a cycle: steps from `min_lr` up to `max_lr`.
        min_lr, max_lr: the wave's lower and upper bound.
    """
    cycle = np.floor(1 + step / (2 * step_size))
    distance = abs(step / step_size - 2 * cycle + 1)  # 1 at the feet, 0 at the peak
    return float(min_lr + (max_lr - min_lr) * max(0.0, 1 - distance))


def one_cycle(step: float, last_step: float, peak_step: float, min_lr: float, max_lr: float) -> float:
    """One Cycle without annihilation (Smith 2018, "A disciplined approach", section 4): up, and back down.

    Args:
        step: from 0 to `last_step`.
        last_step: the last step of the run, which trains at `min_lr` exactly.
        peak_step: the step that trains at `max_lr` exactly, 0 < peak_step < last_step.
        min_lr, max_lr: the rate at both ends and at the peak.

    Raises:
        ValueError: `step` lies outside the plan; a run that steps too far would train at a rate nobody planned.
    """
    if not 0 <= step <= last_step:
        raise ValueError(f"step {step} is outside the plan, which ends at step {last_step}")
    rising = step <= peak_step
    share = step / peak_step if rising else (last_step - step) / (last_step - peak_step)
    return float((1 - share) * min_lr + share * max_lr)  # exact at both ends, unlike min + share·(max − min)


def peak_step(total_steps: int, peak: float) -> int:
    """The step at which a run of `total_steps` peaks: the nearest to the share `peak` that leaves a rise and a fall.

    A share of 5/24 in 24 epochs of 98 steps is step 490, the first of the sixth epoch.
    """
    return min(max(round(peak * total_steps), 1), max(total_steps - 2, 1))


def one_cycle_plan(total_steps: int, peak: float, min_lr: float, max_lr: float) -> np.ndarray:
    """The rate of every step of a run, (total_steps,) float64.

    Args:
        total_steps: optimizer steps in the run, at least 3.
        peak: where the peak lies, as a share of the run; 5/24 in the assignment.
        min_lr, max_lr: the rate of the first and last step, and of the peak.

    Raises:
        ValueError: too few steps, or a rate or share out of range.
    """
    if total_steps < 3:
        raise ValueError(f"a cycle needs at least 3 steps, not {total_steps}: train more epochs or smaller batches")
    if not 0 < peak < 1:
        raise ValueError(f"peak is a share of the run between 0 and 1, not {peak}")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"need 0 <= min_lr <= max_lr, got min_lr={min_lr}, max_lr={max_lr}")
    at = peak_step(total_steps, peak)
    return np.array([one_cycle(step, total_steps - 1, at, min_lr, max_lr) for step in range(total_steps)])


def step_decay_plan(total_steps: int, every: int, max_lr: float, factor: float) -> np.ndarray:
    """`max_lr` times `factor` after every `every` steps, (total_steps,) float64."""
    if every < 1:
        raise ValueError(f"the rate must hold for at least one step, not {every}")
    return max_lr * factor ** (np.arange(total_steps) // every)


class PlannedLR(LRScheduler):
    """Follow a plan, one rate per optimizer step: what ran is what was planned, bit for bit.

    Args:
        optimizer: all its parameter groups get the same rate.
        plan: (total_steps,) rates.
        last_epoch: steps already taken, minus one; as in torch's schedulers.

    `step()` after the plan's last step keeps the last rate, as the training loop steps once after every update.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, plan: np.ndarray, last_epoch: int = -1):
        self.plan = [float(rate) for rate in plan]
        super().__init__(optimizer, last_epoch)
        optimizer._opt_called = True  # a gradient scaler may skip the first step, which torch would warn of

    def get_lr(self) -> list[float]:
        rate = self.plan[min(self.last_epoch, len(self.plan) - 1)]
        return [rate for _ in self.optimizer.param_groups]

    def state_dict(self) -> dict:
        """Only the position; the plan follows from the recipe."""
        return {"last_epoch": self.last_epoch}
