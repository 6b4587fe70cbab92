"""Means, intervals, runs needed and paired nets; by hand, by scipy and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers.results import comparisons
from helpers.results.analysis import wilson
from helpers.results.comparisons import Difference

ACCURACIES = st.lists(st.floats(0.5, 1.0), min_size=2, max_size=12)


@pytest.mark.parametrize(
    "share, freedom, t", [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.995, 4, 4.6041), (0.95, 30, 1.6973), (0.5, 3, 0)]
)
def test_t_quantiles_are_those_of_the_printed_table(share, freedom, t):
    assert comparisons.t_quantile(share, freedom) == pytest.approx(t, abs=5e-5)


def test_summary_by_hand():
    found = comparisons.summarise([0.93, 0.94, 0.95])
    assert (found.count, found.mean, found.deviation) == (3, pytest.approx(0.94), pytest.approx(0.01))
    half = 4.302653 * 0.01 / math.sqrt(3)  # t of two degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.94 - half, 0.94 + half), abs=1e-8)
    assert str(found) == "94.00 ± 1.00 % (n = 3, 91.52 to 96.48)"


def test_a_single_run_is_called_one():
    found = comparisons.summarise([0.941])
    assert str(found) == "94.10 % (one run)" and math.isnan(found.deviation) and math.isnan(found.low)


def test_no_runs_have_no_mean():
    with pytest.raises(ValueError, match="at least one run"):
        comparisons.summarise([])


@given(ACCURACIES, st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_agree_with_scipy(values, level):
    found = comparisons.summarise(values, level)
    if np.ptp(values) > 1e-6:
        expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-8)
    assert found.low <= found.mean <= found.high


@given(ACCURACIES, ACCURACIES)
def test_differences_agree_with_scipy(first, second):
    found = comparisons.difference(first, second)
    if min(np.ptp(first), np.ptp(second)) > 1e-6:
        expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    mirrored = comparisons.difference(second, first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def test_verdicts():
    assert Difference(0.02, 0.01, 0.03, 3).verdict == "first"
    assert Difference(-0.02, -0.03, -0.01, 3).verdict == "second"
    assert Difference(0.02, -0.01, 0.05, 3).verdict == "undecided"
    alone = comparisons.difference([0.94], [0.93, 0.92])
    assert alone.verdict == "undecided" and str(alone) == "+1.50 points (too few runs for an interval)"
    assert str(Difference(0.002, -0.001, 0.005, 5)) == "+0.20 points (-0.10 to +0.50)"


@pytest.mark.parametrize("compare", [comparisons.difference, comparisons.paired_difference])
def test_two_runs_decide_nothing_even_where_they_agree(compare):
    found = compare([0.9, 0.9], [0.8, 0.8])
    assert (found.low, found.high) == pytest.approx((0.1, 0.1)) and found.count == 2 and found.verdict == "undecided"
    assert compare([0.9, 0.9, 0.9], [0.8, 0.8, 0.8]).verdict == "first"
    assert compare([0.9, 0.9, 0.9], [0.9, 0.9, 0.9]).verdict == "undecided"  # the interval is 0 alone


def test_the_side_with_fewer_runs_counts():
    found = comparisons.difference([0.9, 0.9001, 0.9002, 0.9003], [0.8, 0.8001])
    assert found.low > 0 and found.count == 2 and found.verdict == "undecided"
    assert comparisons.difference([0.9, 0.9001, 0.9002], [0.8, 0.8001, 0.8002, 0.8003]).count == 3
    assert comparisons.share_difference(wilson(56, 70), wilson(48, 80)).count == 70


def test_five_comparisons_at_95_percent_are_intervals_of_99():
    assert comparisons.level_of_each(5) == pytest.approx(0.99) and comparisons.level_of_each(1) == 0.95
    with pytest.raises(ValueError, match="at least this one comparison, not 0"):
        comparisons.level_of_each(0)


def test_a_correction_widens_to_student_s_t_of_its_level():
    gaps = [0.03, 0.01, 0.02, 0.02, 0.02]  # mean 0.02, deviation √(0.0002 / 4), error √(0.00005 / 5)
    found = comparisons.paired_difference(gaps, [0.0] * 5, comparisons=5)
    half = 4.604095 * math.sqrt(0.00001)  # t of four degrees of freedom, 99 %
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-8)
    first, second = [0.90, 0.91, 0.92], [0.89, 0.86, 0.88]
    one, corrected = comparisons.difference(first, second), comparisons.difference(first, second, comparisons=5)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.99)
    assert (corrected.low, corrected.high) == pytest.approx((expected.low, expected.high), abs=1e-7)
    assert corrected.low < one.low < one.high < corrected.high


def test_near_misses_among_five_do_not_survive_the_correction():
    half = {1: 2.776445, 5: 4.604095}  # t of four degrees of freedom, at 95 and at 99 %
    gaps = np.array([-2, -1, 0, 1, 2]) * math.sqrt(2)  # deviation √5, so that the error is 1
    for middle, decided in ((-5, (True, True)), (-4, (True, False)), (-2, (False, False))):
        for count, expected in zip((1, 5), decided):
            found = comparisons.paired_difference(gaps + middle, np.zeros(5), comparisons=count)
            assert found.high == pytest.approx(middle + half[count], abs=1e-5)
            assert (found.verdict == "second") == expected


def test_pairs_share_what_they_share():
    first, second = [0.90, 0.80, 0.70], [0.89, 0.79, 0.69]
    assert comparisons.difference(first, second).verdict == "undecided"  # the spread between seeds hides it
    found = comparisons.paired_difference(first, second)
    assert found.verdict == "first" and found.value == pytest.approx(0.01)
    with pytest.raises(ValueError, match="two equally long sequences, got 3 and 1"):
        comparisons.paired_difference(first, [0.9])


def power_of(runs, gap, deviation, draws=40_000):
    """Chance that Welch's interval at 95 % leaves 0 out, by simulation with scipy's quantiles."""
    rng = np.random.default_rng(runs)
    sides = [rng.normal(shift, deviation, (draws, runs)) for shift in (0, gap)]
    a, b = (side.var(1, ddof=1) / runs for side in sides)
    freedom = (a + b) ** 2 / ((a**2 + b**2) / (runs - 1))
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(a + b)
    return (np.abs(sides[1].mean(1) - sides[0].mean(1)) > reach).mean()


@pytest.mark.parametrize("gap, deviation", [(0.1, 0.15), (0.2, 0.15), (0.34, 0.15), (0.13, 0.15), (0.5, 0.15)])
def test_runs_needed_have_the_power_and_hardly_more(gap, deviation):
    runs = comparisons.runs_needed(gap, deviation)
    assert power_of(runs, gap, deviation) > 0.785
    assert power_of(runs - 2, gap, deviation) < 0.8
    assert comparisons.runs_needed(-gap, deviation) == runs


@pytest.mark.parametrize("runs", [3, 4, 5, 6, 7, 8, 20])
def test_the_gap_shown_is_shown_four_times_out_of_five(runs):
    assert power_of(runs, comparisons.gap_shown(runs, 0.15), 0.15) == pytest.approx(0.8, abs=0.02)


@given(st.floats(0.05, 2.0), st.floats(0.05, 1.0))
def test_the_gap_shown_is_the_reverse_of_the_runs_needed(gap, deviation):
    runs = comparisons.runs_needed(gap, deviation)
    assert comparisons.gap_shown(runs, deviation) <= gap * (1 + 1e-9)
    if runs > 3:
        assert comparisons.gap_shown(runs - 1, deviation) > gap * (1 - 1e-9)


@pytest.mark.parametrize("gap, deviation", [(0, 0.1), (0.1, -1), (0.1, comparisons.summarise([0.9]).deviation)])
def test_runs_needed_refuses_no_gap_and_no_spread(gap, deviation):
    for needed in (comparisons.runs_needed, comparisons.pairs_needed):
        with pytest.raises(ValueError, match="need a gap other than 0 and a deviation >= 0"):
            needed(gap, deviation)


@pytest.mark.parametrize("runs", [1, 2])
def test_fewer_than_three_runs_show_nothing(runs):
    with pytest.raises(ValueError, match=f"give at least 3, not {runs}"):
        comparisons.gap_shown(runs, 0.1)
    assert comparisons.runs_needed(100, 0.1) == comparisons.pairs_needed(100, 0.1) == 3


@pytest.mark.parametrize(
    "gap, deviation, pairs", [(0.5, 1, 34), (0.8, 1, 15), (-0.2, 0.25, 15), (1, 0.5, 5), (1, 0, 3)]
)
def test_pairs_needed_are_those_of_tables(gap, deviation, pairs):
    """Cohen's d of the differences 0.5, 0.8 and 2 need 34, 15 and 5 pairs (two-sided t-test, power 0.8)."""
    assert comparisons.pairs_needed(gap, deviation) == pairs


