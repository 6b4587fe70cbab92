"""Rows of dots with an interval, and a table of confusions. Each function draws on axes and returns them."""

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from helpers.figures import style
from helpers.results.intervals import Interval

Row = tuple[Sequence[float], Interval | None]  # single values, and what they come to
MARKS = (("D", style.RED), ("o", style.ORANGE), ("s", style.PURPLE))  # hollow marks, in the order they are given


def plot_intervals(
    rows: Mapping[str, Row],
    title: str,
    xlabel: str,
    ax: Axes | None = None,
    unit: str = "%",
    baselines: Mapping[str, float] | None = None,
    marks: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Axes:
    """Rows, the first on top: every value as a dot, their mean as a line and its interval as a bar.

    A row without values shows its interval alone and writes its value beside it; one with neither was not run.

    Args:
        rows: values by name, with their interval: `results.mean(values)`, or any object with value, low and high.
        unit: as `Interval.unit`. Points get a line at zero and, where they are decided, a bar in another colour.
        baselines: what has to be beaten, a dashed line each; the row of that name, if there is one, is grey.
        marks: by their text in the legend, further values of rows by the name of the row, hollow.
    """
    ax, baselines, marks = ax or plt.subplots()[1], baselines or {}, marks or {}
    for place, (name, (values, found)) in enumerate(rows.items()):
        ax.plot(values, [place] * len(values), "o", color=style.BLUE, markersize=5, alpha=0.8, zorder=3)
        if found is not None:
            decided = unit == "points" and found.verdict != "undecided"
            colour = style.GREY if name in baselines else style.GREEN if decided else style.SKY
            _draw_interval(ax, place, found, len(values), colour, unit)
    for name, value in baselines.items():
        label = None if name in rows else f"{name}: {tick(value, unit=unit)}"
        ax.axvline(value, color=style.GREY, linestyle="--", linewidth=1.2, zorder=1, label=label)
    for (text, by_row), (marker, colour) in zip(marks.items(), MARKS):
        points = [(value, place) for place, name in enumerate(rows) for value in by_row.get(name, ())]
        if points:
            ax.plot(*zip(*points), marker, mfc="none", color=colour, markersize=8, zorder=4, label=text)
    _frame(ax, rows, unit)
    above = bool(ax.get_legend_handles_labels()[1])
    if above:
        ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3, fontsize=10, borderaxespad=0.2)
    ax.set_title(title, pad=26 if above else None)
    ax.set_xlabel(xlabel)
    return ax


def tick(value: float, place: int | None = None, unit: str = "%") -> str:
    """A number of a unit in three digits: 0.925 is "92.5%", or "92.5" points."""
    return f"{100 * value if unit else value:.3g}{'%' if unit == '%' else ''}".replace("-", "−")


def _draw_interval(ax: Axes, place: int, found: Interval, runs: int, colour: str, unit: str) -> None:
    """A bar, and the mean of several runs as a line or a value of none as a dot."""
    bar = Line2D([found.low, found.high], [place, place], color=colour, lw=7, alpha=0.7, solid_capstyle="butt")
    if runs:
        ax.add_artist(bar)  # it leaves the axes' limits alone: the interval of few runs may be much wider than they are
    else:
        ax.add_line(bar)
        ax.plot(found.value, place, "o", color=style.GREY if colour == style.GREY else style.BLUE, markersize=7)
        spot = {"textcoords": "offset points", "va": "center", "bbox": style.PAPER}  # it may lie on a line
        ax.annotate(f"{found.value:{'.1%' if unit == '%' else '.3g'}}", (found.high, place), (8, 0), **spot)
    if runs > 1:
        ax.plot(found.value, place, "|", color=style.BLACK, markersize=18, markeredgewidth=2)


def _frame(ax: Axes, rows: Mapping[str, Row], unit: str) -> None:
    """The names of the rows with their numbers of runs, the unit of the values, and room for all that is shown."""
    if unit == "points":
        ax.axvline(0, color=style.BLACK, linewidth=1)
    ax.set_yticks(range(len(rows)), [_named(name, *row) for name, row in rows.items()])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.15)
    ax.xaxis.set_major_formatter(partial(tick, unit=unit))


def _named(name: str, values: Sequence[float], found: Interval | None) -> str:
    return f"{name}, n = {len(values)}" if len(values) else name if found else f"{name}, not run"


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
    ax.set(xlabel="what the net said", ylabel="what it was", title=f"Confusions · {about}")
    return ax
