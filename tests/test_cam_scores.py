"""Scores of maps: curves, areas and ranks worked by hand, games on masks, and what maps have to beat."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import nn

from helpers import models
from helpers.devices import Compute
from helpers.gradcam import maps as gradcam
from helpers.gradcam import scores as cam_scores
from helpers.gradcam.scores import Curve


def counting(images):
    """Two classes; the first one's probability is the share of pixels that are not 0."""
    share = (images.abs().amax(1) > 0).float().mean((1, 2))
    return torch.stack([share, 1 - share], dim=1)


def corner(images):
    """The first class's probability is 1 while the upper left pixel is there."""
    there = (images[:, :, 0, 0].abs().amax(1) > 0).float()
    return torch.stack([there, 1 - there], dim=1)


def seeing(*values, side=2):
    """Maps (1, side, side) from their values in reading order."""
    return np.array(values, dtype=float).reshape(1, side, side)


# ---- means


def test_mean_and_its_interval():
    found = cam_scores.mean(torch.tensor([0.0, 1.0] * 200))
    assert (found.value, found.count) == (0.5, 400)
    assert str(found).startswith("0.500 (0.4") and str(found).endswith("n = 400)")
    assert found == cam_scores.mean([0.0, 1.0] * 200)


@pytest.mark.parametrize("count", [12, 40, 1000])
def test_the_interval_of_normal_values_is_as_wide_as_student_s(count):
    values = stats.norm.ppf((np.arange(count) + 0.5) / count)
    found, expected = cam_scores.mean(values), stats.ttest_1samp(values, 0).confidence_interval()
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.05)
    assert abs(found.low + found.high) < 0.1 * (found.high - found.low)


def test_intervals_of_few_images_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    found = [cam_scores.mean(rng.normal(size=5)) for _ in range(300)]
    assert 0.88 < np.mean([one.low <= 0 <= one.high for one in found]) < 0.99


def test_mean_of_one_and_of_none():
    one = cam_scores.mean([0.25])
    assert (one.value, one.count, str(one)) == (0.25, 1, "0.250 (n = 1)")
    assert np.isnan([one.low, one.high]).all()
    for wrong in ([], [[1.0]]):
        with pytest.raises(ValueError, match="one number for each"):
            cam_scores.mean(wrong)


# ---- rivals


def test_centre_prior_by_hand():
    prior = cam_scores.centre_prior(2, 3, 3)
    edge = 1 - 1 / np.sqrt(2)
    np.testing.assert_allclose(prior, [[[0, edge, 0], [edge, 1, edge], [0, edge, 0]]] * 2, atol=1e-12)
    assert cam_scores.centre_prior(1, 4, 8).shape == (1, 4, 8)


@given(st.integers(2, 12), st.integers(2, 12))
def test_centre_prior_looks_the_same_from_every_side(height, width):
    (prior,) = cam_scores.centre_prior(1, height, width)
    np.testing.assert_allclose(prior, prior[::-1], atol=1e-12)
    np.testing.assert_allclose(prior, prior[:, ::-1], atol=1e-12)
    assert prior.min() == pytest.approx(0, abs=1e-12) and prior.max() <= 1


def test_random_maps_differ_by_image_and_seed_and_repeat():
    first = cam_scores.random_maps(2, 4, 4, seed=3)
    assert np.array_equal(first, cam_scores.random_maps(2, 4, 4, seed=3))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, cam_scores.random_maps(2, 4, 4, seed=4))
    assert first.min() >= 0 and first.max() < 1


def test_random_maps_of_a_grid_are_enlarged_like_a_layer_s():
    coarse = cam_scores.random_maps(3, 16, 32, cells=4, seed=1)
    drawn = torch.from_numpy(cam_scores.random_maps(3, 4, 4, seed=1))
    np.testing.assert_allclose(coarse, gradcam.enlarge(drawn, (16, 32)))
    neighbours = abs(np.diff(coarse, axis=2)).mean()
    assert neighbours < 0.2 * abs(np.diff(cam_scores.random_maps(3, 16, 32, seed=1), axis=2)).mean()


def test_rivals_stand_beside_the_map():
    maps = torch.rand(3, 4, 5)
    found = cam_scores.rivals(maps, seed=2)
    assert list(found) == ["map", "random patches", "random pixels", "centre first"]
    assert np.array_equal(found["map"], maps.numpy())
    assert np.array_equal(found["random pixels"], cam_scores.random_maps(3, 4, 5, seed=2))
    assert np.array_equal(found["random patches"], cam_scores.random_maps(3, 4, 5, 4, seed=2))
    assert np.array_equal(found["centre first"], cam_scores.centre_prior(3, 4, 5))


# ---- ranks


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_ranks_are_a_permutation_that_follows_the_map(seed, levels, height, width):
    maps = np.random.default_rng(seed).integers(0, levels, (2, height, width)).astype(float)
    for values, ranks in zip(maps, cam_scores.ranks(maps, seed)):
        assert sorted(ranks.flatten()) == list(range(height * width))
        in_order = values.flatten()[np.argsort(ranks.flatten())]
        assert (np.diff(in_order) <= 0).all()


