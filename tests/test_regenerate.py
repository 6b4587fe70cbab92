"""The batch front: what it refuses before anything runs, what it plans, and the engine with real kernels under it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fixture_notebooks as fixtures
import nbformat
import psutil
import pytest
from fixture_notebooks import change, gone, notebook, outputs, summary, wait_for, write

from helpers import devices, training
from helpers.files import REPO_ROOT, exclusive
from helpers.regenerate import __main__ as front
from helpers.regenerate import request, series
from helpers.regenerate.series import assigned, declared, discover, typed

FOUND = {"profile": "smoke", "dataset": "shapes10", "device": "cpu (a test), fp32", "threads": 1, "places": []}
FOUND["format"] = "cpu, fp32"


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A series of two notebooks; call it with a command line to get the exit status."""
    monkeypatch.delenv("RUNS_ROOT")
    settings = 'profile = "auto"\ndataset = "auto"\nseed = 0\nrates = []\nname = "a"'
    write(tmp_path, n01_data=notebook("print(6 * 7)"), n02_rate=notebook("print(seed)", parameters=settings))

    def found(function, given, asked):
        asked_for = {name: vars(given)[name] for name in ("profile", "dataset") if vars(given)[name] != "auto"}
        return FOUND | asked_for | {"jobs": given.jobs or 1}

    monkeypatch.setattr(request, "elsewhere", found)

    def call(*arguments):
        return front.main(list(arguments), tmp_path)

    call.root, call.out = tmp_path, tmp_path / "runs/notebooks"
    return call


# ---- what is refused, before anything runs


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--set", "sede=1"], "--set takes what a chosen notebook declares (name, rates, seed), not 'sede'"),
        (["--only", "01", "--set", "rates=[1]"], "--set takes what a chosen notebook declares (seed), not 'rates'"),
        (["--set", "seed"], "seed takes a value of type int, as 0 is; got ''"),
        (["--set", "profile=full"], "--set takes what a chosen notebook declares (name, rates, seed), not 'profile'"),
        (["--set", "seed=one"], "seed takes a value of type int, as 0 is; got 'one'"),
        (["--set", "seed=True"], "seed takes a value of type int"),
        (["--set", "rates=3"], "rates takes a value of type list, as [] is; got '3'"),
        (["--only", "9"], "no notebook 09; there are: 01_data, 02_rate"),
        (["--out", "notebooks"], "--out is the folder of the sources"),
    ],
)
def test_refuses_before_anything_runs_and_names_what_is_allowed(runner, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(runner.root)
    assert runner(*arguments) == 2
    assert said in capsys.readouterr().err and not (runner.root / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--profile", "huge"],
        ["--jobs", "0"],
        ["--timeout", "-1"],
        ["--train", "davidnet-onecycle", "--only", "05"],
        ["--publish-data", "--train", "davidnet-onecycle"],
        ["--publish", "--set", "seed=1"],
        ["--publish", "--train", "davidnet-onecycle"],
        ["--seeds", "0", "1"],
    ],
)
def test_refuses_options_that_are_impossible_or_belong_to_different_jobs(runner, arguments):
    with pytest.raises(SystemExit) as stopped:
        runner(*arguments)
    assert stopped.value.code == 2


def test_refuses_a_folder_that_another_call_holds(runner, capsys):
    runner.out.mkdir(parents=True)
    with exclusive(runner.out / ".lock"):
        assert runner() == 2
    assert "another call is writing to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "node",
    [notebook("1", parameters="a = ["), notebook("1", parameters="a = b"), nbformat.v4.new_notebook()],
)
def test_a_notebook_that_declares_no_literals_is_named(node):
    with pytest.raises(ValueError, match="01_a needs one cell tagged 'parameters', of lines NAME = LITERAL"):
        declared("01_a", node)


