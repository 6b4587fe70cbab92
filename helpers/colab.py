"""Google Colab and Kaggle: what the notebooks' first cell calls there, and the badges that lead there.

Standard library only: there this is imported before anything is installed.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from helpers.files import REPO_ROOT

PRESENT = ("torch", "torchvision", "numpy")  # never touched: Colab's fit its driver, and another numpy needs a restart
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<version>[^#]*)#\s*(?P<users>.*)")
BADGE = re.compile(r"(?:<!-- )?(\[!\[[^]]*\]\(\S*?\)\]\(https://(?:www\.)?(?:colab|kaggle)\.[^)\s]*\))(?: -->)?")


def setup(use_drive: bool = False, root: Path = REPO_ROOT) -> None:
    """Make a fresh machine of theirs ready for the notebooks of the repository cloned at `root`.

    `use_drive`, in Colab alone, keeps the run store on Google Drive, where it outlives the machine, and asks once.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if missing := missing_requirements((root / "requirements.txt").read_text(encoding="utf-8")):
        install(missing)
    if use_drive:
        from google.colab import drive  # exists in Colab only

        drive.mount("/content/drive")
        os.environ["RUNS_ROOT"] = f"/content/drive/MyDrive/{root.name}/runs"
    full = 'A GPU: notebooks train in full, as long as their first cells say; profile = "quick" takes minutes.'
    quick = "No GPU: notebooks take the quick profile. For a GPU, Change runtime type; on Kaggle, Accelerator."
    print(full if shutil.which("nvidia-smi") else quick)


def missing_requirements(text: str) -> list[str]:
    """Lines of a requirements file that are not installed and whose comments name notebooks: "all", or numbers."""
    lines = filter(None, map(REQUIREMENT.match, text.splitlines()))
    needed = [line for line in lines if re.match(r"all\b|\d", line["users"]) and line["name"] not in PRESENT]
    return [line["name"] + line["version"].strip() for line in needed if not _satisfied(line)]


def _satisfied(line: re.Match[str]) -> bool:
    """Installed; and in the version asked for, where one is pinned."""
    found = [distribution.version for distribution in metadata.distributions(name=line["name"])]
    return bool(found) and ("==" not in line["version"] or line["version"].strip() == f"=={found[0]}")


def install(requirements: list[str]) -> None:
    """Install requirements with pip, which may not move torch, torchvision or numpy to another version."""
    present = [f"{name}=={metadata.version(name)}" for name in PRESENT]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *present, *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip could not install {', '.join(requirements)}:\n{done.stderr.strip()[-2000:]}")
    importlib.invalidate_caches()


def repository(root: Path = REPO_ROOT) -> str:
    """The repository's owner/name, which stands in pyproject.toml and nowhere else by hand."""
    address = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    return address.removeprefix("https://github.com/").rstrip("/").removesuffix(".git")


def badges(text: str, repo: str) -> str:
    """A text whose badges are comments while the repository's owner is the placeholder: they would lead nowhere."""
    return BADGE.sub(r"<!-- \1 -->" if repo.startswith("OWNER/") else r"\1", text)
