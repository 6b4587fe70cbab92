"""Ask the mirrors of a file for it, and give up in time where there is no network."""

import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

Answers = queue.SimpleQueue[tuple[str, Any]]  # (url, response or exception)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds."""

    connect: float = 9.0  # for a first answer, over all mirrors together, name look-up included
    stagger: float = 2.0  # for one mirror's answer before the next is asked as well
    stall: float = 30.0  # for the next byte
    measure: float = 10.0  # before a rate is judged
    remaining: float = 300.0  # at that rate; if more is left, the next mirror is tried


def first_answer(urls: Sequence[str], offset: int, patience: Patience) -> tuple[tuple[str, Any] | None, dict[str, str]]:
    """Ask one mirror after the other for the bytes from `offset` on, until one answers; all within the time allowed.

    The best comes first. A later one is asked when those before it have failed or are slow to answer.

    Returns:
        The first answer as (url, response), or None; and what was wrong with the mirrors that failed, by url.
    """
    answers: Answers = queue.SimpleQueue()
    over = threading.Event()
    failed: dict[str, str] = {}
    end = time.monotonic() + patience.connect
    for asked, url in enumerate(urls, start=1):
        # In a thread that can be left behind: no timeout bounds a hanging name look-up.
        threading.Thread(target=_ask, args=(url, offset, patience.stall, answers, over), daemon=True).start()
        last = asked == len(urls)
        found = _await(answers, failed, asked, end if last else min(end, time.monotonic() + patience.stagger))
        if found or time.monotonic() >= end:
            break
    over.set()
    if not found:
        failed = {url: failed.get(url, f"no answer within {patience.connect:g} s") for url in urls}
    return found, failed


def _await(answers: Answers, failed: dict[str, str], asked: int, until: float) -> tuple[str, Any] | None:
    """The first response that arrives in time; None once all that were asked have failed."""
    while len(failed) < asked:
        try:
            url, answer = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if not isinstance(answer, Exception):
            return url, answer
        failed[url] = reason(answer)
    return None


def _ask(url: str, offset: int, timeout: float, answers: Answers, over: threading.Event) -> None:
    """Put (url, response or exception) into the queue; nothing when nobody waits any more."""
    try:
        answer: Any = _open(url, offset, timeout)
    except (OSError, HTTPException, ValueError) as error:
        answer = error
    if not over.is_set():
        answers.put((url, answer))
    elif not isinstance(answer, Exception):
        answer.close()


def _open(url: str, offset: int, timeout: float) -> Any:
    """Begin a download at a byte offset; where the server finds nothing behind it (416), from the first byte."""
    headers = {"User-Agent": "Mozilla/5.0"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not offset:
            raise
        error.close()
        return _open(url, 0, timeout)


def reason(error: Exception) -> str:
    """What a network error says, without the wrapping that urllib adds."""
    inner = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {inner}"
    return str(inner) or type(inner).__name__
