"""What curves and nets show: the data of their lines, bars and maps, their labels and titles; how figures are shown."""

import base64
import io
from unittest import mock

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from helpers import models
from helpers.figures import curves, nets, style
from helpers.training.schedules import plateau_states

ABOUT = "Shapes-10, n = 1 run"
HISTORY = [
    {"epoch": 1, "train_loss": 2.0, "test_loss": 1.8, "ema_test_loss": 2.2}
    | {"train_accuracy": 0.25, "test_accuracy": 0.3, "ema_test_accuracy": 0.2},
    {"epoch": 2, "train_loss": 1.5, "test_loss": 1.4, "ema_test_loss": 1.2}
    | {"train_accuracy": 0.5, "test_accuracy": 0.45, "ema_test_accuracy": 0.6},
]
RAW_ONLY = [{**row, "ema_test_loss": None, "ema_test_accuracy": None, "val_loss": None} for row in HISTORY]
STATES = plateau_states([1.0, 0.8, 0.9, 0.85, 0.5, 0.6], 0.1, 0.5, 1)  # cut after epoch 4


def by_name(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def heights(ax) -> dict[str, list[float]]:
    return {name: list(line.get_ydata()) for name, line in by_name(ax).items()}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- curves


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_curves_show_every_measured_split(ax, quantity):
    assert curves.plot_curves(HISTORY, quantity, ABOUT, ax) is ax
    expected = {curves.SPLITS[split]: split for split in ("train", "test", "ema_test")}
    assert heights(ax) == {
        name: [row[f"{split}_{quantity}"] for row in HISTORY] for (name, _), split in expected.items()
    }
    assert [line.get_color() for line in ax.lines] == [colour for _, colour in expected]
    assert list(ax.lines[0].get_xdata()) == [1, 2]
    assert ax.get_title("left") == f"{quantity.capitalize()} · {ABOUT}"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", {"loss": "cross-entropy"}.get(quantity, quantity))


def test_curves_leave_out_what_was_not_measured(ax):
    curves.plot_curves(RAW_ONLY, "accuracy", ABOUT, ax)
    assert list(heights(ax)) == legend(ax) == [curves.SPLITS["train"][0], curves.SPLITS["test"][0]]
    assert ax.yaxis.get_major_formatter()(0.35) == "35%"


@pytest.mark.parametrize("share, text", [(0.7, "70%"), (0.925, "92.5%"), (1, "100%"), (0, "0%")])
def test_ticks_in_percent(share, text):
    assert style.percent(share) == text


def test_gap_is_in_percentage_points(ax):
    curves.plot_curves(HISTORY, "gap", ABOUT, ax)
    zero, raw, averaged = (line.get_ydata() for line in ax.lines)
    assert list(raw) == pytest.approx([-5, 5]) and list(averaged) == pytest.approx([5, -10])
    assert [line.get_color() for line in ax.lines[1:]] == [style.TEST, style.AVERAGED]
    assert zero == [0, 0], "a line at zero"
    assert ax.get_ylabel() == "percentage points" and ABOUT in ax.get_title("left")


def test_gap_without_an_average(ax):
    curves.plot_curves(RAW_ONLY, "gap", ABOUT, ax)
    assert legend(ax) == ["training − test images, raw weights"]


def test_rate_over_epochs_with_its_peak(ax):
    curves.plot_rate(np.array([0.1, 0.4, 0.25]), 2, ABOUT, ax)
    assert heights(ax) == {"recorded": [0.1, 0.4, 0.25]} and ax.get_legend() is None
    assert ax.lines[0].get_xdata().tolist() == [0, 0.5, 1]
    assert ax.get_ylim()[0] == 0 and ABOUT in ax.get_title("left")
    assert texts(ax) == ["peak 0.4 at epoch 0.5"] and ax.texts[0].xy == (0.5, 0.4)


# ---- a plateau


def test_the_plateau_s_losses_best_counts_and_cuts(ax):
    assert curves.plot_plateau(STATES, "validation", ABOUT, ax) is ax
    lines = by_name(ax)
    assert list(lines["validation loss"].get_ydata()) == [1.0, 0.8, 0.9, 0.85, 0.5, 0.6]
    assert list(lines["best so far"].get_ydata()) == [1.0, 0.8, 0.8, 0.8, 0.5, 0.5]
    assert lines["best so far"].get_drawstyle() == "steps-post"
    counted = lines["not better, counted"]
    assert list(counted.get_xdata()) == [3, 4, 6] and list(counted.get_ydata()) == [0.9, 0.85, 0.6]
    assert list(lines["the rate is cut"].get_xdata()) == [4, 4]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("1", (3, 0.9)), ("2", (4, 0.85)), ("1", (6, 0.6))]
    for text in ax.texts:  # the line of a cut does not cross a count
        assert text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1) and text.zorder > lines["the rate is cut"].zorder
    assert ABOUT in ax.get_title("left") and (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "cross-entropy")
    assert lines["validation loss"].get_color() == style.VALIDATION


