"""Range tests: reading a curve, the sweep itself, a recipe's test, and what is kept and published."""

import contextlib
import copy
import dataclasses
import functools
import io
import json
import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from helpers import data, models, rates, recipes, training
from helpers.devices import Compute
from helpers.gradcam import cascade
from helpers.rates import NAMES, Curve, Sweep, range_test, smooth, suggest, sweeps
from helpers.rates.curves import step_noise, valley
from helpers.results import archive
from helpers.training import MovingAverage, Setting, train_step

# ---- reading a curve


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
    for name, share in {"steepest": 0.5, "minimum": 0.68, "divergence": 0.8}.items():
        assert getattr(found, name) == pytest.approx(1e-4 * 1e5**share, rel=0.45), name
    assert found.steepest < found.minimum < found.divergence
    assert list(found.rates()) == list(NAMES)


def test_it_explodes_where_half_of_the_fall_is_lost():
    """Straight down from 2.5 to 1.5 at step 200 and slowly up again, to 2.5 at step 400."""
    losses = np.r_[np.full(50, 2.5), np.linspace(2.5, 1.5, 150), np.linspace(1.5, 2.5, 200)]
    found = suggest(curve_of(losses))
    assert abs(int(np.searchsorted(Sweep(steps=400).rates(), found.divergence)) - (200 + 100)) <= 6


def test_linear_sweeps_are_read_in_their_own_rates():
    found = suggest(textbook(200, 0.01, Sweep(0.001, 1.0, 200, "linear")))
    assert found.steepest == pytest.approx(0.5, abs=0.06) and found.minimum == pytest.approx(0.68, abs=0.06)


def test_smoothing_keeps_a_straight_line():
    np.testing.assert_allclose(smooth(3 - 0.25 * np.arange(40)), 3 - 0.25 * np.arange(40), atol=1e-9)


def test_smoothing_equals_weighted_least_squares():
    """The normal equations, written out; 100 steps have a window of 3."""
    losses = np.random.default_rng(1).normal(size=100)
    values = smooth(losses)
    for at in (0, 11, 99):
        x = np.arange(100) - at
        w = np.exp(-0.5 * (x / 3) ** 2)
        matrix = [[w.sum(), (w * x).sum()], [(w * x).sum(), (w * x**2).sum()]]
        assert values[at] == pytest.approx(np.linalg.solve(matrix, [(w * losses).sum(), (w * x * losses).sum()])[0])


def test_smoothing_keeps_to_the_losses_nearby_where_they_leap():
    losses = np.r_[2.8, 2.7, 2.9, np.linspace(5, 12, 10), np.linspace(12, 2.2, 40), np.full(47, 2.2)]
    values = smooth(losses)
    assert values[0] == 2.7  # the lowest of the first seven; a line alone would begin near 1
    assert values.min() >= 2.2 - 1e-9


@given(st.lists(st.floats(0, 100), max_size=60))
def test_smoothing_never_leaves_the_range_of_the_losses(losses):
    values = smooth(np.array(losses))
    assert len(values) == len(losses)
    assert not losses or min(losses) <= values.min() and values.max() <= max(losses)


def test_smoothing_does_not_lag_as_a_running_average_does():
    clean, lagging = textbook().loss, [textbook().loss[0]]
    for loss in clean[1:]:
        lagging.append(0.05 * loss + 0.95 * lagging[-1])  # torch-lr-finder's default
    assert abs(int(np.gradient(smooth(clean)).argmin()) - 50) <= 2
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
        ([], 100, "explodes before it falls"),
        ([2.3, 2.4, 9.0], 100, "explodes before it falls"),
        (np.linspace(2.3, 12, 20), 100, "explodes before it falls"),
        (2.3 + 0.01 * np.random.default_rng(0).normal(size=100), 100, "flat"),
        (np.full(100, 2.3), 100, "flat"),
        (np.r_[np.full(60, 2.3), np.linspace(2.3, 40, 30)], 100, "explodes before it falls"),
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
    lrs = Sweep(0.001, 1.0, 100).rates()
    assert lrs[33] < found.minimum < lrs[41] and lrs[38] < found.divergence < lrs[46]
    assert found.valley < found.minimum and found.problems == ()


def test_a_linear_sweep_is_read_to_its_end():
    lrs = Sweep(0.001, 1.0, 100, "linear").rates()
    assert suggest(returning("linear", 0.5)).minimum == pytest.approx(lrs[80], abs=0.03)