def test_a_file_that_is_no_notebook_is_named_where_it_is_asked_for(tmp_path):
    write(tmp_path, n01_a=notebook("1"))
    (tmp_path / "notebooks/02_b.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"02_b.ipynb cannot be read as a notebook"):
        discover(tmp_path / "notebooks")
    assert list(discover(tmp_path / "notebooks", ["01"])) == ["01_a"]


@pytest.mark.parametrize("name", ["2", "02", "02_rate", "02_rate.ipynb", "notebooks/02_rate.ipynb"])
def test_a_notebook_has_many_names(runner, name):
    assert list(discover(runner.root / "notebooks", [name])) == ["02_rate"]


def test_parameters_are_parsed_as_python():
    source = 'a = {"x": 1}  # b = 2\n\nc = "d = 3"\n'  # papermill's own inspection misreads each of these lines
    assert declared("01_a", notebook("1", parameters=source)) == {"a": {"x": 1}, "c": "d = 3"}


@pytest.mark.parametrize(
    "default, text, value",
    [
        (0, "3", 3),
        (0.1, "3", 3.0),
        ("a", "5", "5"),
        ([], "[4, 5]", [4, 5]),
        ({}, '{"a": true}', {"a": True}),
        (False, "True", True),
    ],
)
def test_a_value_takes_the_type_of_its_default(default, text, value):
    found = typed("x", text, default)
    assert found == value and type(found) is type(value)


def test_settings_reach_those_that_declare_them(runner):
    found = assigned(discover(runner.root / "notebooks"), {"name": "b", "seed": "3"})
    both = {"profile": "auto", "dataset": "auto", "seed": 3}
    assert found == {"01_data": both, "02_rate": both | {"rates": [], "name": "b"}}


def decides(runner, *arguments):
    """What the engine compares of a notebook: equal to the last time, it is skipped."""
    asked = front.options(["--only", "02", "--set", "name=picture.png", *arguments])
    return request.request_of(asked, runner.root)["notebooks"]["02_rate"]


def test_the_content_of_a_file_that_a_parameter_names_counts_whatever_its_date(runner):
    runner.out.mkdir(parents=True)
    none, picture = decides(runner), runner.out / "picture.png"  # relative to where the notebook runs
    picture.write_bytes(b"a cat")
    cat = decides(runner)
    os.utime(picture, (0, 0))
    assert none != cat == decides(runner)
    picture.write_bytes(b"a dog")
    os.utime(picture, (0, 0))
    assert decides(runner) not in (none, cat)
    picture.unlink()
    picture.mkdir()
    assert decides(runner) == none


def test_the_number_format_counts_and_the_jobs_at_a_time_do_not(runner, monkeypatch):
    fp32 = decides(runner)
    assert decides(runner, "--jobs", "2") == fp32
    monkeypatch.setitem(FOUND, "format", "cpu, bf16")
    assert decides(runner) != fp32


def test_home_is_home_where_the_shell_left_the_tilde(runner, monkeypatch):
    monkeypatch.setenv("HOME", str(runner.root))
    monkeypatch.setenv("RUNS_ROOT", "~/lesson-runs")
    asked = request.request_of(front.options(["--out=~/out"]), runner.root)
    assert (asked["out"], asked["runs"]) == (str(runner.root / "out"), str(runner.root / "lesson-runs"))


def test_sources_and_tags_decide_a_digest_but_outputs_and_the_stamped_time_do_not(runner):
    path = runner.root / "notebooks/01_data.ipynb"

    def digest():
        return series.digest(nbformat.read(path, as_version=4))

    before = digest()
    change(path, lambda node: node.cells[2].outputs.append(nbformat.v4.new_output("stream", text="42")))
    stamp = "<!-- run-time -->6 s<!-- /run-time -->"
    change(path, lambda node: node.cells[0].update(source=series.RUN_TIME.sub(stamp, node.cells[0].source)))
    assert digest() == before
    change(path, lambda node: node.cells[2].metadata.update(tags=["figure:new"]))
    tagged = digest()
    change(path, lambda node: node.cells[2].update(source="6 * 8"))
    assert len({before, tagged, digest()}) == 3


# ---- what "auto" means, in a process of its own


def test_auto_is_resolved_and_what_cannot_be_had_is_one_clear_error(monkeypatch, tmp_path):
    asked = [{"recipe": "davidnet-onecycle", "overrides": {"max_lr": 0.2}, "seed": 1}]
    found = request.elsewhere(request.resolve, front.options(["--dataset", "shapes10"]), asked)
    assert found["places"] == ["shapes10/quick/davidnet-onecycle+max_lr=0.2/seed-1"]
    assert (found["profile"], found["dataset"]) == ("quick", "shapes10")
    assert found["jobs"] == min(devices.cores(), 4) and found["threads"] == max(1, devices.cores() // found["jobs"])
    assert found["device"].endswith("GFLOP/s in a matrix product") and found["format"].startswith("cpu, ")
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path))
    smoke = ["--profile", "smoke", "--jobs", "3", "--dataset"]
    with pytest.raises(RuntimeError, match="CIFAR-10 is not in"):
        request.resolve(front.options([*smoke, "cifar10"]), asked)
    with pytest.raises(ValueError, match="unknown recipe"):
        request.resolve(front.options([*smoke, "shapes10"]), [{"recipe": "x", "overrides": {}, "seed": 0}])
    dry = request.resolve(front.options([*smoke, "auto", "--dry-run"]), [])
    assert dry["dataset"] == "cifar10" and "GFLOP" not in dry["device"]  # a dry run looks for nothing


