"""Train a recipe without a notebook: python -m helpers.training RECIPE."""

import argparse
import sys
from typing import Any

from helpers import recipes
from helpers.data import DatasetError
from helpers.files import literal
from helpers.training import fit
from helpers.training.engine import TrainingDiverged
from helpers.training.runs import RunError

DIVERGED = 3  # exit status of a training whose loss became infinite or not a number


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, 1 for an error, DIVERGED, or 130 where it was stopped."""
    given = asked(arguments)
    try:
        recipe = recipes.get(given.recipe, overrides_from(given.set))
        fitted = fit(recipe, given.dataset, profile=given.profile, seed=given.seed)
    except (ValueError, OSError, TrainingDiverged, DatasetError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return DIVERGED if isinstance(error, TrainingDiverged) else 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on after the last finished epoch", file=sys.stderr)
        return 130
    accuracy, weights = fitted.record["test_accuracy"], fitted.record["weights"]
    print(f"{recipe.name}, seed {given.seed}: test accuracy {accuracy:.2%} ({weights} weights, last epoch)")
    return 0


def asked(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, read: recipe, dataset, profile, seed and the settings of --set."""
    parser = argparse.ArgumentParser(prog="python -m helpers.training", description=__doc__)
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the recipe")
    return parser.parse_args(arguments)


def overrides_from(settings: list[str]) -> dict[str, Any]:
    """["epochs=3", "nesterov=False"] → {"epochs": 3, "nesterov": False}; values as `literal` reads them."""
    changes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes FIELD=VALUE, not {setting!r}")
        changes[name] = literal(value)
    return changes


if __name__ == "__main__":
    sys.exit(main())
