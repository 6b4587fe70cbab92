"""Colours and textures that Shapes-10 is painted with, each drawn from a generator."""

import colorsys
from functools import cache

import cv2
import numpy as np

SIDE = 32
WAVES = ("slope", "stripes", "checks", "dots")

Rng = np.random.Generator
Ranges = tuple[tuple[float, float], tuple[float, float]]


def colour(rng: Rng, ranges: Ranges, hue: float | None = None) -> np.ndarray:
    """Draw a colour, (3,) float32 RGB in 0..1.

    Args:
        ranges: least and largest saturation, least and largest brightness, in 0..1.
        hue: in turns of the colour circle; None draws any.
    """
    any_hue, *parts = rng.random(3).tolist()
    saturation, value = (low + part * (high - low) for part, (low, high) in zip(parts, ranges))
    return np.array(colorsys.hsv_to_rgb((any_hue if hue is None else hue) % 1, saturation, value), np.float32)


def texture(rng: Rng) -> np.ndarray:
    """Draw a texture, (32, 32) float32 in about 0..1: a slope, stripes, checks, dots, clouds or tiles."""
    family = rng.integers(len(WAVES) + 2)
    if family < len(WAVES):
        return waves(rng, WAVES[family])
    cells = int(rng.integers(3, 9))
    small = rng.random((cells, cells), np.float32)
    if family == len(WAVES):
        return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((cells / 2, cells / 2), rng.uniform(0, 90), SIDE / cells)
    turn[:, 2] += (SIDE - cells) / 2
    return cv2.warpAffine(small, turn, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)


def waves(rng: Rng, kind: str) -> np.ndarray:
    """Draw a texture made of waves in a random direction, (32, 32) float32 in 0..1; `kind` is one of WAVES."""
    rows, columns = _grid()
    angle, shift, other, pitch = rng.uniform((0, 0, 0, 4), (np.pi, 2 * np.pi, 2 * np.pi, 13)).astype(np.float32)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    if kind == "slope":
        return (along - along.min()) / np.ptp(along)
    first = np.sin(along * (2 * np.pi / pitch) + shift)
    if kind == "stripes":
        return np.clip(0.5 + np.float32(rng.uniform(0.5, 2)) * first, 0, 1)
    across = np.cos(angle) * rows - np.sin(angle) * columns
    both = 2 * first * np.sin(across * (2 * np.pi / pitch) + other)
    return np.clip(both + 0.5 if kind == "checks" else both, 0, 1)


@cache
def _grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return rows, columns
