import albumentations as A
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import recipes
from helpers.data import augment
from helpers.data.augment import Cutout, Flip, GridDistortion, PadCrop, Rotate, VerticalFlip

MEAN = (0.4914, 0.4822, 0.4465)
FILL = np.array([125, 123, 114])  # 255 × MEAN, rounded by hand
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def draws(transforms, count=40, key=(0,), image=IMAGE):
    pipeline = augment.pipeline(transforms, MEAN)
    augment.reseed(pipeline, *key)
    return augment.apply(pipeline, np.stack([image] * count))


@pytest.mark.parametrize("border, mode", [("reflect", "reflect"), ("constant", "constant")])
def test_pad_crop_cuts_windows_of_the_padded_image(border, mode):
    padded = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)), mode=mode)
    offsets = set()
    for cut in draws([PadCrop(4, border)]):
        found = [(y, x) for y in range(9) for x in range(9) if np.array_equal(cut, padded[y : y + 32, x : x + 32])]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 20


def test_flips_mirror_the_right_axis():
    assert all(np.array_equal(cut, IMAGE[:, ::-1]) for cut in draws([Flip(p=1)], 3))
    assert all(np.array_equal(cut, IMAGE[::-1]) for cut in draws([VerticalFlip(p=1)], 3))


def test_flip_happens_as_often_as_asked():
    flipped = sum(np.array_equal(cut, IMAGE[:, ::-1]) for cut in draws([Flip(p=0.25)], 2000))
    assert abs(flipped / 2000 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)


@pytest.mark.parametrize("fill, value", [("mean", FILL), ("black", np.zeros(3))])
def test_cutout_covers_one_square_with_the_fill_and_nothing_else(fill, value):
    image = np.full((32, 32, 3), 200, np.uint8)
    for cut in draws([Cutout(8, fill=fill)], image=image):
        hole = (cut != image).any(-1)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == 64 and np.ptp(rows) == np.ptp(columns) == 7
        assert (cut[hole] == value).all()


def test_cutout_can_make_several_holes():
    image = np.full((32, 32, 3), 200, np.uint8)
    covered = [(cut != image).any(-1).sum() for cut in draws([Cutout(8, holes=8)], image=image)]
    assert max(covered) <= 8 * 64 and np.mean(covered) > 3 * 64


def test_rotation_and_distortion_move_pixels_and_keep_shape_and_type():
    for transform in (Rotate(10, p=1), GridDistortion(0.3, p=1)):
        moved = draws([transform], 3)
        assert moved.shape == (3, 32, 32, 3) and moved.dtype == np.uint8
        assert all((cut != IMAGE).any() for cut in moved)
    assert np.array_equal(draws([Rotate(0, p=1)], 1)[0], IMAGE)


def test_rotation_and_distortion_bring_in_no_black():
    grey = np.full((32, 32, 3), 100, np.uint8)
    for transform in (Rotate(10, p=1), GridDistortion(0.3, p=1)):
        assert (draws([transform], image=grey) == 100).all()


def test_transforms_run_in_the_recipe_s_order():
    """Cutout last leaves its square whole; padding by reflection after it would copy parts of the square."""
    image = np.full((32, 32, 3), 200, np.uint8)
    for cut in draws([PadCrop(4), Flip(), Cutout(8)], image=image):
        assert (cut != image).any(-1).sum() == 64
    sizes = {(cut != image).any(-1).sum() for cut in draws([Cutout(8), PadCrop(4)], image=image)}
    assert len(sizes) > 1


def test_equal_keys_repeat_and_different_keys_differ():
    transforms = recipes.PAD_CROP_FLIP_CUTOUT
    assert np.array_equal(draws(transforms, key=(1, 2, 3)), draws(transforms, key=(1, 2, 3)))
    assert not np.array_equal(draws(transforms, key=(1, 2, 3)), draws(transforms, key=(1, 2, 4)))


def agreement(pipeline):
    """How often two independent fair flips do the same; half the time, if they are independent."""
    marker = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, 2)
    outcomes = [pipeline(image=marker)["image"][0, 0, 0] for _ in range(400)]
    return np.mean([int(corner) in (0, 3) for corner in outcomes])  # neither flipped: 0; both: 3


def test_two_flips_are_independent_though_seeded_albumentations_makes_them_agree():
    ours = augment.pipeline([Flip(), VerticalFlip()], MEAN)
    augment.reseed(ours, 7)
    assert 0.4 < agreement(ours) < 0.6
    plain = A.Compose([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)], seed=7)
    assert agreement(plain) == 1.0


def test_nothing_to_do_returns_the_images_themselves():
    images = np.stack([IMAGE])
    assert augment.apply(augment.pipeline([], MEAN), images) is images
    assert len(augment.apply(augment.pipeline([Flip()], MEAN), images[:0])) == 0


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_s_pipeline_is_understood_by_albumentations(name, recwarn):
    augment.pipeline(recipes.RECIPES[name].transforms, MEAN)
    assert not [str(w.message) for w in recwarn if "not valid" in str(w.message)]


transforms = st.one_of(
    st.builds(PadCrop, st.integers(0, 8), st.sampled_from(["reflect", "constant"])),
    st.builds(Flip, st.floats(0, 1)),
    st.builds(Cutout, st.integers(1, 16), st.integers(1, 8), st.floats(0, 1), st.sampled_from(["mean", "black"])),
)


@given(transforms)
def test_transforms_survive_being_written_as_plain_values(transform):
    assert augment.from_dict(augment.to_dict(transform)) == transform


@pytest.mark.parametrize("values", [{"transform": "Blur"}, {"transform": "Flip", "q": 1}, {}])
def test_unknown_transforms_are_refused_with_what_is_allowed(values):
    with pytest.raises(ValueError, match="unknown transform or setting.*PadCrop.*Cutout"):
        augment.from_dict(values)
