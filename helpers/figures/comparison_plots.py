"""Figures that compare runs. As in `plots`, each function draws on axes and returns them, and saves nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from helpers.figures import style
from helpers.figures.style import percent
from helpers.results import comparisons
from helpers.results.comparisons import Difference, Pairing
from helpers.training.store import epoch_seconds

History = Sequence[Mapping[str, Any]]
# what progress is measured in: its name on the axis
SCALES = {
    "epoch": "epoch",
    "seconds": "seconds, at the median pace",
    "minutes": "minutes, at the median pace",
    "teraflops": "teraflops of training",
}


@dataclass(frozen=True)
class Entry:
    """One recipe among others."""

    name: str  # for the reader
    last: Sequence[float] = ()  # accuracy of each run after its last epoch, in [0, 1]; none where it was not run
    best: Sequence[float] = ()  # of each run's best epoch on the test set; only beside claims that were chosen so
    claim: float | None = None  # what was published, in [0, 1], if anything
    marked: bool = False  # whether it decided on test images


@dataclass(frozen=True)
class Course:
    """How one run went."""

    name: str  # of its recipe; runs of one name share a colour
    history: History = field(repr=False)  # one row per epoch
    flops: float = math.nan  # operations of one epoch's training

    def at(self, scale: str) -> np.ndarray:
        """Where each epoch ends on the scale, a key of SCALES: (epochs,)."""
        epochs = np.arange(1, len(self.history) + 1)
        if scale in ("seconds", "minutes"):
            return epochs * epoch_seconds(self.history) / (60 if scale == "minutes" else 1)
        return epochs * self.flops / 1e12 if scale == "teraflops" else epochs

    @property
    def accuracy(self) -> np.ndarray:
        """Test accuracy of the judged weights, (epochs,)."""
        return np.array([comparisons.judged(row) for row in self.history])


def plot_entries(entries: Sequence[Entry], title: str, ax: Axes | None = None) -> Axes:
    """Recipes in rows: every run as a dot, their mean with its 95 % interval, and what was published as a diamond.

    A recipe that was not run has a claim at most, and says so.
    """
    ax = ax or plt.subplots()[1]
    for row, entry in enumerate(entries):
        _draw_runs(ax, row, entry.last)
        ax.plot(entry.best, [row] * len(entry.best), "o", mfc="none", color=style.ORANGE, markersize=8, zorder=3)
        if entry.claim is not None:
            ax.plot(entry.claim, row, "D", mfc="none", color=style.RED, markersize=8, zorder=4)
    marks = [("o", style.BLUE, style.BLUE, "a run, last epoch"), ("D", "none", style.RED, "published claim")]
    if any(len(entry.best) for entry in entries):
        marks.insert(1, ("o", "none", style.ORANGE, "a run, best epoch on test"))
    for marker, fill, colour, text in marks:
        ax.plot([], [], marker, mfc=fill, color=colour, label=text)
    values = [value for entry in entries for value in (*entry.last, *entry.best, entry.claim) if value is not None]
    _rows(ax, [_named(entry) for entry in entries], values)
    ax.xaxis.set_major_formatter(percent)
    _legend_above(ax, title)
    ax.set_xlabel("test accuracy")
    return ax


def plot_groups(groups: Mapping[str, Sequence[float]], title: str, ax: Axes | None = None) -> Axes:
    """Groups of runs, accuracies in [0, 1], in rows: each run a dot, the mean a line, its 95 % interval a bar."""
    ax = ax or plt.subplots()[1]
    for row, values in enumerate(groups.values()):
        _draw_runs(ax, row, values)
    _rows(ax, [f"{name}, n = {len(values)}" for name, values in groups.items()], chain.from_iterable(groups.values()))
    ax.xaxis.set_major_formatter(percent)
    ax.set(xlabel="test accuracy; bars are 95 % intervals of the means", title=title)
    return ax


def plot_power(deviations: Mapping[str, float], marks: Sequence[float], title: str, ax: Axes | None = None) -> Axes:
    """The smallest true difference that so many runs of each recipe show with 80 % probability.

    Args:
        deviations: standard deviation between runs, as a share, by name of its origin; one line each.
        marks: differences, as shares, drawn as horizontal lines.
    """
    ax = ax or plt.subplots()[1]
    runs = np.arange(3, 101)  # two runs of each show next to nothing
    for (name, deviation), colour in zip(deviations.items(), cycle(style.CYCLE)):
        shown = [100 * comparisons.gap_shown(int(count), deviation) for count in runs]
        ax.plot(runs, shown, color=colour, label=f"{name}: ± {100 * deviation:.2f} points")
    for mark in marks:
        ax.axhline(100 * mark, color=style.GREY, linestyle=":")
        ax.annotate(f"{100 * mark:.1f} points", (3, 100 * mark), (0, 3), textcoords="offset points")
    ax.set(xscale="log", yscale="log", title=title)
    ax.set_xticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    gaps = [comparisons.gap_shown(count, deviation) for deviation in deviations.values() for count in (3, 100)]
    ax.set_ylim(80 * min(gaps), 130 * max(gaps))
    ax.minorticks_off()
    ax.legend()
    ax.set(xlabel="runs of each of the two recipes", ylabel="difference shown, points")
    return ax


def plot_courses(
    courses: Sequence[Course], scale: str, title: str, levels: Sequence[float] = (), ax: Axes | None = None
) -> Axes:
    """Test accuracy of runs as they go on: a colour per recipe, `scale` a key of SCALES, `levels` as dotted lines."""
    ax = ax or plt.subplots()[1]
    names = list(dict.fromkeys(course.name for course in courses))
    for course in courses:
        colour = style.CYCLE[names.index(course.name) % len(style.CYCLE)]
        first = course is next(other for other in courses if other.name == course.name)
        label = course.name if first else None
        ax.plot(course.at(scale), course.accuracy, color=colour, alpha=0.8, linewidth=1.5, label=label)
    for level in levels:
        ax.axhline(level, color=style.GREY, linestyle=":", linewidth=1)
    ax.yaxis.set_major_formatter(percent)
    ax.legend(fontsize=10)
    ax.set(xlabel=SCALES[scale], ylabel="test accuracy", title=title)
    return ax


def plot_pairing(found: Pairing, first: str, second: str, title: str, ax: Axes | None = None) -> Axes:
    """Images as one bar: right by both nets, by one alone, and by neither; the two in the middle decide."""
    ax = ax or plt.subplots()[1]
    parts = {
        "both right": (found.both, style.SKY),
        f"only {first}": (found.only_first, style.BLUE),
        f"only {second}": (found.only_second, style.ORANGE),
        "neither": (found.neither, style.GREY),
    }
    left = 0
    for name, (count, colour) in parts.items():
        ax.barh(0, count, left=left, color=colour, height=0.6, label=f"{name}: {count:,} ({count / found.count:.1%})")
        left += count
    ax.set(xlim=(0, found.count), ylim=(-0.4, 0.4), yticks=[], xlabel="test images")
    ax.grid(False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=2, fontsize=10, borderaxespad=0.2)
    ax.set_title(title, pad=46)
    return ax


def plot_effects(
    effects: Mapping[str, Difference], runs: Mapping[str, Sequence[float]], title: str, ax: Axes | None = None
) -> Axes:
    """What each change does to the accuracy: the difference of every pair of runs, their mean, its interval.

    `effects` come by the name of the change; `runs` holds the differences of the pairs, as shares, by the same names.
    """
    ax = ax or plt.subplots()[1]
    for row, (name, effect) in enumerate(effects.items()):
        if not math.isnan(effect.low):
            ends = [100 * effect.low, 100 * effect.high]
            colour = style.SKY if effect.verdict == "undecided" else style.GREEN
            ax.plot(ends, [row, row], color=colour, linewidth=7, alpha=0.6, solid_capstyle="butt")
        ax.plot([100 * value for value in runs[name]], [row] * len(runs[name]), "o", color=style.BLUE, markersize=4)
        ax.plot(100 * effect.value, row, "|", color=style.BLACK, markersize=18, markeredgewidth=2)
    ax.axvline(0, color=style.BLACK, linewidth=1)
    _rows(
        ax,
        [f"{name}, n = {len(runs[name])}" for name in effects],
        [0, *(100 * value for values in runs.values() for value in values)],
    )
    ax.set(xlabel="percentage points of test accuracy, compared seed by seed", title=title)
    return ax


def _draw_runs(ax: Axes, row: int, values: Sequence[float]) -> None:
    """Dots of runs; where there are several, their mean and its interval behind them."""
    if not values:
        return
    found = comparisons.summarise(values)
    if found.count > 1:
        ax.plot([found.low, found.high], [row, row], color=style.SKY, linewidth=7, alpha=0.7, solid_capstyle="butt")
        ax.plot(found.mean, row, "|", color=style.BLACK, markersize=18, markeredgewidth=2)
    ax.plot(values, [row] * found.count, "o", color=style.BLUE, markersize=5, alpha=0.8, zorder=3)


def _rows(ax: Axes, names: Sequence[str], values: Iterable[float]) -> None:
    """Named rows, the first on top, in a frame that holds all values; the interval of a few runs may leave it."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    shown = list(values)
    if shown:
        margin = 0.25 * (max(shown) - min(shown)) or 0.01
        ax.set_xlim(min(shown) - margin, max(shown) + margin)


def _named(entry: Entry) -> str:
    runs = f"n = {len(entry.last)}" if entry.last else "not run"
    return f"{entry.name}{' (test)' if entry.marked else ''}, {runs}"


def _legend_above(ax: Axes, title: str) -> None:
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3, fontsize=10, borderaxespad=0.2)
    ax.set_title(title, pad=26)
