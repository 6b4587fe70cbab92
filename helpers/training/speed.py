"""How long the same training step takes in different forms, measured in turns."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from helpers import devices
from helpers.data import Images
from helpers.devices import Compute
from helpers.training import engine
from helpers.training.progress import EpochBar
from helpers.training.settings import Setting

Work = Callable[[], Any]
LEAST_STEPS = 3  # of a cycle


class Taken(NamedTuple):
    """Seconds that a piece of work took: by the clock, and of this process on all CPU cores together."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Form:
    """One way to take a training step."""

    compute: Compute
    keep_memory: bool = True  # whether a CPU's freed memory stays with the process; see `devices.keep_memory`

    def prepare(self) -> None:
        """Set what holds for the whole process."""
        devices.keep_memory(self.keep_memory)


def forms(compute: Compute) -> dict[str, Form]:
    """From the plain loop to what `compute` does, each form with one thing more than the one before.

    A form that would not differ from the one before, on this device and for this net, is left out.
    """
    precision = "fp32"
    plain = Form(Compute(compute.device, precision, torch.contiguous_format), keep_memory=False)
    found = {"plain: fp32, NCHW": plain}
    if compute.memory_format == torch.channels_last:
        found["+ channels_last"] = Form(Compute(compute.device, precision), keep_memory=False)
    if compute.precision != precision:
        found[f"+ {compute.precision}"] = Form(compute, keep_memory=False)
    if compute.device == "cpu" and devices.keep_memory():
        found["+ memory kept"] = Form(compute)
    return found


def one_step(setting: Setting, form: Form, images: torch.Tensor, labels: torch.Tensor) -> Work:
    """A function that takes one training step of a setting's net in a form, with no average, and waits for its end.

    `images` (B, 32, 32, 3) uint8 and `labels` (B,) int64 are a loader's; each step normalises the images anew.
    """
    recipe, compute = dataclasses.replace(setting.recipe, ema_epochs=0.0), form.compute
    setting = dataclasses.replace(setting, recipe=recipe, compute=compute)
    state, normalize, truth = _fresh(setting, LEAST_STEPS), setting.normalize, labels.to(compute.device)
    state.model.train()

    def work() -> None:
        engine.train_step(state, normalize(images), truth, recipe, compute)
        compute.synchronize()

    return work


def whole_loop(setting: Setting, split: Images) -> Work:
    """A function that trains a split for an epoch as `training.fit` does: augmentation, schedule, average, bar."""
    loader, normalize, compute = setting.train_loader(split), setting.normalize, setting.compute
    state = _fresh(setting, max(LEAST_STEPS, len(loader)))

    def work() -> None:
        bar = EpochBar(1, 1, len(loader), hidden=True)
        engine.train_epoch(state, loader.epoch(0), normalize, setting.recipe, bar)
        bar.close()
        compute.synchronize()

    return work


def _fresh(setting: Setting, steps_per_epoch: int) -> engine.TrainState:
    """The state before the first step; after its schedule's last one it goes on at the last rate."""
    with devices.seeded(setting.seed):
        return engine.TrainState(setting.recipe, len(setting.dataset.classes), steps_per_epoch, setting.compute)


def in_turns(
    works: Mapping[str, Work], rounds: int, prepare: Mapping[str, Callable[[], None]] | None = None
) -> dict[str, list[Taken]]:
    """Time pieces of work, one after the other and again, so that a busy moment of the machine hits all of them.

    Args:
        works: what is timed, by name; each waits for its device before it returns.
        rounds: how often each is timed, after a first round that warms up and is not counted.
        prepare: by name, what is done before each time and not counted.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            (prepare or {}).get(name, lambda: None)()
            started = time.perf_counter(), time.process_time()
            work()
            if turn:
                taken[name].append(Taken(time.perf_counter() - started[0], time.process_time() - started[1]))
    return taken
