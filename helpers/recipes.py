"""Every experiment as one frozen value, and how much of it a profile runs."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from helpers import devices, models
from helpers.data import augment
from helpers.data.augment import AlternatingFlip, Cutout, Flip, GridDistortion, PadCrop, Rotate, VerticalFlip
from helpers.devices import Compute
from helpers.files import choice, literal, number

WATCHED = {"validation": "val_loss", "test": "test_loss", "last batch": "last_batch_loss"}  # columns of the history
CHOICES = {
    "net": tuple(models.NETS),
    "schedule": ("one-cycle", "plateau", "step"),
    "statistics": ("dataset", "half", "per-image"),
    "ease": ("linear", "cosine", "rex"),
    "optimizer": ("sgd", "muon"),
    "watches": tuple(WATCHED),
}
FROM_ONE = ("width", "batch_size", "epochs", "ema_warmup")  # lowest value; other numbers begin at 0
UP_TO_ONE = ("peak", "momentum", "label_smoothing")
PAD_CROP_FLIP_CUTOUT = (PadCrop(4), Flip(), Cutout(8))
LONGEST_SUFFIX = 120  # characters; a folder's name may have 255 bytes, and a log's name is longer than it
CAPPED = ("epochs", "width", "batch_size", "ema_epochs")  # by a profile
TRAINING_IMAGES = 50_000  # what recipes' held-out counts refer to
SMALL = 3 / 4  # side of the images with which a recipe may begin, as a share of the full one


@dataclass(frozen=True)
class Recipe:
    """One way to train a net, complete: with a data set and a seed it determines the run."""

    name: str  # key of the run; overrides are appended to it
    net: str
    batch_size: int  # images per optimizer step
    epochs: int  # passes over the training images
    schedule: str  # "one-cycle", "plateau" or "step"
    max_lr: float  # highest rate: the peak of One Cycle, the start of the others
    width: int = 64  # channels of the net's first stage
    whiten: bool = False  # set and fix the first filters of a speednet by the training images' patches
    transforms: tuple[augment.Transform, ...] = PAD_CROP_FLIP_CUTOUT  # augmentation, in order
    small_epochs: int = 0  # first epochs, in which the images have three quarters of their side
    statistics: str = "dataset"  # to normalise by: the "dataset"'s, "half", or its mean and the "per-image" deviation
    holdout: int = 0  # training images held out for validation; 0 trains on all of them
    min_lr: float = 0.0  # One Cycle's rate at both ends; the plateau's floor
    peak: float = 5 / 24  # One Cycle's peak as a share of the run; 0 leaves its fall alone
    ease: str = "linear"  # how One Cycle goes from one rate to the next, "linear", "cosine" or "rex"
    factor: float = 0.1  # what a plateau's cut or a step multiplies the rate by
    patience: int = 3  # epochs without improvement a plateau tolerates
    watches: str = "validation"  # whose loss a plateau looks at; "test" and "last batch" only in published runs
    cuts: tuple[int, ...] = ()  # epochs after which the step schedule cuts the rate; one that stands twice cuts twice
    optimizer: str = "sgd"  # or "muon" for the filters, whose rates are those of the plan
    momentum: float = 0.9
    nesterov: bool = False  # of SGD, as is the next; Muon has it, and no decay
    weight_decay: float = 0.0
    head_lr: float = 0.0  # with Muon: highest rate of SGD for the head
    shift_lr: float = 0.0  # with Muon: highest rate of SGD for what is added to channels, such as BatchNorm's shifts
    l1: float = 0.0  # factor on the sum of the absolute weights in the loss
    label_smoothing: float = 0.0  # share of the target spread over all classes, in [0, 1]
    logit_scale: float = 1.0  # factor on the logits inside the loss
    ema_epochs: float = 0.0  # horizon of the moving average of the weights, in epochs; 0 keeps none
    ema_warmup: int = 2  # how soon the average reaches its horizon, see `training.MovingAverage`
    overridden: tuple[str, ...] = ()  # fields that differ from the recipe of this name; a profile leaves them alone

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            self._check(each.name, each.type)
        cuts = tuple(number("an epoch of cuts", epoch, low=1, whole=True) for epoch in self.cuts)
        object.__setattr__(self, "cuts", cuts)
        if list(self.cuts) != sorted(self.cuts):
            raise ValueError(f"cuts are epochs in rising order, not {self.cuts}")
        if (self.whiten or self.small_epochs) and self.net != "speednet":
            raise ValueError(f"whiten and small_epochs are for a speednet, not for a {self.net}")
        if self.optimizer == "muon" and not (self.head_lr and self.shift_lr):
            raise ValueError("muon moves filters; head_lr and shift_lr must say how fast everything else may move")
        if self.decides_on == "validation" and not self.holdout:
            raise ValueError("a plateau that watches validation images needs a holdout, such as holdout=5000")

    def _check(self, name: str, kind: Any) -> None:
        value = getattr(self, name)
        if name in CHOICES:
            choice(name, value, CHOICES[name])
        elif kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
        elif kind in (int, float):
            high = 1 if name in UP_TO_ONE else math.inf
            value = number(name, value, low=int(name in FROM_ONE), high=high, whole=kind is int)
            object.__setattr__(self, name, value)  # a NumPy number is Python's now

    @property
    def decides_on(self) -> str | None:
        """What the schedule watches, one of WATCHED; None where it follows a plan."""
        return self.watches if self.schedule == "plateau" else None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, transforms as {"transform": name, …}."""
        transforms = [augment.to_dict(transform) for transform in self.transforms]
        return {**vars(self), "transforms": transforms, "cuts": list(self.cuts)}


