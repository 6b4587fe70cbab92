import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers.figures import SUGGESTED, plot_range_tests
from helpers.rates import NAMES, Curve, Sweep, suggest


def curve(scale="exp", steps=100):
    sweep, position = Sweep(scale=scale), np.linspace(0, 1, 100)
    fall = 2.3 - 0.8 * np.sin(np.pi * np.clip(position / 0.6, 0, 1) / 2) ** 2
    losses = fall + 20 * np.clip(position - 0.7, 0, 1) ** 2
    return Curve(sweep.rates()[:steps], losses[:steps], 0.1 + 0.3 * position[:steps], sweep)


def test_each_suggestion_is_marked_at_its_rate_and_named(ax):
    plot_range_tests(curve(), "Range test", ax)
    marks = {line.get_label(): line.get_xdata() for line in ax.lines if line.get_marker() != "None"}
    found = suggest(curve()).rates()
    assert len(marks) == len(found) == len(SUGGESTED) and list(SUGGESTED) == list(NAMES)
    for name, rate in found.items():
        assert marks[f"{SUGGESTED[name][0]}: {rate:.2g}"] == pytest.approx(rate)
    assert ax.get_xscale() == "log" and ax.get_title(loc="left") + ax.get_title() == "Range test"
    assert ax.get_xlabel() == "learning rate" and ax.get_ylabel() == "cross-entropy"
    low, high = ax.get_ylim()
    assert low < 1.5 and 2.3 < high < 3.2  # the explosion leaves the frame


def test_a_linear_sweep_has_a_linear_axis(ax):
    plot_range_tests(curve("linear"), "Range test", ax)
    assert ax.get_xscale() == "linear"


def test_what_cannot_be_read_is_drawn_to_its_end_without_marks(ax):
    plot_range_tests(curve(steps=12), "Range test", ax)
    assert [len(line.get_xdata()) for line in ax.lines] == [12, 12]


def test_marks_differ_in_shape_as_well_as_colour():
    assert all(len(set(looks)) == 4 for looks in zip(*SUGGESTED.values()))


def test_named_tests_have_a_legend_and_seeds_have_not(ax):
    plot_range_tests({"seed 0": curve(), "no momentum": curve()}, "What moves it", ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["seed 0", "no momentum"]
    assert len({line.get_color() for line in ax.lines}) == 2
    other = plot_range_tests([curve(), curve(steps=3)], "Seeds")
    assert other.get_legend() is None and len({line.get_color() for line in other.lines}) == 1
    plt.close(other.figure)
