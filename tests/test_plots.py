"""Accuracy class by class, and the confusion matrix."""

import matplotlib

matplotlib.use("Agg")

import numpy as np

from helpers.figures import plots
from helpers.results import analysis

ABOUT = "Shapes-10, n = 1 run"
CLASSES = ("circle", "ring", "star")
MATRIX = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 10]])


def lines(ax) -> dict[str, list[float]]:
    """Heights of the lines by their name in the legend."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_classes_are_sorted_with_their_intervals(ax):
    shares = analysis.class_accuracy(MATRIX)
    plots.plot_class_accuracy(shares, CLASSES, ABOUT, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["circle", "ring", "star"]
    intervals, dots = ax.lines[0:6:2], ax.lines[1:6:2]
    assert [tuple(line.get_xdata()) for line in intervals] == [(share.low, share.high) for share in shares]
    assert [line.get_xdata()[0] for line in dots] == [0.8, 0.9, 1.0]
    assert texts(ax) == ["80.0%", "90.0%", "100.0%"]
    assert lines(ax)["all classes: 90.0%"] == [0, 1] and ax.lines[6].get_xdata() == [0.9, 0.9]
    assert ABOUT in ax.get_title("left")


def test_the_worst_class_is_at_the_bottom(ax):
    plots.plot_class_accuracy(analysis.class_accuracy(MATRIX[::-1, ::-1]), CLASSES[::-1], ABOUT, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["circle", "ring", "star"]


def test_confusion_colours_errors_and_counts_all(ax):
    plots.plot_confusion(MATRIX, CLASSES, ABOUT, ax)
    cells = ax.collections[0].get_array().reshape(3, 3)
    assert cells.mask.diagonal().all(), "the diagonal is not coloured"
    assert cells[0, 1] == 0.2 and cells[1, 0] == 0.1 and cells[0, 2] == 0
    assert sorted(filter(None, texts(ax))) == sorted(["8", "9", "10", "2", "1"])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("what the net said", "what it was")
    assert ABOUT in ax.get_title("left")


def test_confusion_of_a_class_without_images(ax):
    plots.plot_confusion(np.diag([3, 0, 2]), CLASSES, ABOUT, ax)
    assert sorted(filter(None, texts(ax))) == ["0", "2", "3"]