@pytest.mark.parametrize("gap, comparisons_made", [(0.1, 1), (0.2, 1), (0.2, 5), (0.5, 5)])
def test_pairs_needed_have_the_power_and_hardly_more(gap, comparisons_made):
    def shown(pairs):
        draws = np.random.default_rng(pairs).normal(gap, 0.15, (40_000, pairs))
        reach = stats.t.ppf(1 - 0.025 / comparisons_made, pairs - 1)
        return (draws.mean(1) * math.sqrt(pairs) / draws.std(1, ddof=1) > reach).mean()

    pairs = comparisons.pairs_needed(gap, 0.15, comparisons_made)
    assert shown(pairs) > 0.79 and (pairs == 3 or shown(pairs - 1) < 0.81)


def test_pairs_that_share_their_luck_need_fewer_runs():
    luck = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    first, second = 0.94 + luck, 0.93 + luck + np.array([0.002, -0.002, 0.0, 0.002, -0.002])
    apart, together = (comparisons.summarise(v).deviation for v in (first, first - second))
    assert comparisons.pairs_needed(0.01, together) == 3 < comparisons.runs_needed(0.01, apart)


def test_arrays_are_runs_too_and_what_is_no_number_is_not():
    assert comparisons.summarise(np.array([0.9, 0.8])) == comparisons.summarise([0.9, 0.8])
    assert comparisons.summarise(np.array([0.0])).mean == 0
    assert comparisons.difference(np.array([0.9, 0.8]), [0.7, 0.6]).value == pytest.approx(0.2)
    with pytest.raises(ValueError, match="finite numbers only"):
        comparisons.summarise([0.9, float("nan")])


