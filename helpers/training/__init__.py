"""Train a recipe, keep its run, and go on where it was stopped.

`python -m helpers.training RECIPE` does so without a notebook.
"""

from helpers.training import schedules
from helpers.training.fit import Fitted, TrainingDiverged, evaluate, fit, predict, recipe_loss, train_epoch, train_step
from helpers.training.fit import SHARES, six_views
from helpers.training.state import MovingAverage, Setting, State, make_optimizer, start
from helpers.training.store import Answers, Run, RunError, of_logits, packed, run_directory, run_of, runs_root
