"""Class activation maps, and the scores that tell whether to believe them."""

from helpers.gradcam.maps import METHODS, GradCAM, enlarge, positive_share, stages
from helpers.gradcam.scores import cascade, centre_prior, deletion, energy_inside
from helpers.gradcam.scores import probabilities, random_maps, ranks, spearman
