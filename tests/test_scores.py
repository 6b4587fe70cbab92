"""Scores of maps: curves, ranks and shares worked by hand, what maps have to beat, and nets that forget."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import nn

from helpers import gradcam, models
from helpers.devices import Compute
from helpers.gradcam import scores

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ORDER = ["head", "layer3", "layer2", "layer1", "prep"]


def two_classes(first):
    """Probabilities of two classes from the first one's (M,)."""
    return np.stack([first.numpy(), 1 - first.numpy()], axis=1)


def counting(images):
    """The first class's probability is the share of pixels that are not 0."""
    return two_classes((images.abs().amax(1) > 0).float().mean((1, 2)))


def corner(images):
    """The first class's probability is 1 while the upper left pixel is there."""
    return two_classes((images[:, :, 0, 0].abs().amax(1) > 0).float())


def seeing(*values, side=2):
    """Maps (1, side, side) from their values in reading order."""
    return np.array(values, dtype=float).reshape(1, side, side)


# ---- maps to compare with


def test_centre_prior_by_hand():
    prior = gradcam.centre_prior(2, 3, 3)
    edge = 1 - 1 / np.sqrt(2)
    np.testing.assert_allclose(prior, [[[0, edge, 0], [edge, 1, edge], [0, edge, 0]]] * 2, atol=1e-12)
    assert gradcam.centre_prior(1, 4, 8).shape == (1, 4, 8)


@given(st.integers(2, 12), st.integers(2, 12))
def test_centre_prior_looks_the_same_from_every_side(height, width):
    (prior,) = gradcam.centre_prior(1, height, width)
    np.testing.assert_allclose(prior, prior[::-1], atol=1e-12)
    np.testing.assert_allclose(prior, prior[:, ::-1], atol=1e-12)
    assert prior.min() == pytest.approx(0, abs=1e-12) and prior.max() <= 1


def test_random_maps_differ_by_image_and_seed_and_repeat():
    first = gradcam.random_maps(2, 4, 4, cells=4, seed=3)
    assert np.array_equal(first, gradcam.random_maps(2, 4, 4, cells=4, seed=3))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, gradcam.random_maps(2, 4, 4, cells=4, seed=4))
    assert first.min() >= 0 and first.max() < 1


def test_random_maps_of_a_grid_are_enlarged_like_a_layer_s():
    coarse = gradcam.random_maps(3, 16, 32, cells=4, seed=1)
    drawn = torch.from_numpy(gradcam.random_maps(3, 4, 4, cells=4, seed=1))
    np.testing.assert_allclose(coarse, gradcam.enlarge(drawn, (16, 32)))
    neighbours = abs(np.diff(coarse, axis=2)).mean()
    assert neighbours < 0.2 * abs(np.diff(gradcam.random_maps(3, 16, 32, cells=32, seed=1), axis=2)).mean()


# ---- ranks


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_ranks_are_a_permutation_that_follows_the_map(seed, levels, height, width):
    maps = np.random.default_rng(seed).integers(0, levels, (2, height, width)).astype(float)
    for values, ranks in zip(maps, gradcam.ranks(maps, seed)):
        assert sorted(ranks.flatten()) == list(range(height * width))
        in_order = values.flatten()[np.argsort(ranks.flatten())]
        assert (np.diff(in_order) <= 0).all()


def test_ties_are_ranked_by_chance_and_repeat():
    flat = np.zeros((50, 4, 4))
    first = gradcam.ranks(flat, seed=1)
    assert np.array_equal(first, gradcam.ranks(flat, seed=1))
    assert not np.array_equal(first, gradcam.ranks(flat, seed=2))
    assert len({tuple(ranks.flatten()) for ranks in first}) == 50  # another order for every image
    assert abs(first.mean(0) - 7.5).max() < 3  # no place is favoured; its standard deviation is 0.65


# ---- deletion


def test_deletion_by_hand():
    images, maps = torch.ones(1, 3, 2, 2), seeing(4, 3, 2, 1)
    assert gradcam.deletion(corner, images, [0], maps, steps=4).tolist() == [[1, 0, 0, 0, 0]]  # the corner goes first
    assert gradcam.deletion(corner, images, [0], -maps, steps=4).tolist() == [[1, 1, 1, 1, 0]]
    assert gradcam.deletion(corner, images, [1], maps, steps=4).tolist() == [[0, 1, 1, 1, 1]]


