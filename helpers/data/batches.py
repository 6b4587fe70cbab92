"""Arrays and an augmentation become batches: every batch is a function of (seed, epoch, batch) alone.

A recipe's path is albumentations, the reference, or the device, which augments whole batches without a worker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from helpers import devices
from helpers.data import augment
from helpers.data.arrays import Images
from helpers.data.augment import SIDE, AlternatingFlip, Cutout, Flip, PadCrop, Transform, VerticalFlip
from helpers.devices import Compute
from helpers.files import choice

PATHS = ("albumentations", "device")
COVERED = (PadCrop, Flip, AlternatingFlip, VerticalFlip, Cutout)
Batch = tuple[torch.Tensor, torch.Tensor]  # images (B, 32, 32, 3) uint8, labels (B,) int64
Transforms, Channels = Sequence[Transform], Sequence[float]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of an epoch: a last one of at most an eighth of the others is left out, unless it is the only one."""
    full, rest = divmod(images, batch_size)  # BatchNorm would normalise by the rest alone, be it one image
    return full + (8 * rest > batch_size or 0 < rest == images)


@dataclass(eq=False)
class _Loader:
    """Shuffled training batches of a split; the order of an epoch is drawn from (seed, epoch)."""

    split: Images
    transforms: Transforms
    mean: Channels  # what cutout fills with, in [0, 1]
    batch_size: int  # the last batch of an epoch may be smaller, see `steps_per_epoch`
    seed: int = 0

    def __len__(self) -> int:
        return steps_per_epoch(len(self.split), self.batch_size)

    def order(self, epoch: int) -> np.ndarray:
        """The order in which an epoch shows the images, (N,) int64, without those that it leaves out."""
        # NumPy pads short keys with zeros: the last number keeps the order's stream apart from every batch's
        shuffled = np.random.default_rng((self.seed, epoch, 0)).permutation(len(self.split))
        return shuffled[: len(self) * self.batch_size]


@dataclass(eq=False)
class TrainLoader(_Loader):
    """Batches in host memory, augmented by albumentations, image by image: the reference.

    The augmentation of a batch is drawn from (seed, epoch, batch), whichever worker makes it.
    """

    workers: int = 0  # worker processes; 0 makes batches in this process

    def __post_init__(self) -> None:
        self.augmentation = augment.pipeline(self.transforms, self.mean)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the epoch's batches."""
        order, size = self.order(epoch), self.batch_size
        loader = DataLoader(
            self,
            batch_size=None,  # an item is a whole batch already
            sampler=[(epoch, batch, order[batch * size : (batch + 1) * size]) for batch in range(len(self))],
            num_workers=self.workers,
            worker_init_fn=_one_thread if self.workers else None,
            pin_memory=self.workers > 0 and torch.cuda.is_available(),  # else a copy to the device waits for it
            generator=torch.Generator().manual_seed(0),  # keeps the loader away from the global generator
        )
        return iter(loader)

    def __getitem__(self, key: tuple[int, int, np.ndarray]) -> Batch:
        """One batch, by its epoch, its number and the images chosen for it."""
        epoch, batch, chosen = key
        augment.reseed(self.augmentation, self.seed, epoch, batch + 1)
        images = augment.apply(self.augmentation, self.split.images[chosen])
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[chosen])


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # one image is too small to share; threads only fight the trainer's


