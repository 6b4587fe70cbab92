"""CIFAR-10 from disk, or from the network onto disk: the exact arrays, verified by torchvision's checksums."""

import os
import shutil
import tarfile
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from helpers.data import downloads
from helpers.files import REPO_ROOT

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SET_ROOT = f"set CIFAR10_ROOT to a folder with an intact {CIFAR10.base_folder}/ or {CIFAR10.filename}"

SCRATCH = ".unpacking-"


class DatasetError(RuntimeError):
    """A data set is missing, damaged or unknown; the message names the ways out."""


class Unavailable(DatasetError):
    """CIFAR-10 is neither on disk nor to be downloaded."""


@dataclass(frozen=True)
class Arrays:
    """Both splits: images (N, 32, 32, 3) uint8 RGB, labels (N,) int64, and the names of the classes."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]


def read(given: Path | None) -> Arrays:
    """Read CIFAR-10's 50,000 training and 10,000 test images from where they are, or download them first.

    Args:
        given: folder with cifar-10-batches-py/ or cifar-10-python.tar.gz, which is not written to; None is the
            repository's data/, into which they are downloaded if they are not there.

    Raises:
        Unavailable: not in data/, and cannot be downloaded.
        DatasetError: not in the folder given, or damaged.
    """
    folder, archive = _places(given)
    if not on_disk(given):
        _download(archive)
    elif folder.exists():
        return _read_batches(folder.parent)
    try:
        return _read_archive(archive)
    except OSError as error:
        raise DatasetError(
            f"Cannot unpack {archive}: {error}. Make room; or {SET_ROOT}; or {downloads.INSTEAD}"
        ) from error


def on_disk(given: Path | None) -> bool:
    """Whether CIFAR-10 or its archive lies in the folder given, or else in the repository's data/.

    Raises:
        DatasetError: it is not in the folder given.
    """
    found = any(place.exists() for place in _places(given))
    if given and not found:
        raise DatasetError(f"CIFAR-10 is not in {given}. Either {SET_ROOT}; or unset it; or {downloads.INSTEAD}")
    return found


def _places(given: Path | None) -> tuple[Path, Path]:
    """Where CIFAR-10 may lie: as a folder, as an archive."""
    root = given or REPO_ROOT / "data"
    return root / CIFAR10.base_folder, root / CIFAR10.filename


def _download(archive: Path) -> None:
    try:
        downloads.fetch(downloads.cifar10_urls(), archive, CIFAR10.tgz_md5)
    except downloads.DownloadError as error:
        raise Unavailable(f"{error}; or {SET_ROOT}") from error


def _read_archive(archive: Path) -> Arrays:
    """Read the tar.gz by way of the repository's data/, or of a temporary folder where that cannot be written."""
    if downloads.md5_of(archive) != CIFAR10.tgz_md5:
        raise _damage(archive, "its MD5 is wrong")
    try:
        return _read_batches(_unpack(archive, REPO_ROOT / "data"))
    except OSError:
        with tempfile.TemporaryDirectory() as scratch:
            return _read_batches(_unpack(archive, Path(scratch)))


def _unpack(archive: Path, folder: Path) -> Path:
    """Unpack into a folder, whole or not at all, once even if several processes try; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / CIFAR10.base_folder
    with downloads.exclusive(folder / "unpack.lock"):
        if not target.exists():
            for left in folder.glob(f"{SCRATCH}*"):  # of a process that was killed while it unpacked
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch, tarfile.open(archive) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
                tar.extractall(scratch)
                os.replace(Path(scratch, CIFAR10.base_folder), target)
    return folder


def _read_batches(folder: Path) -> Arrays:
    try:
        with warnings.catch_warnings():  # numpy 2.4.0 to 2.4.4 finds fault with the pickles of 2009
            warnings.filterwarnings("ignore", message=".*align should be passed as Python or NumPy boolean")
            train, test = (CIFAR10(str(folder), train=is_train) for is_train in (True, False))
    except (RuntimeError, OSError) as error:
        batches = folder / CIFAR10.base_folder
        raise _damage(batches, _broken_files(batches)) from error
    splits = ((np.ascontiguousarray(split.data), np.array(split.targets, np.int64)) for split in (train, test))
    return Arrays(*splits, tuple(train.classes))


def _broken_files(batches: Path) -> str:
    expected = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    broken = [file for file, md5 in expected if not check_integrity(str(batches / file), md5)]
    states = (f"{file} is {'altered' if (batches / file).is_file() else 'missing'}" for file in broken)
    return ", ".join(states) or "it cannot be read"


def _damage(path: Path, what: str) -> DatasetError:
    return DatasetError(
        f"CIFAR-10 in {path} is damaged: {what}. Either delete {path} (and unset CIFAR10_ROOT, if it is set), to have "
        f"it unpacked or downloaded anew; or {SET_ROOT}; or {downloads.INSTEAD}"
    )
