"""CIFAR-10 and the built-in Shapes-10 as arrays in memory, and the split into training and validation images."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from helpers.data import cifar10, shapes10
from helpers.files import choice, number

SPLIT_SEED = 45_000  # fixed, so that every recipe holds out the same images


@dataclass(frozen=True)
class Images:
    """One split in memory; a data set's whole arrays are read-only, since all users share them."""

    images: np.ndarray  # (N, 32, 32, 3) uint8 RGB
    labels: np.ndarray  # (N,) int64
    masks: np.ndarray | None = None  # (N, 32, 32) bool, True on the object; Shapes-10 only

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Images":
        """The images at these indices, in their order, as copies."""
        masks = None if self.masks is None else self.masks[indices]
        return Images(self.images[indices], self.labels[indices], masks)

    def thinned(self, count: int | None) -> "Images":
        """At most so many images, always the same, each class with its share; None keeps all."""
        return self if count is None or count >= len(self) else self.take(_stratified(self.labels, count))


@dataclass(frozen=True)
class Dataset:
    """A training and a test split with what belongs to both."""

    name: str  # "cifar10" or "shapes10", as in paths and records
    title: str  # as in figures
    classes: tuple[str, ...]  # the names of labels 0 to 9
    mean: tuple[float, float, float]  # of each channel over the full training split, in 0..1
    std: tuple[float, float, float]  # standard deviation, likewise
    train: Images = field(repr=False)
    test: Images = field(repr=False)

    def __post_init__(self) -> None:
        for value in (*self.mean, *self.std):
            number("the mean and the deviation of a channel", value, 0, 1)
        for split in (self.train, self.test):
            told = [f"{getattr(one, 'dtype', type(one))} {np.shape(one)}" for one in (split.images, split.labels)]
            if told != [f"uint8 {(len(split), 32, 32, 3)}", f"int64 {(len(split),)}"]:
                raise ValueError(
                    f"a split has images (N, 32, 32, 3) uint8, RGB, and labels (N,) int64, not {' and '.join(told)}"
                )
            if others := {*split.labels.tolist()} - {*range(len(self.classes))}:
                raise ValueError(f"labels are 0 to {len(self.classes) - 1}, places in `classes`; these hold {others}")

    @cached_property
    def digest(self) -> str:
        """Of all that a training sees of it: the same digest, the same images and labels, in the same order."""
        facts, told = np.array([len(self.classes), *self.mean, *self.std], dtype=float), hashlib.sha256()
        for array in (facts, self.train.images, self.train.labels, self.test.images, self.test.labels):
            told.update(np.ascontiguousarray(array))
        return told.hexdigest()[:16]

    def subset(self, n_train: int | None, n_test: int | None) -> "Dataset":
        """The same data set with so many images of each split, see `Images.thinned`."""
        return replace(self, train=self.train.thinned(n_train), test=self.test.thinned(n_test))


def load(name: str = "auto", n_train: int | None = None, n_test: int | None = None) -> Dataset:
    """Load "cifar10" or "shapes10" with at most so many images, always the same, each class with its share.

    None takes all: 50,000 training and 10,000 test images. "auto" is CIFAR-10 if it is on disk or can be downloaded,
    else Shapes-10, and then says so in one line. The environment's CIFAR10_ROOT names the folder of CIFAR-10, see
    `cifar10.read`; Shapes-10 is drawn, and a smaller draw begins a larger one. DatasetError says that CIFAR-10 is
    missing or damaged; under "auto", that it is damaged, or not in the folder named.
    """
    choice("data set", name, ("cifar10", "shapes10", "auto"))
    given = os.environ.get("CIFAR10_ROOT")
    folder = Path(given).expanduser().absolute() if given else None
    if name == "cifar10" or (name == "auto" and _obtainable(folder)):
        return _cifar10(folder).subset(n_train, n_test)
    train, test = _drawn("train", n_train), _drawn("test", n_test)
    return Dataset("shapes10", "Shapes-10", shapes10.CLASSES, shapes10.MEAN, shapes10.STD, train, test)


def split_validation(labels: np.ndarray, size: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Split training images with labels (N,) into N - size to train on and `size` to decide by.

    Returns the indices of both, sorted; they are the same for the same labels, and each class gives its share.
    """
    held_out = _stratified(labels, size)
    return np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True), held_out


@cache
def _obtainable(folder: Path | None) -> bool:
    """Whether CIFAR-10 can be had; tries only once, and tells if not. A damaged one is an error."""
    try:
        _cifar10(folder)
    except cifar10.Unavailable as error:
        reason = str(error).splitlines()[0].partition(". You can ")[0].rstrip(":")
        tqdm.write(f"{reason}. Using the built-in Shapes-10 instead. For CIFAR-10, {cifar10.SET_ROOT}.")
        return False
    return True


@cache
def _cifar10(folder: Path | None) -> Dataset:
    train, test, classes = cifar10.read(folder)
    splits = (_locked(Images(*split)) for split in (train, test))
    return Dataset("cifar10", "CIFAR-10", classes, cifar10.MEAN, cifar10.STD, *splits)


@lru_cache(maxsize=4)
def _drawn(split: str, count: int | None) -> Images:
    """The first images of a split of Shapes-10, which hold every class equally often."""
    size = shapes10.SIZES[split]
    return _locked(Images(*shapes10.draw(split, size if count is None else min(count, size))))


def _stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """Sorted indices (count,) of random images: each class gives its share, rounded so that the sum is met."""
    if not 0 <= count <= len(labels):
        raise ValueError(f"Cannot take {count} of {len(labels)} images; take 0 to {len(labels)}")
    rng = np.random.default_rng(SPLIT_SEED)
    places = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    shares = np.array([len(place) for place in places]) * count / max(1, len(labels))
    takes = np.floor(shares).astype(int)
    takes[np.argsort(takes - shares, kind="stable")[: count - takes.sum()]] += 1  # to the largest remainders
    return np.sort(np.concatenate([np.arange(0), *(place[:take] for place, take in zip(places, takes))]))


def _locked(split: Images) -> Images:
    """The same images, protected against writing."""
    for array in (split.images, split.labels, split.masks):
        if array is not None:
            array.setflags(write=False)
    return split