def test_ties_are_ranked_by_chance_and_repeat():
    flat = np.zeros((50, 4, 4))
    first = cam_scores.ranks(flat, seed=1)
    assert np.array_equal(first, cam_scores.ranks(flat, seed=1))
    assert not np.array_equal(first, cam_scores.ranks(flat, seed=2))
    assert len({tuple(ranks.flatten()) for ranks in first}) == 50  # another order for every image
    assert abs(first.mean(0) - 7.5).max() < 3  # no place is favoured; its standard deviation is 0.65


@pytest.mark.parametrize("maps", [np.zeros((4, 4)), np.zeros((0, 4, 4)), np.full((1, 2, 2), np.nan)])
def test_ranks_need_finite_maps(maps):
    with pytest.raises(ValueError, match=r"\(N, H, W\) finite numbers"):
        cam_scores.ranks(maps)


# ---- deletion and insertion


def test_deletion_and_insertion_by_hand():
    images, maps = torch.ones(1, 3, 2, 2), seeing(4, 3, 2, 1)
    gone = cam_scores.deletion(corner, images, [0], maps, steps=4)
    assert gone.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert gone.scores.tolist() == [[1, 0, 0, 0, 0]]  # the corner goes first
    assert gone.areas.tolist() == [0.125]
    back = cam_scores.insertion(corner, images, [0], maps, steps=4, baseline="mean")
    assert back.scores.tolist() == [[0, 1, 1, 1, 1]] and back.areas.tolist() == [0.875]
    last = cam_scores.deletion(corner, images, [0], -maps, steps=4)
    assert last.scores.tolist() == [[1, 1, 1, 1, 0]]
    other = cam_scores.deletion(corner, images, [1], maps, steps=4)
    assert other.scores.tolist() == [[0, 1, 1, 1, 1]]


@given(st.integers(1, 20), st.integers(0, 100))
def test_a_score_that_counts_pixels_gives_half_of_the_area_in_any_order(steps, seed):
    images, maps = torch.ones(3, 3, 6, 5), cam_scores.random_maps(3, 6, 5, seed=seed)
    gone = cam_scores.deletion(counting, images, [0, 0, 1], maps, steps)
    np.testing.assert_allclose(gone.scores, [1 - gone.shares, 1 - gone.shares, gone.shares], atol=1e-6)
    np.testing.assert_allclose(gone.areas, 0.5, atol=1e-6)
    back = cam_scores.insertion(counting, images, [0, 0, 1], maps, steps, baseline="mean")
    np.testing.assert_allclose(back.scores, 1 - gone.scores, atol=1e-6)


def test_every_image_is_changed_in_its_own_order_in_batches_of_any_size(monkeypatch):
    images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = models.davidnet(width=8).eval()
    net.pool[0] = nn.AdaptiveMaxPool2d(1)
    maps, classes = cam_scores.random_maps(7, 8, 8), torch.arange(7)
    sizes = []

    def score(frames):
        sizes.append(len(frames))
        return cam_scores.probabilities(net)(frames)

    whole = cam_scores.deletion(score, images, classes, maps, steps=5, baseline="blur")
    assert sizes == [42]
    alone = cam_scores.probabilities(net)
    single = [cam_scores.deletion(alone, images[i : i + 1], [i], maps[i : i + 1], 5, "blur").scores for i in range(7)]
    np.testing.assert_allclose(whole.scores, np.concatenate(single), atol=1e-5)
    monkeypatch.setattr(cam_scores, "BATCH", 5)
    sizes.clear()
    few = cam_scores.deletion(score, images, classes, maps, steps=5, baseline="blur")
    assert max(sizes) == 5 and sum(sizes) == 42
    np.testing.assert_allclose(whole.scores, few.scores, atol=1e-5)


def test_the_curve_runs_from_the_image_to_the_baseline():
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = []

    def score(frames):
        seen.append(frames)
        return torch.full((len(frames), 2), 0.5)

    maps = cam_scores.random_maps(2, 6, 6)
    for baseline, empty in (("mean", torch.zeros_like(images)), ("blur", cam_scores.blurred(images))):
        for measure, ends in ((cam_scores.deletion, (images, empty)), (cam_scores.insertion, (empty, images))):
            seen.clear()
            measure(score, images, [0, 1], maps, steps=3, baseline=baseline)
            frames = torch.cat(seen).unflatten(0, (4, 2))
            assert torch.equal(frames[0], ends[0]) and torch.equal(frames[3], ends[1])
            changed = (frames != ends[0]).any(2).sum((2, 3))
            assert changed.tolist() == [[0, 0], [12, 12], [24, 24], [36, 36]]


def test_a_net_s_score_is_its_softmax_and_the_net_is_left_alone():
    net, images = models.davidnet(width=16), torch.randn(3, 3, 32, 32)
    found = cam_scores.probabilities(net)(images)
    assert net.training and all(module.training for module in net.modules())
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, net.eval()(images).softmax(1).detach())
    half = cam_scores.probabilities(net, Compute("cpu", "bf16"))(images)
    assert half.dtype == torch.float32 and 0 < abs(half - found).max() < 0.05


