import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from helpers.data.datasets import Images
from helpers.data.loaders import Normalize, TrainLoader, eval_batches
from helpers.devices import Compute
from helpers.recipes import PAD_CROP_FLIP_CUTOUT

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def numbered(count):
    """Images whose pixels all equal their label, so that a batch tells which images it holds."""
    labels = np.arange(count)
    return Images(np.broadcast_to(labels[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8).copy(), labels)


def noise(count):
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count))


def epochs(loader, which=(0, 1)):
    return [[(images.numpy(), labels.numpy()) for images, labels in loader.epoch(e)] for e in which]


def same(left, right):
    return all(np.array_equal(a, b) for one, two in zip(left, right) for x, y in zip(one, two) for a, b in zip(x, y))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_workers(workers):
    split = noise(70)
    alone = epochs(TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed=3))
    shared = epochs(TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 16, seed=3, workers=workers))
    assert same(alone, shared)


class PlainAlbumentations(Dataset):
    """The usual way: a pipeline in a Dataset, and a DataLoader around it. Returns where its draw flipped the image."""

    def __init__(self, split):
        self.split, self.pipeline = split, A.Compose([A.RandomCrop(8, 8)], seed=0)

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        return torch.from_numpy(self.pipeline(image=self.split.images[index])["image"])


def test_plain_albumentations_repeats_one_stream_in_every_worker_and_epoch_and_ours_does_not():
    """The trap this loader exists for; the first half fails on the day albumentations mends it."""
    gradient = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    image = (gradient / 4).astype(np.uint8)[..., None].repeat(3, -1)
    split = Images(np.stack([image] * 16), np.zeros(16, np.int64))
    loader = DataLoader(PlainAlbumentations(split), batch_size=8, num_workers=2)
    first, second = (batch.numpy() for batch in loader)  # one batch from each worker
    again = next(iter(loader)).numpy()
    assert np.array_equal(first, second) and np.array_equal(first, again)

    ours = TrainLoader(split, PAD_CROP_FLIP_CUTOUT, MEAN, 8, workers=2)
    (one, two), (three, four) = ([images for images, _ in epoch] for epoch in epochs(ours))
    assert not np.array_equal(one, two) and not np.array_equal(one, three) and not np.array_equal(two, four)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 80), batch_size=st.integers(1, 33), seed=st.integers(0, 2**31), epoch=st.integers(0, 99))
def test_an_epoch_holds_every_image_once(count, batch_size, seed, epoch):
    loader = TrainLoader(numbered(count), [], MEAN, batch_size, seed)
    batches = list(loader.epoch(epoch))
    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(count))
    assert len(batches) == len(loader) == -(-count // batch_size)
    assert all((images[:, 0, 0, 0] == labels).all() for images, labels in batches)  # labels stay with their images


def test_epochs_seeds_and_batches_are_shuffled_differently():
    def order(seed, epoch):
        return torch.cat([labels for _, labels in TrainLoader(numbered(64), [], MEAN, 16, seed).epoch(epoch)]).tolist()

    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
    assert len({tuple(o) for o in orders}) == 4 and order(0, 1) == orders[1]


def test_the_global_generators_are_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    epochs(TrainLoader(noise(20), PAD_CROP_FLIP_CUTOUT, MEAN, 8))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalize_agrees_with_torchvision(layout):
    images = torch.from_numpy(noise(9).images)
    ours = Normalize(MEAN, STD, Compute("cpu", "fp32", layout))(images)
    reference = v2.Normalize(MEAN, STD)(images.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(ours, reference, rtol=0, atol=2e-6)
    assert ours.is_contiguous(memory_format=layout)


def test_normalised_real_batches_have_mean_zero_and_deviation_one(cifar10):
    normalize = Normalize(cifar10.mean, cifar10.std, Compute("cpu", "fp32"))
    images = normalize(torch.from_numpy(cifar10.train.images[:5000].copy()))
    assert images.mean((0, 2, 3)).abs().max() < 0.03 and (images.std((0, 2, 3)) - 1).abs().max() < 0.03


def test_evaluation_keeps_the_order_and_the_images():
    split = numbered(25)
    images, labels = (torch.cat(parts) for parts in zip(*eval_batches(split, 10)))
    assert labels.tolist() == list(range(25)) and np.array_equal(images.numpy(), split.images)
