"""Shapes-10: a small data set drawn at run time, each image with the mask of its object.

Ten shapes of any colour, size and rotation lie on a textured background among distractors. Every class survives mirroring and
rotation. Image i of a split depends on (seed, split, i) alone, so a short draw is a prefix of a longer one.
"""

import colorsys
from functools import cache

import cv2
import numpy as np

CLASSES = ("circle", "ring", "crescent", "triangle", "square", "pentagon", "star", "cross", "arrow", "heart")
SIZES = {"train": 50_000, "test": 10_000}
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)

SIDE = 32
FINE = 4  # outlines are filled on a grid this many times finer, then averaged: exact coverage to 1/16
CONTRAST = (0.14, 0.9)  # distance in RGB, each 0..1, between the object and what is under it; the low end is rare
NOISE = (0.01, 0.11)  # standard deviation of the grain; the high end is rare
ACROSS = 0.2  # share of images with a line in front of the object
RADIUS = (7.6, 10.8)  # pixels; an 8 x 8 cutout hides less than half of the smallest object
TURN = 0.35  # largest rotation in radians, either way: shapes stand upright, as ships do
MUTED, VIVID = ((0.05, 0.55), (0.1, 0.65)), ((0.5, 1.0), (0.55, 1.0))  # saturation and brightness of grounds, of things
HUES = (0.58, 0.47, 0.15, 0.38, 0.75, 0.67, 0.13, 0.05, 0.30, 0.97)  # where each class's hue is likeliest, in turns
HUE_SPREAD = 0.22  # turns: colour is a weak clue, as the blue of the sky is for airplanes

Rng = np.random.Generator


