"""torch-lr-finder, made to fit: any net, one sweep of the learning rate, and nothing left behind."""

import contextlib
import copy
import functools
import io
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from tqdm import tqdm

from helpers import devices, files
from helpers.data import Batch
from helpers.devices import Compute
from helpers.rates.rate_curves import Curve, Sweep
from helpers.training import engine

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    sweep: Sweep | None = None,
    *,
    loss: Loss = F.cross_entropy,
    validation: Iterable[Batch] | None = None,
    compute: Compute | None = None,
) -> Curve:
    """Train a copy of a net while the rate rises from step to step, and note what becomes of the loss.

    The net and its optimizer are copied, so they stay as they are whatever happens; so do the random generators.

    Args:
        model: on its device; trained in train mode, whatever mode it is in.
        optimizer: of that model, with the momentum, weight decay and state to test; its rate and schedule are ignored.
        batches: (images, labels) as the net takes them; begun again where they end before the sweep does.
        sweep: the rates; default 100 steps from 1e-4 to 10.
        loss: of (logits, labels), a scalar, the mean over the images.
        validation: batches to measure after every step, instead of the training batch before it.
        compute: number format; default what the machine does well.
    """
    sweep, compute = sweep or Sweep(), compute or devices.compute()
    with _random_kept(), devices.repeatable():
        model, optimizer = _copies(model, optimizer)
        meter = _Meter(loss)
        train_loader = DataLoader(_Endless(batches, meter), batch_size=None)
        val_loader = None if validation is None else _validation_loader(validation)
        finder = _finder(_InFormat(model, compute), optimizer, meter, compute)
        _run(finder, train_loader, val_loader, sweep)
    return meter.curve(finder.history["lr"], sweep, validated=validation is not None)


def _copies(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A net and its optimizer once more, as the finder takes them."""
    model, copied = copy.deepcopy((model, optimizer))
    for group in copied.param_groups:
        group.pop("initial_lr", None)  # a scheduler's mark, which the finder refuses
    scaled = getattr(optimizer, "_step_supports_amp_scaling", False)  # set by fused optimizers, lost in a copy
    copied._step_supports_amp_scaling = scaled  # so that a gradient scaler leaves it to them to skip a step
    copied._opt_called = True  # else torch warns, without need, where the scaler skips the first step
    if isinstance(copied, torch.optim.SGD) and any(map(_waits_for_a_first_step, copied.param_groups)):
        engine.start_momentum(copied)
    return model, copied


def _waits_for_a_first_step(group: dict[str, Any]) -> bool:
    """Whether fused SGD leaves these momenta unfilled until a first step that zeros change nothing of."""
    return bool(group["fused"] and group["momentum"] and not group["dampening"])


class _Exploded(Exception):
    """The last step's loss was not finite: no use to go on."""


class _Meter:
    """The finder's criterion; notes loss and accuracy of all it is asked about, without waiting for the device."""

    def __init__(self, loss: Loss):
        self.loss = loss
        self.trained: list[torch.Tensor] = []  # per step: summed loss, right answers, images
        self.validated: list[torch.Tensor] = []

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.loss(logits.float(), labels)
        right, count = (logits.argmax(1) == labels).sum(), len(labels)
        sums = torch.stack((loss.detach() * count, right, torch.full_like(right, count)))
        if torch.is_grad_enabled():
            self.trained.append(sums)
            self.validated.append(torch.zeros_like(sums))
        else:
            self.validated[-1] += sums
        return loss

    def exploded(self) -> bool:
        return bool(self.trained) and not torch.isfinite(self.trained[-1][0]).item()

    def curve(self, rates: Sequence[float], sweep: Sweep, validated: bool) -> Curve:
        """What was noted, one point per step."""
        noted = torch.stack(self.validated if validated else self.trained)
        losses, right, counts = noted.cpu().double().numpy().T  # there, since MPS has no float64
        return Curve(np.array(rates), losses / counts, right / counts, sweep)


class _InFormat(nn.Module):
    """A net in its number format, also where the finder validates, which knows no autocast there."""

    def __init__(self, model: nn.Module, compute: Compute):
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with self.compute.autocast():
            return self.model(images)


class _Endless(IterableDataset):
    """Batches, begun again and again, until the loss is no longer a number."""

    def __init__(self, batches: Iterable[Batch], meter: _Meter):
        self.batches, self.meter = batches, meter

    def __iter__(self) -> Iterator[Batch]:
        while True:
            before = len(self.meter.trained)
            for batch in self.batches:
                if self.meter.exploded():
                    raise _Exploded
                yield batch
            if len(self.meter.trained) == before:
                raise ValueError("no batches, or they cannot be begun again: give a list or a loader that is not empty")


def _validation_loader(batches: Iterable[Batch]) -> DataLoader:
    """Batches as the finder wants them: a loader whose data set knows how many images there are."""
    batches = list(batches)
    if not batches:
        raise ValueError("no validation batches: give some, or None to look at the training batches")
    images, labels = map(torch.cat, zip(*batches))
    return DataLoader(TensorDataset(images, labels), batch_size=1000)


def _finder(model: nn.Module, optimizer: torch.optim.Optimizer, meter: _Meter, compute: Compute):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, about its own notebook bars
        from torch_lr_finder import LRFinder
    if not compute.needs_scaler:
        return LRFinder(model, optimizer, meter)
    off = {"device_type": compute.device, "enabled": False}  # the net switches its format on by itself
    scaler = torch.amp.GradScaler(compute.device)
    return LRFinder(model, optimizer, meter, amp_backend="torch", amp_config=off, grad_scaler=scaler)


def _run(finder: "LRFinder", train_loader: DataLoader, val_loader: DataLoader | None, sweep: Sweep) -> None:  # noqa: F821
    """Let the finder sweep, with the series' bar for its own and without its words."""
    bar = functools.partial(tqdm, desc="range test", file=sys.stdout, leave=False, mininterval=files.bar_seconds())
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("torch_lr_finder.lr_finder.tqdm", bar))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.suppress(_Exploded))
        finder.range_test(
            train_loader,
            val_loader,
            start_lr=sweep.start_lr,
            end_lr=sweep.end_lr,
            num_iter=sweep.steps,
            step_mode=sweep.scale,
            diverge_th=sweep.diverge_at,
        )


@contextlib.contextmanager
def _random_kept() -> Iterator[None]:
    """Give back the states of all random generators: torch's, NumPy's and Python's."""
    states = devices.random_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        devices.set_random_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
