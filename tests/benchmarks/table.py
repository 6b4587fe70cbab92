"""What all benchmarks share: how much to measure, the rows of the result, and how they are printed."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers.data import Dataset, Images
from helpers.devices import Compute

Work = Callable[[], Any]


@dataclass(frozen=True)
class Scale:
    """How much to measure: so many rounds, on this device, and the smallest nets and batches where it is `tiny`."""

    rounds: int
    compute: Compute
    tiny: bool = False

    def size(self, full: int, tiny: int) -> int:
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Row:
    """One thing that was measured.

    Attributes:
        what, name: the comparison it belongs to, and which side of it.
        seconds, low, high: by the clock: median, and of single rounds.
        amount, unit: what was got done in that time.
        over: its time divided by that of each row before it in the comparison; ratios of medians.
        yardstick: share of the machine's rate that it reaches, of `of`: "fp32" or "bf16" products or "copy".
    """

    what: str
    name: str
    seconds: float
    low: float
    high: float
    amount: float
    unit: str
    over: dict[str, float]
    yardstick: float | None = None
    of: str | None = None

    def line(self) -> str:
        """The row as it is printed."""
        spread = f"({1000 * self.low:,.1f} to {1000 * self.high:,.1f})"
        rate = f"{self.amount / self.seconds:,.4g} {self.unit}/s"
        share = "" if self.yardstick is None else f"{self.yardstick:.0%} of {self.of}"
        ratios = ", ".join(f"{ratio:.3f} × {name}" for name, ratio in self.over.items())
        return f"  {self.name:34}{1000 * self.seconds:10,.1f} ms {spread:24}{rate:>20}  {share:14}{ratios}".rstrip()


def in_turns(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds that each work took in each round, in turns, so that a busy moment of the machine hits all of them.

    A first round warms up and is not counted. A work waits for its device before it returns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def compare(
    what: str,
    works: Mapping[str, Work],
    rounds: int,
    amounts: Mapping[str, float],
    unit: str,
) -> list[Row]:
    """Time works in turns; ratios are of the time for one unit, so amounts may differ."""
    rows: list[Row] = []
    for name, taken in in_turns(works, rounds).items():
        middle = statistics.median(taken)
        each = middle / amounts[name]
        over = {row.name: each * row.amount / row.seconds for row in rows}
        rows.append(Row(what, name, middle, min(taken), max(taken), amounts[name], unit, over))
    return rows


def against(row: Row, work: float, yardsticks: Mapping[str, float], name: str) -> Row:
    """The row with its share of a yardstick, for so many floating-point operations or bytes in all."""
    share = work / row.seconds / yardsticks[name] if name in yardsticks else None
    return dataclasses.replace(row, yardstick=share, of=name)


def random_images(count: int) -> Images:
    """Noise, with labels at random."""
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count))


def random_data(count: int) -> Dataset:
    """Noise for training and for testing."""
    images, half = random_images(count), (0.5, 0.5, 0.5)
    return Dataset("noise", "Noise", tuple("abcdefghij"), half, half, images, images)


def show(rows: Iterable[Any]) -> None:
    """Print rows as a table for each comparison; a row has `what` and `line()`."""
    last = None
    for row in rows:
        if row.what != last:
            print(f"\n{row.what}")
            last = row.what
        print(row.line())
