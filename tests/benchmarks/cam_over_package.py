"""Maps of all stages: time, memory and agreement of ours with the grad-cam package, same net, images and format.

    python tests/benchmarks/cam_over_package.py [--net NAME] [--method NAME] [--images N] [--rounds N] [--weights FILE]

The package is used in two ways: one object for each stage, which is how it gives one map per layer, and one object for
all, by its internal `compute_cam_per_layer`. All take turns in one process, in fp32. Ratios are of medians: of wall
time, and of CPU time, since a shared machine disturbs the former. Memory is the growth of a fresh process's peak while
the maps are drawn (Linux only).
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_grad_cam as package
import torch
from torch import nn

from helpers import devices, gradcam, models

PACKAGE = {
    "gradcam": package.GradCAM,
    "gradcam++": package.GradCAMPlusPlus,
    "layercam": package.LayerCAM,
    "hirescam": package.HiResCAM,
}
Work = Callable[[torch.Tensor], object]


def package_per_layer(model: nn.Module, method: str, images: torch.Tensor, size: object = None) -> list[np.ndarray]:
    """One map per stage from one object of the package: its mean over the layers is left out."""
    with PACKAGE[method](model, [model.get_submodule(stage) for stage in gradcam.stages(model)]) as cam:
        cam.aggregate_multi_layers = lambda maps: maps
        if size is None:
            cam.get_target_width_height = lambda images: None
        return [maps[:, 0] for maps in cam(images, None)]


def package_per_stage(model: nn.Module, method: str, images: torch.Tensor) -> list[np.ndarray]:
    """One object of the package for each stage."""
    maps = []
    for stage in gradcam.stages(model):
        with PACKAGE[method](model, [model.get_submodule(stage)]) as cam:
            maps.append(cam(images, None))
    return maps


def variants(model: nn.Module, method: str) -> dict[str, Work]:
    """What is compared, by name; every one turns images into one enlarged map per image and stage."""
    return {
        "ours": lambda images: gradcam.GradCAM(model, gradcam.stages(model), method)(images),
        "package, an object per stage": lambda images: package_per_stage(model, method, images),
        "package, compute_cam_per_layer": lambda images: package_per_layer(model, method, images, images.shape),
    }


def make_net(name: str, weights: str | None) -> nn.Module:
    torch.manual_seed(0)
    model = models.build(name)
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state.get("model", state))
    return model.eval()


def seconds(work: Work, images: torch.Tensor) -> tuple[float, float]:
    """Wall and CPU time."""
    started = time.perf_counter(), time.process_time()
    work(images)
    return time.perf_counter() - started[0], time.process_time() - started[1]


def difference(model: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Largest difference of any stage's map before enlarging, by method, with the package's constants copied."""
    passes = gradcam.GradCAM(model, gradcam.stages(model)).passes(images)
    worst = {}
    for method in gradcam.METHODS:
        theirs = package_per_layer(model, method, images)
        ours = [with_constants(*pair, method) for pair in passes.values()]
        worst[method] = max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs))
    return worst


def with_constants(activations: torch.Tensor, gradients: torch.Tensor, method: str) -> torch.Tensor:
    """A map from our passes with the package's constants: 1e-7 beside the maximum, 1e-6 beside Grad-CAM++'s squares."""
    if method == "gradcam++":
        squared, sums = gradients**2, activations.sum((2, 3), keepdim=True)
        alpha = squared / (2 * squared + sums * gradients**3 + 1e-6)
        raw = ((alpha * gradients.relu()).sum((2, 3))[:, :, None, None] * activations).sum(1)
    else:
        raw = gradcam.METHODS[method](activations, gradients)
    above = raw.relu() - raw.relu().amin((1, 2), keepdim=True)
    return above / (above.amax((1, 2), keepdim=True) + 1e-7)


def status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is memory in use, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def grown(work: Work, images: torch.Tensor) -> float:
    """MiB by which the process's peak exceeds what it held before; one image warms up."""
    work(images[:1])
    before = status("VmRSS")
    work(images)
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="resnet18", choices=models.NETS)
    parser.add_argument("--method", default="gradcam", choices=gradcam.METHODS)
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", help="a state dict or a checkpoint that holds one as 'model'; default random")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    model, images = make_net(given.net, given.weights), torch.randn(given.images, 3, 32, 32)
    works = variants(model, given.method)
    if given.memory_of:
        print(grown(works[given.memory_of], images))
        return
    for work in works.values():
        work(images)  # warm up
    rounds = [[seconds(work, images) for work in works.values()] for _ in range(given.rounds)]
    report(given, dict(zip(works, zip(*rounds))))
    if given.method == "gradcam":
        differences = difference(model, images)
        print("largest difference " + ", ".join(f"{method} {value:.1e}" for method, value in differences.items()))


def report(given: argparse.Namespace, times: dict[str, tuple[tuple[float, float], ...]]) -> None:
    where = devices.compute("cpu", "fp32").describe()
    print(f"{given.net}, {given.method}, {given.images} images, all stages, {where}, median of {given.rounds}")
    (ours, ours_cpu), singles = medians(times["ours"]), [wall for wall, _ in times["ours"]]
    for name, values in times.items():
        wall, cpu = medians(values)
        ratios = [theirs / mine for (theirs, _), mine in zip(values, singles)]
        print(
            f"{name:30} {1000 * wall:6.0f} ms  {wall / ours:5.2f} × ours (single rounds {min(ratios):.2f} to "
            f"{max(ratios):.2f})  CPU {1000 * cpu:6.0f} ms  {cpu / ours_cpu:5.2f} × ours  {memory_of(name)}"
        )


def medians(times: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    wall, cpu = zip(*times)
    return statistics.median(wall), statistics.median(cpu)


def memory_of(name: str) -> str:
    """The growth of a fresh process, measured in one that takes the same arguments."""
    if not Path("/proc/self/status").exists():
        return "memory not measured"
    command = [sys.executable, *itertools.chain(sys.argv, ("--memory-of", name))]
    grown_by = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return f"+{float(grown_by):.0f} MiB"


if __name__ == "__main__":
    main()
