"""The name stamped into badges, what is installed in Colab, and the first cell of every notebook."""

import json
import os
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
import script
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import colab
from helpers.colab import badges, missing_requirements, repository, setup

REPO = Path(__file__).resolve().parent.parent
stamping = script.load("docs/stamp.py")
stamp = stamping.stamp
BOOTSTRAP = """\
# @title Set-up
# In Google Colab and on Kaggle this fetches the repository and what is missing; anywhere else it does nothing.
import shutil
import subprocess
import sys
from pathlib import Path

REPO = "owner/name"
use_drive = False  # @param {type:"boolean"}
# True keeps runs on Google Drive, in Colab: a lost machine loses no epoch
if "google.colab" in sys.modules or Path("/kaggle/working").is_dir():
    folder, address = Path(REPO.split("/")[1]).absolute(), f"https://github.com/{REPO}"
    if not (folder / "requirements.txt").exists():
        shutil.rmtree(folder / ".git", ignore_errors=True)  # of a clone that was cut off
        if subprocess.run(["git", "clone", "--quiet", "--depth=1", address, str(folder)]).returncode:
            raise RuntimeError(f"cannot fetch {address}: check that name and the network; {folder} must be empty")
    if "helpers" in sys.modules and "helpers.colab" not in sys.modules:
        raise RuntimeError("another package named helpers is loaded: choose Runtime, Restart session, then Run all")
    sys.path.insert(0, str(folder))
    from helpers.colab import setup

    setup(use_drive)
"""  # how the first code cell of every notebook begins, owner/name stamped
BADGE = "https://colab.research.google.com/github/{}/blob/main/notebooks/01_a.ipynb"
KAGGLE = "https://kaggle.com/kernels/welcome?src=https://github.com/{}/blob/main/notebooks/01_a.ipynb"
README = """See https://github.com/ada/lesson, [issues](https://github.com/ada/lesson/issues) and {badge}.
git clone https://github.com/ada/lesson.git and https://github.com/ada/lesson-extra stay with ada/lesson.
"""


