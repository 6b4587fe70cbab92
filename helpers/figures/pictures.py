"""Pictures of data: rows and grids of images, each pixel of an image as large as the others."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures import style

DPI = 100  # figures are laid out in pixels, so that an image is enlarged by a whole factor
PAGE, LETTER = int(DPI * style.WIDTH), 8  # pixels across a page, and across a letter of a label
GAP = 2  # white pixels between the images of a mosaic, in pixels of the images
TEXT, LINE, MARGIN = 10, 17, 8  # points of a title; pixels that a line of it takes, and around it


def mosaic(rows: np.ndarray, group: int = 0) -> np.ndarray:
    """Images (R, C, H, W, 3) side by side on white, as one of uint8; after every `group` columns the gap is wider."""
    tiles = _pixels(rows, 5)
    count, columns, height, width = tiles.shape[:4]
    lefts = _lefts(columns, width, group)
    canvas = np.full((count, height + GAP, lefts[-1] + width, 3), 255, np.uint8)
    for column, left in enumerate(lefts):
        canvas[:, :height, left : left + width] = tiles[:, column]
    return canvas.reshape(-1, *canvas.shape[2:])[:-GAP]


def plot_rows(
    rows: np.ndarray,
    labels: Sequence[str],
    heads: Sequence[str] = (),
    heading: str = "",
    group: int = 0,
    scale: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw rows of images (R, C, H, W, 3), uint8 or float in [0, 1], each beside its label, `heads` above the columns.

    A new figure enlarges the images `scale` times, by default as far as they fit; for `group` see `mosaic`.
    """
    canvas = mosaic(rows, group)
    count, columns, height, width = np.shape(rows)[:4]
    if ax is None:
        beside = LETTER * max(len(line) for label in labels for line in label.split("\n"))
        size = np.array(canvas.shape[1::-1]) * (scale or max(1, (PAGE - beside) // canvas.shape[1]))
        ax = plt.figure(figsize=size / DPI, dpi=DPI, layout="none").add_axes((0, 0, 1, 1))  # texts lie around it
    _draw(ax, canvas, heading)
    ax.set_yticks(np.arange(count) * (height + GAP) + (height - 1) / 2, labels, fontsize=TEXT)
    if heads:
        ax.set_xticks(_lefts(columns, width, group) - 0.5, heads, fontsize=TEXT, ha="left")
    return ax


def plot_images(
    images: np.ndarray,
    titles: Sequence[str] = (),
    columns: int = 10,
    title_colors: Sequence[str] = (),
    heading: str = "",
) -> Figure:
    """Draw images (N, H, W, 3), uint8 or float in [0, 1], in a grid, each on its own axes under its own title.

    The figure is as wide as the series' other figures; its axes are those of the images, in their order.
    """
    pixels = _pixels(images, 4)
    count, height, width = pixels.shape[:3]
    titles, colors = titles or [""] * count, title_colors or [style.BLACK] * count
    columns, rows = min(columns, count), -(-count // columns)
    scale = max(1, (PAGE // columns - MARGIN) // width)
    across, down = scale * width, scale * height
    beside, above = PAGE // columns - across, MARGIN + LINE * max(title.count("\n") + 1 for title in titles)
    size = columns * (across + beside) - beside, rows * (down + above) - above
    figure = plt.figure(figsize=np.array(size) / DPI, dpi=DPI, layout="none")
    figure.subplots_adjust(0, 0, 1, 1, wspace=beside / across, hspace=above / down)
    for place, (image, title, color) in enumerate(zip(pixels, titles, colors, strict=True), start=1):
        _draw(figure.add_subplot(rows, columns, place), image, title, fontsize=TEXT, color=color, pad=4)
    figure.suptitle(heading, x=0, y=1 + above / size[1], ha="left", va="bottom")
    return figure


def _pixels(images: np.ndarray, axes: int) -> np.ndarray:
    """Images as uint8, with so many axes, the last one of colours."""
    images = np.asarray(images)
    if images.ndim != axes or images.shape[-1] != 3 or not images.size:
        raise ValueError(f"images must have {axes} axes, the last one of 3 colours, not {images.shape}")
    if images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):
        found = f"from {images.min():.3g} to {images.max():.3g}"
        raise ValueError(f"images must be uint8, or float in [0, 1], not {found}; undo the normalisation first")
    return np.rint(255 * images).astype(np.uint8)


def _lefts(columns: int, width: int, group: int) -> np.ndarray:
    """Where the columns of a mosaic begin, in pixels."""
    column = np.arange(columns)
    return column * (width + GAP) + (column // group * 4 * GAP if group else 0)


def _draw(ax: Axes, image: np.ndarray, title: str, **text: Any) -> None:
    """Nothing but an image with its title."""
    ax.imshow(image)
    ax.set(xticks=[], yticks=[])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title, **text)
