"""Figures of maps and of their scores. Each function draws on axes and returns them, or returns a figure of its own.

`about` names the data set, the net and how much was measured, such as "Shapes-10, DavidNet, 200 images", and becomes
part of the title.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import files
from helpers.figures import pictures, style
from helpers.figures.style import percent
from helpers.gradcam.sanity import Randomisation
from helpers.gradcam.scores import Array, Curve, Pointing, as_array, mean

OPACITY = 0.55
# Rises in lightness only, so colour-blind readers can follow it; black, its zero, darkens an image and does not tint it
COLOURS = "inferno"
# Told apart by colour, by line and by marker; dotted lines are kept for chance
LINES = tuple(zip(style.CYCLE, ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), "-", "--", "-."), "osD^vP*"))
BASELINES = ("centre prior", "mask's area")  # of `cam_scores.pointing`
FOUND = {"hits": "share of images whose maximum lies on the object", "energy": "share of the map on the object"}


def overlay(images: np.ndarray, maps: Array, opacity: float = OPACITY) -> np.ndarray:
    """Lay maps (…, H, W) in [0, 1] over images (…, H, W, 3) uint8; the result has the images' shape and type.

    0 takes the first colour, 1 the last; a map of zeros, the first everywhere. At an opacity of 0 the image alone is
    seen, at 1 the map alone.
    """
    images, maps = np.asarray(images), as_array(maps)
    if images.dtype != np.uint8 or images.shape != (*maps.shape, 3):
        raise ValueError(f"images must be uint8 of shape {(*maps.shape, 3)}, not {images.dtype} {images.shape}")
    if not (maps.size and 0 <= maps.min() <= maps.max() <= 1):
        raise ValueError("maps must hold values from 0 to 1, such as those of GradCAM")
    files.number("opacity", opacity, 0, 1 + 1e-9)
    colours = 255 * mpl.colormaps[COLOURS](maps.astype(np.float64))[..., :3]
    return np.rint((1 - opacity) * images + opacity * colours).astype(np.uint8)


def grey(images: np.ndarray) -> np.ndarray:
    """Images (…, H, W, 3) uint8 without their colours (ITU-R BT.601), so that those of a map over them stand out."""
    levels = np.rint(np.asarray(images) @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def plot_maps(
    images: np.ndarray,
    maps: Mapping[str, Array],
    labels: Sequence[str],
    heading: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one row for each image: the image, then its maps, such as those of every stage, over it in grey.

    Args:
        images: (N, H, W, 3) uint8.
        maps: by the text above their column, (N, H, W) in [0, 1].
        labels: N texts to the left of the rows.
        heading: the title, above all.
    """
    columns = [images, *(overlay(grey(images), found) for found in maps.values())]
    return pictures.plot_rows(np.stack(columns, axis=1), labels, ["image", *maps], heading, ax=ax)


def plot_triptychs(images: np.ndarray, said: Array, true: Array, titles: Sequence[str], heading: str) -> Figure:
    """Draw images side by side with two maps of each, two in a row: why this answer, and why not the right one?

    Args:
        images: (N, H, W, 3) uint8.
        said: (N, H, W) in [0, 1], the maps for the predicted class.
        true: the same for the true class.
        titles: N texts, which may have several lines.
        heading: the title of the figure.
    """
    said, true = (overlay(grey(images), maps) for maps in (said, true))
    rows = np.stack([images, said, true], axis=1)
    return pictures.plot_images(np.stack([pictures.mosaic(row[None]) for row in rows]), titles, 2, heading=heading)


def plot_scale(ax: Axes | None = None) -> Axes:
    """The key to maps: a bar from 0, no evidence for the class, to 1, the layer's strongest."""
    ax = ax or plt.subplots(figsize=(style.WIDTH / 2, 0.55))[1]
    ax.imshow(np.linspace(0, 1, 256)[None], cmap=COLOURS, aspect="auto", extent=(0, 1, 0, 1))
    ax.set_xticks([0, 1], ["0: no evidence", "1: the most in this map"])
    ax.set_yticks([])
    ax.grid(False)
    for label, side in zip(ax.get_xticklabels(), ("left", "right")):
        label.set_horizontalalignment(side)
    return ax


