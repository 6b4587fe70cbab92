"""The fast path: images stay on the device, and whole batches are augmented there, without a wait and without a worker.

What it draws follows the same distributions as the albumentations path, the reference; where a recipe uses a transform
that is not covered here, that path runs it.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from helpers import devices
from helpers.data import augment
from helpers.data.augment import SIDE, Cutout, Flip, PadCrop, Transform, VerticalFlip
from helpers.data.datasets import Images
from helpers.data.loaders import Batch, TrainLoader, epoch_order
from helpers.devices import Compute
from helpers.files import choice

PATHS = ("albumentations", "device")
COVERED = (PadCrop, Flip, VerticalFlip, Cutout)


class DeviceLoader:
    """Shuffled, augmented training batches, made on the device; the interface of `loaders.TrainLoader`.

    The images lie on the device as uint8. What happens to them in an epoch is drawn in one go from (seed, epoch), and
    sent over at once. NumPy draws it on the host, so that a batch is a function of (seed, epoch, batch) alone, the same
    to the last bit on every device, and nothing waits within an epoch. The order of the images is that of the
    albumentations path, their augmentation another draw from the same distribution.

    The arguments are those of `TrainLoader`, but transforms must be of a kind in COVERED, and `device` is "cpu", "cuda"
    or "mps".
    """

    def __init__(
        self,
        split: Images,
        transforms: Sequence[Transform],
        mean: Sequence[float],
        batch_size: int,
        seed: int = 0,
        device: str = "cpu",
    ):
        _check_covered(transforms)
        self.transforms, self.batch_size, self.seed, self.device = tuple(transforms), batch_size, seed, device
        self.images, self.labels = torch.tensor(split.images).to(device), torch.tensor(split.labels).to(device)
        self.mean = torch.tensor(augment.pixel(mean), dtype=torch.uint8, device=device)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the epoch's batches: images (B, 32, 32, 3) uint8 and labels (B,) int64, on the device."""
        count, rng = len(self.labels), np.random.default_rng((self.seed, epoch, 1))
        order = self._send(epoch_order(self.seed, epoch, count))
        draws = [self._send(draw(transform, count, rng)) for transform in self.transforms]
        for start in range(0, count, self.batch_size):
            part = slice(start, start + self.batch_size)
            images = self.images[order[part]]
            for transform, drawn in zip(self.transforms, draws):
                images = apply(transform, images, drawn[part], self.mean)
            yield images, self.labels[order[part]]

    def _send(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.tensor(values)
        pinned = tensor.pin_memory() if self.device == "cuda" else tensor  # else the host waits for the copy
        return devices.sent(pinned, self.device)


def draw(transform: Transform, count: int, rng: np.random.Generator) -> np.ndarray:
    """What a transform does to each of `count` images, as whole numbers, (count, …) int64.

    Offsets (count, 2) of a crop, down and right, in 0 … 2 · padding; 0 or 1 (count,) for a flip; top left corners
    (count, holes, 2) of a cutout, in 0 … 32 − size so that holes lie wholly inside, or 32 where an image is spared.
    Those are the ranges of albumentations' RandomCrop and CoarseDropout, their ends included.
    """
    match transform:
        case PadCrop(padding=padding):
            return rng.integers(0, 2 * padding, (count, 2), endpoint=True)
        case Cutout(size=size, holes=holes, p=p):
            corners = rng.integers(0, SIDE - size, (count, holes, 2), endpoint=True)
            return np.where(rng.random((count, 1, 1)) < p, corners, SIDE)
    return (rng.random(count) < transform.p).astype(np.int64)


def apply(transform: Transform, images: torch.Tensor, drawn: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Do to a batch (B, 32, 32, 3) uint8 what was drawn for it, B rows of `draw` on the same device.

    A Cutout that fills with the mean takes it from `mean`, (3,) uint8.
    """
    match transform:
        case PadCrop():
            return crop(images, drawn, transform.padding, transform.border)
        case Cutout():
            return cut_out(images, drawn, transform.size, mean if transform.fill == "mean" else torch.zeros_like(mean))
    axis = 2 if isinstance(transform, Flip) else 1
    return torch.where(drawn.bool()[:, None, None, None], images.flip(axis), images)


def crop(images: torch.Tensor, offsets: torch.Tensor, padding: int, border: str) -> torch.Tensor:
    """Pad every side, then cut a window as large as before, at `offsets` (B, 2) from the padded top and left."""
    places = offsets[:, :, None] - padding + torch.arange(SIDE, device=images.device)  # (B, 2, 32), may lie outside
    period = 2 * (SIDE - 1)
    mirrored = SIDE - 1 - (places.remainder(period) - (SIDE - 1)).abs()  # …2 1 0 1 2… 30 31 30…, the edge not repeated
    rows, columns = mirrored[:, 0, :, None], mirrored[:, 1, None, :]
    cut = images[torch.arange(len(images), device=images.device)[:, None, None], rows, columns]
    if border == "reflect":
        return cut
    inside = (places >= 0) & (places < SIDE)
    return cut * (inside[:, 0, :, None] & inside[:, 1, None, :])[..., None]


def cut_out(images: torch.Tensor, corners: torch.Tensor, size: int, fill: torch.Tensor) -> torch.Tensor:
    """Fill squares of `size` pixels with a colour (3,), given their top left corners (B, holes, 2)."""
    past = torch.arange(SIDE, device=images.device) - corners[..., None]  # (B, holes, 2, 32)
    within = (past >= 0) & (past < size)
    holes = (within[:, :, 0, :, None] & within[:, :, 1, None, :]).any(1)
    return torch.where(holes[..., None], fill, images)


def make_loader(
    path: str,
    split: Images,
    transforms: Sequence[Transform],
    mean: Sequence[float],
    batch_size: int,
    seed: int,
    compute: Compute,
) -> TrainLoader | DeviceLoader:
    """The loader of a path, one of PATHS; the other arguments are those of `DeviceLoader`."""
    choice("loader", path, PATHS)
    if path == "device":
        return DeviceLoader(split, transforms, mean, batch_size, seed, compute.device)
    return TrainLoader(split, transforms, mean, batch_size, seed, devices.default_workers(compute))


def choose_path(transforms: Sequence[Transform], compute: Compute) -> str:
    """Which of PATHS makes the batches: the environment's HELPERS_LOADER, else what suits the device.

    On a CPU that is albumentations, which takes a small share of a step there. Elsewhere it is the device, unless the
    recipe has a transform that only albumentations knows: worker processes can hardly keep up with a GPU.
    """
    asked = compute.loader or os.environ.get("HELPERS_LOADER")
    if asked:
        choice("HELPERS_LOADER", asked, PATHS)
        if asked == "device":
            _check_covered(transforms)
        return asked
    covered = all(isinstance(transform, COVERED) for transform in transforms)
    return "device" if covered and compute.device != "cpu" else "albumentations"


def _check_covered(transforms: Sequence[Transform]) -> None:
    others = [type(transform).__name__ for transform in transforms if not isinstance(transform, COVERED)]
    if others:
        raise ValueError(
            f"the device path cannot do {', '.join(others)}, only {', '.join(kind.__name__ for kind in COVERED)}; "
            "let albumentations do it: unset HELPERS_LOADER, or set it to albumentations"
        )
