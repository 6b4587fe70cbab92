"""How figures look, and how a notebook shows them: colours all readers can tell apart, and a text for the blind."""

import base64
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
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
PAPER = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # behind a number on a line
WIDTH = 9.0  # inches: the text width of a rendered notebook and of a README


def use_style() -> None:
    """Set matplotlib's defaults for the series, whatever the reader's own are; once, in a notebook's import cell."""
    mpl.rcdefaults()  # which leaves the backend alone
    mpl.rc("figure", dpi=100, figsize=(WIDTH, 4.0), titlesize=12)
    mpl.rc("figure.constrained_layout", use=True)
    mpl.rc("font", size=11)
    mpl.rc("axes", titlesize=12, titlelocation="left", prop_cycle=cycler(color=CYCLE), grid=True, axisbelow=True)
    mpl.rc("axes.spines", top=False, right=False)
    mpl.rc("grid", color="#E4E4E4", linewidth=0.8)
    mpl.rc("lines", linewidth=1.8)
    mpl.rc("legend", frameon=False)
    mpl.rc("image", interpolation="nearest")


def show(figure: Figure, alt: str, display_id: str | None = None, update: bool = False) -> None:
    """Display a figure, or update what has this id; `alt` is a sentence that tells blind readers what it shows."""
    data = {"image/png": base64.b64encode(png(figure)).decode(), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}}, display_id=display_id, update=update)
    plt.close(figure)  # an open one would be shown again


def png(figure: Figure) -> bytes:
    """A figure as a PNG file with the 256 colours that fit it best, which takes a third of the space."""
    page, small = io.BytesIO(), io.BytesIO()
    figure.savefig(page, bbox_inches="tight")
    cover = Image.Quantize.MAXCOVERAGE  # keeps rare colours: a few letters on a page of photographs
    colours = Image.open(page).convert("RGB").quantize(256, cover, kmeans=1, dither=Image.Dither.NONE)
    colours.save(small, format="png", optimize=True)
    return small.getvalue()


def percent(share: float, position: int | None = None) -> str:
    """A share in three digits at most, also as the label of a tick: 0.7 → "70%", 0.925 → "92.5%"."""
    return f"{100 * share:.3g}%"
