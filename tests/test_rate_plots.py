import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.figures.rate_plots import MARKS, plot_by_epoch, plot_grid, plot_range_test, plot_spreads, plot_sweeps
from helpers.rates.rate_curves import Curve, Spread, Suggestions, Sweep, suggest
from helpers.results.rate_grid import Rates


def curve(scale="exp", about="davidnet-onecycle, Shapes-10, seed 0"):
    sweep = Sweep(scale=scale)
    position = np.linspace(0, 1, 100)
    losses = (
        2.3 - 0.8 * np.sin(np.pi * np.clip(position / 0.6, 0, 1) / 2) ** 2 + 20 * np.clip(position - 0.7, 0, 1) ** 2
    )
    return Curve(sweep.rates(), losses, 0.1 + 0.3 * position, sweep, about)


def test_each_suggestion_is_marked_at_its_rate_and_named(ax):
    found = suggest(curve())
    plot_range_test(curve(), found, "Range test", ax)
    marks = {line.get_label(): line.get_xdata() for line in ax.lines if line.get_marker() != "None"}
    assert len(marks) == len(MARKS)
    for name, rate in found.rates().items():
        assert marks[f"{MARKS[name][0]}: {rate:.2g}"] == pytest.approx(rate)
    assert ax.get_xscale() == "log" and ax.get_title(loc="left") + ax.get_title() == "Range test"
    assert ax.get_xlabel() == "learning rate" and ax.get_ylabel() == "cross-entropy"
    low, high = ax.get_ylim()
    assert low < 1.5 and 2.3 < high < 3.2  # the explosion leaves the frame


def test_a_linear_sweep_has_a_linear_axis_and_no_marks_without_suggestions(ax):
    plot_range_test(curve("linear"), Suggestions(), "Range test", ax)
    assert ax.get_xscale() == "linear" and len(ax.lines) == 2


def test_a_curve_cut_short_is_drawn_to_its_end(ax):
    whole = curve()
    losses = np.r_[whole.loss[:40], np.nan]
    plot_range_test(Curve(whole.lr[:41], losses, whole.accuracy[:41], whole.sweep), Suggestions(), "Range test", ax)
    assert all(len(line.get_xdata()) == 40 for line in ax.lines)


def test_marks_differ_in_shape_as_well_as_colour():
    assert len({marker for _, _, marker in MARKS.values()}) == len({colour for _, colour, _ in MARKS.values()}) == 6


def test_named_sweeps_have_a_legend_and_seeds_have_not(ax):
    plot_sweeps({"seed 0": curve(), "no momentum": curve()}, "What moves it", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["seed 0", "no momentum"]
    other = plot_sweeps([curve(), curve()], "Seeds")
    assert other.get_legend() is None and len({line.get_color() for line in other.lines}) == 1
    plt.close(other.figure)


def test_spreads_are_drawn_from_low_to_high_with_the_middle_marked(ax):
    spreads = {"five seeds": {"steepest": Spread(0.02, 0.01, 0.04, 5), "minimum": Spread(0.2, 0.1, 0.4, 5)}}
    plot_spreads({**spreads, "one": {"minimum": Spread(0.3, 0.3, 0.3, 1)}}, "Spread", ax)
    ranges = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]
    assert ranges == [[0.01, 0.04], [0.1, 0.4], [0.3, 0.3]]
    middles = {line.get_label(): list(line.get_xdata()) for line in ax.lines if line.get_marker() != "None"}
    assert middles == {"steepest": [0.02], "minimum": [0.2, 0.3]}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["five seeds", "one"]


def test_by_epoch_shows_accuracies(ax):
    plot_by_epoch({"each from the start": curve(), "one after the other": curve()}, "By epoch", ax)
    assert [list(line.get_ydata()) for line in ax.lines] == [list(curve().accuracy)] * 2
    assert ax.get_xscale() == "log" and "held-out" in ax.get_ylabel()


def test_nothing_found_is_no_error(ax):
    plot_range_test(curve(), Suggestions(problems=("flat",)), "Range test", ax)
    assert len(ax.lines) == 2


def test_a_grid_has_a_line_per_scale_and_marks_what_is_not_on_it():
    usual = {(Rates(lr, lr / 100, scale), 0): 0.7 + lr / 10 for lr in (0.1, 0.2) for scale in (1.0, 1 / 8)}
    found = {
        **usual,
        (Rates(0.2, 0.02, 1.0), 0): 0.75,
        (Rates(0.2, 0.002, 1.0), 1): 0.71,
        (Rates(0.8, 0.008, 1.0), 0): 0,
    }
    ax = plot_grid(found, "DavidNet · CIFAR-10, n = 7 runs")
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) > 1]
    assert [list(line.get_xdata()) for line in lines] == [[0.1, 0.2], [0.1, 0.2]]
    ends, seed = (line for line in ax.get_lines() if len(line.get_xdata()) == 1)
    assert ends.get_markerfacecolor() == "none" and ends.get_ydata()[0] == 0.75
    assert seed.get_markerfacecolor() == lines[0].get_color() and seed.get_ydata()[0] == 0.71
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("×", (0.8, 0.02))]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["logits as they are", "logits × 1/8"] and ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.1", "0.2", "0.8"]
    assert plot_grid({}, "nothing yet").get_legend() is None
