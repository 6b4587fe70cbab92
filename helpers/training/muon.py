"""Muon (Jordan 2024, "Muon: an optimizer for hidden layers"): steps of equal length in all directions of a filter."""

from collections.abc import Iterable
from typing import Any

import torch

QUINTIC = (3.4445, -4.7750, 2.0315)  # x ← ax + bx³ + cx⁵ brings singular values from (0, 1] near 1


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum; `orthogonal` groups hold filters (O, …), whose steps are orthogonalised, norms √O."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every weight by its group's rate."""
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight]["momentum_buffer"]
                momentum.mul_(group["momentum"]).add_(weight.grad)
                direction = weight.grad + group["momentum"] * momentum
                if group["orthogonal"]:
                    weight.mul_(len(weight) ** 0.5 / weight.norm())
                    direction = orthogonalised(direction.flatten(1)).view_as(direction)
                weight.sub_(group["lr"] * direction)


def orthogonalised(matrix: torch.Tensor, steps: int = 3) -> torch.Tensor:
    """About U Vᵀ of a matrix U S Vᵀ (O, I), by Newton-Schulz steps: all but tiny singular values become 0.7 to 1.2."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(steps):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