def test_relative_folders_become_absolute_and_threads_are_divided_by_jobs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR10_ROOT", "data")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    alone, beside = (front.surroundings({"runs": "/r", "jobs": jobs, "threads": 3}) for jobs in (1, 2))
    assert alone["CIFAR10_ROOT"] == str(tmp_path / "data") and alone["RUNS_ROOT"] == "/r"
    assert alone["PYTHONPATH"] == str(REPO_ROOT)  # an empty entry would be the folder of the notebooks
    assert alone["OMP_NUM_THREADS"] == "7" and "OMP_WAIT_POLICY" not in alone  # alone, a job runs as the caller asked
    assert (beside["OMP_NUM_THREADS"], beside["MKL_NUM_THREADS"], beside["OMP_WAIT_POLICY"]) == ("3", "3", "PASSIVE")


# ---- the engine, with real kernels

LOOK = """import json, os, sys, helpers, matplotlib
print(json.dumps([os.getcwd(), os.environ["RUNS_ROOT"], profile, seed]))
print("±", sys.executable, __debug__, "inline" in matplotlib.get_backend())"""
BAR = "import sys, tqdm\nfor i in tqdm.tqdm(range(4), file=sys.stdout, mininterval=0): pass"


@pytest.fixture
def settings_of_a_reader(tmp_path, monkeypatch):
    """A foreign kernel under our name, asserts that are off, figures that go nowhere, texts in ASCII."""
    foreign = tmp_path / "foreign/kernels/python3/kernel.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(json.dumps({"argv": ["false"], "display_name": "Python 3", "language": "python"}))
    own = {"JUPYTER_PATH": str(tmp_path / "foreign"), "PYTHONOPTIMIZE": "1", "MPLBACKEND": "Agg"}
    for name, value in (own | {"PYTHONIOENCODING": "ascii"}).items():
        monkeypatch.setenv(name, value)


