"""The number path of a T4, on the CPU: fp16 autocast, a gradient scaler, and the steps it skips."""

import copy
import dataclasses
import sys

import numpy as np
import pytest
import torch
from test_fit import stop_at, untimed
from torch.nn import functional as F

from helpers import devices
from helpers.data import Dataset
from helpers.devices import Compute
from helpers.recipes import Recipe
from helpers.training import (
    Setting,
    State,
    TrainingDiverged,
    fit,
    run_directory,
    run_of,
    train_epoch,
    train_step,
)
from helpers.training.schedules import one_cycle_plan
from helpers.training.state import start_momentum

story = sys.modules["helpers.training.fit"]  # the module; the package's `fit` is its function

FP16, FP32 = (Compute("cpu", precision, torch.contiguous_format) for precision in ("fp16", "fp32"))
FIRST_SCALE = 2.0**16  # GradScaler's; far too high for logits that are scaled up by 4
STEPS = 9  # three epochs of three


@pytest.fixture(scope="module")
def few(tiny: Dataset) -> Dataset:
    """24 training and 5 test images: fp16 convolutions take their time on most CPUs."""
    return tiny.subset(24, 5)


@pytest.fixture
def recipe(small_recipe: Recipe) -> Recipe:
    """Three epochs of three steps, whose first gradients overflow in fp16."""
    return dataclasses.replace(small_recipe, width=4, batch_size=8, logit_scale=4.0, max_lr=0.004, min_lr=0.001)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 3, 32, 32, generator=generator), torch.randint(0, 10, (8,), generator=generator)


def state_of(recipe: Recipe, few: Dataset, fused: bool = False) -> State:
    """A state in fp16; `fused` as on CUDA, where the optimizer itself leaves a step out."""
    state = State(Setting(recipe, few, "full", 0, FP16), 3)
    if fused:
        defaults = {**state.optimizer.defaults, "fused": True, "foreach": False}
        state.optimizer = torch.optim.SGD(state.model.parameters(), **defaults)
        start_momentum(state.optimizer)
    state.model.train()
    return state


def momenta(state: State) -> list[torch.Tensor]:
    kept = (state.optimizer.state[weight].get("momentum_buffer") for weight in state.model.parameters())
    return [momentum.clone() for momentum in kept if momentum is not None]


