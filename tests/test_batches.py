"""Augmentation and batches: what each transform does, what is drawn, and that both paths do the same."""

import hashlib
import itertools

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from helpers import devices, recipes
from helpers.data import (
    Cutout,
    DeviceLoader,
    Flip,
    GridDistortion,
    Images,
    Normalize,
    PadCrop,
    Rotate,
    TrainLoader,
    VerticalFlip,
    augment,
    batches,
    choose_path,
    eval_batches,
    steps_per_epoch,
)
from helpers.data.batches import draw
from helpers.devices import Compute
from helpers.recipes import PAD_CROP_FLIP_CUTOUT

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
FILL = np.array([125, 122, 115])  # 255 × MEAN, rounded by hand
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
ROW, COLUMN = np.mgrid[:32, :32]
MAP = np.stack((ROW + 1, COLUMN + 1, np.full((32, 32), 200)), -1).astype(np.uint8)  # every pixel says where it was
LIKELY = 1e-4  # of the chance that equal distributions look this different; the draws are seeded, so none fails by luck
PATHS = pytest.mark.parametrize("path", [TrainLoader, DeviceLoader])


def noise(count):
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10)


def maps(count):
    return Images(np.stack([MAP] * count), np.zeros(count, np.int64))


def one_epoch(loader, epoch=0):
    images, labels = (torch.cat(parts).numpy() for parts in zip(*loader.epoch(epoch)))
    return images, labels


def both(transforms, count=3000):
    """An epoch of maps by albumentations and one by the device."""
    paths = (TrainLoader, DeviceLoader)
    return [one_epoch(path(maps(count), transforms, MEAN, 500, seed=5))[0] for path in paths]


def alike(left, right, bins):
    """Whether two samples of whole numbers in range(bins) may come from one distribution; every bin is met."""
    table = np.stack([np.bincount(values, minlength=bins) for values in (left, right)])
    return table.min() > 0 and chi2_contingency(table).pvalue > LIKELY


def uniform(values, bins):
    return chisquare(np.bincount(values, minlength=bins)).pvalue > LIKELY


# ---- transforms by albumentations


def draws(transforms, count=40, key=(0,), image=IMAGE):
    pipeline = augment.pipeline(transforms, MEAN)
    augment.reseed(pipeline, *key)
    return augment.apply(pipeline, np.stack([image] * count))


@pytest.mark.parametrize("border, mode", [("reflect", "reflect"), ("constant", "constant")])
def test_pad_crop_cuts_windows_of_the_padded_image(border, mode):
    padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)), mode=mode)
    offsets = set()
    for cut in draws([PadCrop(4, border)]):
        found = [(y, x) for y in range(9) for x in range(9) if np.array_equal(cut, padded[y : y + 32, x : x + 32])]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 20


def test_flips_mirror_the_right_axis():
    assert all(np.array_equal(cut, IMAGE[:, ::-1]) for cut in draws([Flip(p=1)], 3))
    assert all(np.array_equal(cut, IMAGE[::-1]) for cut in draws([VerticalFlip(p=1)], 3))


def test_flip_happens_as_often_as_asked():
    flipped = sum(np.array_equal(cut, IMAGE[:, ::-1]) for cut in draws([Flip(p=0.25)], 2000))
    assert abs(flipped / 2000 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)


@pytest.mark.parametrize("fill, value", [("mean", FILL), ("black", np.zeros(3))])
def test_cutout_covers_one_square_with_the_fill_and_nothing_else(fill, value):
    image = np.full((32, 32, 3), 200, np.uint8)
    for cut in draws([Cutout(8, fill=fill)], image=image):
        hole = (cut != image).any(-1)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == 64 and np.ptp(rows) == np.ptp(columns) == 7
        assert (cut[hole] == value).all()


def test_cutout_can_make_several_holes():
    image = np.full((32, 32, 3), 200, np.uint8)
    covered = [(cut != image).any(-1).sum() for cut in draws([Cutout(8, holes=8)], image=image)]
    assert max(covered) <= 8 * 64 and np.mean(covered) > 3 * 64


def test_rotation_and_distortion_move_pixels_and_keep_shape_and_type():
    for transform in (Rotate(10, p=1), GridDistortion(0.3, p=1)):
        moved = draws([transform], 3)
        assert moved.shape == (3, 32, 32, 3) and moved.dtype == np.uint8
        assert all((cut != IMAGE).any() for cut in moved)
    assert np.array_equal(draws([Rotate(0, p=1)], 1)[0], IMAGE)