# what overrides may set: all that decides how a run goes
FIELDS = tuple(f.name for f in dataclasses.fields(Recipe) if f.name not in ("name", "overridden"))

_DAVIDNET = {"net": "davidnet", "batch_size": 512, "epochs": 24, "schedule": "one-cycle"}
_RESNET18 = {"net": "resnet18", "batch_size": 128, "epochs": 50}
_OURS = {"nesterov": True, "weight_decay": 5e-4}
_PLUS = {"logit_scale": 1 / 8, "label_smoothing": 0.2, "ema_epochs": 5}
_SMOOTHED = {"label_smoothing": 0.1, "ema_epochs": 2}
_ON_TEST = {"schedule": "plateau", "watches": "test"}
_RUN_B = _RESNET18 | _ON_TEST | {"transforms": (PadCrop(2, "constant"), Flip()), "patience": 5, "factor": 0.5}
_PUBLISHED = {  # docs/results.md says where each of these is from, and what was open
    "a": _RESNET18
    | {"transforms": (GridDistortion(0.3), Rotate(10), Flip(p=0.25), Cutout(12, p=0.5, fill="black"))}
    | {"schedule": "plateau", "watches": "last batch", "max_lr": 1.23e-2},
    "b1": _RUN_B | {"max_lr": 1e-2},
    "b2": _RUN_B | {"max_lr": 9.33e-3},
    "c": _RESNET18
    | {"transforms": (Rotate(10), Flip(), VerticalFlip(), Cutout(8, holes=8, p=0.5, fill="black"))}
    | {"schedule": "step", "factor": 0.9, "cuts": (4, 7, 10, 13, 16, 19, 22, *range(26, 51, 3))}
    | {"max_lr": 9e-3, "nesterov": True, "weight_decay": 1e-4, "l1": 1e-5, "statistics": "half"},
    "d": _DAVIDNET
    | {"transforms": (PadCrop(4, "constant"), Flip(), Cutout(8, p=0.5)), "statistics": "per-image"}
    | {"ease": "cosine", "max_lr": 7.7e-3, "min_lr": 7.7e-3 / 8},
    "e-step": _RESNET18
    | {"transforms": (Flip(),), "statistics": "half", "schedule": "step", "factor": 1 / 3, "cuts": (10, 20)}
    | {"epochs": 24, "max_lr": 5e-4, "weight_decay": 0.2},
    "e-plateau": _RESNET18
    | _ON_TEST
    | {"transforms": (Flip(), Cutout(4, p=0.3)), "statistics": "half", "epochs": 25, "batch_size": 512}
    | {"max_lr": 0.0832, "factor": 0.2, "weight_decay": 2e-3},
}
# The net, optimizer and augmentation of airbench94_muon (Jordan 2024), one momentum for all, small images first
_FAST = {"net": "speednet", "optimizer": "muon", "momentum": 0.6, "label_smoothing": 0.2, "logit_scale": 1 / 256}
_FAST |= {"whiten": True, "transforms": (PadCrop(2), AlternatingFlip()), "schedule": "one-cycle", "peak": 0.0}
_EVERY = (
    Recipe("davidnet-onecycle", **_DAVIDNET, **_OURS, max_lr=0.1, min_lr=3e-4),  # a grid is to decide, notebook 02
    Recipe("davidnet-onecycle-plus", **_DAVIDNET, **_OURS, **_PLUS, max_lr=0.4, min_lr=0.04),
    Recipe("resnet18-plateau", **_RESNET18, **_OURS, schedule="plateau", max_lr=0.1, factor=0.2, holdout=5_000),
    Recipe("resnet18-onecycle", **_RESNET18, **_OURS, **_SMOOTHED, schedule="one-cycle", max_lr=0.1, min_lr=1e-4),
    Recipe("speedrun", **_FAST, epochs=10, small_epochs=4, batch_size=2_000, max_lr=0.24, head_lr=3580, shift_lr=283),
    Recipe("sprint", **_FAST, epochs=4, small_epochs=2, batch_size=1_000, max_lr=0.17, head_lr=1790, shift_lr=142),
    *(Recipe(f"published-{run}", **fields) for run, fields in _PUBLISHED.items()),
)
RECIPES = {recipe.name: recipe for recipe in _EVERY}


