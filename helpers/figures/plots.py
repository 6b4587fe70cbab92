"""Figures of a run and of its predictions. Each function draws on axes and returns them; none saves anything.

`about` names the data set and how many runs are shown, such as "CIFAR-10, n = 1 run"; it becomes part of the title.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from helpers.figures import style
from helpers.figures.style import percent
from helpers.results.analysis import Share


def plot_class_accuracy(shares: Sequence[Share], classes: Sequence[str], about: str, ax: Axes | None = None) -> Axes:
    """Accuracy of every class as a dot with its interval, the best class on top, over the line of all images."""
    ax = ax or plt.subplots()[1]
    order = sorted(range(len(shares)), key=lambda k: shares[k].value)
    for row, k in enumerate(order):
        share = shares[k]
        ax.plot([share.low, share.high], [row, row], color=style.SKY, linewidth=6, solid_capstyle="round")
        ax.plot(share.value, row, "o", color=style.BLUE, markersize=8)
        text = ax.annotate(f"{share.value:.1%}", (share.high, row), (8, 0), textcoords="offset points", va="center")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # it may lie on the line of all classes
    every = sum(share.hits for share in shares) / max(1, sum(share.count for share in shares))
    ax.axvline(every, color=style.GREY, linestyle="--", linewidth=1.2, label=f"all classes: {every:.1%}")
    ax.set_yticks(range(len(order)), [classes[k] for k in order])
    ax.margins(x=0.09)
    ax.xaxis.set_major_formatter(percent)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower right" if every < 0.5 else "upper left")
    ax.set(xlabel="accuracy, with its 95 % Wilson interval", title=f"Class by class · {about}")
    return ax


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], about: str, ax: Axes | None = None) -> Axes:
    """A confusion matrix (K, K), row = truth, column = prediction: every cell has its count.

    The colour is the share of its row, for the errors alone.
    """
    ax = ax or plt.subplots()[1]
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    right = np.eye(len(matrix), dtype=bool)
    texts = np.where((matrix > 0) | right, matrix.astype(str), "")
    sns.heatmap(
        np.where(right, np.nan, shares),  # the diagonal would outshine every error
        annot=texts,
        fmt="",
        mask=right,
        cmap="Blues",
        vmin=0,
        square=True,
        linewidths=1,
        xticklabels=classes,
        yticklabels=classes,
        cbar_kws={"label": "share of the true class", "format": percent, "shrink": 0.75},
        annot_kws={"fontsize": 10},
        ax=ax,
    )
    for k, count in enumerate(np.diag(matrix)):
        ax.text(k + 0.5, k + 0.5, f"{count}", ha="center", va="center", fontsize=10, color=style.GREY)
    ax.grid(False)
    ax.tick_params(length=0)
    plt.setp(ax.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    plt.setp(ax.get_yticklabels(), rotation=0)
    ax.set(xlabel="what the net said", ylabel="what it was", title=f"Confusions · {about}")
    return ax


def column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A column of the history as numbers, (epochs,) float64; nan where nothing was measured."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in history], dtype=np.float64)
