"""Accuracy class by class, and the confusion matrix."""

import matplotlib

matplotlib.use("Agg")

import numpy as np

<<<<<<< HEAD
from helpers.figures import plots
from helpers.results import analysis

ABOUT = "Shapes-10, n = 1 run"
CLASSES = ("circle", "ring", "star")
MATRIX = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 10]])
=======
from helpers import models
from helpers.figures import diagrams, plots, style

ABOUT = "Shapes-10, n = 1 run"
HISTORY = [
    {"epoch": 1, "train_loss": 2.0, "test_loss": 1.8, "ema_test_loss": 2.2}
    | {"train_accuracy": 0.25, "test_accuracy": 0.3, "ema_test_accuracy": 0.2},
    {"epoch": 2, "train_loss": 1.5, "test_loss": 1.4, "ema_test_loss": 1.2}
    | {"train_accuracy": 0.5, "test_accuracy": 0.45, "ema_test_accuracy": 0.6},
]
RAW_ONLY = [{**row, "ema_test_loss": None, "ema_test_accuracy": None, "val_loss": None} for row in HISTORY]
>>>>>>> rates


def lines(ax) -> dict[str, list[float]]:
    """Heights of the lines by their name in the legend."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


<<<<<<< HEAD
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
=======
@pytest.mark.parametrize("plot, quantity", [(plots.plot_loss, "loss"), (plots.plot_accuracy, "accuracy")])
def test_curves_show_every_measured_split(ax, plot, quantity):
    assert plot(HISTORY, ABOUT, ax=ax) is ax
    drawn = lines(ax)
    expected = {plots.CURVES[split][0]: split for split in ("train", "test", "ema_test")}
    assert drawn == {name: [row[f"{split}_{quantity}"] for row in HISTORY] for name, split in expected.items()}
    assert ax.get_title("left") == f"{quantity.capitalize()} · {ABOUT}"
    assert ax.get_xlabel() == "epoch" and quantity in ("loss", ax.get_ylabel())


def test_the_floor_of_a_smoothed_loss(ax):
    plots.plot_loss(HISTORY, ABOUT, 0.87, ax)
    assert ax.lines[-1].get_ydata() == [0.87, 0.87]
    assert ax.get_legend().get_texts()[-1].get_text() == "floor of the training loss"


def test_curves_leave_out_what_was_not_measured(ax):
    plots.plot_accuracy(RAW_ONLY, ABOUT, ax)
    assert set(lines(ax)) == {plots.CURVES["train"][0], plots.CURVES["test"][0]}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines(ax))


def test_raw_and_averaged_weights(ax):
    plots.plot_raw_and_averaged(HISTORY, ABOUT, ax)
    assert lines(ax) == {
        "averaged weights, 60.00% at the end": [0.2, 0.6],
        "raw weights, 45.00% at the end": [0.3, 0.45],
    }
    assert ABOUT in ax.get_title("left")
    assert [to_hex(line.get_color()).upper() for line in ax.lines] == [style.AVERAGED, style.TEST]


@pytest.mark.parametrize("share, text", [(0.7, "70%"), (0.925, "92.5%"), (1, "100%"), (0, "0%")])
def test_ticks_in_percent(share, text):
    assert plots.percent(share) == text


def test_accuracies_have_ticks_in_percent(ax):
    plots.plot_accuracy(HISTORY, ABOUT, ax)
    assert ax.yaxis.get_major_formatter()(0.35) == "35%"


def test_raw_weights_alone(ax):
    plots.plot_raw_and_averaged(RAW_ONLY, ABOUT, ax)
    assert lines(ax) == {"raw weights, 45.00% at the end": [0.3, 0.45]}


@pytest.mark.parametrize("epochs", [4, 24])
def test_every_epoch_lies_within_the_frame(ax, epochs):
    history = [{"epoch": k, "test_accuracy": 0.1 + k / 50, "ema_test_accuracy": 0.15 + k / 50} for k in range(epochs)]
    plots.plot_raw_and_averaged(history, ABOUT, ax)
    bottom, top = ax.get_ylim()
    assert bottom < 0.1 and 0.15 + (epochs - 1) / 50 < top


def test_rate_lies_on_its_plan_in_epochs(ax):
    planned = np.array([0.1, 0.4, 0.25, 0.1])
    plots.plot_rate(planned[:3], 2, ABOUT, planned, ax)
    assert lines(ax) == {"planned": planned.tolist(), "recorded": planned[:3].tolist()}
    assert ax.lines[0].get_xdata().tolist() == [0, 0.5, 1, 1.5]
    assert ax.get_ylim()[0] == 0 and ABOUT in ax.get_title("left")
    assert texts(ax) == ["peak 0.4 at epoch 0.5"] and ax.texts[0].xy == (0.5, 0.4)


def test_rate_alone_needs_no_legend(ax):
    plots.plot_rate(np.array([0.1, 0.2]), 1, ABOUT, ax=ax)
    assert lines(ax) == {"recorded": [0.1, 0.2]} and ax.get_legend() is None


def test_gap_is_in_percentage_points(ax):
    plots.plot_gap(HISTORY, ABOUT, ax)
    raw, averaged = (line.get_ydata() for line in ax.lines[:2])
    assert raw == pytest.approx([-5, 5]) and averaged == pytest.approx([5, -10])
    assert ax.lines[2].get_ydata() == [0, 0], "a line at zero"
    assert ax.get_ylabel() == "percentage points" and ABOUT in ax.get_title("left")


def test_gap_without_an_average(ax):
    plots.plot_gap(RAW_ONLY, ABOUT, ax)
    assert list(lines(ax)) == ["training − test, raw weights"]


def test_speeds_are_medians_with_factors(ax):
    plots.plot_speeds({"plain": [90, 100, 300], "fast": [200, 250, 240]}, ABOUT, ax)
    assert [bar.get_width() for bar in ax.patches] == [100, 240]
    assert texts(ax) == ["100 images/s · 1.0×", "240 images/s · 2.4×"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["plain", "fast"]
    assert ax.yaxis_inverted(), "the first on top"
    assert [sorted(line.get_xdata()) for line in ax.lines] == [[90, 100, 300], [200, 240, 250]]
    assert ax.get_xlim()[1] > 300 and ABOUT in ax.get_title("left")


@pytest.mark.parametrize(
    "plot",
    [
        lambda: plots.plot_loss(HISTORY, ABOUT),
        lambda: plots.plot_raw_and_averaged(HISTORY, ABOUT),
        lambda: plots.plot_rate(np.array([0.1]), 1, ABOUT),
        lambda: plots.plot_gap(HISTORY, ABOUT),
        lambda: plots.plot_speeds({"plain": [1.0]}, ABOUT),
    ],
)
def test_without_axes_a_figure_is_made_and_stays_open(plot):
    before = plt.get_fignums()
    ax = plot()
    assert ax.figure.number not in before
    plt.close(ax.figure)


def shown(figure, alt="a figure") -> tuple[Image.Image, dict]:
    """What `style.show` hands to the notebook."""
    with mock.patch.object(style, "display") as display:
        style.show(figure, alt)
    display.assert_called_once()
    data, metadata = display.call_args.args[0], display.call_args.kwargs["metadata"]
    return Image.open(io.BytesIO(base64.b64decode(data["image/png"]))), metadata


def test_a_figure_is_shown_once_with_its_text(ax):
    image, metadata = shown(plots.plot_gap(HISTORY, ABOUT, ax).figure, "a gap")
    assert metadata == {"image/png": {"alt": "a gap"}}
    assert not plt.fignum_exists(ax.figure.number), "open figures would be shown again"
    assert image.format == "PNG" and image.mode == "P", "lines need few colours"


def test_a_shown_figure_looks_like_the_figure(ax):
    plots.plot_gap(HISTORY, ABOUT, ax)
    ax.figure.savefig(plain := io.BytesIO(), format="png", bbox_inches="tight")
    image, _ = shown(ax.figure)
    difference = np.asarray(image.convert("RGB"), float) - np.asarray(Image.open(plain).convert("RGB"))
    assert np.sqrt((difference**2).mean()) < style.VISIBLE


def test_photographs_keep_their_colours(ax):
    ax.imshow(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8))
    ax.figure.savefig(plain := io.BytesIO(), format="png", bbox_inches="tight")
    image, _ = shown(ax.figure)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(plain).convert("RGB")))


# ---- diagrams


@pytest.fixture(scope="module")
def measured():
    torch.manual_seed(0)
    net = models.davidnet(width=4)
    return net, diagrams.measure_blocks(net, torch.randn(1, 3, 32, 32))


def test_blocks_of_davidnet(measured):
    _, blocks = measured
    assert [(block.name, block.shape) for block in blocks] == [
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
    assert blocks[1].inside == ("conv 3×3", "max-pool 2", "BatchNorm", "ReLU")


@pytest.mark.parametrize("net", [models.davidnet(), models.resnet18()], ids=["davidnet", "resnet18"])
def test_costs_agree_with_torchs_counters(net):
    image = torch.zeros(1, 3, 32, 32)
    blocks = diagrams.measure_blocks(net, image)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(image)
    assert 2 * sum(block.multiply_adds for block in blocks) == counter.get_total_flops()
    assert sum(block.parameters for block in blocks) == sum(p.numel() for p in net.parameters())


def test_five_equal_blocks_of_the_full_net():
    blocks = diagrams.measure_blocks(models.davidnet(), torch.zeros(1, 3, 32, 32))
    assert [block.multiply_adds for block in blocks[1:6]] == [75_497_472] * 5
    assert blocks[5].parameters == 2 * (9 * 512 * 512 + 2 * 512)


def test_outputs_are_those_of_the_net(measured):
    torch.manual_seed(1)
    net, image = measured[0], torch.randn(1, 3, 32, 32)
    block = diagrams.measure_blocks(net, image)[-1]
    with torch.no_grad():
        np.testing.assert_array_equal(block.output, net.eval()(image)[0].numpy())


def test_measuring_gives_back_mode_statistics_and_hooks(measured):
    net, before = measured[0].train(), {k: v.clone() for k, v in measured[0].state_dict().items()}
    with pytest.raises(RuntimeError):
        diagrams.measure_blocks(net, torch.zeros(1, 1, 32, 32))
    diagrams.measure_blocks(net, torch.randn(1, 3, 32, 32))
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_drawing_names_every_block_and_its_shape(measured, ax):
    blocks, image = measured[1], np.zeros((32, 32, 3), np.uint8)
    diagrams.plot_net(blocks, image, ax)
    drawn = texts(ax)
    for block in blocks:
        assert drawn.count(block.name) == 1 and block.shape in drawn
    assert "image" in drawn and "3×32×32" in drawn
    assert drawn.count("shortcut") == 2
    assert "twice:\nconv 3×3\nBatchNorm\nReLU\n+ its input" in drawn
    middles = [(left + right) / 2 for left, right in (image.get_extent()[:2] for image in ax.images)]
    assert {round(middle) for middle in middles} == set(range(len(blocks) + 1)), "a stack at every place"


@pytest.mark.parametrize("above", [False, True], ids=["alone", "above bars"])
def test_square_maps_are_drawn_as_squares(measured, above, caplog):
    figure, axes = plt.subplots(2, 1, figsize=(9, 7), sharex=True) if above else (None, [None])
    ax = diagrams.plot_net(measured[1], np.zeros((32, 32, 3), np.uint8), axes[0])
    if above:
        diagrams.plot_costs(measured[1], "parameters", axes[1])
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
    diagrams.plot_net(measured[1], np.zeros((32, 32, 3), np.uint8), ax)
    prep = measured[1][0].output
    drawn = [np.asarray(image.get_array()) for image in ax.images if image.get_array().shape == (32, 32)]
    assert drawn and all(any(np.array_equal(sheet, channel) for channel in prep) for sheet in drawn)


@pytest.mark.parametrize("quantity, title", [("parameters", "Parameters: "), ("multiply_adds", "Multiply-adds: ")])
def test_costs_as_bars(measured, ax, quantity, title):
    blocks = measured[1]
    diagrams.plot_costs(blocks, quantity, ax)
    values = [getattr(block, quantity) for block in blocks]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([value / 1e6 for value in values])
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx(range(1, 9)), "below their block"
    assert ax.get_title("left") == title + diagrams.short(sum(values)) + " in all"
    assert texts(ax)[6] == "0\n", "pooling costs nothing"
    assert texts(ax)[5].startswith(diagrams.short(values[5]))


@pytest.mark.parametrize(
    "count, text",
    [(0, "0"), (330, "330"), (1_856, "1.86 k"), (73_984, "74.0 k"), (295_424, "295 k"), (75_497_472, "75.5 M")],
)
def test_counts_in_three_digits(count, text):
    assert diagrams.short(count) == text
>>>>>>> rates
