"""Pictures of data: rows and grids of images, and maps over them, each pixel of an image as large as the others."""

import io
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from helpers.figures import style
from helpers.gradcam.scores import Array, as_array

DPI = 100  # figures are laid out in pixels, so that an image is enlarged by a whole factor
PAGE, LETTER = int(DPI * style.WIDTH), 8  # pixels across a page, and across a letter of a label
GAP = 2  # white pixels between the images of rows, in pixels of the images
TEXT, LINE, MARGIN = 10, 17, 8  # points of a title; pixels that a line of it takes, and around it
DIM = np.array([0, 60, 130])  # mixed with grey where a map holds little: no photograph has this blue all over
Texts = Sequence[str]


def plot_rows(
    rows: np.ndarray, labels: Texts, heads: Texts = (), heading: str = "", group: int = 0, scale: int | None = None
) -> Axes:
    """Draw rows of images (R, C, H, W, 3), uint8 or float in [0, 1], each beside its label, `heads` above the columns.

    Images are enlarged `scale` times, by default as far as they fit; after every `group` columns the gap is wider.
    """
    count, columns, height, width = np.shape(rows)[:4]
    column, tops = np.arange(columns), np.arange(count) * (height + GAP)
    lefts = column * (width + GAP) + (column // group * 4 * GAP if group else 0)
    beside = LETTER * max(len(line) for label in labels for line in label.split("\n"))
    scale = scale or max(1, (PAGE - beside) // (lefts[-1] + width))
    ax = _draw(np.concatenate(np.asarray(rows)), [*itertools.product(tops, lefts)], scale)
    ax.set_title(heading)
    ax.set_yticks(tops + (height - 1) / 2, labels, fontsize=TEXT)
    if heads:
        ax.set_xticks(lefts - 0.5, heads, fontsize=TEXT, ha="left")
    return ax


def plot_images(images: np.ndarray, titles: Texts = (), columns: int = 10, heading: str = "") -> Figure:
    """Draw images (N, H, W, 3), uint8 or float in [0, 1], in a grid as wide as other figures, each under its title."""
    count, height, width = np.shape(images)[:3]
    titles = titles or [""] * count
    above = MARGIN + LINE * max(title.count("\n") + 1 for title in titles)
    pitch = PAGE // min(columns, count)
    scale = max(1, (pitch - MARGIN) // width)
    across, down = pitch // scale, height + math.ceil(above / scale)  # from image to image, in pixels of the images
    corners = [(place // columns * down, place % columns * across) for place in range(count)]
    ax = _draw(images, corners, scale)
    for (top, left), title in zip(corners, titles, strict=True):
        ax.annotate(title, (left - 0.5, top - 0.5), (0, 4), textcoords="offset points", fontsize=TEXT)
    ax.set_title(heading, pad=0.8 * above)  # in points, of 1.4 pixels
    return ax.figure


def overlay(images: np.ndarray, maps: Array) -> np.ndarray:
    """Images (…, H, W, 3) uint8 as they are where their maps (…, H, W) reach 0.5 of 1, elsewhere dim and blue."""
    maps = as_array(maps).astype(np.float64)[..., None]
    if not (maps.min() >= 0 and maps.max() <= 1):
        raise ValueError(f"maps must lie in [0, 1], not from {maps.min():.3g} to {maps.max():.3g}")
    grey = (np.asarray(images) @ np.array([0.299, 0.587, 0.114]))[..., None]  # ITU-R BT.601
    return np.where(maps >= 0.5, images, np.rint((grey + DIM) / 2)).astype(np.uint8)


def own_picture(path: str) -> tuple[Image.Image | None, str]:
    """A reader's picture and its name: upright RGB of 8 bits, white where it is transparent; None without a path.

    In Colab, "upload" asks for a file.
    """
    source, name = Path(path).expanduser().absolute(), Path(path).name
    if path == "upload":
        if "google.colab" not in sys.modules:
            raise ValueError("only Colab can ask for an upload; give own_image the path of a picture")
        from google.colab import files as colab_files

        name, content = next(iter(colab_files.upload().items()), ("", b""))
        source = io.BytesIO(content)
    if not name:
        return None, ""
    try:
        picture = ImageOps.exif_transpose(Image.open(source))
        if picture.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if picture.mode.startswith("I"):  # 16 bits of grey: convert() would make everything above 255 white
            picture = Image.fromarray((np.asarray(picture) // 256).clip(0, 255).astype(np.uint8))
        picture = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        ways = "Take a PNG or JPEG of at most 178 million pixels; a phone can save its HEIC pictures as JPEG."
        raise ValueError(f"own_image, {name!r}, cannot be read as a picture ({error}). {ways}") from error
    ground = Image.new("RGBA", picture.size, "white")  # whatever colour is hidden where it is transparent
    return Image.alpha_composite(ground, picture).convert("RGB"), name


def _draw(images: np.ndarray, corners: Sequence[tuple[int, int]], scale: int) -> Axes:
    """Images (N, H, W, 3) on white, their upper left `corners` at (row, column); the figure has no room for texts."""
    pixels, (height, width) = _pixels(np.asarray(images)), images.shape[1:3]
    canvas = np.full((*np.max(corners, axis=0) + (height, width), 3), 255, np.uint8)
    for (top, left), image in zip(corners, pixels):
        canvas[top : top + height, left : left + width] = image
    size = scale * np.array(canvas.shape[1::-1]) / DPI
    ax = plt.figure(figsize=size, dpi=DPI, layout="none").add_axes((0, 0, 1, 1))
    ax.imshow(canvas)
    ax.set(xticks=[], yticks=[])
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def _pixels(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) as uint8."""
    levels = images if images.dtype == np.uint8 else 255 * images
    if images.shape[3:] != (3,) or not (levels.min() >= 0 and levels.max() <= 255):
        need = "images (N, H, W, 3), uint8 or float in [0, 1]; undo the normalisation"
        raise ValueError(f"cannot draw {images.dtype} {images.shape}: need {need}")
    return np.rint(levels).astype(np.uint8)
