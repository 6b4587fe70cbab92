"""Class activation maps, and the scores that tell whether to believe them."""

from helpers.gradcam.maps import METHODS, GradCAM, enlarge, positive_share, stages
from helpers.gradcam.scores import cascade, centre_prior, deletion, energy_inside, insertion, pointing_hits
from helpers.gradcam.scores import probabilities, random_maps, randomisation, ranks, spearman
