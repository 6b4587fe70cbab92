"""Whether a map depends on what the net learnt: its parameters are randomised, stage by stage, and maps drawn again.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps": a map that stays the same when the net forgets explains nothing.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from helpers import devices, gradcam
from helpers.cam_scores import BATCH, Array, as_array, as_maps, probabilities
from helpers.gradcam import GradCAM, Targets

WINDOW = 7  # side of the window of the structural similarity, in pixels


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are, image by image; images whose first map is flat are left out.

    Attributes:
        stage: what was randomised last, or another name of the comparison.
        spearman: (n,) rank correlation of the cells, −1 to 1; 0 where the second map is flat.
        ssim: (n,) structural similarity of the enlarged maps, −1 to 1.
    """

    stage: str
    spearman: np.ndarray
    ssim: np.ndarray


@dataclass(frozen=True)
class Randomisation:
    """What is left of a layer's maps while the net forgets.

    Attributes:
        rows: the first with nothing randomised, then one per stage, from the head down; each keeps those before it.
        chance: the maps against those of another image, by the trained net: so alike are maps that have nothing to do
            with each other.
    """

    rows: list[Similarity]
    chance: Similarity


def randomisation(
    cam: GradCAM,
    images: torch.Tensor,
    targets: Targets | None = None,
    stages: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Randomisation]:
    """Draw maps again while the net's stages are randomised one after the other (Adebayo et al. 2018).

    Args:
        cam: its net is copied, and left alone.
        images: (N, 3, H, W), normalised, N ≥ 2.
        targets: N classes; default the trained net's predictions, also for the maps of the randomised net.
        stages: names of modules, in the order in which to randomise; default all children with weights, the last first.
        seed: of the random weights.

    Returns:
        The check of every layer of `cam`, by name.

    Raises:
        ValueError: a stage that is not there or cannot be randomised; fewer than two images, or flat maps only.
    """
    if len(images) < 2:
        raise ValueError("give two or more images; maps of different ones show what similarity chance gives")
    if targets is None:
        targets = torch.cat([probabilities(cam.model, cam.compute)(part) for part in images.split(BATCH)]).argmax(1)
    first = _both_sizes(cam, images, targets)
    compared = {layer: [_similarity("nothing", maps, maps)] for layer, maps in first.items()}
    for stage, model in cascade(cam.model, stages, seed):
        now = _both_sizes(GradCAM(model, list(cam.layers), cam.method, cam.compute), images, targets)
        for layer, maps in first.items():
            compared[layer].append(_similarity(stage, maps, now[layer]))
    others = {layer: tuple(np.roll(m, 1, axis=0) for m in maps) for layer, maps in first.items()}
    chances = {layer: _similarity("another image", maps, others[layer]) for layer, maps in first.items()}
    return {layer: Randomisation(rows, chances[layer]) for layer, rows in compared.items()}


def cascade(model: nn.Module, stages: Sequence[str] | None = None, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield (stage, net) after each stage of a copy got fresh weights, as those of a new net; earlier ones stay so.

    Args:
        model: is copied once; stages: see `randomisation`; seed: of the weights.

    Raises:
        ValueError: a stage that is not there or cannot be randomised.
    """
    model = copy.deepcopy(model)
    weighted = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    modules = dict(model.named_modules())
    for number, stage in enumerate(weighted[::-1] if stages is None else stages):
        if stage not in modules:
            raise ValueError(f"the net has no stage {stage!r}; it has {', '.join(weighted)}, and modules inside them")
        with devices.seeded(1000 * seed + number):
            _forget(stage, modules[stage])
        yield stage, model


def spearman(first: Array, second: Array) -> np.ndarray:
    """Rank correlation of maps (N, …), image by image, (N,) in −1 to 1; tied values share their mean rank.

    Where one of the two maps is flat it ranks nothing, and the correlation is given as 0.

    Raises:
        ValueError: the maps differ in shape, or hold values that are not finite.
    """
    _check_alike(first, second)
    a, b = (np.stack([_mean_ranks(row) for row in as_array(maps).reshape(len(maps), -1)]) for maps in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), size, out=np.zeros(len(a)), where=size > 0)


def ssim(first: Array, second: Array) -> np.ndarray:
    """Structural similarity of maps (N, H, W) with values in [0, 1], image by image, (N,) in −1 to 1.

    Wang et al. 2004, equation 13, averaged over all windows of 7×7 pixels that lie inside, with unbiased variances:
    what scikit-image's `structural_similarity` gives by default for a data range of 1.

    Raises:
        ValueError: the maps differ in shape, are smaller than a window, or hold values that are not finite.
    """
    _check_alike(first, second)
    a, b = (torch.from_numpy(as_maps(maps))[:, None] for maps in (first, second))
    if min(a.shape[2:]) < WINDOW:
        raise ValueError(f"maps must have at least {WINDOW} pixels a side, not {tuple(a.shape[2:])}; enlarge them")
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (F.avg_pool2d(x, WINDOW, 1) for x in (a, b, a * a, b * b, a * b))
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    var_a, var_b = unbiased * (mean_aa - mean_a**2), unbiased * (mean_bb - mean_b**2)
    covariance, c1, c2 = unbiased * (mean_ab - mean_a * mean_b), 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return (above / below).mean((1, 2, 3)).numpy()


def _check_alike(first: Array, second: Array) -> None:
    one, other = as_array(first), as_array(second)
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError(f"need finite maps of one shape, got {one.shape} and {other.shape}")


def _forget(stage: str, module: nn.Module) -> None:
    """Give a module, and what is inside it, the weights and statistics of a new one."""
    for name, part in module.named_modules():
        if next(part.parameters(recurse=False), None) is None:
            continue
        if not hasattr(part, "reset_parameters"):
            kind = type(part).__name__
            raise ValueError(f"cannot randomise {stage}: {name or stage}, a {kind}, has no reset_parameters method")
        part.reset_parameters()


def _both_sizes(cam: GradCAM, images: torch.Tensor, targets: torch.Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every layer's maps with its own cells, and enlarged."""
    cells = gradcam.in_batches(cam, images, targets, upsample=False)
    return {layer: (as_array(m), as_array(gradcam.enlarge(m, images.shape[2:]))) for layer, m in cells.items()}


def _similarity(stage: str, first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> Similarity:
    """Compare pairs (cells, enlarged) of maps, where the first is not flat."""
    speaks = np.ptp(first[0], axis=(1, 2)) > 0
    if not speaks.any():
        raise ValueError("every map is flat, so none can change; choose another layer, method or target")
    (a, a_large), (b, b_large) = ([maps[speaks] for maps in pair] for pair in (first, second))
    return Similarity(stage, spearman(a, b), ssim(a_large, b_large))


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of (P,) values from 1; equal values share the mean of their ranks."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2
