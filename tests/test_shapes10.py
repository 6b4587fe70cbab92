"""helpers.shapes10: what is drawn, and whether the masks tell the truth."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import shapes10
from helpers.data.shapes10 import CLASSES, draw

LABELS = [6, 8, 2, 4, 9, 0, 5, 3, 7, 1, 5, 4, 9, 2, 3, 7, 6, 1, 0, 8]  # of the first training images
LEVELS = [[38.1, 62.8, 51.6], [87.5, 86.1, 84.5], [86.0, 111.0, 92.0], [83.7, 92.0, 117.8], [107.4, 93.4, 107.0]]
AREAS = [243, 160, 221, 246, 242]  # pixels of their masks
CONVEX = ("circle", "triangle", "square", "pentagon", "hexagon")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw("train", 1000)


def covers(label: str, count: int = 60) -> list[np.ndarray]:
    """Coverages (32, 32) of one class, without anything else."""
    return [shapes10._coverage(CLASSES.index(label), np.random.default_rng(i)) for i in range(count)]


def outline(cover: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours((cover >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(contours, key=cv2.contourArea)


def test_shapes_and_types(drawn):
    images, labels, masks = drawn
    assert (images.shape, images.dtype) == ((1000, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((1000,), np.int64)
    assert (masks.shape, masks.dtype) == ((1000, 32, 32), bool)
    assert len(CLASSES) == len(set(CLASSES)) == len(shapes10.HUES) == len(shapes10._outlines()) == 10


def test_every_ten_images_hold_each_class_once_in_changing_order(drawn):
    blocks = drawn[1].reshape(-1, 10)
    assert np.array_equal(np.sort(blocks, axis=1), np.tile(np.arange(10), (100, 1)))
    assert len(np.unique(blocks, axis=0)) == 100


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["train", "test"]), st.integers(0, 12), st.integers(0, 12))
def test_a_short_draw_begins_a_longer_one(split, short, more):
    for part, whole in zip(draw(split, short), draw(split, short + more)):
        assert np.array_equal(part, whole[:short])


def test_draws_never_change(drawn):
    """Published maps rest on them. Means, since versions of OpenCV may round a pixel differently."""
    images, labels, masks = drawn
    assert labels[:20].tolist() == LABELS
    assert np.allclose(images[:5].mean(axis=(1, 2)), LEVELS, atol=0.5)
    assert np.allclose(masks[:5].sum(axis=(1, 2)), AREAS, atol=2)


def test_splits_share_no_image(drawn):
    both = np.concatenate([draw("test", 100)[0], drawn[0][:100]])
    assert len(np.unique(both.reshape(200, -1), axis=0)) == 200


def test_drawing_leaves_numpys_generator_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    draw("train", 5)
    assert np.array_equal(before, np.random.get_state()[1])


def test_constants_are_those_of_the_training_split(drawn):
    """Computed once over all 50,000; the tolerance is four standard errors for the thousand used here."""
    pixels = drawn[0].reshape(1000, -1, 3) / 255
    error = pixels.mean(axis=1).std(axis=0) / np.sqrt(1000)
    assert np.all(np.abs(pixels.mean(axis=(0, 1)) - shapes10.MEAN) < 4 * error)
    assert np.allclose(pixels.reshape(-1, 3).std(axis=0), shapes10.STD, atol=0.012)


# ---- masks


def test_masks_are_neither_empty_nor_everything(drawn):
    share = drawn[2].mean(axis=(1, 2))
    assert share.min() > 0.03 and share.max() < 0.45


def test_images_differ_from_their_surroundings_where_the_mask_says(drawn):
    images, _, masks = drawn
    assert np.mean([contrast(i, m) for i, m in zip(images, masks)]) > 2 * np.mean(
        [contrast(i, m) for i, m in zip(images, np.roll(masks, 1, axis=0))]
    )


def contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """Distance in RGB between the pixels just inside and just outside of a mask's edge."""
    kernel = np.ones((3, 3), np.uint8)
    inside = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    outside = cv2.dilate(mask.astype(np.uint8), kernel).astype(bool) & ~mask
    return float(np.linalg.norm(image[inside].mean(axis=0) - image[outside].mean(axis=0)))


def test_nothing_outside_the_mask_depends_on_the_object(monkeypatch):
    """Render the same picture in two paints: it changes where the mask is, and nowhere far from it."""
    monkeypatch.setattr(shapes10, "ACROSS", 0.0)
    pictures = []
    for grey in (0.0, 1.0):
        monkeypatch.setattr(
            shapes10, "_paint", lambda under, hue, rng, grey=grey: np.full((32, 32, 3), grey, np.float32)
        )
        pictures.append(draw("train", 40)[0].astype(int))
    changed = np.abs(pictures[0] - pictures[1]).max(axis=3) > 60
    for mask, change in zip(draw("train", 40)[2], changed):
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert not np.any(change & ~near)
        assert np.mean(change[core]) > 0.95


