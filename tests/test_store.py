import json
import os
import platform
import subprocess
import threading
from importlib import metadata

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.training import Answers, Run, RunError, store

values = st.one_of(st.none(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False))


def saved(*rows, **more):
    """A checkpoint with these rows of history."""
    rows = [{"epoch": i, "val_loss": None, **row} for i, row in enumerate(rows, 1)]
    return {"model": {"w": torch.ones(2)}, "history": rows, "steps": torch.tensor([[0.1, 0.9]]), **more}


CONFIGURATION = {"recipe": {"max_lr": 0.1}, "seed": 0}


@given(rows=st.lists(st.fixed_dictionaries({"epoch": values, "loss": values}), min_size=1, max_size=5))
def test_histories_come_back_bit_for_bit(rows, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run"))
    run.follow(saved(*rows))
    assert run.history() == saved(*rows)["history"]
    kinds = [{key: type(value) for key, value in row.items()} for row in saved(*rows)["history"]]
    assert [{key: type(value) for key, value in row.items()} for row in run.history()] == kinds


def test_answers_come_back_as_they_were(tmp_path):
    run, predicted = Run(tmp_path), np.array([[1, 2, 3], [1, 1, 3]], np.uint8)
    given = Answers(predicted[1], np.array([0.5, 0.75, 1.0], np.float16), np.array([1, 2, 3], np.uint8))
    run.finish({"seed": 0}, given, predicted)
    assert sorted(os.listdir(tmp_path)) == ["answers.npz", "record.json"]
    assert np.load(tmp_path / "answers.npz")["predicted"].tolist() == predicted.tolist()
    assert run.answers().accuracy == 2 / 3 and run.answers().confidence.tolist() == [0.5, 0.75, 1.0]


def test_the_best_weights_are_those_of_the_lowest_validation_loss(tmp_path):
    run, losses = Run(tmp_path), [0.9, 0.5, 0.7, 0.5]
    for epoch in range(1, 5):
        run.follow(saved(*({"val_loss": loss} for loss in losses[:epoch])))
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 2
    Run(tmp_path / "none").follow(saved({}))
    assert not (tmp_path / "none" / "best.pt").exists()


def test_the_old_checkpoint_stays_where_a_new_one_cannot_be_written(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run.keep(saved({"loss": 1.0}), CONFIGURATION)
    before = sorted(os.listdir(tmp_path))

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 576 vs 534")  # no space is left

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RuntimeError, match="enforce fail"):
        run.keep(saved({"loss": 2.0}), CONFIGURATION)
    assert run.checkpoint()["history"][0]["loss"] == 1.0 and sorted(os.listdir(tmp_path)) == before


def test_what_was_not_written_is_none(tmp_path):
    run = Run(tmp_path)
    assert run.history() is run.record() is run.checkpoint() is run.answers() is None


def test_paths_and_lookup(tmp_path, own_runs):
    run = store.run_directory("cifar10", "quick", "davidnet-onecycle", 3)
    assert run.path == own_runs / "cifar10" / "quick" / "davidnet-onecycle" / "seed-3"
    record = {"dataset": "cifar10", "profile": "quick", "recipe": {"name": "davidnet-onecycle"}, "seed": 3}
    assert store.run_of(record) == run
    run.path.mkdir(parents=True)
    (run.path / "record.json").write_text(json.dumps(record))
    assert run.record() == record


def test_checkpoints_load_without_executing_code_and_a_broken_one_is_told(tmp_path):
    run = Run(tmp_path)
    run.keep(saved({"loss": 0.5}), CONFIGURATION)
    assert torch.equal(run.checkpoint(CONFIGURATION)["model"]["w"], torch.ones(2))
    with pytest.raises(ValueError, match=r"another configuration \(max_lr was 0.1, is 0.2\)"):
        run.checkpoint({"recipe": {"max_lr": 0.2}, "seed": 0})
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(RuntimeError, match="checkpoint.pt cannot be read .* delete .* to train this run anew"):
        run.checkpoint()


def test_a_second_trainer_waits_for_the_first(tmp_path):
    waited, done = threading.Event(), threading.Event()

    def second():
        with Run(tmp_path).lock(waited.set):
            done.set()

    trainer = threading.Thread(target=second)
    with Run(tmp_path).lock(lambda: pytest.fail("nobody is inside")):
        trainer.start()
        assert waited.wait(60) and not done.is_set()
    trainer.join(60)
    assert done.is_set()


def test_half_written_files_of_a_killed_process_are_cleared_away(tmp_path):
    (tmp_path / ".checkpoint.pt.123.part").write_bytes(b"half")
    with Run(tmp_path).lock():
        assert os.listdir(tmp_path) == [".lock"]


def test_provenance_names_versions_commit_and_time():
    made = store.provenance()
    assert set(made["versions"]) == {"python", "torch", "torchvision", "albumentations", "numpy"}
    assert made["versions"]["torch"] == metadata.version("torch")
    assert made["versions"]["python"] == platform.python_version()
    assert made["date"].endswith("+00:00") and set(made) == {"versions", "commit", "date"}


@pytest.fixture
def ended(tmp_path):
    """A run of three epochs with all its files."""
    run, three = Run(tmp_path), saved(*[{"val_loss": 0.5, "loss": 0.25}] * 3)
    run.keep(three, CONFIGURATION)
    run.finish({"recipe": {"epochs": 3}}, Answers(*np.ones((3, 4))), np.ones((3, 4)))
    return run


CUTS = {"a line": lambda text: text[: text.rstrip().rindex("\n") + 1], "half a line": lambda text: text[:-5]}
CUTS |= {"the line break": str.rstrip, "most": lambda text: text[:5], "all": lambda text: ""}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_history_that_was_cut_short_comes_from_the_checkpoint(cut, ended):
    path, whole = ended.path / "history.csv", ended.history()
    path.write_text(cut(path.read_text()))
    assert ended.history() == whole
    (ended.path / "checkpoint.pt").unlink()
    with pytest.raises(RunError, match=f"history.csv is incomplete; delete {ended.path} to train this run anew"):
        ended.history()


@pytest.mark.parametrize("bytes_kept", [0, 10, 300])
def test_damaged_answers_are_named(bytes_kept, ended):
    path = ended.path / "answers.npz"
    path.write_bytes(path.read_bytes()[:bytes_kept])
    with pytest.raises(RunError, match=f"answers.npz cannot be read .*delete {ended.path} to train this run anew"):
        ended.answers()


VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


def git(folder, *command):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, "-C", folder, *command], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def outer(tmp_path, monkeypatch):
    """A repository of the reader's own, with the series in a folder inside it; `commit` is asked anew."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    (tmp_path / "series").mkdir()
    monkeypatch.setattr(store, "REPO_ROOT", tmp_path / "series")
    monkeypatch.setattr(store, "commit", store.commit.__wrapped__)
    return tmp_path


def test_the_commit_is_the_series_own_whatever_a_hook_exports(outer, monkeypatch):
    git(outer / "series", "init", "-q")
    git(outer / "series", "commit", "-q", "--allow-empty", "-m", "ours")
    for name in VARIABLES:
        monkeypatch.setenv(name, str(outer / ".git"))
    assert store.commit() == git_head(outer / "series")


def git_head(folder):
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        return git(folder, "rev-parse", "--short=12", "HEAD").strip()


def test_the_commit_of_a_repository_around_it_is_not_the_series(outer):
    assert store.commit() == "unknown"


@pytest.mark.parametrize("damage", ["", "null", '{"recipe": {'])
def test_a_damaged_record_is_named_and_says_what_to_do(damage, tmp_path):
    (tmp_path / "record.json").write_text(damage)
    with pytest.raises(RunError, match=f"record.json .*delete {tmp_path} to train this run anew"):
        Run(tmp_path).record()
