"""helpers.data.arrays: what a data set holds, its subsets, and the fixed split into training and validation."""

import numpy as np
import pytest
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
    part = Dataset("x", "X", (), (), (), whole, whole).subset(10, None).train
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


def test_loaded_arrays_are_read_only():
    loaded = load("shapes10", 20, 10)
    for split in (loaded.train, loaded.test, loaded.subset(20, None).train):
        for array in (split.images, split.labels, split.masks):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
