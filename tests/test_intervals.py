"""Shares, means, differences and paired nets with their intervals, runs needed: by hand, by scipy, by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers.results import intervals
from helpers.results.intervals import Interval

ACCURACIES = st.lists(st.floats(0.5, 1.0), min_size=2, max_size=12)


def points(value, low, high, n):
    return Interval(value, low, high, n, unit="points")


@pytest.mark.parametrize(
    "interval, text",
    [
        (intervals.mean([0.93, 0.94, 0.95]), "94.00 ± 1.00 % (n = 3, 91.52 to 96.48)"),
        (intervals.mean([0.941]), "94.10 % (one run)"),
        (intervals.share(90, 100), "90.00 % (n = 100, 82.56 to 94.48)"),
        (points(0.002, -0.001, 0.005, 5), "+0.20 points (-0.10 to +0.50)"),
        (intervals.difference([0.94], [0.93, 0.92]), "+1.50 points (too few runs for an interval)"),
        (intervals.mean([0.5, 0.5], unit=""), "0.500 ± 0.000 (n = 2, 0.500 to 0.500)"),
        (intervals.mean([0.5], unit=""), "0.500 (n = 1)"),
    ],
)
def test_intervals_as_text(interval, text):
    assert str(interval) == text


def test_a_share_at_the_ends():
    assert intervals.share(0, 20).low == 0 and intervals.share(20, 20).high == 1
    nothing = intervals.share(0, 0)
    assert (nothing.low, nothing.high) == (0, 1) and math.isnan(nothing.value)
    with pytest.raises(ValueError):
        intervals.share(3, 2)


def test_a_mean_by_hand():
    found = intervals.mean([0.93, 0.94, 0.95])
    assert (found.n, found.value, found.deviation) == (3, pytest.approx(0.94), pytest.approx(0.01))
    half = 4.302653 * 0.01 / math.sqrt(3)  # t of two degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.94 - half, 0.94 + half), abs=1e-8)
    assert found == intervals.mean(np.array([0.93, 0.94, 0.95]))
    alone = intervals.mean([0.941])
    assert math.isnan(alone.deviation) and math.isnan(alone.low) and alone.verdict == "undecided"


@given(ACCURACIES, ACCURACIES)
def test_differences_agree_with_scipy(first, second):
    found = intervals.difference(first, second)
    if min(np.ptp(first), np.ptp(second)) > 1e-6:
        expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    mirrored = intervals.difference(second, first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def test_verdicts():
    assert points(0.02, 0.01, 0.03, 3).verdict == "first"
    assert points(-0.02, -0.03, -0.01, 3).verdict == "second"
    assert points(0.02, -0.01, 0.05, 3).verdict == "undecided"
    assert intervals.difference([0.94], [0.93, 0.92]).verdict == "undecided"


@pytest.mark.parametrize("paired", [False, True])
def test_two_runs_decide_nothing_even_where_they_agree(paired):
    found = intervals.difference([0.9, 0.9], [0.8, 0.8], paired)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1)) and found.n == 2 and found.verdict == "undecided"
    assert intervals.difference([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], paired).verdict == "first"
    assert intervals.difference([0.9, 0.9, 0.9], [0.9, 0.9, 0.9], paired).verdict == "undecided"  # the interval is 0


def test_the_side_with_fewer_runs_counts():
    found = intervals.difference([0.9, 0.9001, 0.9002, 0.9003], [0.8, 0.8001])
    assert found.low > 0 and found.n == 2 and found.verdict == "undecided"
    assert intervals.difference([0.9, 0.9001, 0.9002], [0.8, 0.8001, 0.8002, 0.8003]).n == 3


def test_a_correction_widens_to_student_s_t_of_its_level():
    gaps = [0.03, 0.01, 0.02, 0.02, 0.02]  # mean 0.02, deviation √(0.0002 / 4), error √(0.00005 / 5)
    found = intervals.difference(gaps, [0.0] * 5, paired=True, comparisons=5)
    half = 4.604095 * math.sqrt(0.00001)  # t of four degrees of freedom, 99 %
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-8)
    first, second = [0.90, 0.91, 0.92], [0.89, 0.86, 0.88]
    one, corrected = intervals.difference(first, second), intervals.difference(first, second, comparisons=5)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.99)
    assert (corrected.low, corrected.high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    assert corrected.low < one.low < one.high < corrected.high


def test_near_misses_among_five_do_not_survive_the_correction():
    half = {1: 2.776445, 5: 4.604095}  # t of four degrees of freedom, at 95 and at 99 %
    gaps = np.array([-2, -1, 0, 1, 2]) * math.sqrt(2)  # deviation √5, so that the error is 1
    for middle, decided in ((-5, (True, True)), (-4, (True, False)), (-2, (False, False))):
        for count, expected in zip((1, 5), decided):
            found = intervals.mean(gaps + middle, "points", count)
            assert found.high == pytest.approx(middle + half[count], abs=1e-5)
            assert (found.verdict == "second") == expected


def test_pairs_share_what_they_share():
    first, second = [0.90, 0.80, 0.70], [0.89, 0.79, 0.69]
    assert intervals.difference(first, second).verdict == "undecided"  # the spread between seeds hides it
    found = intervals.difference(first, second, paired=True)
    assert found.verdict == "first" and found.value == pytest.approx(0.01)
    with pytest.raises(ValueError, match="zip"):
        intervals.difference(first, [0.9], paired=True)


def shown(runs, gap, paired, comparisons=1, draws=40_000):
    """Share of simulated experiments, of deviation 1, whose interval leaves 0 out on the right side."""
    rng = np.random.default_rng(runs)
    first, second = rng.normal(gap, 1, (draws, runs)), rng.normal(0, 1, (draws, runs))
    a, b = ((side.var(1, ddof=1)) / runs for side in (first, second))
    if paired:
        lead, error, freedom = first.mean(1), np.sqrt(a), runs - 1
    else:
        lead, error = first.mean(1) - second.mean(1), np.sqrt(a + b)
        freedom = (a + b) ** 2 / ((a**2 + b**2) / (runs - 1))
    return (lead > stats.t.ppf(1 - 0.025 / comparisons, freedom) * error).mean()


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("runs, gap, comparisons", [(3, 3.5, 1), (4, 2.5, 1), (7, 1.2, 1), (20, 0.9, 1), (5, 2.6, 5)])
def test_power_is_that_of_simulated_experiments(runs, gap, comparisons, paired):
    found = intervals.power(runs, gap, 1, paired, comparisons)
    assert shown(runs, gap, paired, comparisons) == pytest.approx(found, abs=0.015)
    assert intervals.power(runs, -10 * gap, 10, paired, comparisons) == pytest.approx(found)


@given(st.floats(0.05, 2.0), st.floats(0.05, 1.0), st.booleans(), st.sampled_from([1, 5]))
def test_runs_needed_are_the_fewest_of_such_power(gap, deviation, paired, comparisons):
    runs = intervals.runs_needed(gap, deviation, paired, comparisons)
    assert runs == intervals.runs_needed(-gap, deviation, paired, comparisons) >= intervals.FEWEST
    assert intervals.power(runs, gap, deviation, paired, comparisons) >= 0.8
    assert runs == intervals.FEWEST or intervals.power(runs - 1, gap, deviation, paired, comparisons) < 0.8


@pytest.mark.parametrize(
    "gap, deviation, pairs",
    [(0.5, 1, 34), (0.8, 1, 15), (-0.2, 0.25, 15), (1, 0.5, 5), (1, 0, 3), (1, 1e-17, 3), (100, 0.1, 3)],
)
def test_pairs_needed_are_those_of_tables(gap, deviation, pairs):
    """Cohen's d of the differences 0.5, 0.8 and 2 need 34, 15 and 5 pairs (two-sided t-test, power 0.8)."""
    assert intervals.runs_needed(gap, deviation, paired=True) == pairs


