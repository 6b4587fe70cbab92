"""Whether a map depends on what the net learnt: its parameters are randomised, stage by stage, and maps drawn again.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps": a map that stays the same when the net forgets explains nothing.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import nn

from helpers import devices
from helpers.gradcam import maps as gradcam
from helpers.gradcam.maps import GradCAM, Targets
from helpers.gradcam.scores import Array, as_array


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are, image by image; images whose first map is flat are left out."""

    stage: str  # what was randomised last, or another name of the comparison
    spearman: np.ndarray  # (n,) rank correlation of the cells, −1 to 1; 0 where the second map is flat


@dataclass(frozen=True)
class Randomisation:
    """What is left of a layer's maps while the net forgets."""

    # the first with nothing randomised, then one per stage, from the head down; each keeps those before it
    rows: list[Similarity]
    # the trained net's maps against those of another image: so alike are maps that have nothing to do with each other
    chance: Similarity


def randomisation(
    cam: GradCAM, images: torch.Tensor, targets: Targets, stages: Sequence[str] | None = None, seed: int = 0
) -> dict[str, Randomisation]:
    """Draw maps again while the net's stages are randomised one after the other (Adebayo et al. 2018).

    What comes back is the check of every layer of `cam`, by its name.

    Args:
        cam: its net is copied, and left alone.
        images: (N, 3, H, W), normalised, N ≥ 2.
        targets: N classes, also for the maps of the randomised net.
        stages: names of modules, in the order in which to randomise; default all children with weights, the last first.
        seed: of the random weights.
    """
    if len(images) < 2:
        raise ValueError("give two or more images; maps of different ones show what similarity chance gives")
    first = _cells(cam, images, targets)
    compared = {layer: [_similarity("nothing", maps, maps)] for layer, maps in first.items()}
    for stage, model in cascade(cam.model, stages, seed):
        now = _cells(GradCAM(model, list(cam.layers), cam.method, cam.compute), images, targets)
        for layer, maps in first.items():
            compared[layer].append(_similarity(stage, maps, now[layer]))
    chances = {layer: _similarity("another image", maps, np.roll(maps, 1, axis=0)) for layer, maps in first.items()}
    return {layer: Randomisation(rows, chances[layer]) for layer, rows in compared.items()}


def cascade(model: nn.Module, stages: Sequence[str] | None = None, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield (stage, net) after each stage of a copy got fresh weights, as those of a new net; earlier ones stay so.

    There is one copy for all stages, which are chosen as in `randomisation`.
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
    """
    one, other = as_array(first), as_array(second)
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError(f"need finite maps of one shape, got {one.shape} and {other.shape}")
    a, b = (stats.rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), size, out=np.zeros(len(a)), where=size > 0)


def _forget(stage: str, module: nn.Module) -> None:
    """Give a module, and what is inside it, the weights and statistics of a new one."""
    for name, part in module.named_modules():
        if next(part.parameters(recurse=False), None) is None:
            continue
        if not hasattr(part, "reset_parameters"):
            kind = type(part).__name__
            raise ValueError(f"cannot randomise {stage}: {name or stage}, a {kind}, has no reset_parameters method")
        part.reset_parameters()


def _cells(cam: GradCAM, images: torch.Tensor, targets: Targets) -> dict[str, np.ndarray]:
    """Every layer's maps with its own cells, (N, h, w)."""
    return {layer: as_array(m) for layer, m in gradcam.in_batches(cam, images, targets, upsample=False).items()}


def _similarity(stage: str, first: np.ndarray, second: np.ndarray) -> Similarity:
    """Compare maps where the first is not flat."""
    speaks = np.ptp(first, axis=(1, 2)) > 0
    if not speaks.any():
        raise ValueError("every map is flat, so none can change; choose another layer, method or target")
    return Similarity(stage, spearman(first[speaks], second[speaks]))
