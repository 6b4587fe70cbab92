"""The fast path beside albumentations: the same pixels for a given draw, draws of the same distribution."""

import itertools

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from helpers import recipes
from helpers.data import augment, device_batches
from helpers.data.augment import Cutout, Flip, GridDistortion, PadCrop, Rotate, VerticalFlip
from helpers.data.datasets import Images
from helpers.data.device_batches import DeviceLoader, choose_path, draw
from helpers.data.loaders import Normalize, TrainLoader
from helpers.devices import Compute
from helpers.recipes import PAD_CROP_FLIP_CUTOUT

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
ROW, COLUMN = np.mgrid[:32, :32]
MAP = np.stack((ROW + 1, COLUMN + 1, np.full((32, 32), 200)), -1).astype(np.uint8)  # every pixel says where it was
LIKELY = 1e-4  # of the chance that equal distributions look this different; the draws are seeded, so none fails by luck


def noise(count):
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10)


def maps(count):
    return Images(np.stack([MAP] * count), np.zeros(count, np.int64))


def one_epoch(loader, epoch=0):
    images, labels = (torch.cat(parts).numpy() for parts in zip(*loader.epoch(epoch)))
    return images, labels


def both(transforms, count=6000):
    """An epoch of maps by albumentations and one by the device."""
    paths = (TrainLoader, DeviceLoader)
    return [one_epoch(path(maps(count), transforms, MEAN, 500, seed=5))[0] for path in paths]


def alike(left, right, bins):
    """Whether two samples of whole numbers in range(bins) may come from one distribution; every bin is met."""
    table = np.stack([np.bincount(values, minlength=bins) for values in (left, right)])
    return table.min() > 0 and chi2_contingency(table).pvalue > LIKELY


def uniform(values, bins):
    return chisquare(np.bincount(values, minlength=bins)).pvalue > LIKELY


@pytest.mark.parametrize("border", ["reflect", "constant"])
@pytest.mark.parametrize("padding", [2, 4, 40])
def test_a_crop_is_albumentations_crop_of_the_same_offset(border, padding):
    images = noise(40).images
    offsets = draw(PadCrop(padding), 40, np.random.default_rng(1))
    side = 32 + 2 * padding
    pad = A.PadIfNeeded(side, side, border_mode=augment.BORDERS[border], fill=0)
    padded = [pad(image=image)["image"] for image in images]
    expected = [image[y : y + 32, x : x + 32] for image, (y, x) in zip(padded, offsets)]
    ours = device_batches.crop(torch.tensor(images), torch.tensor(offsets), padding, border)
    assert np.array_equal(ours.numpy(), np.stack(expected))


@pytest.mark.parametrize("transform", [Flip(1.0), VerticalFlip(1.0)])
def test_a_flip_is_albumentations_flip(transform):
    split = noise(30)
    reference, ours = (one_epoch(path(split, [transform], MEAN, 8)) for path in (TrainLoader, DeviceLoader))
    assert np.array_equal(reference[0], ours[0]) and np.array_equal(reference[1], ours[1])


@pytest.mark.parametrize("fill", ["mean", "black"])
def test_holes_are_those_of_albumentations_for_the_same_corners(fill):
    images, corners = noise(30).images, draw(Cutout(8, holes=3), 30, np.random.default_rng(2))
    colour = augment.pixel(MEAN) if fill == "mean" else (0, 0, 0)
    expected = images.copy()
    for image, holes in zip(expected, corners):
        boxes = np.array([(x, y, x + 8, y + 8) for y, x in holes])
        A.augmentations.dropout.functional.fill_holes_with_value(image, boxes, np.array(colour))
    mean = torch.tensor(augment.pixel(MEAN), dtype=torch.uint8)
    ours = device_batches.apply(Cutout(8, 3, fill=fill), torch.tensor(images), torch.tensor(corners), mean)
    assert np.array_equal(ours.numpy(), expected)


def test_offsets_are_uniform_and_distributed_as_in_albumentations():
    reference, ours = ((images[:, 16, 16, :2].astype(int) - 13) for images in both([PadCrop(4)]))
    assert {*reference.ravel()} == {*ours.ravel()} == set(range(9))
    for axis in (0, 1):
        assert uniform(ours[:, axis], 9) and alike(reference[:, axis], ours[:, axis], 9)
    assert uniform(9 * ours[:, 0] + ours[:, 1], 81)  # down and right are drawn apart


