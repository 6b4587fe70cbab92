"""One notebook in a child process with a real kernel: outputs, log, failure, dead kernel, time limit; cleaning."""

import json
import os
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from fixture_notebooks import gone, notebook, wait_for, write
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers import devices
from helpers.regenerate import processes
from helpers.regenerate.cleaning import clean, settle
from helpers.regenerate.execution import render
from helpers.regenerate.processes import Execution, environment

BAR = """import sys
from tqdm import tqdm
for i in tqdm(range(4), file=sys.stdout, mininterval=0):
    pass"""
LOOK = """import json, os, helpers
print(json.dumps({"cwd": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"], "runs": os.environ["RUNS_ROOT"],
                  "bar": os.environ["TQDM_MININTERVAL"], "values": [profile, sizes, flag]}))"""


def run(root, name, parameters=None, timeout=600.0, out=None):
    out = out or root / "out"
    out.mkdir(exist_ok=True)
    execution = Execution(root / "notebooks" / f"{name}.ipynb", parameters or {}, out, environment(1, root), timeout)
    result = None
    while result is None:
        time.sleep(0.1)
        result = execution.poll()
    return execution, result


def outputs(path):
    node = nbformat.read(path, as_version=4)
    return [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("a {brace} repo")  # papermill reads braces in paths as templates
    node = notebook(BAR, LOOK, "", "3 * 7", parameters='profile = "auto"\nsizes = []\nflag = False')
    write(root, n01_good=node)
    execution, result = run(root, "01_good", {"profile": 'q"x', "sizes": [4, {"a": None}], "flag": True})
    return root, execution, result


def test_a_good_notebook_ends_ok_and_all_cells_count(finished):
    _, execution, result = finished
    assert (result.status, result.cells_run, result.cells) == ("ok", 5, 5)  # with the injected one, without the empty
    assert 0 < result.seconds <= execution.elapsed and result.started <= result.finished
    assert not execution.folder.exists()


def test_run_time_is_the_notebooks_own_even_if_the_runner_is_paused(tmp_path):
    execution = Execution.__new__(Execution)
    execution.name, execution.out, execution.folder = "01_a", tmp_path, tmp_path / "work"
    execution.started, execution._clock = datetime.now(UTC), time.monotonic() - 500
    state = {"status": "ok", "cell": 2, "cells": 2, "seconds": 3.21}
    assert execution._result("ok", state).seconds == 3.2
    assert execution._result("timeout", {"cell": 1, "cells": 2}).seconds >= 500


def test_parameters_arrive_with_their_types(finished):
    root, _, _ = finished
    seen = json.loads(outputs(root / "out/01_good.ipynb")[1].text)
    assert seen["values"] == ['q"x', [4, {"a": None}], True]


def test_the_kernel_gets_threads_folders_and_bar_interval(finished):
    root, _, _ = finished
    seen = json.loads(outputs(root / "out/01_good.ipynb")[1].text)
    assert seen["threads"] == os.environ["OMP_NUM_THREADS"] and seen["bar"] == "15"
    assert Path(seen["cwd"]) == root / "out" and Path(seen["runs"]) == root


def test_the_executed_notebook_is_clean(finished):
    root, _, _ = finished
    node = nbformat.read(root / "out/01_good.ipynb", as_version=4)
    bar = node.cells[3].outputs[0].text
    assert bar.startswith("100%") and bar.count("\n") == 1
    assert "papermill" not in node.metadata and not any(
        {"papermill", "execution"} & set(c.metadata) for c in node.cells
    )
    nbformat.validate(node)


def test_log_and_rendering_lie_beside_it(finished):
    root, _, _ = finished
    log = (root / "out/logs/01_good.log").read_text()
    assert "--- cell 5 of 5: 3 * 7" in log and "21" in log
    assert "<pre>21</pre>" in (root / "out/01_good.html").read_text()


def test_the_source_is_not_touched(finished):
    root, _, _ = finished
    assert outputs(root / "notebooks/01_good.ipynb") == []


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    root = write(tmp_path_factory.mktemp("r"), n01_bad=notebook("print('first')", "1 / 0\n2", "print('never')"))
    return root, run(root, "01_bad")[1]


def test_a_failure_names_cell_line_and_error(failed):
    _, result = failed
    assert (result.status, result.cells_run, result.cells) == ("failed", 2, 4)
    assert result.error == {"cell": 3, "line": "1 / 0", "ename": "ZeroDivisionError", "evalue": "division by zero"}
    assert result.note == "cell 3: ZeroDivisionError: division by zero"


def test_a_failure_keeps_the_partial_notebook_and_logs_the_traceback(failed):
    root, _ = failed
    kept = outputs(root / "out/01_bad.ipynb")
    assert kept[0].text == "first\n" and kept[1].ename == "ZeroDivisionError" and len(kept) == 2
    log = (root / "out/logs/01_bad.log").read_text()
    assert "ZeroDivisionError: division by zero" in log and "\x1b[" not in log


def test_a_dead_kernel_is_told_as_such(tmp_path):
    write(tmp_path, n01_dies=notebook("print('first')", "import os\nos._exit(9)"))
    _, result = run(tmp_path, "01_dies")
    assert result.status == "failed" and result.error["cell"] == 3 and result.error["line"] == "import os"
    assert "kernel died" in result.note
    assert outputs(tmp_path / "out/01_dies.ipynb")[0].text == "first\n"


STUCK = """import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), worker.pid, flush=True)
open("pids", "w").write(f"{os.getpid()} {worker.pid}")
time.sleep(600)"""


def start_stuck(root):
    """Start a notebook that never ends; returns it with the pids of its kernel and of a worker of the kernel."""
    write(root, n01_stuck=notebook("print('first')", STUCK, "print('never')"))
    (root / "out").mkdir()
    execution = Execution(root / "notebooks/01_stuck.ipynb", {}, root / "out", environment(1, root), 600.0)
    pids = root / "out/pids"
    wait_for(lambda: pids.exists() and " " in pids.read_text())
    return execution, [int(pid) for pid in pids.read_text().split()]


def test_a_timeout_ends_kernel_and_workers_and_keeps_what_was_shown(tmp_path):
    execution, pids = start_stuck(tmp_path)
    assert execution.poll() is None and not any(map(gone, pids))
    execution.timeout = 0.5
    result = execution.poll()
    assert (result.status, result.note, result.cells_run) == ("timeout", "after 0.5 s, in cell 3 of 4", 2)
    assert all(map(gone, pids)) and execution.process.returncode is not None
    shown = [output.text for output in outputs(tmp_path / "out/01_stuck.ipynb")]
    assert shown == ["first\n", f"{pids[0]} {pids[1]}\n"]
    assert not execution.folder.exists()


def test_a_killed_child_is_a_failure_keeps_finished_cells_and_its_kernel_leaves(tmp_path):
    execution, (kernel, worker) = start_stuck(tmp_path)
    execution.process.kill()
    execution.process.wait()
    result = execution.poll()
    os.kill(worker, signal.SIGKILL)
    assert (
        result.status == "failed"
        and "was killed by SIGKILL; out of memory is the usual reason; see the log" in result.note
    )
    assert outputs(tmp_path / "out/01_stuck.ipynb")[0].text == "first\n"
    assert "papermill" not in nbformat.read(tmp_path / "out/01_stuck.ipynb", as_version=4).metadata
    wait_for(lambda: gone(kernel))


@pytest.mark.parametrize("dead", [False, True])
def test_an_orphaned_child_ends_itself(tmp_path, dead):
    """What a SIGKILLed runner leaves: the child process notices that it is gone, or was before the child looked."""
    pid = os.fork()
    if pid == 0:  # a runner that starts a child and dies at once
        runner = 2**22 + 1 if dead else os.getpid()  # the first is no process: Linux counts up to 2**22
        code = f"from helpers.regenerate.children import end_with_parent as e; import os, time; e({runner}, .1);"
        code += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
        environment_ = {**os.environ, "PYTHONPATH": str(processes.REPO_ROOT)}
        os.spawnve(os.P_NOWAIT, processes.sys.executable, [processes.sys.executable, "-c", code], environment_)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        os._exit(0)
    os.waitpid(pid, 0)
    child = int((tmp_path / "pid").read_text())
    wait_for(lambda: gone(child))


def test_a_page_that_cannot_be_rendered_is_logged_and_no_failure(tmp_path, caplog):
    (tmp_path / "notebook.ipynb").write_text("{}")
    render(tmp_path / "notebook.ipynb")
    assert "notebook.ipynb could not be rendered" in caplog.text and not (tmp_path / "notebook.html").exists()


def test_a_rendered_page_describes_its_figures(tmp_path):
    def figure(alt):
        metadata = {"image/png": {"alt": alt}} if alt else {}
        return new_code_cell("show", outputs=[new_output("display_data", {"image/png": "QUJD"}, metadata=metadata)])

    page = new_notebook(cells=[figure('a "rise" & a fall'), figure(""), figure("bars")])
    nbformat.write(page, tmp_path / "notebook.ipynb")
    render(tmp_path / "notebook.ipynb")
    html = (tmp_path / "notebook.html").read_text()
    first, second, third = re.findall(r'<img[^>]* alt="([^"]*)"', html)
    assert (first, third) == ("a &quot;rise&quot; &amp; a fall", "bars") and "No description" in second


def test_threads_are_divided_by_jobs(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert [environment(jobs, tmp_path)["OMP_NUM_THREADS"] for jobs in (2, 4, 9)] == ["2", "1", "1"]
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert [environment(jobs, tmp_path).get("OMP_WAIT_POLICY") for jobs in (1, 2)] == [None, "PASSIVE"]
    assert environment(2, tmp_path)["MKL_NUM_THREADS"] == "2"
    assert environment(1, tmp_path)["OMP_NUM_THREADS"] == "7"  # alone, a notebook runs as the caller asked


def test_relative_folders_in_the_environment_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR10_ROOT", "data")
    given_env = environment(1, Path("runs"))
    assert given_env["CIFAR10_ROOT"] == str(tmp_path / "data") and given_env["RUNS_ROOT"] == str(tmp_path / "runs")
    assert given_env.get("MPLBACKEND") == os.environ.get("MPLBACKEND")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb", "b"),
        ("10%\r50%\r100%\ndone\n", "100%\ndone\n"),
        ("bar\r     \repoch 1\n", "epoch 1\n"),  # a closed bar wipes itself out
        ("bar\r    ", ""),
        ("line\r\n", "line\n"),
        ("a\n\x1b[Ab\n", "a\nb\n"),
        ("kept  \n", "kept  \n"),
    ],
)
def test_settle_leaves_what_a_terminal_would(text, shown):
    assert settle(text) == shown


