import json
import os
import platform
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
    with pytest.raises(RuntimeError, match="checkpoint.pt cannot be read .* delete it to train this run anew"):
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


@pytest.mark.parametrize("damage", ["", "null", '{"recipe": {'])
def test_a_damaged_record_is_named_and_says_what_to_do(damage, tmp_path):
    (tmp_path / "record.json").write_text(damage)
    with pytest.raises(RunError, match=f"record.json .*delete {tmp_path} to train this run anew"):
        Run(tmp_path).record()
