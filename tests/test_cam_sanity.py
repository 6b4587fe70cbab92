"""Parameter randomisation: what it leaves alone, what it changes, and similarities against other libraries."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from helpers import models
from helpers.gradcam import sanity as cam_sanity
from helpers.gradcam.maps import GradCAM

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ORDER = ["head", "layer3", "layer2", "layer1", "prep"]


def net(width=8):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.davidnet(width=width)
        model(IMAGES)  # moves BatchNorm's statistics
    return model


def predicted(model):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(IMAGES).argmax(1)


def changed(first, second):
    """Names of the children whose weights differ."""
    return [name for name, child in first.named_children() if not same(child, second.get_submodule(name))]


def same(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


# ---- the cascade


def test_stages_are_randomised_from_the_head_down_and_stay_so():
    model = net()
    before, random = copy.deepcopy(model), torch.get_rng_state()
    steps = [(stage, changed(before, now)) for stage, now in cam_sanity.cascade(model)]
    assert [stage for stage, _ in steps] == ORDER
    assert [set(names) for _, names in steps] == [set(ORDER[: count + 1]) for count in range(5)]
    assert same(model, before) and torch.equal(random, torch.get_rng_state())


def test_in_the_end_the_net_is_a_new_one():
    *_, (_, last) = cam_sanity.cascade(net())
    fresh = models.davidnet(width=8)
    for (name, ours), theirs in zip(last.state_dict().items(), fresh.state_dict().values()):
        if ours.ndim > 1:  # convolutions and the head
            assert not torch.equal(ours, theirs)
            assert ours.std() == pytest.approx(theirs.std().item(), rel=0.2), name
        elif ".1." in name or ".2." in name:  # BatchNorm: ones, zeros, statistics of nothing
            assert torch.equal(ours, theirs), name


def test_cascades_repeat_and_differ_by_seed():
    first, again, other = (
        [copy.deepcopy(now) for _, now in cam_sanity.cascade(net(), ["head", "prep"], seed)] for seed in (1, 1, 2)
    )
    assert all(map(same, first, again)) and not any(map(same, first, other))


def test_stages_of_one_s_own_choice():
    model = net()
    steps = [(stage, changed(model, now)) for stage, now in cam_sanity.cascade(model, ["layer2", "layer3.1"])]
    assert steps == [("layer2", ["layer2"]), ("layer3.1", ["layer2", "layer3"])]


def test_stages_that_cannot_be_randomised():
    with pytest.raises(ValueError, match="no stage 'layer9'; it has prep, layer1, layer2, layer3, head"):
        list(cam_sanity.cascade(net(), ["layer9"]))
    model = net()
    model.layer2.register_parameter("own", nn.Parameter(torch.ones(3)))
    with pytest.raises(ValueError, match="cannot randomise layer2: layer2, a Sequential, has no reset_parameters"):
        list(cam_sanity.cascade(model, ["layer2"]))


# ---- the check


def test_randomisation_of_two_layers():
    model = net()
    model.layer1.eval()
    modes, before = [module.training for module in model.modules()], copy.deepcopy(model)
    found = cam_sanity.randomisation(GradCAM(model, ["layer1", "layer2"], "layercam"), IMAGES, predicted(model))
    assert list(found) == ["layer1", "layer2"]
    for check in found.values():
        assert [row.stage for row in check.rows] == ["nothing", *ORDER]
        for row in (*check.rows, check.chance):
            assert row.spearman.shape == (4,) and abs(row.spearman).max() <= 1 + 1e-9
        np.testing.assert_allclose(check.rows[0].spearman, 1)
        assert check.rows[-1].spearman.mean() < 0.9
        assert check.chance.spearman.mean() < 0.9
    assert same(model, before) and [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled() and not any(module._forward_hooks for module in model.modules())


def test_maps_are_compared_for_the_same_targets():
    model = net()
    cam, targets = GradCAM(model, "layer2"), predicted(model)
    check = cam_sanity.randomisation(cam, IMAGES, targets.tolist(), stages=["head"])["layer2"]
    ((_, forgetful),) = cam_sanity.cascade(model, ["head"])
    first = cam(IMAGES, targets, upsample=False)["layer2"]
    second = GradCAM(forgetful, "layer2")(IMAGES, targets, upsample=False)["layer2"]
    np.testing.assert_allclose(check.rows[1].spearman, cam_sanity.spearman(first, second), atol=1e-6)
    other = torch.roll(first, 1, 0)
    np.testing.assert_allclose(check.chance.spearman, cam_sanity.spearman(first, other), atol=1e-6)


def test_a_method_that_ignores_the_net_survives(monkeypatch):
    monkeypatch.setitem(cam_sanity.gradcam.METHODS, "edges", lambda a, g: IMAGES.mean(1)[:, ::2, ::2])
    check = cam_sanity.randomisation(GradCAM(net(), "layer1", "edges"), IMAGES, [0, 1, 2, 3])["layer1"]
    for row in check.rows:
        np.testing.assert_allclose(row.spearman, 1)
    assert abs(check.chance.spearman.mean()) < 0.2


def test_flat_maps_are_left_out():
    model = net()
    with torch.no_grad():
        model.head.weight[4] = 0
    cam = GradCAM(model, "layer2", "layercam")
    check = cam_sanity.randomisation(cam, IMAGES, [4, 5, 6, 4], stages=["head"])["layer2"]
    assert all(len(row.spearman) == 2 for row in (*check.rows, check.chance))
    with pytest.raises(ValueError, match="every map is flat"):
        cam_sanity.randomisation(cam, IMAGES, [4, 4, 4, 4], stages=["head"])


def test_one_image_has_none_to_be_compared_with():
    with pytest.raises(ValueError, match="two or more images"):
        cam_sanity.randomisation(GradCAM(net(), "layer2"), IMAGES[:1], [0])


# ---- similarities


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 9))
def test_spearman_is_scipy_s(seed, size, levels):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, levels + 1, (2, 3, size, 2)).astype(np.float32)
    first[:, 0, 0], first[:, -1, -1], second[:, 0, 0], second[:, -1, -1] = -1, 99, 99, -1  # none is flat
    expected = [stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second)]
    np.testing.assert_allclose(cam_sanity.spearman(first, torch.from_numpy(second)), expected, atol=1e-12)


def test_spearman_with_a_flat_map_is_zero():
    some = np.arange(8.0).reshape(2, 2, 2)
    flat = np.stack([np.ones((2, 2)), some[1]])
    assert cam_sanity.spearman(some, flat).tolist() == pytest.approx([0, 1])
    assert cam_sanity.spearman(some, -some).tolist() == pytest.approx([-1, -1])


def test_similarities_refuse_maps_that_do_not_fit():
    maps = np.random.default_rng(0).random((3, 8, 8))
    with pytest.raises(ValueError, match="need finite maps of one shape"):
        cam_sanity.spearman(maps[:1], maps)
    with pytest.raises(ValueError, match="need finite maps of one shape"):
        cam_sanity.spearman(maps, np.full_like(maps, np.nan))
