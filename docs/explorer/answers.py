"""What the published nets say about every test image of CIFAR-10, and where they look, in one file.

`make explorer` runs it before page.py; on two cores it takes some minutes, once for each version of the weights.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from helpers import data, devices, files, gradcam, training
from helpers.results import weights
from helpers.training import packed

FOLDER = files.runs_root() / "explorer"
LAYERS = {"davidnet": ("layer3", "layer2"), "resnet18": ("layer4", "layer3")}  # of 4×4 and of 8×8 cells
MOST = 4_000  # images with maps: all mistakes, and right ones of which the page takes as many as fit
LEVELS = 15  # of a map's cells, 0 to 15: four bits each


def version() -> str:
    """A checksum that changes with the published weights, or with this file."""
    known = [facts["sha256"] for _, facts in sorted(weights.index().items())]
    return hashlib.sha256("".join([*known, Path(__file__).read_text(encoding="utf-8")]).encode()).hexdigest()


def chosen(predicted: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Images (≤ most,) to show, from answers (nets, N): every mistake, then right ones, in turns from all classes."""
    wrong = (predicted != labels).any(0)
    right = np.flatnonzero(~wrong)
    turn = np.empty(len(right), int)  # its place among the right ones of its class
    for label in np.unique(labels):
        same = labels[right] == label
        turn[same] = np.arange(same.sum())
    right = right[np.lexsort((labels[right], turn))]
    return np.concatenate([np.flatnonzero(wrong), right])[:most]


def maps_of(model: torch.nn.Module, layers: tuple[str, str], images: torch.Tensor, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM of images for targets: (N, 80) uint8 of 0 to LEVELS, 16 cells and then 64, row by row."""
    with gradcam.GradCAM(model, list(layers)) as cam:
        found = cam(images, targets, upsample=False)
    cells = torch.cat([found[layer].flatten(1) for layer in layers], 1)
    return (LEVELS * cells).round().to(torch.uint8).cpu().numpy()


def made(most: int = MOST) -> dict[str, np.ndarray]:
    """The arrays of the file: labels, probabilities of each net, the images shown, and their maps."""
    ds, compute = data.load("cifar10"), devices.compute("cpu", "fp32")  # the same digits on any day
    normalize = data.Normalize(ds.mean, ds.std, compute)
    nets = {net: weights.published(net)[0] for net in LAYERS}
    logits = {net: training.predict(model, ds.test, normalize).numpy() for net, model in nets.items()}
    predicted = np.stack([each.argmax(1) for each in logits.values()])
    shown = chosen(predicted, ds.test.labels, most)
    arrays = {"labels": ds.test.labels.astype(np.uint8), "shown": shown, "images": ds.test.images[shown]}
    images = normalize(torch.tensor(ds.test.images[shown]))
    for net, said in zip(nets, predicted):
        arrays[f"{net}/probabilities"] = softmax(logits[net].astype(np.float64), axis=1).astype(np.float32)
        for name, targets in (("answer", said[shown]), ("truth", ds.test.labels[shown])):
            arrays[f"{net}/{name}"] = maps_of(nets[net], LAYERS[net], images, targets)
    return arrays


def main() -> None:
    """Make the file, unless it is there and of these weights."""
    path, stamp = FOLDER / "answers.npz", version()
    if path.exists() and str(np.load(path)["version"]) == stamp:
        return
    print("asking the published nets about 10,000 test images: some minutes, once", flush=True)
    files.write_atomic(path, packed(made() | {"version": np.array(stamp)}))


if __name__ == "__main__":
    main()
