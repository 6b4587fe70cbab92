"""Learning-rate range tests."""

from helpers.rates.finder import (
    range_test,
)
from helpers.rates.range_test import (
    by_epoch,
    for_recipe,
)
from helpers.rates.rate_curves import (
    NAMES,
    Curve,
    Sweep,
    smooth,
    spread,
    suggest,
)
from helpers.rates.sweeps import (
    PUBLISHED,
    kept,
    published,
)

__all__ = [
    "Curve",
    "NAMES",
    "PUBLISHED",
    "Sweep",
    "by_epoch",
    "for_recipe",
    "kept",
    "published",
    "range_test",
    "smooth",
    "spread",
    "suggest",
]