def test_a_linear_sweep_that_begins_with_a_leap_can_be_read():
    leap = np.interp(np.arange(120), [0, 2, 10, 30, 60, 119], [2.7, 2.7, 15, 2.5, 2.0, 2.6])
    found = suggest(curve_of(leap, Sweep(0.001, 1.5, 120, "linear")))
    assert found.minimum == pytest.approx(0.76, abs=0.05)


def test_doubts_come_with_the_rates():
    falling = suggest(curve_of(np.linspace(2.3, 1.5, 100)))
    assert falling.divergence is None and falling.minimum == pytest.approx(10)
    assert "raise end_lr" in falling.problems[0]
    noisy = suggest(textbook(noise=0.4))
    assert noisy.rates() and any("noisy" in problem for problem in noisy.problems)
    dead = suggest(dataclasses.replace(textbook(), accuracy=np.full(100, 0.1)))
    assert dead.rates() and any("learnt nothing" in problem for problem in dead.problems)


def test_a_sweep_cut_short_by_an_explosion_diverges_where_it_broke():
    found = suggest(curve_of(np.linspace(2.3, 1.5, 40), steps=100))
    assert found.divergence == pytest.approx(Sweep().rates()[39])
    assert found.problems == ()


@given(st.lists(st.floats(-1e3, 1e6), max_size=60), st.sampled_from(["exp", "linear"]), st.integers(0, 1))
def test_any_curve_is_answered(losses, scale, missing):
    sweep = Sweep(steps=max(2, len(losses) + missing), scale=scale)
    found = suggest(curve_of(losses, sweep))
    assert found.rates() or found.problems
    assert all(1e-4 <= rate <= 10.0001 for rate in found.rates().values())
    assert not found.rates() or found.steepest <= found.minimum


def test_rates_and_names_of_sweeps():
    np.testing.assert_allclose(Sweep(0.01, 1, 3).rates(), [0.01, 0.1, 1])
    np.testing.assert_allclose(Sweep(1, 3, 3, "linear").rates(), [1, 2, 3])
    assert (Sweep().name, Sweep(0.01, 1.0, 50, "linear").name) == ("exp-0.0001-10-100", "linear-0.01-1-50")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"start_lr": 0.0}, "0 < start_lr < end_lr"),
        ({"end_lr": 1e-5}, "0 < start_lr < end_lr"),
        ({"steps": 1}, "must be larger than 1"),
        ({"scale": "log"}, "expected one of .exp, linear."),
    ],
)
def test_an_impossible_sweep_is_refused(change, words):
    line = nn.Linear(1, 2)
    with pytest.raises(ValueError, match=words):
        range_test(line, sgd(line), [(torch.ones(1, 1), torch.zeros(1, dtype=int))], Sweep(**change))


# ---- the sweep itself

FP32, BF16, FP16 = (Compute("cpu", precision, torch.contiguous_format) for precision in ("fp32", "bf16", "fp16"))
SHORT = Sweep(1e-3, 0.1, 7)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return models.davidnet(width=4)


def sgd(net, **changes):
    return torch.optim.SGD(net.parameters(), **{"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, **changes})


def batches(count=3, size=8):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator))
        for _ in range(count)
    ]


def four_times(logits, labels):
    """A loss whose first gradients overflow in fp16 under the scaler's first scale."""
    return F.cross_entropy(4 * logits, labels)


def by_hand(net, optimizer, sweep, compute=FP32, loss=F.cross_entropy, validation=None):
    """The range test in a dozen lines, on copies: rates, losses, accuracies, and whether the scaler skipped."""
    net, optimizer = copy.deepcopy((net, optimizer))
    scaler, points, skipped = torch.amp.GradScaler("cpu", enabled=compute.needs_scaler), [], []
    for step, lr in enumerate(sweep.rates()):
        images, labels = batches()[step % 3]
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        with compute.autocast():
            logits = net.train()(images)
        value, scale = loss(logits.float(), labels), scaler.get_scale()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        if validation is not None:
            images, labels = validation
            with torch.no_grad(), compute.autocast():
                logits = net.eval()(images)
            value = loss(logits.float(), labels)
        points.append((lr, value.item(), (logits.argmax(1) == labels).double().mean().item()))
        skipped.append(scaler.get_scale() < scale)
    return np.array(points).T, skipped


