import copy
import dataclasses
import sys

import pytest
import torch
from conftest import tiny_data
from torch.nn import functional as F

from helpers import data, models, recipes
from helpers.data import Normalize, TrainLoader, eval_batches
from helpers.devices import Compute
from helpers.training import (
    MovingAverage,
    Setting,
    State,
    TrainingDiverged,
    evaluate,
    predict,
    train_epoch,
    train_step,
)
from helpers.training.fit import epoch_line, progress_bar
from helpers.training.schedules import one_cycle_plan
from helpers.training.state import start_momentum

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
FP32 = Compute("cpu", "fp32", CONTIGUOUS)


def setting_of(recipe, dataset=None, compute=FP32):
    return Setting(recipe, dataset or tiny_data(), "full", 0, compute)


def state_of(recipe, steps_per_epoch=5, compute=FP32):
    return State(setting_of(recipe, compute=compute), steps_per_epoch)


def batch(size=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def test_one_step_equals_nesterov_sgd_written_out(small_recipe):
    """Sutskever et al. 2013 in PyTorch's form: v ← μv + g + λw;  w ← w − η(g + λw + μv)."""
    recipe = dataclasses.replace(small_recipe, weight_decay=0.01, max_lr=0.1, min_lr=0.05, label_smoothing=0.2)
    state = state_of(recipe)
    net = copy.deepcopy(state.model).train()
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    for step, lr in enumerate(one_cycle_plan(15, recipe.peak, 0.05, 0.1)[:3]):
        images, labels = batch(seed=step)
        target = 0.8 * F.one_hot(labels, 10) + 0.2 / 10
        expected_loss = -(target * F.log_softmax(net(images) / 8, 1)).sum(1).mean()
        grads = torch.autograd.grad(expected_loss, list(net.parameters()))
        with torch.no_grad():
            for w, g, v in zip(net.parameters(), grads, velocity):
                v.mul_(0.9).add_(g + 0.01 * w)
                w.sub_(lr * (g + 0.01 * w + 0.9 * v))
        state.model.train()
        loss, logits = train_step(state, images, labels, recipe, FP32)
        torch.testing.assert_close(loss, expected_loss.detach())
        assert logits.shape == (12, 10) and not logits.requires_grad
    for ours, byhand in zip(state.model.parameters(), net.parameters()):
        torch.testing.assert_close(ours, byhand, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in state.model.parameters())


def test_the_rate_trained_at_is_the_planned_one(small_recipe, tiny):
    loader = TrainLoader(tiny.train, [], tiny.mean, 32)
    state = state_of(small_recipe, len(loader))
    for epoch in range(3):
        train_epoch(state, setting_of(small_recipe, tiny), loader, epoch)
    plan = one_cycle_plan(15, small_recipe.peak, small_recipe.min_lr, small_recipe.max_lr)
    assert [lr for lr, _ in state.steps] == plan.tolist()
    assert {momentum for _, momentum in state.steps} == {0.9}


def test_the_average_is_a_moving_average_of_weights_and_buffers(small_recipe):
    state = state_of(dataclasses.replace(small_recipe, ema_epochs=2.0), steps_per_epoch=5)  # a horizon of 10 steps
    assert (state.average.every, state.average.decay) == (1, 0.9)
    expected = copy.deepcopy(state.model.state_dict())
    state.model.train()
    for step, decay in enumerate((1 / 2, 2 / 3, 3 / 4, 4 / 5)):  # on its way to 0.9: all weights so far count alike
        train_step(state, *batch(seed=step), small_recipe, FP32)
        now = state.model.state_dict()
        expected = {k: decay * expected[k] + (1 - decay) * now[k] if "num" not in k else now[k] for k in now}
    averaged = state.average.module.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(averaged[key], value)
    assert any("running_var" in key for key in expected)
    assert not any(p.requires_grad for p in state.average.module.parameters())


def average_of(horizon, warmup=2):
    return MovingAverage(torch.nn.Linear(1, 1), horizon, warmup)


def lag(average: MovingAverage, updates: int) -> float:
    """How many updates behind a steadily rising weight its average is; decay / (1 − decay) in the end."""
    net = torch.nn.Linear(1, 1).double()
    average.module.double()
    torch.nn.init.constant_(average.module.weight, 0.0)
    for now in range(1, updates + 1):
        torch.nn.init.constant_(net.weight, now)
        average.update(net)
    return updates - average.module.weight.item()


def test_the_average_looks_back_over_its_horizon_in_the_end_and_over_all_before():
    assert lag(average_of(10), 200) == pytest.approx(9, rel=1e-6)
    assert lag(average_of(500), 20) == pytest.approx(10)  # a decay of 0.99: the mean of 0 to 20
    assert lag(average_of(500, warmup=10), 200) < 20  # a tenth of the run so far


@pytest.mark.parametrize("horizon", [1, 2, 3, 5, 8, 15, 24])
def test_a_horizon_of_k_epochs_is_reached_within_the_first_k(horizon):
    """As DavidNet runs it: 24 epochs of 98 steps. Larger horizons look further back in the end."""
    average = average_of(horizon * 98)
    updates = 98 * horizon // average.every
    average.updates = updates - 1  # of the last update within these epochs
    assert average.present_decay == average.decay
    average.updates = updates // 2
    assert average.present_decay < average.decay
    slow = average_of(horizon * 98, warmup=10)
    slow.updates = 24 * 98 // slow.every - 1
    assert (slow.present_decay == slow.decay) == (horizon <= 2)  # with a warm-up of 10, longer ones are never reached


def test_horizons_differ_in_what_they_average():
    """Three horizons that once gave the same average, since none was reached in 24 epochs."""
    ends = []
    for horizon in (3, 5, 15):
        average = average_of(horizon * 98)
        ends.append(average.every * lag(average, 24 * 98 // average.every) / 98)
    assert ends == pytest.approx([2.95, 4.90, 10.86], abs=0.01)  # epochs; the last one has only begun to forget


@pytest.mark.parametrize("horizon, every, decay", [(500, 5, 0.99), (50, 5, 0.9), (49, 1, 1 - 1 / 49), (0.5, 1, 0.0)])
def test_the_average_s_horizon(horizon, every, decay):
    average = average_of(horizon)
    assert average.every == every and average.decay == pytest.approx(decay)


def test_a_plateau_cuts_the_rate_when_the_watched_loss_stalls():
    recipe = dataclasses.replace(recipes.get("resnet18-plateau"), width=8, patience=1, factor=0.5, max_lr=0.1)
    state, rates = state_of(recipe), []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.8, 0.8, 0.8):  # best .9; two bad → cut; best .8; two bad → cut
        state.plateau.step(loss)
        rates.append(state.optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025]


def test_an_l1_term_pulls_every_weight_by_its_sign(small_recipe):
    plain = dataclasses.replace(small_recipe, momentum=0.0, nesterov=False, weight_decay=0.0)
    states = [state_of(dataclasses.replace(plain, l1=l1)) for l1 in (0.0, 1e-3)]
    before = states[0].model.state_dict()
    first = {name: value.clone() for name, value in before.items()}
    losses = [
        train_step(state, *batch(), plain if i == 0 else dataclasses.replace(plain, l1=1e-3), FP32)[0].item()
        for i, state in enumerate(states)
    ]
    size = sum(first[name].abs().sum().item() for name, _ in states[0].model.named_parameters())
    assert losses[1] - losses[0] == pytest.approx(1e-3 * size, rel=1e-4)
    lr = states[0].steps[0][0]
    after = [dict(state.model.named_parameters()) for state in states]
    for name in after[0]:
        torch.testing.assert_close(
            after[1][name], after[0][name] - lr * 1e-3 * first[name].sign(), rtol=1e-4, atol=1e-7
        )


def test_a_loss_that_is_not_a_number_ends_the_run_with_advice(small_recipe, tiny):
    loader = TrainLoader(tiny.train, [], tiny.mean, 32)
    state = state_of(small_recipe, len(loader))
    with torch.no_grad():
        state.model.head.weight.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match="the loss became nan by step 5, at a learning rate of .*max_lr"):
        train_epoch(state, setting_of(small_recipe, tiny), loader, 0)


def test_evaluation_weighs_by_images_whatever_the_batches(tiny, monkeypatch):
    torch.manual_seed(0)
    net, normalize = models.davidnet(width=8), Normalize(tiny.mean, tiny.std, FP32)
    monkeypatch.setattr(data, "eval_batches", lambda split: eval_batches(split, 7))  # 60 images: the last has 4
    logits = predict(net, tiny.test, normalize)
    labels = torch.tensor(tiny.test.labels)
    with torch.no_grad():
        whole = net.eval()(normalize(torch.tensor(tiny.test.images)))
    torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-5)
    loss, accuracy = evaluate(net, tiny.test, normalize, logit_scale=0.5)
    assert loss == pytest.approx(F.cross_entropy(whole * 0.5, labels).item(), rel=1e-4)
    assert accuracy == pytest.approx((whole.argmax(1) == labels).float().mean().item())


