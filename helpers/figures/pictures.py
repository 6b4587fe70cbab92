"""Pictures of data: rows and grids of images, and grey levels before and after normalising."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from helpers.figures import style

DPI = 100  # pictures are laid out in whole pixels, so that all pixels of an image are drawn equally large
PAGE = int(DPI * style.WIDTH)
GAP = 2  # white pixels between the images of a mosaic, in pixels of the images
MARGIN = 8  # pixels of the page
POINTS = 72 / DPI  # in a pixel
TEXT, HEADING = 10, 12  # points
LINE, LETTER, HEAD = 17, 8, 26  # pixels that a line of text, on average a letter of it, and a heading take
COLORS = 104  # of a page of photographs; letters and lines need some of the 256 that a palette holds
CHANNELS = (("red", style.RED, "-"), ("green", style.GREEN, "--"), ("blue", style.BLUE, ":"))
Box = tuple[float, float, float, float]  # left, bottom, width, height, as shares of a figure


def mosaic(rows: np.ndarray, group: int = 0) -> np.ndarray:
    """Lay images (R, C, H, W, 3), uint8 or float in [0, 1], side by side on white.

    The result is one image (R·H + gaps, C·W + gaps, 3) uint8. After every `group` columns the gap is wider; 0 for none.
    """
    tiles = _pixels(rows, 5, "(R, C, H, W, 3)")
    count, columns, height, width = tiles.shape[:4]
    tops, lefts = np.arange(count) * (height + GAP), _lefts(columns, width, group)
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for top, row in zip(tops, tiles):
        for left, tile in zip(lefts, row):
            canvas[top : top + height, left : left + width] = tile
    return canvas


def few_colors(images: np.ndarray, count: int = COLORS) -> np.ndarray:
    """The same images in the colours that fit them best; the eye hardly notices, and a page takes a third of the space.

    Images (…, H, W, 3) uint8 get at most `count` colours, 2 to 256; those that have no more stay as they are.
    """
    page = Image.fromarray(np.ascontiguousarray(images).reshape(-1, images.shape[-2], 3))
    if page.getcolors(count):
        return images
    few = page.quantize(count, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB")).reshape(images.shape)


def plot_rows(
    rows: np.ndarray,
    labels: Sequence[str],
    heads: Sequence[str] | None = None,
    heading: str = "",
    group: int = 0,
    scale: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw rows of images, each with its label to the left.

    Args:
        rows: (R, C, H, W, 3) uint8, or float in [0, 1].
        labels: R texts.
        heads: C texts above the columns, "" for none.
        heading: the title, above all.
        group: columns after which the gap is wider; 0 for none.
        scale: how many times to enlarge; by default as far as fits the series' width.
        ax: by default that of a new figure, on which all pixels of an image are equally large.
    """
    tiles = _pixels(rows, 5, "(R, C, H, W, 3)")
    count, columns, height, width = tiles.shape[:4]
    canvas = mosaic(few_colors(tiles), group)
    _one_each("labels", labels, count, "row")
    _one_each("heads", heads or [""] * columns, columns, "column")
    head_lines = _lines(heads or [])
    ax = ax or _sized_axes(canvas.shape, labels, head_lines + _lines([heading]), scale)
    ax.imshow(canvas)
    ax.set_yticks(np.arange(count) * (height + GAP) + (height - 1) / 2, labels, fontsize=TEXT)
    ax.set_title(heading, pad=LINE * head_lines * POINTS + 6)
    for left, head in zip(_lefts(columns, width, group), heads or []):
        ax.annotate(head, (left - 0.5, -0.5), (0, 4), textcoords="offset points", fontsize=TEXT)
    _bare(ax)
    return ax


def plot_images(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 10,
    title_colors: Sequence[str] | None = None,
    heading: str = "",
) -> Figure:
    """Draw a grid of images (N, H, W, 3), uint8 or float in [0, 1], each on its own axes under its own title.

    The figure is a new one, as wide as the series' other figures; its axes are those of the images, in their order.

    Args:
        titles: N texts, which may have several lines.
        columns: images beside each other.
        title_colors: N colours, default black.
        heading: the title of the figure, above all.
    """
    pixels = few_colors(_pixels(images, 4, "(N, H, W, 3)"))
    titles = [""] * len(pixels) if titles is None else titles
    colors = [style.BLACK] * len(pixels) if title_colors is None else title_colors
    _one_each("titles", titles, len(pixels), "image")
    _one_each("title_colors", colors, len(pixels), "image")
    figure, boxes = _grid(pixels.shape, columns, _lines(titles), _lines([heading]))
    figure.text(0, 1, heading, fontsize=HEADING, va="top")
    for box, image, title, color in zip(boxes, pixels, titles, colors):
        ax = figure.add_axes(box)
        ax.imshow(image)
        ax.set_title(title, fontsize=TEXT, color=color, pad=4)
        ax.set_yticks([])
        _bare(ax)
    return figure