def draw(split: str, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the first images of a split.

    Args:
        split: "train" or "test"; the two share no image.
        count: how many images, 0 or more; a shorter draw is a prefix of a longer one.
        seed: another seed gives another data set, 0 or more.

    Returns:
        images (count, 32, 32, 3) uint8 RGB, labels (count,) int64 in 0..9, masks (count, 32, 32) bool, True where the visible part of
        the object covers at least half of the pixel. Each run of ten images holds every class once.

    Raises:
        ValueError: for an unknown split or a negative count.
    """
    if split not in SIZES or count < 0:
        raise ValueError(f"Cannot draw {count} images of {split!r}: take a count of 0 or more of one of {tuple(SIZES)}")
    key = (seed, tuple(SIZES).index(split))
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((count, SIDE, SIDE), bool)
    labels = _labels(count, key)
    for i, label in enumerate(labels.tolist()):
        images[i], masks[i] = _render(label, np.random.default_rng((*key, i)))
    return images, labels, masks


def _labels(count: int, key: tuple[int, int]) -> np.ndarray:
    """(count,) int64: one permutation of the ten classes after the other."""
    blocks = -(-count // len(CLASSES))
    order = np.random.default_rng((*key, 0, 1)).random((blocks, len(CLASSES)))
    return order.argsort(axis=1).reshape(-1)[:count].astype(np.int64)


def _render(label: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """One image (32, 32, 3) uint8 and its mask (32, 32) bool."""
    canvas = _background(rng)
    for _ in range(rng.integers(1, 4)):
        _distract(canvas, rng)
    canvas = canvas.astype(np.float32) / 255
    cover = _coverage(label, rng)
    under = canvas[cover > 0.5].mean(axis=0)
    paint = _paint(under, HUES[label] + HUE_SPREAD * rng.standard_normal(), rng)
    canvas += cover[..., None] * (paint - canvas)
    if rng.random() < ACROSS:
        cover -= _cross_out(canvas, rng)
    return _photograph(canvas, rng), cover >= 0.5


# ---- the object


@cache
def _outlines() -> tuple[tuple[np.ndarray, ...], ...]:
    """The contours of every class, (points, 2), upright about the origin and of about equal size; a second contour is a hole."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    disc = _polar(turn)
    triangle, square, pentagon = (
        _polar(2 * np.pi * np.arange(n) / n + lean) for n, lean in ((3, 0), (4, np.pi / 4), (5, 0))
    )
    star = _polar(np.arange(10) * np.pi / 5, np.tile([1.3, 0.56], 5))
    arm = np.array([(1.1, 0.38), (0.38, 0.38), (0.38, 1.1)])
    cross = np.concatenate([arm @ _rotation(-quarter * np.pi / 2) for quarter in range(4)])
    arrow = np.array([(0, -1.2), (1.05, -0.05), (0.42, -0.05), (0.42, 1.1)])
    arrow = np.concatenate([arrow, arrow[:0:-1] * (-1, 1)])
    heart = np.stack(
        [16 * np.sin(turn) ** 3, 5 * np.cos(2 * turn) + 2 * np.cos(3 * turn) + np.cos(4 * turn) - 13 * np.cos(turn)], 1
    )
    solid = (
        disc,
        1.08 * disc,
        1.12 * _crescent(),
        1.3 * triangle,
        1.2 * square,
        1.14 * pentagon,
        star,
        cross,
        arrow,
        heart / 15,
    )
    return tuple(
        (outline, 0.55 * disc) if k == CLASSES.index("ring") else (outline,) for k, outline in enumerate(solid)
    )


def _crescent() -> np.ndarray:
    """A unit disc less a smaller one to its right."""
    wide = np.linspace(0.22 * np.pi, 1.78 * np.pi, 36)
    outer = np.stack([np.cos(wide), np.sin(wide)], 1)
    start = outer[0] - (0.55, 0)
    bend = np.arctan2(start[1], start[0])
    bite = np.linspace(2 * np.pi - bend, bend, 30)
    return np.concatenate([outer, np.hypot(*start) * np.stack([np.cos(bite), np.sin(bite)], 1) + (0.55, 0)])


def _polar(angle: np.ndarray, radius: np.ndarray | float = 1.0) -> np.ndarray:
    """(points, 2) of x, y in pixels' sense (y down), the angle counted from the top, so that each shape stands upright."""
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _coverage(label: int, rng: Rng) -> np.ndarray:
    """(32, 32) float32 in 0..1: the part of each pixel that the object covers, at a random place, size, rotation and slant."""
    radius = rng.uniform(*RADIUS)
    slack = max(0.0, SIDE / 2 - 1.5 - radius)
    centre = (SIDE - 1) / 2 + rng.uniform(-slack, slack, 2)
    first, second = rng.uniform(-TURN, TURN), rng.uniform(0, np.pi)
    squeeze = _rotation(second) @ np.diag((1.0, rng.uniform(0.84, 1.0))) @ _rotation(-second)
    frame = radius * squeeze @ _rotation(first)
    return _fill([contour @ frame.T + centre for contour in _outlines()[label]])


def _rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _fill(contours: list[np.ndarray]) -> np.ndarray:
    """(32, 32) float32 in 0..1: the area of each pixel inside the contours, given in pixels."""
    fine = np.zeros((SIDE * FINE, SIDE * FINE), np.uint8)
    points = [np.rint(((c + 0.5) * FINE - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(fine, points, 255, cv2.LINE_8, 4)
    return cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _paint(under: np.ndarray, hue: float, rng: Rng) -> np.ndarray:
    """(32, 32, 3): a colour at a chosen distance from the background under the object, shaded or striped a little."""
    wish = _colour(rng, VIVID, hue)
    contrast = np.interp(np.sqrt(rng.random()), (0, 1), CONTRAST)
    away = wish - under
    colour = np.clip(under + away * (contrast / max(np.linalg.norm(away), 1e-3)), 0, 1)
    shade = rng.uniform(0, 0.22) * (_texture(rng) - 0.5)
    return colour.astype(np.float32) + shade[..., None]


# ---- what lies around it


def _colour(rng: Rng, ranges: tuple[tuple[float, float], tuple[float, float]], hue: float | None = None) -> np.ndarray:
    """(3,) float32 RGB in 0..1 with saturation and brightness within the ranges, of any hue unless one is given in turns."""
    any_hue, *parts = rng.random(3).tolist()
    saturation, value = (low + part * (high - low) for part, (low, high) in zip(parts, ranges))
    return np.array(colorsys.hsv_to_rgb((any_hue if hue is None else hue) % 1, saturation, value), np.float32)


@cache
def _grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return rows, columns


def _texture(rng: Rng) -> np.ndarray:
    """(32, 32) float32 in about 0..1: a slope, stripes, checks, dots, clouds or tiles."""
    family = rng.integers(6)
    if family < 4:
        return _waves(rng, family)
    cells = int(rng.integers(3, 9))
    small = rng.random((cells, cells), np.float32)
    if family == 4:
        return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((cells / 2, cells / 2), rng.uniform(0, 90), SIDE / cells)
    turn[:, 2] += (SIDE - cells) / 2
    return cv2.warpAffine(small, turn, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)


def _waves(rng: Rng, family: int) -> np.ndarray:
    rows, columns = _grid()
    angle, (shift, other) = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    along = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
    if family == 0:
        return (along - along.min()) / np.ptp(along)
    pitch = np.float32(2 * np.pi / rng.uniform(4, 13))
    first = np.sin(pitch * along + np.float32(shift))
    if family == 1:
        return np.clip(0.5 + rng.uniform(0.5, 2) * first, 0, 1)
    across = np.float32(np.cos(angle)) * rows - np.float32(np.sin(angle)) * columns
    both = first * np.sin(pitch * across + np.float32(other))
    return np.clip(0.5 + 2 * both, 0, 1) if family == 2 else np.clip(2 * both, 0, 1)


def _background(rng: Rng) -> np.ndarray:
    """(32, 32, 3) uint8, for which OpenCV smooths the edges of lines: one or two textures between random colours."""
    first, second, third = (_colour(rng, MUTED) for _ in range(3))
    second = first + rng.uniform(0.25, 0.9) * (second - first)
    canvas = first + _texture(rng)[..., None] * (second - first)
    if rng.random() < 0.4:
        canvas += rng.uniform(0.1, 0.4) * _texture(rng)[..., None] * (third - canvas)
    return np.clip(255 * canvas, 0, 255).astype(np.uint8)


def _distract(canvas: np.ndarray, rng: Rng) -> None:
    """Draw one thing of no class: a line, an open arc, or a small splinter."""
    colour, kind = (255 * _colour(rng, VIVID)).tolist(), rng.integers(3)
    ends = rng.integers(0, SIDE * 16, (2, 2)).tolist()
    if kind == 0:
        cv2.line(canvas, ends[0], ends[1], colour, int(rng.integers(1, 3)), cv2.LINE_AA, 4)
    elif kind == 1:
        start, sweep = rng.uniform(0, 360), rng.uniform(60, 170)
        axes = rng.integers(4 * 16, 12 * 16, 2).tolist()
        cv2.ellipse(
            canvas,
            ends[0],
            axes,
            rng.uniform(0, 180),
            start,
            start + sweep,
            colour,
            int(rng.integers(1, 3)),
            cv2.LINE_AA,
            4,
        )
    else:
        points = np.array(ends[0]) + rng.integers(-5 * 16, 5 * 16, (int(rng.integers(3, 6)), 2))
        cv2.fillPoly(canvas, [points.astype(np.int32)], colour, cv2.LINE_AA, 4)


def _cross_out(canvas: np.ndarray, rng: Rng) -> np.ndarray:
    """Draw a line in front of everything; returns its coverage (32, 32) float32 in 0..1."""
    ends = rng.integers(0, SIDE * 16, (2, 2)).tolist()
    line = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(line, ends[0], ends[1], 255, int(rng.integers(1, 3)), cv2.LINE_AA, 4)
    cover = line.astype(np.float32) / 255
    canvas += cover[..., None] * (_colour(rng, VIVID) - canvas)
    return cover


def _photograph(canvas: np.ndarray, rng: Rng) -> np.ndarray:
    """(32, 32, 3) uint8: light from one side, a little blur, contrast and grain."""
    light = rng.uniform(0, 0.35) * (_waves(rng, 0) - 0.5)
    picture = cv2.GaussianBlur(canvas, (3, 3), rng.uniform(0.3, 0.8))
    gain = np.float32(rng.uniform(0.7, 1.1)) * (1 + light)
    noise = np.float32(np.interp(rng.random() ** 3, (0, 1), NOISE)) * rng.standard_normal(canvas.shape, np.float32)
    picture = 0.5 + (picture - 0.5) * gain[..., None] + np.float32(rng.uniform(-0.1, 0.1)) + noise
    return np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)
