"""Figures of maps: the pixels, lines, intervals and texts that they show."""

import matplotlib

matplotlib.use("Agg")

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.figures import cam_plots, pictures, style
from helpers.gradcam import scores as cam_scores
from helpers.gradcam.sanity import Randomisation, Similarity
from helpers.gradcam.scores import Curve

ABOUT = "Shapes-10, DavidNet, 2 images"
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).random((4, 8, 8))


@pytest.fixture(autouse=True)
def figures():
    """The series' style inside a test, and no figure left open after it."""
    with mpl.rc_context():
        style.use_style()
        yield
        plt.close("all")


def lines(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines if not line.get_label().startswith("_")}


def drawn(ax):
    return np.asarray(ax.images[0].get_array())


# ---- overlay


def test_overlay_by_hand():
    image = np.array([[[100, 0, 200], [0, 0, 0]]], np.uint8)
    first, last = (255 * np.array(mpl.colormaps[cam_plots.COLOURS](end)[:3]) for end in (0.0, 1.0))
    found = cam_plots.overlay(image, torch.tensor([[0.0, 1.0]]), opacity=0.25)
    assert found.dtype == np.uint8
    expected = [0.75 * image[0, 0] + 0.25 * first, 0.25 * last]
    np.testing.assert_array_equal(found[0], np.rint(expected).astype(np.uint8))


@given(st.floats(0, 1), st.integers(0, 100))
def test_overlay_lies_between_image_and_map(opacity, seed):
    rng = np.random.default_rng(seed)
    image, found = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), rng.random((5, 4))
    mixed = cam_plots.overlay(image, found, opacity).astype(int)
    colours = np.rint(255 * mpl.colormaps[cam_plots.COLOURS](found)[..., :3]).astype(int)
    assert (mixed >= np.minimum(image, colours) - 1).all() and (mixed <= np.maximum(image, colours) + 1).all()
    assert np.array_equal(cam_plots.overlay(image, found, 0), image)
    assert abs(cam_plots.overlay(image, found, 1) - colours).max() <= 1


