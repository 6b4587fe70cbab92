"""CIFAR-10 and Shapes-10 as arrays, their augmentation, and batches to train on."""

from helpers.data.arrays import Dataset, Images, load, split_validation
from helpers.data.augment import AlternatingFlip, Cutout, Flip, GridDistortion, PadCrop, Rotate, VerticalFlip
from helpers.data.augment import TRANSFORMS, apply, pipeline, reseed
from helpers.data.batches import Batch, DeviceLoader, Normalize, TrainLoader, choose_path, eval_batches, steps_per_epoch
from helpers.data.cifar10 import DatasetError
