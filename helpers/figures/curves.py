"""Curves of a run over its epochs, and of range tests over the rate. Each function takes and returns axes.

`about` names the data set and how many runs are shown, such as "CIFAR-10, n = 1 run"; it becomes part of the title.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from helpers.figures import style
from helpers.rates import Curve, smooth, suggest
from helpers.training.schedules import PlateauState

SPLITS = {  # by their columns in a history: name in a legend and colour
    "train": ("training images, while they are learnt", style.TRAIN),
    "val": ("validation images", (style.VALIDATION, 0.3)),  # a pale band: the test line may lie on it
    "test": ("test images, raw weights", style.TEST),
    "ema_test": ("test images, averaged weights", style.AVERAGED),
}
UNITS = {"loss": "cross-entropy", "accuracy": "accuracy", "gap": "percentage points"}
SUGGESTED = {  # by a suggestion's name: its words, its colour, and its marker to be told apart by in print, too
    "steepest": ("steepest", style.GREEN, "v"),
    "valley": ("valley", style.PURPLE, "s"),
    "minimum": ("minimum", style.RED, "^"),
    "divergence": ("explodes", style.BLACK, "X"),
}


def plot_curves(history: Sequence[Mapping[str, Any]], quantity: str, about: str, ax: Axes | None = None) -> Axes:
    """The "loss" or "accuracy" of every split that was measured, epoch by epoch, or the "gap".

    The gap is training minus test accuracy in percentage points, of the raw and of the averaged weights.
    """
    ax = ax or plt.subplots()[1]
    table = pd.DataFrame(history, dtype=float).set_index("epoch").dropna(axis="columns", how="all")
    gap = quantity == "gap"
    if gap:
        gaps = 100 * table.filter(like="test_accuracy").rsub(table["train_accuracy"], axis="index")
        table = gaps.rename(columns=lambda name: name.replace("accuracy", "gap"))
        ax.axhline(0, color=style.BLACK, linewidth=1)
    for split, (name, colour) in SPLITS.items():
        if (column := f"{split}_{quantity}") in table:
            label = f"training − {name}" if gap else name
            ax.plot(table[column], "o-", color=colour, ms=4, lw=6 if split == "val" else None, label=label)
    ax.legend()
    if quantity == "accuracy":
        ax.yaxis.set_major_formatter(style.percent)
    return _over_epochs(ax, f"{quantity.capitalize()} · {about}", UNITS[quantity])


def plot_rate(recorded: np.ndarray, steps_per_epoch: int, about: str, ax: Axes | None = None) -> Axes:
    """The learning rate of every step, (steps,), and its peak; the first step lies at epoch 0."""
    ax = ax or plt.subplots()[1]
    epochs, peak = np.arange(len(recorded)) / steps_per_epoch, int(np.argmax(recorded))
    ax.plot(epochs, recorded, color=style.BLACK, label="recorded")
    text = f"peak {recorded[peak]:.3g} at epoch {epochs[peak]:.2g}"
    ax.annotate(text, (epochs[peak], recorded[peak]), (0, 5), textcoords="offset points", fontsize=10)
    ax.set_ylim(0, 1.3 * recorded[peak])
    return _over_epochs(ax, f"Learning rate · {about}", "learning rate")


def plot_plateau(states: Sequence[PlateauState], split: str, about: str, ax: Axes | None = None) -> Axes:
    """The watched loss after every epoch, the best so far, the bad epochs with their count, and the cuts.

    `states` are those of `schedules.plateau_states`; `split`, "validation" or "test", is whose loss they watch. A cut
    after the last epoch is left out. A loss that falls to a third stands on a logarithmic axis.
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
        ax.set_yscale("log", subs=(2, 3, 5))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
    ax.margins(y=0.12)  # a count stands above its mark
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, fontsize=10, borderaxespad=0.2)
    return _over_epochs(ax, f"What the plateau saw · {about}", "cross-entropy", pad=26)  # above the legend


def plot_range_tests(tests: Curve | Mapping[str, Curve] | Sequence[Curve], title: str, ax: Axes | None = None) -> Axes:
    """The loss against the rate, smoothed; explosions leave the frame.

    One test has its suggestions marked, and its steps as they are behind. Several by name have a legend; a plain
    sequence, such as of seeds, has one colour and no legend.
    """
    ax = ax or plt.subplots()[1]
    if isinstance(tests, Curve):
        return _mark_suggestions(plot_range_tests({"loss, smoothed": tests}, title, ax), tests)
    named = isinstance(tests, Mapping)
    curves, names = (tests.values(), tests) if named else (tests, [None] * len(tests))
    look = {} if named else {"color": style.BLUE, "linewidth": 1.2, "alpha": 0.7}
    for name, curve in zip(names, curves):
        ax.plot(curve.lr, smooth(curve.loss), label=name, **look)
    if named:
        ax.legend(fontsize=10)
    low, first = min(smooth(curve.loss).min() for curve in curves), max(curve.loss[:3].mean() for curve in curves)
    fall = max(first - low, 0.05)
    ax.set_ylim(low - 0.3 * fall, first + 0.7 * fall)
    scale = "log" if curve.sweep.scale == "exp" else "linear"
    ax.set(xscale=scale, xlabel="learning rate", ylabel="cross-entropy", title=title)
    return ax


def _mark_suggestions(ax: Axes, curve: Curve) -> Axes:
    ax.plot(curve.lr, curve.loss, color=style.BLUE, alpha=0.3, linewidth=1, zorder=1)
    for name, rate in suggest(curve).rates().items():
        text, colour, marker = SUGGESTED[name]
        height = np.interp(rate, curve.lr, smooth(curve.loss))
        ax.plot(rate, height, marker, color=colour, markersize=9, zorder=3, label=f"{text}: {rate:.2g}")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)
    return ax


def _over_epochs(ax: Axes, title: str, unit: str, pad: float | None = None) -> Axes:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(title, pad=pad)
    ax.set(xlabel="epoch", ylabel=unit)
    return ax
