"""Point every badge and first cell at a fork: make colab REPO=owner/name. Standard library only."""

import argparse
import re
import sys
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO_ROOT))

from helpers.colab import badges, repository  # noqa: E402

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")


def stamp(repo: str, root: Path = REPO_ROOT) -> list[Path]:
    """Write a repository's owner/name into every badge, bootstrap cell, README, docs, pyproject.toml and CITATION.cff.

    Badges and bootstrap cells are found whatever name they carry, other links by the current one; returns what changed.
    """
    if not REPOSITORY.fullmatch(repo) or repo.endswith(".git"):
        raise ValueError(f"{repo!r} is not of the form owner/name, as in github.com/owner/name")
    current = re.escape(repository(root))
    name = r"[\w.-]+/[\w.-]+"
    places = re.compile(
        rf"(?P<before>(?:colab\.research\.google\.com/github|[?]src=https://github\.com)/)(?:{name})(?=/blob/)"
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
    parser = argparse.ArgumentParser(prog="docs/stamp.py", description=__doc__)
    parser.add_argument("repository", metavar="OWNER/NAME", help="the repository on GitHub")
    try:
        changed = stamp(parser.parse_args(arguments).repository, root)
    except ValueError as error:
        parser.error(str(error))
    print(*[path.relative_to(root) for path in changed] or ["nothing to change"], sep="\n")


if __name__ == "__main__":
    main()
