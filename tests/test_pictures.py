"""What pictures show: the pixels given to imshow, one axes and title an image, and errors that name the way out."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image

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


def drawn(ax):
    """The pixels that an axes shows."""
    (image,) = ax.images
    return np.asarray(image.get_array())


@pytest.mark.parametrize("style_of_theirs", ["default", "dark_background", "classic", "ggplot"])
def test_pictures_look_as_published_whatever_the_reader_s_settings_say(style_of_theirs):
    theirs = {"image.origin": "lower", "savefig.transparent": True, "text.color": "white", "axes.titlecolor": "white"}
    images = grey(0, 255, side=32)
    expected = style.png(pictures.plot_images(images, ["dark", "light"], columns=1))
    with matplotlib.rc_context(theirs), matplotlib.style.context(style_of_theirs):
        backend = matplotlib.get_backend()
        style.use_style()
        assert style.png(pictures.plot_images(images, ["dark", "light"], columns=1)) == expected
        assert matplotlib.get_backend() == backend


def title_of(ax):
    """The text object of an axes' title."""
    return next(text for text in ax.findobj(Text) if text.get_text() and text.get_text() == ax.get_title(loc="left"))


# ---- the pixels of rows


def row(images, **options):
    return drawn(pictures.plot_rows(images, [""] * len(images), **options))


def test_rows_by_hand():
    rows = grey(10, 20, 30, 40, 50, 60, side=1).reshape(2, 3, 1, 1, 3)
    w = 255
    expected = [[10, w, w, 20, w, w, 30], [w] * 7, [w] * 7, [40, w, w, 50, w, w, 60]]
    assert row(rows)[..., 0].tolist() == expected


def test_groups_of_columns_have_wider_gaps_after_them():
    pixels = row(grey(*range(1, 6), side=1)[None], group=2)[0, :, 0]
    assert np.flatnonzero(pixels < 255).tolist() == [0, 3, 14, 17, 28]


@settings(max_examples=10)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_rows_keep_every_pixel(count, columns, group):
    rows = np.random.default_rng(count).integers(0, 255, (count, columns, 3, 2, 3), dtype=np.uint8)  # none is white
    canvas = row(rows, group=group)
    plt.close("all")
    inside = canvas[(canvas < 255).all(axis=-1)]
    assert np.array_equal(inside, rows.transpose(0, 2, 1, 3, 4).reshape(-1, 3))


def test_floats_are_levels():
    pixel = np.array([0.0, 0.2, 1.0]).reshape(1, 1, 1, 1, 3)
    assert row(pixel)[0, 0].tolist() == [0, 51, 255]


# ---- plot_images


def test_images_stand_in_rows_each_under_its_title():
    images, titles = grey(0, 100, 200), ["cat", "said dog\nis frog", ""]
    figure = pictures.plot_images(images, titles, columns=2)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == titles
    corners = [np.add(text.xy, 0.5).astype(int) for text in ax.texts]
    assert corners[0].tolist() == [0, 0] and corners[1][1] == corners[2][0] == 0
    for (left, top), image in zip(corners, images):
        assert np.array_equal(drawn(ax)[top : top + 4, left : left + 4], image)
    assert np.count_nonzero(drawn(ax) < 255) == images.size and not (ax.get_xticks().size or ax.get_yticks().size)


def test_titles_stay_clear_of_the_images_above_and_beside_them():
    figure = pictures.plot_images(noise(8), ["airplane 100%\nis automobile"] * 8, columns=4)
    figure.canvas.draw()
    (ax,) = figure.axes
    above, below = (ax.texts[k].get_window_extent() for k in (0, 4))
    scale = ax.get_window_extent().width / drawn(ax).shape[1]
    assert above.x1 < ax.texts[1].get_window_extent().x0
    assert below.y1 < ax.get_window_extent().y1 - 32 * scale


