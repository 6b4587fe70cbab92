import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import recipes
from helpers.data.augment import Cutout, Flip, GridDistortion, PadCrop, Rotate, VerticalFlip
from helpers.devices import Compute
from helpers.recipes import RECIPES

# The reference table, typed anew: net, batch, epochs, schedule, first or highest rate, weight decay
PUBLISHED = {
    "published-a": ("resnet18", 128, 50, "plateau", 1.23e-2, 0),
    "published-b1": ("resnet18", 128, 50, "plateau", 1e-2, 0),
    "published-b2": ("resnet18", 128, 50, "plateau", 9.33e-3, 0),
    "published-c": ("resnet18", 128, 50, "step", 9e-3, 1e-4),
    "published-d": ("davidnet", 512, 24, "one-cycle", 0.0077, 0),
    "published-e-step": ("resnet18", 128, 24, "step", 5e-4, 0.2),
    "published-e-plateau": ("resnet18", 512, 25, "plateau", 0.0832, 2e-3),
}
SEEN = {  # their augmentation, in order
    "published-a": (GridDistortion(0.3, 0.5), Rotate(10, 0.5), Flip(0.25), Cutout(12, 1, 0.5, "black")),
    "published-b1": (PadCrop(2, "constant"), Flip(0.5)),
    "published-b2": (PadCrop(2, "constant"), Flip(0.5)),
    "published-c": (Rotate(10, 0.5), Flip(0.5), VerticalFlip(0.5), Cutout(8, 8, 0.5, "black")),
    "published-d": (PadCrop(4, "constant"), Flip(0.5), Cutout(8, 1, 0.5)),
    "published-e-step": (Flip(0.5),),
    "published-e-plateau": (Flip(0.5), Cutout(4, 1, 0.3)),
}
NORMALISED = {
    "published-c": "half",
    "published-d": "per-image",
    "published-e-step": "half",
    "published-e-plateau": "half",
}
OURS = {  # net, batch, epochs, schedule, rates, weight decay, label smoothing, epochs of the average, held out
    "davidnet-onecycle": ("davidnet", 512, 24, "one-cycle", 0.1, 3e-4, 5e-4, 0, 0, 0),
    "davidnet-onecycle-plus": ("davidnet", 512, 24, "one-cycle", 0.4, 0.04, 5e-4, 0.2, 5, 0),
    "resnet18-plateau": ("resnet18", 128, 50, "plateau", 0.1, 0, 5e-4, 0, 0, 5000),
    "resnet18-onecycle": ("resnet18", 128, 50, "one-cycle", 0.1, 1e-4, 5e-4, 0.1, 2, 0),
}
SHORTENED = ("step", "plateau")
PLATEAUS = {  # patience, factor, and whose loss was watched
    "a": (3, 0.1, "last batch"),
    "b1": (5, 0.5, "test"),
    "b2": (5, 0.5, "test"),
    "e-plateau": (3, 0.2, "test"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_have_the_published_settings(name):
    r = RECIPES[name]
    assert (r.net, r.batch_size, r.epochs, r.schedule, r.max_lr, r.weight_decay) == PUBLISHED[name]
    assert r.momentum == 0.9 and r.holdout == 0 and r.ema_epochs == 0 and r.logit_scale == 1
    assert r.nesterov == (name == "published-c")
    assert r.transforms == SEEN[name] and r.statistics == NORMALISED.get(name, "dataset")
    assert r.l1 == (1e-5 if name == "published-c" else 0)


def test_published_schedules_other_than_plateaus_are_theirs():
    cycle, step, cuts = (RECIPES[f"published-{name}"] for name in ("d", "e-step", "c"))
    assert (cycle.min_lr, cycle.max_lr, cycle.peak, cycle.ease) == (0.0077 / 8, 0.0077, 5 / 24, "cosine")
    assert (step.factor, step.cuts) == (1 / 3, (10, 20))
    assert cuts.factor == 0.9 and cuts.cuts == (4, 7, 10, 13, 16, 19, 22, 26, 29, 32, 35, 38, 41, 44, 47, 50)
    assert cuts.max_lr * cuts.factor ** len(cuts.cuts) == pytest.approx(1.6677e-3, rel=1e-4)  # what its log ends with


@pytest.mark.parametrize("name", OURS)
def test_our_recipes_are_as_designed(name):
    r = RECIPES[name]
    size, rates = (r.net, r.batch_size, r.epochs), (r.schedule, r.max_lr, r.min_lr, r.weight_decay)
    assert (*size, *rates, r.label_smoothing, r.ema_epochs, r.holdout) == OURS[name]
    assert r.transforms == (PadCrop(4, "reflect"), Flip(0.5), Cutout(8, 1, 1.0, "mean"))
    assert r.nesterov and r.momentum == 0.9 and r.width == 64 and r.statistics == "dataset"
    assert r.schedule != "plateau" or (r.patience, r.factor) == (3, 0.2)
    assert r.schedule != "one-cycle" or r.peak == 5 / 24


@pytest.mark.parametrize("letter", PLATEAUS)
def test_published_plateaus_watch_what_theirs_did_and_say_so(letter):
    recipe = RECIPES[f"published-{letter}"]
    assert (recipe.patience, recipe.factor, recipe.decides_on) == PLATEAUS[letter]


def test_there_are_thirteen_recipes_and_ours_never_decide_on_the_test_set():
    ours = [r for r in RECIPES.values() if not r.name.startswith("published-")]
    assert len(RECIPES) == 13 and len(ours) == 6
    assert {r.name: r.decides_on for r in ours if r.decides_on} == {"resnet18-plateau": "validation"}


def test_the_assignment_s_recipe():
    r = RECIPES["davidnet-onecycle-plus"]
    assert (r.net, r.batch_size, r.epochs, r.peak) == ("davidnet", 512, 24, 5 / 24)
    assert r.transforms == (PadCrop(4, "reflect"), Flip(0.5), Cutout(8, fill="mean"))
    assert r.min_lr == r.max_lr / 10  # no annihilation


def test_overrides_change_fields_and_the_name():
    changed = recipes.get("davidnet-onecycle", {"max_lr": 0.2, "epochs": 3})
    assert (changed.max_lr, changed.epochs) == (0.2, 3)
    assert changed.name == "davidnet-onecycle+epochs=3+max_lr=0.2"


def test_equal_changes_have_equal_names():
    one, other = (recipes.get("davidnet-onecycle", {"max_lr": value}) for value in (1, 1.0))
    assert one == other and one.name == "davidnet-onecycle+max_lr=1.0" and type(one.max_lr) is float


@pytest.mark.parametrize(
    "given",
    [
        {"max_lr": "1e-3", "epochs": "3"},
        '{"max_lr": 1e-3, "epochs": 3}',
        "{'max_lr': '1e-3', 'epochs': 3}",
        {"max_lr": np.float64(0.001), "epochs": np.arange(4)[-1]},
    ],
)
def test_overrides_may_be_text_or_numpy_s(given):
    changed = recipes.get("davidnet-onecycle", given)
    assert changed == recipes.get("davidnet-onecycle", {"max_lr": 0.001, "epochs": 3})
    assert changed.name == "davidnet-onecycle+epochs=3+max_lr=0.001"
    assert json.loads(json.dumps(changed.to_dict()))["epochs"] == 3


@pytest.mark.parametrize("given", ["", "{}", {}, None])
def test_no_overrides_may_be_text_too(given):
    assert recipes.get("davidnet-onecycle", given) is RECIPES["davidnet-onecycle"]


def test_all_fields_may_be_text():
    given = {
        "nesterov": "false",
        "net": "resnet18",
        "cuts": "[2, 9]",
        "max_lr": "1",
        "transforms": '[{"transform": "Flip"}]',
    }
    changed = recipes.get("davidnet-onecycle", given)
    assert not changed.nesterov and changed.net == "resnet18" and changed.cuts == (2, 9)
    assert type(changed.max_lr) is float and changed.transforms == (Flip(),)


def test_numpy_s_numbers_become_python_s_in_every_field():
    recipe = dataclasses.replace(RECIPES["davidnet-onecycle"], epochs=np.int32(3), max_lr=np.float32(0.5))
    recipe = dataclasses.replace(recipe, cuts=np.arange(1, 3), transforms=(PadCrop(np.int64(4)), Flip(np.float64(0.5))))
    values = json.loads(json.dumps(recipe.to_dict()))
    assert (values["epochs"], values["max_lr"], values["cuts"]) == (3, 0.5, [1, 2])
    assert (
        recipes.get("published-c", {"cuts": 4}).cuts == recipes.get("published-c", {"cuts": np.array([4])}).cuts == (4,)
    )
    narrow = recipes.get("davidnet-onecycle", {"max_lr": np.float32(0.1)})
    assert recipes.get(narrow.name) == narrow  # 0.10000000149011612


def test_many_changes_still_make_a_folder_s_name():
    everything = {name: getattr(RECIPES["davidnet-onecycle"], name) for name in recipes.FIELDS if name != "transforms"}
    names = {recipes.get("davidnet-onecycle", {**everything, "epochs": epochs}).name for epochs in (3, 4)}
    assert len(names) == 2 and all(len(name) < 150 and "changes=" in name for name in names)


def test_a_profile_never_lowers_a_rate_below_its_floor():
    asked = recipes.get("resnet18-plateau", {"min_lr": 0.05})
    assert recipes.under(asked, recipes.PROFILES["quick"]).max_lr == 0.05


def test_profiles_leave_overrides_alone():
    asked = recipes.get("davidnet-onecycle-plus", {"epochs": 24, "width": 32, "ema_epochs": 0})
    quick = recipes.under(asked, recipes.PROFILES["quick"])
    assert (quick.epochs, quick.width, quick.ema_epochs, quick.batch_size) == (24, 32, 0, 128)


def test_a_narrower_speednet_has_other_logits_and_so_other_steps():
    sprint, quick = RECIPES["sprint"], recipes.under(RECIPES["sprint"], recipes.PROFILES["quick"])
    assert (quick.width, quick.logit_scale, quick.max_lr) == (16, 1 / 64, sprint.max_lr)
    assert (quick.head_lr, quick.shift_lr) == (1790 / 16, 142 / 16)
    asked = recipes.under(recipes.get("sprint", {"width": 16, "head_lr": 1.0}), recipes.PROFILES["quick"])
    assert (asked.width, asked.logit_scale, asked.head_lr) == (16, 1 / 256, 1)


def test_a_transform_s_whole_numbers_name_the_same_recipe():
    one, other = (recipes.get("sprint", {"transforms": [{"transform": "Flip", "p": p}]}) for p in (1, 1.0))
    assert one == other and one.name == other.name


def test_no_overrides_are_the_recipe_itself():
    assert recipes.get("davidnet-onecycle", {}) is RECIPES["davidnet-onecycle"]


def test_transforms_can_be_overridden_from_json():
    flip_only = recipes.get("davidnet-onecycle", json.loads('{"transforms": [{"transform": "Flip", "p": 0.5}]}'))
    assert flip_only.transforms == (Flip(0.5),)
    none = recipes.get("davidnet-onecycle", {"transforms": []})
    assert none.name != flip_only.name and "/" not in none.name


def test_cuts_can_be_overridden_from_json():
    changed = recipes.get("published-c", json.loads('{"cuts": [2, 2, 9]}'))
    assert changed.cuts == (2, 2, 9) and changed.name == "published-c+cuts=2-2-9"
    assert changed.to_dict()["cuts"] == [2, 2, 9] and recipes.get("published-c", {"cuts": [2, 2, 9]}) == changed


@given(st.floats(0.001, 0.9), st.integers(1, 99), st.booleans())
def test_the_name_of_a_changed_recipe_leads_back_to_it(rate, epochs, nesterov):
    changed = recipes.get("davidnet-onecycle", {"max_lr": rate, "epochs": epochs, "nesterov": nesterov})
    assert recipes.get(changed.name) == changed
    assert recipes.get(changed.name, {"epochs": 100}).epochs == 100


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("davidnet-onecycle+x", {}, "unknown field 'x'"),
        ("resnet50", {}, "unknown recipe 'resnet50'; there are: davidnet-onecycle, .*published-e-plateau"),
        ("davidnet-onecycle", {"lr": 1}, "unknown field 'lr'; overrides may set: net, .*max_lr"),
        ("davidnet-onecycle", {"name": "x"}, "unknown field 'name'"),
        ("davidnet-onecycle", {"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ("davidnet-onecycle", {"epochs": 2.5}, "epochs must be a whole number of at least 1, not 2.5"),
        ("davidnet-onecycle", {"epochs": "3.5"}, "epochs must be a whole number of at least 1, not 3.5"),
        ("davidnet-onecycle", {"epochs": "three"}, "epochs must be a whole number of at least 1, not 'three'"),
        ("davidnet-onecycle", "epochs: 3", "overrides are fields and their values, such as .*, not 'epochs: 3'"),
        ("davidnet-onecycle", "3", "overrides are fields and their values"),
        ("davidnet-onecycle", [("epochs", 3)], "overrides are fields and their values"),
        ("davidnet-onecycle", {"cuts": "two"}, "an epoch of cuts must be a whole number"),
        ("davidnet-onecycle", {"optimizer": "adamw"}, "unknown optimizer 'adamw'; allowed: sgd, muon"),
        ("davidnet-onecycle", {"max_lr": -1}, "max_lr must be a number of at least 0, not -1"),
        ("davidnet-onecycle", {"max_lr": float("nan")}, "max_lr must be a number"),
        ("davidnet-onecycle", {"nesterov": "yes"}, "nesterov must be True or False, not 'yes'"),
        ("davidnet-onecycle", {"label_smoothing": 1.5}, "label_smoothing must be a number from 0 to 1, not 1.5"),
        ("davidnet-onecycle", {"momentum": -1}, "momentum must be a number from 0 to 1, not -1"),
        ("davidnet-onecycle", {"logit_scale": "x"}, "logit_scale must be a number of at least 0, not 'x'"),
        ("davidnet-onecycle", {"transforms": 5}, "transforms must be a list such as"),
        ("davidnet-onecycle", {"transforms": ["Flip"]}, "transforms must be a list such as"),
        ("davidnet-onecycle", {"transforms": [{"transform": "PadCrop", "border": "x"}]}, "unknown border 'x'; allowed"),
        ("davidnet-onecycle", {"net": ["a"]}, "unknown net"),
        ("resnet18-plateau", {"holdout": 0}, "a plateau that watches validation images needs a holdout"),
        ("davidnet-onecycle", {"schedule": "plateau"}, "a plateau that watches validation images needs a holdout"),
        ("resnet18-plateau", {"watches": "test"}, "may not decide on the test"),
        ("resnet18-plateau", {"watches": "last batch"}, "may not decide on the last batch"),
        ("resnet18-plateau", {"watches": "train"}, "unknown watches 'train'; allowed: validation, test, last batch"),
        ("published-c", {"cuts": [3, 2]}, "cuts are epochs in rising order"),
        ("published-c", {"cuts": [0]}, "an epoch of cuts must be a whole number of at least 1, not 0"),
        ("davidnet-onecycle", {"ease": "sine"}, "unknown ease 'sine'; allowed: linear, cosine, rex"),
        ("davidnet-onecycle", {"whiten": True}, "whiten and small_epochs are for a speednet, not for a davidnet"),
        ("resnet18-onecycle", {"small_epochs": 1}, "whiten and small_epochs are for a speednet, not for a resnet18"),
        ("davidnet-onecycle", {"optimizer": "muon"}, "head_lr and shift_lr must say"),
        ("davidnet-onecycle", {"schedule": "cosine"}, "unknown schedule 'cosine'; allowed: one-cycle, plateau, step"),
    ],
)
def test_mistakes_are_told_with_what_is_allowed(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        recipes.get(name, overrides)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_plain_values(name):
    text = json.dumps(RECIPES[name].to_dict())
    values = json.loads(text)
    transforms = values.pop("transforms")
    assert recipes.get(name, {"transforms": transforms}).transforms == RECIPES[name].transforms
    assert set(values) == {f.name for f in dataclasses.fields(recipes.Recipe)} - {"transforms"}


def test_profiles_shorten_and_keep_the_shape():
    plateau = recipes.under(RECIPES["resnet18-plateau"], recipes.PROFILES["quick"])
    assert plateau.max_lr == 0.02  # a constant rate without a rise before it
    assert recipes.under(RECIPES["published-b1"], recipes.PROFILES["quick"]).max_lr == 0.01
    asked = recipes.get("resnet18-plateau", {"max_lr": 0.3})
    assert recipes.under(asked, recipes.PROFILES["quick"]).max_lr == 0.3
    assert (plateau.epochs, plateau.width, plateau.holdout, plateau.patience) == (4, 16, 750, 0)
    step, other = (recipes.under(RECIPES[f"published-e-{kind}"], recipes.PROFILES["quick"]) for kind in SHORTENED)
    assert step.cuts == (2, 3) and other.patience == 0  # 4 of 24 epochs, 4 of 25
    many = recipes.under(RECIPES["published-c"], recipes.PROFILES["quick"])
    assert len(many.cuts) == 16 and many.cuts[-1] == 4  # no cut is lost where several fall into one epoch
    half = recipes.Profile("half", "", epochs=25)
    assert recipes.under(RECIPES["resnet18-plateau"], half).patience == 2
    smoke = recipes.under(RECIPES["davidnet-onecycle-plus"], recipes.PROFILES["smoke"])
    assert (smoke.epochs, smoke.width, smoke.batch_size, smoke.peak) == (2, 8, 64, 5 / 24)
    assert smoke.ema_epochs == 0.25
    assert recipes.under(RECIPES["davidnet-onecycle"], recipes.PROFILES["smoke"]).ema_epochs == 0


@given(st.sampled_from(sorted(RECIPES)), st.sampled_from(["smoke", "quick"]))
def test_profiles_never_lengthen(name, profile):
    recipe = RECIPES[name]
    short = recipes.under(recipe, recipes.PROFILES[profile])
    assert short.epochs <= recipe.epochs and short.width <= recipe.width and short.patience <= recipe.patience
    assert short.name == recipe.name and short.max_lr <= recipe.max_lr and short.transforms == recipe.transforms
    assert short.max_lr == recipe.max_lr or recipe.schedule != "one-cycle"


def test_full_changes_nothing():
    assert all(recipes.under(r, recipes.PROFILES["full"]) == r for r in RECIPES.values())


def test_unknown_profiles_are_refused():
    with pytest.raises(ValueError, match="unknown profile 'fast'; allowed: auto, smoke, quick, full"):
        recipes.resolve_profile("fast")


@pytest.mark.parametrize("device, expected", [("cpu", "quick"), ("cuda", "full"), ("mps", "full")])
def test_auto_is_full_on_a_gpu_and_quick_elsewhere(device, expected, monkeypatch):
    monkeypatch.setattr(recipes.devices, "_present_devices", lambda: [device])
    monkeypatch.setattr(recipes.devices, "_best_precision", lambda device: "fp32")
    monkeypatch.delenv("HELPERS_DEVICE", raising=False)
    assert recipes.resolve_profile("auto").name == expected
    assert recipes.resolve_profile("auto", Compute("cpu", "fp32")).name == "quick"  # as asked, whatever there is
