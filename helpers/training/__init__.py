"""Train a recipe, keep its run, and go on where it was stopped.

`python -m helpers.training RECIPE` does so without a notebook.
"""

from helpers.training import schedules
from helpers.training.answers import Answers, of_logits
from helpers.training.fit import Fitted, State, TrainingDiverged, evaluate, fit, predict
from helpers.training.fit import recipe_loss, start, train_epoch, train_step
from helpers.training.optim import MovingAverage, make_optimizer
from helpers.training.setting import Setting
from helpers.training.store import Run, RunError, run_directory, run_of, runs_root