@given(st.integers(1, 20), st.integers(0, 100))
def test_a_score_that_counts_pixels_falls_evenly_in_any_order(steps, seed):
    images, maps, classes = torch.ones(3, 3, 6, 5), gradcam.random_maps(3, 6, 5, 4, seed), torch.tensor([0, 0, 1])
    left = 1 - np.rint(np.linspace(0, 30, steps + 1)) / 30
    gone = gradcam.deletion(counting, images, classes, torch.from_numpy(maps), steps)
    np.testing.assert_allclose(gone, [left, left, 1 - left], atol=1e-6)


def test_every_image_is_changed_in_its_own_order_and_watched_for_its_own_class():
    net, maps, classes = models.davidnet(width=8), gradcam.random_maps(4, 32, 32, 32), [3, 1, 4, 1]

    def score(images):
        return gradcam.probabilities(net, images)

    whole = gradcam.deletion(score, IMAGES, classes, maps, steps=3, baseline="blur")
    for i, alone in enumerate(zip(IMAGES.split(1), maps)):
        image, found = alone[0], gradcam.ranks(maps)[i]
        empty = scores._emptied(image, "blur")
        for step, count in enumerate((0, 341, 683, 1024)):
            frame = torch.where(torch.from_numpy(found < count), empty, image)
            assert whole[i, step] == pytest.approx(score(frame)[0, classes[i]], abs=1e-5)


def test_the_curve_runs_from_the_image_to_the_baseline():
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = []

    def score(frames):
        seen.append(frames)
        return np.full((len(frames), 2), 0.5)

    maps = gradcam.random_maps(2, 6, 6, 6)
    for baseline in ("mean", "blur"):
        empty = scores._emptied(images, baseline)
        assert torch.equal(empty, torch.zeros_like(images)) == (baseline == "mean")
        seen.clear()
        gradcam.deletion(score, images, [0, 1], maps, steps=3, baseline=baseline)
        frames = torch.stack(seen)
        assert torch.equal(frames[0], images) and torch.equal(frames[3], empty)
        changed = (frames != images).any(2).sum((2, 3))
        assert changed.tolist() == [[0, 0], [12, 12], [24, 24], [36, 36]]


def test_the_blurred_baseline_is_a_gaussian():
    images = torch.randn(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, 4, 4), mode="mirror", truncate=3.0)
    np.testing.assert_allclose(scores._emptied(images, "blur"), expected, atol=1e-5)
    small = torch.full((1, 3, 4, 5), 0.7)
    torch.testing.assert_close(scores._emptied(small, "blur"), small)


def test_an_unknown_baseline_lists_the_baselines():
    with pytest.raises(ValueError, match="unknown baseline 'black'; allowed: mean, blur"):
        gradcam.deletion(corner, torch.ones(1, 3, 2, 2), [0], seeing(1, 2, 3, 4), baseline="black")


def test_probabilities_are_a_net_s_softmax_in_batches_of_any_size_and_the_net_is_left_alone(monkeypatch):
    net = models.davidnet(width=16)
    found = gradcam.probabilities(net, IMAGES)
    assert net.training and all(module.training for module in net.modules())
    monkeypatch.setattr(scores, "BATCH", 3)
    np.testing.assert_allclose(found, gradcam.probabilities(net, IMAGES), atol=1e-6)
    half = gradcam.probabilities(net, IMAGES, Compute("cpu", "bf16"))
    assert 0 < abs(half - found).max() < 0.05
    np.testing.assert_allclose(found, net.eval()(IMAGES).softmax(1).detach(), atol=1e-6)


# ---- masks


def mask(*values, side=2):
    return np.array(values, dtype=bool).reshape(1, side, side)


def test_energy_by_hand():
    assert gradcam.energy_inside(seeing(1, 2, 3, 4), mask(0, 1, 0, 1)).tolist() == [0.6]
    assert gradcam.energy_inside(seeing(0, 0, 0, 5), mask(0, 1, 0, 1)).tolist() == [1]


@given(st.integers(0, 1000))
def test_a_flat_map_scores_the_mask_s_area(seed):
    masks = np.random.default_rng(seed).random((5, 4, 6)) < 0.4
    for value in (0.0, 0.3):
        flat = torch.full((5, 4, 6), value)
        np.testing.assert_allclose(gradcam.energy_inside(flat, torch.from_numpy(masks)), masks.mean((1, 2)))


def test_energy_on_shapes10_masks(tiny):
    masks = tiny.test.masks
    assert (gradcam.energy_inside(masks, masks) == 1).all() and (gradcam.energy_inside(~masks, masks) == 0).all()


