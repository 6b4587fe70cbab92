"""Images per second: training batches by albumentations and on the device, and Shapes-10 drawn from its seed."""

from collections.abc import Mapping

from table import Row, Scale, Work, against, compare, random_images

from helpers.data import DeviceLoader, TrainLoader, shapes10
from helpers.recipes import PAD_CROP_FLIP_CUTOUT

MEAN, BYTES = (0.5, 0.5, 0.5), 32 * 32 * 3


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """An epoch of each loader, and a data set drawn; the yardstick is to read and write every image once."""
    count, batch = scale.size(12_800, 32), scale.size(512, 8)
    split, works = random_images(count), {}
    for workers in (0, 1, 2):
        loader = TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, batch, workers=workers)
        works[f"albumentations, {workers} workers"] = _epoch(loader, scale)
    fast = DeviceLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, batch, device=scale.compute.device)
    works[f"whole batches on {scale.compute.device}"] = _epoch(fast, scale)
    amounts = dict.fromkeys(works, count)
    rows = compare(f"Loader: pad, crop, flip, cutout, batch {batch}", works, scale.rounds, amounts, "image")
    return [against(row, 2 * BYTES * count, yardsticks, "copy") for row in rows] + _drawing(scale)


def _drawing(scale: Scale) -> list[Row]:
    """Shapes-10, which is drawn when it is needed."""
    count = scale.size(1_000, 10)
    works = {"drawn on one core": lambda: shapes10.draw("test", count)}
    return compare("Shapes-10: images and masks", works, scale.rounds, dict.fromkeys(works, count), "image")


def _epoch(loader: TrainLoader | DeviceLoader, scale: Scale) -> Work:
    def run() -> None:
        for _ in loader.epoch(0):
            pass
        scale.compute.synchronize()

    return run
