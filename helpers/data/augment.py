"""Augmentation: transforms as plain values, built into one albumentations pipeline that draws from one given stream.

Images stay uint8 from end to end; the loaders normalise whole batches on the device.
"""

import dataclasses
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for news when imported

import albumentations as A
import cv2
import numpy as np

from helpers.files import choice, number, share

SIDE = 32  # pixels, of every image
BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "constant": cv2.BORDER_CONSTANT}
FILLS = ("mean", "black")
Fill = tuple[int, int, int]


@dataclass(frozen=True)
class PadCrop:
    """Pad every side by `padding` pixels, "reflect" or "constant" (zeros), then cut a random 32×32 window."""

    padding: int = 4
    border: str = "reflect"

    def __post_init__(self) -> None:
        choice("border", self.border, BORDERS)
        number("padding", self.padding, low=0, whole=True)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        side = SIDE + 2 * self.padding
        return [
            A.PadIfNeeded(side, side, border_mode=BORDERS[self.border], fill=0),
            A.RandomCrop(SIDE, SIDE),
        ]


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        share("p", self.p)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        return [A.HorizontalFlip(p=self.p)]


@dataclass(frozen=True)
class VerticalFlip:
    """Turn upside down with probability `p`; changes what most CIFAR-10 classes mean, kept to reproduce run C."""

    p: float = 0.5

    def __post_init__(self) -> None:
        share("p", self.p)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        return [A.VerticalFlip(p=self.p)]


@dataclass(frozen=True)
class Rotate:
    """Rotate by an angle uniform in ±`limit` degrees with probability `p`; corners are filled by reflection."""

    limit: float = 10
    p: float = 0.5

    def __post_init__(self) -> None:
        number("limit", self.limit, low=0)
        share("p", self.p)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        return [A.Rotate(limit=self.limit, border_mode=cv2.BORDER_REFLECT_101, p=self.p)]


@dataclass(frozen=True)
class GridDistortion:
    """Shift the nodes of a 5×5 grid by up to ±`limit` of a cell with probability `p`; edges are reflected."""

    limit: float = 0.3
    p: float = 0.5

    def __post_init__(self) -> None:
        share("limit", self.limit)
        share("p", self.p)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        reflect = cv2.BORDER_REFLECT_101  # the default leaves a black edge
        return [A.GridDistortion(num_steps=5, distort_limit=self.limit, border_mode=reflect, p=self.p)]


@dataclass(frozen=True)
class Cutout:
    """Cover `holes` squares of `size` pixels, wholly inside the image, with probability `p` (DeVries & Taylor, 2017).

    `fill` is "mean", which is zero once normalised, or "black", which is about −2 standard deviations.
    """

    size: int = 8
    holes: int = 1
    p: float = 1.0
    fill: str = "mean"

    def __post_init__(self) -> None:
        choice("fill", self.fill, FILLS)
        number("size", self.size, low=1, below=SIDE + 1, whole=True)
        number("holes", self.holes, low=1, whole=True)
        share("p", self.p)

    def build(self, mean: Fill) -> list[A.BasicTransform]:
        fill = mean if self.fill == "mean" else 0
        side = (self.size, self.size)
        return [
            A.CoarseDropout(
                num_holes_range=(self.holes, self.holes),
                hole_height_range=side,
                hole_width_range=side,
                fill=fill,
                p=self.p,
            )
        ]


Transform = PadCrop | Flip | VerticalFlip | Rotate | GridDistortion | Cutout
TRANSFORMS = {kind.__name__: kind for kind in (PadCrop, Flip, VerticalFlip, Rotate, GridDistortion, Cutout)}


def to_dict(transform: Transform) -> dict[str, Any]:
    """A transform as plain values: {"transform": "Flip", "p": 0.5}."""
    return {"transform": type(transform).__name__, **dataclasses.asdict(transform)}


def from_dict(values: Transform | Mapping[str, Any]) -> Transform:
    """The inverse of `to_dict`; a transform is returned as it is."""
    if isinstance(values, Transform):
        return values
    settings = dict(values)
    try:
        return TRANSFORMS[settings.pop("transform", None)](**settings)
    except (KeyError, TypeError):
        allowed = ", ".join(f"{k}({', '.join(f.name for f in dataclasses.fields(v))})" for k, v in TRANSFORMS.items())
        raise ValueError(f"unknown transform or setting in {dict(values)}; allowed: {allowed}") from None


def from_list(values: Any) -> tuple[Transform, ...]:
    """A recipe's transforms from a list of them, each as `from_dict` takes it."""
    if not isinstance(values, list | tuple) or not all(isinstance(v, Transform | Mapping) for v in values):
        raise ValueError(f'transforms must be a list such as [{{"transform": "Flip", "p": 0.5}}], not {values!r}')
    return tuple(map(from_dict, values))


def pipeline(transforms: Sequence[Transform], mean: Sequence[float]) -> A.Compose:
    """Build the albumentations pipeline of a recipe, in the recipe's order; without transforms it changes nothing.

    It is called as `pipeline(image=image)["image"]`, (32, 32, 3) uint8 in and out. `mean` holds the channel means of
    the data set in [0, 1]; cutout fills with them, rounded to whole pixel values 0–255.
    """
    return A.Compose([step for transform in transforms for step in transform.build(pixel(mean))])


def pixel(colour: Sequence[float]) -> Fill:
    """A colour in [0, 1] as whole pixel values 0–255."""
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


def reseed(augmentation: A.Compose, *key: int) -> None:
    """Point the pipeline's randomness at the stream of `key`, non-negative integers such as (seed, epoch, batch).

    Equal keys give equal draws, on any worker. All transforms share the one stream and draw from it in turn. Left
    alone, albumentations 2.0.8 repeats one stream in every worker and epoch; given an integer seed, it hands each
    transform a generator with the same seed, so that two flips always agree.
    """
    generator = np.random.default_rng(key)
    augmentation.set_random_state(generator, random.Random(int(generator.integers(2**63))))


def apply(augmentation: A.Compose, images: np.ndarray) -> np.ndarray:
    """Augment images one after the other, (N, 32, 32, 3) uint8 in and out."""
    if not augmentation.transforms or not len(images):
        return images
    return np.stack([augmentation(image=image)["image"] for image in images])
