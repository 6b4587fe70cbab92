"""The fast net and what it is trained with: whitening, Muon, dealt mirrors, small images, several views."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import data, models, recipes, training
from helpers.data import AlternatingFlip, DeviceLoader, Flip, Images, PadCrop, TrainLoader, augment
from helpers.devices import Compute
from helpers.training import Setting, State, schedules
from helpers.training.muon import Muon, orthogonalised

CPU = Compute("cpu", "fp32")


@pytest.fixture
def sprint():
    """The recipe on few steps of few channels."""
    changes = {"name": "short", "width": 8, "batch_size": 32, "epochs": 3, "small_epochs": 1, "logit_scale": 1 / 32}
    return dataclasses.replace(recipes.get("sprint"), **changes)


def random_images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# ---- the net


def test_speednet_is_the_net_of_airbench94_written_out():
    net = models.speednet(width=8)
    weights = iter(net.state_dict().values())

    def conv(x, pool=False):
        x = F.conv2d(x, next(weights), padding=1)
        x = F.max_pool2d(x, 2) if pool else x
        scale, shift, _, _, _ = (next(weights) for _ in range(5))
        return F.gelu(F.batch_norm(x, None, None, scale, shift, training=True, eps=1e-12))

    images = random_images(4, 3, 32, 32)
    x = F.gelu(F.conv2d(images, next(weights)))  # 24 × 31 × 31
    for _ in range(3):
        x = conv(conv(x, pool=True))
    expected = F.max_pool2d(x, 3).flatten(1) @ next(weights).T
    torch.testing.assert_close(net.train()(images), expected)
    assert net.eval()(images[..., :24, :24]).shape == (4, 10)


def test_its_size_and_arithmetic():
    net = models.speednet()
    assert models.count_parameters(net) == 1_971_328 + 24 * 12
    assert models.count_flops("speednet") == pytest.approx(2 * 118.15e6, rel=1e-3)
    assert net.head.weight.std().item() == pytest.approx(1)


@torch.no_grad()
def test_its_convolutions_begin_by_handing_on_what_they_get():
    conv = models.speednet(width=8).layer2[4]
    images = random_images(2, 32, 7, 7)
    torch.testing.assert_close(conv(images), images)


@torch.no_grad()
def test_whitened_patches_are_uncorrelated_and_of_equal_variance(tiny):
    images = torch.tensor(tiny.train.images).permute(0, 3, 1, 2) / 255 - 0.5
    net = models.speednet(width=8)
    models.whiten(net, images)
    assert not net.whiten[0].weight.requires_grad
    white = F.conv2d(images, net.whiten[0].weight).transpose(0, 1).flatten(1)
    torch.testing.assert_close(white[12:], -white[:12])
    moments = white[:12] @ white[:12].T / white.shape[1]
    flat = 1 - moments.diagonal()  # what was added to the variance shortens directions that have little
    assert (flat > -1e-4).all() and flat[-6:].max() < 0.2
    assert (moments - moments.diagonal().diag()).abs().max() < 1e-3


# ---- Muon


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_orthogonalising_keeps_the_singular_vectors_and_evens_the_values(shape):
    matrix = random_images(*shape)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalised(matrix, steps=5) @ right.T  # diagonal in the same bases
    diagonal = found.diagonal()
    torch.testing.assert_close(found, diagonal.diag(), atol=1e-4, rtol=0)
    assert diagonal.min() > 0.65 and diagonal.max() < 1.15 and values.max() / values.min() > 3


def test_steps_point_where_torch_s_muon_points():
    start, gradients = random_images(16, 5, 3, 3), random_images(4, 16, 5, 3, 3)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    muon = Muon([{"params": [ours], "orthogonal": True}], lr=0.1, momentum=0.6)
    muon.state[ours]["momentum_buffer"] = torch.zeros_like(ours)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0, momentum=0.6, nesterov=True, ns_steps=3)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient, gradient.flatten(1)
        before = ours.detach() * 4 / ours.detach().norm(), theirs.detach().clone()  # √16: the norm that a filter keeps
        muon.step()
        reference.step()
        moves = (ours.detach() - before[0]).flatten(), (theirs.detach() - before[1]).flatten()
        assert F.cosine_similarity(*moves, dim=0) > 0.999  # theirs computes in bf16


def test_other_groups_take_nesterov_s_steps_at_their_own_rates(sprint):
    model = models.speednet(width=8)
    optimizer = training.make_optimizer(model, sprint)
    reference = [
        torch.optim.SGD([weight.detach().clone().requires_grad_()], lr, momentum=sprint.momentum, nesterov=True)
        for weight, lr in ((model.head.weight, sprint.head_lr), (model.layer1[2].bias, sprint.shift_lr))
    ]
    for _ in range(3):
        model(random_images(4, 3, 32, 32)).square().mean().backward()
        for sgd, weight in zip(reference, (model.head.weight, model.layer1[2].bias)):
            sgd.param_groups[0]["params"][0].grad = weight.grad.clone()
            sgd.step()
        optimizer.step()
        optimizer.zero_grad()
    for sgd, weight in zip(reference, (model.head.weight, model.layer1[2].bias)):
        torch.testing.assert_close(weight, sgd.param_groups[0]["params"][0])


def test_every_group_follows_the_plan_by_its_share(sprint, tiny):
    setting = Setting.of(sprint, tiny, "full", 0, CPU)
    state = State(setting, 5)
    assert [len(group["params"]) for group in state.optimizer.param_groups] == [6, 1, 6]
    training.train_epoch(state, setting, setting.batches(tiny.train), 0)
    rates = [group["lr"] for group in state.optimizer.param_groups]
    assert rates == pytest.approx(state.plan[4] / sprint.max_lr * np.array([0.17, sprint.head_lr, sprint.shift_lr]))
    assert [lr for lr, _ in state.steps] == list(state.plan[:5])


# ---- images


def test_an_alternating_flip_mirrors_each_image_in_every_other_epoch():
    pixels = np.arange(32, dtype=np.uint8)[None, None, :, None] + np.zeros((200, 32, 1, 3), np.uint8)
    loader = DeviceLoader(Images(pixels, np.arange(200)), (AlternatingFlip(),), (0, 0, 0), 50)
    mirrored = np.empty((4, 200), bool)
    for epoch in range(4):
        for images, labels in loader.epoch(epoch):
            mirrored[epoch, labels] = (images[:, 0, 0, 0] == 31).numpy()
    assert (mirrored[1] == ~mirrored[0]).all() and (mirrored[2:] == mirrored[:2]).all()
    assert 70 < mirrored[0].sum() < 130


def test_the_loader_that_sees_one_image_at_a_time_refuses_it(tiny):
    with pytest.raises(ValueError, match="loader='device'"):
        TrainLoader(tiny.train, (AlternatingFlip(),), tiny.mean, 32)
    assert data.choose_path((PadCrop(2), AlternatingFlip()), CPU) == "device"
    assert data.choose_path((PadCrop(2), Flip()), CPU) == "albumentations"
    assert augment.from_list([{"transform": "AlternatingFlip"}]) == (AlternatingFlip(),)


def test_the_first_epochs_have_small_images(sprint, tiny):
    setting = Setting.of(sprint, tiny, "full", 0, CPU)
    state, sides = State(setting, 5), []
    state.model.register_forward_pre_hook(lambda net, inputs: sides.append(inputs[0].shape[-1]))
    for epoch in range(2):
        training.train_epoch(state, setting, setting.batches(tiny.train), epoch)
    assert sides == [24] * 5 + [32] * 5


def test_what_is_left_of_a_run_counts_small_epochs_as_cheaper(sprint, tiny, monkeypatch):
    story, seen = sys.modules["helpers.training.fit"], []  # the module; the package's `fit` is its function
    monkeypatch.setattr(story, "tell_when_done", lambda state, bar, left: seen.append(left))
    monkeypatch.setattr(story.tqdm, "update", lambda bar: setattr(bar, "n", bar.n + 3) or True)
    setting = Setting.of(dataclasses.replace(sprint, epochs=4, small_epochs=2), tiny, "full", 0, CPU)
    training.train_epoch(State(setting, 5), setting, setting.batches(tiny.train), 0)
    assert seen[0] == recipes.epoch_flops(setting.recipe) and seen[0][0] == seen[0][1] < seen[0][2] == seen[0][3]


def test_six_views_are_the_image_moved_and_mirrored():
    images = random_images(5, 3, 32, 32)
    found = training.six_views(images)
    assert len(found) == 6 and torch.equal(found[0], images)
    assert torch.equal(found[1][..., :31, :31], images[..., 1:, 1:])
    assert torch.equal(found[2][..., 1:, 1:], images[..., :31, :31])
    assert all(torch.equal(view.flip(3), mirrored) for view, mirrored in zip(found[:3], found[3:]))
    assert all(sum(shares) == 1 and len(shares) == 6 for shares in training.SHARES.values())


def test_the_record_has_accuracies_of_several_views(sprint, tiny, own_runs):
    fitted = training.fit(sprint, tiny, profile="full", compute=CPU, hidden=True)
    setting = Setting.of(sprint, tiny, "full", 0, CPU)
    logits = training.predict(fitted.model, tiny.test, setting.normalize)
    images = dataclasses.replace(tiny.test, images=tiny.test.images[:, :, ::-1].copy())
    both = logits + training.predict(fitted.model, images, setting.normalize)
    accuracy = (both.argmax(1).numpy() == tiny.test.labels).mean()
    assert fitted.record["mirrored_accuracy"] == pytest.approx(accuracy)
    assert fitted.record["test_accuracy"] == fitted.history[-1]["test_accuracy"]
    assert 0 <= fitted.record["six_view_accuracy"] <= 1


# ---- schedules


def test_a_peak_at_the_beginning_leaves_the_fall_alone():
    np.testing.assert_allclose(schedules.one_cycle_plan(5, 0, 0, 0.4), [0.4, 0.3, 0.2, 0.1, 0])


def test_rex_is_its_formula():
    left = 1 - np.linspace(0, 1, 11)
    np.testing.assert_allclose(schedules.one_cycle_plan(11, 0, 0, 1, schedules.rex), left / (1 / 2 + left / 2))


def test_stopped_and_started_again_a_run_ends_with_the_same_weights(sprint, tiny, tmp_path, monkeypatch):
    whole = training.fit(sprint, tiny, profile="full", compute=CPU, root=tmp_path / "whole", hidden=True)
    keep, kept = training.Run.keep, []

    def stopping(run, *state):
        keep(run, *state)
        kept.append(run)
        if len(kept) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Run, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        training.fit(sprint, tiny, profile="full", compute=CPU, root=tmp_path / "parts", hidden=True)
    again = training.fit(sprint, tiny, profile="full", compute=CPU, root=tmp_path / "parts", hidden=True)
    weights = zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
