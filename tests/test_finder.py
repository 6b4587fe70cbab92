import contextlib
import copy
import io
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import models
from helpers.devices import Compute
from helpers.rates.finder import _copies, range_test
from helpers.rates.rate_curves import Sweep

FP32 = Compute("cpu", "fp32", torch.contiguous_format)
BF16 = Compute("cpu", "bf16")
SHORT = Sweep(1e-3, 0.1, 7)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return models.davidnet(width=8)


def sgd(net, **changes):
    return torch.optim.SGD(net.parameters(), **{"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, **changes})


def batches(count=3, size=16):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator))
        for _ in range(count)
    ]


def by_hand(net, optimizer, given, sweep, compute=FP32, validation=None):
    """The range test in ten lines, on copies."""
    net, optimizer = copy.deepcopy((net, optimizer))
    points = []
    for step, lr in enumerate(sweep.rates()):
        images, labels = given[step % len(given)]
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        with compute.autocast():
            logits = net.train()(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        if validation is not None:
            with torch.no_grad():
                logits = net.eval()(torch.cat([images for images, _ in validation]))
            labels = torch.cat([labels for _, labels in validation])
            loss = F.cross_entropy(logits, labels)
        points.append((lr, loss.item(), (logits.argmax(1) == labels).double().mean().item()))
    return np.array(points).T


@pytest.mark.parametrize("compute", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("scale", ["exp", "linear"])
def test_equals_the_loop_written_out(net, scale, compute):
    sweep = Sweep(1e-3, 0.1, 7, scale)
    expected = by_hand(net, sgd(net), batches(), sweep, compute)
    curve = range_test(net, sgd(net), batches(), sweep, compute=compute)
    np.testing.assert_allclose([curve.lr, curve.loss, curve.accuracy], expected, rtol=1e-6)


def test_validation_is_measured_after_each_step(net):
    held_out = batches(2, size=20)
    expected = by_hand(net, sgd(net), batches(), SHORT, validation=held_out)
    curve = range_test(net, sgd(net), batches(), SHORT, validation=held_out, compute=FP32)
    np.testing.assert_allclose([curve.lr, curve.loss, curve.accuracy], expected, rtol=1e-5)


def test_starts_from_the_optimizers_momentum(net):
    optimizer = sgd(net)
    images, labels = batches()[0]
    F.cross_entropy(net(images), labels).backward()
    optimizer.step()
    expected = by_hand(net, optimizer, batches(), SHORT)
    curve = range_test(net, optimizer, batches(), SHORT, compute=FP32)
    np.testing.assert_allclose(curve.loss, expected[1], rtol=1e-6)
    fresh = range_test(net, sgd(net), batches(), SHORT, compute=FP32)
    assert not np.allclose(fresh.loss, expected[1], rtol=1e-4)


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
        names = (sorted(vars(self.optimizer)), [m.training for m in self.net.modules()])
        hooks = [len(m._forward_hooks) for m in self.net.modules()]
        return [*tensors, *momenta, *grads, torch.get_rng_state()], (groups, names, hooks, random.getstate())

    def check(self):
        (tensors, plain), (tensors_now, plain_now) = self.before, self.now()
        assert plain == plain_now
        assert len(tensors) == len(tensors_now)
        assert all(torch.equal(a, b) for a, b in zip(tensors, tensors_now))


def used(net):
    """The net in eval mode and an optimizer with momentum, a scheduler and left-over gradients."""
    optimizer = sgd(net)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    images, labels = batches()[0]
    for _ in range(2):
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
        scheduler.step()
    net.eval()
    net.layer1.train()
    return optimizer


def test_gives_everything_back_bit_for_bit(net):
    snapshot = Snapshot(net, used(net))
    numbers = np.random.get_state()[1].copy()
    range_test(net, snapshot.optimizer, batches(), SHORT, validation=batches(1), compute=FP32)
    snapshot.check()
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_a_copied_fused_optimizer_still_skips_steps_by_itself(net):
    """What torch's deepcopy forgets: on cards without bf16 the scaler would else leave out its first step."""
    scaler = torch.amp.GradScaler("cpu")
    copied_net, copied = _copies(net, sgd(net, fused=True))
    steps = []
    copied.register_step_post_hook(lambda *_: steps.append(1))
    scaler.scale(copied_net(batches()[0][0]).sum() * float("inf")).backward()
    scaler.step(copied)
    assert steps == [1]
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), copied_net.parameters()))


@pytest.mark.parametrize("after", [0, 3])
def test_gives_everything_back_after_an_error(net, after):
    def broken():
        yield from batches(after)
        torch.rand(5), random.random()
        raise OSError("the disk is gone")

    snapshot = Snapshot(net, used(net))
    with pytest.raises(OSError, match="the disk is gone"):
        range_test(net, snapshot.optimizer, broken(), SHORT, compute=FP32)
    snapshot.check()


def test_ends_where_the_loss_is_no_longer_a_number(net):
    sweep = Sweep(1.0, 1e30, 60)
    curve = range_test(net, sgd(net), batches(), sweep, compute=FP32)
    assert len(curve.lr) < 60 and len(curve.lr) == len(curve.loss) == len(curve.accuracy)
    assert curve.finite >= len(curve.loss) - 2  # the finder needs a step to notice


def test_ends_where_the_loss_has_multiplied(net):
    patient = range_test(net, sgd(net), batches(), Sweep(1e-2, 1e3, 40, diverge_at=1e9), compute=FP32)
    hasty = range_test(net, sgd(net), batches(), Sweep(1e-2, 1e3, 40, diverge_at=1.5), compute=FP32)
    assert len(hasty.lr) < len(patient.lr)


def test_batches_that_cannot_be_begun_again_are_named(net):
    for given in ([], (batch for batch in batches(2))):
        with pytest.raises(ValueError, match="cannot be begun again"):
            range_test(net, sgd(net), given, SHORT, compute=FP32)


def test_no_images_to_validate_on_is_an_error(net):
    with pytest.raises(ValueError, match="validation"):
        range_test(net, sgd(net), batches(), SHORT, validation=[], compute=FP32)


def test_the_finder_says_nothing_and_its_bar_is_given_back(net):
    import torch_lr_finder.lr_finder

    its_own = torch_lr_finder.lr_finder.tqdm
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        range_test(net, sgd(net), batches(), SHORT, compute=FP32)
    assert err.getvalue() == "" and "range test" in out.getvalue() and "finished" not in out.getvalue()
    assert torch_lr_finder.lr_finder.tqdm is its_own


def test_loss_may_be_any(net):
    class Halved(nn.Module):
        def forward(self, logits, labels):
            return F.cross_entropy(logits, labels) / 2

    whole = range_test(net, sgd(net), batches(), Sweep(1e-9, 1e-8, 3), compute=FP32)
    half = range_test(net, sgd(net), batches(), Sweep(1e-9, 1e-8, 3), loss=Halved(), compute=FP32)
    np.testing.assert_allclose(whole.loss, 2 * half.loss, rtol=1e-4)
