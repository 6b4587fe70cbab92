"""Rows of dots with an interval, and a table of confusions. Each function draws on axes and returns them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from helpers.figures import style
from helpers.results.intervals import Interval

Rows = Mapping[str, tuple[Sequence[float], Interval]]  # by name: single values, and what they come to
Baselines = Mapping[str, float]  # by name: what has to be beaten
TICKS = {"%": style.percent, "points": lambda value, _: f"{100 * value:.3g}".replace("-", "−"), "": "{x:.3g}"}


def plot_intervals(
    rows: Rows, title: str, xlabel: str, ax: Axes | None = None, unit: str = "%", baselines: Baselines | None = None
) -> Axes:
    """Rows, the first on top: every value as a dot, their mean as a line and its interval as a bar.

    A row without values shows its interval, any object with value, low and high, alone and writes its value beside it.
    The `unit` is that of an Interval: points get a line at zero and, where they are decided, a bar in another colour.
    A baseline is a dashed line, and the row of its name, if there is one, grey.
    """
    ax, baselines = ax or plt.subplots()[1], baselines or {}
    for place, (name, (values, found)) in enumerate(rows.items()):
        _draw_row(ax, place, values, found, unit, name in baselines)
    for name, value in baselines.items():
        label = None if name in rows else f"{name}: {style.percent(value)}"
        ax.axvline(value, color=style.GREY, linestyle="--", linewidth=1.2, zorder=1, label=label)
    if unit == "points":
        ax.axvline(0, color=style.BLACK, linewidth=1)
    names = [f"{name}, n = {len(values)}" if len(values) else name for name, (values, _) in rows.items()]
    ax.set_yticks(range(len(rows)), names)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.15)
    ax.xaxis.set_major_formatter(TICKS[unit])
    above = bool(ax.get_legend_handles_labels()[1])
    if above:
        ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3, fontsize=10, borderaxespad=0.2)
    ax.set_title(title, pad=26 if above else None)
    return ax


def _draw_row(ax: Axes, place: int, values: Sequence[float], found: Interval, unit: str, grey: bool) -> None:
    """Dots, a bar, and the mean of several values as a line or that of none as a dot."""
    ax.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=5, alpha=0.8, zorder=3)
    decided = unit == "points" and found.verdict != "undecided"
    colour = style.GREY if grey else style.GREEN if decided else style.SKY
    bar = Line2D([found.low, found.high], [place, place], color=colour, lw=7, alpha=0.7, solid_capstyle="butt")
    # an undecided bar leaves the axes' limits alone: the interval of few runs may be much wider than they are
    (ax.add_line if decided or not len(values) else ax.add_artist)(bar)
    if not len(values):
        ax.plot(found.value, place, "o", color=style.GREY if grey else style.BLUE, markersize=7)
        spot = {"textcoords": "offset points", "va": "center", "bbox": style.PAPER}  # it may lie on a line
        ax.annotate(f"{found.value:{'.1%' if unit == '%' else '.3g'}}", (found.high, place), (8, 0), **spot)
    if len(values) > 1:
        ax.plot(found.value, place, "|", color=style.BLACK, markersize=18, markeredgewidth=2)


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], about: str, ax: Axes | None = None) -> Axes:
    """A confusion matrix (K, K), row = truth, column = prediction: every cell has its count.

    The colour is the share of its row, for the errors alone: the diagonal would outshine them.
    """
    ax = ax or plt.subplots()[1]
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    np.fill_diagonal(shares, 0)
    texts = np.where((matrix > 0) | np.eye(len(matrix), dtype=bool), matrix.astype(str), "")
    look = {"cmap": "Blues", "vmin": 0, "square": True, "linewidths": 1, "annot_kws": {"fontsize": 10}}
    bar = {"label": "share of the true class", "format": style.percent, "shrink": 0.75}
    sns.heatmap(shares, annot=texts, fmt="", xticklabels=classes, yticklabels=classes, cbar_kws=bar, ax=ax, **look)
    ax.grid(False)
    ax.tick_params(length=0)
    plt.setp(ax.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    plt.setp(ax.get_yticklabels(), rotation=0)
    ax.set(xlabel="predicted", ylabel="true", title=f"Confusions · {about}")
    return ax
