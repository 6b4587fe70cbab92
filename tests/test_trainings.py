"""Recipes × seeds from the command line: real trainings of the smoke profile, failures, interruptions."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from fixture_notebooks import REPO, child_environment, gone, wait_for

from helpers import recipes
from helpers.regenerate import cli, planning, trainings
from helpers.regenerate.batch import Display
from helpers.regenerate.notebooks import NotebookError

WHERE = planning.Survey("smoke", "shapes10", "cpu (a test), fp32")
PLUS, B1 = "davidnet-onecycle-plus", "published-b1"


@pytest.fixture
def command(own_runs, monkeypatch):
    """Call the command line on Shapes-10 under smoke, without asking another process what "auto" means."""
    monkeypatch.setattr(cli, "survey", lambda *_, **__: WHERE)
    monkeypatch.setenv("HELPERS_DEVICE", "cpu")
    return lambda *arguments: cli.main(["--sweep", *arguments])


def record(root, name, seed):
    path = root / f"shapes10/smoke/{name}/seed-{seed}/record.json"
    return json.loads(path.read_text()) if path.is_file() else None


def finish(root, name, seed, accuracy, **other):
    folder = root / f"shapes10/smoke/{name}/seed-{seed}"
    folder.mkdir(parents=True)
    recipe = recipes.under(recipes.get(name), recipes.resolve_profile("smoke")).to_dict() | other
    (folder / "record.json").write_text(json.dumps({"recipe": recipe, "test_accuracy": accuracy, "seconds": 65.0}))
    (folder / "history.csv").write_text("epoch,seconds\n1,60.0\n2,3.0\n")


def test_trains_what_is_missing_side_by_side_and_goes_on_after_a_failure(command, own_runs, capsys):
    finish(own_runs, PLUS, 1, 0.25)
    broken = own_runs / f"shapes10/smoke/{B1}/seed-0"
    broken.mkdir(parents=True)
    (broken / "checkpoint.pt").write_bytes(b"not a checkpoint")
    assert command(PLUS, B1, "--seeds", "0", "1", "--jobs", "2") == 1
    told = capsys.readouterr().out
    rows = {line[: line.index("  ")]: line.split() for line in told.splitlines() if ", seed" in line and "%" in line}
    assert record(own_runs, PLUS, 0)["weights"] == "averaged" and record(own_runs, B1, 1)["decides_on"] == "test"
    assert rows[f"{PLUS}, seed 1"][3] == "unchanged" and rows[f"{PLUS}, seed 1"][-1] == "25.00%"
    assert rows[f"{PLUS}, seed 0"][3:5] == ["ok", "2/2"]
    assert f"{B1}, seed 0: failed after" in told and "cannot be read" in told
    mean = 50 * (0.25 + record(own_runs, PLUS, 0)["test_accuracy"])
    assert f"{PLUS}: {mean:.2f} ± " in told and f"{B1}: " in told and "(one run)" in told
    assert "failed; logs in" in told
    log = (own_runs / f"logs/shapes10-smoke-{PLUS}-seed-0.log").read_text()
    assert "test accuracy" in log


def test_finished_runs_are_not_started_again(command, own_runs, capsys, monkeypatch):
    monkeypatch.setattr(trainings, "Process", None)
    finish(own_runs, PLUS, 0, 0.5)
    assert command(PLUS) == 0
    assert "unchanged" in capsys.readouterr().out


def test_a_run_of_another_recipe_is_not_counted_among_those_of_this_one(command, own_runs, capsys):
    finish(own_runs, PLUS, 0, 0.5, max_lr=3.0, claim=91.0)
    assert command(PLUS, "--seeds", "0", "1") == 2
    told = capsys.readouterr().err
    assert f"{PLUS}/seed-0 was trained by another recipe (max_lr was 3.0, is 0." in told and "claim" not in told


def test_a_damaged_record_is_one_clear_error(command, own_runs, capsys):
    finish(own_runs, PLUS, 0, 0.5)
    (own_runs / f"shapes10/smoke/{PLUS}/seed-0/record.json").write_text("")
    assert command(PLUS) == 2
    assert "record.json cannot be read (" in capsys.readouterr().err


def test_dry_run_tells_what_would_be_trained(command, own_runs, capsys):
    finish(own_runs, PLUS, 0, 0.5)
    begun = own_runs / f"shapes10/smoke/{PLUS}/seed-1"
    begun.mkdir(parents=True)
    (begun / "history.csv").write_text("epoch\n1\n")
    assert command(PLUS, "--seeds", "0", "1", "2", "--dry-run") == 0
    lines = [line.split(maxsplit=3)[2:] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["0", "skip   finished"], ["1", "train  after epoch 1"], ["2", "train  not run yet"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["davidnet"], "unknown recipe 'davidnet'; there are: davidnet-onecycle, davidnet-onecycle-plus, "),
        ([PLUS, "--set", "epoch=3"], "unknown field 'epoch'; overrides may set: net, "),
        ([PLUS, "--set", "epochs"], "--set takes FIELD=VALUE"),
        ([PLUS, "--seeds", "0", "-2"], "seeds are whole numbers of 0 or more, not -2"),
    ],
)
def test_mistakes_are_told_before_anything_runs(command, own_runs, capsys, monkeypatch, arguments, said):
    monkeypatch.setattr(cli, "survey", None)
    assert command(*arguments) == 2
    assert said in capsys.readouterr().err and not own_runs.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sweep", PLUS, "--only", "05"],
        ["--sweep", PLUS, "--publish"],
        ["--seeds", "1"],
        ["--publish-data", "--force"],
    ],
)
def test_options_of_different_jobs_do_not_mix(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and "--se" in capsys.readouterr().err


def test_overrides_name_the_runs_and_reach_the_trainings(own_runs):
    (task,) = trainings.plan([PLUS], [0, 0], ["epochs=1", "ema_epochs=0"], WHERE, own_runs)
    assert task.notebook.name == f"{PLUS}+ema_epochs=0.0+epochs=1, seed 0" and task.notebook.epochs == 1


def test_seeds_are_outermost(own_runs):
    tasks = trainings.plan([PLUS, B1], [3, 1], [], WHERE, own_runs)
    assert [task.notebook.name for task in tasks] == [f"{name}, seed {k}" for k in (3, 1) for name in (PLUS, B1)]


def test_a_child_that_dies_without_a_word_is_a_failure(tmp_path):
    item = trainings.Training(PLUS, "x, seed 0", 0, 2, tmp_path / "run")
    process = trainings.Process(
        item, [sys.executable, "-c", "import os; os._exit(7)"], dict(os.environ), tmp_path / "x.log"
    )
    wait_for(lambda: process.process.poll() is not None)
    result = process.poll()
    assert (result.status, result.note) == ("failed", "the process ended with code 7")


def test_a_child_that_was_killed_is_not_reported_by_its_progress_bar(tmp_path):
    code = "import os, signal; print('epoch 3/24', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    item = trainings.Training(PLUS, "x, seed 0", 0, 24, tmp_path / "run")
    process = trainings.Process(item, [sys.executable, "-c", code], dict(os.environ), tmp_path / "x.log")
    process.process.wait()
    assert process.poll().note == "the process was killed by SIGKILL; out of memory is the usual reason"


def test_an_ended_child_is_gone_and_says_where_it_was(tmp_path):
    item = trainings.Training(PLUS, "x, seed 0", 0, 5, tmp_path)
    (tmp_path / "history.csv").write_text("epoch,seconds\n1,60.0\n2,3.0\n")
    process = trainings.Process(item, [sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "x.log")
    assert process.poll() is None
    assert process.state() == {"cell": 3, "cells": 5, "unit": "epoch"}
    result = process.stop("interrupted")
    assert process.process.poll() is not None
    assert (result.status, result.note, result.cells_run) == ("interrupted", "after epoch 2", 2)


def test_the_time_of_a_training_is_its_epochs_at_the_pace_of_the_median_one(tmp_path):
    item = trainings.Training(PLUS, "x, seed 0", 0, 3, tmp_path)
    assert item.seconds() == 0
    (tmp_path / "history.csv").write_text("epoch,seconds\n1,10.0\n2,900.0\n3,12.0\n")
    assert item.seconds() == 36


def test_a_plan_with_nothing_to_do_is_done(own_runs, capsys):
    finish(own_runs, PLUS, 0, 0.5)
    tasks = trainings.plan([PLUS], [0], [], WHERE, own_runs)
    assert trainings.run(tasks, [], WHERE, own_runs, 1, Display(sys.stdout)) == "ok"


def test_recipes_are_checked_by_name():
    trainings.check([PLUS], [0], [])
    with pytest.raises(NotebookError, match="there are: "):
        trainings.check(["no"], [0], [])


def test_interrupted_it_ends_its_trainings_and_a_second_call_finishes(own_runs, tmp_path):
    line = [sys.executable, "-m", "helpers.regenerate", "--sweep", PLUS, "--set", "epochs=40"]
    line += ["--profile", "smoke", "--dataset", "shapes10"]
    history = own_runs / f"shapes10/smoke/{PLUS}+epochs=40/seed-0/history.csv"
    runner = subprocess.Popen(line, env=child_environment(), cwd=REPO, stdout=subprocess.PIPE, text=True)
    wait_for(history.is_file)
    runner.send_signal(signal.SIGINT)
    told = runner.communicate(timeout=600)[0]
    assert runner.returncode == 130 and "interrupted after" in told
    rows = len(history.read_text().splitlines())
    time.sleep(1.0)
    assert len(history.read_text().splitlines()) == rows and rows < 41  # nothing trains on in secret
    done = subprocess.run(line, env=child_environment(), cwd=REPO, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "started (after epoch" in done.stdout and "40/40" in done.stdout


def test_trainings_leave_with_a_killed_runner(own_runs):
    line = [sys.executable, "-m", "helpers.regenerate", "--sweep", PLUS, "--set", "epochs=400"]
    line += ["--profile", "smoke", "--dataset", "shapes10"]
    history = own_runs / f"shapes10/smoke/{PLUS}+epochs=400/seed-0/history.csv"
    runner = subprocess.Popen(line, env=child_environment(), cwd=REPO, stdout=subprocess.DEVNULL)
    wait_for(history.is_file)
    (training,) = (child for child in psutil.Process(runner.pid).children() if PLUS in child.cmdline())
    runner.kill()
    runner.wait()
    wait_for(lambda: gone(training.pid))
