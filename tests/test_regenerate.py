"""The runner: what it refuses, plans, skips and reports; then all of it with real kernels, interrupted and killed."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import fixture_notebooks as fixtures
import nbformat
import pytest
from fixture_notebooks import FakeExecution, gone, names_run, notebook, summary, wait_for, write

from helpers.regenerate import batch, cli, planning
from helpers.regenerate.batch import Display
from helpers.regenerate.notebooks import NotebookError, assign, discover, in_order, select
from helpers.regenerate.processes import Result
from helpers.regenerate.report import load_summary, write_summary


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A repository of four notebooks (02 and 03 need 01, 04 needs 03) and its command line without real kernels."""
    write(
        tmp_path,
        n01_data=notebook("1"),
        n02_rate=notebook("2", needs=["01"]),
        n03_train=notebook("3", parameters=fixtures.PARAMETERS + '\nepochs = 5\nrecipe = "a"', needs=["01"]),
        n04_look=notebook("4", needs=["03"]),
    )
    surveys = []

    def survey(profile, dataset, dry=False, jobs=None):
        surveys.append((profile, dataset, dry))
        return replace(fixtures.SURVEY, jobs=jobs or 1)

    monkeypatch.delenv("RUNS_ROOT", raising=False)
    monkeypatch.setattr(cli, "survey", survey)
    monkeypatch.setattr(cli, "Execution", FakeExecution)
    monkeypatch.setattr(batch, "POLL_SECONDS", 0.001)
    FakeExecution.reset()

    def call(*arguments, **statuses):
        FakeExecution.reset(**statuses)
        return cli.main([str(argument) for argument in arguments], tmp_path)

    call.root, call.out, call.surveys = tmp_path, tmp_path / "runs" / "notebooks", surveys
    return call


def edit(path, change):
    node = nbformat.read(path, as_version=4)
    change(node)
    nbformat.write(node, path)


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "epoch=3"], "no selected notebook declares 'epoch'; declared are: dataset, epochs, profile, recipe"),
        (
            ["--only", "01", "--set", "epochs=3"],
            "no selected notebook declares 'epochs'; declared are: dataset, profile",
        ),
        (["--set", "epochs"], "takes NAME=VALUE, got 'epochs'"),
        (["--set", "epochs=many"], "epochs takes a number (default 5), got 'many'"),
        (["--set", "profile=full"], "profile is set by --profile"),
        (["--set", "seed=0.5"], "seed must be a whole number of at least 0, not 0.5"),
        (["--set", "seed=-1"], "seed must be a whole number of at least 0, not -1"),
        (["--only", "09"], "no notebook '09'; there are: 01_data, 02_rate, 03_train, 04_look"),
    ],
)
def test_refuses_before_anything_runs_and_names_what_is_allowed(runner, capsys, arguments, said):
    assert runner(*arguments) == 2
    assert said in capsys.readouterr().err
    assert names_run() == [] and runner.surveys == [] and not runner.out.exists()


@pytest.mark.parametrize(
    "arguments",
    [["--jobs", "0"], ["--jobs", "1.5"], ["--timeout", "-1"], ["--profile", "fast"], ["--dataset", "mnist"]],
)
def test_refuses_impossible_options(runner, arguments):
    with pytest.raises(SystemExit) as stopped:
        runner(*arguments)
    assert stopped.value.code == 2


def test_refuses_the_source_folder_as_output(runner, capsys):
    assert runner("--out", runner.root / "notebooks") == 2
    assert "--publish" in capsys.readouterr().err


def test_refuses_a_folder_that_another_run_holds(runner, capsys):
    with cli.locked(runner.out):
        assert runner() == 2
    assert "another run is writing to" in capsys.readouterr().err and names_run() == []