def test_a_series_runs_is_skipped_and_runs_again_where_something_changed(runner, settings_of_a_reader, capsys):
    root, out = runner.root, runner.out
    write(
        root, n01_data=notebook(LOOK, BAR, "", "3 * 7"), n03_bad=notebook("print('first')", "1 / 0", "print('never')")
    )
    write(root, n04_stuck=notebook("print('begun')", "import time; time.sleep(600)"))
    (root / "helpers").mkdir()
    (root / "helpers/a.py").write_text("a = 1")

    assert runner("--dry-run") == 0
    assert "run   01_data: Missing output files" in capsys.readouterr().out and not (root / "runs").exists()

    assert runner("--jobs", "4", "--timeout", "20") == 1
    entries = summary(out)["jobs"]
    assert [entries[name]["status"] for name in sorted(entries)] == ["ok", "ok", "failed", "timeout"]
    places, reader = outputs(out / "01_data.ipynb")[0].text.splitlines()
    assert json.loads(places) == [str(out), str(root / "runs"), "smoke", 0]
    assert reader == f"± {sys.executable} True True" and reader in (out / "logs/01_data.log").read_text("utf-8")
    bar = outputs(out / "01_data.ipynb")[1].text
    assert bar.startswith("100%") and bar.count("\n") == 1
    assert "<pre>21</pre>" in (out / "01_data.html").read_text()
    assert "Executing Cell" in (out / "logs/01_data.log").read_text()
    assert entries["03_bad"]["note"] == "cell 4, '1 / 0': ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in (out / "03_bad.html").read_text()  # which the index links to
    kept = outputs(out / "03_bad.partial.ipynb")
    assert kept[-1].ename == "ZeroDivisionError" and "first\n" in [output.get("text") for output in kept]
    assert "ZeroDivisionError" in (out / "logs/03_bad.log").read_text() and not (out / "03_bad.ipynb").exists()
    assert outputs(out / "04_stuck.partial.ipynb")[0].text == "begun\n"
    page = (out / "index.html").read_text()
    assert "&#x27;1 / 0&#x27;" in page and '<a href="01_data.html">' in page

    change(root / "notebooks/03_bad.ipynb", lambda node: node.cells[3].update(source="1 / 1"))
    (root / "notebooks/04_stuck.ipynb").unlink()
    os.utime(root / "helpers/a.py")  # touched, not changed
    assert runner("--jobs", "2") == 0
    ran = {name: entry["finished"] for name, entry in summary(out)["jobs"].items()}
    assert ran["01_data"] == entries["01_data"]["finished"] and ran["03_bad"] > entries["03_bad"]["finished"]
    assert not (out / "03_bad.partial.ipynb").exists()

    capsys.readouterr()
    assert runner("--set", "seed=5", "--only", "2", "--dry-run") == 0
    assert "run   02_rate: Params have changed" in capsys.readouterr().out
    (root / "helpers/a.py").write_text("a = 2")
    assert runner("--only", "01", "--dry-run") == 0
    assert "run   01_data: Updated input files" in capsys.readouterr().out
    (root / "helpers/a.py").write_text("a = 1")
    assert runner("--force", "--only", "02", "--dry-run", "--", "--jobs", "1") == 0  # what follows "--" is the engine's
    assert "run   02_rate: Forced execution" in capsys.readouterr().out


SLOW = """import os, time
from pathlib import Path
Path(f"{os.environ['MARK']}-kernel").write_text(str(os.getpid()))
while not Path(f"{os.environ['MARK']}-go").exists():
    time.sleep(0.1)"""
SCRIPT = """import sys
from pathlib import Path
from helpers.regenerate import __main__ as front, request
request.elsewhere = lambda *given: {found!r}
sys.exit(front.main(sys.argv[2:], Path(sys.argv[1])))
"""


@pytest.fixture
def started(tmp_path):
    """A front with a notebook that waits; call it to start one, get it and the process of everything under it."""
    write(tmp_path, n01_slow=notebook("print('begun')", SLOW))
    variables = {**os.environ, "PYTHONPATH": str(REPO_ROOT), "MARK": str(tmp_path / "mark")}
    command = [sys.executable, "-c", SCRIPT.format(found=FOUND | {"jobs": 1}), str(tmp_path)]

    def call():
        kernel = tmp_path / "mark-kernel"
        kernel.unlink(missing_ok=True)
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_for(lambda: kernel.exists() and kernel.read_text())
        family = psutil.Process(process.pid).children(recursive=True)
        parts = {"front": psutil.Process(process.pid), "kernel": psutil.Process(int(kernel.read_text()))}
        for part, word in (("engine", "snakemake"), ("job", "helpers.regenerate.job")):
            parts[part] = next(one for one in family if word in one.cmdline())
        return process, parts

    call.command, call.variables = command, variables
    call.out, call.go = Path(os.environ["RUNS_ROOT"]) / "notebooks", tmp_path / "mark-go"
    return call


STOPPED = [
    ("front", "SIGINT"),
    ("front", "SIGTERM"),
    *((part, "SIGKILL") for part in ("front", "engine", "job", "kernel")),
]