@dataclass(eq=False)
class DeviceLoader(_Loader):
    """Batches made on the device, where the images lie, by draws from the same distributions as the reference's.

    NumPy draws a whole epoch on the host, so a batch is the same to the last bit on every device, and none waits.
    """

    device: str = "cpu"  # "cpu", "cuda" or "mps"

    def __post_init__(self) -> None:
        others = [type(transform).__name__ for transform in self.transforms if not isinstance(transform, COVERED)]
        if others:
            raise ValueError(f"the device cannot do {', '.join(others)}; choose the loader albumentations")
        self.images = torch.tensor(self.split.images).to(self.device)
        self.labels = torch.tensor(self.split.labels).to(self.device)
        self.fill = torch.tensor(augment.pixel(self.mean), dtype=torch.uint8, device=self.device)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the epoch's batches, on the device."""
        count, rng = len(self.labels), np.random.default_rng((self.seed, epoch, 1))
        order = self.order(epoch)
        turns = (self.first_mirrored()[order] + epoch) % 2
        draws = [turns if one == AlternatingFlip() else draw(one, count, rng) for one in self.transforms]
        for chosen, *drawn in zip(*(self._send(values).split(self.batch_size) for values in (order, *draws))):
            images = self.images[chosen]
            for transform, part in zip(self.transforms, drawn):
                images = apply(transform, images, part, self.fill)
            yield images, self.labels[chosen]

    def first_mirrored(self) -> np.ndarray:
        """Whether epoch 0 mirrors each image where mirroring alternates, (N,) int64 of 0 and 1."""
        return np.random.default_rng((self.seed, 0, 2)).integers(0, 2, len(self.split))

    def _send(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.tensor(values)
        pinned = tensor.pin_memory() if self.device == "cuda" else tensor  # else the host waits for the copy
        return devices.sent(pinned, self.device)


def draw(transform: Transform, count: int, rng: np.random.Generator) -> np.ndarray:
    """What a transform does to each of `count` images, (count, …) int64, in albumentations' ranges.

    Offsets (count, 2) of a crop, down and right, in 0 … 2 · padding; 0 or 1 (count,) for a flip; top left corners
    (count, holes, 2) of a cutout in 0 … 32 − size, wholly inside, or 32 where an image is spared.
    """
    match transform:
        case PadCrop(padding=padding):
            return rng.integers(0, 2 * padding, (count, 2), endpoint=True)
        case Cutout(size=size, holes=holes, p=p):
            corners = rng.integers(0, SIDE - size, (count, holes, 2), endpoint=True)
            return np.where(rng.random((count, 1, 1)) < p, corners, SIDE)
    return (rng.random(count) < transform.p).astype(np.int64)


def apply(transform: Transform, images: torch.Tensor, drawn: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Do to a batch (B, 32, 32, 3) uint8 what `draw` says, B rows on the same device; `mean` (3,) uint8 may fill."""
    match transform:
        case PadCrop(padding=padding, border=border):
            return crop(images, drawn, padding, border)
        case Cutout(size=size, fill=fill):
            return cut_out(images, drawn, size, mean if fill == "mean" else torch.zeros_like(mean))
    axis = 1 if isinstance(transform, VerticalFlip) else 2
    return torch.where(drawn.bool()[:, None, None, None], images.flip(axis), images)


def crop(images: torch.Tensor, offsets: torch.Tensor, padding: int, border: str) -> torch.Tensor:
    """Pad every side, then cut a window as large as before, at `offsets` (B, 2) from the padded top and left."""
    places = offsets[:, :, None] - padding + torch.arange(SIDE, device=images.device)  # (B, 2, 32), may lie outside
    mirrored = SIDE - 1 - (SIDE - 1 - places.abs()).abs()  # …2 1 0 1 2… 30 31 30…, the edge is not repeated
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


def choose_path(transforms: Transforms, compute: Compute) -> str:
    """Who makes the batches, one of PATHS: as `compute` asks, else the device where it must, or on a GPU can."""
    covered = all(isinstance(transform, COVERED) for transform in transforms)
    needed = AlternatingFlip() in transforms
    path = compute.loader or ("device" if needed or (covered and compute.device != "cpu") else "albumentations")
    choice("loader", path, PATHS)
    return path


class Normalize:
    """Move uint8 images to the device and normalise them there; mean and std are per channel, in [0, 1]."""

    def __init__(self, mean: Channels, std: Channels, compute: Compute):
        self.mean, self.compute = tuple(mean), compute
        self.scale = torch.tensor([1 / (255 * s) for s in std], device=compute.device).view(1, 3, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std)], device=compute.device).view(1, 3, 1, 1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn (N, 32, 32, 3) uint8 into (N, 3, 32, 32) float32, about zero mean and unit standard deviation."""
        planes = devices.sent(images, self.compute.device).permute(0, 3, 1, 2)  # channels_last as it lies
        normal = torch.addcmul(self.shift, planes.float(), self.scale)
        return normal.contiguous(memory_format=self.compute.memory_format)


def eval_batches(split: Images, batch_size: int = 1000) -> Iterator[Batch]:
    """Yield a split in its own order, unaugmented."""
    yield from zip(*(torch.tensor(array).split(batch_size) for array in (split.images, split.labels)))
