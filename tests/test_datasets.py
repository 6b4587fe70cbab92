"""helpers.datasets and helpers.data.cifar10: exact arrays, clear errors, fixed splits."""

import hashlib
import os
import pickle
import shutil
import socket
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import CIFAR10

from helpers.data import cifar10, datasets, downloads, shapes10
from helpers.data.datasets import Dataset, DatasetError, Images, load, split_validation

WAYS_OUT = ("CIFAR10_ROOT", "cifar-10-batches-py", "cifar-10-python.tar.gz", 'dataset = "shapes10"')
REAL = os.environ.get("CIFAR10_ROOT")
CLASSES = [f"class {k}" for k in range(10)]


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """No data set loaded, none on disk, no network."""
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    monkeypatch.delenv("CIFAR10_URL", raising=False)
    monkeypatch.setattr(cifar10, "REPO_ROOT", tmp_path / "repo")
    monkeypatch.setattr(downloads, "CIFAR10_MIRRORS", ("http://127.0.0.1:1/cifar",))
    monkeypatch.setenv("no_proxy", "*")
    for cache, empty in (("_READ", {}), ("_MISSED", set()), ("_DRAWN", {})):
        monkeypatch.setattr(datasets, cache, empty)


@pytest.fixture
def given_folder(monkeypatch):
    """Name the folder of CIFAR-10 in the environment."""
    return lambda folder: monkeypatch.setenv("CIFAR10_ROOT", str(folder))


@pytest.fixture
def told(monkeypatch):
    """The lines that are said while a data set is loaded."""
    lines: list[str] = []
    monkeypatch.setattr(datasets.tqdm, "write", lines.append)
    return lines


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A folder like CIFAR-10's, 20 images a batch, whose checksums torchvision is taught; its tar.gz lies beside it."""
    folder = tmp_path / "source" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    for name in names:
        write(folder / name, {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [*range(10)] * 2})
    write(folder / "batches.meta", {"label_names": CLASSES})
    sums = [[name, md5(folder / name)] for name in names]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(folder / "batches.meta")})
    with tarfile.open(folder.parent / CIFAR10.filename, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(folder.parent / CIFAR10.filename))
    return folder


@pytest.fixture
def archive(batches, tmp_path):
    """A folder with nothing but the tar.gz."""
    folder = tmp_path / "given"
    folder.mkdir()
    return Path(shutil.copy(batches.parent / CIFAR10.filename, folder))


def write(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in folder.rglob("*"))


def assert_names_ways_out(error: pytest.ExceptionInfo) -> None:
    assert [way for way in WAYS_OUT if way not in str(error.value)] == []


def tiny(n: int = 40, masks: bool = False) -> Images:
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), np.uint8)
    return Images(images, np.arange(n) % 10, images[..., 0] > 99 if masks else None)


# ---- where CIFAR-10 is found


def test_batches_are_read_exactly(batches, given_folder):
    given_folder(batches.parent)
    dataset = load("cifar10")
    first = pickle.loads((batches / "data_batch_1").read_bytes())["data"]
    assert (dataset.name, dataset.title, dataset.classes) == ("cifar10", "CIFAR-10", tuple(CLASSES))
    assert (len(dataset.train), len(dataset.test)) == (100, 20)
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (np.uint8, np.int64)
    # by hand: a row of the file holds 1024 red, 1024 green, 1024 blue values, each row by row
    assert dataset.train.images[7, 3, 5].tolist() == [first[7, c * 1024 + 3 * 32 + 5] for c in range(3)]
    assert dataset.train.masks is None


def test_environment_names_the_folder(batches, monkeypatch):
    monkeypatch.setenv("CIFAR10_ROOT", str(batches.parent))
    assert load("cifar10") is load("auto") is load("cifar10")


def test_default_folder_is_data_in_the_repository(batches, tmp_path):
    shutil.copytree(batches, tmp_path / "repo" / "data" / batches.name)
    assert len(load("auto").train) == 100