def test_rotation_and_distortion_bring_in_no_black():
    grey = np.full((32, 32, 3), 100, np.uint8)
    for transform in (Rotate(10, p=1), GridDistortion(0.3, p=1)):
        assert (draws([transform], image=grey) == 100).all()


def test_transforms_run_in_the_recipe_s_order():
    """Cutout last leaves its square whole; padding by reflection after it would copy parts of the square."""
    image = np.full((32, 32, 3), 200, np.uint8)
    for cut in draws([PadCrop(4), Flip(), Cutout(8)], image=image):
        assert (cut != image).any(-1).sum() == 64
    sizes = {(cut != image).any(-1).sum() for cut in draws([Cutout(8), PadCrop(4)], image=image)}
    assert len(sizes) > 1


def test_equal_keys_repeat_and_different_keys_differ():
    transforms = PAD_CROP_FLIP_CUTOUT
    assert np.array_equal(draws(transforms, key=(1, 2, 3)), draws(transforms, key=(1, 2, 3)))
    assert not np.array_equal(draws(transforms, key=(1, 2, 3)), draws(transforms, key=(1, 2, 4)))


def agreement(pipeline):
    """How often two independent fair flips do the same; half the time, if they are independent."""
    marker = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, 2)
    outcomes = [pipeline(image=marker)["image"][0, 0, 0] for _ in range(400)]
    return np.mean([int(corner) in (0, 3) for corner in outcomes])  # neither flipped: 0; both: 3


def test_two_flips_are_independent_though_seeded_albumentations_makes_them_agree():
    ours = augment.pipeline([Flip(), VerticalFlip()], MEAN)
    augment.reseed(ours, 7)
    assert 0.4 < agreement(ours) < 0.6
    plain = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)], seed=7)
    assert agreement(plain) == 1.0


def test_nothing_to_do_returns_the_images_themselves():
    images = np.stack([IMAGE])
    assert augment.apply(augment.pipeline([], MEAN), images) is images
    assert len(augment.apply(augment.pipeline([Flip()], MEAN), images[:0])) == 0


@pytest.mark.parametrize("name", [name for name, one in recipes.RECIPES.items() if one.net != "speednet"])
def test_every_recipe_s_pipeline_is_understood_by_albumentations(name, recwarn):
    augment.pipeline(recipes.RECIPES[name].transforms, MEAN)
    assert not [str(w.message) for w in recwarn if "not valid" in str(w.message)]


transforms = st.one_of(
    st.builds(PadCrop, st.integers(0, 8), st.sampled_from(["reflect", "constant"])),
    st.builds(Flip, st.floats(0, 1)),
    st.builds(Cutout, st.integers(1, 16), st.integers(1, 8), st.floats(0, 1), st.sampled_from(["mean", "black"])),
)


@given(transforms)
def test_transforms_survive_being_written_as_plain_values(transform):
    assert augment.from_list([augment.to_dict(transform), transform]) == (transform, transform)


@pytest.mark.parametrize(
    "values",
    [[{"transform": "Blur"}], [{"transform": "Flip", "q": 1}], [{}], ["Flip"], "Flip", 5, {"transform": "Flip"}],
)
def test_unknown_transforms_are_refused_with_what_is_allowed(values):
    with pytest.raises(ValueError, match="transforms must be a list such as .*PadCrop.*Cutout.*; not "):
        augment.from_list(values)


# ---- batches by albumentations


def numbered(count):
    """Images whose pixels all equal their label, so that a batch tells which images it holds."""
    labels = np.arange(count)
    return Images(np.broadcast_to(labels[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8).copy(), labels)


def epochs(loader, which=(0, 1)):
    return [[(images.numpy(), labels.numpy()) for images, labels in loader.epoch(e)] for e in which]


def same(left, right):
    return all(np.array_equal(a, b) for one, two in zip(left, right) for x, y in zip(one, two) for a, b in zip(x, y))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_workers(workers):
    split = noise(70)
    alone = epochs(TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed=3))
    shared = epochs(TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed=3, workers=workers))
    assert same(alone, shared)


class PlainAlbumentations(Dataset):
    """The usual way: a pipeline in a Dataset, and a DataLoader around it. Returns where its draw flipped the image."""

    def __init__(self, split):
        self.split, self.pipeline = split, A.Compose([A.RandomCrop(8, 8)], seed=0)

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        return torch.from_numpy(self.pipeline(image=self.split.images[index])["image"])