def test_a_data_set_that_cannot_be_had_is_one_clear_error(runner, capsys, monkeypatch):
    def survey(*_, **__):
        raise NotebookError("CIFAR-10 is damaged")

    monkeypatch.setattr(cli, "survey", survey)
    assert runner() == 2
    assert capsys.readouterr().err == "regenerate: CIFAR-10 is damaged\n"


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({}, "no notebook named"),
        ({"n01_a": notebook(), "n01_b": notebook()}, "same number"),
        ({"n01_a": notebook(needs=["07"])}, "needs ['07']"),
        ({"n01_a": notebook(parameters="a = = 1")}, "not plain Python"),
        ({"n01_a": notebook(("b = 1", "parameters"))}, "2 code cells tagged 'parameters'"),
    ],
)
def test_a_broken_series_is_named(tmp_path, nodes, said):
    write(tmp_path, **nodes)
    with pytest.raises(NotebookError, match=said.replace("[", r"\[")):
        discover(tmp_path / "notebooks")


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    write(tmp_path, n01_a=notebook())
    (tmp_path / "notebooks/02_b.ipynb").write_text("<<<<<<< HEAD")
    with pytest.raises(NotebookError, match="02_b.ipynb cannot be read"):
        discover(tmp_path / "notebooks")


def test_notebooks_that_need_each_other_are_refused(tmp_path):
    write(tmp_path, n01_a=notebook(needs=["02"]), n02_b=notebook(needs=["01"]), n03_c=notebook())
    with pytest.raises(NotebookError, match="in a circle: 01, 02"):
        in_order(discover(tmp_path / "notebooks"), ["01"])


# --- names and values


@pytest.mark.parametrize("name", ["3", "03", "03_train", "03_train.ipynb", "notebooks/03_train.ipynb"])
def test_a_notebook_has_many_names(runner, name):
    assert select(discover(runner.root / "notebooks"), [name, name]) == ["03"]


def test_what_is_needed_comes_first_else_by_number(tmp_path):
    write(tmp_path, n01_a=notebook(needs=["03"]), n02_b=notebook(), n03_c=notebook(), n04_d=notebook(needs=["01"]))
    series = discover(tmp_path / "notebooks")
    assert in_order(series, series) == ["02", "03", "01", "04"]
    assert in_order(series, ["04"]) == ["03", "01", "04"]


def test_parameters_are_parsed_as_python(tmp_path):
    cell = 'a = 1  # one = two\nb: float = 0.5\nc = d = dict(x=1)\ne = -2\nprint("=")\nf.g = 3\nh += 1'
    write(tmp_path, n01_a=notebook(parameters=cell))
    declared = discover(tmp_path / "notebooks")["01"].parameters
    assert {name: declared[name] for name in "abe"} == {"a": 1, "b": 0.5, "e": -2}
    assert list(declared) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [('"x"', "5", "5"), ('"x"', "'5'", "5"), ("1", "0.5", 0.5), ("None", "abc", "abc"), ("(1,)", "[2]", [2])],
)
def test_a_value_takes_the_type_of_its_default(tmp_path, default, text, value):
    write(tmp_path, n01_a=notebook(parameters=f"p = {default}"))
    assert assign(discover(tmp_path / "notebooks").values(), [f"p={text}"]) == {"01": {"p": value}}


@pytest.mark.parametrize(
    ("default", "text"), [("1", "true"), ("True", "1"), ("{}", "[1]"), ("[]", "3"), ("0.1", "None")]
)
def test_a_value_of_another_type_is_refused(tmp_path, default, text):
    write(tmp_path, n01_a=notebook(parameters=f"p = {default}"))
    with pytest.raises(NotebookError, match="p takes "):
        assign(discover(tmp_path / "notebooks").values(), [f"p={text}"])


# --- what runs


def test_runs_all_in_order_with_resolved_parameters_and_skips_them_the_next_time(runner, capsys):
    assert runner("--dataset", "auto") == 0
    assert names_run() == ["01_data", "02_rate", "03_train", "04_look"]
    assert all(seen.parameters == {"profile": "quick", "dataset": "shapes10"} for seen in FakeExecution.log)
    assert runner.surveys == [("auto", "auto", False)]
    entry = summary(runner.out)["notebooks"]["03_train"]
    assert entry["status"] == "ok" and entry["device"] == fixtures.SURVEY.device and entry["fingerprint"]
    capsys.readouterr()
    assert runner() == 0
    assert names_run() == []
    assert capsys.readouterr().out.count("unchanged") == 4
    assert summary(runner.out)["notebooks"]["03_train"] == entry


def test_only_runs_what_it_needs_first_and_only_if_that_is_missing(runner):
    assert runner("--only", "4") == 0
    assert names_run() == ["01_data", "03_train", "04_look"]
    assert runner("--only", "02") == 0
    assert names_run() == ["02_rate"]


