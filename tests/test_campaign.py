"""The campaign: what it trains in which order, what it leaves when it is stopped, and what it publishes."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from fixture_runs import full_run

from helpers import recipes
from helpers.regenerate.tables import results_table
from helpers.results import archive, campaign, published, rate_grid
from helpers.results.campaign import Campaign, Pace, Run
from helpers.results.rate_grid import Grid
from helpers.training import runs

PLUS, D = "davidnet-onecycle-plus", "published-d"
COPY = """
import json, shutil, sys
source, target, name, seed = sys.argv[1:]
shutil.copytree(source, target, dirs_exist_ok=True)
record = json.load(open(target + "/record.json"))
record["recipe"]["name"], record["seed"] = name, int(seed)
record["recipe"]["overridden"] = ["holdout"] if "+" in name else []
record["recipe"]["holdout"] = 50 if "+" in name else 0
json.dump(record, open(target + "/record.json", "w"))
"""


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """The folder of a small finished run."""
    root = tmp_path_factory.mktemp("trained")
    full_run(tiny, root, PLUS)
    return root / f"cifar10/full/{PLUS}/seed-0"


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def trains(monkeypatch, trained):
    """No grids, two recipes with one seed each, a known pace; trainings that take no time. Returns what was trained."""
    started = []

    def command(run):
        started.append(run.name)
        return [sys.executable, "-c", COPY, str(trained), str(run.folder.path), run.recipe.name, str(run.seed)]

    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    monkeypatch.setattr(rate_grid, "GRIDS", ())
    monkeypatch.setattr(campaign, "command", command)
    monkeypatch.setattr(campaign, "publish", lambda folder: archive.publish(folder, runs.runs_root()))
    monkeypatch.setattr(campaign, "trials", lambda wanted: {campaign.kind(run.recipe): Pace(1.0, 0) for run in wanted})
    return started


def states(images):
    return {run.name: campaign.state(run, images) for run in campaign.needed(images)}


def test_what_is_missing_is_trained_in_order_and_published(trains, images):
    assert set(states(images).values()) == {"waiting"}
    Campaign(images, 60).train()
    assert trains == [f"{PLUS}, seed 0", f"{D}, seed 0"] and set(states(images).values()) == {"done"}
    assert set(published.read_published(images)) == {("cifar10", PLUS, 0), ("cifar10", D, 0)}
    Campaign(images, 60).train()
    assert len(trains) == 2  # nothing is trained twice


def test_a_run_that_was_begun_comes_first_on_a_cpu_and_its_curve_is_published(trains, images, trained, own_runs):
    begun = own_runs / f"cifar10/full/{D}/seed-0"
    begun.mkdir(parents=True)
    shutil.copy(trained / "history.csv", begun)
    assert states(images)[f"{D}, seed 0"] == "2 of 24 epochs"
    campaign.publish(images)
    assert published.read_published(images) == {}
    curves = published.read_table(images / "curves.csv")
    told = f"| 2 of 24 epochs: {100 * curves[-1]['ema_test_accuracy']:.2f} % |"
    assert told in results_table([], published.begun(curves, [])) and told not in results_table([])
    Campaign(images, 60).train()
    assert trains[0] == f"{D}, seed 0"


def test_the_published_log_stands_beside_an_unfinished_run():
    row = {"dataset": "cifar10", "profile": "full", "recipe": "published-b1", "seed": 0, "test_accuracy": 0.8}
    curves = [{**row, "epoch": epoch} for epoch in range(1, 19)]
    table = results_table([], published.begun(curves, []))
    assert "| 18 of 50 epochs: 80.00 % (theirs then: 86.62 %) |" in table


def test_a_run_that_fails_is_named_and_the_next_one_trained(trains, images, monkeypatch, capsys):
    works = campaign.command
    fails = [sys.executable, "-c", "import sys; sys.exit(1)"]
    monkeypatch.setattr(campaign, "command", lambda run: fails if run.recipe.name == PLUS else works(run))
    Campaign(images, 60).train()
    assert f"{PLUS}, seed 0: failed with exit status 1" in capsys.readouterr().out
    assert states(images) == {f"{PLUS}, seed 0": "waiting", f"{D}, seed 0": "done"}


def test_a_failed_trial_leaves_a_kind_of_run_out(trains, images, monkeypatch, capsys):
    broken = campaign.kind(recipes.RECIPES[PLUS])
    paces = {broken: "out of memory"}
    monkeypatch.setattr(
        campaign, "trials", lambda wanted: {(k := campaign.kind(r.recipe)): paces.get(k, Pace(1, 0)) for r in wanted}
    )
    gpu = Campaign(images, 60)
    gpu.on_gpu = True
    gpu.train()
    assert f"{PLUS}, seed 0: left out, its trial failed: out of memory" in capsys.readouterr().out
    assert trains == [f"{D}, seed 0"]


def test_when_time_is_up_the_training_is_ended(trains, images, monkeypatch):
    processes = []
    start = campaign.start
    monkeypatch.setattr(campaign, "command", lambda run: [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(campaign, "start", lambda *given: processes.append(start(*given)) or processes[-1])
    Campaign(images, 1).train()
    assert len(processes) == 1 and processes[0].process.poll() is not None


def test_a_gpu_starts_only_what_can_end_and_the_slower_net_first(trains, images, monkeypatch):
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0), ("published-c", 0), ("published-e-step", 0)))
    slow = campaign.kind(recipes.RECIPES["published-c"])
    monkeypatch.setattr(
        campaign,
        "trials",
        lambda wanted: {(k := campaign.kind(r.recipe)): Pace(100 if k == slow else 0.1, 0) for r in wanted},
    )
    monkeypatch.setattr(campaign, "side_by_side", lambda memory: 2)
    gpu = Campaign(images, 60)
    gpu.on_gpu = True
    gpu.train()
    assert trains == [f"{name}, seed 0" for name in ("published-e-step", PLUS, D)]
    assert states(images)["published-c, seed 0"] == "waiting"


def test_a_diverged_cell_is_entered_and_later_stages_follow(trains, images, monkeypatch):
    grid = Grid("davidnet-onecycle", (0.1, 0.8), floors=(10,))
    monkeypatch.setattr(rate_grid, "GRIDS", (grid,))
    monkeypatch.setattr(campaign, "ORDER", (("davidnet-onecycle", 0),))
    works, diverges = campaign.command, [sys.executable, "-c", f"import sys; sys.exit({campaign.DIVERGED})"]
    monkeypatch.setattr(campaign, "command", lambda run: diverges if run.recipe.max_lr == 0.8 else works(run))
    assert states(images)["davidnet-onecycle, seed 0"] == "waiting for its rate grid"
    monkeypatch.setattr(rate_grid, "row_of", noted(rate_grid.row_of, grid))
    Campaign(images, 60).train()
    found = rate_grid.read(grid, images)
    assert [(rates.max_lr, rates.min_lr) for rates, _ in found] == [(0.1, 0.001), (0.1, 0.01), (0.8, 0.008)]
    assert found[rate_grid.Rates(0.8, 0.008, 1.0), 0] == 0 and min(list(found.values())[:2]) > 0
    assert rate_grid.chosen(grid, found).max_lr == 0.1 and published.read_published(images) == {}
    # the recipe's rates are not yet those of the grid: it is passed over
    assert states(images)["davidnet-onecycle, seed 0"] == "waiting for its rate grid" and len(trains) == 2


def test_a_diverged_cell_is_not_trained_again_where_it_cannot_be_published(trains, images, monkeypatch):
    monkeypatch.setattr(rate_grid, "GRIDS", (Grid("davidnet-onecycle", (0.8,)),))
    monkeypatch.setattr(campaign, "ORDER", ())
    started = []
    diverges = [sys.executable, "-c", f"import sys; sys.exit({campaign.DIVERGED})"]
    monkeypatch.setattr(campaign, "command", lambda run: started.append(run.name) or diverges)
    monkeypatch.setattr(campaign, "publish", lambda folder: None)
    Campaign(images, 60).train()
    assert len(started) == 1 and list(states(images).values()) == ["done"]


def noted(row_of, grid):
    """The copied run's rates are those of its name, not of the run that was copied."""

    def row(record):
        told = record["recipe"]["name"].split("+")[1:]
        values = {name: json.loads(value) for name, _, value in (part.partition("=") for part in told)}
        found = row_of({**record, "recipe": {**record["recipe"], **values}})
        return {**found, "val_accuracy": 0.5 if "versions" in record and record.get("test_accuracy") else None}

    return row


