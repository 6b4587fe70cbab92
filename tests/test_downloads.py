"""helpers.downloads against a server on this machine that resumes, throttles, lies, stalls or hangs up."""

import hashlib
import http.server
import multiprocessing
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.data import downloads, mirrors
from helpers.data.downloads import DownloadError, fetch
from helpers.data.mirrors import Patience

BYTES = np.random.default_rng(0).bytes(400_000)
MD5 = hashlib.md5(BYTES).hexdigest()
QUICK = Patience(connect=2.0, stagger=0.2, stall=1.0, measure=0.2, remaining=1.0)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BYTES in the way that the path names."""

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("?")[0]
        asked = self.headers.get("Range")
        self.server.log.append((kind, asked))
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and kind != "noresume" else 0
        getattr(self, kind)(BYTES[start:], start)

    def head(self, body: bytes, start: int, shift: int = 0) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + shift}-{len(BYTES) - 1}/{len(BYTES)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()

    def good(self, body: bytes, start: int) -> None:
        if start >= len(BYTES):
            return self.send_error(416)
        self.head(body, start)
        self.wfile.write(body)

    noresume = good

    def wrong(self, body: bytes, start: int) -> None:
        self.head(body, start)
        self.wfile.write(bytes(len(body)))

    def shifted(self, body: bytes, start: int) -> None:
        self.head(body, start, shift=1)
        self.wfile.write(body)

    def missing(self, body: bytes, start: int) -> None:
        self.send_error(404)

    def dies(self, body: bytes, start: int) -> None:
        self.head(body, start)
        self.wfile.write(body[:150_000])

    def stalls(self, body: bytes, start: int) -> None:
        self.dies(body, start)
        self.wfile.flush()
        self.server.closing.wait(10)

    def silent(self, body: bytes, start: int) -> None:
        self.server.closing.wait(10)

    def sluggish(self, body: bytes, start: int) -> None:
        self.server.closing.wait(0.4)
        self.good(body, start)

    def slow(self, body: bytes, start: int, pause: float = 0.1) -> None:
        self.head(body, start)
        for at in range(0, len(body), 10_000):
            self.wfile.write(body[at : at + 10_000])
            self.wfile.flush()
            if self.server.closing.wait(pause):
                return

    def slower(self, body: bytes, start: int) -> None:
        self.slow(body, start, pause=0.25)

    def log_message(self, *_: object) -> None:
        pass


class Mirror(http.server.ThreadingHTTPServer):
    """The server with what was asked of it: (kind, Range header) per request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Clients hang up on purpose here."""

    def urls(self, *kinds: str) -> list[str]:
        return [f"http://127.0.0.1:{self.server_port}/{kind}" for kind in kinds]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.log]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[Patience], None]:
    """No test waits long; one may wait otherwise."""
    monkeypatch.setattr(downloads, "PATIENCE", QUICK)
    return lambda other: monkeypatch.setattr(downloads, "PATIENCE", other)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "archive.tar.gz"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are said while a file is fetched."""
    lines: list[str] = []
    monkeypatch.setattr(downloads.tqdm, "write", lines.append)
    return lines


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def begin(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def test_whole_file_arrives_with_progress_on_stdout_only(mirror, target, told, capsys):
    assert fetch(mirror.urls("good", "missing"), target, MD5) == target
    assert target.read_bytes() == BYTES
    assert not part_of(target).exists()
    assert mirror.log == [("good", None)]
    assert not told
    out, err = capsys.readouterr()
    assert "archive.tar.gz: 100%" in out and "400k/400k" in out
    assert err == ""


def test_a_file_that_is_there_is_not_fetched_again(mirror, target):
    target.parent.mkdir()
    target.write_bytes(BYTES)
    fetch(mirror.urls("good"), target, MD5)
    assert mirror.log == []


def test_a_damaged_file_under_the_final_name_is_replaced(mirror, target):
    target.parent.mkdir()
    target.write_bytes(BYTES[:-1])
    assert fetch(mirror.urls("good"), target, MD5).read_bytes() == BYTES


def test_resumes_behind_what_has_arrived(mirror, target):
    begin(target, BYTES[:123_456])
    assert fetch(mirror.urls("good"), target, MD5).read_bytes() == BYTES
    assert mirror.log == [("good", "bytes=123456-")]


def test_starts_over_where_the_server_ignores_the_range(mirror, target):
    begin(target, BYTES[:123_456])
    assert fetch(mirror.urls("noresume"), target, MD5).read_bytes() == BYTES


def test_a_complete_part_needs_no_server(mirror, target):
    begin(target, BYTES)
    assert fetch(mirror.urls("missing"), target, MD5).read_bytes() == BYTES
    assert mirror.log == []


@pytest.mark.parametrize(
    "rubbish", [bytes(1_000), bytes(len(BYTES)), bytes(len(BYTES) + 9)], ids=["short", "416", "long"]
)
def test_a_rubbish_part_does_not_discredit_the_mirror(mirror, target, rubbish):
    begin(target, rubbish)
    assert fetch(mirror.urls("good"), target, MD5).read_bytes() == BYTES


@pytest.mark.parametrize("bad", ["wrong", "missing", "dies", "stalls", "silent", "shifted"])
def test_a_bad_mirror_is_left_for_the_next(mirror, target, bad):
    if bad == "shifted":
        begin(target, BYTES[:1_000])
    assert fetch(mirror.urls(bad, "good"), target, MD5).read_bytes() == BYTES
    assert mirror.kinds == [bad, "good"]


@pytest.mark.parametrize("bad", ["dies", "stalls"])
def test_the_next_mirror_continues_a_broken_transfer(mirror, target, bad):
    fetch(mirror.urls(bad, "good"), target, MD5)
    assert mirror.log[1] == ("good", "bytes=150000-")


def test_wrong_bytes_are_not_resumed_elsewhere(mirror, target):
    fetch(mirror.urls("wrong", "good"), target, MD5)
    assert mirror.log[1] == ("good", None)


def test_a_hesitant_mirror_still_counts_when_the_others_fail(mirror, target):
    assert fetch(mirror.urls("sluggish", "missing"), target, MD5).read_bytes() == BYTES


def test_error_names_every_mirror_and_the_ways_out_and_keeps_what_arrived(mirror, target):
    urls = [*mirror.urls("missing", "wrong", "dies"), "http://127.0.0.1:1/", "not a url"]
    with pytest.raises(DownloadError) as error:
        fetch(urls, target, MD5)
    message = str(error.value)
    assert all(url in message for url in urls)
    assert all(why in message for why in ("404", "MD5", "150,000 of 400,000", "refused", "unknown url type"))
    assert 'dataset = "shapes10"' in message and "CIFAR10_URL" in message
    assert not target.exists()
    assert part_of(target).read_bytes() == BYTES[:150_000]


def test_slow_transfer_is_told_once_and_moves_on(mirror, target, told):
    assert fetch(mirror.urls("slow", "slower", "good"), target, MD5).exists()
    assert mirror.kinds == ["slow", "slower", "good"]
    assert mirror.log[1][1] is not None
    assert len(told) == 1 and 'dataset = "shapes10"' in told[0] and "minutes" in told[0]


def test_the_fastest_of_slow_mirrors_has_to_do(mirror, target, told):
    assert fetch(mirror.urls("slower", "slow", "missing"), target, MD5).exists()
    assert mirror.kinds == ["slower", "slow", "missing", "slow"]
    assert len(told) == 1


def test_a_bearable_rate_is_not_judged(mirror, target, told, patience):
    patience(Patience(connect=2, stagger=0.2, stall=1, measure=0.1, remaining=60))
    fetch(mirror.urls("slow", "good"), target, MD5)
    assert mirror.kinds == ["slow"] and not told


def test_gives_up_in_time_when_nothing_answers(target, monkeypatch, patience):
    """A listener that accepts and says nothing, and a name look-up that hangs beyond any socket timeout."""
    look_up = socket.getaddrinfo

    def hang(host: str, *rest: object, **more: object) -> object:
        return time.sleep(60) or [] if host == "hanging.invalid" else look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setenv("no_proxy", "*")
    patience(Patience(connect=1.0, stagger=0.2))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        urls = ["http://hanging.invalid/x", f"http://127.0.0.1:{mute.getsockname()[1]}/x", "http://127.0.0.1:1/x"]
        began = time.monotonic()
        with pytest.raises(DownloadError, match="no answer within 1 s"):
            fetch(urls, target, MD5)
    assert time.monotonic() - began < 30  # a slow machine has time, and the look-up is not waited for


def test_default_patience_gives_up_within_ten_seconds():
    patience = Patience()
    assert patience.connect < 10
    assert patience.stagger * len(downloads.CIFAR10_MIRRORS) < patience.connect, (
        "each mirror, and one's own, gets its turn"
    )


def test_refused_connections_fail_at_once(target, monkeypatch, patience):
    monkeypatch.setenv("no_proxy", "*")
    patience(Patience(connect=600.0))
    began = time.monotonic()
    with pytest.raises(DownloadError, match="refused"):
        fetch([f"http://127.0.0.1:{port}/x" for port in (1, 2, 3)], target, MD5)
    assert time.monotonic() - began < 60  # nothing of its patience was used up


def test_late_answers_are_closed(mirror):
    found, failed = mirrors.first_answer(mirror.urls("sluggish", "good"), 0, QUICK)
    with found[1]:
        assert found[0].endswith("good") and failed == {}


def test_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match="Cannot write .*shapes10"):
        fetch(["http://127.0.0.1:1/"], tmp_path / "data" / "x", MD5)


def test_own_address_comes_first(monkeypatch):
    monkeypatch.delenv("CIFAR10_URL", raising=False)
    assert downloads.cifar10_urls() == downloads.CIFAR10_MIRRORS
    monkeypatch.setenv("CIFAR10_URL", "file:///somewhere")
    assert downloads.cifar10_urls() == ("file:///somewhere", *downloads.CIFAR10_MIRRORS)


def test_own_address_may_be_a_file(tmp_path, target):
    (tmp_path / "copy").write_bytes(BYTES)
    begin(target, BYTES[:10])
    assert fetch([(tmp_path / "copy").as_uri()], target, MD5).read_bytes() == BYTES


def hold(lock: Path, entered: object, leave: object) -> None:
    with downloads.exclusive(lock):
        entered.set()
        leave.wait(600)


def test_only_one_process_at_a_time_and_the_other_says_so(tmp_path, told, monkeypatch):
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "x.lock", entered, leave))
    other.start()
    assert entered.wait(300)
    monkeypatch.setattr(downloads.tqdm, "write", lambda text: told.append(text) or leave.set())
    with downloads.exclusive(tmp_path / "x.lock"):
        assert len(told) == 1 and str(tmp_path) in told[0]
    other.join()