def test_force_reruns_what_was_asked_for_and_not_what_it_needs(runner):
    runner()
    runner("--only", "03", "--force")
    assert names_run() == ["03_train"]
    runner()
    assert names_run() == ["04_look"]  # older than what it needs


def test_a_setting_reaches_only_those_that_declare_it_and_changes_only_their_fingerprint(runner):
    runner()
    runner("--set", "epochs=2", "--set", "recipe=7")
    assert [(seen.name, seen.parameters.get("epochs")) for seen in FakeExecution.log] == [
        ("03_train", 2),
        ("04_look", None),
    ]
    assert FakeExecution.log[0].parameters["recipe"] == "7"


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        (lambda node: node.cells[2].update(source="22"), ["02_rate"]),
        (lambda node: node.cells[0].update(source="# Other title"), ["02_rate"]),
        (lambda node: node.cells[2].metadata.update(tags=["headline"]), ["02_rate"]),
        (lambda node: fixtures.executed_as(node), []),
        (lambda node: node.cells[0].update(source=fixtures.FIRST.replace("--><!--", "-->9 s<!--")), []),
    ],
)
def test_sources_and_tags_outdate_a_run_but_outputs_and_the_stamped_time_do_not(runner, change, rerun):
    runner()
    edit(runner.root / "notebooks/02_rate.ipynb", change)
    runner()
    assert names_run() == rerun


def test_a_change_outdates_what_needs_it(runner):
    runner()
    edit(runner.root / "notebooks/03_train.ipynb", lambda node: node.cells[2].update(source="33"))
    runner()
    assert names_run() == ["03_train", "04_look"]


def test_another_profile_or_data_set_outdates_all(runner, monkeypatch):
    runner()
    for other in (planning.Survey("full", "shapes10", "gpu"), planning.Survey("full", "cifar10", "gpu")):
        monkeypatch.setattr(cli, "survey", lambda *_, other=other, **__: other)
        runner()
        assert len(names_run()) == 4


def test_a_new_full_run_outdates_only_what_compares_runs(runner, monkeypatch):
    edit(runner.root / "notebooks/03_train.ipynb", lambda node: node.metadata.helpers.update(compares=True))
    runner()
    monkeypatch.setattr(cli, "survey", lambda *_, **__: replace(fixtures.SURVEY, full_runs="one more"))
    runner("--only", "01", "02", "03")
    assert names_run() == ["03_train"]


def test_a_file_that_a_notebook_shows_outdates_it(runner):
    shown = runner.root / "images/weights.json"
    edit(
        runner.root / "notebooks/02_rate.ipynb",
        lambda node: node.metadata.helpers.update(reads=["images/weights.json"]),
    )
    runner()
    runner()
    assert names_run() == []
    shown.parent.mkdir()
    shown.write_text("{}")
    runner()
    assert names_run() == ["02_rate"]


