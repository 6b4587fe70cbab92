"""What came of the runs: predictions, intervals with a verdict, ablations, published data and weights."""

from helpers.results import guesses, weights
from helpers.results.ablations import ablations
from helpers.results.archive import answers, claimed_curves, claims, histories, place, runs
from helpers.results.intervals import Interval, difference, mcnemar, mean, power, runs_needed, share
from helpers.results.predictions import accuracy, class_accuracy, confused_pairs, confusion, ranked_mistakes
from helpers.training import of_logits
