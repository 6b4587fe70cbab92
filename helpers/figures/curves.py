"""Curves of a run over its epochs. Each function draws on axes and returns them; none saves anything.

`about` names the data set and how many runs are shown, such as "CIFAR-10, n = 1 run"; it becomes part of the title.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from helpers.figures import style
from helpers.training.schedules import PlateauState

SPLITS = {  # by their columns in a history: name in a legend and colour
    "train": ("training images, while they are learnt", style.TRAIN),
    "val": ("validation images", style.VALIDATION),
    "test": ("test images, raw weights", style.TEST),
    "ema_test": ("test images, averaged weights", style.AVERAGED),
}
UNITS = {"loss": "cross-entropy", "accuracy": "accuracy", "gap": "percentage points"}


def plot_curves(history: Sequence[Mapping[str, Any]], quantity: str, about: str, ax: Axes | None = None) -> Axes:
    """The "loss" or "accuracy" of every split that was measured, epoch by epoch, or the "gap".

    The gap is training minus test accuracy in percentage points, of the raw and of the averaged weights.
    """
    ax = ax or plt.subplots()[1]
    table = pd.DataFrame(history, dtype=float).set_index("epoch").dropna(axis="columns", how="all")
    gap = quantity == "gap"
    for split in ("test", "ema_test") if gap else SPLITS:
        values = table.get(f"{split}_{'accuracy' if gap else quantity}")
        if values is not None:
            name, colour = SPLITS[split]
            values, name = (100 * (table["train_accuracy"] - values), f"training − {name}") if gap else (values, name)
            ax.plot(values, "o-", color=colour, markersize=4, label=name)
    ax.legend()
    if quantity == "accuracy":
        ax.yaxis.set_major_formatter(style.percent)
    if gap:
        ax.axhline(0, color=style.BLACK, linewidth=1)
    return _over_epochs(ax, f"{quantity.capitalize()} · {about}", UNITS[quantity])


def plot_rate(
    recorded: np.ndarray, steps_per_epoch: int, about: str, planned: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    """The learning rate of every step, (steps,), with its peak, over the planned one where that is given.

    The first step lies at epoch 0, the end of the run at its last epoch.
    """
    ax = ax or plt.subplots()[1]
    if planned is not None:
        ax.plot(np.arange(len(planned)) / steps_per_epoch, planned, color=style.SKY, lw=7, alpha=0.6, label="planned")
    epochs, peak = np.arange(len(recorded)) / steps_per_epoch, int(np.argmax(recorded))
    ax.plot(epochs, recorded, color=style.BLACK, label="recorded")
    text = f"peak {recorded[peak]:.3g} at epoch {epochs[peak]:.2g}"
    ax.annotate(text, (epochs[peak], recorded[peak]), (0, 5), textcoords="offset points", fontsize=10)
    ax.set_ylim(0, 1.3 * recorded[peak])
    if planned is not None:
        ax.legend()
    return _over_epochs(ax, f"Learning rate · {about}", "learning rate")


def plot_plateau(states: Sequence[PlateauState], split: str, about: str, ax: Axes | None = None) -> Axes:
    """The watched loss after every epoch, the best so far, the bad epochs with their count, and the cuts.

    `states` are those of `schedules.plateau_states`; `split`, "validation" or "test", is whose loss they watch. A cut
    after the last epoch is left out: no epoch runs at the lower rate. A loss that falls to a third stands on a
    logarithmic axis, so that late in a long run what is a little better and what is not do not look alike.
    """
    ax = ax or plt.subplots()[1]
    seen = pd.DataFrame(states, index=range(1, len(states) + 1))  # by epoch
    for number, epoch in enumerate(seen.index[:-1][seen.cut[:-1]]):
        ax.axvline(epoch, color=style.PURPLE, linestyle=":", label=None if number else "the rate is cut")
    ax.step(seen.index, seen.best, where="post", color=style.GREY, linewidth=1.4, label="best so far")
    colour = style.VALIDATION if split == "validation" else style.TEST
    ax.plot(seen.loss, "o-", color=colour, markersize=4, label=f"{split} loss")
    counted = seen[seen.bad > 0]
    if len(counted):
        ax.plot(counted.loss, "o", color=style.RED, markersize=6, label="not better, counted")
    place = {"textcoords": "offset points", "ha": "center", "fontsize": 9, "color": style.RED}
    for epoch, loss, count in zip(counted.index, counted.loss, counted.bad):
        ax.annotate(str(count), (epoch, loss), (0, 6), bbox=style.PAPER, **place)  # over the line of a cut
    if seen.loss.max() > 3 * seen.loss.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    ax.margins(y=0.12)  # a count stands above its mark
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, fontsize=10, borderaxespad=0.2)
    return _over_epochs(ax, f"What the plateau saw · {about}", "cross-entropy", pad=26)  # above the legend


def _over_epochs(ax: Axes, title: str, unit: str, pad: float | None = None) -> Axes:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(title, pad=pad)
    ax.set(xlabel="epoch", ylabel=unit)
    return ax