def test_predicted_classes_are_no_right_answers_and_no_net_answers_other_images():
    with pytest.raises(ValueError, match="need whether each image was right, bool, got int64"):
        comparisons.pairing(np.array([3, 0]), np.array([3, 1]))
    with pytest.raises(ValueError, match="to the same images"):
        comparisons.agreement(np.zeros((4, 1)), np.zeros(4))


def test_pairing_by_hand():
    first = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    second = np.array([1, 1, 0, 0, 0, 0, 1, 0], bool)
    found = comparisons.pairing(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither, found.count) == (2, 4, 1, 1, 8)
    assert found.p == pytest.approx(2 * (1 + 5) / 32)  # five coins, at most one of them tails, or heads
    assert found.difference.value == pytest.approx(3 / 8)
    ends = 0.283582, 0.994949  # of the exact interval for 4 of 5, as tables have it
    expected = [(2 * end - 1) * 5 / 8 for end in ends]
    assert [found.difference.low, found.difference.high] == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 500))
def test_the_interval_of_a_pairing_is_scipy_s_and_agrees_with_p(won, lost, same):
    first = np.repeat([True, False, True], [won, lost, same])
    second = np.repeat([False, True, True], [won, lost, same])
    found = comparisons.pairing(first, second)
    if won + lost:
        ends = stats.binomtest(won, won + lost).proportion_ci(0.95)
        expected = [(2 * end - 1) * (won + lost) / len(first) for end in ends]
        assert [found.difference.low, found.difference.high] == pytest.approx(expected, abs=1e-9)
    assert (found.difference.verdict != "undecided") == (found.p < 0.05)


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 500))
def test_pairing_agrees_with_scipy(won, lost, same):
    first = np.repeat([True, False, True], [won, lost, same])
    second = np.repeat([False, True, True], [won, lost, same])
    found = comparisons.pairing(first, second)
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert comparisons.pairing(second, first).p == found.p


def test_the_paired_interval_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        kind = rng.choice(4, 1000, p=[0.8, 0.06, 0.04, 0.1])
        found = comparisons.pairing(kind <= 1, (kind == 0) | (kind == 2)).difference
        held += found.low <= 0.02 <= found.high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize("first, second", [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_pairing_needs_the_same_images(first, second):
    with pytest.raises(ValueError, match="on the same images"):
        comparisons.pairing(np.array(first, bool), np.array(second, bool))


def test_agreement_counts_equal_answers_right_or_wrong():
    found = comparisons.agreement([0, 1, 2, 2], [0, 1, 1, 2])
    assert (found.hits, found.count) == (3, 4)


HISTORY = [
    {"test_accuracy": 0.5, "ema_test_accuracy": 0.7, "seconds": 10.0},
    {"test_accuracy": 0.9, "ema_test_accuracy": 0.85, "seconds": 900.0},
    {"test_accuracy": 0.6, "ema_test_accuracy": 0.91, "seconds": 8.0},
]


@pytest.mark.parametrize("level, epoch, seconds", [(0.7, 1, 10), (0.71, 2, 20), (0.9, 3, 30), (0.95, None, None)])
def test_time_to_accuracy_counts_judged_weights_and_lets_no_busy_epoch_count_more(level, epoch, seconds):
    assert comparisons.epoch_reaching(HISTORY, level) == epoch
    assert comparisons.seconds_to(HISTORY, level) == seconds


def test_a_run_without_an_average_is_judged_by_its_raw_weights():
    rows = [{"test_accuracy": 0.5, "ema_test_accuracy": None, "seconds": 1.0}]
    assert comparisons.judged(rows[0]) == 0.5 and comparisons.seconds_to(rows, 0.5) == 1.0


def test_the_difference_of_two_shares_by_newcombe_s_own_example():
    """Newcombe 1998, table II, example (a): 56 of 70 and 48 of 80, method 10."""
    found = comparisons.share_difference(wilson(56, 70), wilson(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_side_without_errors_leaves_the_difference_open():
    found = comparisons.share_difference(wilson(1000, 1000), wilson(9_350, 10_000))
    assert found.low < 0.0605 and found.high > 0.0695  # a standard error of 0 for the first would give +-0.0048
    assert found.high - found.low > 2 * 1.96 * math.sqrt(0.935 * 0.065 / 10_000)
