"""Figures that compare runs: what is drawn, read back from the axes."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.figures import comparison_plots
from helpers.figures.comparison_plots import Course, Entry
from helpers.results import comparisons
from helpers.results.comparisons import Difference

HISTORY = [
    {"test_accuracy": 0.5, "ema_test_accuracy": 0.7, "seconds": 60.0},
    {"test_accuracy": 0.6, "ema_test_accuracy": 0.8, "seconds": 120.0},
]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points(ax, marker):
    return [tuple(map(float, xy)) for line in ax.lines if line.get_marker() == marker for xy in line.get_xydata()]


def row_labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_entries_show_runs_claims_and_what_was_not_run():
    entries = [
        Entry("ours", [0.94, 0.95]),
        Entry("theirs", [0.9], [0.91], 0.92, marked=True),
        Entry("none", claim=0.89),
    ]
    ax = comparison_plots.plot_entries(entries, "Title")
    assert row_labels(ax) == ["ours, n = 2", "theirs (test), n = 1", "none, not run"]
    assert points(ax, "o") == [(0.94, 0), (0.95, 0), (0.9, 1), (0.91, 1)]
    assert points(ax, "D") == [(0.92, 1), (0.89, 2)]
    assert points(ax, "|") == [(pytest.approx(0.945), 0)]
    low, high = ax.get_xlim()
    assert low < 0.89 and 0.95 < high < 1  # the interval of two runs is much wider than the frame
    assert ax.yaxis_inverted()
    told = ["a run, last epoch", "a run, best epoch on test", "published claim"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == told
    fewer = comparison_plots.plot_entries([entries[0], entries[2]], "Title").get_legend().get_texts()
    assert [text.get_text() for text in fewer] == [told[0], told[2]]


def test_entries_without_any_run_or_claim_are_drawn():
    assert row_labels(comparison_plots.plot_entries([Entry("a")], "Title")) == ["a, not run"]


def test_groups_have_their_intervals():
    values = [0.1, 0.2, 0.3]
    ax = comparison_plots.plot_groups({"a": values, "b": [0.2]}, "Title")
    found = comparisons.summarise(values)
    (bar,) = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    assert tuple(bar.get_xdata()) == (found.low, found.high)
    assert row_labels(ax) == ["a, n = 3", "b, n = 1"]


def test_power_falls_with_the_runs_and_meets_the_runs_needed():
    ax = comparison_plots.plot_power({"a": 0.0015}, [0.002], "Title")
    (line,) = [line for line in ax.lines if len(line.get_xdata()) > 2]
    runs, gaps = line.get_data()
    assert (np.diff(gaps) < 0).all()
    assert runs[np.argmax(gaps <= 0.2)] == comparisons.runs_needed(0.002, 0.0015)
    low, high = ax.get_ylim()
    assert low < gaps.min() and gaps.max() < high


@pytest.mark.parametrize(
    "scale, expected",
    [("epoch", [1, 2]), ("seconds", [90, 180]), ("minutes", [1.5, 3]), ("teraflops", [2, 4])],
)
def test_courses_are_judged_weights_over_their_scale(scale, expected):
    course = Course("a", HISTORY, flops=2e12)
    ax = comparison_plots.plot_courses([course, Course("a", HISTORY[:1], 1e12), Course("b", HISTORY)], scale, "Title")
    assert ax.lines[0].get_xdata().tolist() == expected
    assert ax.lines[0].get_ydata().tolist() == [0.7, 0.8]
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.get_xlabel() == comparison_plots.SCALES[scale]


def test_levels_are_lines():
    ax = comparison_plots.plot_courses([Course("a", HISTORY)], "epoch", "Title", levels=[0.75])
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == [0.75]


def test_the_four_parts_of_a_pairing_fill_the_bar():
    first, second = np.repeat([True, True, False, False], 5), np.tile([True] * 3 + [False] * 2, 4)
    found = comparisons.pairing(first, second)
    ax = comparison_plots.plot_pairing(found, "one", "two", "Title")
    widths = [patch.get_width() for patch in ax.patches]
    assert widths == [found.both, found.only_first, found.only_second, found.neither] and sum(widths) == 20
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[1] == f"only one: {found.only_first} ({found.only_first / 20:.1%})"


def test_effects_tell_decided_from_undecided():
    effects = {"a": Difference(-0.02, -0.03, -0.01, 3), "b": Difference(0.01, -0.01, 0.03, 2)}
    effects["c"] = Difference(0.0, math.nan, math.nan, 1)
    ax = comparison_plots.plot_effects(effects, {"a": [-0.02] * 3, "b": [0.0, 0.02], "c": [0.0]}, "Title")
    bars = [line for line in ax.lines if line.get_linewidth() == 7]
    assert [list(bar.get_xdata()) for bar in bars] == [[-3, -1], [-1, 3]]
    assert bars[0].get_color() != bars[1].get_color()
    assert points(ax, "|") == [(-2, 0), (1, 1), (0, 2)]
    assert row_labels(ax) == ["a, n = 3", "b, n = 2", "c, n = 1"]
