"""CIFAR-10 and Shapes-10 as arrays, their augmentation, and batches to train on."""

from helpers.data.augment import (
    TRANSFORMS,
    Cutout,
    Flip,
    GridDistortion,
    PadCrop,
    Rotate,
    Transform,
    VerticalFlip,
    apply,
    pipeline,
    reseed,
)
from helpers.data.datasets import (
    Dataset,
    DatasetError,
    Images,
    load,
    split_validation,
)
from helpers.data.device_batches import (
    DeviceLoader,
)
from helpers.data.loaders import (
    Normalize,
    TrainLoader,
)

__all__ = [
    "Cutout",
    "Dataset",
    "DatasetError",
    "DeviceLoader",
    "Flip",
    "GridDistortion",
    "Images",
    "Normalize",
    "PadCrop",
    "Rotate",
    "TRANSFORMS",
    "TrainLoader",
    "Transform",
    "VerticalFlip",
    "apply",
    "load",
    "pipeline",
    "reseed",
    "split_validation",
]