def test_helper_sources_and_versions_are_part_of_the_fingerprint(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text("a = 1")
    first = planning.helpers_digest(tmp_path)
    (tmp_path / "colab.py").write_text("installing computes nothing")
    assert planning.helpers_digest(tmp_path) == first
    (tmp_path / "models.py").write_text("a = 2")
    second = planning.helpers_digest(tmp_path)
    (tmp_path / "training").mkdir()
    (tmp_path / "training/campaign.py").write_text("a = 3")
    assert planning.helpers_digest(tmp_path) == second != first
    (tmp_path / "training/fit.py").write_text("a = 3")
    assert planning.helpers_digest(tmp_path) != second
    assert {"python", "torch", "numpy"} <= set(planning.versions())


def test_every_module_left_out_of_the_fingerprint_exists():
    folder = fixtures.REPO / "helpers"
    assert {path.stem for path in folder.rglob("*.py")} >= set(planning.NOT_COMPUTING)


def test_an_output_that_was_deleted_is_made_again(runner):
    runner()
    (runner.out / "02_rate.ipynb").unlink()
    runner()
    assert names_run() == ["02_rate"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"notebooks": 3}', '{"notebooks": {"01_data": {"status": "ok"}}}'])
def test_a_damaged_summary_is_as_good_as_none(runner, damage):
    runner()
    (runner.out / "summary.json").write_text(damage)
    assert load_summary(runner.out) == {}
    runner()
    assert len(names_run()) == 4


def test_dry_run_tells_the_plan_and_touches_nothing(runner, capsys):
    assert runner("--only", "03", "--set", "epochs=2", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["01_data", "run"], ["03_train", "run"]]
    assert "epochs=2" in lines[2] and "not run yet" in lines[2]
    assert runner.surveys == [("auto", "auto", True)]
    assert not (runner.root / "runs").exists() and names_run() == []


def test_out_is_relative_to_the_callers_folder_and_made_if_missing(runner, monkeypatch):
    monkeypatch.chdir(runner.root)
    assert runner("--out", "some/{where}", "--only", "01") == 0
    assert (runner.root / "some/{where}/01_data.ipynb").is_file()
    assert json.loads((runner.root / "some/{where}/summary.json").read_text())["status"] == "ok"


@pytest.mark.parametrize(("arguments", "seconds"), [([], 3600.0), (["--timeout", "90"], 90.0)])
def test_the_time_limit_follows_the_profile_unless_given(runner, arguments, seconds):
    runner("--only", "01", *arguments)
    assert FakeExecution.log[0].timeout == seconds


# --- how it ends


def test_a_failure_skips_what_needs_it_and_the_rest_goes_on(runner, capsys):
    assert runner(n03_train="failed") == 1
    assert names_run() == ["01_data", "02_rate", "03_train"]
    statuses = {name: entry["status"] for name, entry in summary(runner.out)["notebooks"].items()}
    assert statuses == {"01_data": "ok", "02_rate": "ok", "03_train": "failed", "04_look": "skipped"}
    assert "needs 03, which ended as failed" in capsys.readouterr().out
    assert summary(runner.out)["status"] == "failed"
    assert runner() == 0
    assert names_run() == ["03_train", "04_look"]


def test_a_skip_is_handed_on(runner):
    assert runner(n01_data="timeout") == 1
    assert names_run() == ["01_data"]
    assert {entry["status"] for entry in summary(runner.out)["notebooks"].values()} == {"timeout", "skipped"}


def test_jobs_run_side_by_side_but_never_more_and_never_before_their_needs(runner):
    runner("--jobs", "2")
    assert FakeExecution.most_at_once == 2
    assert names_run()[0] == "01_data" and names_run().index("03_train") < names_run().index("04_look")
    runner("--force")
    assert FakeExecution.most_at_once == 1


@pytest.mark.parametrize("profile, cores, most", [("smoke", 2, 2), ("smoke", 8, 4), ("smoke", 1, 1), ("quick", 8, 1)])
def test_smoke_alone_takes_a_core_per_notebook_and_four_at_most(monkeypatch, profile, cores, most):
    monkeypatch.setattr(planning, "cores", lambda: cores)
    assert planning.side_by_side(profile) == most


def test_table_index_and_summary_tell_what_ran(runner, capsys):
    runner("--only", "01")
    (runner.out / "logs").mkdir()
    (runner.out / "logs/02_rate.log").touch()
    runner("--only", "02", n02_rate="failed")
    out = capsys.readouterr().out
    assert "02_rate   failed     1.0      2/2" in out and "01_data   unchanged" in out
    page = (runner.out / "index.html").read_text()
    assert 'href="01_data.ipynb"' in page and 'href="logs/02_rate.log"' in page and 'href="logs/01' not in page
    assert set(summary(runner.out)["notebooks"]) == {"01_data", "02_rate"}


def test_the_page_escapes_what_notebooks_say(tmp_path):
    entry = Result("01_a", "failed", note="<b>boom</b> & more").to_dict()
    write_summary(tmp_path, {"01_a": entry}, "failed")
    assert "&lt;b&gt;boom&lt;/b&gt; &amp; more" in (tmp_path / "index.html").read_text()


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_one_line_rewritten_and_a_log_a_line_now_and_then(monkeypatch):
    now, screen, log = [0.0], Screen(), io.StringIO()
    monkeypatch.setattr("helpers.regenerate.batch.time", SimpleNamespace(monotonic=lambda: now[0]))
    for stream in (screen, log):
        display = Display(stream, quiet=30.0)
        display.progress("one")
        display.progress("two")
        now[0] += 31
        display.progress("three")
        display.line("end")
    assert screen.getvalue() == "".join(f"\r\x1b[2K{text}" for text in ("one", "two", "three", "end\n"))
    assert log.getvalue() == "three\nend\n"


def test_a_closed_terminal_stops_no_runner():
    class Closed(Screen):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    display = Display(Closed())
    display.progress("one")
    display.line("end")


def test_a_long_line_is_cut_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    Display(screen).progress("x" * 50)
    assert screen.getvalue().count("x") == 19


def test_survey_resolves_in_another_process_and_explains_what_it_cannot():
    found = planning.survey("auto", "shapes10")
    assert found.profile in ("quick", "full") and found.dataset == "shapes10" and found.device and found.jobs == 1
    side_by_side = planning.survey("smoke", "shapes10", jobs=99)
    assert side_by_side.jobs == 99 and ("cpu" not in side_by_side.device or "1 thread" in side_by_side.device)
    with pytest.raises(NotebookError, match="nonsense"):
        planning.survey("smoke", "nonsense")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_noted_inside_the_block_and_means_what_it_did_afterwards(name):
    before = signal.getsignal(getattr(signal, name))
    with batch.until_signalled() as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), getattr(signal, name))
        assert interruption.asked
    assert signal.getsignal(getattr(signal, name)) is before