def test_archive_in_a_given_folder_is_read_and_that_folder_left_alone(archive, tmp_path, monkeypatch, given_folder):
    archive.parent.chmod(0o555)
    before = listing(archive.parent)
    given_folder(archive.parent)
    assert load("cifar10").name == "cifar10"
    assert listing(archive.parent) == before
    assert (tmp_path / "repo" / "data" / CIFAR10.base_folder / "test_batch").is_file()
    assert not list((tmp_path / "repo" / "data").glob("tmp*")), "the scratch folder is gone"


def test_archive_is_read_even_where_the_repository_cannot_be_written(archive, tmp_path, given_folder):
    (tmp_path / "repo").write_text("a file where a folder should be")
    given_folder(archive.parent)
    assert len(load("cifar10").train) == 100


def test_unpacking_is_whole_or_not_at_all(archive, tmp_path, monkeypatch, given_folder):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cifar10.os, "replace", die)
    given_folder(archive.parent)
    with pytest.raises(KeyboardInterrupt):
        load("cifar10")
    assert [p.name for p in (tmp_path / "repo" / "data").iterdir() if p.is_dir()] == []


def test_a_download_goes_to_data_and_is_read(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("CIFAR10_URL", archive.as_uri())
    assert len(load("cifar10").train) == 100
    assert sorted(p.name for p in (tmp_path / "repo" / "data").iterdir() if p.suffix != ".lock") == [
        CIFAR10.base_folder,
        CIFAR10.filename,
    ]


@pytest.mark.skipif(not REAL, reason="needs CIFAR10_ROOT")
def test_real_cifar10_equals_torchvision(given_folder):
    given_folder(Path(REAL))
    dataset = load("cifar10")
    root = REAL if Path(REAL, CIFAR10.base_folder).exists() else str(cifar10.REPO_ROOT / "data")
    for split, oracle in ((dataset.train, CIFAR10(root)), (dataset.test, CIFAR10(root, train=False))):
        assert np.array_equal(split.images, oracle.data)
        assert split.labels.tolist() == oracle.targets
    assert list(dataset.classes) == oracle.classes
    levels = np.arange(256) / 255  # statistics from histograms: 51 million pixels are slow as floats
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std)):
        weights = np.bincount(dataset.train.images[..., channel].ravel(), minlength=256) / 51_200_000
        assert weights @ levels == pytest.approx(mean, abs=1e-4)
        assert np.sqrt(weights @ (levels - mean) ** 2) == pytest.approx(std, abs=1e-4)


# ---- errors


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000 % len(content)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["cifar10", "auto"])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("spoil, state", [(truncate, "altered"), (alter, "altered"), (Path.unlink, "missing")])
def test_damaged_batches_are_one_error_that_names_file_and_ways_out(batches, name, file, spoil, state, given_folder):
    spoil(batches / file)
    given_folder(batches.parent)
    with pytest.raises(DatasetError, match=f"damaged: {file} is {state}") as error:
        load(name)
    assert_names_ways_out(error)


@pytest.mark.parametrize("name", ["cifar10", "auto"])
@pytest.mark.parametrize("spoil", [truncate, alter])
def test_damaged_archive_is_an_error_and_nothing_is_unpacked(archive, tmp_path, name, spoil, given_folder):
    spoil(archive)
    given_folder(archive.parent)
    with pytest.raises(DatasetError, match="MD5") as error:
        load(name)
    assert_names_ways_out(error)
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize("name", ["cifar10", "auto"])
def test_given_folder_without_cifar10_is_an_error_even_if_data_has_it(batches, tmp_path, monkeypatch, name):
    shutil.copytree(batches, tmp_path / "repo" / "data" / batches.name)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "empty"))
    with pytest.raises(DatasetError, match="not in .*empty") as error:
        load(name)
    assert_names_ways_out(error)


def test_unpacked_copy_does_not_hide_a_damaged_archive(archive, given_folder):
    given_folder(archive.parent)
    load("cifar10")
    datasets._READ.clear()
    alter(archive)
    with pytest.raises(DatasetError, match="MD5"):
        load("cifar10")


