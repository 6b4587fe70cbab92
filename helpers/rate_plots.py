"""Figures of learning-rate range tests. Each function draws on axes and returns them; none saves anything."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from helpers import style
from helpers.plots import percent
from helpers.rate_curves import Curve, Spread, Suggestions, smooth

# a suggestion's name: its words, its colour and its marker, so that it can be told apart in print, too
MARKS = {
    "onset": ("begins to fall", style.SKY, "<"),
    "steepest": ("steepest", style.GREEN, "v"),
    "valley": ("valley", style.PURPLE, "s"),
    "minimum_tenth": ("minimum / 10", style.ORANGE, "D"),
    "minimum": ("minimum", style.RED, "^"),
    "divergence": ("explodes", style.BLACK, "X"),
}


def plot_range_test(
    curve: Curve, found: Suggestions | None = None, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """The loss against the rate: every step faintly, smoothed as a line, the suggestions marked with their rates.

    Args:
        found: what `suggest` read from the curve; None marks nothing.
        title: default says what was swept.
    """
    ax = ax or plt.subplots()[1]
    count = curve.finite
    values = smooth(curve.loss[:count])[0]
    ax.plot(curve.lr[:count], curve.loss[:count], color=style.BLUE, alpha=0.3, linewidth=1)
    ax.plot(curve.lr[:count], values, color=style.BLUE, label="loss, smoothed")
    for name, rate in (found.rates() if found else {}).items():
        text, colour, marker = MARKS[name]
        height = np.interp(rate, curve.lr[:count], values)
        ax.plot(rate, height, marker, color=colour, markersize=9, zorder=3, label=f"{text}: {rate:.2g}")
    if count:
        ax.set_ylim(*_frame(curve.loss[:count], values))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)
    return _on_rates(ax, curve, title or f"Range test · {curve.about}", "cross-entropy")


def plot_sweeps(
    curves: Mapping[str, Curve] | Sequence[Curve], title: str, quantity: str = "loss", ax: Axes | None = None
) -> Axes:
    """Several sweeps over one another, smoothed.

    Args:
        curves: by name for a legend; a plain sequence, such as of seeds, has one colour and no legend.
        quantity: "loss" or "accuracy".
    """
    ax = ax or plt.subplots()[1]
    named = isinstance(curves, Mapping)
    several = list(curves.values() if named else curves)
    tops = []
    for number, curve in enumerate(several):
        values = smooth(getattr(curve, quantity)[: curve.finite])[0]
        label = list(curves)[number] if named else None
        colour = style.CYCLE[number % len(style.CYCLE)] if named else style.BLUE
        look = {} if named else {"alpha": 0.7, "linewidth": 1.3}
        ax.plot(curve.lr[: curve.finite], values, color=colour, label=label, **look)
        if curve.finite:
            tops.append(_frame(curve.loss[: curve.finite], values))
    if quantity == "accuracy":
        ax.yaxis.set_major_formatter(percent)
    elif tops:
        ax.set_ylim(min(low for low, _ in tops), max(high for _, high in tops))
    if named:
        ax.legend(fontsize=10)
    return _on_rates(ax, several[0], title, "cross-entropy" if quantity == "loss" else quantity)


def plot_spreads(spreads: Mapping[str, Mapping[str, Spread]], title: str, ax: Axes | None = None) -> Axes:
    """What sweeps suggest under several conditions: one row each, every suggestion at its middle with its range.

    Args:
        spreads: by condition, what `spread` returns; suggestions follow MARKS.
    """
    ax = ax or plt.subplots()[1]
    shown = [name for name in MARKS if any(name in row for row in spreads.values())]
    offsets = np.linspace(-0.25, 0.25, len(shown)) if len(shown) > 1 else [0]
    for name, offset in zip(shown, offsets):
        text, colour, marker = MARKS[name]
        rows = [(row + offset, spread[name]) for row, spread in enumerate(spreads.values()) if name in spread]
        for height, spread in rows:
            ax.plot([spread.low, spread.high], [height, height], color=colour, linewidth=3, alpha=0.5)
        middles = [spread.middle for _, spread in rows]
        ax.plot(middles, [height for height, _ in rows], marker, color=colour, markersize=7, label=text)
    ax.set_yticks(range(len(spreads)), list(spreads))
    ax.set_ylim(len(spreads) - 0.5, -0.5)
    ax.set(xscale="log", xlabel="learning rate", title=title)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)
    return ax


def plot_by_epoch(curves: Mapping[str, Curve], title: str, ax: Axes | None = None) -> Axes:
    """Accuracy after an epoch against the epoch's rate, one line per curve."""
    ax = ax or plt.subplots()[1]
    for (name, curve), colour in zip(curves.items(), itertools.cycle(style.CYCLE)):
        ax.plot(curve.lr, curve.accuracy, color=colour, marker="o", label=name)
    ax.yaxis.set_major_formatter(percent)
    ax.legend()
    ax.set(xscale="log", xlabel="learning rate of the epoch", ylabel="accuracy on held-out images", title=title)
    return ax


def _frame(losses: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of a loss axis: from where the sweep began to its lowest, and a little of the explosions."""
    low, first = float(values.min()), float(losses[:3].mean())
    fall = max(first - low, 0.05)
    return low - 0.3 * fall, first + 0.7 * fall


def _on_rates(ax: Axes, curve: Curve, title: str, unit: str) -> Axes:
    if curve.sweep.scale == "exp":
        ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel=unit, title=title)
    return ax
