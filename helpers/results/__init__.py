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
from helpers.results.published import (
    CLAIMS,
    by_recipe,
    full_runs,
)

__all__ = [
    "Interval",
    "mcnemar",
    "mean",
    "share",
    "CLAIMS",
    "ablations",
    "agreement",
    "by_recipe",
    "class_accuracy",
    "confused_pairs",
    "confusion_matrix",
    "difference",
    "epoch_reaching",
    "full_runs",
    "luck_of_best_epoch",
    "paired_difference",
    "pairing",
    "pairs_needed",
    "predictions",
    "ranked_mistakes",
    "rate_grid",
    "runs_needed",
    "seconds_to",
    "share_difference",
    "summarise",
    "t_quantile",
    "weights",
    "wilson",
]
