"""What pictures show: the pixels given to imshow, one axes and title an image, and errors that name the way out."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.text import Text

from helpers.figures import pictures, style


@pytest.fixture(autouse=True)
def figures():
    """The series' style inside a test, and no figure left open after it."""
    with matplotlib.rc_context():
        style.use_style()
        yield
        plt.close("all")


def grey(*levels, side=4):
    """One image of a single grey level each, (N, side, side, 3) uint8."""
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


def photographs(*shape, seed=0):
    """Smooth images of more colours than a palette holds, (…, 32, 32, 3) uint8."""
    corners = np.random.default_rng(seed).integers(0, 256, (*shape, 2, 2, 3)).astype(float)
    right, down = np.linspace(0, 1, 32)[:, None], np.linspace(0, 1, 32)[:, None, None]
    top, bottom = (corners[..., i, :1, :] * (1 - right) + corners[..., i, 1:, :] * right for i in (0, 1))
    return (top[..., None, :, :] * (1 - down) + bottom[..., None, :, :] * down).astype(np.uint8)


def drawn(ax):
    """The pixels that an axes shows."""
    (image,) = ax.images
    return np.asarray(image.get_array())


def title_of(ax):
    """The text object of an axes' title."""
    return next(text for text in ax.findobj(Text) if text.get_text() and text.get_text() == ax.get_title(loc="left"))


# ---- mosaic


def test_mosaic_by_hand():
    rows = grey(10, 20, 30, 40, 50, 60, side=1).reshape(2, 3, 1, 1, 3)
    w = 255
    expected = [[10, w, w, 20, w, w, 30], [w] * 7, [w] * 7, [40, w, w, 50, w, w, 60]]
    assert pictures.mosaic(rows)[..., 0].tolist() == expected


def test_mosaic_of_groups_has_wider_gaps_after_every_group():
    row = pictures.mosaic(grey(*range(1, 6), side=1)[None], group=2)[0, :, 0]
    assert np.flatnonzero(row < 255).tolist() == [0, 3, 14, 17, 28]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_mosaic_keeps_every_pixel(count, columns, group):
    rows = np.random.default_rng(count).integers(0, 255, (count, columns, 3, 2, 3), dtype=np.uint8)  # none is white
    canvas = pictures.mosaic(rows, group)
    inside = canvas[(canvas < 255).all(axis=-1)]
    assert np.array_equal(inside, rows.transpose(0, 2, 1, 3, 4).reshape(-1, 3))


def test_floats_are_levels():
    pixel = np.array([0.0, 0.2, 1.0]).reshape(1, 1, 1, 1, 3)
    assert pictures.mosaic(pixel)[0, 0].tolist() == [0, 51, 255]


# ---- few colours


def test_few_images_keep_their_colors_and_many_come_close():
    few = np.arange(300, dtype=np.uint8).reshape(1, 10, 10, 3)  # 100 colours
    assert np.array_equal(pictures.few_colors(few), few)
    many = photographs(3, 4)
    close = pictures.few_colors(many)
    assert close.shape == many.shape and close.dtype == np.uint8
    count = len(np.unique(close.reshape(-1, 3), axis=0))
    assert len(np.unique(many.reshape(-1, 3), axis=0)) > 1000 >= pictures.COLORS >= count > pictures.COLORS / 2
    error = close.astype(float) - many
    assert np.sqrt((error**2).mean()) < 12
    assert np.abs(error.mean(axis=(0, 1, 2, 3))).max() < 2


# ---- plot_images


def test_images_each_on_its_axes_under_its_title():
    images, titles = grey(0, 100, 200), ["cat", "said dog\nis frog", ""]
    figure = pictures.plot_images(images, titles, columns=2, title_colors=[style.RED, style.BLUE, style.BLACK])
    assert [ax.get_title(loc="left") for ax in figure.axes] == titles
    assert [to_hex(title_of(ax).get_color()) for ax in figure.axes[:2]] == [style.RED.lower(), style.BLUE.lower()]
    for ax, image in zip(figure.axes, images):
        assert np.array_equal(drawn(ax), image)
    assert not any(ax.get_xticks().size or ax.get_yticks().size for ax in figure.axes)