def test_two_campaigns_in_one_store_refuse_each_other(trains, images, own_runs, capsys):
    own_runs.mkdir()
    with FileLock(own_runs / ".campaign.lock"):
        assert campaign.main(["5", "--out", str(images)]) == 1
    assert "another campaign is under way" in capsys.readouterr().err and trains == []


def test_without_seconds_it_only_shows(trains, images, own_runs, capsys):
    assert campaign.main(["--out", str(images)]) == 0
    assert f"{PLUS}, seed 0  waiting" in capsys.readouterr().out and trains == [] and not own_runs.exists()


def test_another_folder_begins_with_what_is_published_and_fits_into_small_files(trains, images, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "IMAGES", images)
    monkeypatch.setattr(archive, "PART", 30_000)
    monkeypatch.setattr(campaign, "ORDER", ((D, 0),))
    Campaign(images, 60).train()
    monkeypatch.setattr(campaign, "ORDER", ((PLUS, 0), (D, 0)))
    out = tmp_path / "out"
    assert campaign.main(["60", "--out", str(out)]) == 0
    assert set(published.read_published(out)) == {("cifar10", PLUS, 0), ("cifar10", D, 0)}
    assert set(published.read_published(images)) == {("cifar10", D, 0)}
    names = sorted(str(path.relative_to(out)) for path in out.rglob("weights/davidnet*"))
    assert len(names) > 1 and max((out / name).stat().st_size for name in names) <= 30_000
    facts = json.loads((out / "weights/weights.json").read_text())["davidnet"]
    whole = b"".join((out / name).read_bytes() for name in names)
    assert len(whole) == facts["bytes"] and facts["recipe"] == PLUS


