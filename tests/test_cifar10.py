"""CIFAR-10 from disk, or from a server on this machine that resumes, throttles, lies, stalls or hangs up."""

import hashlib
import http.server
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from helpers.data import DatasetError, Normalize, arrays, cifar10, load
from helpers.data.cifar10 import Unavailable, fetch
from helpers.devices import Compute
from helpers.files import exclusive

WAYS_OUT = ("CIFAR10_ROOT", "cifar-10-batches-py", "cifar-10-python.tar.gz", 'dataset = "shapes10"')
REAL = os.environ.get("CIFAR10_ROOT")
CLASSES = [f"class {k}" for k in range(10)]
BYTES = np.random.default_rng(0).bytes(400_000)
MD5 = hashlib.md5(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set loaded, none on disk, no network, and little patience."""
    for name in ("CIFAR10_ROOT", "CIFAR10_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(cifar10, "DATA", tmp_path / "data")
    monkeypatch.setattr(cifar10, "MIRRORS", ("http://127.0.0.1:1/cifar",))
    for name, seconds in {"ANSWER": 2.0, "STALL": 0.5, "JUDGED": 0.1, "LONG": 0.2}.items():
        monkeypatch.setattr(cifar10, name, seconds)
    for cache in (arrays._cifar10, arrays._obtainable, arrays._drawn):
        cache.cache_clear()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are said on the way."""
    lines: list[str] = []
    monkeypatch.setattr(cifar10.tqdm, "write", lines.append)
    return lines


# ---- on disk


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like CIFAR-10's, 20 images a batch; its tar.gz lies beside it."""
    folder = tmp_path_factory.mktemp("source") / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        write(folder / name, {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [*range(10)] * 2})
    write(folder / "batches.meta", {"label_names": CLASSES})
    with tarfile.open(folder.parent / CIFAR10.filename, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    return folder


@pytest.fixture
def batches(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, whose checksums torchvision is taught."""
    sums = [[name, md5(made / name)] for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(made / "batches.meta")})
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(made.parent / CIFAR10.filename))
    return Path(shutil.copytree(made, tmp_path / "source" / made.name))


@pytest.fixture
def archive(made: Path, batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing but the tar.gz, named by the environment."""
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("CIFAR10_ROOT", str(folder))
    return Path(shutil.copy(made.parent / CIFAR10.filename, folder))


def write(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in folder.rglob("*"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000 % len(content)] ^= 1
    path.write_bytes(content)


def assert_names_ways_out(error: pytest.ExceptionInfo) -> None:
    assert [way for way in WAYS_OUT if way not in str(error.value)] == []


def test_batches_are_read_exactly(batches, monkeypatch):
    monkeypatch.setenv("CIFAR10_ROOT", str(batches.parent))
    dataset = load("cifar10")
    first = pickle.loads((batches / "data_batch_1").read_bytes())["data"]
    assert (dataset.name, dataset.title, dataset.classes) == ("cifar10", "CIFAR-10", tuple(CLASSES))
    assert (len(dataset.train), len(dataset.test)) == (100, 20)
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (np.uint8, np.int64)
    # by hand: a row of the file holds 1024 red, 1024 green, 1024 blue values, each row by row
    assert dataset.train.images[7, 3, 5].tolist() == [first[7, c * 1024 + 3 * 32 + 5] for c in range(3)]
    assert dataset.train.masks is None
    assert load("auto").train is dataset.train, "read once"


def test_default_folder_is_data_in_the_repository(batches, tmp_path):
    shutil.copytree(batches, tmp_path / "data" / batches.name)
    assert len(load("auto").train) == 100


def test_archive_in_a_given_folder_is_read_and_that_folder_left_alone(archive, tmp_path):
    before = listing(archive.parent)
    assert load("cifar10").name == "cifar10"
    assert listing(archive.parent) == before
    assert (tmp_path / "data" / CIFAR10.base_folder / "test_batch").is_file()
    assert sorted(p.name for p in (tmp_path / "data").iterdir() if p.is_dir()) == [CIFAR10.base_folder]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_unpacking_is_whole_or_not_at_all(archive, tmp_path, monkeypatch, stop):
    def die(*_: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(cifar10.os, "replace", die)
        with pytest.raises((KeyboardInterrupt, DatasetError)) as error:
            load("cifar10")
    if isinstance(stop, OSError):
        assert "No space left" in str(error.value)
        assert_names_ways_out(error)
    assert not (tmp_path / "data" / CIFAR10.base_folder).exists()
    assert len(load("cifar10").train) == 100, "what was left half unpacked does not disturb"


def test_a_download_goes_to_data_and_is_read(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CIFAR10_ROOT")
    monkeypatch.setenv("CIFAR10_URL", archive.as_uri())
    assert len(load("cifar10").train) == 100
    assert sorted(p.name for p in (tmp_path / "data").iterdir() if p.suffix != ".lock") == [
        CIFAR10.base_folder,
        CIFAR10.filename,
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not REAL, reason="needs CIFAR10_ROOT")
def test_real_cifar10_is_as_its_files_have_it_and_its_statistics_normalise_it(monkeypatch):
    monkeypatch.setenv("CIFAR10_ROOT", REAL)
    dataset = load("cifar10")
    root = REAL if Path(REAL, CIFAR10.base_folder).exists() else cifar10.DATA
    oracle = pickle.loads(Path(root, CIFAR10.base_folder, "test_batch").read_bytes(), encoding="latin1")
    planes = dataset.test.images.transpose(0, 3, 1, 2).reshape(10_000, -1)
    assert np.array_equal(planes, oracle["data"]) and dataset.test.labels.tolist() == oracle["labels"]
    assert dataset.classes[::9] == ("airplane", "truck") and len(dataset.classes) == 10
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    levels = np.arange(256) / 255  # statistics from histograms: 51 million pixels are slow as floats
    pixels = dataset.train.images.reshape(-1, 32_000, 3)
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std)):
        weights = cv2.calcHist([pixels], [channel], None, [256], [0, 256]).ravel() / 51_200_000
        assert weights @ levels == pytest.approx(mean, abs=1e-4)
        assert np.sqrt(weights @ (levels - mean) ** 2) == pytest.approx(std, abs=1e-4)
    normalize = Normalize(dataset.mean, dataset.std, Compute("cpu", "fp32"))
    images = normalize(torch.tensor(dataset.train.images[:5000]))
    assert images.mean((0, 2, 3)).abs().max() < 0.03 and (images.std((0, 2, 3)) - 1).abs().max() < 0.03


@pytest.mark.parametrize("name", ["cifar10", "auto"])
@pytest.mark.parametrize(
    "file, spoil", [("data_batch_3", truncate), ("test_batch", alter), ("batches.meta", Path.unlink)]
)
def test_damaged_batches_are_one_error_that_names_the_ways_out(batches, name, file, spoil, monkeypatch):
    spoil(batches / file)
    monkeypatch.setenv("CIFAR10_ROOT", str(batches.parent))
    with pytest.raises(DatasetError, match=f"{batches} is damaged") as error:
        load(name)
    assert_names_ways_out(error)


@pytest.mark.parametrize("name", ["cifar10", "auto"])
@pytest.mark.parametrize("spoil", [truncate, alter])
def test_damaged_archive_is_an_error_and_nothing_is_unpacked(archive, tmp_path, name, spoil):
    spoil(archive)
    with pytest.raises(DatasetError, match="damaged: an MD5 is wrong") as error:
        load(name)
    assert_names_ways_out(error)
    assert not (tmp_path / "data" / CIFAR10.base_folder).exists()


def test_unpacked_copy_does_not_hide_a_damaged_archive(archive):
    load("cifar10")
    arrays._cifar10.cache_clear()
    alter(archive)
    with pytest.raises(DatasetError, match="MD5"):
        load("cifar10")


@pytest.mark.parametrize("name", ["cifar10", "auto"])
def test_given_folder_without_cifar10_is_an_error_even_if_data_has_it(batches, tmp_path, monkeypatch, name):
    shutil.copytree(batches, tmp_path / "data" / batches.name)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "empty"))
    with pytest.raises(DatasetError, match="not in .*empty") as error:
        load(name)
    assert_names_ways_out(error)


def test_unwritable_place_is_one_clear_error(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match="cannot be written to .*data") as error:
        load("cifar10")
    assert_names_ways_out(error)


# ---- auto


def test_auto_takes_cifar10_without_a_notice(batches, monkeypatch, told):
    monkeypatch.setenv("CIFAR10_ROOT", str(batches.parent))
    assert load("auto").name == "cifar10" and told == []


def test_auto_takes_shapes10_with_one_notice_and_asks_the_network_once(monkeypatch, told):
    assert load("auto", 10, 10).name == "shapes10"
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("asked the network again"))
    assert load("auto", 10, 10).name == "shapes10"
    assert len(told) == 1 and "\n" not in told[0]
    assert "Shapes-10" in told[0] and "CIFAR10_ROOT" in told[0]


def test_notice_goes_to_stdout_and_leaves_cifar10_an_error(capsys):
    load("auto", 0, 0)
    out, err = capsys.readouterr()
    assert out.count("Shapes-10") == 1 and err == ""
    with pytest.raises(Unavailable, match="127.0.0.1:1/cifar") as error:
        load("cifar10")
    assert_names_ways_out(error)


# ---- downloading


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BYTES in the way that the path names."""

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("?")[0]
        asked = self.headers.get("Range")
        self.server.log.append((kind, asked))
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and kind != "noresume" else 0
        getattr(self, kind)(BYTES[start:], start)

    def head(self, body: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}")
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

    def portal(self, body: bytes, start: int) -> None:
        """A page in place of the file, as a hotel's network sends it; it does not say how long it is."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<html>Please log in</html>" * 100)

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

    def slow(self, body: bytes, start: int) -> None:
        self.head(body, start)
        for at in range(0, len(body), 40_000):
            self.wfile.write(body[at : at + 40_000])
            self.wfile.flush()
            if self.server.closing.wait(0.1):
                return

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


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "archive.tar.gz"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def begin(target: Path, content: bytes) -> None:
    part_of(target).write_bytes(content)


def fetched(urls: list[str], target: Path) -> bytes:
    fetch(urls, target, MD5)
    assert not part_of(target).exists()
    return target.read_bytes()


def test_whole_file_arrives_with_progress_on_stdout_only(mirror, target, told, capsys):
    assert fetched(mirror.urls("good", "missing"), target) == BYTES
    assert mirror.log == [("good", None)]
    assert not told
    out, err = capsys.readouterr()
    assert "archive.tar.gz: 100%" in out and "400k/400k" in out
    assert err == ""


def test_resumes_behind_what_has_arrived(mirror, target):
    begin(target, BYTES[:123_456])
    assert fetched(mirror.urls("good"), target) == BYTES
    assert mirror.log == [("good", "bytes=123456-")]


def test_a_whole_file_that_a_kill_left_without_its_name_is_not_fetched_again(mirror, target):
    begin(target, BYTES)
    assert fetched(mirror.urls("good"), target) == BYTES and mirror.log == []


def test_starts_over_where_the_server_ignores_the_range(mirror, target):
    begin(target, BYTES[:123_456])
    assert fetched(mirror.urls("noresume"), target) == BYTES


@pytest.mark.parametrize("rubbish", [1_000, len(BYTES), len(BYTES) + 9], ids=["short", "as long", "longer"])
def test_a_rubbish_part_is_fetched_anew(mirror, target, rubbish):
    begin(target, bytes(rubbish))
    assert fetched(mirror.urls("good", "good"), target) == BYTES


@pytest.mark.parametrize("bad", ["wrong", "missing", "dies", "stalls", "silent"])
def test_a_bad_mirror_is_left_for_the_next(mirror, target, bad):
    assert fetched(mirror.urls(bad, "good"), target) == BYTES
    assert mirror.kinds[:2] == [bad, "good"]


@pytest.mark.parametrize("bad", ["dies", "stalls"])
def test_the_next_mirror_continues_a_broken_transfer(mirror, target, bad):
    fetch(mirror.urls(bad, "good"), target, MD5)
    assert mirror.log[1] == ("good", "bytes=150000-")


def test_wrong_bytes_are_not_resumed_elsewhere(mirror, target):
    fetch(mirror.urls("wrong", "good"), target, MD5)
    assert mirror.log[1] == ("good", None)


@pytest.mark.parametrize("arrived", [200_000, 1_000], ids=["longer than the page", "shorter"])
def test_what_has_arrived_outlives_a_page_in_place_of_the_file(mirror, target, arrived):
    begin(target, BYTES[:arrived])
    assert fetched(mirror.urls("portal", "good"), target) == BYTES
    assert mirror.log[1] == ("good", f"bytes={arrived}-")


@pytest.mark.parametrize("arrived", [200_000, 1_000], ids=["longer than the page", "shorter"])
def test_a_page_is_the_last_answer_and_the_next_call_goes_on(mirror, target, arrived):
    begin(target, BYTES[:arrived])
    with pytest.raises(Unavailable, match="what has arrived is kept"):
        fetch(mirror.urls("missing", "portal"), target, MD5)
    assert fetched(mirror.urls("good"), target) == BYTES
    assert mirror.log[-1] == ("good", f"bytes={arrived}-")


def test_a_slow_transfer_needs_no_progress_bar(mirror, target, told):
    code = f"from helpers.data import cifar10; cifar10.JUDGED = 0.1; cifar10.fetch({mirror.urls('slow')}, "
    code += f"__import__('pathlib').Path({str(target)!r}), {MD5!r})"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TQDM_DISABLE": "1"}, capture_output=True)
    assert done.returncode == 0 and target.read_bytes() == BYTES, done.stderr


def test_error_names_every_mirror_and_the_ways_out_and_keeps_what_arrived(mirror, target):
    urls = [*mirror.urls("missing", "wrong", "dies"), "http://127.0.0.1:1/", "not a url"]
    with pytest.raises(Unavailable) as error:
        fetch(urls, target, MD5)
    message = str(error.value)
    assert all(url in message for url in urls)
    assert all(why in message for why in ("404", "MD5", "150,000 of 400,000", "refused", "unknown url type"))
    assert_names_ways_out(error)
    assert "CIFAR10_URL" in message
    assert not target.exists()
    assert part_of(target).read_bytes() == BYTES[:150_000]


@pytest.mark.parametrize("long, told_of", [(0.2, 1), (60, 0)])
def test_a_slow_transfer_is_told_once_and_goes_on(mirror, target, told, monkeypatch, long, told_of):
    monkeypatch.setattr(cifar10, "LONG", long)
    assert fetched(mirror.urls("slow", "good"), target) == BYTES
    assert mirror.kinds == ["slow"] and len(told) == told_of
    for text in told:
        assert 'dataset = "shapes10"' in text and "CIFAR10_URL" in text and "minutes" in text


def test_gives_up_in_time_when_nothing_answers(target, monkeypatch):
    """A listener that accepts and says nothing, and a name look-up that hangs beyond any socket timeout."""
    look_up = socket.getaddrinfo

    def hang(host: str, *rest: object, **more: object) -> object:
        return time.sleep(60) or [] if host == "hanging.invalid" else look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(cifar10, "STALL", 30)
    monkeypatch.setattr(cifar10, "ANSWER", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        urls = ["http://hanging.invalid/x", f"http://127.0.0.1:{mute.getsockname()[1]}/x", "http://127.0.0.1:1/x"]
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within 0.5 s\n.*no answer within 0.2 s\n.*refused"):
            fetch(urls, target, MD5)
    assert time.monotonic() - began < 20  # a slow machine has time, and the look-up is not waited for


def test_refused_connections_fail_at_once(target, monkeypatch):
    monkeypatch.setattr(cifar10, "ANSWER", 600.0)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="refused"):
        fetch([f"http://127.0.0.1:{port}/x" for port in (1, 2, 3)], target, MD5)
    assert time.monotonic() - began < 60  # nothing of its patience was used up


def test_own_address_comes_first(monkeypatch):
    asked = []
    monkeypatch.setattr(cifar10, "fetch", lambda urls, *_: asked.extend(urls))
    monkeypatch.setenv("CIFAR10_URL", "file:///somewhere")
    with pytest.raises(DatasetError):
        load("cifar10")
    assert asked == ["file:///somewhere", *cifar10.MIRRORS]


def test_a_file_address_completes_what_was_begun(tmp_path, target):
    (tmp_path / "copy").write_bytes(BYTES)
    begin(target, BYTES[:10])
    assert fetched([(tmp_path / "copy").as_uri()], target) == BYTES


def test_a_process_that_waits_for_another_says_so_and_finds_its_work_done(archive, tmp_path, monkeypatch):
    """The other one, played by a thread, unpacks and lets go once we wait."""
    folder, told, entered = tmp_path / "data", [], threading.Event()
    folder.mkdir()

    def hold() -> None:
        with exclusive(folder / "cifar10.lock"):
            entered.set()
            leave.wait(60)
            shutil.copytree(tmp_path / "source" / CIFAR10.base_folder, folder / CIFAR10.base_folder)

    leave, other = threading.Event(), threading.Thread(target=hold)
    other.start()
    entered.wait(60)
    monkeypatch.setattr(cifar10.tqdm, "write", lambda text: told.append(text) or leave.set())
    monkeypatch.setattr(cifar10, "extract_archive", lambda *_: pytest.fail("unpacked twice"))
    assert len(load("cifar10").train) == 100
    assert len(told) == 1 and str(folder) in told[0]
    other.join()
