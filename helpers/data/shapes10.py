"""Shapes-10: a small data set drawn at run time, each image with the mask of its object.

One of ten shapes, more or less upright and of any colour, lies on a textured ground among distractors; mirroring
changes no class. Image i depends on (split, i) alone, so a short draw begins a longer one.
"""

import colorsys
from functools import cache

import cv2
import numpy as np

CLASSES = ("circle", "ring", "crescent", "triangle", "square", "pentagon", "hexagon", "star", "cross", "heart")
SIZES = {"train": 50_000, "test": 10_000}
MEAN = (0.3639, 0.3667, 0.3647)  # of each channel over the training split, as are the standard deviations
STD = (0.1679, 0.1693, 0.1688)
SIDE = 32  # pixels
WAVES = ("slope", "stripes", "checks", "dots")
CONTRAST = (0.08, 0.6)  # distance in RGB, each 0..1, between the object and what is under it; the low end is rare
NOISE = (0.02, 0.14)  # standard deviation of the grain; the high end is rare
ACROSS = 0.35  # share of images with a line in front of the object
RADIUS = (7.6, 10.8)  # pixels
TURN = 0.35  # largest rotation in radians, either way
MUTED, VIVID = ((0.05, 0.55), (0.1, 0.65)), ((0.5, 1.0), (0.55, 1.0))  # saturation and brightness of grounds, of things
HUES = (0.58, 0.47, 0.15, 0.38, 0.75, 0.67, 0.30, 0.13, 0.05, 0.97)  # where each class's hue is likeliest, in turns
HUE_SPREAD = 0.22  # turns: colour is a weak clue, as the blue of the sky is for airplanes
FINE = 8  # outlines are filled on a grid so many times finer, then averaged
SHIFT, UNIT = 4, 16  # OpenCV takes whole numbers: sixteenths of a pixel
Rng = np.random.Generator
Ranges = tuple[tuple[float, float], tuple[float, float]]  # of saturation and of brightness, in 0..1