def test_a_line_in_front_is_not_part_of_the_mask(monkeypatch):
    sizes = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(shapes10, "ACROSS", share)
        sizes.append(draw("train", 60)[2].sum(axis=(1, 2)))
    assert np.all(sizes[1] <= sizes[0]) and np.mean(sizes[1] < sizes[0]) > 0.5


def test_coverage_of_whole_pixels_by_hand():
    cover = shapes10._fill([np.array([(2.5, 2.5), (6.5, 2.5), (6.5, 5.5), (2.5, 5.5)])])
    assert np.all(cover[3:6, 3:7] == 1)
    cover[3:6, 3:7] = 0
    assert cover.max() <= 0.15 and np.all(cover[7:] == 0) and np.all(cover[:, 8:] == 0)


@pytest.mark.parametrize("label", CLASSES)
def test_coverage_agrees_with_the_shoelace_formula(label):
    contours = [9 * contour + 15.3 for contour in shapes10._outlines()[CLASSES.index(label)]]
    areas = [abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 for x, y in (contour.T for contour in contours)]
    assert shapes10._fill(contours).sum() == pytest.approx(areas[0] - sum(areas[1:]), rel=0.04)


# ---- classes


def test_random_crop_and_cutout_leave_the_object(drawn):
    """Padding by 4, the worst crop, and the worst 8 x 8 cutout keep most of nearly every object."""
    for mask in drawn[2]:
        area = mask.sum()
        padded = np.pad(mask, 4)
        crops = [padded[r : r + 32, c : c + 32].sum() for r in (0, 8) for c in (0, 8)]
        windows = np.lib.stride_tricks.sliding_window_view(mask, (8, 8)).sum(axis=(2, 3))
        assert min(crops) > 0.5 * area and windows.max() < 0.75 * area


@pytest.mark.parametrize("label", CLASSES)
def test_mirroring_keeps_the_class(label):
    """The mirror image of each outline, upright, is the outline itself, apart from the crescent's side."""
    shape = CLASSES.index(label)
    contours = shapes10._outlines()[shape]
    there = shapes10._fill([10 * contour + 15.5 for contour in contours])
    back = shapes10._fill([10 * contour * (-1, 1) + 15.5 for contour in contours])
    overlap = np.minimum(there, back).sum() / np.maximum(there, back).sum()
    assert overlap > 0.95 or label == "crescent"
    assert np.allclose(back, there[:, ::-1], atol=0.15)


def test_the_ring_has_a_hole_and_the_disc_none():
    for cover in covers("ring"):
        rows, columns = np.nonzero(cover >= 0.5)
        assert cover[round(rows.mean()), round(columns.mean())] == 0
    for cover in covers("circle"):
        rows, columns = np.nonzero(cover >= 0.5)
        assert cover[round(rows.mean()), round(columns.mean())] == 1


@pytest.mark.parametrize("label, convex", [(name, name in CONVEX) for name in CLASSES if name not in ("ring", "heart")])
def test_shapes_are_convex_or_notched_as_their_names_say(label, convex):
    contours = [outline(cover) for cover in covers(label)]
    solidity = np.array([cv2.contourArea(c) / cv2.contourArea(cv2.convexHull(c)) for c in contours])
    assert np.all(solidity > 0.86) if convex else np.all(solidity < 0.86)


@pytest.mark.parametrize("label, corners", [("triangle", 3), ("square", 4), ("pentagon", 5)])
def test_polygons_have_their_corners(label, corners):
    found = [len(cv2.approxPolyDP(outline(c), 2.0, True)) for c in covers(label)]
    assert np.mean(np.array(found) == corners) > 0.8


# ---- textures


def test_colours_stay_within_their_ranges():
    rng = np.random.default_rng(0)
    for _ in range(200):
        red, green, blue = shapes10.colour(rng, ((0.5, 0.8), (0.3, 0.6)))
        brightest, darkest = max(red, green, blue), min(red, green, blue)
        assert 0.299 < brightest < 0.601
        assert 0.499 < 1 - darkest / brightest < 0.801


def test_a_given_hue_is_met():
    red, green, blue = shapes10.colour(np.random.default_rng(0), ((1, 1), (1, 1)), hue=1 / 3)
    assert (red, blue) == pytest.approx((0, 0), abs=1e-6) and green == 1


@pytest.mark.parametrize("kind", shapes10.WAVES)
def test_waves_fill_the_range(kind):
    fields = np.stack([shapes10.waves(np.random.default_rng(i), kind) for i in range(50)])
    assert fields.dtype == np.float32 and fields.min() >= 0 and fields.max() <= 1
    assert np.mean(np.ptp(fields, axis=(1, 2)) > 0.8) > 0.8
