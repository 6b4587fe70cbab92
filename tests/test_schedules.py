import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import recipes
from helpers.training import schedules
from helpers.training.schedules import (
    cosine,
    linear,
    one_cycle_plan,
    piecewise_plan,
    plateau_states,
    step_decay_plan,
)

rates = st.tuples(st.floats(0, 1), st.floats(1e-6, 1)).map(sorted)
steps = st.integers(3, 3000)
peaks = st.floats(0.01, 0.99)
eases = st.sampled_from([linear, cosine])
parts = st.lists(st.tuples(st.integers(1, 200), st.floats(0, 10)), min_size=1, max_size=6)


def optimizer(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def run(scheduler, count):
    seen = []
    for _ in range(count):
        seen.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


@given(steps, peaks, rates)
def test_one_cycle_rises_to_its_peak_and_falls_to_where_it_began(count, peak, bounds):
    low, high = bounds
    plan = one_cycle_plan(count, peak, low, high)
    at = schedules.peak_step(count, peak)
    assert len(plan) == count and 0 < at < count - 1
    assert plan[0] == plan[-1] == low and plan[at] == high  # exactly
    assert (plan >= low * (1 - 1e-12)).all() and (plan <= high * (1 + 1e-12)).all()
    assert (np.diff(plan[: at + 1]) >= -1e-15).all() and (np.diff(plan[at:]) <= 1e-15).all()


@given(steps, peaks, rates)
def test_one_cycle_has_no_jumps(count, peak, bounds):
    low, high = bounds
    plan, at = one_cycle_plan(count, peak, low, high), schedules.peak_step(count, peak)
    steepest = max((high - low) / at, (high - low) / (count - 1 - at))
    assert np.abs(np.diff(plan)).max() <= steepest * (1 + 1e-9) + 1e-15


def test_one_cycle_of_the_assignment_by_hand():
    """24 epochs of 98 steps, 0.04 → 0.4 → 0.04 with the peak where epoch 5 ends."""
    plan = one_cycle_plan(24 * 98, 5 / 24, 0.04, 0.4)
    assert np.argmax(plan) == 5 * 98
    assert plan[245] == pytest.approx(0.22) and plan[490] == 0.4 and plan[-1] == 0.04
    assert plan[490 + 1861 // 2] == pytest.approx(0.22, abs=1e-4)


@pytest.mark.parametrize("total, rising", [(101, 20), (49, 10), (3, 1)])
def test_one_cycle_equals_torch_where_torch_peaks_on_a_step(total, rising):
    """torch puts the peak at step pct_start × total − 1."""
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer(),
        max_lr=0.4,
        total_steps=total,
        pct_start=(rising + 1) / total,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=10,
        final_div_factor=1,
    )
    expected = run_without_last_step(theirs, total)
    ours = one_cycle_plan(total, rising / total, 0.04, 0.4)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def run_without_last_step(scheduler, total):
    return run(scheduler, total - 1) + [scheduler.optimizer.param_groups[0]["lr"]]


@given(st.integers(1, 50), rates)
def test_a_triangular_wave_of_knots_equals_torch(step_size, bounds):
    theirs = torch.optim.lr_scheduler.CyclicLR(optimizer(), *bounds, step_size_up=step_size, cycle_momentum=False)
    ours = piecewise_plan([(k * step_size, bounds[k % 2]) for k in range(7)])
    np.testing.assert_allclose(ours, run(theirs, 6 * step_size + 1), rtol=1e-9, atol=1e-12)


@given(st.floats(0, 10), parts, eases)
def test_a_piecewise_plan_goes_through_its_knots_and_has_no_jumps(first, parts, ease):
    at = np.cumsum([0] + [length for length, _ in parts])
    rates = np.array([first] + [rate for _, rate in parts])
    plan = piecewise_plan(list(zip(at.tolist(), rates.tolist())), ease)
    assert len(plan) == at[-1] + 1
    np.testing.assert_array_equal(plan[at], rates)  # exactly
    for start, stop, low, high in zip(at, at[1:], rates, rates[1:]):
        part, slack = plan[start : stop + 1], 1e-12 * max(low, high) + 1e-300
        assert part.min() >= min(low, high) - slack and part.max() <= max(low, high) + slack
        steepest = np.pi / 2 * abs(high - low) / (stop - start)  # of half a cosine, in its middle
        assert np.abs(np.diff(part)).max() <= steepest * (1 + 1e-9) + slack


@given(steps, peaks, rates)
def test_one_cycle_is_the_lower_of_two_straight_lines(count, peak, bounds):
    (low, high), at, step = bounds, schedules.peak_step(count, peak), np.arange(count)
    share = np.minimum(step / at, (count - 1 - step) / (count - 1 - at))
    expected = (1 - share) * low + share * high
    np.testing.assert_allclose(one_cycle_plan(count, peak, low, high), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("ease", [linear, cosine])
def test_eases_start_at_nothing_pass_the_middle_and_arrive(ease):
    assert [ease(0.0), ease(1.0)] == [0.0, 1.0] and ease(0.5) == pytest.approx(0.5)
    assert all(ease(share) + ease(1 - share) == pytest.approx(1) for share in np.linspace(0, 1, 11))


def test_cosine_equals_torch():
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer(0.3), T_max=40)
    np.testing.assert_allclose(piecewise_plan([(0, 0.3), (40, 0.0)], cosine), run(scheduler, 41), atol=1e-12)


def test_step_decay_by_hand():
    plan = step_decay_plan(7, cuts=[3, 6], max_lr=0.9, factor=1 / 3)
    np.testing.assert_allclose(plan, [0.9, 0.9, 0.9, 0.3, 0.3, 0.3, 0.1])
    np.testing.assert_allclose(step_decay_plan(3, cuts=[1, 1, 9], max_lr=0.4, factor=0.5), [0.4, 0.1, 0.1])
    np.testing.assert_array_equal(step_decay_plan(2, cuts=[], max_lr=0.4, factor=0.5), [0.4, 0.4])


def test_a_cycle_along_a_cosine_is_that_of_torch():
    """OneCycleLR peaks at step pct_start · N − 1 and ends at its first rate where final_div_factor is 1."""
    sgd = optimizer()
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        sgd, 0.0077, total_steps=48, pct_start=11 / 48, div_factor=8, final_div_factor=1, cycle_momentum=False
    )
    rates = run(theirs, 48)
    np.testing.assert_allclose(one_cycle_plan(48, 10 / 48, 0.0077 / 8, 0.0077, cosine), rates, rtol=1e-12)


