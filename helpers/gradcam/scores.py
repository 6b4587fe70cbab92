"""Whether to believe a map: scores beside those that chance or the image's centre would get.

- deletion and insertion (Petsiuk et al. 2018, RISE): does the net's confidence follow the pixels the map ranks first?
- pointing game (Zhang et al. 2018, Top-down Neural Attention) and the energy inside the object (Wang et al. 2020,
  Score-CAM): where the object's mask is known, does the map lie on it?

Maps and masks are (N, H, W); tensors or arrays.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from helpers import files
from helpers.devices import Compute
from helpers.gradcam import maps as gradcam
from helpers.gradcam.maps import Targets
from helpers.results.intervals import Interval, share

Array = np.ndarray | torch.Tensor
Score = Callable[[torch.Tensor], torch.Tensor]  # images (M, 3, H, W) to probabilities (M, K)

BATCH = 250  # images that go through a net at once
DRAWS = 2000  # resamples of a bootstrap


# ---- means


@dataclass(frozen=True)
class Mean:
    """A mean over images with its interval."""

    value: float
    low: float  # ends of the 95 % bootstrap interval; not numbers for a single image
    high: float
    count: int  # images

    def __str__(self) -> str:
        ends = f"{self.low:.3f} to {self.high:.3f}, " if self.count > 1 else ""
        return f"{self.value:.3f} ({ends}n = {self.count})"


def mean(values: Array) -> Mean:
    """The mean of one number per image (N,), N ≥ 1, with an interval from resampled means.

    Its ends are the percentiles that make it as wide as Student's where the values are normal (Hesterberg 2015, the
    "expanded percentile" interval): plain percentiles are too narrow for few images. Below ten it still is, a little.
    """
    values = as_array(values).astype(np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"need one number for each of one or more images, not {values.shape}")
    count, value = len(values), float(values.mean())
    if count == 1:
        return Mean(value, math.nan, math.nan, 1)
    rng, blocks = np.random.default_rng(0), np.array_split(np.arange(DRAWS), -(-DRAWS * count // 1_000_000))
    means = [values[rng.integers(0, count, (len(block), count))].mean(1) for block in blocks]
    tail = NormalDist().cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1))
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail)).tolist()
    return Mean(value, low, high, count)


# ---- maps to compare with


def centre_prior(count: int, height: int, width: int) -> np.ndarray:
    """The map of a photographer: highest at the image's centre, falling with the distance to 0 in its corner pixels.

    It is (count, height, width) float64 in [0, 1], the same for every image.
    """
    down, across = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    distance = np.hypot(down[:, None], across)
    return np.repeat((1 - distance / distance.max())[None], count, axis=0)


def random_maps(count: int, height: int, width: int, cells: int | None = None, seed: int = 0) -> np.ndarray:
    """Maps of chance, (count, height, width) float64: uniform in [0, 1), another draw for each image.

    `cells` is a side of the grid that is drawn and then enlarged, as a layer's maps are; default every pixel by itself.
    """
    shape = (height, width) if cells is None else (cells, cells)
    drawn = torch.from_numpy(np.random.default_rng((seed, 1)).random((count, *shape)))
    return gradcam.enlarge(drawn, (height, width)).numpy()


def rivals(maps: Array, cells: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Maps (N, H, W) and what they have to beat, each (N, H, W), as orders of pixels for `deletion` and `insertion`.

    Single pixels taken away by chance make a noise that no net was trained on, and its score falls for that reason; so
    chance is also asked for patches as coarse as the maps, whose layer has `cells` cells a side.
    """
    maps = as_array(maps)
    return {
        "map": maps,
        "random patches": random_maps(*maps.shape, cells, seed),
        "random pixels": random_maps(*maps.shape, seed=seed),
        "centre first": centre_prior(*maps.shape),
    }


# ---- deletion and insertion


