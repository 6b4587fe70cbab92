"""All that is fixed during a run, looked up and cut to a profile."""

from dataclasses import dataclass
from typing import Any

from helpers import data, devices, files, recipes
from helpers.data import Dataset, DeviceLoader, Images, Normalize, TrainLoader
from helpers.devices import Compute
from helpers.recipes import Recipe

HALF = (0.5, 0.5, 0.5)
PER_IMAGE = (0.2023, 0.1994, 0.2010)  # CIFAR-10's deviation within an image, on average


@dataclass(frozen=True)
class Setting:
    """All that is fixed during a run: what is trained, on what, and how the arithmetic is done."""

    recipe: Recipe  # as it runs: cut to the profile
    dataset: Dataset
    profile: str
    seed: int
    compute: Compute

    @classmethod
    def of(
        cls,
        recipe: Recipe | str,
        dataset: Dataset | str = "auto",
        profile: str = "auto",
        seed: int = 0,
        compute: Compute | None = None,
    ) -> "Setting":
        """Look up names, and cut recipe and data set to the profile."""
        compute = compute or devices.compute()
        size = recipes.resolve_profile(profile, compute)
        files.number("seed", seed, low=0, whole=True)
        recipe = recipes.under(recipes.get(recipe) if isinstance(recipe, str) else recipe, size)
        counts = size.n_train, size.n_test
        dataset = data.load(dataset, *counts) if isinstance(dataset, str) else dataset.subset(*counts)
        if recipe.holdout >= len(dataset.train):
            raise ValueError(f"cannot hold out {recipe.holdout} of {len(dataset.train)} training images")
        return cls(recipe, dataset, size.name, seed, compute.suited_to(recipe.width))

    @property
    def normalize(self) -> Normalize:
        """What turns this run's uint8 images (N, 32, 32, 3) into the net's input (N, 3, 32, 32)."""
        mean, std = self.dataset.mean, self.dataset.std
        known = {"dataset": (mean, std), "half": (HALF, HALF), "per-image": (mean, PER_IMAGE)}
        return Normalize(*known[self.recipe.statistics], self.compute)

    @property
    def loader(self) -> str:
        """Who makes the training batches: "albumentations" or "device"."""
        return data.choose_path(self.recipe.transforms, self.compute)

    def batches(self, split: Images) -> TrainLoader | DeviceLoader:
        """The run's shuffled, augmented batches of a split; `.epoch(k)` yields those of an epoch."""
        common = split, self.recipe.transforms, self.normalize.mean, self.recipe.batch_size, self.seed
        if self.loader == "device":
            return DeviceLoader(*common, self.compute.device)
        return TrainLoader(*common, devices.default_workers(self.compute))

    def splits(self) -> dict[str, Images]:
        """The images to train on and to measure: "train", "val" where the recipe holds some out, and "test"."""
        train, test = self.dataset.train, self.dataset.test
        if not self.recipe.holdout:
            return {"train": train, "test": test}
        kept, held_out = data.split_validation(train.labels, self.recipe.holdout)
        return {"train": train.take(kept), "val": train.take(held_out), "test": test}

    def configuration(self) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        sizes = {"n_train": len(self.dataset.train), "n_test": len(self.dataset.test)}
        names = {"dataset": self.dataset.name, "profile": self.profile, "seed": self.seed}
        return {"recipe": self.recipe.to_dict(), **names, **sizes}
