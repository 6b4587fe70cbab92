"""The benchmarks run and write what they say they do; what they measure is never judged here."""

import json
import math
import os
import runpy
import subprocess
from pathlib import Path

import pytest
from conftest import PYTHON

BENCHMARKS = Path(__file__).parent / "benchmarks"
PARTS = {"steps": 8, "loading": 5, "evaluating": 4, "sweeping": 2, "cam": 3, "startup": 3}  # and the rows of each


def bench(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [PYTHON, str(BENCHMARKS), "--tiny", "--rounds", "1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    done = bench("--out", path, "--only", *PARTS)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_every_part_is_measured_and_says_on_what(result):
    found, _ = result
    assert {part: len(rows) for part, rows in found["parts"].items()} == PARTS
    assert found["rounds"] == 1 and found["tiny"] is True and found["device"].startswith("cpu")
    assert {"versions", "commit", "date", "seconds"} <= found.keys()
    assert set(found["yardsticks"]) >= {"fp32", "copy"} and min(found["yardsticks"].values()) > 0


def test_ratios_are_of_the_time_for_one_unit(result):
    for rows in result[0]["parts"].values():
        each = {(row["what"], row["name"]): row["seconds"] / row["amount"] for row in rows}
        for row in rows:
            assert row["low"] <= row["seconds"] <= row["high"] and row["seconds"] > 0
            for other, ratio in row["over"].items():
                assert math.isclose(ratio, each[row["what"], row["name"]] / each[row["what"], other])
    steps = result[0]["parts"]["steps"]
    assert [list(row["over"]) for row in steps[:3]] == [[], ["plain fp32 NCHW"], ["plain fp32 NCHW", "bare loop"]]


def test_every_row_is_printed_under_its_heading(result):
    found, shown = result
    rows = [row for rows in found["parts"].values() for row in rows]
    assert all(f"\n{row['what']}\n" in shown and f"  {row['name']} " in shown for row in rows)


def test_works_take_turns_after_a_round_that_is_not_counted():
    in_turns, calls = runpy.run_path(str(BENCHMARKS / "table.py"))["in_turns"], []
    seconds = in_turns({name: lambda name=name: calls.append(name) for name in ("a", "b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert all(value >= 0 for values in seconds.values() for value in values)


def test_peak_memory_is_measured_in_a_process_of_its_own():
    done = bench("--grown", "Grad-CAM", "ours")
    assert done.returncode == 0 and float(done.stdout) > 0, done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [(["--only", "all"], "invalid choice: 'all'"), (["--rounds", "0"], "--rounds must be 1 or more, not 0")],
)
def test_a_wrong_argument_is_one_clear_error(arguments, message, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    main = runpy.run_path(str(BENCHMARKS / "__main__.py"), run_name="benchmarks")["main"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
