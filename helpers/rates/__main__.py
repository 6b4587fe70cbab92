"""Range tests of a recipe without a notebook: `python -m helpers.rates RECIPE --seeds 0 1 2`; each is kept on disk."""

import argparse
import sys

from helpers import rates, recipes, training
from helpers.data import DatasetError


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.rates", description=__doc__)
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(arguments)
    try:
        for seed in given.seeds:
            curve = rates.of_recipe(given.recipe, given.dataset, profile=given.profile, seed=seed)
            found = rates.suggest(curve)
            told = [f"{name} {rate:.3g}" for name, rate in found.rates().items()]
            print(curve.about, *told, *found.problems, sep="  ")
    except (ValueError, OSError, DatasetError, training.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
