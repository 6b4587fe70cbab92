"""Lines that are told apart by colour, by dash and by marker."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from helpers.figures import style

# Dotted lines are kept for chance
LOOKS = tuple(zip(style.CYCLE, ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), "-", "--", "-."), "osD^vP*"))


def plot_lines(lines: Mapping[str, Sequence[Sequence[float]]], ax: Axes | None = None) -> Axes:
    """Draw a line of each (x, y), or of each (x, y, low, high) with a band around it; the legend names them."""
    ax = ax or plt.subplots()[1]
    for (name, (x, y, *band)), (colour, dash, marker) in zip(lines.items(), itertools.cycle(LOOKS)):
        ax.plot(x, y, linestyle=dash, marker=marker, markersize=4, color=colour, label=name)
        if band:
            ax.fill_between(x, *band, color=colour, alpha=0.15, linewidth=0)
    ax.legend(fontsize=10)
    return ax