def test_evaluation_gives_back_mode_and_buffers_even_after_an_error(tiny):
    net, normalize = models.davidnet(width=8).train(), Normalize(tiny.mean, tiny.std, FP32)
    net.prep.eval()  # as somebody does who freezes BatchNorm
    modes = [module.training for module in net.modules()]
    before = copy.deepcopy(net.state_dict())
    predict(net, tiny.test, normalize)
    with pytest.raises(AttributeError):
        predict(net, None, normalize)
    assert [module.training for module in net.modules()] == modes and net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_long_average_moves_on_every_few_steps(small_recipe):
    recipe = dataclasses.replace(small_recipe, ema_epochs=10.0, epochs=4)
    state = state_of(recipe, steps_per_epoch=5)  # a horizon of 50 steps
    for _ in range(12):
        train_step(state, *batch(4), recipe, FP32)
    assert state.average.updates == 2


def test_an_epoch_s_means_weigh_by_samples(small_recipe, tiny, monkeypatch):
    seen = []

    def noted(state, images, labels, *rest):
        loss, logits = train_step(state, images, labels, *rest)
        seen.append((loss.item(), (logits.argmax(1) == labels).sum().item(), len(labels)))
        return loss, logits

    monkeypatch.setattr(sys.modules["helpers.training.fit"], "train_step", noted)
    loader = TrainLoader(tiny.train, [], tiny.mean, 110)
    row = train_epoch(state_of(small_recipe), setting_of(small_recipe, tiny), loader, 0)
    losses, right, counts = zip(*seen)
    assert counts == (110, 40) and row["train_accuracy"] == sum(right) / 150
    assert row["train_loss"] == pytest.approx((110 * losses[0] + 40 * losses[1]) / 150)


