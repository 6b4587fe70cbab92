"""Each notebook runs from any folder, on the real CIFAR-10."""

import os

import pytest
from fixture_series import SERIES, runs_headlessly


@pytest.mark.skipif(not os.environ.get("CIFAR10_ROOT"), reason="CIFAR10_ROOT is not set")
@pytest.mark.parametrize("notebook", SERIES.values(), ids=list(SERIES))
def test_runs_headlessly_from_any_folder(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs_headlessly(notebook, "cifar10", tmp_path)