def test_a_signal_that_nohup_had_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with batch.until_signalled() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interruption_stops_what_runs_and_leaves_the_rest(runner, monkeypatch):
    state = FakeExecution.state

    def interrupting(self):  # as asked for by the live line: while something runs
        if self.name == "03_train":
            os.kill(os.getpid(), signal.SIGTERM)
        return state(self)

    runner("--only", "01")
    monkeypatch.setattr(FakeExecution, "state", interrupting)
    assert runner() == 130
    assert names_run() == ["02_rate", "03_train"] and FakeExecution.running == 0
    statuses = {name: entry["status"] for name, entry in summary(runner.out)["notebooks"].items()}
    assert statuses == {"01_data": "ok", "02_rate": "ok", "03_train": "interrupted"}
    assert summary(runner.out)["status"] == "interrupted"


# --- the whole of it, with real kernels

SCRIPT = """import sys
from pathlib import Path
from helpers.regenerate import cli, planning
cli.survey = lambda *_: planning.Survey("smoke", "shapes10", "cpu")
sys.exit(cli.main(sys.argv[2:], Path(sys.argv[1])))
"""
SLOW = """import os, time
from pathlib import Path
if not Path("quick").exists():
    Path("pid").write_text(str(os.getpid()))
    time.sleep(600)"""


def start(root, *arguments):
    """Start the real runner in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(root), *arguments]
    environment = {name: value for name, value in fixtures.child_environment().items() if name != "RUNS_ROOT"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kernel_of(out):
    """The pid that the slow notebook writes, once it is there."""
    pid = out / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    number = int(pid.read_text())
    pid.unlink()
    return number


def test_interrupted_killed_and_run_again(tmp_path):
    write(tmp_path, n01_slow=notebook("print('begun')", SLOW), n02_after=notebook("1", needs=["01"]))
    out = tmp_path / "runs/notebooks"

    runner = start(tmp_path)
    kernel = kernel_of(out)
    runner.send_signal(signal.SIGINT)
    said, _ = runner.communicate(timeout=600)
    assert runner.returncode == 130 and gone(kernel)
    assert summary(out)["status"] == "interrupted"
    assert summary(out)["notebooks"]["01_slow"]["status"] == "interrupted"
    assert "in cell 4 of 4" in said and "02_after  not started" in said
    assert "begun" in (out / "01_slow.ipynb").read_text()

    before = {path: path.read_bytes() for path in out.glob("*.*") if path.is_file()}
    runner = start(tmp_path)
    kernel = kernel_of(out)
    runner.kill()
    runner.communicate()
    wait_for(lambda: gone(kernel))
    assert {path: path.read_bytes() for path in out.glob("*.*") if path.is_file()} == before  # nothing half-written

    (out / "quick").touch()
    runner = start(tmp_path, "--jobs", "2")
    said, _ = runner.communicate(timeout=600)
    assert runner.returncode == 0, said
    assert [summary(out)["notebooks"][name]["status"] for name in ("01_slow", "02_after")] == ["ok", "ok"]
    assert (out / "01_slow.html").is_file() and not (out / ".work").exists()
    runner = start(tmp_path)
    said, _ = runner.communicate(timeout=600)
    assert runner.returncode == 0 and said.count("unchanged") == 2