def plot_perturbation(curves: Mapping[str, Curve], about: str, taken: bool = True, ax: Axes | None = None) -> Axes:
    """The mean probability of a class while pixels are taken away or put in, one line an order of the pixels.

    The curves come from `cam_scores.deletion` if `taken`, else from `insertion`; a band is the mean's 95 % interval.
    """
    ax = ax or plt.subplots()[1]
    for (name, curve), (colour, line, _) in zip(curves.items(), itertools.cycle(LINES)):
        means = [mean(column) for column in curve.scores.T]
        area = f"{name}: area {curve.area.value:.3f} ({curve.area.low:.3f} to {curve.area.high:.3f})"
        ax.plot(curve.shares, [m.value for m in means], linestyle=line, color=colour, label=area)
        low, high = [m.low for m in means], [m.high for m in means]
        ax.fill_between(curve.shares, low, high, color=colour, alpha=0.12, linewidth=0)
    ax.xaxis.set_major_formatter(percent)
    ax.set(xlim=(0, 1), ylim=(0, None), ylabel="probability of the class")
    ax.set_xlabel("pixels taken away" if taken else "pixels put in")
    ax.set_title(f"{'Deletion: low' if taken else 'Insertion: high'} is good · {about}")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=10)  # below: the lines take all of the axes
    return ax


def plot_randomisation(checked: Mapping[str, Randomisation], about: str, ax: Axes | None = None) -> Axes:
    """How much of the maps is left, stage by stage; dotted, how alike the maps of two different images are.

    `checked` has the checks by the name of their line, such as a layer or a method; all with the same stages.
    """
    ax = ax or plt.subplots()[1]
    for (name, check), (colour, line, marker) in zip(checked.items(), itertools.cycle(LINES)):
        means = [mean(row.spearman) for row in check.rows]
        errors = np.abs([(m.low - m.value, m.high - m.value) for m in means]).T
        style_of = {"color": colour, "linestyle": line, "marker": marker, "markersize": 5, "capsize": 3}
        ax.errorbar(range(len(means)), [m.value for m in means], errors, label=name, **style_of)
        ax.axhline(mean(check.chance.spearman).value, color=colour, linestyle=":", linewidth=1)
    stages = [row.stage for row in next(iter(checked.values())).rows]
    ax.set_xticks(range(len(stages)), [stages[0], *(f"+ {stage}" for stage in stages[1:])])
    ax.plot([], [], ":", color=style.GREY, linewidth=1, label="maps of two different images")
    ax.legend(fontsize=10)
    ax.set(xlabel="randomised", ylabel="rank correlation with the trained net's map")
    ax.set_title(f"What the net learnt is taken away · {about}")
    return ax


def plot_pointing(scores: Mapping[str, Pointing], about: str, quantity: str = "hits", ax: Axes | None = None) -> Axes:
    """How well maps find objects: a dot and its 95 % interval each, over lines for what has to be beaten.

    The scores come from `cam_scores.pointing`; the quantity is "hits", the pointing game, or "energy".
    """
    files.choice("quantity", quantity, FOUND)
    ax = ax or plt.subplots(figsize=(style.WIDTH, 1.2 + 0.36 * len(scores)))[1]
    for row, (name, score) in enumerate(scores.items()):
        found, rival = getattr(score, quantity), name in BASELINES
        colour = style.GREY if rival else style.BLUE
        ax.plot([found.low, found.high], [row, row], color=colour, linewidth=6, alpha=0.4, solid_capstyle="round")
        ax.plot(found.value, row, "D" if rival else "o", color=colour, markersize=7)
        place = {"textcoords": "offset points", "va": "center", "bbox": style.PAPER}  # over the dashed lines
        ax.annotate(f"{found.value:.1%}", (found.high, row), (9, 0), **place)
        if rival:
            ax.axvline(found.value, color=style.GREY, linestyle="--", linewidth=1, zorder=1)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.margins(x=0.25)
    ax.set_ylim(len(scores) - 0.4, -0.6)  # from the top down, also where panels share the axis
    ax.xaxis.set_major_formatter(percent)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=FOUND[quantity], title=f"{'Pointing game' if quantity == 'hits' else 'Energy'} · {about}")
    return ax
