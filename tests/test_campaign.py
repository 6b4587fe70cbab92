"""The campaign: what it trains in which order, what it leaves when it is stopped, and what it publishes."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixture_runs import full_run

from helpers import files, recipes
from helpers.rates import grid as rate_grid
from helpers.rates.grid import Grid
from helpers.regenerate.tables import results_table
from helpers.results import archive, campaign

PLUS, D, ONE = "davidnet-onecycle-plus", "published-d", "davidnet-onecycle"
NONE = Path("no-runs")  # an empty run store
COPY = """
import json, shutil, sys
source, target, changes = sys.argv[1:]
shutil.copytree(source, target, dirs_exist_ok=True)
record = json.load(open(target + "/record.json"))
changes = json.loads(changes)
record["recipe"] |= changes.pop("recipe")
json.dump(record | changes, open(target + "/record.json", "w"))
"""


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """The folder of a small finished run."""
    root = tmp_path_factory.mktemp("trained")
    full_run(tiny, root, PLUS)
    return root / f"cifar10/full/{PLUS}/seed-0"


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Published data: none."""
    folder = tmp_path / "images"
    folder.mkdir()
    monkeypatch.setattr(archive, "IMAGES", folder)
    return folder


class Trains(list):
    """Names of what was trained; `script` says what a training of a name does in place of its work."""

    script: dict[str, str] = {}


@pytest.fixture
def trains(monkeypatch, trained, images, own_runs):
    """No grids, two recipes with one seed each; trainings that take no time. Returns what was trained."""
    started = Trains()

    def copy(asked, **settings):
        name, seed = asked[3], int(asked[-1])
        recipe = recipes.get(name)
        started.append(name)
        copied = {"name": name, "overridden": recipe.overridden, "holdout": 50 if recipe.holdout else 0}
        copied |= {field: getattr(recipe, field) for field in ("max_lr", "min_lr", "logit_scale")}
        changes = json.dumps({"seed": seed, "recipe": copied, "val_accuracy": 0.5})
        target = own_runs / f"cifar10/full/{name}/seed-{seed}"
        instead = [sys.executable, "-c", started.script.get(name, COPY), trained, target, changes]
        return subprocess.Popen(instead, **settings)

    started.script = {}
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    monkeypatch.setattr(rate_grid, "GRIDS", ())
    monkeypatch.setattr(campaign, "Popen", copy)
    return started


@pytest.fixture
def gpu(monkeypatch):
    """As if there were one on which two runs are trained at a time; call it to set the seconds of an epoch, by name."""
    monkeypatch.setattr(campaign.devices, "compute", lambda: SimpleNamespace(device="cuda"))
    monkeypatch.setattr(campaign, "side_by_side", lambda: 2)

    def paces(**seconds):
        known = {campaign.kind((name, 0)): pace for name, pace in seconds.items()}
        monkeypatch.setattr(campaign, "trials", lambda wanted: known)

    return paces


def train(images, seconds=60):
    campaign.train(time.monotonic() + seconds, images)


def waiting():
    return {name: epochs for (name, _), epochs in campaign.waiting().items()}


def published(images):
    return [(run.recipe, run.seed) for run in archive.runs(images, NONE).itertuples()]


def test_what_is_missing_is_trained_in_order_and_published(trains, images):
    assert waiting() == {PLUS: 0, D: 0}
    train(images)
    assert trains == [PLUS, D] and waiting() == {}
    assert published(images) == [(PLUS, 0), (D, 0)]
    train(images)
    assert len(trains) == 2  # nothing is trained twice


def test_a_run_that_was_begun_comes_first_on_a_cpu_and_its_curve_is_published(trains, images, trained, own_runs):
    begun = own_runs / f"cifar10/full/{D}/seed-0"
    begun.mkdir(parents=True)
    shutil.copy(trained / "history.csv", begun)
    shutil.copy(files.REPO_ROOT / "images/claimed_curves.csv", images)
    assert waiting() == {D: 2, PLUS: 0}
    archive.publish(images)
    runs, histories = archive.runs(images, NONE), archive.histories(images, NONE)
    assert len(runs) == 0 and len(histories[D, 0]) == 2
    told = f"| 2 of 24 epochs: {100 * histories[D, 0][-1]['ema_test_accuracy']:.2f} % |"
    assert told in results_table(runs, histories) and told not in results_table(runs, {})
    train(images)
    assert trains[0] == D


def test_the_published_log_stands_beside_an_unfinished_run(tmp_path):
    history = 18 * [{"test_accuracy": 0.8}]
    table = results_table(archive.runs(tmp_path, NONE), {("published-b1", 0): history})
    assert "| 18 of 50 epochs: 80.00 % (theirs then: 86.62 %) |" in table


def test_a_run_that_fails_is_named_and_the_next_one_trained(trains, images, capfd):
    trains.script = {PLUS: "import sys; sys.exit(1)"}
    train(images)
    assert f"{PLUS}, seed 0: exit status 1" in capfd.readouterr().out
    assert waiting() == {PLUS: 0}


def test_when_time_is_up_the_training_is_ended(trains, images, monkeypatch):
    processes, start = [], campaign.start
    trains.script = {PLUS: "import time; time.sleep(600)"}
    monkeypatch.setattr(campaign, "start", lambda *given: processes.append(start(*given)) or processes[-1])
    train(images, 0.5)
    assert len(processes) == 1 and processes[0].returncode


