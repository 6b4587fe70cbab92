"""Whether to believe a map: scores, one number per image, to set beside those of chance or of the image's centre.

Maps and masks are (N, H, W); tensors or arrays.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy import stats
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from helpers import devices, files
from helpers.devices import Compute
from helpers.gradcam.maps import Targets, class_numbers, enlarge, logits_of
from helpers.models import copied, evaluating

Array = np.ndarray | torch.Tensor
Score = Callable[[torch.Tensor], np.ndarray]  # of normalised images (N, 3, H, W): probabilities (N, K)

BATCH = 250  # images that go through a net at once


def centre_prior(count: int, height: int, width: int) -> np.ndarray:
    """The map of a photographer: highest at the image's centre, falling with the distance to 0 in its corner pixels.

    It is (count, height, width) float64 in [0, 1], the same for every image.
    """
    down, across = ((np.arange(side) + 0.5) / side * 2 - 1 for side in (height, width))
    distance = np.hypot(down[:, None], across)
    return np.repeat((1 - distance / distance.max())[None], count, axis=0)


def random_maps(count: int, height: int, width: int, cells: int, seed: int = 0) -> np.ndarray:
    """Maps of chance, (count, height, width) float64: uniform in [0, 1), another draw for each image.

    `cells` is a side of the grid that is drawn and then enlarged, as a layer's maps are.
    """
    drawn = torch.from_numpy(np.random.default_rng((seed, 1)).random((count, cells, cells)))
    return enlarge(drawn, (height, width)).numpy()


def deletion(
    score: Score, images: torch.Tensor, classes: Targets, maps: Array, steps: int = 16, baseline: str = "mean"
) -> np.ndarray:
    """Take pixels from normalised images (N, 3, H, W), first those the maps rank first; watch the classes' probability.

    After Petsiuk et al. 2018 (RISE). The result is (N, steps + 1) float64: each image's probability while the share of
    its pixels that is gone grows evenly from 0 to 1. A small area under this curve is good. What is gone has the
    colours of the `baseline`: "mean", the data set's mean colour, or "blur", the image out of focus.
    """
    order, empty = torch.from_numpy(ranks(maps))[:, None].to(images.device), _emptied(images, baseline)
    counts = np.rint(np.linspace(0, order[0].numel(), steps + 1)).astype(int)
    frames = (torch.where(order < count, empty, images) for count in counts)
    each = np.arange(len(images)), as_array(class_numbers(classes, len(images)))
    return np.stack([score(frame)[each] for frame in frames], axis=1)


def ranks(maps: Array, seed: int = 0) -> np.ndarray:
    """(N, H, W) int64: 0 for an image's largest value, H·W − 1 for its smallest; ties by a chance drawn from `seed`."""
    maps = as_array(maps).astype(np.float64)
    flat = maps.reshape(len(maps), -1)
    chance = np.random.default_rng((seed, 2)).random(flat.shape)
    return np.lexsort((chance, -flat), axis=-1).argsort(axis=1).reshape(maps.shape)


@torch.no_grad()
def probabilities(model: nn.Module, images: torch.Tensor, compute: Compute | None = None) -> np.ndarray:
    """Softmax of a net in eval mode for normalised images (N, 3, H, W): (N, K) float64."""
    with evaluating(model):
        found = [logits_of(model, part, compute).float().softmax(1).cpu() for part in images.split(BATCH)]
    return torch.cat(found).double().numpy()


def energy_inside(maps: Array, masks: Array) -> np.ndarray:
    """(N,) in [0, 1]: the share of a map's sum inside the bool masks (N, H, W) (Wang et al. 2020, Score-CAM).

    A map of zeros counts as a flat one and scores its mask's share of the area, since it said nothing for 0 nor for 1.
    """
    maps, masks = as_array(maps).astype(np.float64), as_array(masks)
    if masks.shape != maps.shape or masks.dtype != bool or maps.min() < 0:
        raise ValueError(f"need maps ≥ 0 and bool masks (N, H, W), not {maps.shape} and {masks.dtype} {masks.shape}")
    maps = np.where(maps.any((1, 2), keepdims=True), maps, 1.0)
    return (maps * masks).sum((1, 2)) / maps.sum((1, 2))


def cascade(model: nn.Module, stages: Sequence[str] | None = None, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield (stage, net) after each stage of a copy got the weights of a new net; those before it keep theirs.

    After Adebayo et al. 2018 ("Sanity Checks for Saliency Maps"). There is one copy for all stages, which are names of
    modules, by default all children with weights, the last first.
    """
    model = copied(model)
    weighted = [name for name, child in model.named_children() if next(child.parameters(), None) is not None]
    for number, stage in enumerate(weighted[::-1] if stages is None else stages):
        with devices.seeded(1000 * seed + number):
            for module in model.get_submodule(stage).modules():
                if next(module.parameters(recurse=False), None) is not None:
                    module.reset_parameters()
        yield stage, model


def spearman(first: Array, second: Array) -> np.ndarray:
    """Rank correlation of maps (N, …), image by image, (N,) in −1 to 1; tied values share their mean rank.

    Where one of the two maps is flat it ranks nothing, and the correlation is given as 0.
    """
    pairs = zip(*(as_array(maps).reshape(len(maps), -1) for maps in (first, second)), strict=True)
    return np.array([stats.spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else 0.0 for a, b in pairs])


def as_array(values: Array) -> np.ndarray:
    """Values in host memory."""
    return values.numpy(force=True) if isinstance(values, torch.Tensor) else np.asarray(values)


def _emptied(images: torch.Tensor, baseline: str) -> torch.Tensor:
    """What images (N, 3, H, W) are when all their pixels are taken away."""
    files.choice("baseline", baseline, ("mean", "blur"))
    if baseline == "mean":
        return torch.zeros_like(images)
    sigma = 4.0  # pixels; of 32, that leaves the colours of a region and no shape
    height, width = (2 * min(round(3 * sigma), side - 1) + 1 for side in images.shape[2:])
    return gaussian_blur(images, [width, height], sigma)
