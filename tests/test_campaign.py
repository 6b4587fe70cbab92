"""The campaign: what it trains in which order, what it leaves when it is stopped, and what it publishes."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from fixture_runs import full_run

from helpers import files, recipes
from helpers.rates import grid as rate_grid
from helpers.rates.grid import Grid
from helpers.regenerate.tables import results_table
from helpers.results import archive, campaign, weights

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

    def command(name, *arguments):
        seed, recipe = int(arguments[-1]), recipes.get(name)
        started.append(name)
        copied = {"name": name, "overridden": recipe.overridden, "holdout": 50 if recipe.holdout else 0}
        copied |= {field: getattr(recipe, field) for field in ("max_lr", "min_lr", "logit_scale")}
        changes = json.dumps({"seed": seed, "recipe": copied, "val_accuracy": 0.5})
        target = own_runs / f"cifar10/full/{name}/seed-{seed}"
        return [sys.executable, "-c", started.script.get(name, COPY), trained, target, changes]

    started.script = {}
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    monkeypatch.setattr(rate_grid, "GRIDS", ())
    monkeypatch.setattr(campaign, "command", command)
    return started


@pytest.fixture
def gpu(monkeypatch):
    """As if there were one on which two runs are trained at a time; call it to set the seconds of an epoch, by name."""
    monkeypatch.setattr(campaign.devices, "compute", lambda: SimpleNamespace(device="cuda"))
    monkeypatch.setattr(campaign, "side_by_side", lambda: 2)
    return lambda **seconds: monkeypatch.setattr(campaign, "pace", lambda run: seconds.get(run[0], 0.0))


def train(images, seconds=60):
    campaign.train(time.monotonic() + seconds, images)


def states():
    return {name: state for (name, _), state in campaign.states().items()}


def published(images):
    return [(run.recipe, run.seed) for run in archive.runs(images, NONE).itertuples()]


def test_what_is_missing_is_trained_in_order_and_published(trains, images):
    assert set(states().values()) == {"waiting"}
    train(images)
    assert trains == [PLUS, D] and set(states().values()) == {"done"}
    assert published(images) == [(PLUS, 0), (D, 0)]
    train(images)
    assert len(trains) == 2  # nothing is trained twice


def test_a_run_that_was_begun_comes_first_on_a_cpu_and_its_curve_is_published(trains, images, trained, own_runs):
    begun = own_runs / f"cifar10/full/{D}/seed-0"
    begun.mkdir(parents=True)
    shutil.copy(trained / "history.csv", begun)
    for name in ("claims.csv", "claimed_curves.csv"):
        shutil.copy(files.REPO_ROOT / "images" / name, images)
    assert states()[D] == "2 of 24 epochs"
    campaign.publish(images)
    runs, histories = archive.runs(images, NONE), archive.histories(images, NONE)
    assert len(runs) == 0 and len(histories[D, 0]) == 2
    told = f"| 2 of 24 epochs: {100 * histories[D, 0][-1]['ema_test_accuracy']:.2f} % |"
    assert told in results_table(runs, histories) and told not in results_table(runs, {})
    train(images)
    assert trains[0] == D


def test_a_run_that_fails_is_named_and_the_next_one_trained(trains, images, capfd):
    trains.script = {PLUS: "import sys; sys.exit(1)"}
    train(images)
    assert f"{PLUS}, seed 0: failed with exit status 1" in capfd.readouterr().out
    assert states() == {PLUS: "waiting", D: "done"}


def test_when_time_is_up_the_training_is_ended(trains, images, monkeypatch):
    processes, start = [], campaign.start
    trains.script = {PLUS: "import time; time.sleep(600)"}
    monkeypatch.setattr(campaign, "start", lambda *given: processes.append(start(*given)) or processes[-1])
    train(images, 0.5)
    assert len(processes) == 1 and processes[0].returncode


def test_a_gpu_starts_only_what_can_end_and_the_slower_net_first(trains, images, gpu, monkeypatch):
    monkeypatch.setattr(campaign, "ORDER", tuple((name, 0) for name in (PLUS, "published-c", "published-e-step")))
    gpu(**{PLUS: 0.1, "published-c": 100})  # nothing is known of the last
    train(images)
    assert trains == ["published-e-step", PLUS] and states()["published-c"] == "waiting"


def test_the_pace_of_a_run_is_that_of_its_recipe_s_others(tiny, own_runs):
    assert campaign.pace((PLUS, 1)) == 0
    full_run(tiny, own_runs, PLUS)
    history = next(own_runs.rglob("history.csv"))
    rows = [line.split(",") for line in history.read_text().splitlines()]
    seconds = [float(row[rows[0].index("seconds")]) for row in rows[1:]]
    expected = pytest.approx(sum(seconds) / len(seconds))  # of two epochs, the median is the mean
    assert campaign.pace((PLUS, 1)) == campaign.pace((f"{PLUS}+max_lr=0.2", 0)) == expected
    assert campaign.pace((ONE, 0)) == 0


def test_a_diverged_cell_is_entered_and_later_stages_follow(trains, images, monkeypatch):
    grid = Grid(ONE, (0.1, 0.8), floors=(10,))
    monkeypatch.setattr(rate_grid, "GRIDS", (grid,))
    monkeypatch.setattr(campaign, "ORDER", ((ONE, 0),))
    explodes = rate_grid.recipe_of(grid, rate_grid.Rates(0.8, 0.008, 1.0)).name
    trains.script = {explodes: f"import sys; sys.exit({campaign.command_line.DIVERGED})"}
    assert states()[ONE] == "waiting until its recipe has the rates of its grid"
    train(images)
    found = rate_grid.read(grid, archive.read("rate_grid.csv", images, NONE))
    assert [(rates.max_lr, rates.min_lr) for rates, _ in found] == [(0.1, 0.001), (0.1, 0.01), (0.8, 0.008)]
    assert list(found.values()) == [0.5, 0.5, 0]
    assert rate_grid.chosen(grid, found).max_lr == 0.1 and published(images) == []
    # the recipe's rates are not yet those of the grid: it is passed over, and no cell is trained twice
    assert states()[ONE] == "waiting until its recipe has the rates of its grid"
    train(images)
    assert len(trains) == 3


def test_two_campaigns_in_one_store_refuse_each_other(trains, images, own_runs, capsys):
    own_runs.mkdir()
    with FileLock(own_runs / ".campaign.lock"):
        assert campaign.main(["5", "--out", str(images)]) == 1
    assert "another campaign is under way" in capsys.readouterr().err and trains == []


def test_without_seconds_it_only_shows(trains, own_runs, capsys):
    assert campaign.main([]) == 0
    assert f"{PLUS}, seed 0: waiting" in capsys.readouterr().out and trains == [] and not own_runs.exists()


def test_another_folder_holds_what_is_published(trains, images, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "ORDER", ((D, 0),))
    train(images)
    before = {path: path.read_bytes() for path in images.rglob("*.*")}
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    out = tmp_path / "out"
    assert campaign.main(["60", "--out", str(out)]) == 0
    assert published(out) == [(PLUS, 0), (D, 0)]
    assert {path: path.read_bytes() for path in images.rglob("*.*")} == before
    assert weights.published("davidnet", out / "weights")[1]["recipe"] == PLUS


def test_the_whole_list_is_known_and_no_row_is_of_another_recipe():
    """A published run stands under the name of the recipe it was trained by, as that is today."""
    listed = [run for run in campaign.states() if "holdout" not in run[0]]
    assert {name.partition("+")[0] for name, _ in listed} == set(recipes.RECIPES) and len(listed) == 65
    for run in archive.runs(root=NONE).to_dict("records"):
        base = recipes.RECIPES[run["recipe"].partition("+")[0]].to_dict()
        for field in set(recipes.FIELDS) - set(json.loads(run["overridden"])):
            told = json.loads(run[field]) if isinstance(base[field], list) else run[field]
            assert told == base[field], (run["recipe"], field)


ABSENT = ("matplotlib", "seaborn", "ipywidgets", "papermill", "nbformat", "torch_lr_finder", "psutil")
CHILD = f"""
import os, sys, time
sys.modules |= dict.fromkeys({ABSENT!r})
from helpers.results import campaign
campaign.main([])
campaign.command_line.main = lambda arguments: print(os.getpid(), flush=True) or time.sleep(600)
campaign.as_child(sys.argv[1], "any")
"""


def test_a_child_needs_little_more_than_a_training_and_leaves_when_its_campaign_is_killed(tmp_path):
    """A machine that only lends its GPU lacks some libraries; the campaign has no chance to end what it started."""
    said = tmp_path / "said"
    parent = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}, str(os.getpid())])"
    with said.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", parent], stdout=file)
    wait_for(lambda: said.read_text().rpartition("\n")[0][-1:].isdigit())
    process.kill()
    process.wait()
    *shown, pid = said.read_text().splitlines()
    assert "published-d, seed 0: waiting" in shown
    wait_for(lambda: not alive(int(pid)))


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_speaks_against_publishing_is_said(images, trained, own_runs, capsys):
    shutil.copytree(trained, own_runs / f"cifar10/full/{PLUS}/seed-0")
    campaign.publish(images)
    assert published(images) == [(PLUS, 0)] and capsys.readouterr().out == ""
    (own_runs / f"cifar10/full/{PLUS}/seed-0/record.json").write_text("{")
    campaign.publish(images)
    assert capsys.readouterr().out.startswith("not published: ")