def test_every_recipe_has_a_plan_of_its_steps_or_a_plateau():
    for recipe in recipes.RECIPES.values():
        plan = schedules.plan_of(recipe, 7)
        assert (plan is None) == (recipe.schedule == "plateau")
        if plan is not None:
            assert len(plan) == 7 * recipe.epochs and plan.max() == recipe.max_lr
    step = recipes.get("published-e-step")
    assert schedules.plan_of(step, 2)[[0, 19, 20, 39, 40]] == pytest.approx(step.max_lr / np.array([1, 1, 3, 3, 9]))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: piecewise_plan([(0, 0.1)]), "at least two steps"),
        (lambda: piecewise_plan([(1, 0.1), (2, 0.2)]), "rise from 0, not \\[1, 2\\]"),
        (lambda: piecewise_plan([(0, 0.1), (5, 0.2), (5, 0.3)]), "rise from 0"),
        (lambda: piecewise_plan([(0, 0.1), (5, -0.2)]), "at least 0"),
        (lambda: piecewise_plan([(0, 0.1), (5, float("nan"))]), "finite"),
    ],
)
def test_impossible_plans_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((2, 0.2, 0.1, 1.0), r"at least two steps that rise from 0, not \[0, 1, 1\]"),
        ((10, 1.2, 0.1, 1.0), "share of the run, at least 0 and below 1, not 1.2"),
        ((10, 0.2, 1.0, 0.1), "min_lr <= max_lr"),
        ((10, 0.2, -0.1, 0.1), "min_lr <= max_lr"),
    ],
)
def test_impossible_cycles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        one_cycle_plan(*arguments)


# few values, so that losses repeat and improve by more and by less than the threshold
watched = st.one_of(st.sampled_from([2.0, 1.0, 0.99995, 0.9999, 0.9, 0.0]), st.floats(0, 3), st.just(float("nan")))


@given(
    losses=st.lists(watched, max_size=30),
    max_lr=st.floats(1e-9, 1),
    factor=st.floats(0.05, 0.95),
    patience=st.integers(0, 4),
    floor=st.sampled_from([0.0, 1e-3, 0.5]),
)
def test_a_plateau_s_states_are_torch_s(losses, max_lr, factor, patience, floor):
    mover = optimizer(max_lr)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(mover, factor=factor, patience=patience, min_lr=floor)
    states = plateau_states(losses, max_lr, factor, patience, floor)
    assert len(states) == len(losses)
    for loss, state in zip(losses, states):
        assert state.lr == mover.param_groups[0]["lr"]
        theirs.step(loss)
        assert state.next_lr == mover.param_groups[0]["lr"] and state.best == theirs.best
        assert state.cut == (state.next_lr < state.lr)
        assert theirs.num_bad_epochs == (0 if state.bad > patience else state.bad)


def test_a_plateau_by_hand():
    """Patience 1: the second bad epoch in a row cuts; the third cut would fall below the floor and stops at it."""
    states = plateau_states([1.0, 0.9, 0.95, 0.89999, 0.8, 0.8, 0.8, 0.8, 0.8], 0.1, 0.5, 1, min_lr=0.02)
    assert [state.bad for state in states] == [
        0,
        0,
        1,
        2,
        0,
        1,
        2,
        1,
        2,
    ]  # 0.89999 is no improvement by a ten-thousandth
    assert [state.best for state in states] == [1.0, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8]
    assert [state.lr for state in states] == [0.1] * 4 + [0.05] * 3 + [0.025] * 2
    assert [index for index, state in enumerate(states) if state.cut] == [3, 6, 8] and states[-1].next_lr == 0.02