def test_plain_albumentations_repeats_one_stream_in_every_worker_and_epoch_and_ours_does_not():
    """The trap this loader exists for; the first half fails on the day albumentations mends it."""
    gradient = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    image = (gradient / 4).astype(np.uint8)[..., None].repeat(3, -1)
    split = Images(np.stack([image] * 16), np.zeros(16, np.int64))
    loader = DataLoader(PlainAlbumentations(split), batch_size=8, num_workers=2)
    first, second = (batch.numpy() for batch in loader)  # one batch from each worker
    again = next(iter(loader)).numpy()
    assert np.array_equal(first, second) and np.array_equal(first, again)

    ours = TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 8, workers=2)
    (one, two), (three, four) = ([images for images, _ in epoch] for epoch in epochs(ours))
    assert not np.array_equal(one, two) and not np.array_equal(one, three) and not np.array_equal(two, four)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 80), batch_size=st.integers(1, 33), seed=st.integers(0, 2**31), epoch=st.integers(0, 99))
def test_an_epoch_holds_every_image_once(count, batch_size, seed, epoch):
    loader = TrainLoader(numbered(count), [], MEAN, batch_size, seed)
    batches = list(loader.epoch(epoch))
    labels = torch.cat([labels for _, labels in batches])
    assert len(set(labels.tolist())) == len(labels) and {*labels.tolist()} <= {*range(count)}
    assert len(batches) == len(loader) == steps_per_epoch(count, batch_size)
    left_out = count - len(labels)
    assert left_out in (0, count % batch_size) and left_out <= batch_size / 8 and len(labels) > 0
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in batches)  # labels stay with their images


@pytest.mark.parametrize(
    ("images", "batch_size", "steps", "last"),
    [(512, 73, 7, 73), (74, 73, 1, 73), (512, 74, 7, 68), (73, 8, 9, 8), (74, 8, 10, 2), (1, 73, 1, 1), (5, 1, 5, 1)],
)
@PATHS
def test_a_tiny_last_batch_is_left_out_unless_it_is_the_only_one(path, images, batch_size, steps, last):
    loader = path(noise(images), [Flip()], MEAN, batch_size)
    sizes = [len(labels) for _, labels in loader.epoch(0)]
    assert sizes == [batch_size] * (steps - 1) + [last] and len(loader) == steps
    if images == 512:  # every epoch leaves out others
        assert {*range(512)} == {*np.concatenate([loader.order(epoch) for epoch in range(9)]).tolist()}


