import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rates.rate_curves import NAMES, Curve, Suggestions, Sweep, smooth, spread, step_noise, suggest, valley


def curve_of(losses, sweep=None, steps=None):
    sweep = sweep or Sweep(steps=steps or max(2, len(losses)))
    losses = np.asarray(losses, dtype=float)
    return Curve(sweep.rates()[: len(losses)], losses, np.linspace(0.1, 0.5, len(losses)), sweep)


def textbook(steps=100, noise=0.0, sweep=None):
    """Flat at 2.3, falling from 30 % of the sweep to 1.5 at 70 %, steepest at 50 %, then rising to 5."""
    position = np.linspace(0, 1, steps)
    fall = 0.4 * (1 + np.cos(np.pi * np.clip((position - 0.3) / 0.4, 0, 1))) + 1.5
    rise = 3.5 * np.clip((position - 0.7) / 0.3, 0, 1) ** 2
    return curve_of(fall + rise + noise * np.random.default_rng(0).normal(size=steps), sweep, steps)


def test_a_textbook_curve_is_read_as_drawn():
    """100 steps over five decades: the rate at a share p of the sweep is 1e-4 · 1e5^p."""
    found = suggest(textbook(noise=0.01))
    assert found.problems == ()
    for name, share in {"onset": 0.38, "steepest": 0.5, "minimum": 0.68, "divergence": 0.8}.items():
        assert getattr(found, name) == pytest.approx(1e-4 * 1e5**share, rel=0.45), name
    assert found.minimum_tenth == found.minimum / 10
    assert found.onset < found.steepest < found.minimum < found.divergence
    assert list(found.rates()) == list(NAMES)


def test_the_shares_of_the_fall_are_those_promised():
    """Straight down from 2.5 to 1.5 and slowly up again: a tenth of the fall is made, and half is lost, where drawn."""
    steps = 400
    losses = np.r_[np.full(50, 2.5), np.linspace(2.5, 1.5, 150), np.linspace(1.5, 2.5, 200)]
    found = suggest(curve_of(losses))
    rates = Sweep(steps=steps).rates()
    assert abs(int(np.searchsorted(rates, found.onset)) - (50 + 15)) <= 4
    assert abs(int(np.searchsorted(rates, found.divergence)) - (200 + 100)) <= 6


def test_linear_sweeps_are_read_in_their_own_rates():
    sweep = Sweep(0.001, 1.0, 200, "linear")
    found = suggest(textbook(200, 0.01, sweep))
    assert found.steepest == pytest.approx(0.5, abs=0.06) and found.minimum == pytest.approx(0.68, abs=0.06)


def test_smoothing_keeps_a_straight_line_and_its_slope():
    values, slopes = smooth(3 - 0.25 * np.arange(40))
    np.testing.assert_allclose(values, 3 - 0.25 * np.arange(40), atol=1e-9)
    np.testing.assert_allclose(slopes, -0.25, atol=1e-9)


def test_smoothing_equals_weighted_least_squares():
    losses = np.random.default_rng(1).normal(size=30)
    values, slopes = smooth(losses, 0.1)
    for at in (0, 11, 29):
        weights = np.exp(-0.5 * ((np.arange(30) - at) / 3) ** 2)
        slope, level = np.polyfit(np.arange(30) - at, losses, 1, w=np.sqrt(weights))
        assert values[at] == pytest.approx(level) and slopes[at] == pytest.approx(slope)


def test_smoothing_keeps_to_the_losses_nearby_where_they_leap():
    losses = np.r_[2.8, 2.7, 2.9, np.linspace(5, 12, 10), np.linspace(12, 2.2, 40), np.full(47, 2.2)]
    values = smooth(losses)[0]
    assert values[0] == 2.7  # the lowest of the first seven; a line alone would begin near 1
    assert values.min() >= 2.2 - 1e-9


@given(st.lists(st.floats(0, 100), min_size=2, max_size=60), st.floats(0.01, 0.3))
def test_smoothing_never_leaves_the_range_of_the_losses(losses, window):
    values = smooth(np.array(losses), window)[0]
    assert min(losses) <= values.min() and values.max() <= max(losses)