def get(name: str, overrides: Mapping[str, Any] | str | None = None) -> Recipe:
    """Look up a recipe by its name, or by that of a changed one, such as "sprint+max_lr=0.2", if it lists no values.

    Overrides are fields to change, such as {"epochs": 3}; they become part of the name, so that runs are kept apart.
    They, or their values, may be text, as command lines and YAML give them.
    """
    name, *named = name.split("+")
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    given = literal(overrides or {})
    if not isinstance(given, Mapping):
        raise ValueError(f'overrides are fields and their values, such as {{"epochs": 3}}, not {overrides!r}')
    told = {field: value for field, _, value in (part.partition("=") for part in named)} | dict(given)
    changes = {field: literal(value) for field, value in told.items()}
    unknown = [key for key in changes if key not in FIELDS]
    if unknown:
        raise ValueError(f"unknown field {', '.join(map(repr, unknown))}; overrides may set: {', '.join(FIELDS)}")
    if not changes:
        return RECIPES[name]
    changes = {key: _as_declared(key, value) for key, value in changes.items()}
    about = {"name": name + _suffix(changes), "overridden": tuple(sorted(changes))}
    changed = dataclasses.replace(RECIPES[name], **changes, **about)
    if changed.decides_on in ("test", "last batch") and not name.startswith("published-"):
        raise ValueError(f"{name} may not decide on the {changed.watches}: let it watch held-out validation images")
    return changed


def _as_declared(name: str, value: Any) -> Any:
    """Lists as the tuples they stand for, and 1 as 1.0 where a field is a float: equal recipes have equal names."""
    if name == "transforms":
        return augment.from_list(value)
    if name == "cuts":
        return tuple(value) if isinstance(value, Iterable) else (value,)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and Recipe.__dataclass_fields__[name].type is float else value