@dataclass(frozen=True)
class Curve:
    """A class's probability while pixels are taken away or put in."""

    shares: np.ndarray  # (S + 1,) of the pixels changed, 0 to 1
    scores: np.ndarray  # (N, S + 1) probability of each image's class

    @cached_property
    def areas(self) -> np.ndarray:
        """(N,) area under each image's curve by trapezoids, in [0, 1]."""
        return np.trapezoid(self.scores, self.shares, axis=1)

    @cached_property
    def area(self) -> Mean:
        """The areas' mean over the images: low is good for deletion, high for insertion."""
        return mean(self.areas)


def probabilities(model: nn.Module, compute: Compute | None = None) -> Score:
    """A function of normalised images (M, 3, H, W): the softmax of a net in eval mode, (M, K) float32.

    `compute` sets number format and layout; default that of the images and of the caller's autocast.
    """

    @torch.no_grad()
    def score(images: torch.Tensor) -> torch.Tensor:
        images = images.to(next(model.parameters(), images).device)
        images = images.contiguous(memory_format=compute.memory_format) if compute else images
        with gradcam.evaluating(model), compute.autocast() if compute else contextlib.nullcontext():
            return model(images).float().softmax(1)

    return score


def deletion(
    score: Score, images: torch.Tensor, classes: Targets, maps: Array, steps: int = 16, baseline: str = "mean"
) -> Curve:
    """Take pixels away, beginning with those the map ranks first, and watch the class's probability.

    The curve runs from the whole image to the baseline (Petsiuk et al. 2018).

    Args:
        score: from images (M, 3, H, W) to probabilities (M, K), such as `probabilities(model)`.
        images: (N, 3, H, W), normalised.
        classes: N classes, whose probability is watched.
        maps: (N, H, W); large where it matters. Ties are ranked by chance, since reading order would be a map too.
        steps: each takes a share of 1/steps of the pixels.
        baseline: what takes their place: "mean", the training images' mean colour, which is 0 after normalising; or
            "blur", the image itself out of focus.
    """
    return _follow(score, images, _baseline(images, baseline), classes, ranks(maps), steps)


def insertion(
    score: Score, images: torch.Tensor, classes: Targets, maps: Array, steps: int = 16, baseline: str = "blur"
) -> Curve:
    """Put pixels into the baseline, beginning with those the map ranks first; the rest is as in `deletion`.

    The default baseline is blurred, as in the paper, so that the first pixels draw no edges of their own.
    """
    return _follow(score, _baseline(images, baseline), images, classes, ranks(maps), steps)


def blurred(images: torch.Tensor) -> torch.Tensor:
    """Images (N, 3, H, W) out of focus: a Gaussian, edges mirrored."""
    sigma = 4.0  # pixels; of 32, that leaves the colours of a region and no shape
    reach = min(round(3 * sigma), *(side - 1 for side in images.shape[2:]))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(images) / sigma) ** 2)
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    across = F.conv2d(padded, weights, groups=images.shape[1])
    return F.conv2d(across, weights.transpose(2, 3), groups=images.shape[1])


def ranks(maps: Array, seed: int = 0) -> np.ndarray:
    """(N, H, W) int64: 0 for an image's largest value, H·W − 1 for its smallest; ties by a chance drawn from `seed`."""
    maps = as_maps(maps)
    flat = maps.reshape(len(maps), -1)
    chance = np.random.default_rng((seed, 2)).random(flat.shape)
    order = np.lexsort((chance, -flat), axis=-1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(flat.shape[1])[None], axis=1)
    return found.reshape(maps.shape)


# ---- masks


@dataclass(frozen=True)
class Pointing:
    """How well maps find objects whose masks are known."""

    # images whose largest value lies on the object; of several largest, the share on it counts, and the sum is rounded
    hits: Interval
    energy: Mean  # share of a map's sum that lies on the object


def pointing(maps: Mapping[str, Array], masks: Array) -> dict[str, Pointing]:
    """Score maps (N, H, W) of 0 or more, by name, against masks (N, H, W) bool, True on the object.

    Beside them stands what they have to beat: the "centre prior", the same map for every image, and the "mask's area":
    what a flat map gets, which hits by chance.
    """
    shape = as_array(masks).shape
    every = {**maps, "centre prior": centre_prior(*shape), "mask's area": np.ones(shape)}
    scores = {}
    for name, found in every.items():
        hits = pointing_hits(found, masks)
        scores[name] = Pointing(share(round(hits.sum()), len(hits)), mean(energy_inside(found, masks)))
    return scores