@pytest.mark.parametrize(
    "maps, masks",
    [
        (seeing(1, 2, 3, 4), np.ones((1, 2, 3), bool)),
        (seeing(1, 2, 3, 4), np.ones((1, 2, 2))),
        (seeing(1, -2, 3, 4), mask(1, 0, 0, 0)),
    ],
)
def test_energy_needs_maps_and_masks_that_fit(maps, masks):
    with pytest.raises(ValueError, match="need maps ≥ 0 and bool masks"):
        gradcam.energy_inside(maps, masks)


# ---- the cascade


def net(width=8):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.davidnet(width=width)
        model(IMAGES)  # moves BatchNorm's statistics
    return model


def changed(first, second):
    """Names of the children whose weights differ."""
    return [name for name, child in first.named_children() if not same(child, second.get_submodule(name))]


def same(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_stages_are_randomised_from_the_head_down_and_stay_so():
    model = net()
    before, random = copy.deepcopy(model), torch.get_rng_state()
    steps = [(stage, changed(before, now)) for stage, now in gradcam.cascade(model)]
    assert [stage for stage, _ in steps] == ORDER
    assert [set(names) for _, names in steps] == [set(ORDER[: count + 1]) for count in range(5)]
    assert same(model, before) and torch.equal(random, torch.get_rng_state())


def test_in_the_end_the_net_is_a_new_one():
    *_, (_, last) = gradcam.cascade(net())
    fresh = models.davidnet(width=8)
    for (name, ours), theirs in zip(last.state_dict().items(), fresh.state_dict().values()):
        if ours.ndim > 1:  # convolutions and the head
            assert not torch.equal(ours, theirs)
            assert ours.std() == pytest.approx(theirs.std().item(), rel=0.2), name
        elif ".1." in name or ".2." in name:  # BatchNorm: ones, zeros, statistics of nothing
            assert torch.equal(ours, theirs), name


def test_cascades_repeat_and_differ_by_seed():
    first, again, other = (
        [copy.deepcopy(now) for _, now in gradcam.cascade(net(), ["head", "prep"], seed)] for seed in (1, 1, 2)
    )
    assert all(map(same, first, again)) and not any(map(same, first, other))


def test_stages_of_one_s_own_choice():
    model = net()
    steps = [(stage, changed(model, now)) for stage, now in gradcam.cascade(model, ["layer2", "layer3.1"])]
    assert steps == [("layer2", ["layer2"]), ("layer3.1", ["layer2", "layer3"])]


def test_stages_that_cannot_be_randomised():
    with pytest.raises(AttributeError, match="no attribute `layer9`"):
        list(gradcam.cascade(net(), ["layer9"]))
    model = net()
    model.layer2.register_parameter("own", nn.Parameter(torch.ones(3)))
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'reset_parameters'"):
        list(gradcam.cascade(model, ["layer2"]))


@pytest.mark.parametrize("names", [["cat", "dog"], [None, 1], 3, [0.5, 1.0], [0]])
def test_what_deletion_watches_are_classes(names):
    images = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="targets must be 2 whole numbers, a class for each image"):
        gradcam.deletion(lambda images: np.ones((2, 10)), images, names, np.ones((2, 4, 4)))


def test_a_net_whose_hook_kept_an_output_can_forget():
    model = net()
    model.layer2.register_forward_hook(lambda module, given, output: setattr(module, "output", output))
    model.eval()(IMAGES)
    for (stage, found), (_, expected) in zip(gradcam.cascade(model), gradcam.cascade(net())):
        assert same(found, expected), stage


# ---- rank correlation


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 9))
def test_spearman_is_scipy_s(seed, size, levels):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, levels + 1, (2, 3, size, 2)).astype(np.float32)
    first[:, 0, 0], first[:, -1, -1], second[:, 0, 0], second[:, -1, -1] = -1, 99, 99, -1  # none is flat
    expected = [stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second)]
    np.testing.assert_allclose(gradcam.spearman(first, torch.from_numpy(second)), expected, atol=1e-12)


def test_spearman_with_a_flat_map_is_zero():
    some = np.arange(8.0).reshape(2, 2, 2)
    flat = np.stack([np.ones((2, 2)), some[1]])
    assert gradcam.spearman(some, flat).tolist() == pytest.approx([0, 1])
    assert gradcam.spearman(some, -some).tolist() == pytest.approx([-1, -1])