@pytest.mark.parametrize("transform, axis", [(Flip(0.25), 1), (VerticalFlip(0.6), 0)])
def test_flips_are_as_frequent_as_in_albumentations(transform, axis):
    reference, ours = ((images[:, 0, 0, axis] == 32).astype(int) for images in both([transform]))
    assert alike(reference, ours, 2) and abs(ours.mean() - transform.p) < 0.02


def corners_of(images):
    """Top left corners of the one hole of each image; images without a hole are left out."""
    hole = (images == 0).all(-1)
    hole = hole[hole.any((1, 2))]
    return hole.any(2).argmax(1), hole.any(1).argmax(1), hole.sum((1, 2))


def test_cutout_lies_wholly_inside_anywhere_as_in_albumentations():
    reference, ours = (corners_of(images) for images in both([Cutout(8, fill="black")]))
    for mine, theirs in zip(ours[:2], reference[:2]):
        assert mine.max() == theirs.max() == 24 and uniform(mine, 25) and alike(theirs, mine, 25)
    assert (ours[2] == 64).all() and (reference[2] == 64).all()
    assert uniform(5 * (ours[0] // 5) + ours[1] // 5, 25)  # both coordinates are drawn apart


def test_cutout_spares_as_many_images_and_holes_overlap_as_in_albumentations():
    transform = Cutout(12, holes=4, p=0.5, fill="black")
    reference, ours = (images[..., 2] == 0 for images in both([transform]))
    covered = [hole.any((1, 2)).astype(int) for hole in (reference, ours)]
    assert alike(*covered, 2) and abs(covered[1].mean() - 0.5) < 0.02
    areas = [hole.sum((1, 2))[hole.any((1, 2))] // 64 for hole in (reference, ours)]
    assert alike(*(np.clip(area, 3, 8) - 3 for area in areas), 6)


def test_a_recipe_s_epoch_covers_each_pixel_as_often_as_albumentations_does():
    """All transforms together: how often a place is covered, and what is seen there otherwise."""
    fill = augment.pixel(MEAN)
    reference, ours = ((images == fill).all(-1).sum(0) for images in both(PAD_CROP_FLIP_CUTOUT))
    spread = np.sqrt(2 * 6000 * 0.0625)
    assert np.abs(reference - ours).max() < 5.5 * spread and abs(ours.mean() - reference.mean()) < 1e-9


@settings(max_examples=25)
@given(count=st.integers(1, 80), batch_size=st.integers(1, 33), seed=st.integers(0, 2**31), epoch=st.integers(0, 99))
def test_labels_and_order_are_those_of_the_reference(count, batch_size, seed, epoch):
    labels = np.arange(count)
    images = np.broadcast_to(labels[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8)
    paths = [path(Images(images, labels), [], MEAN, batch_size, seed) for path in (TrainLoader, DeviceLoader)]
    reference, ours = ([(i.numpy(), y.numpy()) for i, y in path.epoch(epoch)] for path in paths)
    assert len(ours) == len(reference) == len(paths[0]) == len(paths[1])
    for (their_images, their_labels), (our_images, our_labels) in zip(reference, ours):
        assert np.array_equal(their_labels, our_labels) and np.array_equal(their_images, our_images)


def flipped(images):
    """Whether each copy of an image that is bright in its upper left corner was mirrored, across and down."""
    bright = images[..., 0] > 200
    return bright[:, :, 16:].any((1, 2)), bright[:, 16:].any((1, 2))


def copies(count):
    """So many times the same image, bright in its upper left corner: copies differ by what was drawn alone."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, :8, :8] = 255
    return Images(images, np.arange(count) % 10)


@pytest.mark.parametrize("path", [TrainLoader, DeviceLoader])
def test_transforms_draw_apart_from_each_other(path):
    images = one_epoch(path(copies(2000), [Flip(), VerticalFlip()], MEAN, 500))[0]
    across, down = flipped(images)
    assert 0.46 < (across == down).mean() < 0.54
    images = one_epoch(path(copies(2000), [PadCrop(4), Flip()], MEAN, 500))[0]
    across, row = flipped(images)[0], (images[..., 0] > 200).any(2).argmin(1)
    assert 0.44 < across[row > np.median(row)].mean() < 0.56


@pytest.mark.parametrize("path", [TrainLoader, DeviceLoader])
def test_seeds_and_epochs_draw_apart_even_for_one_image(path):
    """The order of copies of one image does not show, so that only the draws of the transforms can differ."""
    loaders = [path(copies(400), [Flip(), VerticalFlip()], MEAN, 100, seed) for seed in (0, 1)]
    drawn = [flipped(one_epoch(loader, epoch)[0])[0] for loader in loaders for epoch in (0, 1)]
    for one, other in itertools.combinations(drawn, 2):
        assert 0.4 < (one == other).mean() < 0.6


def test_an_epoch_is_a_function_of_seed_and_epoch_and_leaves_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    loaders = [DeviceLoader(noise(64), PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed) for seed in (0, 1)]
    epochs = [one_epoch(loader, epoch)[0] for loader in loaders for epoch in (0, 1)]
    assert len({images.tobytes() for images in epochs}) == 4
    assert np.array_equal(one_epoch(loaders[0], 1)[0], epochs[1])  # whatever was asked before
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


def test_batches_are_uint8_as_normalize_takes_them_from_either_path():
    normalize = Normalize(MEAN, STD, Compute("cpu", "fp32"))
    reference, ours = (next(path(noise(20), [], MEAN, 20).epoch(0))[0] for path in (TrainLoader, DeviceLoader))
    assert ours.dtype == torch.uint8 and ours.shape == (20, 32, 32, 3)
    assert torch.equal(normalize(reference), normalize(ours))


def test_cpus_keep_albumentations_and_others_take_what_is_covered(monkeypatch):
    monkeypatch.delenv("HELPERS_LOADER", raising=False)
    cpu, gpu = Compute("cpu", "bf16"), Compute("cuda", "fp16")
    assert choose_path(PAD_CROP_FLIP_CUTOUT, cpu) == "albumentations"
    paths = {name: choose_path(recipe.transforms, gpu) for name, recipe in recipes.RECIPES.items()}
    slow = {name for name, path in paths.items() if path == "albumentations"}
    assert slow == {"published-a", "published-c"} and set(paths.values()) == set(device_batches.PATHS)
    monkeypatch.setenv("HELPERS_LOADER", "albumentations")
    assert choose_path(PAD_CROP_FLIP_CUTOUT, gpu) == "albumentations"
    monkeypatch.setenv("HELPERS_LOADER", "device")
    assert choose_path(PAD_CROP_FLIP_CUTOUT, cpu) == "device"


@pytest.mark.parametrize(
    "asked, transforms, message",
    [
        ("gpu", (Flip(),), "unknown HELPERS_LOADER 'gpu'; allowed: albumentations, device"),
        (
            "device",
            (Rotate(), Flip(), GridDistortion()),
            "cannot do Rotate, GridDistortion, only PadCrop, .*unset",
        ),
    ],
)
def test_a_wrong_choice_is_one_clear_error(asked, transforms, message, monkeypatch):
    monkeypatch.setenv("HELPERS_LOADER", asked)
    with pytest.raises(ValueError, match=message):
        choose_path(transforms, Compute("cpu", "fp32"))


def test_a_loader_that_cannot_do_a_transform_is_not_made():
    with pytest.raises(ValueError, match="cannot do Rotate"):
        device_batches.make_loader("device", noise(4), [Rotate()], MEAN, 2, 0, Compute("cpu", "fp32"))
    with pytest.raises(ValueError, match="unknown loader 'fast'; allowed: albumentations, device"):
        device_batches.make_loader("fast", noise(4), [], MEAN, 2, 0, Compute("cpu", "fp32"))


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (PadCrop, {"padding": -1}, "padding must be a whole number of at least 0, not -1"),
        (PadCrop, {"padding": 1.5}, "padding must be a whole number"),
        (Cutout, {"size": 33}, "size must be a whole number of at least 1 and below 33, not 33"),
        (Cutout, {"size": 0.25}, "size must be a whole number"),
        (Cutout, {"holes": 0}, "holes must be a whole number of at least 1, not 0"),
        (Cutout, {"p": float("nan")}, "p must be a number from 0 to 1, not nan"),
        (Flip, {"p": 2}, "p must be a number from 0 to 1, not 2"),
        (VerticalFlip, {"p": True}, "p must be a number from 0 to 1, not True"),
        (Rotate, {"limit": -3}, "limit must be a number of at least 0, not -3"),
        (GridDistortion, {"p": "x"}, "p must be a number from 0 to 1, not 'x'"),
    ],
)
def test_values_that_would_mean_something_else_to_each_loader_are_refused(kind, settings, said):
    with pytest.raises(ValueError, match=said):
        kind(**settings)
