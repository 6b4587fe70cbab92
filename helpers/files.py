"""Files that are either whole or not there. Standard library only: Colab needs it before anything is installed."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


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
