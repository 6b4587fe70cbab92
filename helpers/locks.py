"""Folders that one process at a time may work in."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], object] = lambda: None, patience: float = 0.0) -> Iterator[None]:
    """Context that one process at a time may enter; the system lets go of it when the process dies.

    Args:
        path: the lock file; its folder must exist.
        waiting: is called once if another process is inside, for longer than `patience` seconds.
    """
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
