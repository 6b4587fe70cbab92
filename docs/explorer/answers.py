"""What the published nets say about the test images of CIFAR-10, and where they look, in one file.

`make explorer` runs it before page.py; on two cores it takes some minutes, once for each version of the weights.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from helpers import data, devices, files, gradcam, results, training
from helpers.results import weights
from helpers.training import packed

FOLDER = files.runs_root() / "explorer"
LAYERS = {"davidnet": ("layer3", "layer2"), "resnet18": ("layer4", "layer3")}  # of 4×4 and of 8×8 cells
MOST = 5_400  # images with maps: all mistakes, and right ones of which the page takes as many as fit
UNSURE = 0.6  # below this recorded confidence the shipped weights, which are rounded, might answer otherwise
LEVELS = 15  # of a map's cells, 0 to 15: four bits each


def version() -> str:
    """A checksum that changes with the published weights, or with this file."""
    known = [facts["sha256"] for _, facts in sorted(weights.index().items())]
    return hashlib.sha256("".join([*known, Path(__file__).read_text(encoding="utf-8")]).encode()).hexdigest()


def chosen(urgent: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Images (≤ most,) to take: those that are urgent (N,) bool, then the others, in turns from all classes."""
    others = np.flatnonzero(~urgent)
    turn = np.empty(len(others), int)  # its place among the others of its class
    for label in np.unique(labels):
        same = labels[others] == label
        turn[same] = np.arange(same.sum())
    others = others[np.lexsort((labels[others], turn))]
    return np.concatenate([np.flatnonzero(urgent), others])[:most]


def maps_of(model: torch.nn.Module, layers: tuple[str, str], images: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM of images for targets: (N, 80) uint8 of 0 to LEVELS, 16 cells and then 64, row by row."""
    with gradcam.GradCAM(model, list(layers)) as cam:
        found = cam(images, targets, upsample=False)
    cells = torch.cat([found[layer].flatten(1) for layer in layers], 1)
    return (LEVELS * cells).round().to(torch.uint8).cpu().numpy()


def recorded(net: str) -> training.Answers:
    """What the run whose weights are published said about every test image in the end."""
    facts = weights.index()[net]
    return results.answers()[f"cifar10/{facts['recipe']}/{facts['seed']}"]


def made(most: int = MOST) -> dict[str, np.ndarray]:
    """The arrays of the file: every image's label and answers; the images shown, their probabilities and maps.

    Nearly all right answers are those on record, so most images need no arithmetic. Mistakes and close calls do.
    """
    ds, compute = data.load("cifar10"), devices.compute("cpu", "fp32")  # the same digits on any day
    normalize, labels = data.Normalize(ds.mean, ds.std, compute), ds.test.labels
    known = [recorded(net) for net in LAYERS]
    close = [~one.right | (one.confidence < UNSURE) for one in known]
    asked = chosen(np.any(close, axis=0), labels, most)
    some, nets = ds.test.take(asked), [weights.published(net)[0] for net in LAYERS]
    logits = [training.predict(model, some, normalize).numpy() for model in nets]
    said = np.stack([each.argmax(1) for each in logits])
    order = chosen((said != some.labels).any(0), some.labels, most)  # mistakes first
    arrays = {"labels": labels.astype(np.uint8), "shown": asked[order], "images": some.images[order]}
    images, truth = normalize(torch.tensor(arrays["images"])), some.labels[order]
    for k, (net, model) in enumerate(zip(LAYERS, nets)):
        arrays[f"{net}/predicted"] = known[k].predicted.astype(np.uint8)
        arrays[f"{net}/predicted"][asked] = said[k]
        arrays[f"{net}/probabilities"] = softmax(logits[k][order].astype(np.float64), axis=1).astype(np.float32)
        answer, wrong = said[k][order], np.flatnonzero(said[k][order] != truth)
        arrays[f"{net}/answer"] = maps_of(model, LAYERS[net], images, answer)
        arrays[f"{net}/truth"] = arrays[f"{net}/answer"].copy()
        arrays[f"{net}/truth"][wrong] = maps_of(model, LAYERS[net], images[wrong], truth[wrong])
    return arrays


def main() -> None:
    """Make the file, unless it is there and of these weights."""
    path, stamp = FOLDER / "answers.npz", version()
    if path.exists() and str(np.load(path)["version"]) == stamp:
        return
    print(f"asking the published nets about {MOST:,} test images: some minutes, once", flush=True)
    files.write_atomic(path, packed(made() | {"version": np.array(stamp)}))


if __name__ == "__main__":
    main()
