"""Figures of a run and of its predictions. Each function draws on axes and returns them; none saves anything.

`about` names the data set and how many runs are shown, such as "CIFAR-10, n = 1 run"; it becomes part of the title.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from helpers.figures import style
from helpers.figures.style import percent

History = Sequence[Mapping[str, Any]]
# column of the history: its name in a legend, colour and line style
CURVES = {
    "train": ("training images, while they are learnt", style.TRAIN, "-"),
    "val": ("validation images", style.VALIDATION, "-"),
    "test": ("test images, raw weights", style.TEST, "-"),
    "ema_test": ("test images, averaged weights", style.AVERAGED, "-"),
}


def plot_loss(history: History, about: str, floor: float = 0.0, ax: Axes | None = None) -> Axes:
    """Cross-entropy of every split that was measured, epoch by epoch.

    `floor`, a dotted line, is the least training loss that label smoothing leaves possible; 0 for none.
    """
    ax = _plot_curves(history, "loss", f"Loss · {about}", "cross-entropy", ax)
    if floor:
        ax.axhline(floor, color=style.TRAIN, linestyle=":", label="floor of the training loss")
        ax.legend()
    return ax


def plot_accuracy(history: History, about: str, ax: Axes | None = None) -> Axes:
    """Accuracy of every split that was measured, epoch by epoch."""
    ax = _plot_curves(history, "accuracy", f"Accuracy · {about}", "accuracy", ax)
    ax.yaxis.set_major_formatter(percent)
    return ax


def plot_raw_and_averaged(history: History, about: str, ax: Axes | None = None) -> Axes:
    """Test accuracy of the raw weights and, where there is one, of their moving average; the gain is shaded."""
    ax = ax or plt.subplots()[1]
    epochs, raw, averaged = (column(history, name) for name in ("epoch", "test_accuracy", "ema_test_accuracy"))
    ax.fill_between(epochs, raw, averaged, color=style.AVERAGED, alpha=0.12, linewidth=0)
    for values, name, colour in ((averaged, "averaged weights", style.AVERAGED), (raw, "raw weights", style.TEST)):
        if np.isfinite(values).any():
            last = f", {values[-1]:.2%} at the end"
            ax.plot(epochs, values, color=colour, marker="o", markersize=5, label=name + last)
    ax.yaxis.set_major_formatter(percent)
    ax.legend(loc="lower right")
    return _labelled(ax, f"Test accuracy · {about}", "accuracy")


def plot_rate(
    recorded: np.ndarray,
    steps_per_epoch: int,
    about: str,
    planned: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The learning rate of every step, (steps,), with its peak, over the planned one where that is given.

    The first step lies at epoch 0, the end of the run at its last epoch.
    """
    ax = ax or plt.subplots()[1]
    if planned is not None:
        epochs = np.arange(len(planned)) / steps_per_epoch
        ax.plot(epochs, planned, color=style.SKY, linewidth=7, alpha=0.6, label="planned")
    epochs, peak = np.arange(len(recorded)) / steps_per_epoch, int(np.argmax(recorded))
    ax.plot(epochs, recorded, color=style.BLACK, label="recorded")
    text = f"peak {recorded[peak]:.3g} at epoch {epochs[peak]:.2g}"
    ax.annotate(text, (epochs[peak], recorded[peak]), (0, 5), textcoords="offset points", fontsize=10)
    ax.set_ylim(0, 1.3 * recorded[peak])
    if planned is not None:
        ax.legend()
    return _labelled(ax, f"Learning rate · {about}", "learning rate")


def plot_gap(history: History, about: str, ax: Axes | None = None) -> Axes:
    """Training minus test accuracy in percentage points, of the raw and of the averaged weights."""
    ax = ax or plt.subplots()[1]
    epochs, train = column(history, "epoch"), column(history, "train_accuracy")
    for name, label, colour in (
        ("test_accuracy", "training − test, raw weights", style.TEST),
        ("ema_test_accuracy", "training − test, averaged weights", style.AVERAGED),
    ):
        gap = 100 * (train - column(history, name))
        if np.isfinite(gap).any():
            ax.plot(epochs, gap, color=colour, marker="o", markersize=4, label=label)
    ax.axhline(0, color=style.BLACK, linewidth=1)
    ax.legend()
    return _labelled(ax, f"The gap · {about}", "percentage points")


def plot_speeds(speeds: Mapping[str, Sequence[float]], about: str, ax: Axes | None = None) -> Axes:
    """Images per second of every variant: median as a bar, all measurements as dots, times the first as text."""
    ax = ax or plt.subplots()[1]
    medians = [float(np.median(values)) for values in speeds.values()]
    ax.barh(range(len(medians)), medians, color=style.BLUE, height=0.6)
    for row, (values, median) in enumerate(zip(speeds.values(), medians)):
        ax.plot(values, [row] * len(values), "o", color=style.ORANGE, markersize=4, alpha=0.9)
        text = f"{median:,.0f} images/s · {median / medians[0]:.1f}×"
        ax.annotate(text, (max(median, *values), row), (8, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(medians)), list(speeds))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.35 * max(max(values) for values in speeds.values()))
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="images per second, more is better", title=f"Training speed · {about}")
    return ax


def column(history: History, name: str) -> np.ndarray:
    """A column of the history as numbers, (epochs,) float64; nan where nothing was measured."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in history], dtype=np.float64)


def _plot_curves(history: History, quantity: str, title: str, unit: str, ax: Axes | None) -> Axes:
    ax = ax or plt.subplots()[1]
    for split, (name, colour, line) in CURVES.items():
        values = column(history, f"{split}_{quantity}")
        if np.isfinite(values).any():
            ax.plot(column(history, "epoch"), values, line, color=colour, marker="o", markersize=4, label=name)
    ax.legend()
    return _labelled(ax, title, unit)


def _labelled(ax: Axes, title: str, unit: str) -> Axes:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(title=title, xlabel="epoch", ylabel=unit)
    return ax
