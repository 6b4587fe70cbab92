"""Whole files or none, one process at a time, values of a command line, errors that say what is allowed."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import files
from helpers.files import literal

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.parametrize("given, meant", [("~/runs", "home/runs"), ("runs", "here/runs"), ("", "repo/runs")])
def test_the_run_store_is_where_the_environment_says(tmp_path, monkeypatch, given, meant):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNS_ROOT", given)
    assert files.runs_root(tmp_path / "repo") == Path(tmp_path, meant)


SAY = """import argparse, runpy, sys
argparse.ArgumentParser.format_help = lambda parser: "94.1 ± 0.2 %"
sys.argv = ["x", "--help"]
runpy.run_module({module!r}, run_name="__main__")
"""


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-5", "utf-8"])
@pytest.mark.parametrize("module", ["helpers.regenerate", "helpers.training", "helpers.results.campaign"])
def test_a_command_line_says_what_its_terminal_can_show(module, encoding):
    command = [sys.executable, "-c", SAY.format(module=module)]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True)
    shown = "±" if encoding == "utf-8" else "?"
    assert (done.returncode, done.stdout.decode(encoding)) == (0, f"94.1 {shown} 0.2 %"), done.stderr


def test_a_file_is_replaced_whole_in_a_folder_made_for_it(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: steps.append("flush") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda one, other: steps.append("replace") or replace(one, other))
    files.write_atomic(tmp_path / "new/a.txt", "α")
    files.write_atomic(tmp_path / "new/a.txt", b"\x00")
    assert (tmp_path / "new/a.txt").read_bytes() == b"\x00" and os.listdir(tmp_path / "new") == ["a.txt"]
    assert steps == ["flush", "replace"] * 2


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_drive_that_knows_no_flushing_takes_files_all_the_same(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    files.write_atomic(tmp_path / "a.txt", "α")
    assert (tmp_path / "a.txt").read_text() == "α" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_bytes_that_did_not_reach_the_disk_replace_nothing(number, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        files.write_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "record.json"
    files.write_atomic(path, "old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["record.json"]


def hold(lock, entered, leave):
    with files.exclusive(lock):
        entered.set()
        leave.wait(600)


@pytest.mark.parametrize("killed", [False, True])
def test_one_process_at_a_time_until_it_leaves_or_dies(tmp_path, killed):
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "x.lock", entered, leave))
    other.start()
    assert entered.wait(300)
    told = []
    with files.exclusive(tmp_path / "x.lock", lambda: told.append(other.kill() if killed else leave.set())):
        assert len(told) == 1
    with files.exclusive(tmp_path / "x.lock", lambda: pytest.fail("nobody is inside")):
        pass
    other.join()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("null", None),
        ("5", 5),
        ("1e-3", 0.001),
        ("[4, 5]", [4, 5]),
        ("(4, 5)", [4, 5]),
        ("[a, b]", "[a, b]"),
        ('{"epochs": 1}', {"epochs": 1}),
        ("{epochs: 1}", "{epochs: 1}"),
        ("'5'", "5"),
        ("off", "off"),
        ("a=b", "a=b"),
        ("1:30", "1:30"),
        ("b'x'", "b'x'"),
        ("", ""),
    ],
)
def test_values_are_read_as_literals(text, value):
    read = literal(text)
    assert read == value and type(read) is type(value)


@given(JSON_VALUES)
def test_every_json_value_and_its_python_form_survive(value):
    assert literal(json.dumps(value)) == value
    assert literal(repr(value)) == value


@pytest.mark.parametrize(
    ("value", "limits", "said"),
    [
        (0, {"low": 1}, "x must be a number of at least 1, not 0"),
        (2, {"low": 0, "high": 1}, "x must be a number from 0 to 1, not 2"),
        (0.5, {"low": 0, "whole": True}, "x must be a whole number of at least 0, not 0.5"),
        (True, {"low": 0}, "x must be a number of at least 0, not True"),
        ("1", {"low": 0}, "x must be a number of at least 0, not '1'"),
        (float("nan"), {"low": 0}, "not nan"),
        (float("inf"), {"low": 0}, "not inf"),
    ],
)
def test_numbers_are_refused_with_what_is_allowed(value, limits, said):
    with pytest.raises(ValueError, match=said):
        files.number("x", value, **limits)
    files.number("x", 0.5, 0, 1)
    files.number("x", 1, 1, 1, whole=True)


@pytest.mark.parametrize(
    "value", [*np.arange(3, 5), np.uint8(3), np.float32(0.5), np.float64(3), np.linspace(1, 2, 3)[1]]
)
def test_numpy_s_numbers_are_python_s(value):
    found = files.number("x", value, 0)
    assert found == value and type(found) in (int, float) and json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("value", [np.bool_(True), np.float32("nan"), np.array([1, 2]), np.array(["1"]), np.str_("1")])
def test_other_things_of_numpy_s_are_no_numbers(value):
    with pytest.raises(ValueError, match="x must be a whole number of at least 0, not"):
        files.number("x", value, 0, whole=True)


def test_a_run_is_seed_k_alone(tmp_path):
    names = ("seed-0", "seed-12", "seed-0 (1)", "seed-0-old", "seed-0 copy", "seed-", "seed-0.bak", "seed--1", "seeds")
    for name in names:
        (tmp_path / "cifar10/full/r" / name).mkdir(parents=True)
    found = files.full_runs(tmp_path)
    assert {path.name: seed for path, seed in found.items()} == {"seed-0": 0, "seed-12": 12}
    assert files.full_runs(tmp_path / "none") == {}


@pytest.mark.parametrize("value", ["c", None, ["a"]])
def test_choices_are_refused_with_what_is_allowed(value):
    files.choice("letter", "a", ("a", "b"))
    with pytest.raises(ValueError, match="unknown letter .*; allowed: a, b"):
        files.choice("letter", value, ("a", "b"))
