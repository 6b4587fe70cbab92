"""The notebooks of even number run from any folder."""

from fixture_series import cases, runs_headlessly


@cases(1)
def test_runs_headlessly_from_any_folder(name, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs_headlessly(name, dataset, tmp_path)