@pytest.mark.parametrize(
    "compute, scale, fused",
    [(FP32, "exp", False), (BF16, "linear", False), (FP16, "exp", False), (FP16, "linear", True)],
    ids=["fp32", "bf16", "fp16", "fp16 and fused"],
)
def test_equals_the_loop_written_out_and_warns_of_nothing(net, compute, scale, fused):
    sweep, started = Sweep(1e-3, 0.02, 7, scale), sgd(net, fused=fused)
    for weight in net.parameters():  # a fused step that is skipped would leave them as they were in memory
        started.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    expected, skipped = by_hand(net, started, sweep, compute, four_times)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = range_test(net, started, batches(), sweep, four_times, compute)
    np.testing.assert_allclose([curve.lr, curve.loss, curve.accuracy], expected, rtol=1e-6)
    assert curve.sweep == sweep
    assert (skipped[0] and not all(skipped)) if compute is FP16 else not any(skipped)


@pytest.mark.parametrize("compute", [FP32, BF16], ids=["fp32", "bf16"])
def test_validation_is_measured_after_each_step_in_the_same_format(net, compute):
    held_out = batches(1, size=20)[0]
    expected, _ = by_hand(net, sgd(net), SHORT, compute, validation=held_out)
    curve = range_test(net, sgd(net), batches(), SHORT, compute=compute, validation=held_out)
    np.testing.assert_allclose([curve.lr, curve.loss, curve.accuracy], expected, rtol=1e-5)


def test_validation_images_beyond_a_batch_are_weighted_alike(net):
    """A net of one weight: its loss on 1,001 images is their mean, although the last makes a batch of its own."""
    line = nn.Linear(1, 2)
    images, labels = torch.randn(1001, 1), torch.randint(0, 2, (1001,))
    images[-1] = 50
    curve = range_test(line, sgd(line), [(images, labels)], Sweep(1e-12, 1e-11, 2), validation=(images, labels))
    logits = line(images)
    assert curve.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert curve.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def used(net):
    """The net in eval mode and an optimizer with momentum and left-over gradients."""
    optimizer = sgd(net)
    images, labels = batches()[0]
    for _ in range(2):
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    net.eval()
    net.layer1.train()
    return optimizer


def test_starts_from_the_optimizers_momentum(net):
    optimizer = used(net)
    expected, _ = by_hand(net, optimizer, SHORT)
    np.testing.assert_allclose(range_test(net, optimizer, batches(), SHORT, compute=FP32).loss, expected[1], rtol=1e-6)
    assert not np.allclose(range_test(net, sgd(net), batches(), SHORT, compute=FP32).loss, expected[1], rtol=1e-4)


def by_closure(net):
    kept = []
    net.layer1.register_forward_hook(lambda module, given, output: kept.append(output))
    return kept


def on_the_module(net):
    net.layer1.register_forward_hook(lambda module, given, output: setattr(module, "output", output))


def in_a_list(net):
    net.kept = {"outputs": []}
    net.handle = net.layer1.register_forward_hook(lambda module, given, output: net.kept["outputs"].append(output))


class Recorder:
    def __init__(self, net):
        self.handle = net.layer1.register_forward_hook(self.keep)

    def keep(self, module, given, output):
        self.output = output


def by_partial(net):
    net.layer1.register_forward_hook(functools.partial(lambda kept, module, given, output: kept.append(output), []))


def as_a_buffer(net):
    net.layer1.register_buffer("last", None)
    net.layer1.register_forward_hook(lambda module, given, output: setattr(module, "last", output.mean()))


def with_a_weight_norm(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net.head)


def with_a_gradient_s_gradient(net):
    torch.autograd.grad(net(batches()[0][0]).sum(), list(net.parameters()), create_graph=True)
    net(batches()[0][0]).sum().backward(create_graph=True)


LEFT = [by_closure, on_the_module, in_a_list, Recorder, by_partial, as_a_buffer, with_a_weight_norm]
LEFT += [with_a_gradient_s_gradient]


@pytest.mark.parametrize("leave", LEFT, ids=lambda leave: leave.__name__)
def test_a_net_that_was_used_before_is_tested_like_a_new_one(net, leave):
    expected = range_test(net, sgd(net), batches(), SHORT, compute=FP32)
    leave(net.eval())
    net(batches()[0][0])  # leaves an output, with its graph
    before = {name: value.clone() for name, value in net.state_dict().items()}
    curve = range_test(net.train(), sgd(net), batches(), SHORT, compute=FP32)
    same = 1 if leave is with_a_weight_norm else None  # then other numbers are trained
    np.testing.assert_allclose(curve.loss[:same], expected.loss[:same], rtol=1e-5)
    assert all(map(torch.equal, net.state_dict().values(), before.values()))
    stages = [stage for stage, _ in cascade(net, ["layer3", "layer2"])]
    average = MovingAverage(net, 1)
    assert stages == ["layer3", "layer2"] and not any(p.requires_grad for p in average.module.parameters())