def test_a_plateau_that_was_never_bad_has_neither_counts_nor_cuts(ax):
    curves.plot_plateau(plateau_states([3.0, 2.0], 0.1, 0.5, 0), "test", ABOUT, ax)
    assert set(by_name(ax)) == {"best so far", "test loss"} and not ax.texts
    assert by_name(ax)["test loss"].get_color() == style.TEST


def test_each_cut_has_its_line_and_one_name(ax):
    curves.plot_plateau(plateau_states([1.0] * 4, 0.1, 0.5, 0), "test", ABOUT, ax)
    upright = [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == ":"]
    assert upright == [[2, 2], [3, 3]]  # after the last epoch there is nothing left to cut
    assert legend(ax).count("the rate is cut") == 1


@pytest.mark.parametrize("losses, scale", [([1.5, 1.3, 0.3, 0.21], "log"), ([1.5, 1.3, 0.9, 0.6], "linear")])
def test_a_long_fall_stands_on_a_logarithmic_axis(ax, losses, scale):
    curves.plot_plateau(plateau_states(losses, 0.1, 0.5, 0), "validation", ABOUT, ax)
    assert ax.get_yscale() == scale
    assert ax.get_ylim()[0] < min(losses) and ax.get_ylim()[1] > max(losses)
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    shown = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert len(shown) >= 3 and all(float(text) for text in shown)


@pytest.mark.parametrize(
    "plot",
    [
        lambda: curves.plot_curves(HISTORY, "loss", ABOUT),
        lambda: curves.plot_rate(np.array([0.1]), 1, ABOUT),
        lambda: curves.plot_plateau(STATES, "test", ABOUT),
    ],
)
def test_without_axes_a_figure_is_made_and_stays_open(plot):
    before = plt.get_fignums()
    ax = plot()
    assert ax.figure.number not in before and ax.figure.axes == [ax]
    plt.close(ax.figure)


# ---- showing


def shown(figure, alt="a figure") -> tuple[Image.Image, dict]:
    """What `style.show` hands to the notebook."""
    with mock.patch.object(style, "display") as display:
        style.show(figure, alt)
    display.assert_called_once()
    data, metadata = display.call_args.args[0], display.call_args.kwargs["metadata"]
    return Image.open(io.BytesIO(base64.b64decode(data["image/png"]))), metadata


def test_a_figure_is_shown_once_with_its_text_and_looks_like_itself(ax):
    figure = curves.plot_curves(HISTORY, "gap", ABOUT, ax).figure
    figure.savefig(plain := io.BytesIO(), bbox_inches="tight")
    image, metadata = shown(figure, "a gap")
    assert metadata == {"image/png": {"alt": "a gap"}}
    assert not plt.fignum_exists(figure.number), "open figures would be shown again"
    assert image.format == "PNG" and image.mode == "P"
    difference = np.asarray(image.convert("RGB"), float) - np.asarray(Image.open(plain).convert("RGB"))
    assert np.sqrt((difference**2).mean()) < 1.5


def test_a_slider_redraws_the_figure_that_was_shown_first(ax):
    with mock.patch.object(style, "display") as display:
        style.show(ax.figure, "a cycle", display_id="cycle")
        style.show(ax.figure, "another", display_id="cycle", update=True)
    asked = [(call.kwargs["display_id"], call.kwargs["update"]) for call in display.call_args_list]
    assert asked == [("cycle", False), ("cycle", True)]


def test_a_coloured_title_keeps_its_colour_on_a_page_of_photographs(ax):
    photograph = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    ax.figure.set_size_inches(3, 2)
    ax.imshow(photograph, interpolation="bicubic")
    ax.set_title("mistake", color=style.RED)
    pixels = np.asarray(shown(ax.figure)[0].convert("RGB"), float)
    wanted = [int(style.RED[k : k + 2], 16) for k in (1, 3, 5)]
    assert abs(pixels[:30] - wanted).max(axis=2).min() < 8


# ---- nets


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    net = models.davidnet(width=4)
    return net, nets.measure_blocks(net, torch.randn(1, 3, 32, 32))


def shape(block):
    return "×".join(map(str, block.output.shape))