def test_full_disk_is_a_clear_error(archive, monkeypatch, given_folder):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cifar10.os, "replace", full)
    given_folder(archive.parent)
    with pytest.raises(DatasetError, match="No space left") as error:
        load("cifar10")
    assert_names_ways_out(error)


def test_no_network_fails_fast():
    began = time.monotonic()
    with pytest.raises(DatasetError, match="127.0.0.1:1/cifar") as error:
        load("cifar10")
    assert time.monotonic() - began < 10  # what a reader without a network is promised
    assert_names_ways_out(error)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(DatasetError, match="'cifar100'.*cifar10, shapes10, auto"):
        load("cifar100")


# ---- auto


def test_auto_takes_shapes10_with_one_notice(monkeypatch, told):
    first = load("auto")
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked the network again"))
    assert first is load("auto") is load("shapes10")
    assert len(told) == 1 and "\n" not in told[0]
    assert "Shapes-10" in told[0] and "CIFAR10_ROOT" in told[0]


def test_notice_goes_to_stdout(capsys):
    load("auto")
    out, err = capsys.readouterr()
    assert out.count("Shapes-10") == 1 and err == ""


def test_a_fall_back_still_leaves_cifar10_an_error():
    load("auto")
    with pytest.raises(DatasetError):
        load("cifar10")


@pytest.mark.parametrize(
    "asked, answer, words",
    [
        ("auto", "cifar10", ["a run downloads it, and takes Shapes-10 if it cannot."]),
        ("cifar10", "cifar10", ["a run downloads it."]),
        ("shapes10", "shapes10", []),
    ],
)
def test_what_to_expect_is_told_without_a_touch(asked, answer, words, tmp_path, monkeypatch, told):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked the network"))
    before = listing(tmp_path)
    assert datasets.expected(asked) == answer
    assert listing(tmp_path) == before
    assert told == [f"CIFAR-10 is not on this machine: {line}" for line in words]


def test_an_archive_is_expected_and_not_unpacked(archive, tmp_path, given_folder, told):
    before = listing(tmp_path)
    given_folder(archive.parent)
    assert datasets.expected("auto") == "cifar10" and told == []
    assert listing(tmp_path) == before
    given_folder(tmp_path / "empty")
    with pytest.raises(DatasetError, match="CIFAR-10 is not in .*empty"):
        datasets.expected("auto")


@pytest.mark.filterwarnings("error")
def test_a_warning_of_numpy_about_old_pickles_is_not_the_reader_s(batches, monkeypatch, given_folder):
    class Loud(CIFAR10):
        def __init__(self, *given, **named):
            warnings.warn(
                "dtype(): align should be passed as Python or NumPy boolean but got 0", UserWarning, stacklevel=1
            )
            super().__init__(*given, **named)

    monkeypatch.setattr("helpers.data.cifar10.CIFAR10", Loud)
    given_folder(batches.parent)
    assert len(load("cifar10").train) == 100


def test_auto_takes_cifar10_without_a_notice(batches, given_folder, told):
    given_folder(batches.parent)
    assert load("auto").name == "cifar10" and told == []


# ---- Shapes-10


def test_shapes10_subset_draws_only_what_it_keeps(monkeypatch):
    drawn: list[tuple[str, int]] = []
    draw = shapes10.draw
    monkeypatch.setattr(shapes10, "draw", lambda split, count: drawn.append((split, count)) or draw(split, count))
    dataset = load("shapes10")
    assert repr(dataset) and drawn == []
    small = dataset.subset(60, 20)
    dataset.subset(40, 20)
    assert drawn == [("train", 60), ("test", 20)], "a shorter draw is part of a longer one"
    assert (small.name, small.title, small.classes) == ("shapes10", "Shapes-10", shapes10.CLASSES)
    assert (len(small.train), len(small.test), small.train.masks.shape) == (60, 20, (60, 32, 32))
    assert np.bincount(small.train.labels).tolist() == [6] * 10
    assert np.array_equal(dataset.subset(40, 20).train.images, small.train.images[:40])
    assert len(small.subset(40, None).train) == 40, "a subset of a subset"


