"""CIFAR-10 and the built-in Shapes-10 as arrays in memory, and the split into training and validation images."""

import os
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from helpers.data import cifar10, shapes10
from helpers.data.cifar10 import DatasetError

NAMES = ("cifar10", "shapes10", "auto")
SPLIT_SEED = 45_000  # fixed, so that every recipe holds out the same images

_READ: dict[Path | None, "Dataset"] = {}  # CIFAR-10 by the folder given
_MISSED: set[Path | None] = set()  # the folder given, where "auto" found no CIFAR-10
_DRAWN: dict[str, "Images"] = {}  # the longest draw of each split of Shapes-10


@dataclass(frozen=True)
class Images:
    """One split in memory; the arrays of `load` are read-only, since all users share them."""

    images: np.ndarray  # (N, 32, 32, 3) uint8 RGB
    labels: np.ndarray  # (N,) int64
    masks: np.ndarray | None = None  # (N, 32, 32) bool, True on the object; Shapes-10 only

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Images":
        """The images at these indices, in their order, as copies."""
        masks = None if self.masks is None else self.masks[indices]
        return Images(self.images[indices], self.labels[indices], masks)


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

    def subset(self, n_train: int | None, n_test: int | None) -> "Dataset":
        """The same data set with at most so many images, always the same, each class with its share; None keeps all."""
        return replace(self, train=_thin(self.train, n_train), test=_thin(self.test, n_test))


def load(name: str = "auto") -> Dataset:
    """Load "cifar10" or "shapes10", once per process: 50,000 training and 10,000 test images in read-only arrays.

    "auto" is CIFAR-10 if it is on disk or can be downloaded, else Shapes-10, and then says so in one line. CIFAR-10 is
    looked for in the folder that CIFAR10_ROOT names in the environment, as cifar-10-batches-py/ or
    cifar-10-python.tar.gz; without it, in the repository's data/, into which it is downloaded. Shapes-10 is drawn when
    first used.

    Raises:
        DatasetError: for an unknown name, or a missing or corrupt CIFAR-10; under "auto" for a corrupt one, and for
            one that is not in the folder named.
    """
    _check_name(name)
    if name == "shapes10":
        return _shapes10()
    folder = _folder()
    if name == "auto" and not _obtainable(folder):
        return _shapes10()
    return _cifar10(folder)


def expected(name: str) -> str:
    """The name of the data set that `load` is going to give; looks whether it is there, and reads and writes nothing.

    One line says so when CIFAR-10 would have to be downloaded.

    Raises:
        DatasetError: for an unknown name, or a CIFAR-10 that is not in the folder named.
    """
    _check_name(name)
    if name != "shapes10" and not cifar10.on_disk(_folder()):
        instead = ", and takes Shapes-10 if it cannot" if name == "auto" else ""
        tqdm.write(f"CIFAR-10 is not on this machine: a run downloads it{instead}.")
    return "shapes10" if name == "shapes10" else "cifar10"


def split_validation(labels: np.ndarray, size: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Split training images with labels (N,) into N - size to train on and `size` to decide by.

    Returns the indices of both, sorted; they are the same for the same labels, and each class gives its share.
    """
    held_out = _stratified(labels, size)
    return np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True), held_out


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise DatasetError(f"Unknown data set {name!r}; choose one of {', '.join(NAMES)}")


def _folder() -> Path | None:
    """The folder that the environment names for CIFAR-10."""
    given = os.environ.get("CIFAR10_ROOT")
    return Path(given).expanduser().absolute() if given else None


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


def _thin(split: Images, count: int | None) -> Images:
    whole = count is None or count >= len(split)
    return split if whole else _locked(split.take(_stratified(split.labels, count)))


def _locked(split: Images) -> Images:
    """The same images, protected against writing."""
    for array in (split.images, split.labels, split.masks):
        if array is not None:
            array.setflags(write=False)
    return split


# ---- Shapes-10


class _Shapes10(Dataset):
    """Shapes-10, whose splits are drawn when first used, and only as many images as a subset keeps."""

    def __init__(self) -> None:
        facts = {"title": "Shapes-10", "classes": shapes10.CLASSES, "mean": shapes10.MEAN, "std": shapes10.STD}
        self.__dict__.update(facts, name="shapes10")

    @cached_property
    def train(self) -> Images:
        return _drawn("train", shapes10.SIZES["train"])

    @cached_property
    def test(self) -> Images:
        return _drawn("test", shapes10.SIZES["test"])

    def subset(self, n_train: int | None, n_test: int | None) -> Dataset:
        facts = (self.name, self.title, self.classes, self.mean, self.std)
        return Dataset(*facts, train=_drawn("train", n_train), test=_drawn("test", n_test))


@cache
def _shapes10() -> Dataset:
    return _Shapes10()


def _drawn(split: str, count: int | None) -> Images:
    """The first images of a split, which hold every class equally often; the longest draw is kept."""
    size = shapes10.SIZES[split]
    if count is not None and count < 0:
        raise ValueError(f"cannot take {count} images; give 0 or more")
    count = size if count is None else min(count, size)
    if split not in _DRAWN or len(_DRAWN[split]) < count:
        _DRAWN[split] = _locked(Images(*shapes10.draw(split, count)))
    longest = _DRAWN[split]
    return Images(longest.images[:count], longest.labels[:count], longest.masks[:count])


# ---- CIFAR-10


def _obtainable(given: Path | None) -> bool:
    """Whether CIFAR-10 can be had; tries only once, and tells if not. A damaged one is an error."""
    if given not in _MISSED:
        try:
            return bool(_cifar10(given))
        except cifar10.Unavailable as error:
            _MISSED.add(given)
            reason = str(error).splitlines()[0].rstrip(":.")
            tqdm.write(f"{reason}. Using the built-in Shapes-10 instead. For CIFAR-10, {cifar10.SET_ROOT}.")
    return False


def _cifar10(given: Path | None) -> Dataset:
    if given not in _READ:
        arrays = cifar10.read(given)
        splits = (_locked(Images(*split)) for split in (arrays.train, arrays.test))
        _READ[given] = Dataset("cifar10", "CIFAR-10", arrays.classes, cifar10.MEAN, cifar10.STD, *splits)
    return _READ[given]
