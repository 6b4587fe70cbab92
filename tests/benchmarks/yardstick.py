"""What the machine can do at best: the rate of a large matrix product, and of a copy."""

import torch
from table import Row, Scale, Work, compare

from helpers.devices import PRECISIONS


def measure(scale: Scale) -> list[Row]:
    """Floating-point operations per second by number format, and bytes per second, read and written."""
    side, count = scale.size(2048, 64), scale.size(2**28, 2**16)
    compute, works, amounts = scale.compute, {}, {}
    for precision in dict.fromkeys(("fp32", compute.precision)):
        matrix = torch.randn(side, side, device=compute.device, dtype=PRECISIONS[precision])
        works[precision], amounts[precision] = _waited(scale, lambda m=matrix: m @ m), 2 * side**3
    source = torch.zeros(count, dtype=torch.uint8, device=compute.device)
    target = torch.empty_like(source)
    copy = {"copy": _waited(scale, lambda: target.copy_(source))}
    rows = compare(f"Yardstick: matrix product {side}³", works, scale.rounds, amounts, "FLOP")
    return rows + compare("Yardstick: copy, read and written", copy, scale.rounds, {"copy": 2 * count}, "B")


def rates(rows: list[Row]) -> dict[str, float]:
    """By name, what `table.against` compares with."""
    return {row.name: row.amount / row.seconds for row in rows}


def _waited(scale: Scale, work: Work) -> Work:
    def run() -> None:
        work()
        scale.compute.synchronize()

    return run
