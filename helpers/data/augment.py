"""Augmentation: transforms as plain values, built into one albumentations pipeline that draws from one given stream.

Images stay uint8 from end to end; the loaders normalise whole batches on the device.
"""

import dataclasses
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations asks the network for news when imported

import albumentations as A
import cv2
import numpy as np

from helpers.files import choice, number

SIDE = 32  # pixels, of every image
REFLECT = cv2.BORDER_REFLECT_101
CHOICES = {"border": {"reflect": REFLECT, "constant": cv2.BORDER_CONSTANT}, "fill": ("mean", "black")}
LIMITS = {"p": (0, 1), "limit": (0, 180), "padding": (0, SIDE - 1), "size": (1, SIDE), "holes": (1,)}  # lowest, highest


@dataclass(frozen=True)
class Transform:
    """What all transforms are; values that albumentations would take for something else are refused."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in CHOICES:
                choice(name, value, CHOICES[name])
            else:
                kind = self.__dataclass_fields__[name].type  # 1 as 1.0 where it is a float: equal recipes, equal names
                object.__setattr__(self, name, kind(number(name, value, *LIMITS[name], whole=kind is int)))


@dataclass(frozen=True)
class PadCrop(Transform):
    """Pad every side by `padding` pixels, "reflect" or "constant" (zeros), then cut a random 32×32 window."""

    padding: int = 4
    border: str = "reflect"


@dataclass(frozen=True)
class Flip(Transform):
    """Mirror left and right."""

    p: float = 0.5  # the probability that it happens to an image


@dataclass(frozen=True)
class AlternatingFlip(Transform):
    """Mirror left and right in every other epoch, one half of the images in even ones (Jordan 2024, section 3.6)."""


@dataclass(frozen=True)
class VerticalFlip(Transform):
    """Turn upside down; changes what most CIFAR-10 classes mean, kept to reproduce run C."""

    p: float = 0.5


@dataclass(frozen=True)
class Rotate(Transform):
    """Rotate by an angle uniform in ±`limit` degrees; corners are filled by reflection."""

    limit: float = 10
    p: float = 0.5


@dataclass(frozen=True)
class GridDistortion(Transform):
    """Shift the nodes of a 5×5 grid by up to ±`limit` of a cell, in [0, 1]; edges are reflected."""

    limit: float = 0.3
    p: float = 0.5


@dataclass(frozen=True)
class Cutout(Transform):
    """Cover `holes` squares of `size` pixels, wholly inside the image (DeVries & Taylor 2017 let them reach out)."""

    size: int = 8
    holes: int = 1
    p: float = 1.0
    fill: str = "mean"  # zero once normalised; or "black", about −2 standard deviations


TRANSFORMS = {t.__name__: t for t in (PadCrop, Flip, AlternatingFlip, VerticalFlip, Rotate, GridDistortion, Cutout)}


def to_dict(transform: Transform) -> dict[str, Any]:
    """A transform as plain values: {"transform": "Flip", "p": 0.5}."""
    return {"transform": type(transform).__name__, **dataclasses.asdict(transform)}


def from_list(values: Any) -> tuple[Transform, ...]:
    """A recipe's transforms from a list of them, each as it is or as `to_dict` writes it."""
    try:
        plain = [to_dict(value) if isinstance(value, Transform) else {**value} for value in values]
        return tuple(TRANSFORMS[settings.pop("transform")](**settings) for settings in plain)
    except (KeyError, TypeError):
        kinds = ", ".join(str(kind()) for kind in TRANSFORMS.values())
        example = '[{"transform": "Flip", "p": 0.5}]'
        raise ValueError(f"transforms must be a list such as {example}, of {kinds}; not {values!r}") from None


def pipeline(transforms: Sequence[Transform], mean: Sequence[float]) -> A.Compose:
    """A recipe's transforms in its order, called as `pipeline(image=image)["image"]`, (32, 32, 3) uint8 in and out.

    `mean` holds the channel means of the data set in [0, 1]: what cutout fills with.
    """
    return A.Compose([step for transform in transforms for step in _steps(transform, pixel(mean))])


def _steps(transform: Transform, mean: tuple[int, ...]) -> list[A.BasicTransform]:
    """A transform in albumentations' terms."""
    match transform:
        case PadCrop(padding, border):
            side = SIDE + 2 * padding
            pad = A.PadIfNeeded(side, side, border_mode=CHOICES["border"][border], fill=0)
            return [pad, A.RandomCrop(SIDE, SIDE)]
        case Flip(p):
            return [A.HorizontalFlip(p=p)]
        case AlternatingFlip():
            raise ValueError("AlternatingFlip depends on the epoch, which no image knows; take loader='device'")
        case VerticalFlip(p):
            return [A.VerticalFlip(p=p)]
        case Rotate(limit, p):
            return [A.Rotate(limit=limit, border_mode=REFLECT, p=p)]
        case GridDistortion(limit, p):  # by default, albumentations leaves a black edge
            return [A.GridDistortion(num_steps=5, distort_limit=limit, border_mode=REFLECT, p=p)]
        case Cutout(size, holes, p, fill):
            sides = {"hole_height_range": (size, size), "hole_width_range": (size, size)}
            return [A.CoarseDropout((holes, holes), **sides, fill=mean if fill == "mean" else 0, p=p)]


def pixel(colour: Sequence[float]) -> tuple[int, ...]:
    """A colour in [0, 1] as whole pixel values 0–255."""
    return tuple(round(255 * value) for value in colour)


def reseed(augmentation: A.Compose, *key: int) -> None:
    """Point the pipeline's randomness at the stream of `key`, non-negative integers such as (seed, epoch, batch).

    All transforms share the one stream and draw from it in turn. Left alone, albumentations 2.0.8 repeats one stream in
    every worker and epoch; given an integer seed, it seeds each transform alike, so that two flips always agree.
    """
    generator = np.random.default_rng(key)
    augmentation.set_random_state(generator, random.Random(int(generator.integers(2**63))))


def apply(augmentation: A.Compose, images: np.ndarray) -> np.ndarray:
    """Augment images one after the other, (N, 32, 32, 3) uint8 in and out."""
    if not augmentation.transforms or not len(images):
        return images
    return np.stack([augmentation(image=image)["image"] for image in images])
