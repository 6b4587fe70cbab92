"""Figures of a run whose rate is held and cut: what the plateau saw and the rate it chose.

As in `plots`, each function draws on axes and returns them, and `about` becomes part of the title.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from helpers.figures import style
from helpers.training.schedules import PlateauState

MOST_LABELS = 8  # more rates than these are not all written out


def plot_plateau(states: Sequence[PlateauState], split: str, about: str, ax: Axes | None = None) -> Axes:
    """The watched loss after every epoch, the best so far, the bad epochs with their count, and the cuts.

    `states` are those of `schedules.plateau_states`, one for each epoch; `split`, "validation" or "test", is whose loss
    is watched.

    A cut after the last epoch is left out, as no epoch runs at the lower rate. A first loss that lies far above the
    others may leave the frame. What spans more than a factor of three stands on a logarithmic axis: late in a long run,
    what is a little better and what is not must not look alike.
    """
    ax = ax or plt.subplots()[1]
    epochs, losses = np.arange(1, len(states) + 1), np.array([state.loss for state in states])
    bad, cuts = (np.array([bool(getattr(state, name)) for state in states]) for name in ("bad", "cut"))
    for number, epoch in enumerate(epochs[:-1][cuts[:-1]]):
        ax.axvline(epoch, color=style.PURPLE, linestyle=":", label=None if number else "the rate is cut")
    best = [state.best for state in states]
    ax.step(epochs, best, where="post", color=style.GREY, linewidth=1.4, label="best so far")
    colour = style.VALIDATION if split == "validation" else style.TEST
    ax.plot(epochs, losses, color=colour, marker="o", markersize=4, label=f"{split} loss")
    if bad.any():
        ax.plot(epochs[bad], losses[bad], "o", color=style.RED, markersize=6, label="not better, counted")
    for epoch, state in zip(epochs, states):
        if state.bad:
            place = {"textcoords": "offset points", "ha": "center", "fontsize": 9, "color": style.RED}
            ax.annotate(str(state.bad), (epoch, state.loss), (0, 6), bbox=style.PAPER, **place)  # over a cut's line
    ax.margins(y=0.12)  # a count stands above its mark
    wild = losses[0] > 1.5 * losses[1:].max(initial=0) > 0  # a first epoch at a high rate
    low, high = losses.min(), losses[int(wild) :].max()
    if high > 3 * low > 0:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylim(low * (low / high) ** 0.12, high * (high / low) ** 0.12)
    elif wild:
        room = 0.12 * max(high - low, 0.1 * high)
        ax.set_ylim(low - room, high + room)
    _legend_above(ax, f"What the plateau saw · {about}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="cross-entropy")
    return ax


def plot_held_rate(rates: np.ndarray, steps_per_epoch: int, about: str, ax: Axes | None = None) -> Axes:
    """A rate that is held and then multiplied, on a logarithmic axis; every level is written out if they are few.

    `rates` are those of the steps, (steps,); the first step lies at epoch 0, as in `plots.plot_rate`.
    """
    ax = ax or plt.subplots()[1]
    ax.stairs(rates, np.arange(len(rates) + 1) / steps_per_epoch, baseline=None, color=style.BLACK, linewidth=1.8)
    starts = np.flatnonzero(np.diff(rates, prepend=np.nan))
    for start in starts if len(starts) <= MOST_LABELS else starts[[0, -1]]:
        place = {"textcoords": "offset points", "fontsize": 10}
        ax.annotate(f"{rates[start]:.3g}", (start / steps_per_epoch, rates[start]), (3, 4), **place)
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    ax.set_ylim(rates.min() / 3, rates.max() * 4)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(title=f"Learning rate · {about}", xlabel="epoch", ylabel="learning rate")
    return ax


def _legend_above(ax: Axes, title: str) -> None:
    """Legend in one row between title and axes, where no line can run through it."""
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=4, fontsize=10, borderaxespad=0.2)
    ax.set_title(title, pad=26)