def test_overlays_of_a_batch_are_those_of_its_images_and_a_map_of_zeros_is_one_colour():
    whole = cam_plots.overlay(IMAGES, MAPS)
    assert np.array_equal(whole[2], cam_plots.overlay(IMAGES[2], MAPS[2]))
    zeros = cam_plots.overlay(IMAGES, np.zeros_like(MAPS), opacity=1.0)
    assert len(np.unique(zeros.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    "images, maps, opacity, said",
    [
        (IMAGES / 255, MAPS, 0.5, "uint8 of shape"),
        (IMAGES, MAPS[:2], 0.5, r"uint8 of shape \(2, 8, 8, 3\)"),
        (IMAGES, 2 * MAPS, 0.5, "from 0 to 1"),
        (IMAGES, MAPS * np.nan, 0.5, "from 0 to 1"),
        (IMAGES, MAPS, 1.5, "opacity must be"),
    ],
)
def test_overlay_names_what_does_not_fit(images, maps, opacity, said):
    with pytest.raises(ValueError, match=said):
        cam_plots.overlay(images, maps, opacity)


# ---- grids of maps


def test_grey_by_hand():
    image = np.array([[[255, 255, 255], [255, 0, 0], [0, 100, 200]]], np.uint8)
    assert cam_plots.grey(image).tolist() == [[[255] * 3, [76] * 3, [82] * 3]]  # .587 · 100 + .114 · 200 = 81.5


def test_rows_of_maps():
    images, stages = IMAGES[:2], {"prep": torch.from_numpy(MAPS[:2]), "layer1": MAPS[2:]}
    ax = cam_plots.plot_maps(images, stages, ["cat", "dog"], "Stages")
    rows = np.stack([images, *(cam_plots.overlay(cam_plots.grey(images), maps) for maps in stages.values())], axis=1)
    assert np.array_equal(drawn(ax), pictures.mosaic(rows))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["image", "prep", "layer1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    assert ax.get_title("left") == "Stages"


def test_triptychs():
    images, maps = IMAGES // 128 * 128, np.rint(3 * MAPS) / 3  # few colours, so that none is changed
    figure = cam_plots.plot_triptychs(images, maps, 1 - maps, list("abcd"), "image | said | true")
    assert [ax.get_title("left") for ax in figure.axes] == list("abcd")
    left, middle, right = (np.s_[:, start : start + 8] for start in (0, 8 + pictures.GAP, 16 + 2 * pictures.GAP))
    for ax, image, said in zip(figure.axes, images, maps):
        page = drawn(ax)
        assert page.shape == (8, 24 + 2 * pictures.GAP, 3)
        panels = image, *(cam_plots.overlay(cam_plots.grey(image), shown) for shown in (said, 1 - said))
        for place, panel in zip((left, middle, right), panels):
            assert np.array_equal(page[place], panel)
    assert figure.texts[0].get_text() == "image | said | true"


def test_scale_runs_from_nothing_to_the_most():
    ax = cam_plots.plot_scale()
    assert drawn(ax)[0, 0] == 0 and drawn(ax)[0, -1] == 1
    assert [label.get_text()[:2] for label in ax.get_xticklabels()] == ["0:", "1:"]


# ---- scores


@pytest.mark.parametrize("taken", [True, False])
def test_curves_with_their_areas(taken):
    shares = np.array([0, 0.5, 1.0])
    curves = {
        "map": Curve(shares, np.array([[1, 0.2, 0], [0.8, 0.4, 0]])),
        "random order": Curve(shares, np.array([[1, 0.6, 0], [0.8, 0.6, 0.0]])),
    }
    ax = cam_plots.plot_perturbation(curves, ABOUT, taken)
    found = lines(ax)
    for (label, heights), (name, curve) in zip(found.items(), curves.items()):
        assert label.startswith(f"{name}: area {curve.area.value:.3f} ({curve.area.low:.3f} to {curve.area.high:.3f}")
        np.testing.assert_allclose(heights, curve.scores.mean(0))
    assert ax.lines[0].get_xdata().tolist() == shares.tolist()
    assert len(ax.collections) == 2  # a band each
    assert ax.get_title("left").startswith("Deletion: low is good" if taken else "Insertion: high is good")
    assert ABOUT in ax.get_title("left")
    assert ax.get_xlabel() == ("pixels taken away" if taken else "pixels put in")


def test_seven_lines_can_be_told_apart():
    shares = np.array([0, 1.0])
    curves = {f"order {k}": Curve(shares, np.full((2, 2), k / 10)) for k in range(7)}
    looks = [(line.get_color(), line.get_linestyle()) for line in cam_plots.plot_perturbation(curves, ABOUT).lines]
    assert len(set(looks)) == 7 and ":" not in {line for _, line in looks}


def checked(*means):
    """A check whose rows have these means over two images."""
    stages = ["nothing", "head", "layer3"]
    rows = [Similarity(s, np.array([m, m])) for s, m in zip(stages, means)]
    return Randomisation(rows, Similarity("another image", np.array([0.1, 0.3])))


def test_randomisation_stage_by_stage():
    checks = {"layer1": checked(1.0, 0.8, 0.3), "layer2": checked(1.0, 0.5, 0.1)}
    ax = cam_plots.plot_randomisation(checks, ABOUT)
    drawn_means = [bars.lines[0].get_ydata().astype(float) for bars in ax.containers]
    np.testing.assert_allclose(drawn_means, [[1, 0.8, 0.3], [1, 0.5, 0.1]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["nothing", "+ head", "+ layer3"]
    levels = [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == ":" and len(line.get_ydata()) == 2]
    assert levels == [[pytest.approx(0.2)] * 2] * 2
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(legend) == ["layer1", "layer2", "maps of two different images"]
    assert ax.get_ylabel() == "rank correlation with the trained net's map" and ABOUT in ax.get_title("left")


@pytest.mark.parametrize("quantity", ["hits", "energy"])
def test_pointing_as_dots_with_intervals_over_baselines(quantity):
    masks = np.random.default_rng(0).random((40, 8, 8)) < 0.3
    masks[:, 4, 4] = True
    scores = cam_scores.pointing({"layer3": np.random.default_rng(1).random((40, 8, 8))}, masks)
    ax = cam_plots.plot_pointing(scores, ABOUT, quantity)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layer3", "centre prior", "mask's area"]
    found = [getattr(score, quantity) for score in scores.values()]
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() in ("o", "D")]
    assert dots == [share.value for share in found]
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 6]
    assert bars == [[share.low, share.high] for share in found]
    rules = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert rules == dots[1:]
    assert [text.get_text() for text in ax.texts] == [f"{share.value:.1%}" for share in found]
    assert ABOUT in ax.get_title("left")


def test_pointing_runs_from_the_top_down_in_panels_that_share_their_axis():
    maps = np.random.default_rng(1).random((4, 8, 8))
    scores = cam_scores.pointing({"layer3": maps}, maps > 0.5)
    axes = plt.subplots(1, 2, sharey=True)[1]
    for ax, quantity in zip(axes, ("hits", "energy")):
        cam_plots.plot_pointing(scores, ABOUT, quantity, ax)
        bottom, top = ax.get_ylim()
        assert bottom > len(scores) - 1 and top < 0


def test_unknown_quantities():
    with pytest.raises(ValueError, match="unknown quantity 'iou'; allowed: hits, energy"):
        cam_plots.plot_pointing({}, ABOUT, "iou")