def same(left, right) -> bool:
    """Whether two checkpoints, or parts of them, are equal to the last bit."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


# ---- steps


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused as on CUDA"])
def test_steps_equal_scaled_nesterov_sgd_written_out(recipe, few, fused):
    """Skip a step whose scaled gradients overflow and halve the scale; double it after two good steps in a row."""
    state = state_of(recipe, few, fused)
    state.scaler.set_growth_interval(2)
    net, scale, good, skipped = copy.deepcopy(state.model), FIRST_SCALE, 0, []
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    for step, lr in enumerate(one_cycle_plan(STEPS, recipe.peak, recipe.min_lr, recipe.max_lr)):
        images, labels = batch(seed=step)
        net.load_state_dict(state.model.state_dict())  # step by step, as fp16 soon turns a last digit into a first
        with torch.autocast("cpu", dtype=torch.float16):
            logits = net(images)
        loss = F.cross_entropy(logits.float() * 4, labels, label_smoothing=recipe.label_smoothing)
        grads = torch.autograd.grad(loss * scale, list(net.parameters()))
        if all(g.isfinite().all() for g in grads):
            with torch.no_grad():
                for w, g, v in zip(net.parameters(), grads, velocity):
                    decayed = g / scale + recipe.weight_decay * w
                    v.mul_(0.9).add_(decayed)
                    w.sub_(lr * (decayed + 0.9 * v))
            good += 1
        else:
            skipped.append(step)
            scale, good = scale / 2, 0
        if good == 2:
            scale, good = scale * 2, 0
        assert train_step(state, images, labels, recipe, FP16)[0] == pytest.approx(loss.item(), rel=1e-5)
        assert (state.scaler.get_scale(), state.scaler._get_growth_tracker()) == (scale, good)
        for ours, byhand in zip(state.model.parameters(), net.parameters(), strict=True):
            torch.testing.assert_close(ours, byhand, rtol=1e-5, atol=1e-7)
    assert 0 in skipped and len(skipped) < STEPS - 2


@pytest.mark.parametrize("before", [0, 1], ids=["the first step", "a later step"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused as on CUDA"])
def test_a_skipped_step_changes_no_weight_and_no_momentum_and_all_else_moves_on(recipe, few, fused, before):
    state = state_of(recipe, few, fused)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)  # low enough for the good step
    if before:
        train_step(state, *batch(0), recipe, FP16)
    weights, kept, averaged = (copy.deepcopy(part) for part in (state.model, momenta(state), state.average.module))
    hook = state.model.head.bias.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
    train_step(state, *batch(before), recipe, FP16)
    hook.remove()
    assert same(list(weights.parameters()), list(state.model.parameters())) and same(kept, momenta(state))
    assert state.scaler.get_scale() == 32.0 and state.scaler._get_growth_tracker() == 0
    plan = one_cycle_plan(STEPS, recipe.peak, recipe.min_lr, recipe.max_lr).tolist()
    assert [lr for lr, _ in state.steps] == plan[: before + 1]
    decay = (1 + before) / (2 + before)
    assert state.average.updates == before + 1
    for name, value in state.average.module.state_dict().items():
        if value.is_floating_point():
            now = state.model.state_dict()[name]
            torch.testing.assert_close(value, decay * averaged.state_dict()[name] + (1 - decay) * now)
    train_step(state, *batch(before + 1), recipe, FP16)  # and the next is taken, from the momentum as it was
    assert not any(map(torch.equal, weights.parameters(), state.model.parameters()))
    assert all(w.isfinite().all() for w in [*state.model.parameters(), *momenta(state)])


def test_activations_beyond_fp16_are_a_divergence_and_leave_the_weights(recipe, few):
    """A loss that is no number: fp32 would go on with it, fp16 says so and takes no step."""
    few = few.subset(8, 5)
    setting, state = Setting(recipe, few, "full", 0, FP16), state_of(recipe, few)
    with torch.no_grad():
        state.model.head.bias[0] = 1e5
        assert state.model(setting.normalize(torch.tensor(few.train.images))).isfinite().all()
    before = copy.deepcopy(list(state.model.parameters()))
    with pytest.raises(TrainingDiverged, match="the loss became (nan|inf) by step 1, at a learning rate of"):
        train_epoch(state, setting, setting.batches(few.train), 0)
    assert same(before, list(state.model.parameters())) and state.scaler.get_scale() == FIRST_SCALE / 2


# ---- runs


def test_a_run_learns_and_its_record_names_the_format(recipe, few):
    recipe = dataclasses.replace(recipe, epochs=5, label_smoothing=0.0, transforms=())
    fitted = fit(recipe, few, profile="full", compute=FP16, hidden=True)
    run, losses = run_of(fitted.record), [row["train_loss"] for row in fitted.history]
    assert np.isfinite(losses).all() and losses[-1] < losses[0] * 2 / 3
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())
    assert {weight.dtype for weight in fitted.model.parameters()} == {torch.float32}
    assert run.checkpoint()["scaler"]["scale"] < FIRST_SCALE  # steps were skipped, and are in the plan all the same
    plan = one_cycle_plan(15, recipe.peak, recipe.min_lr, recipe.max_lr)
    assert run.checkpoint()["steps"][:, 0].tolist() == plan.tolist()
    assert run.checkpoint()["average"]["updates"] == 15
    assert fitted.record["device"].endswith(", fp16") and run.record()["device"] == fitted.record["device"]


def test_stopped_within_an_epoch_a_run_continues_bit_for_bit(recipe, few, monkeypatch, tmp_path):
    undisturbed = fit(recipe, few, profile="full", seed=1, root=tmp_path / "undisturbed", compute=FP16, hidden=True)
    taken = []

    def step_or_stop(*arguments):
        if len(taken) == 7:
            raise KeyboardInterrupt
        taken.append(train_step(*arguments))
        return taken[-1]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(story, "train_step", step_or_stop)
        fit(recipe, few, profile="full", seed=1, compute=FP16, hidden=True)
    run, whole = (run_directory("shapes10", "full", "small", 1, *root) for root in ((), (tmp_path / "undisturbed",)))
    begun = run.checkpoint()["scaler"]
    assert begun["scale"] < FIRST_SCALE and begun["_growth_tracker"] > 0  # lost, either would show in the end
    again = fit(recipe, few, profile="full", seed=1, compute=FP16, hidden=True)
    left, right = ({**side.checkpoint(), "history": None} for side in (run, whole))
    assert same(left, right) and left["scaler"]["_growth_tracker"] > begun["_growth_tracker"]
    assert untimed(again.history) == untimed(undisturbed.history)
    assert (run.path / "steps.csv").read_text() == (whole.path / "steps.csv").read_text()
    assert untimed([again.record]) == untimed([undisturbed.record])


@pytest.mark.parametrize("first, then", [(FP16, FP32), (FP32, FP16)], ids=["fp16 to fp32", "fp32 to fp16"])
def test_a_run_goes_on_in_another_format(first, then, recipe, few, monkeypatch):
    """As when a T4 takes over from a CPU, or the other way round."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("checkpoint.pt", 2, patch)
        fit(recipe, few, profile="full", compute=first, hidden=True)
    fitted = fit(recipe, few, profile="full", compute=then, hidden=True)
    checkpoint = run_of(fitted.record).checkpoint()
    assert len(fitted.history) == 3 and len(checkpoint["steps"]) == STEPS
    assert bool(checkpoint["scaler"]) == then.needs_scaler
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())
    assert fitted.record["device"] == f"{first.describe()}, then {then.describe()}"


# ---- the choice


def test_a_cpu_takes_fp16_only_where_it_is_asked_for(monkeypatch):
    assert devices.compute("cpu", "fp16") == Compute("cpu", "fp16") and FP16.needs_scaler
    for fast in (False, True):
        monkeypatch.setattr(devices, "_cpu_computes_bf16", lambda fast=fast: fast)
        assert devices.compute("cpu").precision == ("bf16" if fast else "fp32")
    monkeypatch.setenv("HELPERS_PRECISION", "fp16")
    assert devices.compute("cpu").precision == "fp16"