def test_other_tensors_are_still_copied_as_torch_copies_them():
    own = torch.Tensor.__deepcopy__
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ZeroDivisionError):
        models.copied([weight, Unwilling()])
    assert torch.Tensor.__deepcopy__ is own
    one, same = models.copied((weight, weight))
    assert one is same and one is not weight and isinstance(one, nn.Parameter) and one.is_leaf


class Unwilling:
    def __deepcopy__(self, memo):
        raise ZeroDivisionError


@contextlib.contextmanager
def doubles():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, doubles])
def test_whatever_the_caller_has_set_a_test_is_the_same(net, mode, narrow, few, monkeypatch, tmp_path):
    curves = [range_test(net, sgd(net), batches(), SHORT, compute=FP32), kept(narrow, few, sweep=SHORT)]
    monkeypatch.setenv("RUNS_ROOT", str(tmp_path / "others"))
    given = batches()
    with mode():
        again = [range_test(net, sgd(net), given, SHORT, compute=FP32), kept(narrow, few, sweep=SHORT)]
    for curve, other in zip(curves, again):
        np.testing.assert_array_equal(curve.loss, other.loss)


def test_a_net_made_in_inference_mode_can_be_tested(net):
    expected, given = range_test(net, sgd(net), batches(), SHORT, compute=FP32), batches()
    with torch.inference_mode():
        made = copy.deepcopy(net)
        curve = range_test(made, sgd(made), given, SHORT, compute=FP32)
    np.testing.assert_array_equal(curve.loss, expected.loss)


def test_any_optimizer_may_be_tested_and_keeps_its_betas(net):
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.8, 0.99))
    curve = range_test(net, optimizer, batches(), SHORT, compute=FP32)
    np.testing.assert_allclose(curve.lr, SHORT.rates())
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.99) and not optimizer.state


def test_a_recipe_of_three_rates_has_no_range_test(few):
    with pytest.raises(ValueError, match="sprint has three: choose a recipe with SGD"):
        rates.of_recipe("sprint", few, profile="smoke")


def test_a_sweep_and_a_seed_may_be_numpy_s(narrow, few, own_runs):
    sweep = Sweep(np.float32(0.25), np.float64(0.5), np.int64(2))
    for _ in range(2):
        curve = kept(narrow, few, sweep=sweep, seed=np.arange(2)[1])
        assert curve.lr.tolist() == [0.25, 0.5]
    (path,) = own_runs.rglob("*.json")
    assert path.name == "exp-0.25-0.5-2-seed-1.json"


class Snapshot:
    """Everything a range test might disturb, as it is now."""

    def __init__(self, net, optimizer):
        self.net, self.optimizer = net, optimizer
        self.before = self.now()

    def now(self):
        tensors = [tensor.clone() for tensor in self.net.state_dict().values()]
        momenta = [s["momentum_buffer"].clone() for s in self.optimizer.state.values() if "momentum_buffer" in s]
        grads = [p.grad.clone() for p in self.net.parameters() if p.grad is not None]
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        names = (sorted(vars(self.optimizer)), sorted(vars(self.net)), [m.training for m in self.net.modules()])
        hooks = [len(m._forward_hooks) for m in self.net.modules()]
        plain = (groups, names, hooks, torch.backends.cudnn.deterministic)
        return [*tensors, *momenta, *grads, torch.get_rng_state()], plain

    def check(self):
        (tensors, plain), (tensors_now, plain_now) = self.before, self.now()
        assert plain == plain_now
        assert len(tensors) == len(tensors_now)
        assert all(torch.equal(a, b) for a, b in zip(tensors, tensors_now))


def drawing(given):
    """The same batches, which draw random numbers on their way."""
    for batch in given:
        torch.rand(5)
        yield batch


@pytest.mark.parametrize("validation", [None, batches(1)[0]], ids=["training batches", "held-out images"])
def test_gives_everything_back_bit_for_bit(net, validation):
    snapshot = Snapshot(net, used(net))
    range_test(net, snapshot.optimizer, drawing(batches() * 3), SHORT, compute=FP32, validation=validation)
    snapshot.check()


