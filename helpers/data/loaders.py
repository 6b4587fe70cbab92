"""Arrays and an augmentation become batches: every batch is a function of (seed, epoch, batch) alone."""

import functools
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from helpers import devices
from helpers.data import augment
from helpers.data.datasets import Images
from helpers.devices import Compute

Batch = tuple[torch.Tensor, torch.Tensor]
EVAL_BATCH = 1000


class TrainLoader:
    """Shuffled, augmented training batches, with albumentations in worker processes.

    The order of an epoch is drawn from (seed, epoch), the augmentation of a batch from (seed, epoch, batch). Neither
    depends on how many workers there are or which of them makes the batch, so results repeat on any machine.

    Args:
        mean: channel means in [0, 1], what cutout fills with.
        batch_size: images per batch; the last batch of an epoch may be smaller.
        workers: worker processes; 0 makes batches in this process.
    """

    def __init__(
        self,
        split: Images,
        transforms: Sequence[augment.Transform],
        mean: Sequence[float],
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
    ):
        self.batches = _AugmentedBatches(split, augment.pipeline(transforms, mean), batch_size, seed)
        self.schedule = _EpochSchedule(len(self.batches))
        self.loader = DataLoader(
            self.batches,
            batch_size=None,  # an item of the data set is a whole batch already
            sampler=self.schedule,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread if workers else None,
            pin_memory=workers > 0 and torch.cuda.is_available(),  # else a copy to the device waits for it
            generator=torch.Generator().manual_seed(0),  # keeps the loader away from the global generator
        )

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the epoch's batches: images (B, 32, 32, 3) uint8 and labels (B,) int64, in host memory."""
        self.schedule.epoch = epoch
        return iter(self.loader)


class _AugmentedBatches(Dataset):
    def __init__(self, split: Images, augmentation: augment.A.Compose, batch_size: int, seed: int):
        self.split, self.augmentation, self.batch_size, self.seed = split, augmentation, batch_size, seed

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, batch = key
        order = epoch_order(self.seed, epoch, len(self.split))
        chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        augment.reseed(self.augmentation, self.seed, epoch, batch + 1)
        images = augment.apply(self.augmentation, self.split.images[chosen])
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[chosen])


@functools.lru_cache(maxsize=4)  # every batch of an epoch asks for it
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch shows `count` images, (count,) int64; shared, so not to be written to."""
    # NumPy pads short keys with zeros: the last number keeps the order's stream apart from every batch's
    return np.random.default_rng((seed, epoch, 0)).permutation(count)


class _EpochSchedule:
    """Tells persistent workers which epoch they are in, as part of every request."""

    def __init__(self, steps: int):
        self.steps, self.epoch = steps, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, batch) for batch in range(self.steps)])

    def __len__(self) -> int:
        return self.steps


class Normalize:
    """Move uint8 images to the device and normalise them there; mean and std are per channel, in [0, 1]."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], compute: Compute):
        self.mean, self.compute = tuple(mean), compute
        self.scale = torch.tensor([1 / (255 * s) for s in std], device=compute.device).view(1, 3, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std)], device=compute.device).view(1, 3, 1, 1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Turn (N, 32, 32, 3) uint8 into (N, 3, 32, 32) float32, about zero mean and unit standard deviation."""
        planes = devices.sent(images, self.compute.device).permute(0, 3, 1, 2)  # channels_last as it lies
        normal = torch.addcmul(self.shift, planes.float(), self.scale)
        return normal.contiguous(memory_format=self.compute.memory_format)


def eval_batches(split: Images, batch_size: int = EVAL_BATCH) -> Iterator[Batch]:
    """Yield a split in its own order, unaugmented: images (B, 32, 32, 3) uint8 and labels (B,) int64."""
    for start in range(0, len(split), batch_size):
        chosen = slice(start, start + batch_size)
        yield torch.tensor(split.images[chosen]), torch.tensor(split.labels[chosen])


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # one image is too small to share; threads only fight the trainer's
