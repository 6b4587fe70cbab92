"""Range tests of a recipe without a notebook: `python -m helpers.rates RECIPE --seeds 0 1 2`; each is kept on disk."""

import argparse

from helpers import rates, recipes


def main(arguments: list[str] | None = None) -> None:
    """Command line: one line for every seed."""
    parser = argparse.ArgumentParser(prog="python -m helpers.rates", description=__doc__)
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(arguments)
    for seed in given.seeds:
        curve = rates.of_recipe(given.recipe, given.dataset, profile=given.profile, seed=seed)
        found = rates.suggest(curve)
        told = [f"{name} {rate:.3g}" for name, rate in found.rates().items()]
        print(curve.about, *told, *found.problems, sep="  ")


if __name__ == "__main__":
    main()
