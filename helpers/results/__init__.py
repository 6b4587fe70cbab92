"""What came of the runs: tables, intervals, published data."""

from helpers.results import rate_grid, weights
from helpers.results.ablations import ablations
from helpers.results.intervals import (
    Interval,
    difference,
    mcnemar,
    mean,
    power,
    runs_needed,
    share,
    share_difference,
)
from helpers.results.predictions import (
    Predictions,
    accuracy,
    agreement,
    class_accuracy,
    confused_pairs,
    confusion,
    luck_of_best_epoch,
    of_logits,
    ranked_mistakes,
)
from helpers.results.published import (
    CLAIMS,
    by_recipe,
    full_runs,
)

__all__ = [
    "CLAIMS",
    "Interval",
    "Predictions",
    "ablations",
    "accuracy",
    "agreement",
    "by_recipe",
    "class_accuracy",
    "confused_pairs",
    "confusion",
    "difference",
    "full_runs",
    "luck_of_best_epoch",
    "mcnemar",
    "mean",
    "of_logits",
    "power",
    "ranked_mistakes",
    "rate_grid",
    "runs_needed",
    "share",
    "share_difference",
    "weights",
]