@pytest.fixture
def tree(tmp_path):
    """A repository named ada/lesson with a README, a project file and a notebook."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/ada/lesson"\n')
    (tmp_path / "README.md").write_text(README.format(badge=BADGE.format("ada/lesson")))
    badges = f"[![Colab](x.svg)]({BADGE.format('someone/else')}) [![K](k.svg)]({KAGGLE.format('someone/else')})"
    badge = nbformat.v4.new_markdown_cell(f"# A\n{badges}")
    cell = nbformat.v4.new_code_cell(BOOTSTRAP)
    nbformat.write(nbformat.v4.new_notebook(cells=[badge, cell]), tmp_path / "notebooks/01_a.ipynb")
    return tmp_path


def test_stamp_renames_every_badge_link_and_bootstrap_and_nothing_else(tree):
    changed = stamp("bob/fork.of-it", tree)
    assert {path.name for path in changed} == {"README.md", "pyproject.toml", "01_a.ipynb"}
    assert repository(tree) == "bob/fork.of-it"
    badge, cell = nbformat.read(tree / "notebooks/01_a.ipynb", as_version=4).cells
    assert BADGE.format("bob/fork.of-it") in badge.source and KAGGLE.format("bob/fork.of-it") in badge.source
    assert cell.source == BOOTSTRAP.replace("owner/name", "bob/fork.of-it")
    expected = README.format(badge=BADGE.format("ada/lesson")).replace(
        "github.com/ada/lesson", "github.com/bob/fork.of-it"
    )
    expected = expected.replace("github/ada/lesson", "github/bob/fork.of-it").replace(
        "fork.of-it-extra", "lesson-extra"
    )
    expected = expected.replace("github.com/bob/lesson-extra", "github.com/ada/lesson-extra")
    assert (tree / "README.md").read_text() == expected
    assert stamp("bob/fork.of-it", tree) == []


@settings(max_examples=10)
@given(
    owner=st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,10}", fullmatch=True),
    name=st.from_regex(r"[a-zA-Z0-9._-]{1,9}x", fullmatch=True),
)
def test_stamping_back_restores_every_byte(owner, name, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    (root / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/ada/lesson"\n')
    (root / "README.md").write_bytes(README.format(badge=BADGE.format("ada/lesson")).replace("\n", "\r\n").encode())
    before = (root / "README.md").read_bytes()
    stamp(f"{owner}/{name}", root)
    assert repository(root) == f"{owner}/{name}"
    stamp("ada/lesson", root)
    assert (root / "README.md").read_bytes() == before


@pytest.mark.parametrize("repo", ["", "lesson", "ada/", "a/b/c", "https://github.com/a/b", "a b/c", "_a/b", "a/b.git"])
def test_stamp_refuses_what_is_no_repository(tree, repo, capsys):
    before = (tree / "README.md").read_text()
    with pytest.raises(SystemExit, match="2"):
        stamping.main([repo], tree)
    assert "is not of the form owner/name" in capsys.readouterr().err
    assert (tree / "README.md").read_text() == before


def test_command_line_lists_what_changed(tree, capsys):
    stamping.main(["bob/fork"], tree)
    assert capsys.readouterr().out.splitlines() == ["README.md", "pyproject.toml", "notebooks/01_a.ipynb"]


def test_badges_are_comments_while_they_would_lead_nowhere(tree):
    text = "| [![Open in Colab](https://x.org/a.svg)]({}) [![Kaggle](b.svg)]({}) | [a figure](c.png) ![d](d.png) |\n"
    shown = text.format(BADGE.format("ada/lesson"), KAGGLE.format("ada/lesson"))
    (tree / "README.md").write_text(shown)
    stamp("OWNER/lesson", tree)
    hidden = (tree / "README.md").read_text()
    assert hidden.startswith("| <!-- [![Open in Colab]") and hidden.count("<!-- [![") == hidden.count(") -->") == 2
    assert "<!-- [![Colab](x.svg)]" in nbformat.read(tree / "notebooks/01_a.ipynb", as_version=4).cells[0].source
    assert badges(hidden, "OWNER/lesson") == hidden  # once is enough
    stamp("ada/lesson", tree)
    assert (tree / "README.md").read_text() == shown


# --- set-up in Colab

REQUIREMENTS = """# Lower bounds; "all" means every notebook.
torch>=2.11,!=2.13.*        # all (2.13 is slow)
not-there==1.0.*            # all: augmentation
also-not-there>=0.2.2 # 02: the finder
numpy>=2.0                  # all
pytest>=1                   # 03: there already
never-there>=4.0            # reading and running the notebooks by hand
"""


def test_only_what_notebooks_need_and_colab_lacks_is_installed():
    assert missing_requirements(REQUIREMENTS) == ["not-there==1.0.*", "also-not-there>=0.2.2"]


def test_the_real_requirements_are_all_understood():
    text = (REPO / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(colab.REQUIREMENT.match(line) for line in lines)


def fake_pip(monkeypatch, returncode=0):
    calls = []

    def run(command, **_):
        calls.append(command)
        return types.SimpleNamespace(returncode=returncode, stderr="no route to host")

    monkeypatch.setattr(colab.subprocess, "run", run)
    return calls


def test_setup_pins_what_must_not_move(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    calls = fake_pip(monkeypatch)
    setup(root=tmp_path)
    (command,) = calls
    assert command[:5] == [sys.executable, "-m", "pip", "install", "--quiet"]
    assert command[-2:] == ["not-there==1.0.*", "also-not-there>=0.2.2"]
    assert command[5:-2] == [f"{name}=={version(name)}" for name in ("torch", "torchvision", "numpy")]


def test_setup_calls_no_pip_when_nothing_is_missing(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("torch>=99  # all\npytest  # 01\n")
    calls = fake_pip(monkeypatch)
    setup(root=tmp_path)
    assert calls == []


def test_a_failed_installation_says_what_pip_said(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text(REQUIREMENTS)
    fake_pip(monkeypatch, returncode=1)
    with pytest.raises(RuntimeError, match="could not install not-there==1.0.*\n.*no route"):
        setup(root=tmp_path)


def test_with_drive_the_run_store_moves_there(tmp_path, monkeypatch):
    mounted = []
    module = types.ModuleType("google.colab")
    module.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setenv("RUNS_ROOT", "before")
    (tmp_path / "requirements.txt").write_text("")
    setup(root=tmp_path / ".")
    assert os.environ["RUNS_ROOT"] == "before" and mounted == []
    setup(use_drive=True, root=tmp_path)
    assert mounted == ["/content/drive"]
    assert os.environ["RUNS_ROOT"] == f"/content/drive/MyDrive/{tmp_path.name}/runs"


# --- the bootstrap cell

IN_COLAB = """import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
"""
REPORT = """
import helpers, json
print(json.dumps({"helpers": helpers.__file__, "loaded": "helpers.colab" in sys.modules, "path": sys.path[0]}))
"""


def run_bootstrap(code, folder, **environment):
    """Run a script in a bare interpreter: no site packages, hence only the standard library."""
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(
        command, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git repository ada/lesson with the real helpers.colab, and the setting that makes git take it for GitHub's."""
    root = tmp_path_factory.mktemp("github")
    repo = root / "ada/lesson"
    (repo / "helpers").mkdir(parents=True)
    for name in ("__init__", "colab", "files"):
        (repo / f"helpers/{name}.py").write_text((REPO / f"helpers/{name}.py").read_text())
    (repo / "requirements.txt").write_text("jupyterlab  # by hand\n")
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=repo, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{root}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }


