"""The explorer as one page: runs/site/explorer/index.html, without a framework and without a network.

It takes what answers.py wrote, puts it into page.html, and leaves out as many of the right answers as keeps it small.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from answers import FOLDER, LEVELS
from PIL import Image

from helpers import files, results, training
from helpers.results import weights

TEMPLATE = Path(__file__).with_name("page.html")
LARGEST = 3_000_000  # bytes of the page
COLUMNS = 60  # images in a row of the sheet
TITLES = {"davidnet": "DavidNet", "resnet18": "ResNet18"}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def text(content: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(content).decode()


def sheet(images: np.ndarray) -> bytes:
    """Images (N, 32, 32, 3) side by side, COLUMNS in a row, as a lossy WebP."""
    rows = -(-len(images) // COLUMNS)
    whole = np.zeros((rows * COLUMNS, 32, 32, 3), np.uint8)
    whole[: len(images)] = images
    pixels = whole.reshape(rows, COLUMNS, 32, 32, 3).swapaxes(1, 2).reshape(rows * 32, COLUMNS * 32, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=80, method=4)
    return file.getvalue()


def halved(cells: np.ndarray) -> np.ndarray:
    """Cells (N, 80) of 0 to LEVELS, two in a byte, the first in its upper half: (N, 40)."""
    assert cells.max() <= LEVELS == 15
    return cells[:, ::2] << 4 | cells[:, 1::2]


def facts(arrays: dict[str, np.ndarray], count: int) -> dict[str, object]:
    """What the page's program reads, about the first `count` of the images with maps."""
    labels, shown = arrays["labels"].astype(int), arrays["shown"][:count]
    nets, probabilities, said = [], [], []
    for net, title in TITLES.items():
        predicted = arrays[f"{net}/predicted"]
        matrix = results.confusion(training.Answers(predicted, np.ones(len(labels)), labels), len(CLASSES))
        known = weights.index().get(net, {})
        about = {name: known.get(name) for name in ("recipe", "seed", "weights", "test_accuracy")}
        nets.append({"name": net, "title": title, "matrix": matrix.tolist(), **about})
        probabilities.append((65535 * arrays[f"{net}/probabilities"][:count]).round().astype("<u2"))
        said.append(predicted[shown])
    maps = []  # image by image: of each net for its answer and, where that is wrong, for the truth
    packed = {(net, name): halved(arrays[f"{net}/{name}"][:count]) for net in TITLES for name in ("answer", "truth")}
    for place, index in enumerate(shown):
        for net, predicted in zip(TITLES, said):
            maps.append(packed[net, "answer"][place])
            if predicted[place] != labels[index]:
                maps.append(packed[net, "truth"][place])
    return {
        "classes": CLASSES,
        "nets": nets,
        "columns": COLUMNS,
        "total": len(labels),
        "mistakes": int(sum((np.stack(said) != labels[shown]).any(0))),
        "shown": text(shown.astype("<u2").tobytes()),
        "labels": text(labels[shown].astype(np.uint8).tobytes()),
        "said": text(np.stack(said).tobytes()),
        "probabilities": text(np.stack(probabilities).tobytes()),
        "maps": text(np.concatenate(maps).tobytes()),
        "sheet": text(sheet(arrays["images"][:count])),
    }


def page(arrays: dict[str, np.ndarray], count: int) -> bytes:
    """The whole page with the first `count` images."""
    told = json.dumps(facts(arrays, count), separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", told).encode()


def fitting(arrays: dict[str, np.ndarray], largest: int = LARGEST) -> bytes:
    """The page with as many right answers as fit; every mistake is in it, or a ValueError says that it is too large."""
    labels, count = arrays["labels"], len(arrays["shown"])
    wrong = np.any([arrays[f"{net}/predicted"] != labels for net in TITLES], axis=0).sum()
    while len(content := page(arrays, count)) > largest:
        if count == wrong:
            raise ValueError(f"a page with all {wrong:,} mistakes has {len(content):,} bytes, more than {largest:,}")
        count = max(wrong, int(0.995 * count * largest / len(content)))
    return content


def main() -> None:
    """Write the page."""
    path = files.runs_root() / "site/explorer/index.html"  # the book takes along what lies in runs/site
    with np.load(FOLDER / "answers.npz") as kept:
        content = fitting(dict(kept))
    files.write_atomic(path, content)
    print(f"{path}: {len(content):,} bytes; open it in a browser")


if __name__ == "__main__":
    main()