def draw(split: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the first images (count, 32, 32, 3) uint8 RGB of "train" or "test"; every ten hold each class once.

    With them come labels (count,) int64 in 0..9 and masks (count, 32, 32) bool, True where the visible part of the
    object covers at least half of the pixel.
    """
    key = (0, tuple(SIZES).index(split))
    order = np.random.default_rng((*key, 0, 1)).random((-(-count // len(CLASSES)), len(CLASSES)))
    labels = order.argsort(axis=1).reshape(-1)[:count].astype(np.int64)  # one permutation of the classes after another
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    masks = np.empty((count, SIDE, SIDE), bool)
    for i, label in enumerate(labels.tolist()):
        images[i], masks[i] = _render(label, np.random.default_rng((*key, i)))
    return images, labels, masks


def _render(label: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """One image (32, 32, 3) uint8 and its mask (32, 32) bool."""
    ground = _ground(rng)
    for _ in range(rng.integers(1, 4)):
        _distract(ground, rng)
    canvas = ground.astype(np.float32) / 255
    cover = _coverage(label, rng)
    paint = _paint(canvas[cover > 0.5].mean(axis=0), HUES[label] + HUE_SPREAD * rng.standard_normal(), rng)
    canvas += cover[..., None] * (paint - canvas)
    if rng.random() < ACROSS:
        cover = cover * (1 - _cross_out(canvas, rng))
    return _photograph(canvas, rng), cover >= 0.5


@cache
def _outlines() -> tuple[tuple[np.ndarray, ...], ...]:
    """The contours of every class, (points, 2) each, upright, of similar size; a second contour is a hole."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    disc = _polar(turn)
    square = 0.85 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    star = _polar(np.arange(10) * np.pi / 5, np.tile([1.3, 0.56], 5))
    arm = np.array([(1.1, 0.38), (0.38, 0.38), (0.38, 1.1)])
    cross = np.concatenate([arm @ _rotation(-quarter * np.pi / 2) for quarter in range(4)])
    lobes = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    heart = np.stack([16 * np.sin(turn) ** 3, -lobes], axis=1) / 15
    triangle, pentagon, hexagon = (_polar(np.arange(corners) * 2 * np.pi / corners) for corners in (3, 5, 6))
    solids = (_crescent(), 1.3 * triangle, square, 1.14 * pentagon, 1.1 * hexagon, star, cross, heart)
    return (disc,), (1.08 * disc, 0.55 * disc), *((solid,) for solid in solids)


def _crescent() -> np.ndarray:
    """A disc less a smaller one at its right, which meets it in the first and the last point of the outer arc."""
    outer = 1.12 * _polar(np.linspace(0.72, 2.28, 36) * np.pi)
    middle = np.array((0.62, 0.0))
    (x, y), size = outer[-1] - middle, np.linalg.norm(outer[-1] - middle)
    end = np.arctan2(x, -y)
    bite = size * _polar(np.linspace(end + 2 * np.pi, np.pi - end, 30)) + middle
    return np.concatenate([outer, bite])


def _polar(angle: np.ndarray, radius: np.ndarray | float = 1.0) -> np.ndarray:
    """(points, 2) of x and y, which points down; angles count clockwise from the top."""
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _coverage(label: int, rng: Rng) -> np.ndarray:
    """(32, 32) float32 in 0..1: what the object covers of each pixel, at a random place, size, rotation and slant."""
    radius = rng.uniform(*RADIUS)
    slack = SIDE / 2 - 1.5 - radius
    centre = (SIDE - 1) / 2 + rng.uniform(-slack, slack, 2)
    turn, axis = rng.uniform(-TURN, TURN), rng.uniform(0, np.pi)
    squeeze = _rotation(axis) @ np.diag((1.0, rng.uniform(0.84, 1.0))) @ _rotation(-axis)
    frame = radius * squeeze @ _rotation(turn)
    return _fill([contour @ frame.T + centre for contour in _outlines()[label]])


def _fill(contours: list[np.ndarray]) -> np.ndarray:
    """(32, 32) float32 in 0..1: the area of each pixel inside contours in pixels; pixel (0, 0) is centred on (0, 0)."""
    fine = np.zeros((SIDE * FINE, SIDE * FINE), np.uint8)
    points = [np.rint(((contour + 0.5) * FINE - 0.5) * UNIT).astype(np.int32) for contour in contours]
    cv2.fillPoly(fine, points, 255, cv2.LINE_8, SHIFT)
    return cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _paint(under: np.ndarray, hue: float, rng: Rng) -> np.ndarray:
    """(32, 32, 3) float32: a colour at a chosen distance from the mean (3,) under the object, with a texture."""
    away = colour(rng, VIVID, hue) - under
    contrast = np.interp(np.sqrt(rng.random()), (0, 1), CONTRAST)
    flat = np.clip(under + away * (contrast / np.linalg.norm(away)), 0, 1)
    return (flat + rng.uniform(0, 0.22) * (texture(rng) - 0.5)[..., None]).astype(np.float32)


def _ground(rng: Rng) -> np.ndarray:
    """(32, 32, 3) uint8, since OpenCV smooths edges on bytes only: one or two textures between random colours."""
    first, second, third = (colour(rng, MUTED) for _ in range(3))
    ground = first + texture(rng)[..., None] * (rng.uniform(0.25, 0.9) * (second - first))
    if rng.random() < 0.4:
        ground += rng.uniform(0.1, 0.4) * texture(rng)[..., None] * (third - ground)
    return np.clip(255 * ground, 0, 255).astype(np.uint8)


def _distract(ground: np.ndarray, rng: Rng) -> None:
    """Draw one thing of no class: a line, an open arc, or a splinter."""
    ink, kind = (255 * colour(rng, VIVID)).tolist(), rng.integers(3)
    (first, second), thickness = rng.integers(0, SIDE * UNIT, (2, 2)).tolist(), int(rng.integers(1, 3))
    if kind == 0:
        cv2.line(ground, first, second, ink, thickness, cv2.LINE_AA, SHIFT)
    elif kind == 1:
        axes = rng.integers(4 * UNIT, 12 * UNIT, 2).tolist()
        tilt, start, sweep = rng.uniform((0, 0, 60), (180, 360, 170)).tolist()
        cv2.ellipse(ground, first, axes, tilt, start, start + sweep, ink, thickness, cv2.LINE_AA, SHIFT)
    else:
        corners = np.array(first) + rng.integers(-5 * UNIT, 5 * UNIT, (rng.integers(3, 6), 2))
        cv2.fillPoly(ground, [corners.astype(np.int32)], ink, cv2.LINE_AA, SHIFT)


def _cross_out(canvas: np.ndarray, rng: Rng) -> np.ndarray:
    """Draw a line in front of everything; returns what it covers of each pixel, (32, 32) float32 in 0..1."""
    line = np.zeros((SIDE, SIDE), np.uint8)
    first, second = rng.integers(0, SIDE * UNIT, (2, 2)).tolist()
    cv2.line(line, first, second, 255, int(rng.integers(1, 3)), cv2.LINE_AA, SHIFT)
    cover = line.astype(np.float32) / 255
    canvas += cover[..., None] * (colour(rng, VIVID) - canvas)
    return cover


def _photograph(canvas: np.ndarray, rng: Rng) -> np.ndarray:
    """(32, 32, 3) uint8: a little blur, contrast, light from one side, and grain."""
    blur, contrast, slope, light = rng.uniform((0.3, 0.7, 0.0, -0.1), (0.8, 1.1, 0.35, 0.1)).tolist()
    gain = contrast * (1 + slope * (waves(rng, "slope") - 0.5))
    picture = 0.5 + light + (cv2.GaussianBlur(canvas, (3, 3), blur) - 0.5) * gain[..., None]
    noise = NOISE[0] + (NOISE[1] - NOISE[0]) * rng.random() ** 3
    picture += np.float32(noise) * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)


def colour(rng: Rng, ranges: Ranges, hue: float | None = None) -> np.ndarray:
    """Draw a colour, (3,) float32 RGB in 0..1; `hue` is in turns of the colour circle, None draws any."""
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
    columns = np.arange(SIDE, dtype=np.float32)
    rows = columns[:, None]
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
