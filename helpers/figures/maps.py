"""Class activation maps over their images."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from helpers.figures import pictures
from helpers.gradcam.scores import Array, as_array

# Rises in lightness only, so colour-blind readers can follow it; black, its zero, darkens an image and does not tint it
COLOURS = "inferno"


def overlay(images: np.ndarray, maps: Array, opacity: float = 0.55) -> np.ndarray:
    """Lay maps (…, H, W) in [0, 1] over images (…, H, W, 3) uint8; the result has the images' shape and type.

    0 takes the first colour, 1 the last; a map of zeros, the first everywhere. At an opacity of 0 the image alone is
    seen, at 1 the map alone.
    """
    images, maps = np.asarray(images), as_array(maps)
    if images.dtype != np.uint8 or images.shape != (*maps.shape, 3) or not (maps.min() >= 0 and maps.max() <= 1):
        found = f"{images.dtype} {images.shape}, and maps {maps.shape} from {maps.min():.3g} to {maps.max():.3g}"
        raise ValueError(f"need images uint8 (…, H, W, 3) and maps (…, H, W) in [0, 1], not {found}")
    colours = 255 * mpl.colormaps[COLOURS](maps.astype(np.float64))[..., :3]
    return np.rint((1 - opacity) * images + opacity * colours).astype(np.uint8)


def grey(images: np.ndarray) -> np.ndarray:
    """Images (…, H, W, 3) uint8 without their colours (ITU-R BT.601), so that those of a map over them stand out."""
    levels = np.rint(np.asarray(images) @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=-1)


def plot_maps(
    images: np.ndarray, maps: Mapping[str, Array], labels: Sequence[str], heading: str = "", ax: Axes | None = None
) -> Axes:
    """Draw one row for each image (N, H, W, 3) uint8, its label to the left: the image, then its maps over it in grey.

    The maps are (N, H, W) in [0, 1], by the text above their column, such as those of every stage.
    """
    columns = [images, *(overlay(grey(images), found) for found in maps.values())]
    return pictures.plot_rows(np.stack(columns, axis=1), labels, ["image", *maps], heading, ax=ax)
