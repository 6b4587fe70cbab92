"""Files that are either whole or not there, folders for one process at a time, values as they are given and checked.

Standard library only until something is locked: Colab needs it before anything is installed.
"""

import ast
import contextlib
import errno
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from numbers import Number
from pathlib import Path
from typing import Any

REPO_ROOT = Path(__file__).resolve().parent.parent


def runs_root(root: Path = REPO_ROOT) -> Path:
    """The folder of all runs: the environment's RUNS_ROOT, else runs/ in the repository at `root`."""
    return Path(os.environ.get("RUNS_ROOT") or root / "runs").expanduser().absolute()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the temporary path that this yields; then the file is replaced in one step, on error left as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            try:
                os.fsync(written.fileno())  # the bytes must reach the disk before the name
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # some mounted drives cannot
                    raise
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that a reader or a kill never meets half of it; text is written as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], object] = lambda: None, refuse: str = "") -> Iterator[None]:
    """Let one process at a time in; `waiting` is called once if another is inside. A process that dies is out.

    With `refuse`, nobody waits: a BlockingIOError says it. `path` is the lock file; its folder must exist.
    """
    from filelock import FileLock, Timeout  # here: Colab has files before anything is installed

    lock = FileLock(path)
    try:
        inside = lock.acquire(timeout=0)
    except Timeout:
        if refuse:
            raise BlockingIOError(refuse) from None
        waiting()
        inside = lock.acquire()
    with inside:
        yield


def literal(value: Any) -> Any:
    """Read a text as a Python literal, else as JSON; a number of NumPy's is Python's then, and all else as it was."""
    for read in (ast.literal_eval, json.loads):
        with contextlib.suppress(Exception):
            return json.loads(json.dumps(read(value)))
    return value.item() if isinstance(value, Number) and hasattr(value, "item") else value


def choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a ValueError that lists what is allowed, unless `value` is."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"unknown {name} {value!r}; allowed: {', '.join(allowed)}")


def number(name: str, value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> int | float:
    """A finite number in [low, high] as Python's; anything else is a ValueError that says what is allowed."""
    value, kind = value if isinstance(value, str) else literal(value), int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not (low <= value <= high and value < math.inf):
        bound = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{name} must be a {'whole ' * whole}number {bound}, not {value!r}")
    return value


def full_runs(root: Path) -> dict[Path, int]:
    """Folders of a run store's full runs on CIFAR-10, and their seeds: seed-K alone, no copy such as "seed-0 (1)"."""
    found = {path: path.name.removeprefix("seed-") for path in sorted(root.glob("cifar10/full/*/seed-*"))}
    return {path: int(seed) for path, seed in found.items() if seed.isdecimal()}


def in_words(seconds: float) -> str:
    """Seconds in words, such as "6 min 12 s" or "1 h 5 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", "" if hours else f"{seconds} s"]
    return " ".join(filter(None, parts))


def write_anything() -> None:
    """Let stdout and stderr show as "?" what their encoding lacks, such as "±"; for a command line, as it begins."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")


def end_with(parent: int, grace: float = 3.0) -> None:
    """End this process once its parent is gone, even by SIGKILL: by an interrupt, `grace` seconds later for good."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if grace:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
