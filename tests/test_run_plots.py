"""Figures of a held and cut rate and of lucky epochs: the data of their lines, marks and bars."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.figures import run_plots, style
from helpers.training import schedules

ABOUT = "Shapes-10, n = 1 run"
STATES = schedules.plateau_states([1.0, 0.8, 0.9, 0.85, 0.5, 0.6], 0.1, 0.5, 1)  # cut after epoch 4


def by_name(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def texts(ax):
    return {text.get_text(): text.xy for text in ax.texts}


def test_the_plateau_s_losses_best_counts_and_cuts(ax):
    assert run_plots.plot_plateau(STATES, "validation", ABOUT, ax) is ax
    lines = by_name(ax)
    assert list(lines["validation loss"].get_ydata()) == [1.0, 0.8, 0.9, 0.85, 0.5, 0.6]
    assert list(lines["best so far"].get_ydata()) == [1.0, 0.8, 0.8, 0.8, 0.5, 0.5]
    assert lines["best so far"].get_drawstyle() == "steps-post"
    counted = lines["not better, counted"]
    assert list(counted.get_xdata()) == [3, 4, 6] and list(counted.get_ydata()) == [0.9, 0.85, 0.6]
    assert list(lines["the rate is cut"].get_xdata()) == [4, 4]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("1", (3, 0.9)), ("2", (4, 0.85)), ("1", (6, 0.6))]
    assert ABOUT in ax.get_title("left") and (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "cross-entropy")
    assert lines["validation loss"].get_color() == style.VALIDATION


def test_a_plateau_that_was_never_bad_has_neither_counts_nor_cuts(ax):
    run_plots.plot_plateau(schedules.plateau_states([3.0, 2.0], 0.1, 0.5, 0), "test", ABOUT, ax)
    assert set(by_name(ax)) == {"best so far", "test loss"} and not ax.texts
    assert by_name(ax)["test loss"].get_color() == style.TEST


def test_each_cut_has_its_line_and_one_name(ax):
    run_plots.plot_plateau(schedules.plateau_states([1.0] * 4, 0.1, 0.5, 0), "test", ABOUT, ax)
    upright = [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == ":"]
    assert upright == [[2, 2], [3, 3]]  # after the last epoch there is nothing left to cut
    assert [text.get_text() for text in ax.get_legend().get_texts()].count("the rate is cut") == 1


@pytest.mark.parametrize("first, framed", [(50.0, False), (1.2, True)])
def test_only_a_wild_first_loss_leaves_the_frame(ax, first, framed):
    run_plots.plot_plateau(schedules.plateau_states([first, 1.0, 0.9], 0.1, 0.5, 0), "test", ABOUT, ax)
    assert (ax.get_ylim()[1] > first) == framed and ax.get_ylim()[1] > 1.0
    assert 0.85 < ax.get_ylim()[0] < 0.9


@pytest.mark.parametrize("losses, scale", [([1.5, 1.3, 0.3, 0.21], "log"), ([1.5, 1.3, 0.9, 0.6], "linear")])
def test_a_long_fall_stands_on_a_logarithmic_axis(ax, losses, scale):
    run_plots.plot_plateau(schedules.plateau_states(losses, 0.1, 0.5, 0), "validation", ABOUT, ax)
    assert ax.get_yscale() == scale
    assert ax.get_ylim()[0] < min(losses) and ax.get_ylim()[1] > max(losses)


@pytest.mark.filterwarnings("error")
def test_two_epochs_have_a_frame(ax):
    run_plots.plot_plateau(schedules.plateau_states([50.0, 1.0], 0.1, 0.5, 0), "test", ABOUT, ax)
    low, high = ax.get_ylim()
    assert 0.9 < low < 1.0 < high < 1.1


def test_a_count_is_not_crossed_by_the_line_of_a_cut(ax):
    run_plots.plot_plateau(STATES, "validation", ABOUT, ax)
    cut = next(line for line in ax.lines if line.get_linestyle() == ":")
    for text in ax.texts:
        assert text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1) and text.zorder > cut.zorder


def test_a_held_rate_has_its_levels_written_where_they_begin(ax):
    run_plots.plot_held_rate(np.array([0.1, 0.1, 0.1, 0.1, 0.02, 0.02]), 2, ABOUT, ax)
    data = ax.patches[0].get_data()
    assert data.values.tolist() == [0.1] * 4 + [0.02] * 2 and data.edges.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert texts(ax) == {"0.1": (0, 0.1), "0.02": (2, 0.02)}
    assert ax.get_yscale() == "log" and ax.yaxis.get_major_formatter()(0.01) == "0.01"
    assert ABOUT in ax.get_title("left")


def test_many_levels_name_their_ends(ax):
    run_plots.plot_held_rate(0.9 ** np.arange(12), 1, ABOUT, ax)
    assert list(texts(ax)) == ["1", "0.314"]


@pytest.mark.parametrize("draw", ["plateau", "rate"])
def test_without_axes_a_figure_is_made(draw):
    made = {
        "plateau": lambda: run_plots.plot_plateau(STATES, "test", ABOUT),
        "rate": lambda: run_plots.plot_held_rate(np.array([0.1]), 1, ABOUT),
    }[draw]()
    assert made.figure.axes == [made]
    plt.close(made.figure)
