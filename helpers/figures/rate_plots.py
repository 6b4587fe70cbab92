"""Figures of learning-rate range tests. Each function draws on axes and returns them; none saves anything."""

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from helpers.figures import style
from helpers.figures.style import percent
from helpers.rates.rate_curves import Curve, Spread, Suggestions, smooth
from helpers.results.rate_grid import Accuracies, Rates

# a suggestion's name: its words, its colour and its marker, so that it can be told apart in print, too
MARKS = {
    "onset": ("begins to fall", style.SKY, "<"),
    "steepest": ("steepest", style.GREEN, "v"),
    "valley": ("valley", style.PURPLE, "s"),
    "minimum_tenth": ("minimum / 10", style.ORANGE, "D"),
    "minimum": ("minimum", style.RED, "^"),
    "divergence": ("explodes", style.BLACK, "X"),
}


def plot_range_test(curve: Curve, found: Suggestions, title: str, ax: Axes | None = None) -> Axes:
    """The loss against the rate: every step faintly, smoothed as a line, the suggestions marked with their rates."""
    ax = ax or plt.subplots()[1]
    count = curve.finite
    values = smooth(curve.loss[:count])[0]
    ax.plot(curve.lr[:count], curve.loss[:count], color=style.BLUE, alpha=0.3, linewidth=1)
    ax.plot(curve.lr[:count], values, color=style.BLUE, label="loss, smoothed")
    for name, rate in found.rates().items():
        text, colour, marker = MARKS[name]
        height = np.interp(rate, curve.lr[:count], values)
        ax.plot(rate, height, marker, color=colour, markersize=9, zorder=3, label=f"{text}: {rate:.2g}")
    if count:
        ax.set_ylim(*_frame(curve.loss[:count], values))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)
    return _on_rates(ax, curve, title)


def plot_sweeps(curves: Mapping[str, Curve] | Sequence[Curve], title: str, ax: Axes | None = None) -> Axes:
    """The losses of several sweeps over one another, smoothed.

    Curves by name have a legend; a plain sequence, such as of seeds, has one colour and no legend.
    """
    ax = ax or plt.subplots()[1]
    named = isinstance(curves, Mapping)
    several = list(curves.values() if named else curves)
    tops = []
    for number, curve in enumerate(several):
        values = smooth(curve.loss[: curve.finite])[0]
        label = list(curves)[number] if named else None
        colour = style.CYCLE[number % len(style.CYCLE)] if named else style.BLUE
        look = {} if named else {"alpha": 0.7, "linewidth": 1.3}
        ax.plot(curve.lr[: curve.finite], values, color=colour, label=label, **look)
        if curve.finite:
            tops.append(_frame(curve.loss[: curve.finite], values))
    if tops:
        ax.set_ylim(min(low for low, _ in tops), max(high for _, high in tops))
    if named:
        ax.legend(fontsize=10)
    return _on_rates(ax, several[0], title)


def plot_spreads(spreads: Mapping[str, Mapping[str, Spread]], title: str, ax: Axes | None = None) -> Axes:
    """What sweeps suggest under several conditions: one row each, every suggestion at its middle with its range.

    `spreads` has by condition what `rate_curves.spread` returns; suggestions follow MARKS.
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


def plot_grid(found: Accuracies, title: str, ax: Axes | None = None) -> Axes:
    """A rate grid: held-out accuracy, as `rate_grid.read` gives it, against the peak rate, one line per logit scale.

    Filled dots are cells whose ends lie at a hundredth of the peak, the line joins those of the first seed. Hollow ones
    have other ends; a cross at the bottom is a cell that diverged, whose accuracy is 0.
    """
    ax = ax or plt.subplots()[1]
    scales = sorted({rates.logit_scale for rates, _ in found}, reverse=True)
    for scale, colour, marker in zip(scales, (style.BLUE, style.ORANGE), "os"):
        name = "logits as they are" if scale == 1 else f"logits × {Fraction(scale)}"
        ours = {cell: value for cell, value in found.items() if cell[0].logit_scale == scale and value}
        line = sorted((r.max_lr, value) for (r, seed), value in ours.items() if _usual_ends(r) and seed == 0)
        ax.plot([lr for lr, _ in line], [value for _, value in line], color=colour, marker=marker, label=name)
        for (rates, seed), value in ours.items():
            if seed or not _usual_ends(rates):
                filled = colour if _usual_ends(rates) else "none"
                ax.plot(rates.max_lr, value, marker, markerfacecolor=filled, color=colour, markersize=6)
        for lr in [rates.max_lr for (rates, _), value in found.items() if rates.logit_scale == scale and not value]:
            ax.annotate("×", (lr, 0.02), xycoords=("data", "axes fraction"), color=colour, ha="center")
    ticks = sorted({rates.max_lr for rates, _ in found})
    ax.set(xscale="log", xlabel="rate of the peak", ylabel="accuracy on held-out images", title=title)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(percent)
    if scales:
        ax.legend(fontsize=10)
    return ax


def _usual_ends(rates: Rates) -> bool:
    return math.isclose(rates.min_lr * 100, rates.max_lr)


def _frame(losses: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of a loss axis: from where the sweep began to its lowest, and a little of the explosions."""
    low, first = float(values.min()), float(losses[:3].mean())
    fall = max(first - low, 0.05)
    return low - 0.3 * fall, first + 0.7 * fall


def _on_rates(ax: Axes, curve: Curve, title: str) -> Axes:
    if curve.sweep.scale == "exp":
        ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel="cross-entropy", title=title)
    return ax
