"""Train a recipe without a notebook: python -m helpers.training RECIPE."""

import argparse
import sys

from helpers import data, recipes
from helpers.files import write_anything
from helpers.training import RunError, TrainingDiverged, fit

DIVERGED = 3  # exit status of a training whose loss became infinite or not a number


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0, 1 for an error, DIVERGED, or 130 where it was stopped."""
    parser = argparse.ArgumentParser(prog="python -m helpers.training", description=__doc__)
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the recipe")
    given = parser.parse_args(arguments)
    try:
        recipe = recipes.get("+".join([given.recipe, *given.set]))  # as the names of changed recipes are read
        record = fit(recipe, given.dataset, profile=given.profile, seed=given.seed).record
    except (ValueError, OSError, TrainingDiverged, data.DatasetError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return DIVERGED if isinstance(error, TrainingDiverged) else 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on after the last finished epoch", file=sys.stderr)
        return 130
    headline = f"test accuracy {record['test_accuracy']:.2%} ({record['weights']} weights, last epoch)"
    print(f"{recipe.name}, seed {given.seed}: {headline}, trained on {record['device']}")
    return 0


if __name__ == "__main__":
    write_anything()
    sys.exit(main())
