import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import schedules
from helpers.schedules import PlannedLR, one_cycle, one_cycle_plan, step_decay_plan, triangular

rates = st.tuples(st.floats(0, 1), st.floats(1e-6, 1)).map(sorted)
steps = st.integers(3, 3000)
peaks = st.floats(0.01, 0.99)


def optimizer(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def two_groups():
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)], lr=5.0)


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
def test_triangular_wave_equals_torch(step_size, bounds):
    low, high = bounds
    theirs = torch.optim.lr_scheduler.CyclicLR(optimizer(), low, high, step_size_up=step_size, cycle_momentum=False)
    ours = [triangular(step, step_size, low, high) for step in range(6 * step_size + 1)]
    np.testing.assert_allclose(ours, run(theirs, 6 * step_size + 1), rtol=1e-9, atol=1e-12)


def test_step_decay_by_hand():
    plan = step_decay_plan(7, every=3, max_lr=0.9, factor=1 / 3)
    np.testing.assert_allclose(plan, [0.9, 0.9, 0.9, 0.3, 0.3, 0.3, 0.1])


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_planned_lr_trains_at_the_plan_bit_for_bit_and_keeps_its_last_rate(plan):
    scheduler = PlannedLR(optimizer(), np.array(plan))
    assert run(scheduler, len(plan)) == plan
    assert scheduler.optimizer.param_groups[0]["lr"] == plan[-1]


def test_planned_lr_sets_every_group_and_resumes():
    plan = one_cycle_plan(20, 0.3, 0.1, 1.0)
    first, second = (PlannedLR(two_groups(), plan) for _ in range(2))
    run(first, 8)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert [group["lr"] for group in second.optimizer.param_groups] == [plan[8]] * 2
    assert run(second, 12) == list(plan[8:])


def test_a_first_step_that_a_gradient_scaler_skips_is_no_mistake(recwarn):
    scheduler = PlannedLR(optimizer(), np.array([0.1, 0.2, 0.3]))
    scheduler.step()
    assert not [w for w in recwarn if "lr_scheduler.step" in str(w.message)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((2, 0.2, 0.1, 1.0), "at least 3 steps, not 2"),
        ((10, 1.2, 0.1, 1.0), "share of the run between 0 and 1, not 1.2"),
        ((10, 0.2, 1.0, 0.1), "min_lr <= max_lr"),
        ((10, 0.2, -0.1, 0.1), "min_lr <= max_lr"),
    ],
)
def test_impossible_cycles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        one_cycle_plan(*arguments)


def test_a_step_outside_the_plan_is_an_error_not_a_negative_rate():
    with pytest.raises(ValueError, match="step 10 is outside the plan, which ends at step 9"):
        one_cycle(10, 9, 3, 0.1, 1.0)


def test_a_rate_must_hold_for_a_step():
    with pytest.raises(ValueError, match="at least one step"):
        step_decay_plan(5, 0, 0.1, 0.5)
