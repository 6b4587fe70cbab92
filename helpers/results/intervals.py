"""Numbers with the interval they leave open, and what that decides: shares, means, differences, nets on the same images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 3  # runs, below which nothing is decided


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; what is a share is written in percent, a difference of shares in points."""

    value: float
    low: float  # nan where it is not known, as for a single run
    high: float
    n: int  # images, runs or pairs of runs
    deviation: float = math.nan  # between runs, with n - 1
    kind: str = "share"  # "share", "runs", "points" or "number"

    @property
    def verdict(self) -> str:
        """Of a difference: "first" or "second" is better, or "undecided"."""
        if self.n < FEWEST or not (self.low > 0 or self.high < 0):
            return "undecided"
        return "first" if self.low > 0 else "second"

    def __str__(self) -> str:
        scale, unit, sign = {"number": (1, "", ""), "points": (100, " points", "+")}.get(self.kind, (100, " %", ""))
        ends = f"{scale * self.low:{sign}.2f} to {scale * self.high:{sign}.2f}"
        if math.isnan(self.low):
            return (
                f"{scale * self.value:{sign}.2f}{unit} (one run)"
                if self.n == 1
                else f"{scale * self.value:{sign}.2f}{unit}"
            )
        spread = "" if math.isnan(self.deviation) else f" ± {scale * self.deviation:.2f}"
        return f"{scale * self.value:{sign}.2f}{spread}{unit} (n = {self.n:,}, {ends})"


def share(hits: int, n: int) -> Interval:
    """A counted share with its score interval (Wilson 1927)."""
    if not n:
        return Interval(math.nan, 0.0, 1.0, 0)
    found = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Interval(hits / n, found.low, found.high, n)


def mean(values: Sequence[float], kind: str = "runs") -> Interval:
    """Mean of independent values with Student's interval; one value has none."""
    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"need one or more finite numbers, got {values}")
    if len(values) == 1:
        return Interval(float(values[0]), math.nan, math.nan, 1, kind=kind)
    deviation = float(values.std(ddof=1))
    half = stats.t.ppf(0.975, len(values) - 1) * deviation / math.sqrt(len(values))
    return Interval(float(values.mean()), values.mean() - half, values.mean() + half, len(values), deviation, kind)


def difference(first: Sequence[float], second: Sequence[float], paired: bool = False) -> Interval:
    """Mean of the first minus mean of the second: Welch's interval (1947), or that of the pairs."""
    if paired:
        return mean(np.subtract(first, second), "points")
    gap, n = float(np.mean(first) - np.mean(second)), min(len(first), len(second))
    if n < 2:
        return Interval(gap, math.nan, math.nan, n, kind="points")
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return Interval(gap, float(found.low), float(found.high), n, kind="points")


def share_difference(first: Interval, second: Interval) -> Interval:
    """Difference of shares of different images; the interval joins theirs (Newcombe 1998, method 10)."""
    gap = first.value - second.value
    below, above = (
        math.hypot(first.value - first.low, second.high - second.value),
        math.hypot(first.high - first.value, second.value - second.low),
    )
    return Interval(gap, gap - below, gap + above, min(first.n, second.n), kind="points")


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[Interval, float]:
    """Accuracy of the first net minus that of the second on the same images (N,) bool, and p of the exact test (1947).

    The interval is Clopper and Pearson's for the first net's share of the images that only one got right.
    """
    won, lost, n = int((first & ~second).sum()), int((~first & second).sum()), len(first)
    if not won + lost:
        return Interval(0.0, 0.0, 0.0, n, kind="points"), 1.0
    test = stats.binomtest(won, won + lost)
    low, high = ((2 * end - 1) * (won + lost) / n for end in test.proportion_ci(0.95, method="exact"))
    return Interval((won - lost) / n, low, high, n, kind="points"), test.pvalue


def power(runs: int, gap: float, deviation: float) -> float:
    """How often so many runs of each of two recipes show a true gap at 95 % (noncentral t, equal spreads)."""
    freedom, shift = 2 * runs - 2, gap / deviation * math.sqrt(runs / 2)
    edge = stats.t.ppf(0.975, freedom)
    return float(stats.nct.sf(edge, freedom, shift) + stats.nct.cdf(-edge, freedom, shift))


def runs_needed(gap: float, deviation: float, wanted: float = 0.8) -> int:
    """Runs of each of two recipes that show a true gap four times out of five."""
    return next(runs for runs in range(FEWEST, 100_000) if power(runs, abs(gap), deviation) >= wanted)
