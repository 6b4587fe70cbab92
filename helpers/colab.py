"""Google Colab: what the notebooks' first cell calls there, and the repository's name in every badge.

Standard library only: in Colab this is imported before anything is installed.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from helpers.files import REPO_ROOT

PRESENT = ("torch", "torchvision", "numpy")  # never touched: Colab's fit its driver, and another numpy needs a restart
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<version>[^#]*)#\s*(?P<users>.*)")
BADGE = re.compile(r"(?:<!-- )?(\[!\[[^]]*\]\(\S*?\)\]\(https://(?:www\.)?(?:colab|kaggle)\.[^)\s]*\))(?: -->)?")
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")


def setup(use_drive: bool = False, root: Path = REPO_ROOT) -> None:
    """Make a fresh Colab machine ready for the notebooks of the repository cloned at `root`.

    `use_drive` keeps the run store on Google Drive, where it outlives the machine, and asks for permission once.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if missing := missing_requirements((root / "requirements.txt").read_text(encoding="utf-8")):
        install(missing)
    if use_drive:
        from google.colab import drive  # exists in Colab only

        drive.mount("/content/drive")
        os.environ["RUNS_ROOT"] = f"/content/drive/MyDrive/{root.name}/runs"


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


def stamp(repo: str, root: Path = REPO_ROOT) -> list[Path]:
    """Write a repository's owner/name into every badge, bootstrap cell, README, docs, pyproject.toml and CITATION.cff.

    Badges and bootstrap cells are found whatever name they carry, other links by the current one; returns what changed.
    """
    if not REPOSITORY.fullmatch(repo) or repo.endswith(".git"):
        raise ValueError(f"{repo!r} is not of the form owner/name, as in github.com/owner/name")
    current = re.escape(repository(root))
    name = r"[\w.-]+/[\w.-]+"
    places = re.compile(
        rf"(?P<before>colab\.research\.google\.com/github/)(?:{name})(?=/blob/)"
        rf'|(?P<quoted>\bREPO = \\?")(?:{name})(?=\\?")'
        rf"|(?P<link>github(?:usercontent)?\.com/)(?:{current})(?=\.git\b|\.?(?![\w.-]))"
    )
    paths = [root / name for name in ("README.md", "pyproject.toml", "CITATION.cff")]
    paths += sorted((root / "notebooks").glob("*.ipynb")) + sorted((root / "docs").glob("*.md"))
    changed = []
    for path in filter(Path.is_file, paths):
        text = path.read_bytes().decode()  # not read_text: line ends stay as they are
        stamped = badges(places.sub(lambda found: found[found.lastgroup] + repo, text), repo)
        if stamped != text:
            path.write_bytes(stamped.encode())
            changed.append(path)
    return changed


def main(arguments: list[str] | None = None, root: Path = REPO_ROOT) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.colab", description="Point every badge at a fork.")
    parser.add_argument("--stamp", metavar="OWNER/NAME", required=True, help="the repository on GitHub")
    try:
        changed = stamp(parser.parse_args(arguments).stamp, root)
    except ValueError as error:
        parser.error(str(error))
    print(*[path.relative_to(root) for path in changed] or ["nothing to change"], sep="\n")


if __name__ == "__main__":
    main()
