"""Train a recipe, keep its run, and go on where it was stopped.

`python -m helpers.training RECIPE` does so without a notebook.
"""

from helpers.training import schedules
from helpers.training.engine import (
    MovingAverage,
    TrainingDiverged,
    TrainState,
    ema_settings,
    evaluate,
    make_optimizer,
    measure,
    predict,
    recipe_loss,
    train_epoch,
    train_step,
)
from helpers.training.fit import (
    Fitted,
    fit,
)
from helpers.training.progress import (
    EpochBar,
)
from helpers.training.runs import (
    RunError,
    finished_runs,
    run_directory,
    run_of,
    runs_root,
)
from helpers.training.settings import (
    Setting,
)

__all__ = [
    "EpochBar",
    "Fitted",
    "MovingAverage",
    "RunError",
    "Setting",
    "TrainState",
    "TrainingDiverged",
    "ema_settings",
    "evaluate",
    "finished_runs",
    "fit",
    "make_optimizer",
    "measure",
    "predict",
    "recipe_loss",
    "run_directory",
    "run_of",
    "runs_root",
    "schedules",
    "train_epoch",
    "train_step",
]
