"""Numbers with the interval they leave open, and what it decides: shares, means, differences, nets on equal images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, stdev

import numpy as np
from scipy import stats

FEWEST = 3  # runs of each side, or pairs, below which nothing is decided: two may agree by chance to the last image
WRITTEN = {"%": (100, ".2f"), "points": (100, "+.2f"), "": (1, ".3f")}  # a unit's scale and form
WANTED = 0.8  # how often an experiment that is planned shall show a true difference


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float  # not a number where the interval is not known, as for a single run; so is high
    high: float
    n: int  # images, runs, pairs of runs, or runs of the side that has fewer
    deviation: float = math.nan  # standard deviation of single values, with n − 1
    unit: str = "%"  # how it is written: shares in "%", their differences in "points", other numbers plainly: ""

    @property
    def verdict(self) -> str:
        """Which side of a difference is greater, "first" or "second"; "undecided" below three runs or pairs."""
        if self.n < FEWEST or not (self.low > 0 or self.high < 0):
            return "undecided"
        return "first" if self.low > 0 else "second"

    def __str__(self) -> str:
        """ "94.10 ± 0.15 % (n = 5, 93.91 to 94.29)", "94.10 % (one run)", or of a difference "+0.20 points (…)"."""
        scale, form = WRITTEN[self.unit]
        value, low, high = (format(scale * number, form) for number in (self.value, self.low, self.high))
        unknown = math.isnan(self.low)
        if self.unit == "points":
            return f"{value} points ({'too few runs for an interval' if unknown else f'{low} to {high}'})"
        spread = "" if math.isnan(self.deviation) else f" ± {format(scale * self.deviation, form)}"
        ends = ("one run" if self.unit else "n = 1") if unknown else f"n = {self.n:,}, {low} to {high}"
        return f"{value}{spread}{' %' if self.unit else ''} ({ends})"


def share(hits: int, n: int) -> Interval:
    """A counted share with its score interval (Wilson 1927); all of [0, 1] where nothing was counted."""
    if not n:
        return Interval(math.nan, 0.0, 1.0, 0)
    found = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Interval(hits / n, float(found.low), float(found.high), n)


def mean(values: Sequence[float], unit: str = "%", comparisons: int = 1) -> Interval:
    """Mean of independent values with Student's interval; `comparisons` is how many verdicts stand side by side."""
    values = [float(value) for value in values]
    n, value = len(values), fmean(values)
    deviation = stdev(values) if n > 1 else math.nan
    half = _edge(n - 1, comparisons) * deviation / math.sqrt(n)
    return Interval(value, value - half, value + half, n, deviation, unit)


def difference(first: Sequence[float], second: Sequence[float], paired: bool = False, comparisons: int = 1) -> Interval:
    """Mean of the first minus mean of the second, in points: the interval of Welch (1947), or that of the pairs."""
    if paired:
        return mean([a - b for a, b in zip(first, second, strict=True)], "points", comparisons)
    a, b = mean(first), mean(second)
    gap, n = a.value - b.value, min(a.n, b.n)
    parts = [side.deviation**2 / side.n for side in (a, b)]
    if not any(parts):  # runs that agree
        return Interval(gap, gap, gap, n, unit="points")
    freedom = sum(parts) ** 2 / sum(part**2 / max(1, side.n - 1) for part, side in zip(parts, (a, b)))
    half = _edge(freedom, comparisons) * math.sqrt(sum(parts))
    return Interval(gap, gap - half, gap + half, n, unit="points")


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[Interval, float]:
    """Accuracy of one net minus that of another on the same images, from right answers (N,) bool; and p of the test.

    McNemar's test (1947) in its exact form: were both nets equally good, each image that only one got right would fall
    to either as a fair coin does. The interval is for other images like these: Wald's, with half an image more in each
    of the four cells (Agresti and Min 2005).
    """
    won, lost, n = int((first & ~second).sum()), int((~first & second).sum()), first.size
    p = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    centre = (won - lost) / (n + 2)
    half = 1.96 * math.sqrt(((won + lost + 1) / (n + 2) - centre**2) / (n + 2))
    return Interval((won - lost) / n, max(-1.0, centre - half), min(1.0, centre + half), n, unit="points"), float(p)


def power(runs: int, gap: float, deviation: float, paired: bool = False, comparisons: int = 1) -> float:
    """How often so many runs of each side, or pairs, show a true gap: their interval then leaves 0 out.

    `deviation` is that between runs of one recipe, equal on both sides; or that of the differences of pairs.
    """
    if deviation < 1e-6 * abs(gap):  # as rounding leaves it where runs agree
        return 1.0
    freedom = runs - 1 if paired else 2 * runs * (runs - 1) / (runs + 1)  # Welch's
    n = runs if paired else runs / 2  # the harmonic mean over samples
    return float(stats.nct.sf(_edge(freedom, comparisons), freedom, abs(gap) / deviation * math.sqrt(n)))


def runs_needed(gap: float, deviation: float, paired: bool = False, comparisons: int = 1) -> int:
    """Runs of each side, or pairs, that show a true gap four times out of five; see `power`."""
    reach = _edge(math.inf, comparisons) + stats.norm.ppf(WANTED)
    least = math.floor((1 if paired else 2) * (reach * deviation / gap) ** 2)  # as if the deviation were known
    return next(n for n in count(max(FEWEST, least)) if power(n, gap, deviation, paired, comparisons) >= WANTED)


def _edge(freedom: float, comparisons: int) -> float:
    """The t beyond which one of several 95 % intervals leaves 0 out, so that all hold at once (Bonferroni)."""
    return float(stats.t.ppf(1 - 0.025 / comparisons, freedom))