def test_area_of_a_curve():
    curve = Curve(np.array([0, 0.5, 1]), np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1.0]]))
    assert curve.areas.tolist() == [1, 0.25, 0.25]
    assert curve.area == cam_scores.mean([1, 0.25, 0.25])


def test_blurred_is_a_gaussian():
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = cam_scores.blurred(images)
    expected = ndimage.gaussian_filter(images.numpy(), (0, 0, 4, 4), mode="mirror", truncate=3.0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    small = cam_scores.blurred(torch.full((1, 3, 4, 4), 0.7))
    torch.testing.assert_close(small, torch.full((1, 3, 4, 4), 0.7))


@pytest.mark.parametrize(
    "change, said",
    [
        ({"classes": [0]}, r"one whole number for each of the 2 images"),
        ({"classes": [0, 2]}, r"lie in 0\.\.1, not 2"),
        ({"maps": np.zeros((2, 3, 2))}, "one map for each image, of its size"),
        ({"maps": np.zeros((1, 2, 2))}, "one map for each image"),
        ({"baseline": "black"}, "unknown baseline 'black'; allowed: mean, blur"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
    ],
)
@pytest.mark.parametrize("measure", [cam_scores.deletion, cam_scores.insertion])
def test_wrong_requests(measure, change, said):
    request = {"score": corner, "images": torch.ones(2, 3, 2, 2), "classes": [0, 0], "maps": np.zeros((2, 2, 2))}
    with pytest.raises(ValueError, match=said):
        measure(**{**request, **change})


# ---- masks


def mask(*values, side=2):
    return np.array(values, dtype=bool).reshape(1, side, side)


def test_pointing_by_hand():
    assert cam_scores.pointing_hits(seeing(1, 2, 3, 0), mask(0, 0, 1, 0)).tolist() == [1]
    assert cam_scores.pointing_hits(seeing(1, 2, 3, 0), mask(1, 1, 0, 1)).tolist() == [0]
    assert cam_scores.pointing_hits(seeing(3, 3, 3, 0), mask(1, 0, 0, 1)).tolist() == pytest.approx([1 / 3])


def test_energy_by_hand():
    assert cam_scores.energy_inside(seeing(1, 2, 3, 4), mask(0, 1, 0, 1)).tolist() == [0.6]
    assert cam_scores.energy_inside(seeing(0, 0, 0, 5), mask(0, 1, 0, 1)).tolist() == [1]


@given(st.integers(0, 1000))
def test_a_flat_map_scores_the_mask_s_area(seed):
    masks = np.random.default_rng(seed).random((5, 4, 6)) < 0.4
    masks[:, 0, 0] = True
    for value in (0.0, 0.3):
        flat = torch.full((5, 4, 6), value)
        for measure in (cam_scores.pointing_hits, cam_scores.energy_inside):
            np.testing.assert_allclose(measure(flat, torch.from_numpy(masks)), masks.mean((1, 2)))


def test_pointing_on_shapes10_masks(tiny):
    masks = tiny.test.masks
    scores = cam_scores.pointing({"the mask": masks, "all but the mask": ~masks}, masks)
    assert list(scores) == ["the mask", "all but the mask", "centre prior", "mask's area"]
    assert scores["the mask"].hits.value == 1 and scores["the mask"].energy.value == 1
    assert scores["all but the mask"].hits.value == 0 and scores["all but the mask"].energy.value == 0
    count = len(masks)
    assert (
        {score.hits.count for score in scores.values()} == {score.energy.count for score in scores.values()} == {count}
    )
    assert scores["mask's area"].energy.value == pytest.approx(masks.mean())
    assert scores["mask's area"].hits.value == pytest.approx(masks.mean(), abs=0.5 / count)
    middle = masks[:, 15:17, 15:17].mean((1, 2))  # the four pixels around the centre are equally near
    assert scores["centre prior"].hits.hits == round(middle.sum())
    prior = scores["centre prior"]
    assert prior.hits.low < prior.hits.value < prior.hits.high < 1
    assert prior.energy.low < prior.energy.value < prior.energy.high


@pytest.mark.parametrize(
    "maps, masks, said",
    [
        (seeing(1, 2, 3, 4), np.ones((1, 2, 3), bool), "of the maps' shape"),
        (seeing(1, 2, 3, 4), np.ones((1, 2, 2)), "must be bool"),
        (seeing(1, -2, 3, 4), mask(1, 0, 0, 0), "must not be negative"),
        (seeing(1, 2, 3, 4), mask(0, 0, 0, 0), "every mask must hold"),
        (seeing(1, 2, np.inf, 4), mask(1, 0, 0, 0), "finite"),
    ],
)
def test_games_need_maps_and_masks_that_fit(maps, masks, said):
    for measure in (cam_scores.pointing_hits, cam_scores.energy_inside):
        with pytest.raises(ValueError, match=said):
            measure(maps, masks)
