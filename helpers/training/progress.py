"""What a training shows while it runs: one bar, refreshed at most once a second, and one line per epoch."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm


class RunningMeans:
    """Loss and accuracy of an epoch so far, weighted by samples, summed on the device so that no step waits for it."""

    def __init__(self, device: str):
        self.loss_sum = torch.zeros((), device=device)
        self.correct = torch.zeros((), device=device)
        self.seen = 0

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch: its mean loss (), logits (B, K) and labels (B,)."""
        self.loss_sum += loss * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.seen += len(labels)

    def read(self) -> tuple[float, float]:
        """Mean loss and accuracy in [0, 1]; waits for the device."""
        loss, correct = torch.stack((self.loss_sum, self.correct)).tolist()
        return loss / max(1, self.seen), correct / max(1, self.seen)


def progress_bar(epoch: int, epochs: int, steps: int, hidden: bool) -> tqdm:
    """An epoch's progress bar on stdout, for terminals, notebooks and logs alike; epochs are counted from 0.

    It refreshes once a second, or as rarely as TQDM_MININTERVAL says in the environment.
    """
    return tqdm(
        total=steps,
        desc=f"epoch {epoch + 1:>2}/{epochs}",
        file=sys.stdout,
        leave=False,
        disable=hidden,
        mininterval=max(1.0, float(os.environ.get("TQDM_MININTERVAL", "1"))),
        bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
    )


def say(line: str, hidden: bool = False) -> None:
    """Write one line to stdout without breaking a bar."""
    if not hidden:
        tqdm.write(line, file=sys.stdout)


def rate(lr: float) -> str:
    """A learning rate with four decimals, or where those would not do with two digits: "0.0200", "0.00016"."""
    return f"{lr:.4f}" if lr >= 0.001 else f"{lr:.2g}"


def epoch_line(row: Mapping[str, Any], epochs: int) -> str:
    """An epoch of the history as one line: rate, then loss and accuracy of each split that was measured."""
    parts = [f"epoch {row['epoch']:>2}/{epochs}", f"rate {rate(row['lr']):<6}"]
    for split in ("train", "val", "test"):
        if row.get(f"{split}_loss") is not None:
            parts.append(f"{split} {row[f'{split}_loss']:.3f} {row[f'{split}_accuracy']:6.2%}")
    if row.get("ema_test_accuracy") is not None:
        parts.append(f"averaged {row['ema_test_accuracy']:6.2%}")
    return "  ".join([*parts, f"{row['seconds']:.0f} s"])