def test_blocks_of_davidnet(measured):
    _, blocks = measured
    assert [(block.name, shape(block)) for block in blocks] == [
        ("prep", "4×32×32"),
        ("layer1.0", "8×16×16"),
        ("layer1.1", "8×16×16"),
        ("layer2", "16×8×8"),
        ("layer3.0", "32×4×4"),
        ("layer3.1", "32×4×4"),
        ("pool", "32"),
        ("head", "10"),
    ]
    assert [block.name for block in blocks if block.adds_input] == ["layer1.1", "layer3.1"]
    assert blocks[1].operations == ["Conv 3×3", "MaxPool 2", "BatchNorm", "ReLU"]


@pytest.mark.parametrize("net", [models.davidnet(width=16), models.resnet18(width=16)], ids=["davidnet", "resnet18"])
def test_the_costs_of_the_blocks_are_those_of_the_net(net):
    image = torch.zeros(1, 3, 32, 32)
    blocks = nets.measure_blocks(net, image)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    assert 2 * sum(block.multiply_adds for block in blocks) == counter.get_total_flops()
    assert sum(block.parameters for block in blocks) == sum(p.numel() for p in net.parameters())


def test_five_equal_blocks_of_the_full_net():
    blocks = nets.measure_blocks(models.davidnet(), torch.zeros(1, 3, 32, 32))
    assert [block.multiply_adds for block in blocks[1:6]] == [75_497_472] * 5
    assert blocks[5].parameters == 2 * (9 * 512 * 512 + 2 * 512)
    assert blocks[-1].multiply_adds == 512 * 10


def test_outputs_are_those_of_the_net(measured):
    torch.manual_seed(1)
    net, image = measured[0], torch.randn(1, 3, 32, 32)
    block = nets.measure_blocks(net, image)[-1]
    with torch.no_grad():
        np.testing.assert_array_equal(block.output, net.eval()(image)[0].numpy())


def test_measuring_gives_back_mode_and_statistics(measured):
    net, before = measured[0].train(), {k: v.clone() for k, v in measured[0].state_dict().items()}
    with pytest.raises(RuntimeError):
        nets.measure_blocks(net, torch.zeros(1, 1, 32, 32))
    nets.measure_blocks(net, torch.randn(1, 3, 32, 32))
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_drawing_names_every_block_and_its_shape(measured, ax):
    blocks, image = measured[1], np.zeros((32, 32, 3), np.uint8)
    nets.plot_net(blocks, image, ax)
    drawn = texts(ax)
    for block in blocks:
        assert drawn.count(block.name) == 1 and shape(block) in drawn
    assert "image" in drawn and "3×32×32" in drawn
    assert drawn.count("shortcut") == 2
    assert "twice:\nConv 3×3\nBatchNorm\nReLU\n+ its input" in drawn
    middles = [(left + right) / 2 for left, right in (image.get_extent()[:2] for image in ax.images)]
    assert {round(middle) for middle in middles} == set(range(len(blocks) + 1)), "a stack at every place"


@pytest.mark.parametrize("above", [False, True], ids=["alone", "above bars"])
def test_square_maps_are_drawn_as_squares(measured, above, caplog):
    figure, axes = plt.subplots(2, 1, figsize=(9, 7), sharex=True) if above else (None, [None])
    ax = nets.plot_net(measured[1], np.zeros((32, 32, 3), np.uint8), axes[0])
    if above:
        axes[1].bar(range(1, 9), [block.parameters for block in measured[1]])
    ax.figure.canvas.draw()
    maps = [image for image in ax.images if image.get_array().shape[0] == image.get_array().shape[1]]
    corners = [ax.transData.transform(np.reshape(image.get_extent(), (2, 2)).T) for image in maps]
    assert len(maps) > 6
    for (left, bottom), (right, top) in corners:
        assert right - left == pytest.approx(top - bottom) and right - left > 5
    if above:  # every stack stays over its bar
        middle = [axis.transData.transform((3, 0))[0] for axis in axes]
        assert middle[0] == pytest.approx(middle[1])
    assert caplog.text == "", "matplotlib would warn of limits that do not fit the scale"
    plt.close(ax.figure)


def test_the_drawing_shows_the_measured_maps(measured, ax):
    nets.plot_net(measured[1], np.zeros((32, 32, 3), np.uint8), ax)
    prep = measured[1][0].output
    drawn = [np.asarray(image.get_array()) for image in ax.images if image.get_array().shape == (32, 32)]
    assert drawn and all(any(np.array_equal(sheet, channel) for channel in prep) for sheet in drawn)
