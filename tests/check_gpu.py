"""What a GPU does with all of it, within eight minutes: make check-gpu.

Each part has a limit of its own, so that one that fails or hangs hides none of the others. Without a GPU it says so.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from helpers import data, devices, recipes, training
from helpers.files import in_words, runs_root

ROOT = Path(__file__).resolve().parent.parent
OUT = runs_root() / "check-gpu"
TIMED = ("sprint", "speedrun", "davidnet-onecycle-plus", "resnet18-onecycle")
NOTEBOOKS = ("--profile", "smoke", "--jobs", "4", "--force", "--out", str(OUT / "notebooks"))
PARTS = {  # limits in seconds
    "tests that need CUDA": (150, "-m", "pytest", "-m", "cuda", "-n0", "tests/test_cuda.py"),
    "notebooks in smoke": (200, "-m", "helpers.regenerate", *NOTEBOOKS),
    "a minute of each recipe": (60, __file__, "--paces"),
    "benchmarks": (60, "tests/benchmarks", "--only", "steps", "loading", "--rounds", "3", "--out", str(OUT / "b.json")),
}


def main() -> int:
    """Run all parts, one after the other; returns 0 where all passed."""
    if not torch.cuda.is_available():
        print("no CUDA device is visible; CHECK_DEVICE=cpu pytest -m cuda rehearses the tests on this CPU")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    print(
        f"{devices.compute().describe()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB", flush=True
    )
    told = {name: run(name, limit, *command) for name, (limit, *command) in PARTS.items()}
    print("; ".join(f"{name}: {how}" for name, how in told.items()))
    return int(any(how != "passed" for how in told.values()))


def run(name: str, limit: float, *command: str) -> str:
    """Run one part in a process group of its own; "passed", "failed" or "stopped after …"."""
    print(f"\n--- {name}, at most {limit} s", flush=True)
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=os.environ, start_new_session=True)
    try:
        status = "failed" if process.wait(limit) else "passed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        status = f"stopped after {limit} s"
    print(f"--- {name}: {status}, {time.monotonic() - began:.0f} s", flush=True)
    return status


def paces() -> None:
    """Two epochs on a tenth of the images of each recipe: how long all of its epochs would take here."""
    few = data.load("auto").subset(5_000, 1_000)
    for name in TIMED:
        short = recipes.get(name, {"epochs": 2, "small_epochs": 0})
        with tempfile.TemporaryDirectory() as folder:
            history = training.fit(short, few, profile="full", root=Path(folder), hidden=True).history
        work = sum(recipes.epoch_flops(recipes.RECIPES[name])) / recipes.epoch_flops(short, 5_000)[-1]  # in such epochs
        whole, memory = in_words(work * history[-1]["seconds"]), torch.cuda.max_memory_reserved() / 1e9
        print(f"{name}: a full run takes about {whole} here; at most {memory:.1f} GB so far", flush=True)


if __name__ == "__main__":
    sys.exit(paces() if "--paces" in sys.argv else main())
