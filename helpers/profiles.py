"""How much of a recipe to run: a test, a first look, or all of it."""

import dataclasses
from dataclasses import dataclass

from helpers import devices
from helpers.devices import Compute
from helpers.files import choice
from helpers.recipes import Recipe

TRAINING_IMAGES = 50_000  # what recipes' held-out counts refer to


@dataclass(frozen=True)
class Profile:
    """How much of a recipe to run; None changes nothing."""

    name: str
    purpose: str
    n_train: int | None = None  # images of the data set
    n_test: int | None = None
    epochs: int | None = None  # at most so many; schedules keep their shape
    width: int | None = None  # channels of the main net's first stage
    side_width: int | None = None  # of side experiments' nets
    batch_size: int | None = None  # at most so many images per step
    ema_epochs: float | None = None  # longest horizon of an average of the weights: a short run improves too fast
    # The highest first rate of schedules that only fall: the untrained net is thrown back by a higher one (notebook
    # 02), and a short run has no time to recover
    steady_lr: float | None = None
    finder_steps: int = 100  # length of a learning-rate range test


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "tests",
            n_train=512,
            n_test=256,
            epochs=2,
            width=8,
            side_width=8,
            batch_size=64,
            ema_epochs=0.25,
            steady_lr=0.02,
            finder_steps=20,
        ),
        Profile(
            "quick",
            "a first look without a GPU",
            n_train=7_500,
            n_test=2_000,
            epochs=4,
            side_width=16,
            batch_size=128,
            ema_epochs=0.25,
            steady_lr=0.02,
            finder_steps=60,
        ),
        Profile("full", "the published numbers"),
    )
}


def resolve_profile(name: str = "auto", compute: Compute | None = None) -> Profile:
    """The profile of a name; "auto" is full on a GPU, else quick. `compute` defaults to what the machine does well."""
    if name == "auto":
        name = "quick" if (compute or devices.compute()).device == "cpu" else "full"
    choice("profile", name, ("auto", *PROFILES))
    return PROFILES[name]


def under(recipe: Recipe, profile: Profile) -> Recipe:
    """The recipe a profile really runs: fewer epochs, narrower, same shape of schedule.

    A plateau's patience and the step schedule's cuts shrink with the epochs; One Cycle's peak is a share of them.
    The held-out share of the training images stays the same. Fields that were overridden stay as they were asked for.
    """
    epochs = recipe.epochs if "epochs" in recipe.overridden else _at_most(recipe.epochs, profile.epochs)
    share = epochs / recipe.epochs
    steady = _at_most(recipe.max_lr, profile.steady_lr)
    changes = {
        "epochs": epochs,
        "patience": round(recipe.patience * share),
        "cuts": tuple(max(1, round(epoch * share)) for epoch in recipe.cuts),
        "ema_epochs": _at_most(recipe.ema_epochs, profile.ema_epochs),
        "width": _at_most(recipe.width, profile.width),
        "batch_size": _at_most(recipe.batch_size, profile.batch_size),
        "max_lr": recipe.max_lr if recipe.schedule == "one-cycle" else max(steady, recipe.min_lr),
        "holdout": round(recipe.holdout * (profile.n_train or TRAINING_IMAGES) / TRAINING_IMAGES),
    }
    return dataclasses.replace(recipe, **{k: v for k, v in changes.items() if k not in recipe.overridden})


def _at_most(value: float, limit: float | None) -> float:
    return value if limit is None else min(value, limit)
