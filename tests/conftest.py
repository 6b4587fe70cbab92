"""Shared by all tests: one thread per process, runs in a folder of their own, no network."""

import os
import signal
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tiny nets are faster so, and test processes run side by side
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("HELPERS_DEVICE", "cpu")  # where results repeat bit for bit
if os.environ.get("CIFAR10_ROOT"):  # may be relative to where the tests were started
    os.environ["CIFAR10_ROOT"] = str(Path(os.environ["CIFAR10_ROOT"]).absolute())

import dataclasses
from collections.abc import Iterator

import hypothesis
import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes

from helpers import data, recipes
from helpers.data import Dataset
from helpers.figures import style
from helpers.recipes import Recipe

for name in ("HELPERS_PRECISION", "TQDM_MININTERVAL", "CIFAR10_URL"):
    os.environ.pop(name, None)  # tests choose for themselves

# A busy machine is no failure; where CI is set, the same examples come every time
hypothesis.settings.register_profile("series", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("series")

# A background job, or nohup, ignores these signals, and so would all processes started here
for name, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, name), handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole notebooks first: a process that got them last would keep the others waiting."""
    items.sort(key=lambda item: not item.path.name.startswith("test_series"))


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test trains into a folder that goes with it."""
    root = tmp_path / "runs"
    monkeypatch.setenv("RUNS_ROOT", str(root))
    return root


def tiny_data() -> Dataset:
    """150 training and 60 test images of Shapes-10."""
    return data.load("shapes10", 150, 60)


def small() -> Recipe:
    """A DavidNet of width 8 that trains three epochs of five steps, with everything davidnet-onecycle-plus has."""
    recipe = recipes.get("davidnet-onecycle-plus")
    return dataclasses.replace(
        recipe, name="small", width=8, batch_size=32, epochs=3, ema_epochs=1.0, max_lr=0.1, min_lr=0.01
    )


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """150 training and 60 test images of Shapes-10."""
    return tiny_data()


@pytest.fixture
def small_recipe() -> Recipe:
    """See `small`."""
    return small()


@pytest.fixture(scope="session")
def cifar10() -> Dataset:
    """The real CIFAR-10, where CIFAR10_ROOT names it."""
    if not os.environ.get("CIFAR10_ROOT"):
        pytest.skip("CIFAR10_ROOT is not set")
    return data.load("cifar10")


@pytest.fixture
def ax() -> Iterator[Axes]:
    """Axes in the series' style, closed after the test."""
    with matplotlib.rc_context():
        style.use_style()
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


PYTHON = sys.executable
