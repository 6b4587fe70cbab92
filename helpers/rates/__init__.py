"""Learning rates: range tests on torch-lr-finder, what they suggest, and grids of short cycles."""

from helpers.rates import grid
from helpers.rates.curves import NAMES, Curve, Suggestions, Sweep, smooth, suggest
from helpers.rates.sweeps import of_recipe, published, range_test