def _suffix(changes: Mapping[str, Any]) -> str:
    """ "+epochs=3+max_lr=0.2"; what is too long for a folder's name appears as a short digest."""
    shown = dict(changes)
    if "transforms" in shown:
        shown["transforms"] = _short(json.dumps([augment.to_dict(each) for each in changes["transforms"]]))
    if "cuts" in shown:
        shown["cuts"] = "-".join(map(str, changes["cuts"]))
    whole = "".join(f"+{name}={shown[name]}" for name in sorted(shown))
    return whole if len(whole) <= LONGEST_SUFFIX else f"+{len(shown)}-changes={_short(whole)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Profile:
    """How much of a recipe to run; None changes nothing."""

    name: str
    purpose: str
    n_train: int | None = None  # images of the data set
    n_test: int | None = None
    epochs: int | None = None  # at most so many; schedules keep their shape
    width: int | None = None  # channels of a net's first stage
    batch_size: int | None = None  # at most so many images per step
    ema_epochs: float | None = None  # longest horizon of an average of the weights: a short run improves too fast
    steady_lr: float | None = None  # highest first rate of schedules that only fall: higher ones throw short runs back
    finder_steps: int = 100  # length of a learning-rate range test


_SHORT = {"ema_epochs": 0.25, "steady_lr": 0.02}
_QUICK = {"n_train": 7_500, "n_test": 2_000, "epochs": 4, "width": 16, "batch_size": 128}
PROFILES = {
    "smoke": Profile("smoke", "tests", 512, 256, 2, 8, batch_size=64, **_SHORT, finder_steps=20),
    "quick": Profile("quick", "a first look without a GPU", **_QUICK, **_SHORT, finder_steps=60),
    "full": Profile("full", "the published numbers"),
}


def resolve_profile(name: str = "auto", compute: Compute | None = None) -> Profile:
    """The profile of a name; "auto" is full on a GPU, else quick. `compute` defaults to what the machine does well."""
    if name == "auto":
        name = "quick" if (compute or devices.compute()).device == "cpu" else "full"
    choice("profile", name, ("auto", *PROFILES))
    return PROFILES[name]


def under(recipe: Recipe, profile: Profile) -> Recipe:
    """The recipe a profile really runs: fewer epochs, narrower, same shape of schedule.

    A plateau's patience, the step schedule's cuts and the epochs of small images shrink with the epochs. The held-out
    share of the training images stays the same. Fields that were overridden stay as they were asked for.
    """
    epochs = recipe.epochs if "epochs" in recipe.overridden else _at_most(recipe.epochs, profile.epochs)
    share = epochs / recipe.epochs
    steady = max(_at_most(recipe.max_lr, profile.steady_lr), recipe.min_lr)
    changes = {name: _at_most(getattr(recipe, name), getattr(profile, name)) for name in CAPPED}
    changes |= {
        "patience": round(recipe.patience * share),
        "small_epochs": round(recipe.small_epochs * share),
        "cuts": tuple(max(1, round(epoch * share)) for epoch in recipe.cuts),
        "max_lr": recipe.max_lr if recipe.schedule == "one-cycle" else steady,
        "holdout": round(recipe.holdout * (profile.n_train or TRAINING_IMAGES) / TRAINING_IMAGES),
    }
    if recipe.net == "speednet" and "width" not in recipe.overridden:
        changes |= narrowed(recipe, changes["width"])
    return dataclasses.replace(recipe, **{k: v for k, v in changes.items() if k not in recipe.overridden})


def narrowed(recipe: Recipe, width: int) -> dict[str, float]:
    """What to change for a speednet of another width: its logits shrink with it, and SGD's steps must follow."""
    share = width / recipe.width
    rates = {name: share**2 * getattr(recipe, name) for name in ("head_lr", "shift_lr")}
    return {"width": width, "logit_scale": recipe.logit_scale / share, **rates}


def epoch_flops(recipe: Recipe | Any, images: int = TRAINING_IMAGES) -> list[int]:
    """Operations of each epoch of a recipe, or of a row of results.csv, held-out images left out; see `count_flops`."""
    sides = [32 if epoch >= recipe.small_epochs else round(32 * SMALL) for epoch in range(recipe.epochs)]
    return [(images - recipe.holdout) * models.count_flops(recipe.net, recipe.width, True, side) for side in sides]


def _at_most(value: float, limit: float | None) -> float:
    return value if limit is None else min(value, limit)