@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize("profile", recipes.PROFILES.values(), ids=lambda profile: profile.name)
def test_no_recipe_leaves_images_out(name, profile):
    recipe = recipes.under(recipes.RECIPES[name], profile)
    images = (profile.n_train or recipes.TRAINING_IMAGES) - recipe.holdout
    assert steps_per_epoch(images, recipe.batch_size) == -(-images // recipe.batch_size)


def test_epochs_seeds_and_batches_are_shuffled_differently():
    def order(seed, epoch):
        return torch.cat([labels for _, labels in TrainLoader(numbered(64), [], MEAN, 16, seed).epoch(epoch)]).tolist()

    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
    assert len({tuple(o) for o in orders}) == 4 and order(0, 1) == orders[1]


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    epochs(TrainLoader(noise(20), PAD_CROP_FLIP_CUTOUT, MEAN, 8))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalize_agrees_with_torchvision(layout):
    images = torch.from_numpy(noise(9).images)
    ours = Normalize(MEAN, STD, Compute("cpu", "fp32", layout))(images)
    reference = v2.Normalize(MEAN, STD)(images.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(ours, reference, rtol=0, atol=2e-6)
    assert ours.is_contiguous(memory_format=layout)


def test_evaluation_keeps_the_order_and_the_images():
    split = numbered(25)
    images, labels = (torch.cat(parts) for parts in zip(*eval_batches(split, 10)))
    assert labels.tolist() == list(range(25)) and np.array_equal(images.numpy(), split.images)


# ---- batches on the device


@pytest.mark.parametrize("border", ["reflect", "constant"])
@pytest.mark.parametrize("padding", [2, 4, 31])
def test_a_crop_is_albumentations_crop_of_the_same_offset(border, padding):
    images = noise(40).images
    offsets = draw(PadCrop(padding), 40, np.random.default_rng(1))
    side = 32 + 2 * padding
    pad = A.PadIfNeeded(side, side, border_mode=augment.CHOICES["border"][border], fill=0)
    padded = [pad(image=image)["image"] for image in images]
    expected = [image[y : y + 32, x : x + 32] for image, (y, x) in zip(padded, offsets)]
    ours = batches.crop(torch.tensor(images), torch.tensor(offsets), padding, border)
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
    ours = batches.apply(Cutout(8, 3, fill=fill), torch.tensor(images), torch.tensor(corners), mean)
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
    assert alike(reference, ours, 2) and abs(ours.mean() - transform.p) < 0.03


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
    assert alike(*covered, 2) and abs(covered[1].mean() - 0.5) < 0.03
    areas = [hole.sum((1, 2))[hole.any((1, 2))] // 64 for hole in (reference, ours)]
    assert alike(*(np.clip(area, 3, 8) - 3 for area in areas), 6)


def test_a_recipe_s_epoch_covers_each_pixel_as_often_as_albumentations_does():
    """All transforms together: how often a place is covered, and what is seen there otherwise."""
    fill = augment.pixel(MEAN)
    reference, ours = ((images == fill).all(-1).sum(0) for images in both(PAD_CROP_FLIP_CUTOUT))
    spread = np.sqrt(2 * 3000 * 0.0625)
    assert np.abs(reference - ours).max() < 5.5 * spread and abs(ours.mean() - reference.mean()) < 1e-9


@pytest.mark.parametrize(
    "path, digests",
    [
        (TrainLoader, ["ce5fe12384f690b0", "875489aae9d60947"]),
        (DeviceLoader, ["f5396c5f8a152138", "3adc94e890f43c21"]),
    ],
)
def test_draws_never_change(path, digests):
    """Published runs rest on them: every pixel of two epochs."""
    loader = path(Images(noise(70).images, np.arange(70)), PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed=3)
    for epoch, digest in enumerate(digests):
        arrays = [part.numpy().tobytes() for batch in loader.epoch(epoch) for part in batch]
        assert hashlib.sha256(b"".join(arrays)).hexdigest().startswith(digest)


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


@PATHS
def test_transforms_draw_apart_from_each_other(path):
    images = one_epoch(path(copies(2000), [Flip(), VerticalFlip()], MEAN, 500))[0]
    across, down = flipped(images)
    assert 0.46 < (across == down).mean() < 0.54
    images = one_epoch(path(copies(2000), [PadCrop(4), Flip()], MEAN, 500))[0]
    across, row = flipped(images)[0], (images[..., 0] > 200).any(2).argmin(1)
    assert 0.44 < across[row > np.median(row)].mean() < 0.56


@PATHS
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


def test_cpus_keep_albumentations_and_others_take_what_is_covered():
    cpu, gpu = Compute("cpu", "bf16"), Compute("cuda", "fp16")
    assert choose_path(PAD_CROP_FLIP_CUTOUT, cpu) == "albumentations"
    paths = {name: choose_path(recipe.transforms, gpu) for name, recipe in recipes.RECIPES.items()}
    slow = {name for name, path in paths.items() if path == "albumentations"}
    assert slow == {"published-a", "published-c"} and set(paths.values()) == set(batches.PATHS)
    for path in batches.PATHS:
        assert choose_path(PAD_CROP_FLIP_CUTOUT, devices.compute("cpu", loader=path)) == path


def test_a_wrong_choice_is_one_clear_error():
    with pytest.raises(ValueError, match="unknown loader 'gpu'; allowed: albumentations, device"):
        choose_path([Flip()], Compute("cpu", "fp32", loader="gpu"))
    with pytest.raises(ValueError, match="cannot do Rotate, GridDistortion; choose the loader albumentations"):
        DeviceLoader(noise(4), [Rotate(), Flip(), GridDistortion()], MEAN, 2)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (PadCrop, {"padding": -1}, "padding must be a whole number from 0 to 31, not -1"),
        (PadCrop, {"padding": 1.5}, "padding must be a whole number"),
        (Cutout, {"size": 33}, "size must be a whole number from 1 to 32, not 33"),
        (Cutout, {"size": 0.25}, "size must be a whole number"),
        (Cutout, {"holes": 0}, "holes must be a whole number of at least 1, not 0"),
        (Cutout, {"p": float("nan")}, "p must be a number from 0 to 1, not nan"),
        (Flip, {"p": 2}, "p must be a number from 0 to 1, not 2"),
        (VerticalFlip, {"p": True}, "p must be a number from 0 to 1, not True"),
        (GridDistortion, {"p": "x"}, "p must be a number from 0 to 1, not 'x'"),
        (Rotate, {"limit": (5, 9)}, r"limit must be a number from 0 to 180, not \(5, 9\)"),
    ],
)
def test_values_that_would_mean_something_else_to_each_loader_are_refused(kind, settings, said):
    with pytest.raises(ValueError, match=said):
        kind(**settings)