def test_a_gpu_starts_only_what_can_end_and_the_slower_net_first(trains, images, gpu, monkeypatch):
    monkeypatch.setattr(campaign, "ORDER", tuple((name, 0) for name in (PLUS, D, "published-c", "published-e-step")))
    gpu(**{PLUS: 0.1, "published-c": 100, "published-e-step": 0.1})  # the trial of published-d has failed
    train(images)
    assert trains == ["published-e-step", PLUS]
    assert set(waiting()) == {"published-c", D}


def test_a_diverged_cell_is_entered_and_later_stages_follow(trains, images, monkeypatch):
    grid = Grid(ONE, (0.1, 0.8), floors=(10,))
    monkeypatch.setattr(rate_grid, "GRIDS", (grid,))
    monkeypatch.setattr(campaign, "ORDER", ((ONE, 0),))
    explodes = rate_grid.recipe_of(grid, rate_grid.Rates(0.8, 0.008, 1.0)).name
    trains.script = {explodes: f"import sys; sys.exit({campaign.DIVERGED})"}
    assert ONE not in waiting()
    train(images)
    found = rate_grid.read(grid, archive.read("rate_grid.csv", images, NONE))
    assert [(rates.max_lr, rates.min_lr) for rates, _ in found] == [(0.1, 0.001), (0.1, 0.01), (0.8, 0.008)]
    assert list(found.values()) == [0.5, 0.5, 0]
    assert rate_grid.chosen(grid, found).max_lr == 0.1 and published(images) == []
    # the recipe's rates are not yet those of the grid: it is passed over, and no cell is trained twice
    assert waiting() == {}
    train(images)
    assert len(trains) == 3


def test_without_seconds_it_only_shows(trains, own_runs, capsys):
    campaign.main([])
    assert f"{PLUS}, seed 0: 0 of 24 epochs" in capsys.readouterr().out and trains == [] and not own_runs.exists()


def test_another_folder_holds_what_is_published_and_fits_into_small_files(trains, images, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PART", 30_000)
    monkeypatch.setattr(campaign, "ORDER", ((D, 0),))
    train(images)
    before = {path: path.read_bytes() for path in images.rglob("*.*")}
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    out = tmp_path / "out"
    campaign.main(["60", "--out", str(out)])
    assert published(out) == [(PLUS, 0), (D, 0)]
    assert {path: path.read_bytes() for path in images.rglob("*.*")} == before
    parts = sorted(out.rglob("weights/davidnet*"))
    assert [path.name for path in parts] == [f"davidnet.safetensors.{number}" for number in range(len(parts))]
    assert len(parts) > 1 and max(path.stat().st_size for path in parts) <= 30_000
    facts = json.loads((out / "weights/weights.json").read_text())["davidnet"]
    assert sum(path.stat().st_size for path in parts) == facts["bytes"] and facts["recipe"] == PLUS


def test_weights_in_parts_are_the_weights(images, tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(3 * archive.PART - 1)
    monkeypatch.setattr(archive, "data", lambda *_: {images / "weights/net.safetensors": content, images / "a": b"x"})
    archive.publish(tmp_path / "out")
    parts = [tmp_path / f"out/weights/net.safetensors.{number}" for number in range(3)]
    assert b"".join(path.read_bytes() for path in parts) == content and (tmp_path / "out/a").read_bytes() == b"x"
    archive.publish(images)
    assert (images / "weights/net.safetensors").read_bytes() == content


def test_the_whole_list_is_known_and_no_row_is_of_another_recipe():
    """A published run stands under the name of the recipe it was trained by, as that is today."""
    assert {name for name, _ in campaign.ORDER} == set(recipes.RECIPES) and len(campaign.ORDER) == 15
    for run in archive.runs(root=NONE).to_dict("records"):
        base = recipes.RECIPES[run["recipe"].partition("+")[0]].to_dict()
        for field in set(recipes.FIELDS) - set(json.loads(run["overridden"])):
            told = json.loads(run[field]) if isinstance(base[field], list) else run[field]
            assert told == base[field], (run["recipe"], field)


def test_a_trial_trains_and_times(tiny, monkeypatch):
    few = dataclasses.replace(tiny, name="cifar10")
    monkeypatch.setattr("helpers.data.load", lambda name: SimpleNamespace(subset=lambda *sizes: few))
    assert campaign.trial("davidnet-onecycle+width=8+batch_size=32") > 0


def test_runs_of_one_kind_need_one_trial_and_what_fails_is_named(monkeypatch, capsys):
    seconds = {f"{ONE}+max_lr=0.2": 1.5, D: 2.5}
    monkeypatch.setattr(campaign, "trial", lambda name: seconds[name])
    keys = [(ONE, 0), (f"{ONE}+max_lr=0.2", 1), (PLUS, 2), (D, 0)]
    assert campaign.trials(keys) == {campaign.kind((ONE, 0)): 1.5, campaign.kind((D, 0)): 2.5}
    assert capsys.readouterr().out == f"{PLUS}: left out, its trial failed: '{PLUS}'\n"


ABSENT = ("matplotlib", "seaborn", "papermill", "nbformat", "torch_lr_finder", "psutil")


def test_a_campaign_needs_little_more_than_a_training():
    """A machine that only lends its GPU lacks some libraries."""
    without = f"import sys; sys.modules |= dict.fromkeys({ABSENT!r})"
    code = f"{without}; from helpers.results import campaign; campaign.main([])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "published-d, seed 0: 0 of 24 epochs" in shown.stdout