@pytest.mark.parametrize("after", [0, 3])
def test_gives_everything_back_after_an_error(net, after):
    def broken():
        yield from drawing(batches(after))
        raise OSError("the disk is gone")

    snapshot = Snapshot(net, used(net))
    with pytest.raises(OSError, match="the disk is gone"):
        range_test(net, snapshot.optimizer, broken(), SHORT, compute=FP32)
    snapshot.check()


def test_ends_before_the_loss_that_is_no_number(net):
    curve = range_test(net, sgd(net), batches(), Sweep(1.0, 1e30, 60), compute=FP32)
    assert 0 < len(curve.lr) == len(curve.loss) == len(curve.accuracy) < 60 and np.isfinite(curve.loss).all()
    broken = range_test(net, sgd(net), batches(), SHORT, lambda logits, _: logits.sum() * math.nan, FP32)
    assert len(broken.loss) == 0 and "explodes before it falls" in suggest(broken).problems[0]


def test_ends_where_the_loss_has_multiplied(net):
    patient = range_test(net, sgd(net), batches(), Sweep(1e-2, 1e3, 40, diverge_at=1e9), compute=FP32)
    hasty = range_test(net, sgd(net), batches(), Sweep(1e-2, 1e3, 40, diverge_at=1.5), compute=FP32)
    assert len(hasty.lr) < len(patient.lr)


def test_the_finder_says_nothing_but_for_its_bar(net):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        range_test(net, sgd(net), batches(), SHORT, compute=FP32)
    assert out.getvalue() == "" and "7/7" in err.getvalue()


# ---- of a recipe


@pytest.fixture
def narrow():
    return recipes.get("davidnet-onecycle-plus", {"width": 4, "batch_size": 8})


@pytest.fixture(scope="module")
def few(tiny):
    """24 training images: fp16 convolutions take their time on most CPUs."""
    return tiny.subset(24, 5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_takes_the_steps_of_the_training_itself(precision, narrow, few, monkeypatch):
    """A sweep whose rates a training is planned to have sees the losses that the training sees."""
    monkeypatch.setenv("HELPERS_PRECISION", precision)
    sweep = Sweep(0.001, 0.02, 5)
    curve = rates.of_recipe(narrow, few, profile="full", seed=3, sweep=sweep)
    setting = Setting.of(narrow, few, "full", 3)
    loader = setting.batches(setting.splits()["train"])
    state = training.State(setting, len(loader))
    state.model.train()
    state.plan, losses = sweep.rates(), []
    for images, labels in [*loader.epoch(0), *loader.epoch(1)][: sweep.steps]:
        losses.append(train_step(state, setting.normalize(images), labels, setting.recipe, setting.compute)[0].item())
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-5)
    assert curve.about == f"{narrow.name}, Shapes-10, seed 3"


def test_the_profile_sets_the_length_and_the_seed_the_start(narrow, few, own_runs):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (rates.of_recipe(narrow, few, profile="smoke", seed=s) for s in (0, 1))
    shutil.rmtree(own_runs)
    again = rates.of_recipe(narrow, few, profile="smoke")
    assert torch.equal(torch.rand(3), expected)  # the caller's randomness is left alone
    assert len(first.lr) == 20 and first.lr[0] == 1e-4
    assert np.array_equal(first.loss, again.loss) and not np.array_equal(first.loss[:5], second.loss[:5])


def test_unknown_recipe(tiny):
    with pytest.raises(ValueError, match="unknown recipe"):
        rates.of_recipe("davidnet", tiny, profile="smoke")


# ---- what is kept and published


@pytest.fixture
def measured(monkeypatch):
    """Settings that were swept, without training: a textbook curve comes of each, a step longer for each seed."""
    calls = []

    def instead(model, optimizer, batches, sweep, loss, compute):
        losses = textbook(18, 0.01).loss[: sweep.steps]
        return Curve(sweep.rates()[: len(losses)], losses + len(calls) / 100, np.linspace(0, 0.5, len(losses)), sweep)

    real = sweeps._measured
    monkeypatch.setattr(sweeps, "range_test", instead)
    monkeypatch.setattr(sweeps, "_measured", lambda *asked: calls.append(asked) or real(*asked))
    return calls


def kept(recipe, data, **changes):
    return rates.of_recipe(recipe, data, **{"profile": "smoke", "sweep": Sweep(1e-3, 1.0, 18), **changes})


