"""helpers.data.arrays: what a data set holds, its subsets, and the fixed split into training and validation."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.data import Dataset, Images, arrays, load, shapes10, split_validation

CLASSES = [f"class {k}" for k in range(10)]


def tiny(n: int = 40, masks: bool = False) -> Images:
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    return Images(images, np.arange(n) % 10, images[..., 0] > 99 if masks else None)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown data set 'cifar100'; allowed: cifar10, shapes10, auto"):
        load("cifar100")


# ---- Shapes-10


def test_shapes10_is_drawn_to_the_length_asked_for():
    small, shorter = load("shapes10", 60, 20), load("shapes10", 40, 20)
    assert (small.name, small.title, small.classes) == ("shapes10", "Shapes-10", shapes10.CLASSES)
    assert (len(small.train), len(small.test), small.train.masks.shape) == (60, 20, (60, 32, 32))
    assert np.bincount(small.train.labels).tolist() == [6] * 10
    assert np.array_equal(shorter.train.images, small.train.images[:40]), "a shorter draw begins a longer one"
    assert len(small.subset(40, None).train) == 40


def test_shapes10_is_whole_when_asked(monkeypatch):
    monkeypatch.setattr(shapes10, "SIZES", {"train": 50, "test": 10})
    arrays._drawn.cache_clear()
    dataset = load("shapes10", None, 999)
    assert (len(dataset.train), len(dataset.test)) == (50, 10)
    arrays._drawn.cache_clear()


# ---- splits


def test_validation_split_is_45k_5k_stratified_and_fixed():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5000))
    train, validation = split_validation(labels)
    assert (len(train), len(validation)) == (45_000, 5_000)
    assert np.array_equal(np.union1d(train, validation), np.arange(50_000))
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    again = split_validation(labels.copy())
    assert np.array_equal(train, again[0]) and np.array_equal(validation, again[1])


def test_validation_split_never_changes():
    """Published runs rest on it."""
    _, validation = split_validation(np.arange(100) % 10, 10)
    assert validation.tolist() == [9, 10, 25, 38, 47, 51, 56, 62, 84, 93]


@given(st.lists(st.integers(0, 9), max_size=200), st.data())
def test_validation_split_of_any_labels(labels, data):
    labels = np.array(labels, np.int64)
    size = data.draw(st.integers(0, len(labels)))
    train, validation = split_validation(labels, size)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert len(validation) == size
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    for label in range(10):
        share = size * np.mean(labels == label) if len(labels) else 0
        assert abs(np.sum(labels[validation] == label) - share) < 1


@pytest.mark.parametrize("size", [-1, 41])
def test_validation_split_refuses_what_is_not_there(size):
    with pytest.raises(ValueError, match=f"{size} of 40 .* 0 to 40"):
        split_validation(tiny().labels, size)


@pytest.mark.parametrize("n_train, n_test", [(20, 10), (15, 7), (0, 40), (None, None), (999, 40)])
def test_subset_is_stratified_and_deterministic(n_train, n_test):
    dataset = Dataset("cifar10", "CIFAR-10", tuple(CLASSES), (0.5,) * 3, (0.2,) * 3, tiny(masks=True), tiny())
    one, two = dataset.subset(n_train, n_test), dataset.subset(n_train, n_test)
    for size, small, same in ((n_train, one.train, two.train), (n_test, one.test, two.test)):
        assert len(small) == min(40 if size is None else size, 40)
        assert np.array_equal(small.images, same.images)
        assert np.ptp(np.bincount(small.labels, minlength=10)) <= 1
    assert len(one.train.masks) == len(one.train) and one.test.masks is None
    assert (one.name, one.mean) == (dataset.name, dataset.mean)


def test_subset_keeps_images_labels_and_masks_together():
    whole = tiny(masks=True)
    part = Dataset("x", "X", tuple(CLASSES), (), (), whole, whole).subset(10, None).train
    places = [int(np.flatnonzero((whole.images == image).all(axis=(1, 2, 3)))[0]) for image in part.images]
    assert places == sorted(places)
    assert np.array_equal(whole.labels[places], part.labels)
    assert np.array_equal(whole.masks[places], part.masks)


def test_take_copies_in_the_order_asked():
    whole = tiny(masks=True)
    part = whole.take(np.array([3, 1]))
    assert np.array_equal(part.images, whole.images[[3, 1]]) and part.labels.tolist() == [3, 1]
    assert np.array_equal(part.masks, whole.masks[[3, 1]])
    part.images[:] = 0
    assert whole.images[3].any()


IMAGES = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
LABELS = np.arange(40) % 10


@pytest.mark.parametrize(
    "images",
    [
        IMAGES / np.float32(255),
        IMAGES / 255,
        IMAGES.astype(np.int64),
        IMAGES.transpose(0, 3, 1, 2),
        IMAGES[..., 0],
        IMAGES[..., :1],
        np.concatenate([IMAGES, IMAGES[..., :1]], -1),
        IMAGES[0],
        IMAGES[:39],
        list(IMAGES),
        torch.tensor(IMAGES),
        IMAGES.repeat(2, 1).repeat(2, 2),
        IMAGES[:, 2:30, 2:30],
        IMAGES[:, :, 2:30],
    ],
    ids=["[0, 1]", "float64", "int64", "first", "grey", "one", "RGBA", "single", "short", "list", "torch", *"+-|"],
)
def test_images_that_a_net_would_take_for_something_else_are_refused(images):
    with pytest.raises(ValueError, match=r"images \(N, 32, 32, 3\) uint8, RGB, and labels \(N,\)"):
        Dataset("cifar10", "CIFAR-10", tuple(CLASSES), (0.5,) * 3, (0.2,) * 3, Images(images, LABELS), tiny())


@pytest.mark.parametrize(
    "labels", [LABELS.astype(np.int32), LABELS / 1, LABELS[:, None], list(LABELS), LABELS.astype("U")]
)
def test_labels_are_whole_numbers_of_one_type(labels):
    with pytest.raises(ValueError, match=r"labels \(N,\) int64, not uint8 \(40, 32, 32, 3\) and "):
        labelled(labels)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS - 1])
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_places_among_the_classes(labels, split):
    with pytest.raises(ValueError, match="labels are 0 to 9, places in `classes`; these hold {(10|-1)}"):
        dataclasses.replace(labelled(LABELS), **{split: Images(IMAGES, labels)})


def test_a_mean_in_pixel_values_is_refused():
    with pytest.raises(
        ValueError, match="the mean and the deviation of a channel must be a number from 0 to 1, not 125"
    ):
        dataclasses.replace(labelled(LABELS), mean=(125.3, 122.9, 113.9))


def labelled(labels, images=IMAGES):
    """A data set with these in training; the test images are always the same."""
    return Dataset("mine", "Mine", tuple(CLASSES), (0.5,) * 3, (0.2,) * 3, Images(images, labels), tiny())


def test_a_digest_is_of_all_that_a_training_sees_and_of_nothing_else():
    one, turned = labelled(LABELS), np.arange(40)[::-1]
    assert labelled(LABELS.copy(), np.asfortranarray(IMAGES)).digest == one.digest == one.subset(None, None).digest
    assert dataclasses.replace(one, title="Other", classes=tuple(CLASSES[::-1])).digest == one.digest
    changed = [
        labelled(LABELS[::-1].copy()),
        labelled(LABELS, 255 - IMAGES),
        labelled(LABELS[turned], IMAGES[turned]),
        dataclasses.replace(one, test=tiny(39)),
        dataclasses.replace(one, mean=(0.5, 0.5, 0.4)),
        one.subset(39, None),
    ]
    assert len({one.digest, *(other.digest for other in changed)}) == 7


def test_loaded_arrays_are_read_only():
    loaded = load("shapes10", 20, 10)
    for split in (loaded.train, loaded.test, loaded.subset(20, None).train):
        for array in (split.images, split.labels, split.masks):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