def assert_enlarged_by(scale, image, figure):
    """As a notebook shows the figure, each pixel of a noisy image of two levels is a square of so many pixels."""
    page = np.asarray(Image.open(io.BytesIO(style.png(figure))).convert("L"))
    expected = image[..., 0].repeat(scale, axis=0).repeat(scale, axis=1)
    places = np.lib.stride_tricks.sliding_window_view(page, expected.shape)
    corners = np.argwhere((places[..., :scale, :scale] == expected[:scale, :scale]).all(axis=(2, 3)))
    assert any(np.array_equal(places[top, left], expected) for top, left in corners)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 2, (*shape, 32, 32, 1), np.uint8).repeat(3, axis=-1) * 200


@pytest.mark.parametrize("columns, scale", [(5, 5), (8, 3)])
def test_each_pixel_of_an_image_takes_a_whole_number_of_pixels(columns, scale):
    images = noise(columns)
    figure = pictures.plot_images(images, ["title"] * columns, columns, heading="heading")
    assert_enlarged_by(scale, images[-1], figure)


def test_heading_stands_above_the_titles():
    figure = pictures.plot_images(grey(1), ["title\nof two lines"], heading="All images")
    figure.canvas.draw()
    (ax,) = figure.axes
    assert title_of(ax).get_text() == "All images"
    assert title_of(ax).get_window_extent().y0 > ax.texts[0].get_window_extent().y1


@pytest.mark.parametrize(
    "images", [np.zeros((2, 3, 8, 8)), np.linspace(-1.9, 2.1, 48).reshape(1, 4, 4, 3), np.full((1, 4, 4, 3), np.nan)]
)
def test_images_must_be_pixels(images):
    with pytest.raises(ValueError, match=r"float64 \(.*need images \(N, H, W, 3\).*undo the normalisation"):
        pictures.plot_images(images)


def test_images_want_a_title_each():
    with pytest.raises(ValueError):
        pictures.plot_images(grey(1, 2), ["one"])


# ---- plot_rows


def test_rows_have_labels_beside_and_heads_above():
    rows = grey(10, 20, 30, 40, side=8).reshape(2, 2, 8, 8, 3)
    ax = pictures.plot_rows(rows, ["upper", "lower"], ["raw", ""], "Heading")
    assert np.array_equal(drawn(ax)[10:18, 10:18], rows[1, 1])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["upper", "lower"]
    assert ax.get_yticks().tolist() == [3.5, 13.5]  # the middles of pixels 0 to 7 and 10 to 17
    assert [text.get_text() for text in ax.get_xticklabels()] == ["raw", ""]
    assert ax.get_xticks().tolist() == [-0.5, 9.5]  # the left edges of pixels 0 and 10
    assert ax.get_title(loc="left") == "Heading"


def test_rows_take_a_scale():
    rows = noise(1, 1)
    assert_enlarged_by(3, rows[0, 0], pictures.plot_rows(rows, ["row"], scale=3).figure)


def test_rows_fit_the_page_with_their_labels_and_heads():
    labels = ["a label of some length\nand of two lines"] * 3
    ax = pictures.plot_rows(noise(3, 10), labels, [f"head {k}" for k in range(10)], "Heading", group=5)
    width = Image.open(io.BytesIO(style.png(ax.figure))).width
    assert 700 < width < 100 * style.WIDTH + 20
    heads = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in zip(heads, heads[1:]))
    assert title_of(ax).get_window_extent().y0 >= max(head.y1 for head in heads)
    assert min(head.y0 for head in heads) >= ax.get_window_extent().y1


def test_rows_want_five_axes_and_a_text_each():
    with pytest.raises(ValueError):
        pictures.plot_rows(grey(1, 2), ["row"])
    with pytest.raises(ValueError):
        pictures.plot_rows(grey(1)[None], ["one", "two"])
    with pytest.raises(ValueError):
        pictures.plot_rows(grey(1, 2)[None], ["row"], ["head"])
