"""Class activation maps, and the scores that tell whether to believe them."""

from helpers.gradcam.maps import (
    METHODS,
    GradCAM,
    enlarge,
    in_batches,
    positive_share,
    stages,
)
from helpers.gradcam.sanity import (
    cascade,
    randomisation,
    spearman,
)
from helpers.gradcam.scores import (
    centre_prior,
    deletion,
    energy_inside,
    insertion,
    mean,
    pointing,
    pointing_hits,
    probabilities,
    ranks,
    rivals,
)

__all__ = [
    "GradCAM",
    "METHODS",
    "cascade",
    "centre_prior",
    "deletion",
    "energy_inside",
    "enlarge",
    "in_batches",
    "insertion",
    "mean",
    "pointing",
    "pointing_hits",
    "positive_share",
    "probabilities",
    "randomisation",
    "ranks",
    "rivals",
    "spearman",
    "stages",
]
