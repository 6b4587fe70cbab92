"""What keeps the repository alive elsewhere: the lock file, the workflows, the citation, the Makefile's choices."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from helpers.colab import repository

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# name==version, and where it holds; uv's comments begin with a space
LOCKED = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1] not in " #"]


def requirements():
    """The lines of requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def versions(name, environment):
    """The versions that the lock file has for a package on some machine."""
    found = [one for one in LOCKED if one.name.lower() == name.lower()]
    found = [one for one in found if one.marker is None or one.marker.evaluate(environment)]
    return [next(iter(one.specifier)).version for one in found]


@pytest.mark.parametrize("python", ["3.11.2", "3.12.3", "3.13.1"])
@pytest.mark.parametrize(("system", "platform"), [("Linux", "linux"), ("Darwin", "darwin")])
def test_the_lock_has_one_version_of_every_requirement_that_satisfies_it(python, system, platform):
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    here |= {"platform_system": system, "sys_platform": platform, "platform_machine": "x86_64"}
    for asked in requirements():
        (version,) = versions(asked.name, here)
        assert version in asked.specifier


def test_the_lock_names_no_place_of_one_machine():
    assert "file:" not in (ROOT / "requirements.lock").read_text()
    assert all(len(one.specifier) == 1 and one.url is None for one in LOCKED)


def planned(folder, *arguments):
    """What make would do, in a folder with copies of the files that its rules name."""
    for name in ("Makefile", "requirements.txt", "requirements.lock", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    environment = {"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["make", "--dry-run", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_locked_takes_the_lock_file_and_is_a_set_up_of_its_own(tmp_path):
    assert "--requirement requirements.txt" in planned(tmp_path, "run")
    locked = planned(tmp_path, "run", "LOCKED=1")
    assert "--requirement requirements.lock" in locked and "--requirement requirements.txt" not in locked
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.ready").touch()
    assert "pip install" not in planned(tmp_path, "run", "--assume-old=.venv/.ready")
    assert "--requirement requirements.lock" in planned(tmp_path, "run", "LOCKED=1")


@pytest.mark.parametrize(
    ("address", "stamped"),
    [
        ("https://github.com/ada/lesson.git", "ada/lesson"),
        ("git@github.com:ada/my.site", "ada/my.site"),
        ("https://example.org/ada/lesson", ""),  # which is refused, with what is allowed
        (None, ""),
    ],
)
def test_badges_take_owner_and_name_from_git(tmp_path, address, stamped):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    if address:
        subprocess.run(["git", "remote", "add", "origin", address], cwd=tmp_path, check=True)
    assert f'docs/stamp.py "{stamped}"' in planned(tmp_path, "colab")
    assert 'docs/stamp.py "eve/own"' in planned(tmp_path, "colab", "REPO=eve/own")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_actions_by_digest_and_call_targets_that_exist(path):
    text = path.read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action) for action in uses)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"run: make ([\w-]+)", text)) <= targets
    assert "permissions" in yaml.safe_load(text)  # what is not named is not allowed


def test_the_citation_is_complete_and_of_this_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license", "version"} <= citation.keys()
    assert citation["repository-code"] == f"https://github.com/{repository()}"
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_bug_form_asks_where_and_names_one_command():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    asked = {part["id"]: part["attributes"] for part in form["body"]}
    assert "Google Colab" in asked["where"]["options"]
    assert "python -m torch.utils.collect_env" in asked["environment"]["description"]