@given(st.text(alphabet="ab \r\n", max_size=40))
def test_settle_is_idempotent_keeps_lines_and_removes_every_return(text):
    settled = settle(text)
    assert "\r" not in settled and settle(settled) == settled
    assert settled.count("\n") == text.count("\n")


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=6), min_size=1))
def test_settle_agrees_with_a_terminal_when_each_text_covers_the_last(parts):
    parts = sorted(parts, key=len)
    screen = [" "] * 6
    for part in parts:  # a terminal: write from the first column over what is there
        screen[: len(part)] = part
    assert settle("\r".join(parts)) == "".join(screen).rstrip()


def test_clean_joins_pieces_of_a_stream_and_drops_wiped_ones():
    pieces = [new_output("stream", name="stdout", text=text) for text in ("a\r", "b\n", "c\n")]
    image = new_output("display_data", {"image/png": "x"})
    wiped = new_output("stream", name="stdout", text="bar\r    \r")
    node = new_notebook(
        cells=[new_code_cell("1", outputs=[*pieces, image, wiped], metadata={"tags": [], "papermill": 1})]
    )
    node.metadata["papermill"] = {"input_path": "/home/me"}
    clean(node)
    assert [output.get("text") for output in node.cells[0].outputs] == ["b\nc\n", None]
    assert node.cells[0].metadata == {} and node.metadata == {}
