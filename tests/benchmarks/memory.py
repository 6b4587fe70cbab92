"""Peak memory: by how much a fresh process grows while it does something, on Linux, or what it takes on a GPU."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cam
import steps
import torch
from table import Scale, Work

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peak:
    """Peak memory of one work, and its share of that of each before it in the same comparison."""

    what: str
    name: str
    mib: float
    over: dict[str, float]

    def line(self) -> str:
        ratios = ", ".join(f"{ratio:.3f} × {name}" for name, ratio in self.over.items())
        return f"  {self.name:32}{self.mib:10,.0f} MiB  {ratios}".rstrip()


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Peak]:
    """Two training steps of each loop and net, and Grad-CAM; nothing where there is no way to know."""
    if scale.compute.device != "cuda" and not STATUS.exists():
        return []
    rows: list[Peak] = []
    for what, works in makers(scale).items():
        group: list[Peak] = []
        for name in works:
            mib = _in_a_fresh_process(what, name, scale)
            group.append(Peak(f"Memory: {what}", name, mib, {row.name: mib / max(row.mib, 1e-9) for row in group}))
        rows += group
    return rows


def makers(scale: Scale) -> dict[str, dict[str, Callable[[], Work]]]:
    """By comparison and name, what makes a work; making it is not counted to its peak, but its net is."""
    loops = (steps.PLAIN, steps.BARE, steps.OURS)
    found = {
        recipe.net: {name: lambda r=recipe, n=name: steps.variants(r, scale.compute, 2)[n] for name in loops}
        for recipe in steps.recipes(scale)
    }
    maps = (cam.PER_STAGE, cam.PER_LAYER, cam.OURS)
    found["Grad-CAM"] = {name: lambda n=name: cam.variants(*cam.net_and_images(scale))[n] for name in maps}
    return found


def grown(scale: Scale, what: str, name: str) -> float:
    """MiB by which this process's peak exceeds what it holds before a work is made and done twice."""
    make = makers(scale)[what][name]
    if scale.compute.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        _twice(make())
        return torch.cuda.max_memory_allocated() / 2**20
    before = _status("VmRSS")
    _twice(make())
    return _status("VmHWM") - before


def _twice(work: Work) -> None:
    work()
    work()


def _status(field: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS is memory in use, VmHWM its peak."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _in_a_fresh_process(what: str, name: str, scale: Scale) -> float:
    command = [sys.executable, str(Path(__file__).parent), "--grown", what, name, *(["--tiny"] if scale.tiny else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
