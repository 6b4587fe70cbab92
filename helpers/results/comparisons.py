"""Comparing nets without fooling oneself: means with their intervals, runs needed, nets on the same images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy as np
from scipy import stats

from helpers.results.analysis import Share, wilson
from helpers.training.runs import epoch_seconds

DECIDES = NormalDist().inv_cdf(0.975)  # deviations of the mean's difference at which a 95 % interval leaves 0 out
REACH = DECIDES + NormalDist().inv_cdf(0.8)  # at which it does so four times out of five
FEWEST = 3  # runs of each side, or pairs, below which nothing is decided
SHOWN_BY_FEW = {3: 3.51, 4: 2.51, 5: 2.08, 6: 1.83, 7: 1.65}  # by simulation: gaps in deviations, by runs


@dataclass(frozen=True)
class Summary:
    """Several runs of one recipe in short, in the unit of the values."""

    count: int  # number of runs, n
    mean: float
    deviation: float  # standard deviation between runs, with n − 1; not a number for a single run
    low: float  # ends of the interval for the true mean; not numbers for a single run
    high: float

    def __str__(self) -> str:
        """As percentages: "94.10 ± 0.15 % (n = 5, 93.91 to 94.29)", or "94.10 % (one run)"."""
        if self.count == 1:
            return f"{100 * self.mean:.2f} % (one run)"
        interval = f"{100 * self.low:.2f} to {100 * self.high:.2f}"
        return f"{100 * self.mean:.2f} ± {100 * self.deviation:.2f} % (n = {self.count}, {interval})"


@dataclass(frozen=True)
class Difference:
    """How much better one recipe is than another, and what that leaves open."""

    value: float  # mean of the first minus mean of the second
    low: float  # ends of its interval; not numbers where a spread is unknown
    high: float
    count: int  # pairs, or runs (of a share: images) on the side that has fewer

    @property
    def verdict(self) -> str:
        """ "first", "second", or "undecided": the interval holds 0, or there are fewer than three runs or pairs.

        Two runs may agree by chance, and their interval then has no width. From three on, runs that agree to the last
        image decide: accuracies are counts, so a spread that rounding hides is small beside a difference of an image.
        """
        if self.count < FEWEST:
            return "undecided"
        return "first" if self.low > 0 else "second" if self.high < 0 else "undecided"

    def __str__(self) -> str:
        """In percentage points."""
        if math.isnan(self.low):
            return f"{100 * self.value:+.2f} points (too few runs for an interval)"
        return f"{100 * self.value:+.2f} points ({100 * self.low:+.2f} to {100 * self.high:+.2f})"


@dataclass(frozen=True)
class Pairing:
    """Two nets on the same images."""

    both: int  # images that both nets got right, that one alone did, that neither did
    only_first: int
    only_second: int
    neither: int
    p: float  # of McNemar's exact test: how often two equally good nets would differ at least so much
    difference: Difference  # accuracy of the first minus that of the second, with its interval for paired images

    @property
    def count(self) -> int:
        """Number of images."""
        return self.both + self.only_first + self.only_second + self.neither


def t_quantile(share: float, freedom: float) -> float:
    """The t below which a share of Student's distribution lies; its degrees of freedom need not be whole."""
    return float(stats.t.ppf(share, freedom))


def summarise(values: Sequence[float], level: float = 0.95) -> Summary:
    """Mean, spread and t-interval of the mean of independent runs.

    Args:
        values: one per run, such as accuracies in [0, 1].
        level: how often such intervals hold the true mean, in (0, 1).
    """
    values = [float(value) for value in values]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"need at least one run, and finite numbers only, got {values}")
    count, mean = len(values), fmean(values)
    if count == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    deviation = stdev(values)
    half = t_quantile(0.5 + level / 2, count - 1) * deviation / math.sqrt(count)
    return Summary(count, mean, deviation, mean - half, mean + half)


def level_of_each(comparisons: int) -> float:
    """The level that each of several intervals needs, so that all of them hold at once at least 95 % of the time.

    Bonferroni's correction. Holm's decides a little more often, but has no intervals that could be drawn.
    """
    if comparisons < 1:
        raise ValueError(f"count at least this one comparison, not {comparisons}")
    return 1 - (1 - 0.95) / comparisons