def plot_levels(counts: np.ndarray, values: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw how often each grey level occurs, one line a channel.

    Args:
        counts: (3, L) pixels of each level in red, green and blue.
        values: (L,) or (3, L), where the levels lie on the horizontal axis.
    """
    if np.ndim(counts) != 2 or len(counts) != 3 or np.shape(values) not in (np.shape(counts), np.shape(counts)[1:]):
        raise ValueError(f"counts must be (3, L) and values (L,) or (3, L), not {np.shape(counts)}, {np.shape(values)}")
    ax = ax or plt.subplots()[1]
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    for (name, color, line), x, y in zip(CHANNELS, np.broadcast_to(values, np.shape(counts)), shares):
        ax.plot(x, y, line, color=color, label=name)
    ax.set(ylim=(0, None), ylabel="share of pixels (%)")
    return ax


def plot_plane(plane: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw one normalised channel, (H, W) in standard deviations: white is the mean, orange below it, purple above.

    The colours come in steps that can be told apart; `ax.images[0]` serves a colour bar.
    """
    if np.ndim(plane) != 2:
        raise ValueError(f"a channel must be (H, W), not {np.shape(plane)}")
    ax = ax or plt.subplots()[1]
    limit = 2.5  # deviation at which the colours end, either way; a step is a tenth of it
    ax.imshow(plane, cmap=mpl.colormaps["PuOr"].resampled(21), vmin=-1.05 * limit, vmax=1.05 * limit)
    ax.set_yticks([])
    _bare(ax)
    return ax


def _pixels(images: np.ndarray, axes: int, shape: str) -> np.ndarray:
    """Images as uint8, checked: so many axes, the last one of colours, and not empty."""
    images = np.asarray(images)
    if images.ndim != axes or images.shape[-1] != 3 or not images.size:
        raise ValueError(f"images must be {shape}, not {images.shape}; colours come last")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        found = f"{images.dtype} from {images.min():.3g} to {images.max():.3g}"
        raise ValueError(f"images must be uint8, or float in [0, 1], not {found}; undo the normalisation first")
    return np.rint(255 * images).astype(np.uint8)


def _one_each(name: str, values: Sequence[str], count: int, what: str) -> None:
    if len(values) != count:
        raise ValueError(f"{len(values)} {name} for {count} {what}s; give one for each {what}")


def _lefts(columns: int, width: int, group: int) -> np.ndarray:
    """Where the columns of a mosaic begin, in pixels."""
    column = np.arange(columns)
    return column * (width + GAP) + (column // group * 4 * GAP if group else 0)


def _lines(texts: Sequence[str]) -> int:
    """Lines of the highest text; 0 where there is none."""
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def _bare(ax: Axes) -> None:
    """Leave the image alone on its axes, but for labels of rows."""
    ax.grid(False)
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _sized_axes(shape: tuple[int, ...], labels: Sequence[str], lines: int, scale: int | None) -> Axes:
    """Axes for a mosaic (H, W, 3), on a figure with room for labels to its left and for lines above it."""
    left = LETTER * max(len(line) for label in labels for line in label.split("\n")) + MARGIN
    scale = scale or max(1, (PAGE - left) // shape[1])
    height, width = scale * shape[0], scale * shape[1]
    figure = _blank(left + width + MARGIN, height + LINE * lines + 2 * MARGIN)
    return figure.add_axes(_box(figure, left, MARGIN, width, height))


def _grid(shape: tuple[int, ...], columns: int, title_lines: int, lines: int) -> tuple[Figure, list[Box]]:
    """A figure for images (N, H, W, 3), each enlarged by a whole factor below its title, and the place of each."""
    count, height, width = shape[:3]
    columns = min(columns, count)
    rows, across = -(-count // columns), PAGE // columns
    scale = max(1, (across - MARGIN) // width)
    down = scale * height + LINE * title_lines + MARGIN
    figure = _blank(PAGE, rows * down + HEAD * lines)
    places = [divmod(index, columns) for index in range(count)]
    corners = [(column * across, (rows - 1 - row) * down) for row, column in places]
    return figure, [_box(figure, left, bottom, scale * width, scale * height) for left, bottom in corners]


def _blank(width: int, height: int) -> Figure:
    """An empty figure of so many pixels that lays out nothing by itself."""
    return plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="none")


def _box(figure: Figure, left: int, bottom: int, width: int, height: int) -> Box:
    """A rectangle given in pixels, as shares of the figure."""
    across, down = figure.get_size_inches() * DPI
    return left / across, bottom / down, width / across, height / down
