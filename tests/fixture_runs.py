"""Full runs in small: nets of width 8 on a few images that pass for CIFAR-10, for the tests of publishing."""

import dataclasses
import json
from pathlib import Path

from helpers import recipes, training
from helpers.data.arrays import Dataset
from helpers.training import Fitted


def full_run(tiny: Dataset, root: Path, name: str = "davidnet-onecycle-plus", seed: int = 0, **changes) -> Fitted:
    """Train a small version of a recipe under its name and the full profile; changes are fields of the recipe."""
    small = {"width": 8, "batch_size": 32, "epochs": 2, "holdout": 0, "max_lr": 0.05, "min_lr": 0.005} | changes
    recipe = dataclasses.replace(recipes.get(name), **small)
    data = dataclasses.replace(tiny, name="cifar10")
    return training.fit(recipe, data, profile="full", seed=seed, root=root, hidden=True)


def change_record(root: Path, changes: dict, name: str = "davidnet-onecycle-plus", seed: int = 0) -> None:
    """Change a finished run's record on disk."""
    path = root / f"cifar10/full/{name}/seed-{seed}/record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