def test_the_bar_reads_the_device_at_most_once_a_second(monkeypatch):
    now = [0.0]
    bar = progress_bar(0, 1, 100, hidden=False)
    monkeypatch.setattr(bar, "_time", lambda: now[0])
    bar.last_print_t = bar.start_t = 0.0
    reads = 0
    for _ in range(100):
        now[0] += 0.1
        reads += bool(bar.update())
    bar.close()
    assert 5 <= reads <= 10


def test_batch_jobs_let_the_bar_refresh_more_rarely(monkeypatch):
    monkeypatch.setenv("TQDM_MININTERVAL", "60")
    assert progress_bar(0, 1, 100, hidden=False).mininterval == 60
    monkeypatch.setenv("TQDM_MININTERVAL", "0.1")
    assert progress_bar(0, 1, 100, hidden=False).mininterval == 1


class Watched(TrainLoader):
    """Batches that note whether kernels repeat while they are used."""

    def epoch(self, epoch):
        self.seen = []
        for made in super().epoch(epoch):
            self.seen.append(torch.backends.cudnn.deterministic)
            yield made


def test_an_epoch_trains_with_kernels_that_repeat(small_recipe, tiny):
    loader = Watched(tiny.test, [], tiny.mean, 30)
    train_epoch(state_of(small_recipe), setting_of(small_recipe, tiny), loader, 0)
    assert loader.seen == [True, True] and not torch.backends.cudnn.deterministic


def test_an_epoch_s_line_says_what_was_measured():
    row = {"epoch": 3, "lr": 0.25, "train_loss": 0.5, "train_accuracy": 0.81234, "val_loss": None}
    row |= {"test_loss": 0.75, "test_accuracy": 0.7, "ema_test_accuracy": 0.8, "seconds": 12.3}
    said = "epoch  3/24  rate 0.25     train 0.500 81.23%  test 0.750 70.00%  averaged 80.00%  12 s"
    assert epoch_line(row, 24) == said


def test_a_first_step_that_the_scaler_skips_leaves_no_trace_in_fused_sgd(small_recipe):
    """As on a CUDA card without bf16: the scaler starts high and skips the steps whose gradients overflow."""
    weights, scalers = [torch.nn.Linear(40, 30) for _ in range(2)], [torch.amp.GradScaler("cpu") for _ in range(2)]
    weights[1].load_state_dict(weights[0].state_dict())
    plain, fused = (torch.optim.SGD(w.parameters(), 0.1, momentum=0.9, fused=f) for w, f in zip(weights, (None, True)))
    start_momentum(fused)
    for factor in (float("inf"), 1.0, 2.0):
        for layer, scaler, optimizer in zip(weights, scalers, (plain, fused)):
            scaler.scale(layer(torch.ones(3, 40)).sum() * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    torch.testing.assert_close(*(layer.weight.detach() for layer in weights))
    assert torch.isfinite(weights[0].weight).all() and (fused.state[weights[1].bias]["momentum_buffer"] != 0).all()


def test_a_resumed_optimizer_is_fused_where_this_device_wants_it(small_recipe):
    states = [state_of(small_recipe) for _ in range(2)]
    states[0].history.append({"epoch": 1})
    saved = states[0].saved()
    for group in saved["optimizer"]["param_groups"]:
        group["fused"] = True  # as from a run that began on CUDA
    states[1].restore(saved)
    assert {group["fused"] for group in states[1].optimizer.param_groups} == {None}


def test_momenta_begin_at_zero_in_the_layout_of_their_weights(small_recipe):
    """A fused step on CUDA refuses others, and a skipped first step would leave them unset."""
    recipe = dataclasses.replace(small_recipe, width=16)
    state = state_of(recipe, compute=Compute("cpu", "fp32", CHANNELS_LAST))
    assert not state.model.layer2[0].weight.is_contiguous()
    for weight in state.model.parameters():
        momentum = state.optimizer.state[weight]["momentum_buffer"]
        assert not momentum.any() and momentum.stride() == weight.stride()
