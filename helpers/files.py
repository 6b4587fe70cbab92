"""Files that are either whole or not there, folders for one process at a time, values as they are given and checked.

Standard library only until something is locked or read as YAML: Colab needs it before anything is installed.
"""

import ast
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

REPO_ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its final place and move it there whole; on error or a kill the old file stays.

    Yields the temporary path to write to, in the same folder, which is made if missing.
    """
    with _beside(Path(path)) as temporary:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that a reader or a kill never meets half of it.

    Text is written as UTF-8; the folder is made if missing.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


class PartlyReplaced(OSError):
    """Some of several files are new and some are old, each of them whole; the message names the new ones."""


def write_all(files: Mapping[Path, str | bytes]) -> None:
    """Replace several files, once all of them lie on the disk beside their places: a full disk leaves every old one.

    Then they are renamed one by one. What ends the process between two renames leaves some old and some new files, each
    of them whole.

    Raises:
        OSError: one could not be written, and nothing was replaced.
        PartlyReplaced: one could not be replaced.
    """
    with contextlib.ExitStack() as stack:
        written: dict[Path, Path] = {}
        for path, content in files.items():
            written[path] = stack.enter_context(_beside(Path(path)))
            written[path].write_bytes(content.encode() if isinstance(content, str) else content)
            _flush(written[path])
        done: list[str] = []
        for path, temporary in written.items():
            try:
                os.replace(temporary, path)
            except OSError as error:
                names = ", ".join(done) or "none"
                raise PartlyReplaced(f"cannot replace {path} ({error.strerror}); new already: {names}") from error
            done.append(str(path))


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which is made if missing; what is left there in the end goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Bring a file's bytes to the disk: its name must not reach it before them."""
    with open(path, "rb+") as written:
        os.fsync(written.fileno())


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], object] = lambda: None, patience: float = 0.0) -> Iterator[None]:
    """Context that one process at a time may enter; the system lets go of it when the process dies.

    Args:
        path: the lock file; its folder must exist.
        waiting: is called once if another process is inside, for longer than `patience` seconds.
    """
    from filelock import FileLock, Timeout  # here: Colab has files before anything is installed

    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def literal(text: str) -> Any:
    """Read a value as a Python, JSON or YAML literal of JSON's types; anything else is a string."""
    readers = [ast.literal_eval, json.loads]
    if text.lstrip().startswith(("[", "{")):  # only there: elsewhere YAML would turn "on" and "1:30" into other things
        readers.append(_yaml)
    for reader in readers:
        with contextlib.suppress(Exception):
            return json.loads(json.dumps(reader(text)))
    return text


def _yaml(text: str) -> Any:
    import yaml  # comes with papermill; a machine that only trains does not need it

    return yaml.safe_load(text)


def choice(field_name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a ValueError that lists what is allowed, unless `value` is."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"unknown {field_name} {value!r}; allowed: {', '.join(allowed)}")


def number(field_name: str, value: Any, low: float, below: float = float("inf"), whole: bool = False) -> None:
    """Raise a ValueError that says what is allowed, unless `value` is a number with low <= value < below."""
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value < below:
        wanted = "a whole number" if whole else "a number"
        bound = f" and below {below}" if below < float("inf") else ""
        raise ValueError(f"{field_name} must be {wanted} of at least {low}{bound}, not {value!r}")


def share(field_name: str, value: Any) -> None:
    """Raise a ValueError that says what is allowed, unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{field_name} must be a number from 0 to 1, not {value!r}")


def bar_seconds() -> float:
    """Least time between two refreshes: HELPERS_BAR_SECONDS, else 1; batch jobs set it higher to keep logs short."""
    asked = os.environ.get("HELPERS_BAR_SECONDS", "1")
    try:
        return max(1.0, float(asked))
    except ValueError:
        raise ValueError(f"HELPERS_BAR_SECONDS takes a number of seconds, not {asked!r}") from None
