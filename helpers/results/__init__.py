"""What came of the runs: tables, intervals, published data."""

from helpers.results import rate_grid, weights
from helpers.results.ablations import ablations
from helpers.results.archive import CLAIMS, answers, claimed_curves, histories, place, runs
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

__all__ = [
    "CLAIMS",
    "Interval",
    "Predictions",
    "ablations",
    "accuracy",
    "agreement",
    "answers",
    "claimed_curves",
    "class_accuracy",
    "confused_pairs",
    "confusion",
    "difference",
    "histories",
    "luck_of_best_epoch",
    "mcnemar",
    "mean",
    "of_logits",
    "place",
    "power",
    "ranked_mistakes",
    "rate_grid",
    "runs",
    "runs_needed",
    "share",
    "share_difference",
    "weights",
]