def test_shapes10_is_whole_when_asked(monkeypatch):
    monkeypatch.setattr(shapes10, "SIZES", {"train": 50, "test": 10})
    dataset = datasets._Shapes10()
    assert (len(dataset.train), len(dataset.test)) == (50, 10)
    assert len(dataset.subset(None, 999).test) == 10
    assert isinstance(dataset, Dataset)


# ---- splits


def test_validation_split_is_45k_5k_stratified_and_fixed():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5000))
    train, validation = split_validation(labels)
    assert (len(train), len(validation)) == (45_000, 5_000)
    assert np.array_equal(np.union1d(train, validation), np.arange(50_000))
    assert np.bincount(labels[validation]).tolist() == [500] * 10
    again = split_validation(labels.copy())
    assert np.array_equal(train, again[0]) and np.array_equal(validation, again[1])


def test_validation_split_never_changes():
    """Published runs rest on it."""
    _, validation = split_validation(np.arange(100) % 10, 10)
    assert validation.tolist() == [9, 10, 25, 38, 47, 51, 56, 62, 84, 93]


@given(st.lists(st.integers(0, 9), max_size=200), st.data())
def test_validation_split_of_any_labels(labels, data):
    labels = np.array(labels, np.int64)
    size = data.draw(st.integers(0, len(labels)))
    train, validation = split_validation(labels, size)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    assert len(validation) == size
    assert np.all(np.diff(train) > 0) and np.all(np.diff(validation) > 0)
    for label in range(10):
        share = size * np.mean(labels == label) if len(labels) else 0
        assert abs(np.sum(labels[validation] == label) - share) < 1


@pytest.mark.parametrize("size", [-1, 41])
def test_validation_split_refuses_what_is_not_there(size):
    with pytest.raises(ValueError, match=f"{size} of 40 .* 0 to 40"):
        split_validation(tiny().labels, size)


@pytest.mark.parametrize("n_train, n_test", [(20, 10), (15, 7), (0, 40), (None, None), (999, 40)])
def test_subset_is_stratified_and_deterministic(n_train, n_test):
    dataset = Dataset("cifar10", "CIFAR-10", tuple(CLASSES), (0.5,) * 3, (0.2,) * 3, tiny(masks=True), tiny())
    one, two = dataset.subset(n_train, n_test), dataset.subset(n_train, n_test)
    for size, small, same in ((n_train, one.train, two.train), (n_test, one.test, two.test)):
        assert len(small) == min(40 if size is None else size, 40)
        assert np.array_equal(small.images, same.images)
        assert np.ptp(np.bincount(small.labels, minlength=10)) <= 1
    assert len(one.train.masks) == len(one.train) and one.test.masks is None
    assert (one.name, one.mean) == (dataset.name, dataset.mean)


def test_subset_keeps_images_labels_and_masks_together():
    whole = tiny(masks=True)
    part = Dataset("x", "X", (), (), (), whole, whole).subset(10, None).train
    places = [int(np.flatnonzero((whole.images == image).all(axis=(1, 2, 3)))[0]) for image in part.images]
    assert places == sorted(places)
    assert np.array_equal(whole.labels[places], part.labels)
    assert np.array_equal(whole.masks[places], part.masks)


def test_take_copies_in_the_order_asked():
    whole = tiny(masks=True)
    part = whole.take(np.array([3, 1]))
    assert np.array_equal(part.images, whole.images[[3, 1]]) and part.labels.tolist() == [3, 1]
    assert np.array_equal(part.masks, whole.masks[[3, 1]])
    part.images[:] = 0
    assert whole.images[3].any()


def test_loaded_arrays_are_read_only(batches, given_folder):
    given_folder(batches.parent)
    for dataset in (load("cifar10"), load("cifar10").subset(20, 10)):
        for split in (dataset.train, dataset.test):
            for array in (split.images, split.labels):
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        load("shapes10").subset(10, 10).train.masks[0] = False
