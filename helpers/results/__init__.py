"""What came of the runs: tables, intervals, published data."""

from helpers.results import rate_grid, weights
from helpers.results.ablations import (
    ablations,
)
from helpers.results.analysis import (
    class_accuracy,
    confused_pairs,
    confusion_matrix,
    luck_of_best_epoch,
    predictions,
    ranked_mistakes,
    wilson,
)
from helpers.results.archive import CLAIMS, answers, claimed_curves, histories, place, runs
from helpers.results.comparisons import (
    agreement,
    difference,
    epoch_reaching,
    paired_difference,
    pairing,
    pairs_needed,
    runs_needed,
    seconds_to,
    share_difference,
    summarise,
    t_quantile,
)
from helpers.results.intervals import Interval, mcnemar, mean, share

__all__ = [
    "Interval",
    "mcnemar",
    "mean",
    "share",
    "CLAIMS",
    "ablations",
    "agreement",
    "answers",
    "claimed_curves",
    "class_accuracy",
    "confused_pairs",
    "confusion_matrix",
    "difference",
    "epoch_reaching",
    "histories",
    "luck_of_best_epoch",
    "paired_difference",
    "pairing",
    "pairs_needed",
    "place",
    "predictions",
    "ranked_mistakes",
    "rate_grid",
    "runs",
    "runs_needed",
    "seconds_to",
    "share_difference",
    "summarise",
    "t_quantile",
    "weights",
    "wilson",
]
