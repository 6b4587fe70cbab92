"""Which device, number format and memory layout a run uses, and seeding."""

import contextlib
import ctypes
import dataclasses
import functools
import os
import platform
import timeit
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from helpers.files import choice

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # options of glibc's mallopt, from malloc.h
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time in each period, or "max"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where and how the arithmetic is done."""

    device: str  # "cpu", "cuda" or "mps"
    precision: str  # "fp32", "bf16" or "fp16": number format of matrix products and convolutions; weights stay fp32
    memory_format: torch.memory_format = torch.channels_last  # layout of weights and images
    loader: str | None = None  # who augments, "albumentations" or "device"; None leaves it to recipe and device

    @property
    def needs_scaler(self) -> bool:
        """True for fp16, whose small gradients would otherwise underflow to zero."""
        return self.precision == "fp16"

    def suited_to(self, width: int) -> "Compute":
        """The same, in the default layout where a net is narrower than 16 channels on a CPU.

        There, oneDNN's weight gradient of a strided 1×1 convolution writes past its buffer in channels_last
        (seen with 8 channels, two threads and an odd batch in torch 2.15), which ends the process.
        """
        broken = self.device == "cpu" and width < 16
        return dataclasses.replace(self, memory_format=torch.contiguous_format) if broken else self

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context in which products and convolutions run in the chosen number format."""
        return torch.autocast(self.device, dtype=PRECISIONS[self.precision], enabled=self.precision != "fp32")

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a module's parameters and buffers to the device, in the chosen layout; a CPU then keeps its memory."""
        if self.device == "cpu":
            keep_memory()
        return module.to(self.device, memory_format=self.memory_format)

    def synchronize(self) -> None:
        """Wait until the device has done what it was given; needed before reading a clock."""
        if self.device != "cpu":
            torch.accelerator.synchronize()

    def describe(self) -> str:
        """One line for records and notebooks, for example "cpu (AMD EPYC, 2 threads), bf16"."""
        return f"{_device_name(self.device)}, {self.precision}"


def compute(device: str | None = None, precision: str | None = None, loader: str | None = None) -> Compute:
    """Choose what the machine does well, unless told otherwise, here or by HELPERS_DEVICE and HELPERS_PRECISION.

    That is the fastest device, and bf16 where it computes it natively, fp16 with a gradient scaler on older CUDA cards,
    fp32 anywhere else. A CPU takes fp16 only where asked for: most are slower with it, but the numbers are a T4's,
    overflows and skipped steps included.
    """
    present = _present_devices()
    device = device or os.environ.get("HELPERS_DEVICE") or present[0]
    choice("device of this machine", device, present)
    precision = precision or os.environ.get("HELPERS_PRECISION") or _best_precision(device)
    choice("number format", precision, PRECISIONS)
    return Compute(device, precision, loader=loader)


def sent(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A CPU's tensor on the device; the host goes on meanwhile on CUDA alone: Apple's copies break (pytorch#189690)."""
    return tensor.to(device, non_blocking=device == "cuda")


def keep_memory() -> None:
    """Let memory that was freed stay with the process, for its next use, instead of going back to the system.

    By default glibc returns large blocks, whose pages the system clears anew: a fifth of the time of DavidNet's steps.
    """
    if platform.libc_ver()[0] == "glibc":  # other C libraries have no such options
        ctypes.CDLL(None).mallopt(MMAP_MAX, 0)
        ctypes.CDLL(None).mallopt(TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Equal inputs give equal results inside the block: cuDNN is deterministic, and set back even on error."""
    cudnn = torch.backends.cudnn  # whose own flags() set TF32 as well, by an interface that torch 2.9 warns about
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False  # a benchmark may choose otherwise the next time
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextlib.contextmanager
def trainable(threads: int | None = None) -> Iterator[None]:
    """Gradients, float32, no autocast inside the block, whatever the caller has set, and so many threads, or theirs."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads or before[1])  # with others, sums round otherwise
    cpu, cuda = (torch.autocast(kind, enabled=False, cache_enabled=False) for kind in ("cpu", "cuda"))
    try:
        with torch.inference_mode(False), torch.enable_grad(), cpu, cuda:  # else casts of weights outlive a step
            yield
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Repeatable results inside the block, torch seeded; all generators but an Apple GPU's are given back."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), repeatable():
        torch.manual_seed(seed)
        yield


def _present_devices() -> list[str]:
    """Those of this machine, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, present in there.items() if present]


def _best_precision(device: str) -> str:
    if device == "cuda":  # bf16 is emulated, hence slow, before compute capability 8.0 (Ampere)
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    return "bf16" if device == "cpu" and _cpu_computes_bf16() else "fp32"


def _cpu_computes_bf16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def _device_name(device: str) -> str:
    if device == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({_cpu_name()}, {threads} thread{'s' if threads > 1 else ''})"
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else "mps (Apple GPU)"


def _cpu_name() -> str:
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo") as info:
        return next(line for line in info if line.startswith("model name")).partition(":")[2].strip()
    return "unknown model"


def cores() -> int:
    """CPU cores this process may use; a container or a job scheduler may allow fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        quota, period = map(int, QUOTA.read_text().split())
        allowed = min(allowed, -(-quota // period))  # rounded up
    return allowed


@functools.cache
def matrix_rate(compute: Compute) -> float:
    """FLOP/s of a matrix product of 2,048 a side, by which times of different machines may be compared."""
    side = 256 if (compute.device, compute.precision) == ("cpu", "fp16") else 2048  # most CPUs imitate fp16, in minutes
    matrix = torch.ones(side, side, device=compute.device, dtype=PRECISIONS[compute.precision])

    def product() -> None:
        torch.mm(matrix, matrix)
        compute.synchronize()

    return 2 * len(matrix) ** 3 / min(timeit.repeat(product, repeat=3, number=1))  # the first warms up
