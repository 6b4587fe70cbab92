"""Rows of dots with intervals, and confusions as a table: what is drawn, read back from the axes."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.figures import rows, style
from helpers.results import intervals
from helpers.results.intervals import Interval

ABOUT = "Shapes-10, n = 1 run"
CLASSES = ("circle", "ring", "star")
MATRIX = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 10]])


def points(ax, marker):
    """Where lines with a marker have their points."""
    return [tuple(map(float, xy)) for line in ax.lines if line.get_marker() == marker for xy in line.get_xydata()]


def bars(ax):
    """Both ends of every interval, and its colour."""
    return [(*line.get_xdata(), line.get_color()) for line in ax.lines if line.get_linewidth() == 7]


def texts(found):
    return [text.get_text() for text in found]


def row(*values, unit="%"):
    return values, intervals.mean(values, unit)


def test_rows_show_values_and_their_means(ax):
    drawn = {"ours": row(0.94, 0.95), "theirs": row(0.9)}
    assert rows.plot_intervals(drawn, "Title", "accuracy", ax) is ax
    assert texts(ax.get_yticklabels()) == ["ours, n = 2", "theirs, n = 1"] and ax.yaxis_inverted()
    assert points(ax, "o") == [(0.94, 0), (0.95, 0), (0.9, 1)]
    assert points(ax, "|") == [(pytest.approx(0.945), 0)]
    low, high = ax.get_xlim()
    assert low < 0.9 and 0.95 < high < 1  # the interval of two runs is much wider than the frame
    assert ax.get_xlabel() == "accuracy" and ax.get_title("left") == "Title" and ax.get_legend() is None
    assert ax.xaxis.get_major_formatter()(0.925) == "92.5%"


def test_points_tell_decided_from_undecided_and_have_a_line_at_zero(ax):
    drawn = {
        "a": ([-0.02] * 3, Interval(-0.02, -0.03, -0.01, 3)),
        "b": ([0.0, 0.02], Interval(0.01, -0.01, 0.03, 2)),
        "c": ([0.01], Interval(0.01, math.nan, math.nan, 1)),
    }
    rows.plot_intervals(drawn, "Title", "points", ax, "points")
    first, second, _ = bars(ax)
    assert first == (-0.03, -0.01, style.GREEN) and second == (-0.01, 0.03, style.SKY)
    assert points(ax, "|") == [(-0.02, 0), (0.01, 1)]
    assert [0, 0] in [list(line.get_xdata()) for line in ax.lines] and ax.get_legend() is None
    assert ax.xaxis.get_major_formatter()(-0.002, 0) == "−0.2"


def test_rows_without_values_write_theirs_and_stay_in_the_frame(ax):
    shares = {"circle": intervals.share(8, 10), "prior": intervals.share(5, 10)}
    baselines = {"prior": 0.5, "all classes": 0.9}
    rows.plot_intervals({name: ((), s) for name, s in shares.items()}, "Title", "hits", ax, baselines=baselines)
    assert texts(ax.texts) == ["80.0%", "50.0%"] and texts(ax.get_yticklabels()) == ["circle", "prior"]
    assert points(ax, "o") == [(0.8, 0), (0.5, 1)]
    assert [colour for *_, colour in bars(ax)] == [style.SKY, style.GREY]
    dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert dashed == [0.5, 0.9] and texts(ax.get_legend().get_texts()) == ["all classes: 90%"]
    assert ax.get_xlim()[0] < shares["prior"].low and ax.get_xlim()[1] > shares["circle"].high


def test_confusion_colours_errors_and_counts_all(ax):
    rows.plot_confusion(MATRIX, CLASSES, ABOUT, ax)
    cells = ax.collections[0].get_array().reshape(3, 3)
    assert not cells.diagonal().any(), "the diagonal is not coloured"
    assert cells[0, 1] == 0.2 and cells[1, 0] == 0.1 and cells[0, 2] == 0
    assert sorted(filter(None, texts(ax.texts))) == sorted(["8", "9", "10", "2", "1"])
    assert texts(ax.get_yticklabels()) == list(CLASSES)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert ABOUT in ax.get_title("left")


def test_confusion_of_a_class_without_images(ax):
    rows.plot_confusion(np.diag([3, 0, 2]), CLASSES, ABOUT, ax)
    assert sorted(filter(None, texts(ax.texts))) == ["0", "2", "3"]


@pytest.mark.parametrize(
    "plot",
    [
        lambda: rows.plot_intervals({"a": row(0.9)}, "Title", "accuracy"),
        lambda: rows.plot_confusion(MATRIX, CLASSES, ABOUT),
    ],
)
def test_without_axes_a_figure_is_made_and_stays_open(plot):
    before = plt.get_fignums()
    ax = plot()
    assert ax.figure.number not in before
    plt.close(ax.figure)