def difference(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> Difference:
    """Difference of two means of independent runs, with the interval of Welch (1947), who lets spreads differ.

    `comparisons` is how many verdicts stand side by side; see `level_of_each`.
    """
    a, b = summarise(first), summarise(second)
    value, count = a.mean - b.mean, min(a.count, b.count)
    if count < 2:
        return Difference(value, math.nan, math.nan, count)
    parts = [side.deviation**2 / side.count for side in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Difference(value, value, value, count)
    freedom = sum(parts) ** 2 / sum(part**2 / (side.count - 1) for part, side in zip(parts, (a, b)))
    half = t_quantile(0.5 + level_of_each(comparisons) / 2, freedom) * error
    return Difference(value, value - half, value + half, count)


def share_difference(first: Share, second: Share) -> Difference:
    """Difference of two shares of different images, such as accuracies on training and test images.

    Its 95 % interval joins theirs (Newcombe 1998, method 10): unlike that from a standard error, it has a width where
    all images of one side are right.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Difference(value, value - below, value + above, min(first.count, second.count))


def paired_difference(first: Sequence[float], second: Sequence[float], comparisons: int = 1) -> Difference:
    """Mean difference of runs that share something, such as a seed, one by one, with its t-interval.

    `comparisons` is how many verdicts stand side by side; see `level_of_each`.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need two equally long sequences, got {len(first)} and {len(second)} runs")
    found = summarise([a - b for a, b in zip(first, second)], level_of_each(comparisons))
    return Difference(found.mean, found.low, found.high, found.count)


def runs_needed(gap: float, deviation: float) -> int:
    """Runs of each of two recipes that show a true difference, if it is there, four times out of five.

    For runs that share nothing; where they share seeds, see `pairs_needed`.
    Shown means: the interval of `difference` leaves 0 out. Guenther's correction (1981) of the normal approximation,
    and for few runs, where that promises too much, what simulations of Welch's interval say.

    Args:
        gap: the true difference of the means, not 0.
        deviation: between runs of one recipe, in the same unit.
    """
    _check_planned(gap, deviation)
    few = next((runs for runs in SHOWN_BY_FEW if gap_shown(runs, deviation) <= abs(gap)), None)
    return few or max(max(SHOWN_BY_FEW) + 1, math.ceil(2 * (REACH * deviation / gap) ** 2 + DECIDES**2 / 4))


def pairs_needed(gap: float, deviation: float, comparisons: int = 1) -> int:
    """Pairs of runs that show a true difference, if it is there, four times out of five.

    Shown means: the interval of `paired_difference` leaves 0 out. Its t then has a noncentral t distribution.

    Args:
        gap: the true mean of the differences, not 0.
        deviation: of the differences, in the same unit; not that between runs of one recipe.
        comparisons: how many verdicts stand side by side; see `level_of_each`.
    """
    _check_planned(gap, deviation)
    tail = 0.5 + level_of_each(comparisons) / 2
    reach = NormalDist().inv_cdf(tail) + NormalDist().inv_cdf(0.8)
    pairs = max(FEWEST, math.floor((reach * deviation / gap) ** 2))  # as if the deviation were known: too few
    while deviation and _missed(pairs, abs(gap) / deviation, tail) > 0.2:
        pairs += 1
    return pairs


def _missed(pairs: int, gap: float, tail: float) -> float:
    """How often so many pairs leave a gap, in deviations of the differences, undecided."""
    freedom = pairs - 1
    return float(stats.nct.cdf(stats.t.ppf(tail, freedom), freedom, math.sqrt(pairs) * gap))


def _check_planned(gap: float, deviation: float) -> None:
    if gap == 0 or not deviation >= 0:
        raise ValueError(f"need a gap other than 0 and a deviation >= 0, got {gap} and {deviation}")


def gap_shown(runs: int, deviation: float) -> float:
    """The smallest true difference that so many runs of each recipe show four times out of five; see `runs_needed`."""
    if runs < FEWEST:
        raise ValueError(f"fewer than {FEWEST} runs decide nothing; give at least {FEWEST}, not {runs}")
    return deviation * (SHOWN_BY_FEW.get(runs) or REACH * math.sqrt(2 / (runs - DECIDES**2 / 4)))


def pairing(first: np.ndarray, second: np.ndarray) -> Pairing:
    """Compare two nets on the same images: McNemar's test (1947) in its exact form.

    Images that both or neither got right say nothing about which net is better. Were both equally good, each of the
    others would fall to either side as a fair coin does. The 95 % interval is that of Clopper and Pearson (1934) for
    the first net's share of these others, whose number it takes as given; it leaves 0 out where p is below 0.05.

    `first` and `second` are (N,) bool, whether each image was right; N is at least 1.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.dtype != bool or second.dtype != bool:
        raise ValueError(f"need whether each image was right, bool, got {first.dtype} and {second.dtype}")
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise ValueError(f"need right answers of both nets on the same images, (N,), got {first.shape}, {second.shape}")
    cells = [int((a & b).sum()) for a, b in ((first, second), (first, ~second), (~first, second), (~first, ~second))]
    won, lost, count = cells[1], cells[2], first.size
    split, lead = won + lost, won - lost
    if not split:
        return Pairing(*cells, 1.0, Difference(0.0, 0.0, 0.0, count))
    test = stats.binomtest(won, split)
    low, high = ((2 * end - 1) * split / count for end in test.proportion_ci(0.95, method="exact"))
    return Pairing(*cells, float(test.pvalue), Difference(lead / count, float(low), float(high), count))


def agreement(first: np.ndarray, second: np.ndarray) -> Share:
    """Share of images to which two nets give the same answer, right or wrong; first, second: (N,) predicted classes."""
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ValueError(f"need answers of both nets to the same images, got {first.shape} and {second.shape}")
    same = first == second
    return wilson(int(same.sum()), same.size)


def judged(row: Mapping[str, Any]) -> float:
    """Test accuracy of an epoch's judged weights: the averaged ones where the run keeps them."""
    averaged = row.get("ema_test_accuracy")
    return row["test_accuracy"] if averaged is None else averaged


def epoch_reaching(history: Sequence[Mapping[str, Any]], accuracy: float) -> int | None:
    """The first epoch whose judged test accuracy is at least `accuracy`, counted from 1; None where there is none."""
    return next((number for number, row in enumerate(history, 1) if judged(row) >= accuracy), None)


def seconds_to(history: Sequence[Mapping[str, Any]], accuracy: float) -> float | None:
    """Time until an accuracy was first reached, at the pace of the median epoch; None where it never was."""
    epoch = epoch_reaching(history, accuracy)
    return None if epoch is None else epoch * epoch_seconds(history)
