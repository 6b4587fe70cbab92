"""What notebook 06 makes of a reader's own picture, before anything is trained."""

import sys
import types

import numpy as np
import pytest
from fixture_series import SERIES
from PIL import Image

from helpers import figures


def seen(source):
    """The picture (H, W, 3) uint8 that is made of a file, None without one."""
    picture, _ = figures.own_picture(str(source))
    return None if picture is None else np.asarray(picture)


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def test_it_is_read_before_anything_is_trained():
    whole = "".join(cell.source for cell in next(node.cells for name, node in SERIES.items() if name[:2] == "06"))
    assert 0 < whole.index("figures.own_picture(") < whole.index("weights.trained(")
    assert seen("") is None


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_keep_their_steps(tmp_path, kind):
    levels = np.array([34, 71, 107, 143, 179, 215])
    ramp = Image.fromarray(np.tile(levels * 256, (2, 1)).astype(np.uint16))
    shown = seen(saved(ramp, tmp_path / f"ramp.{kind}"))
    assert shown.shape == (2, 6, 3) and (shown == levels[:, None]).all()


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 255)])
@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_a_transparent_ground_is_white_whatever_colour_is_hidden_in_it(tmp_path, hidden, mode):
    pixels = np.full((4, 4, 4), (*hidden, 0), np.uint8)
    pixels[1:3, 1:3] = (40, 40, 40, 255)
    expected = np.full((4, 4, 3), 255)
    expected[1:3, 1:3] = 40
    assert np.array_equal(seen(saved(Image.fromarray(pixels).convert(mode), tmp_path / "logo.png")), expected)


def test_half_transparent_is_half_white_and_opaque_stays_as_it_is(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = Image.fromarray(levels)
    assert np.array_equal(seen(saved(grey, tmp_path / "grey.png"))[..., 0], levels)
    half = Image.merge("LA", (Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 128)))
    assert (seen(saved(half, tmp_path / "half.png")) == 127).all()


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "a.jpg"), ("1", "a.png"), ("L", "a.jpg"), ("P", "a.gif")])
def test_other_kinds_of_picture_are_taken(tmp_path, mode, name):
    shown = seen(saved(Image.new(mode, (5, 3), 0), tmp_path / name))
    assert shown.shape == (3, 5, 3) and np.ptp(shown) == 0


def test_a_picture_lies_as_its_camera_was_held(tmp_path):
    picture, turned = Image.new("L", (4, 2)), Image.Exif()
    turned[0x0112] = 6  # turn it by a quarter
    assert seen(saved(picture, tmp_path / "a.jpg", exif=turned)).shape == (4, 2, 3)


def write(path, content):
    path.write_bytes(content)
    return path


REFUSED = {
    "a phone's HEIC": lambda folder: write(folder / "a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    "201 megapixels": lambda folder: saved(Image.new("1", (20_100, 10_000)), folder / "a.png"),
    "no file": lambda folder: folder / "a.png",
    "a folder": lambda folder: folder,
    "a drawing": lambda folder: write(folder / "a.svg", b"<svg></svg>"),
    "half a file": lambda folder: write(folder / "a.png", noise(folder).read_bytes()[:3000]),
    "numbers of no range": lambda folder: saved(Image.new("F", (2, 2), 0.5), folder / "a.tif"),
}


def noise(folder):
    return saved(Image.effect_noise((99, 99), 50), folder / "noise.png")


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused_in_words(tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=f"own_image, '{path.name}', cannot be read as a picture .*PNG or JPEG"):
        seen(path)


@pytest.mark.parametrize("given", [{}, {"cat.png": None}], ids=["cancelled", "one"])
def test_an_upload_is_asked_for_in_colab_alone(tmp_path, monkeypatch, given):
    with pytest.raises(ValueError, match="only Colab can ask"):
        seen("upload")
    content = saved(Image.new("L", (5, 3), 9), tmp_path / "cat.png").read_bytes()
    module = types.ModuleType("google.colab")
    module.files = types.SimpleNamespace(upload=lambda: dict.fromkeys(given, content))
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    shown = seen("upload")
    assert shown is None if not given else (shown == 9).all()
