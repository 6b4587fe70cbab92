"""Range tests of a recipe without a notebook: `python -m helpers.rates RECIPE --seeds 0 1 2`; each is kept on disk."""

import argparse
import dataclasses
import sys

from helpers import rates, recipes, training
from helpers.data import DatasetError
from helpers.rates import Sweep


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.rates", description=__doc__)
    parser.add_argument("recipe", help="one of: " + ", ".join(recipes.RECIPES))
    parser.add_argument("--dataset", default="auto", help="cifar10, shapes10 or auto")
    parser.add_argument("--profile", default="auto", help="smoke, quick, full or auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    for field in dataclasses.fields(Sweep):
        parser.add_argument("--" + field.name.replace("_", "-"), type=type(field.default), help="of the sweep")
    given = parser.parse_args(arguments)
    try:
        _report(given)
    except (ValueError, OSError, DatasetError, training.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the sweep it was at", file=sys.stderr)
        return 130
    return 0


def _report(given: argparse.Namespace) -> None:
    """Run the sweeps asked for, and print what each suggests and how far they lie apart."""
    asked = {field.name: getattr(given, field.name) for field in dataclasses.fields(Sweep)}
    asked["steps"] = asked["steps"] or recipes.resolve_profile(given.profile).finder_steps
    sweep = Sweep(**{name: value for name, value in asked.items() if value is not None})
    curves = []
    for seed in given.seeds:
        curves.append(rates.of_recipe(given.recipe, given.dataset, profile=given.profile, seed=seed, sweep=sweep))
        found = rates.suggest(curves[-1])
        print(curves[-1].about, *(f"{name} {rate:.3g}" for name, rate in found.rates().items()), sep="  ")
        print(*(f"  {problem}\n" for problem in found.problems), sep="", end="")
    print(rates.spread(curves).to_string(float_format="{:.3g}".format))


if __name__ == "__main__":
    sys.exit(main())
