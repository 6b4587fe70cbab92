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
    from_list,
    pipeline,
    reseed,
    to_dict,
)
from helpers.data.datasets import Dataset, DatasetError, Images, load, split_validation
from helpers.data.device_batches import DeviceLoader, choose_path, make_loader
from helpers.data.loaders import Normalize, TrainLoader, eval_batches

__all__ = [
    "TRANSFORMS",
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
    "TrainLoader",
    "Transform",
    "VerticalFlip",
    "apply",
    "choose_path",
    "eval_batches",
    "from_list",
    "load",
    "make_loader",
    "pipeline",
    "reseed",
    "split_validation",
    "to_dict",
]