def test_a_test_is_made_once_and_comes_back_as_it_was(narrow, few, own_runs):
    first, again = (kept(narrow, few, sweep=SHORT) for _ in range(2))
    np.testing.assert_array_equal([again.lr, again.loss, again.accuracy], [first.lr, first.loss, first.accuracy])
    assert again.about == first.about and again.sweep == SHORT
    (path,) = own_runs.rglob("*.json")
    assert path == own_runs / f"shapes10/smoke/{narrow.name}/range-tests/{SHORT.name}-seed-0.json"
    found = json.loads(path.read_text())
    assert found["device"].startswith("cpu") and found["commit"] and found["versions"]["torch"]


def test_another_setting_makes_another_test(narrow, tiny, measured):
    kept(narrow, tiny)
    kept(narrow, tiny, seed=1)
    kept(narrow, tiny, sweep=Sweep(1e-3, 1.0, 17))
    kept(recipes.get("davidnet-onecycle-plus", {"width": 4, "momentum": 0.0, "nesterov": False}), tiny)
    kept(narrow, tiny.subset(100, 60))
    kept(narrow, tiny.subset(100, 60))
    relabelled = data.Images(tiny.train.images, (tiny.train.labels + 1) % 10)
    kept(narrow, dataclasses.replace(tiny, train=relabelled))
    assert len(measured) == 6


def test_published_curves_are_those_of_the_store(narrow, tiny, own_runs, tmp_path, measured):
    cifar10, sweep, path = dataclasses.replace(tiny, name="cifar10"), Sweep(1e-3, 1.0, 18), tmp_path / "curves.csv"
    for seed in (1, 0):
        kept(narrow, cifar10, seed=seed)
    assert list(sweeps.stored(own_runs)) == []  # only full ones are published
    for one in own_runs.rglob("*-seed-0.json"):  # as a file manager copies
        shutil.copy(one, one.with_stem(one.stem + " (1)"))
    (own_runs / "cifar10/smoke").rename(own_runs / "cifar10/full")  # as if they were
    for _ in range(2):  # a second publication replaces the rows
        archive.merged(path, sweeps.stored(own_runs)).to_csv(path, index=False)
    (own_runs / "cifar10/full").rename(own_runs / "cifar10/smoke")
    back = rates.published(narrow.name, sweep, path)
    assert [curve.about[-6:] for curve in back] == ["seed 0", "seed 1"]
    for seed, curve in enumerate(back):
        np.testing.assert_allclose(curve.loss, kept(narrow, cifar10, seed=seed).loss)
    assert rates.published(narrow.name, Sweep(), path) == [] == rates.published("x", sweep, path)


LINEAR = Sweep(0.001, 1.5, 200, "linear")
READ = {  # of every seed the steps that were taken, and at which of them steepest, valley, minimum and divergence lie
    ("davidnet-onecycle", Sweep()): [
        *([100, 1, 14, 29, 37], [81, 2, 14, 29, 35], [78, 1, 15, 30, 37], [99, 2, 14, 28, 34], [77, 2, 15, 30, 36]),
    ],
    ("davidnet-onecycle", LINEAR): [[200, 27, 72, 134, 195], [15], [191, 28, 79, 164, 178]],
    ("resnet18-plateau", Sweep()): [
        *([100, 30, 19, 39, 47], [100, 29, 20, 40, 48], [100, 32, 20, 40, 48], [100, 21, 19, 39, 47]),
        [100, 33, 19, 39, 47],
    ],
    ("resnet18-plateau", LINEAR): [[200, 22, 79, 134], [200, 28, 72, 165], [200, 23, 71, 160]],
}


@pytest.mark.parametrize("recipe, sweep", READ, ids=lambda one: getattr(one, "scale", one))
def test_published_curves_are_read_as_ever(recipe, sweep):
    curves = rates.published(recipe, sweep)
    places = [[list(curve.lr).index(rate) for rate in suggest(curve).rates().values()] for curve in curves]
    assert [[len(curve.lr), *found] for curve, found in zip(curves, places)] == READ[recipe, sweep]


def test_a_damaged_file_is_named_and_says_what_to_do(narrow, tiny, own_runs, measured):
    kept(narrow, tiny)
    (path,) = own_runs.glob("**/range-tests/*.json")
    for damage in ("", "[1]", '{"lr": [1'):
        path.write_text(damage)
        with pytest.raises(training.RunError, match=f"{path.name} .*delete it to make this range test anew"):
            kept(narrow, tiny)