def test_images_fill_rows_from_the_top_left():
    boxes = [ax.get_position() for ax in pictures.plot_images(grey(1, 2, 3, 4, 5), columns=3).axes]
    assert [round(box.x0, 3) for box in boxes] == [0, 0.333, 0.667, 0, 0.333]
    assert len({round(box.y0, 3) for box in boxes[:3]}) == 1 and boxes[3].y1 < boxes[0].y0


@pytest.mark.parametrize("columns", [1, 5, 8, 10])
def test_each_pixel_of_an_image_takes_a_whole_number_of_pixels(columns):
    images = np.random.default_rng(0).integers(0, 2, (columns, 32, 32, 1), np.uint8).repeat(3, axis=-1) * 255
    figure = pictures.plot_images(images, ["title"] * columns, columns, heading="heading")
    figure.canvas.draw()
    page = np.asarray(figure.canvas.buffer_rgba())[..., 0]
    box = figure.axes[-1].get_window_extent()
    left, top = round(box.x0), page.shape[0] - round(box.y1)
    side = round(box.width)
    assert side % 32 == 0
    shown = page[top : top + side, left : left + side]
    assert np.array_equal(shown, images[-1, ..., 0].repeat(side // 32, axis=0).repeat(side // 32, axis=1))


def test_a_page_of_photographs_is_stored_with_a_palette():
    grid, rows = pictures.plot_images(photographs(20)), pictures.plot_rows(photographs(4, 5), list("abcd")).figure
    for figure in (grid, rows):
        assert style.png(figure)[25] == 3  # the byte of a PNG that says how colours are kept; 3 is a palette


def test_heading_stands_above_the_titles():
    figure = pictures.plot_images(grey(1), ["title"], heading="All images")
    figure.canvas.draw()
    (text,) = figure.texts
    assert text.get_text() == "All images"
    assert text.get_window_extent().y0 > title_of(figure.axes[0]).get_window_extent().y1


def test_images_must_be_pixels():
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\), not \(2, 3, 8, 8\); colours come last"):
        pictures.plot_images(np.zeros((2, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"float in \[0, 1\], not float64 from -1.9 to 2.1; undo the normalisation"):
        pictures.plot_images(np.linspace(-1.9, 2.1, 48).reshape(1, 4, 4, 3))
    with pytest.raises(ValueError, match="not float64 from -0.1 to 0.9"):
        pictures.plot_images(np.linspace(-0.1, 0.9, 48).reshape(1, 4, 4, 3))
    with pytest.raises(ValueError, match="float in .0, 1., not float64 from nan to nan"):
        pictures.plot_images(np.full((1, 4, 4, 3), np.nan))
    with pytest.raises(ValueError, match="must be uint8, or float in .0, 1., not int64"):
        pictures.plot_images(np.ones((1, 4, 4, 3), np.int64))
    with pytest.raises(ValueError, match=r"not \(0, 4, 4, 3\)"):
        pictures.plot_images(np.zeros((0, 4, 4, 3)))


def test_images_want_a_title_and_a_color_each():
    with pytest.raises(ValueError, match="1 titles for 2 images; give one for each image"):
        pictures.plot_images(grey(1, 2), ["one"])
    with pytest.raises(ValueError, match="3 title_colors for 2 images"):
        pictures.plot_images(grey(1, 2), title_colors=["red"] * 3)


# ---- plot_rows


def test_rows_have_labels_beside_and_heads_above():
    rows = grey(10, 20, 30, 40, side=8).reshape(2, 2, 8, 8, 3)
    ax = pictures.plot_rows(rows, ["upper", "lower"], ["raw", ""], "Heading")
    assert np.array_equal(drawn(ax), pictures.mosaic(rows))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["upper", "lower"]
    assert ax.get_yticks().tolist() == [3.5, 13.5]  # the middles of pixels 0 to 7 and 10 to 17
    assert [text.get_text() for text in ax.texts] == ["raw", ""]
    assert ax.get_title(loc="left") == "Heading"


def test_rows_take_axes_and_a_scale():
    own = plt.subplots()[1]
    assert pictures.plot_rows(grey(1)[None], ["row"], ax=own) is own
    ax = pictures.plot_rows(grey(1, side=32)[None], ["row"], scale=3)
    assert round(ax.get_window_extent().width) == 96


def test_rows_fit_the_page_with_their_labels_and_heads():
    labels = ["a label of some length\nand of two lines"] * 3
    ax = pictures.plot_rows(photographs(3, 10), labels, [f"head {k}" for k in range(10)], "Heading", group=5)
    figure = ax.figure
    figure.canvas.draw()
    width, height = figure.bbox.size
    assert width <= 100 * style.WIDTH + 2 * pictures.MARGIN
    for text in [*ax.get_yticklabels(), *ax.texts, title_of(ax)]:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.y1 <= height, text.get_text()
    assert title_of(ax).get_window_extent().y0 >= max(text.get_window_extent().y1 for text in ax.texts)


def test_rows_want_five_axes_and_a_text_each():
    with pytest.raises(ValueError, match=r"\(R, C, H, W, 3\), not \(2, 4, 4, 3\)"):
        pictures.plot_rows(grey(1, 2), ["row"])
    with pytest.raises(ValueError, match="2 labels for 1 rows"):
        pictures.plot_rows(grey(1)[None], ["one", "two"])
    with pytest.raises(ValueError, match="1 heads for 2 columns"):
        pictures.plot_rows(grey(1, 2)[None], ["row"], ["head"])


# ---- levels and planes


def test_levels_are_shares_in_percent():
    counts = np.array([[1, 3], [2, 2], [4, 0]])
    ax = pictures.plot_levels(counts, np.array([[0, 1], [2, 3], [4, 5]]))
    assert [line.get_label() for line in ax.lines] == ["red", "green", "blue"]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0, 1], [2, 3], [4, 5]]
    assert [line.get_ydata().tolist() for line in ax.lines] == [[25, 75], [50, 50], [100, 0]]
    assert len({line.get_linestyle() for line in ax.lines}) == 3  # told apart without colours
    assert ax.get_ylabel().endswith("(%)") and ax.get_ylim()[0] == 0


def test_levels_share_one_axis_or_have_their_own():
    own = plt.subplots()[1]
    assert pictures.plot_levels(np.ones((3, 4)), np.arange(4), own) is own
    assert all(line.get_xdata().tolist() == [0, 1, 2, 3] for line in own.lines)
    for counts, values in ((np.ones((2, 4)), np.arange(4)), (np.ones((3, 4)), np.arange(5)), (np.ones(4), np.ones(4))):
        with pytest.raises(ValueError, match=r"counts must be \(3, L\)"):
            pictures.plot_levels(counts, values)


def test_planes_are_white_at_the_mean():
    plane = np.array([[0.0, -2.5], [2.5, 1.0]])
    ax = pictures.plot_plane(plane)
    assert np.array_equal(drawn(ax), plane)
    colours = ax.images[0].to_rgba(plane)[..., :3]
    assert colours[0, 0].min() > 0.95  # white
    assert colours[0, 1, 0] > colours[0, 1, 2] + 0.3  # orange below the mean
    assert colours[1, 0, 2] > colours[1, 0, 1] + 0.2  # purple above it
    with pytest.raises(ValueError, match=r"\(H, W\), not \(2, 2, 3\)"):
        pictures.plot_plane(np.zeros((2, 2, 3)))
