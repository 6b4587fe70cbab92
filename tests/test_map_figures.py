"""Maps laid over images, pixel by pixel."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import figures

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).random((4, 8, 8))


def test_overlay_by_hand():
    image = np.array([[[100, 0, 200], [0, 0, 0]]], np.uint8)
    first, last = (255 * np.array(mpl.colormaps[figures.COLOURS](end)[:3]) for end in (0.0, 1.0))
    found = figures.overlay(image, torch.tensor([[0.0, 1.0]]), opacity=0.25)
    assert found.dtype == np.uint8
    expected = [0.75 * 53 + 0.25 * first, 0.25 * last]  # .299 · 100 + .114 · 200 = 52.7
    np.testing.assert_array_equal(found[0], np.rint(expected).astype(np.uint8))


@given(st.floats(0, 1), st.integers(0, 100))
def test_overlay_lies_between_image_and_map(opacity, seed):
    rng = np.random.default_rng(seed)
    image, found = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.random((5, 4))
    mixed, grey = figures.overlay(image, found, opacity).astype(int), figures.overlay(image, found, 0).astype(int)
    colours = np.rint(255 * mpl.colormaps[figures.COLOURS](found)[..., :3]).astype(int)
    assert (mixed >= np.minimum(grey, colours) - 1).all() and (mixed <= np.maximum(grey, colours) + 1).all()
    assert abs(figures.overlay(image, found, 1) - colours).max() <= 1


def test_overlays_of_a_batch_are_those_of_its_images_and_a_map_of_zeros_is_one_colour():
    whole = figures.overlay(IMAGES, MAPS)
    assert np.array_equal(whole[2], figures.overlay(IMAGES[2], MAPS[2]))
    zeros = figures.overlay(IMAGES, np.zeros_like(MAPS), opacity=1.0)
    assert len(np.unique(zeros.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("maps", [2 * MAPS, MAPS - 1, MAPS * np.nan])
def test_overlay_refuses_maps_that_are_not_in_zero_to_one(maps):
    with pytest.raises(ValueError, match=r"maps must lie in \[0, 1\], not from"):
        figures.overlay(IMAGES, maps)


def test_the_image_is_grey():
    image = np.array([[[255, 255, 255], [255, 0, 0], [0, 100, 200]]], np.uint8)
    expected = [[[255] * 3, [76] * 3, [82] * 3]]  # .587 · 100 + .114 · 200 = 81.5
    assert figures.overlay(image, np.ones((1, 3)), opacity=0).tolist() == expected
