"""Single changes found among full runs, by hand-made runs."""

import json
import math

import pandas as pd
import pytest

from helpers import recipes
from helpers.recipes import FIELDS
from helpers.results.ablations import ablations, worded
from helpers.results.archive import flat
from helpers.results.intervals import runs_needed

CUTOUT = json.dumps([{"transform": "PadCrop", "padding": 4}, {"transform": "Cutout", "size": 8}])
CROP = json.dumps([{"transform": "PadCrop", "padding": 4}])


def run(accuracy, seed=0, dataset="cifar10", name="davidnet-onecycle-plus", device="cpu (A), bf16", **changes):
    """The row of a full run in results.csv."""
    recipe = recipes.get(name, changes)
    record = {"recipe": recipe.to_dict(), "dataset": dataset, "profile": "full", "seed": seed}
    record |= {"test_accuracy": accuracy, "weights": "averaged" if recipe.ema_epochs else "raw"}
    return flat(record | {"device": device, "loader": None})


def found(*runs):
    return {(one.base, one.change): one for one in ablations(pd.DataFrame(runs)).itertuples()}


def test_seeds_of_both_are_paired_and_the_others_left_out():
    whole = [run(0.94, 0), run(0.95, 1), run(0.99, 2)]
    changed = [run(0.93, 1, label_smoothing=0.0), run(0.90, 0, label_smoothing=0.0), run(0.5, 7, label_smoothing=0.0)]
    one = found(*whole, *changed)["davidnet-onecycle-plus", "label_smoothing 0.2 → 0"]
    assert one.differences == pytest.approx([-0.04, -0.02]) and one.effect.value == pytest.approx(-0.03)
    assert (one.without.value, one.with_it.value) == pytest.approx((0.945, 0.915))
    assert one.effect.verdict == "undecided" and one.needed == "unknown"  # two pairs are too few


def test_a_run_s_raw_weights_are_no_change_and_other_weights_are_named():
    assert found(run(0.94, 0), run(0.95, 3)) == found() == {}
    (one,) = found(run(0.94), run(0.93, ema_epochs=0.0)).values()
    assert one.change.endswith(" → 0") and one.weights == ("averaged", "raw")


def test_changes_that_can_be_decided_share_the_level():
    """Of three changes two have the pairs to decide, so each interval is that of 97.5 %."""
    whole = [run(value, seed) for seed, value in enumerate((0.94, 0.942, 0.944))]
    smooth = [run(value, seed, label_smoothing=0.0) for seed, value in enumerate((0.93, 0.931, 0.932))]
    narrow = [run(value, seed, width=32) for seed, value in enumerate((0.939, 0.942, 0.945))]
    all_found = found(*whole, *smooth, *narrow, run(0.9, 0, max_lr=0.1))
    assert len(all_found) == 3
    one = all_found["davidnet-onecycle-plus", "label_smoothing 0.2 → 0"]  # −1, −1.1 and −1.2 points
    half = 6.205347 * 0.001 / math.sqrt(3)  # t of two degrees of freedom, 97.5 %
    assert (one.effect.low, one.effect.high) == pytest.approx((-0.011 - half, -0.011 + half), abs=1e-8)
    assert one.effect.verdict == "second" and one.needed == runs_needed(0.002, 0.001, True, 2)
    undecided = all_found["davidnet-onecycle-plus", "width 64 → 32"]  # −0.1, 0 and 0.1 points
    assert undecided.effect.verdict == "undecided"


def test_one_run_of_each_has_no_interval():
    one = found(run(0.94), run(0.93, width=16))["davidnet-onecycle-plus", "width 64 → 16"]
    assert math.isnan(one.effect.low) and one.effect.verdict == "undecided" and str(one.without).endswith("(one run)")


def test_another_number_format_is_no_pair_and_another_machine_is():
    plus, half = run(0.94), run(0.93, device="cuda (B), fp16", max_lr=0.2)
    assert found(plus, half) == {} and len(found(plus, run(0.93, device="cpu (C), bf16", max_lr=0.2))) == 1


def test_a_changed_recipe_may_be_a_base_itself():
    narrow = run(0.88, width=16)
    keys = list(found(run(0.94), narrow, run(0.86, width=16, logit_scale=1.0)))
    base = "davidnet-onecycle-plus"
    assert keys == [
        (base, "width 64 → 16"),
        (f"{base}+width=16", "logit_scale 0.125 → 1"),
    ]


def test_two_changes_two_variants_and_two_data_sets_are_no_ablations():
    plus = run(0.94)
    assert len(found(plus, run(0.9, width=16, label_smoothing=0.0))) == 0
    assert len(found(run(0.9, max_lr=0.2), run(0.8, max_lr=0.3))) == 0
    assert len(found(plus, run(0.9, max_lr=0.2, dataset="shapes10"))) == 0
    assert len(found(plus, run(0.9, seed=1, max_lr=0.2))) == 0


def test_two_named_recipes_count_if_one_field_differs():
    first, second = run(0.91, name="published-b1"), run(0.92, name="published-b2")
    assert list(found(first, second)) == [("published-b1", "max_lr 0.01 → 0.00933")]


@pytest.mark.parametrize(
    "before, after, said",
    [
        (CUTOUT, CROP, "without Cutout (size 8)"),
        (CROP, CUTOUT, "with Cutout (size 8)"),
        (CUTOUT, "[]", "without PadCrop (padding 4), Cutout (size 8)"),
        (CUTOUT, CUTOUT.replace("8", "16"), "without Cutout (size 8), with Cutout (size 16)"),
        (json.dumps(json.loads(CUTOUT)[::-1]), CUTOUT, "transforms in another order"),
    ],
)
def test_transforms_in_words(before, after, said):
    assert worded("transforms", before, after) == said


def test_every_field_of_a_recipe_counts_but_its_name():
    assert set(recipes.get("published-a").to_dict()) - set(FIELDS) == {"name", "overridden"}
