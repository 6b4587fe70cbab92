import csv
import json

import numpy as np
import pytest

from helpers import recipes
from helpers.rates import range_test, sweeps
from helpers.rates.rate_curves import Sweep, suggest
from helpers.results import archive
from helpers.training import runs

SHORT = Sweep(1e-3, 1.0, 18)


@pytest.fixture
def narrow():
    return recipes.get("davidnet-onecycle", {"width": 8})


@pytest.fixture
def counted(monkeypatch):
    """How often a sweep was really run."""
    calls = []
    real = range_test.of_setting
    monkeypatch.setattr(range_test, "of_setting", lambda *a, **k: calls.append(k) or real(*a, **k))
    return calls


def kept(recipe, data, **changes):
    return sweeps.kept(recipe, data, **{"profile": "smoke", "sweep": SHORT, **changes})


def test_a_sweep_runs_once_and_comes_back_as_it_was(narrow, tiny, counted):
    first, second = kept(narrow, tiny), kept(narrow, tiny)
    assert len(counted) == 1
    direct = range_test.for_recipe(narrow, tiny, profile="smoke", sweep=SHORT)
    for curve in (first, second):
        np.testing.assert_allclose(curve.lr, direct.lr, rtol=1e-5)
        np.testing.assert_allclose(curve.loss, direct.loss, rtol=1e-5)
        assert curve.about == direct.about and curve.sweep == SHORT


def test_what_a_sweep_sees_makes_another_one(narrow, tiny, counted):
    kept(narrow, tiny)
    kept(narrow, tiny, seed=1)
    kept(narrow, tiny, validate=5)
    kept(narrow, tiny, sweep=Sweep(1e-3, 1.0, 17))
    kept(recipes.get("davidnet-onecycle", {"width": 8, "momentum": 0.0, "nesterov": False}), tiny)
    kept(narrow, tiny.subset(100, 60))
    assert len(counted) == 6


def test_what_it_does_not_see_does_not(tiny, counted, monkeypatch):
    kept("davidnet-onecycle", tiny)
    changed = recipes.RECIPES["davidnet-onecycle"].__class__(
        **{**vars(recipes.RECIPES["davidnet-onecycle"]), "max_lr": 0.7, "epochs": 3}
    )
    kept(changed, tiny)
    assert len(counted) == 1


def test_published_curves_are_those_of_the_store(narrow, tiny, own_runs, tmp_path):
    for seed in (1, 0):
        kept(narrow, tiny, seed=seed)
    (own_runs / "shapes10/smoke").rename(own_runs / "shapes10/full")  # as if they were full runs
    path, table = tmp_path / "range_curves.csv", tmp_path / "range_tests.csv"
    for _ in range(2):  # a second publication replaces the rows
        for file, rows in zip((table, path), archive.range_tests(own_runs)):
            archive.merged(file, rows).to_csv(file, index=False)
    (own_runs / "shapes10/full").rename(own_runs / "shapes10/smoke")
    assert sweeps.published(narrow.name, SHORT, path=path) == []  # they are of Shapes-10
    path.write_text(path.read_text().replace("shapes10", "cifar10"))
    back = sweeps.published(narrow.name, SHORT, path=path)
    assert [curve.about[-6:] for curve in back] == ["seed 0", "seed 1"]
    for seed, curve in enumerate(back):
        np.testing.assert_allclose(curve.loss, kept(narrow, tiny, seed=seed).loss)
    rows = list(csv.DictReader(table.open()))
    assert [row["seed"] for row in rows] == ["0", "1"]
    found = suggest(back[0]).rates()
    assert {name: float(rows[0][name]) for name in found} == pytest.approx(found)
    assert sweeps.published(narrow.name, Sweep(), path=path) == []


def test_only_full_sweeps_are_published(narrow, tiny, own_runs):
    kept(narrow, tiny)
    assert archive.range_tests(own_runs) == ([], [])


def test_names_of_sweeps():
    assert sweeps.key(Sweep()) == "exp-0.0001-10-100"
    assert sweeps.key(Sweep(0.01, 1.0, 50, "linear"), 500) == "linear-0.01-1-50-validate-500"


def test_command_line_sweeps_seeds_and_sums_up(capsys, own_runs):
    command = ["davidnet-onecycle", "--dataset", "shapes10", "--profile", "smoke", "--seeds", "0", "1"]
    assert sweeps.main([*command, "--start", "0.01", "--end", "1", "--scale", "linear"]) == 0
    printed = capsys.readouterr().out
    assert "seed 0" in printed and "seed 1" in printed and ", n = " in printed
    names = sorted(path.name for path in own_runs.rglob("*.json"))
    assert names == ["linear-0.01-1-20-seed-0.json", "linear-0.01-1-20-seed-1.json"]
    assert json.loads(next(own_runs.rglob("*.json")).read_text())["device"].startswith("cpu")
    assert list(runs.finished_runs(own_runs)) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["davidnet"], "unknown recipe"),
        (["davidnet-onecycle", "--profile", "tiny"], "unknown profile"),
        (["davidnet-onecycle", "--start", "20"], "0 < start_lr < end_lr"),
    ],
)
def test_command_line_errors_are_one_line(arguments, words, capsys):
    assert sweeps.main([*arguments, "--dataset", "shapes10"]) == 1
    assert words in capsys.readouterr().err


def test_a_finished_curve_is_read_without_a_lock(narrow, tiny, own_runs, monkeypatch):
    first = kept(narrow, tiny)
    monkeypatch.setattr(sweeps.runs.RunDirectory, "lock", lambda *_: pytest.fail("reading needs no lock"))
    np.testing.assert_array_equal(first.loss, kept(narrow, tiny).loss)


@pytest.mark.parametrize("damage", ["", "[1]", '{"lr": [1'])
def test_a_damaged_curve_is_named_and_says_what_to_do(damage, narrow, tiny, own_runs):
    kept(narrow, tiny)
    (path,) = own_runs.glob("**/range-tests/*.json")
    path.write_text(damage)
    for read in (lambda: kept(narrow, tiny), lambda: list(sweeps.stored_sweeps(own_runs))):
        with pytest.raises(sweeps.runs.RunError, match=f"{path.name} .*delete it to measure this sweep anew"):
            read()
