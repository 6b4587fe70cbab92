"""Files that are either whole or not there. Standard library only: Colab needs it before anything is installed."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside its final place and move it there whole; on error or a kill the old file stays.

    Args:
        path: the file; its folder is created if missing.

    Yields:
        The temporary path to write to, in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())  # the name must not reach the disk before the bytes do
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, so that a reader or a kill never meets half of it.

    Args:
        path: the file; its folder is created if missing.
        content: text, written as UTF-8, or bytes.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_all(files: Mapping[Path, str | bytes]) -> None:
    """Replace several files, once all of them are written beside their places: a full disk leaves every old one.

    Args:
        files: content by path, as in `write_atomic`.
    """
    with contextlib.ExitStack() as stack:
        for path, content in files.items():
            temporary = stack.enter_context(replacing(path))
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