def pointing_hits(maps: Array, masks: Array) -> np.ndarray:
    """(N,) in [0, 1]: 1 where the map's largest value lies on the object; of several largest, the share that does.

    Zhang et al. 2018, without their margin of 15 pixels, which would be half of an image here.
    """
    maps, masks = _maps_and_masks(maps, masks)
    largest = maps == maps.max((1, 2), keepdims=True)
    return (largest & masks).sum((1, 2)) / largest.sum((1, 2))


def energy_inside(maps: Array, masks: Array) -> np.ndarray:
    """(N,) in [0, 1]: the share of a map's sum that lies on the object (Wang et al. 2020).

    A map of zeros counts as a flat one and scores its mask's share of the area, since it said nothing for 0 nor for 1.
    """
    maps, masks = _maps_and_masks(maps, masks)
    maps = np.where(maps.any((1, 2), keepdims=True), maps, 1.0)
    return (maps * masks).sum((1, 2)) / maps.sum((1, 2))


# ---- parts


def as_array(values: Array | Sequence[int]) -> np.ndarray:
    """Values as an array in host memory."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def as_maps(values: Array) -> np.ndarray:
    """Maps (N, H, W), finite numbers, as float64 in host memory."""
    maps = as_array(values)
    if maps.ndim != 3 or not maps.size or not np.isfinite(maps).all():
        raise ValueError(f"maps must be (N, H, W) finite numbers, not {maps.shape} {maps.dtype}")
    return maps.astype(np.float64)


def _follow(
    score: Score,
    start: torch.Tensor,
    end: torch.Tensor,
    classes: Targets,
    order: np.ndarray,
    steps: int,
) -> Curve:
    """The curve from one set of images to another, whose pixels come in the order of their ranks."""
    if order.shape != (len(start), *start.shape[2:]):
        raise ValueError(f"need one map for each image, of its size {tuple(start.shape)}, not {order.shape}")
    files.number("steps", steps, 1, whole=True)
    classes, counts = torch.as_tensor(as_array(classes)), np.rint(np.linspace(0, order[0].size, steps + 1)).astype(int)
    changed = torch.from_numpy(order < counts[:, None, None, None])[:, :, None].to(start.device)  # (S + 1, N, 1, H, W)
    found = []
    for images in torch.arange(len(start)).split(BATCH):
        answers = []
        for part in changed[:, images].split(max(1, BATCH // len(images))):
            frames = torch.where(part, end[images], start[images])
            answers.append(score(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        every = torch.cat(answers)  # (S + 1, n, K)
        watched = gradcam.classes_of(every[0], classes[images] if len(classes) == len(start) else classes)
        found.append(every[:, torch.arange(len(images)), watched].T)
    return Curve(counts / order[0].size, torch.cat(found).cpu().double().numpy())  # MPS has no float64


def _baseline(images: torch.Tensor, baseline: str) -> torch.Tensor:
    """(N, 3, H, W): what an image is when all its pixels are taken away."""
    files.choice("baseline", baseline, ("mean", "blur"))
    return torch.zeros_like(images) if baseline == "mean" else blurred(images)


def _maps_and_masks(maps: Array, masks: Array) -> tuple[np.ndarray, np.ndarray]:
    maps, masks = as_maps(maps), as_array(masks)
    if masks.shape != maps.shape or masks.dtype != bool:
        raise ValueError(f"masks must be bool and of the maps' shape {maps.shape}, not {masks.dtype} {masks.shape}")
    if maps.min() < 0:
        raise ValueError("maps must not be negative; draw them with GradCAM, or take their positive part")
    if not masks.any((1, 2)).all():
        raise ValueError("every mask must hold a part of its object; leave out images without")
    return maps, masks
