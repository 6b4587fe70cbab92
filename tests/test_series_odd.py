"""The notebooks of odd number run from any folder."""

import pytest
from fixture_series import SERIES, cases, runs_headlessly, twice


@cases(0)
def test_runs_headlessly_from_any_folder(name, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs_headlessly(name, dataset, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SERIES)[1::2])
def test_every_cell_may_be_run_twice(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs_headlessly(name, "shapes10", tmp_path, twice(SERIES[name]))
