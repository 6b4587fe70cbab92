"""Figures of learning-rate range tests and rate grids. Each function draws on axes and returns them; none saves any."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from helpers.figures import style
from helpers.rates import Curve, smooth, suggest
from helpers.rates.grid import Accuracies

# a suggestion's name: its words, its colour and its marker, so that it can be told apart in print, too
MARKS = {
    "steepest": ("steepest", style.GREEN, "v"),
    "valley": ("valley", style.PURPLE, "s"),
    "minimum": ("minimum", style.RED, "^"),
    "divergence": ("explodes", style.BLACK, "X"),
}


SEVERAL = {"linewidth": 1.2, "alpha": 0.7}  # of lines that lie over one another


def plot_range_tests(tests: Curve | Mapping[str, Curve] | Sequence[Curve], title: str, ax: Axes | None = None) -> Axes:
    """The loss against the rate, smoothed; explosions leave the frame.

    One test has its suggestions marked, and its steps as they are behind. Several by name have a legend; a plain
    sequence, such as of seeds, has one colour and no legend.
    """
    ax, one = ax or plt.subplots()[1], isinstance(tests, Curve)
    named = {"loss, smoothed": tests} if one else tests if isinstance(tests, Mapping) else {}
    curves = list(named.values() or tests)
    for number, curve in enumerate(curves):
        name, colour = (list(named)[number], style.CYCLE[number % len(style.CYCLE)]) if named else (None, style.BLUE)
        ax.plot(curve.lr, smooth(curve.loss), color=colour, label=name, **({} if named else SEVERAL))
    if one:
        _mark_suggestions(ax, tests)
    elif named:
        ax.legend(fontsize=10)
    ends = np.array([_ends(curve) for curve in curves if len(curve.loss)])
    if len(ends):
        ax.set_ylim(ends.min(), ends.max())
    scale = "log" if curves[0].sweep.scale == "exp" else "linear"
    ax.set(xscale=scale, xlabel="learning rate", ylabel="cross-entropy", title=title)
    return ax


def _mark_suggestions(ax: Axes, curve: Curve) -> None:
    ax.plot(curve.lr, curve.loss, color=style.BLUE, alpha=0.3, linewidth=1)
    for name, rate in suggest(curve).rates().items():
        text, colour, marker = MARKS[name]
        height = np.interp(rate, curve.lr, smooth(curve.loss))
        ax.plot(rate, height, marker, color=colour, markersize=9, zorder=3, label=f"{text}: {rate:.2g}")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)


def _ends(curve: Curve) -> tuple[float, float]:
    """Of a loss axis: from where the sweep began to its lowest, and a little of the explosion."""
    low, first = float(smooth(curve.loss).min()), float(curve.loss[:3].mean())
    fall = max(first - low, 0.05)
    return low - 0.3 * fall, first + 0.7 * fall


def plot_grid(found: Accuracies, title: str, ax: Axes | None = None) -> Axes:
    """A rate grid: held-out accuracy, as `grid.read` gives it, against the peak rate, one line per logit scale.

    Filled dots are cells whose ends lie at a hundredth of the peak, the line joins those of the first seed. Hollow ones
    have other ends; a cross at the bottom is a cell that diverged, whose accuracy is 0.
    """
    ax = ax or plt.subplots()[1]
    cells = [(cell, seed, math.isclose(cell.max_lr, 100 * cell.min_lr), value) for (cell, seed), value in found.items()]
    scales = sorted({cell.logit_scale for cell, _, _, _ in cells}, reverse=True)
    for scale, colour, marker in zip(scales, (style.BLUE, style.ORANGE), "os"):
        ours = [(cell.max_lr, *rest) for cell, *rest in cells if cell.logit_scale == scale]
        line = sorted((lr, value) for lr, seed, usual, value in ours if value and usual and not seed)
        name = "logits as they are" if scale == 1 else f"logits × {Fraction(scale)}"
        ax.plot(*np.reshape(line, (-1, 2)).T, color=colour, marker=marker, label=name)
        for lr, seed, usual, value in ours:
            if not value:
                ax.annotate("×", (lr, 0.02), xycoords=("data", "axes fraction"), color=colour, ha="center")
            elif seed or not usual:
                ax.plot(lr, value, marker, markerfacecolor=colour if usual else "none", color=colour, markersize=6)
    ticks = sorted({cell.max_lr for cell, _, _, _ in cells})
    ax.set(xscale="log", xlabel="rate of the peak", ylabel="accuracy on held-out images", title=title)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(style.percent)
    if scales:
        ax.legend(fontsize=10)
    return ax
