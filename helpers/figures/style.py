"""How figures look, and how a notebook shows them: colours all readers can tell apart, and a text for the blind."""

import base64
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

# Okabe & Ito (2008): distinct under every common colour-vision deficiency
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#000000", "#8A8A8A"
TRAIN, VALIDATION, TEST, AVERAGED = BLUE, GREEN, ORANGE, RED  # the same split has the same colour everywhere
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
SEQUENTIAL = "cividis"  # for magnitudes; ordered in lightness and safe for colour-blind readers

VISIBLE = 1.5  # root mean square error of a palette, in grey levels of 255
PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # behind a number on a line
WIDTH = 9.0  # inches: the text width of a rendered notebook and of a README


def use_style() -> None:
    """Set matplotlib's defaults for the series; call once, in a notebook's import cell."""
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.figsize": (WIDTH, 4.0),
            "figure.constrained_layout.use": True,
            "savefig.dpi": 100,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.prop_cycle": cycler(color=CYCLE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.interpolation": "nearest",
        }
    )


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook with `alt`, one sentence that says what it shows to readers who cannot see it.

    The figure is closed afterwards, so that the notebook does not show it a second time.
    """
    picture = base64.b64encode(png(figure)).decode()
    display({"image/png": picture, "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def png(figure: Figure) -> bytes:
    """A figure as a small PNG file: with a palette of 256 colours where that is invisible, as for lines and bars.

    It takes a third of the space; photographs, which need more colours, keep them all.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    image = Image.open(file).convert("RGB")
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    error = np.asarray(few.convert("RGB"), dtype=np.float32) - np.asarray(image)
    small = io.BytesIO()
    (few if np.sqrt((error**2).mean()) < VISIBLE else image).save(small, format="png", optimize=True)
    return small.getvalue()


def percent(share: float, position: int | None = None) -> str:
    """A share in three digits at most, also as the label of a tick: 0.7 → "70%", 0.925 → "92.5%"."""
    return f"{100 * share:.3g}%"