def test_the_whole_list_is_known_and_no_row_is_of_another_recipe():
    """A published run stands under the name of the recipe it was trained by, as that is today."""
    listed = {(run.recipe.name, run.seed) for run in campaign.needed(published.IMAGES) if not run.cell}
    assert {name for name, _ in listed} == set(recipes.RECIPES) and len(listed) == 15
    for key, run in published.read_published().items():
        base, facts = recipes.RECIPES[run.recipe.partition("+")[0]].to_dict(), run.facts
        overridden = json.loads(facts["overridden"])
        for field in set(recipes.FIELDS) - set(overridden):
            told = json.loads(facts[field]) if isinstance(base[field], list) else facts[field]
            assert told == base[field], (key, field)


def test_a_trial_trains_resumes_and_times(tiny, small_recipe, monkeypatch):
    data = dataclasses.replace(tiny, name="cifar10")
    monkeypatch.setattr("helpers.training.settings.data.load", lambda *_: data)
    pace = campaign.trial(small_recipe)
    assert pace.epoch_seconds > 0 and pace.memory == 0


def test_trials_run_in_processes_of_their_own_and_say_what_fails(monkeypatch):
    monkeypatch.setenv("CIFAR10_ROOT", "/nowhere")
    (said,) = campaign.trials([Run(recipes.RECIPES[PLUS], 0)]).values()
    assert isinstance(said, str) and "nowhere" in said


def test_a_training_leaves_when_its_campaign_is_killed(tmp_path):
    """The campaign is killed without a chance to end what it started."""
    mark = tmp_path / "pid"
    child = (
        "import os, sys, time; from helpers.training import campaign; campaign._leave_with_parent(int(sys.argv[1]));"
        f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    parent = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, str(os.getpid())])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: mark.exists() and mark.read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not alive(int(mark.read_text())))


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_weights_in_parts_are_the_weights():
    content = np.random.default_rng(0).bytes(3 * archive.PART - 1)
    found = dict(archive.parts(published.IMAGES / "weights/net.safetensors", content))
    assert [path.name for path in found] == [f"net.safetensors.{number}" for number in range(3)]
    assert b"".join(found.values()) == content and max(map(len, found.values())) <= archive.PART


def test_publishing_is_a_program_of_its_own_and_says_what_fails(images, trained, own_runs, capsys):
    shutil.copytree(trained, own_runs / f"cifar10/full/{PLUS}/seed-0")
    campaign.publish(images)
    assert set(published.read_published(images)) == {("cifar10", PLUS, 0)} and capsys.readouterr().out == ""
    (own_runs / f"cifar10/full/{PLUS}/seed-0/record.json").write_text("{")
    campaign.publish(images)
    assert capsys.readouterr().out.startswith("not published: ")


def test_it_needs_no_more_than_a_training_does(own_runs):
    """A machine that only lends its GPU has torch, albumentations and little else."""
    absent = ("matplotlib", "seaborn", "pandas", "papermill", "nbformat", "torch_lr_finder", "safetensors", "psutil")
    script = f"import sys; sys.modules |= dict.fromkeys({absent!r}); from helpers.results import campaign as c;"
    script += "c.publish(c.published.IMAGES.with_name('nowhere')); print(c.main([]))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "published-d, seed 0" in told and told.endswith("0\n")