def test_whoever_is_stopped_or_killed_the_others_end_within_seconds_and_the_same_command_goes_on(started):
    for victim, number in STOPPED:
        process, parts = started()
        begun = time.monotonic()
        parts[victim].send_signal(getattr(signal, number))
        for part in ("engine", "job", "kernel"):
            wait_for(lambda pid=parts[part].pid: gone(pid), 60)
        assert time.monotonic() - begun < 30, (victim, number)  # five seconds on a machine of its own
        said, _ = process.communicate(timeout=60)
        expected = {"SIGINT": 130, "SIGTERM": 130}.get(number, -9 if victim == "front" else 1)
        assert process.returncode == expected, (victim, number, said)
        assert not (started.out / "01_slow.ipynb").exists()
        assert outputs(started.out / "01_slow.partial.ipynb")[0].text == "begun\n"
        if victim != "front":
            assert summary(started.out)["jobs"]["01_slow"]["status"] in ("failed", "interrupted", "killed")
        assert victim != "kernel" or "the kernel died; out of memory is the usual reason" in said
    started.go.touch()
    again = subprocess.run(started.command, env=started.variables, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and (started.out / "01_slow.ipynb").exists(), again.stdout + again.stderr


# ---- trainings as jobs


@pytest.fixture
def here(monkeypatch):
    """What "auto" means is found in this process, which has loaded torch already."""
    monkeypatch.setattr(request, "elsewhere", lambda function, *given: function(*given))


def test_notebooks_wait_for_their_trainings_which_are_jobs_of_their_own(tmp_path, own_runs, here, capsys):
    settings = fixtures.PARAMETERS + '\nrecipe = "davidnet-onecycle"\noverrides = {}'
    write(tmp_path, n05_train=notebook("print(overrides)", parameters=settings, trains=True))
    arguments = ["--profile", "smoke", "--dataset", "shapes10", "--set", 'overrides={"epochs": 1, "peak": 0.5}']
    assert front.main(arguments, tmp_path) == 0
    place = "shapes10/smoke/davidnet-onecycle+epochs=1+peak=0.5/seed-0"
    record = training.Run(own_runs / place).record()
    assert record["recipe"]["epochs"] == 1
    told = capsys.readouterr().out
    assert re.search(rf"{re.escape(place)} +ok .*test accuracy {100 * record['test_accuracy']:.2f}% \(raw", told)
    assert f'<a href="logs/{place}.log">' in (own_runs / "notebooks/index.html").read_text()
    (own_runs / place / "record.json").unlink()  # as if it had been killed before the end
    stamp = (own_runs / place / "checkpoint.pt").stat().st_mtime
    assert front.main([*arguments, "--dry-run"], tmp_path) == 0
    told = capsys.readouterr().out
    assert (
        f"run   {place}: Missing output files" in told and "run   05_train: Input files updated by another job" in told
    )
    assert (
        front.main(["--train", "davidnet-onecycle", "--set", "epochs=1", "--set", "peak=0.5", *arguments[:4]], tmp_path)
        == 0
    )
    assert training.Run(own_runs / place).record()["test_accuracy"] == record["test_accuracy"]
    assert (own_runs / place / "checkpoint.pt").stat().st_mtime == stamp  # nothing was trained anew


def test_a_training_that_fails_keeps_its_checkpoint_and_stops_no_other(tmp_path, own_runs, here):
    write(tmp_path, n01_a=notebook("1"))
    short = ["--profile", "smoke", "--dataset", "shapes10", "--set", "epochs=1", "--set", "peak=0.5"]
    place = own_runs / "shapes10/smoke/davidnet-onecycle+epochs=1+peak=0.5"
    assert front.main(["--train", "davidnet-onecycle", *short], tmp_path) == 0
    (place / "seed-0/record.json").unlink()
    kept = (place / "seed-0/checkpoint.pt").read_bytes()
    (place / "seed-0/checkpoint.pt").write_bytes(kept[:1000])
    assert front.main(["--train", "davidnet-onecycle", "--seeds", "0", "1", *short], tmp_path) == 1
    assert (place / "seed-0/checkpoint.pt").read_bytes() == kept[:1000] and (place / "seed-1/record.json").exists()
    assert "checkpoint.pt cannot be read" in next(own_runs.rglob("logs/**/seed-0.log")).read_text()
