"""Each notebook runs from any folder, on the built-in Shapes-10."""

import pytest
from fixture_series import SERIES, runs_headlessly


@pytest.mark.parametrize("notebook", SERIES.values(), ids=list(SERIES))
def test_runs_headlessly_from_any_folder(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs_headlessly(notebook, "shapes10", tmp_path)