def test_smoothing_does_not_lag_as_a_running_average_does():
    clean, lagging = textbook().loss, [textbook().loss[0]]
    for loss in clean[1:]:
        lagging.append(0.05 * loss + 0.95 * lagging[-1])  # torch-lr-finder's default
    assert abs(int(np.gradient(smooth(clean)[0]).argmin()) - 50) <= 2
    assert int(np.gradient(lagging)[:80].argmin()) >= 60


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9))
def test_valley_is_the_middle_of_a_longest_falling_subsequence(values):
    values = np.array(values, dtype=float)
    subsets = ([i for i in range(len(values)) if choice >> i & 1] for choice in range(1, 2 ** len(values)))
    falls = [s for s in subsets if all(values[b] < values[a] for a, b in zip(s, s[1:]))]
    longest = max(map(len, falls))
    assert valley(values) in {s[(len(s) - 1) // 2] for s in falls if len(s) == longest}


def test_noise_is_the_scatter_around_a_slow_curve():
    losses = np.linspace(2, 1, 4000) + np.random.default_rng(0).normal(scale=0.3, size=4000)
    assert step_noise(losses) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    "losses, steps, words",
    [
        (np.linspace(2.3, 1.8, 8), 8, "too short"),
        ([2.3, 2.4, 9.0, np.nan], 100, "explodes at once"),
        (np.r_[np.linspace(2.3, 12, 20), np.inf], 100, "explodes at once"),
        (2.3 + 0.01 * np.random.default_rng(0).normal(size=100), 100, "flat"),
        (np.full(100, 2.3), 100, "flat"),
        (np.r_[np.full(60, 2.3), np.linspace(2.3, 40, 30)], 100, "hardly falls, or no more than it scatters"),
        (2.3 + 0.3 * np.random.default_rng(1).normal(size=100), 100, "flat"),
    ],
)
def test_what_cannot_be_read_gives_words_and_no_rates(losses, steps, words):
    found = suggest(curve_of(losses, steps=steps))
    assert found.rates() == {} and len(found.problems) == 1
    assert words in found.problems[0]


def returning(scale, low):
    """Falls from 2.3 to 1.8 in 40 steps, leaps to 9, comes back to `low` at step 80, and rises again."""
    corners = np.interp(np.arange(100), [0, 40, 55, 80, 99], [2.3, 1.8, 9, low, 3])
    return curve_of(corners, Sweep(0.001, 1.0, 100, scale))


def test_an_exponential_sweep_is_not_read_behind_its_explosion():
    found = suggest(returning("exp", 0.5))
    rates = Sweep(0.001, 1.0, 100).rates()
    assert rates[33] < found.minimum < rates[41] and rates[38] < found.divergence < rates[46]
    assert found.valley < found.minimum and found.problems == ()


def test_a_linear_sweep_is_read_to_its_end():
    rates = Sweep(0.001, 1.0, 100, "linear").rates()
    assert suggest(returning("linear", 0.5)).minimum == pytest.approx(rates[80], abs=0.03)


def test_a_linear_sweep_that_begins_with_a_leap_can_be_read():
    leap = np.interp(np.arange(120), [0, 2, 10, 30, 60, 119], [2.7, 2.7, 15, 2.5, 2.0, 2.6])
    found = suggest(curve_of(leap, Sweep(0.001, 1.5, 120, "linear")))
    assert found.minimum == pytest.approx(0.76, abs=0.05)


def test_an_explosion_is_named_by_the_rate_at_which_it_began():
    late = suggest(curve_of(np.r_[np.full(60, 2.3), np.linspace(2.3, 40, 30)], steps=100))
    assert any(f"by the rate {rate:.2g}:" in late.problems[0] for rate in Sweep().rates()[58:63])
    soon = suggest(curve_of(np.r_[np.linspace(2.3, 12, 20), np.inf], Sweep(0.1, 1, 100, "linear")))
    assert "lower start_lr, now 0.1, or raise diverge_at, now 4" in soon.problems[0]


def test_doubts_come_with_the_rates():
    falling = suggest(curve_of(np.linspace(2.3, 1.5, 100)))
    assert falling.divergence is None and falling.minimum == pytest.approx(10)
    assert "raise end_lr" in falling.problems[0]
    noisy = suggest(textbook(noise=0.4))
    assert noisy.rates() and any("noisy" in problem for problem in noisy.problems)


def test_a_net_that_answers_as_in_the_beginning_is_doubted():
    dead = dataclasses.replace(textbook(), accuracy=np.full(100, 0.1))
    assert any("learnt nothing" in problem for problem in suggest(dead).problems)


def test_a_sweep_cut_short_by_an_explosion_diverges_where_it_broke():
    losses = np.r_[np.linspace(2.3, 1.5, 40), np.nan]
    found = suggest(curve_of(losses, steps=100))
    assert found.divergence == pytest.approx(Sweep().rates()[39])
    assert found.problems == ()


@given(
    st.lists(st.one_of(st.floats(-1e3, 1e6), st.just(float("nan")), st.just(float("inf"))), min_size=1, max_size=60),
    st.sampled_from(["exp", "linear"]),
)
def test_any_curve_is_answered(losses, scale):
    sweep = Sweep(steps=max(2, len(losses)), scale=scale)
    found = suggest(curve_of(losses, sweep))
    assert found.rates() or found.problems
    rates = {name: rate for name, rate in found.rates().items() if name != "minimum_tenth"}
    assert all(1e-4 <= rate <= 10.0001 for rate in rates.values())
    if found.rates():
        assert found.onset <= found.minimum and found.steepest <= found.minimum


def test_spread_is_of_ratios():
    found = spread([Suggestions(steepest=0.1), Suggestions(steepest=0.4), Suggestions(problems=("flat",))])
    assert set(found) == {"steepest"}
    assert found["steepest"].middle == pytest.approx(0.2) and found["steepest"].ratio == pytest.approx(4)
    assert (found["steepest"].low, found["steepest"].high, found["steepest"].count) == (0.1, 0.4, 2)
    assert spread([]) == {}


def test_rates_of_a_sweep():
    np.testing.assert_allclose(Sweep(0.01, 1, 3).rates(), [0.01, 0.1, 1])
    np.testing.assert_allclose(Sweep(1, 3, 3, "linear").rates(), [1, 2, 3])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"start_lr": 0.0}, "0 < start_lr < end_lr"),
        ({"end_lr": 1e-5}, "0 < start_lr < end_lr"),
        ({"steps": 1}, "steps must be a whole number of at least 2"),
        ({"scale": "log"}, "allowed: exp, linear"),
        ({"diverge_at": 0.5}, "at least 1"),
    ],
)
def test_an_impossible_sweep_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(Sweep(), **change)
