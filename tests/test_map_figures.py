"""Maps laid over images, pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import figures

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).random((4, 8, 8))


def test_overlay_by_hand():
    image = np.array([[[100, 0, 200], [100, 0, 200], [9, 8, 7]]], np.uint8)
    found = figures.overlay(image, torch.tensor([[0.0, 0.49, 0.5]]))
    assert found.dtype == np.uint8
    dim = [26, 56, 91]  # .299 · 100 + .114 · 200 = 52.7, and its means with 0, 60 and 130
    assert found.tolist() == [[dim, dim, [9, 8, 7]]]


@given(st.integers(0, 100))
def test_half_of_the_maximum_parts_image_and_dim_blue(seed):
    rng = np.random.default_rng(seed)
    image, found = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.random((5, 4))
    laid = figures.overlay(image, found)
    assert np.array_equal(laid[found >= 0.5], image[found >= 0.5])
    assert (np.diff(laid[found < 0.5].astype(int), axis=-1) >= 29).all()  # red below green below blue: one hue


def test_overlays_of_a_batch_are_those_of_its_images():
    assert np.array_equal(figures.overlay(IMAGES, MAPS)[2], figures.overlay(IMAGES[2], MAPS[2]))
    assert np.array_equal(figures.overlay(IMAGES, np.ones_like(MAPS)), IMAGES)


@pytest.mark.parametrize("maps", [2 * MAPS, MAPS - 1, MAPS * np.nan])
def test_overlay_refuses_maps_that_are_not_in_zero_to_one(maps):
    with pytest.raises(ValueError, match=r"maps must lie in \[0, 1\], not from"):
        figures.overlay(IMAGES, maps)