def test_the_bootstrap_clones_once_and_imports_the_clone_with_the_standard_library_alone(origin, tmp_path):
    code = IN_COLAB + BOOTSTRAP.replace("owner/name", "ada/lesson")
    for _ in range(2):  # a cell is run again sooner or later
        done = run_bootstrap(code + REPORT, tmp_path, **origin)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout.splitlines()[-1])
        assert Path(seen["helpers"]) == tmp_path / "lesson/helpers/__init__.py" and seen["loaded"]
        assert seen["path"] == str(tmp_path / "lesson") and done.stderr == ""


def test_outside_colab_the_bootstrap_does_nothing(tmp_path):
    done = run_bootstrap("import sys\npath = list(sys.path)\n" + BOOTSTRAP + "\nassert sys.path == path", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_on_kaggle_it_is_fetched_too(origin, tmp_path):
    code = BOOTSTRAP.replace("owner/name", "ada/lesson").replace("/kaggle/working", str(tmp_path))
    done = run_bootstrap(code + REPORT, tmp_path, **origin)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["path"] == str(tmp_path / "lesson")


@pytest.mark.parametrize("left", [[], [".git/objects/pack/tmp_pack_x"]], ids=["empty", "begun"])
def test_what_a_clone_left_that_was_cut_off_is_cloned_anew(origin, tmp_path, left):
    (tmp_path / "lesson").mkdir()
    for name in left:
        (tmp_path / "lesson" / name).parent.mkdir(parents=True)
        (tmp_path / "lesson" / name).write_bytes(b"PACK")
    done = run_bootstrap(IN_COLAB + BOOTSTRAP.replace("owner/name", "ada/lesson") + REPORT, tmp_path, **origin)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["loaded"], done.stderr


@pytest.mark.parametrize(("name", "mine"), [("nothing", None), ("lesson", "notes.txt")], ids=["no such", "no room"])
def test_a_clone_that_fails_says_what_to_check_and_deletes_nothing(origin, tmp_path, name, mine):
    if mine:
        (tmp_path / name).mkdir()
        (tmp_path / name / mine).write_text("mine")
    done = run_bootstrap(IN_COLAB + BOOTSTRAP.replace("owner/name", f"ada/{name}"), tmp_path, **origin)
    said = f"cannot fetch https://github.com/ada/{name}: check that name and the network; {tmp_path / name}"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"RuntimeError: {said} must be empty"
    assert not mine or (tmp_path / name / mine).read_text() == "mine"


@pytest.mark.parametrize("made", ["types.ModuleType('helpers')", "__import__('email')"], ids=["module", "package"])
def test_another_package_named_helpers_is_told_of(origin, tmp_path, made):
    code = IN_COLAB + f"sys.modules['helpers'] = {made}\n" + BOOTSTRAP.replace("owner/name", "ada/lesson")
    done = run_bootstrap(code, tmp_path, **origin)
    assert done.returncode == 1 and "another package named helpers is loaded: choose Runtime" in done.stderr


@pytest.mark.parametrize("path", sorted((REPO / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_has_this_bootstrap_and_a_badge_of_this_repository(path):
    node = nbformat.read(path, as_version=4)
    first = next(cell.source for cell in node.cells if cell.cell_type == "code")
    assert first.startswith(BOOTSTRAP.replace("owner/name", repository()))
    place, badges = f"{repository()}/blob/main/notebooks/{path.name})", node.cells[0].source
    assert f"(https://colab.research.google.com/github/{place}" in badges
    assert f"(https://kaggle.com/kernels/welcome?src=https://github.com/{place}" in badges