@pytest.mark.parametrize("gap, deviation, runs", [(0.002, 0.0015, 10), (0.001, 0.0015, 37), (0.005, 0.0015, 4)])
def test_runs_that_the_notebooks_promise(gap, deviation, runs):
    assert intervals.runs_needed(gap, deviation) == runs


def test_mcnemar_by_hand():
    first = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    second = np.array([1, 1, 0, 0, 0, 0, 1, 0], bool)
    found, p = intervals.mcnemar(first, second)
    assert p == pytest.approx(2 * (1 + 5) / 32)  # five coins, at most one of them tails, or heads
    assert found.value == pytest.approx(3 / 8) and found.n == 8
    centre, error = 3 / 10, ((6 - 9 / 10) ** 0.5) / 10  # cells 4.5, 1.5, and 4 in all others, of 10
    assert [found.low, found.high] == pytest.approx([centre - 1.96 * error, centre + 1.96 * error])
    assert intervals.mcnemar(first | True, first & False)[0].high == 1  # no further than a difference can be


@given(st.integers(0, 60), st.integers(0, 60), st.integers(100, 500))
def test_mcnemar_decides_about_where_p_does_and_treats_both_alike(won, lost, same):
    first, second = (np.repeat([a, not a, True], [won, lost, same]) for a in (True, False))
    (found, p), (mirrored, same_p) = intervals.mcnemar(first, second), intervals.mcnemar(second, first)
    assert p == same_p and (found.verdict != "undecided" or p > 0.03) and (found.verdict == "undecided" or p < 0.08)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


@pytest.mark.parametrize("odds", [(0.06, 0.04, 0.9), (0.23, 0, 0.77), (0.5, 0.4, 0.1)])
def test_the_paired_interval_holds_the_truth_about_as_often_as_it_says(odds):
    drawn = np.random.default_rng(0).multinomial(200, odds, 2000)  # right by one, by the other, by both
    held = 0
    for (won, lost, same), times in zip(*np.unique(drawn, axis=0, return_counts=True)):
        found, _ = intervals.mcnemar(*(np.repeat([a, not a, True], [won, lost, same]) for a in (True, False)))
        held += times * (found.low <= odds[0] - odds[1] <= found.high)
    assert 0.935 < held / 2000 < 0.975
