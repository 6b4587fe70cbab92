"""What a training keeps on disk after every epoch, how it is taken up again, and the record it leaves in the end."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from helpers.training import progress, runs
from helpers.training.engine import TrainState
from helpers.training.runs import RunDirectory
from helpers.training.settings import Setting


class Makers(NamedTuple):
    """What trained a run, one after another, the latest last: a run may be resumed elsewhere, and by later code."""

    devices: list[str]  # in words, as `Compute.describe`
    commits: list[str]  # of the code, as each process found it at its start; "unknown" outside a checkout


def keep(state: TrainState, setting: Setting, run: RunDirectory, row: dict[str, Any], made_by: Makers) -> None:
    """Append the row and write the run's files; the checkpoint first, as the others follow from it."""
    state.history.append(row)
    facts = {"configuration": json.dumps(setting.configuration()), "loader": setting.loader, **made_by._asdict()}
    run.write_checkpoint({**facts, **state.state_dict()})
    _write_followers(state, setting, run)


def _write_followers(state: TrainState, setting: Setting, run: RunDirectory) -> None:
    """Write what follows from the state after an epoch: tables, and the best weights where the plateau chose them."""
    losses = [row["val_loss"] for row in state.history]
    if setting.recipe.decides_on == "validation" and losses[-1] < min(losses[:-1], default=math.inf):
        run.write_checkpoint({"model": state.model.state_dict(), "epoch": len(losses)}, "best.pt")
    run.write_history(state.history)
    run.write_steps([{"step": i, "lr": lr, "momentum": momentum} for i, (lr, momentum) in enumerate(state.steps)])
    run.write_test_right(torch.stack(state.test_right).numpy())


def makers(setting: Setting, checkpoint: Mapping[str, Any] | None) -> Makers:
    """Who trained the run so far, with this process."""
    here = Makers([setting.compute.describe()], [runs.provenance()["commit"] or "unknown"])
    if checkpoint is None:
        return here
    before = (checkpoint[name] for name in Makers._fields)
    return Makers(*([*(one for one in old if one not in new), *new] for old, new in zip(before, here)))


def resume(
    state: TrainState, setting: Setting, run: RunDirectory, checkpoint: dict[str, Any] | None, hidden: bool
) -> None:
    """Take up the run's checkpoint, if it has one."""
    if checkpoint is None:
        return
    check_same(json.loads(checkpoint["configuration"]), setting, run)
    state.load_state_dict(checkpoint)
    _write_followers(state, setting, run)  # a kill may have come between the checkpoint and these
    for row in state.history:
        progress.say(progress.epoch_line(row, setting.recipe.epochs), hidden)
    progress.say(f"continuing {run.path.parent.name}, seed {setting.seed}, after epoch {len(state.history)}", hidden)


def check_same(there: dict[str, Any], setting: Setting, run: RunDirectory) -> None:
    """Refuse to mix two configurations in one run."""
    here = json.loads(json.dumps(setting.configuration()))
    there, here = ({**side.pop("recipe"), **side} for side in (there, here))
    changed = [f"{k} was {there.get(k)}, is {here[k]}" for k in here if k != "claim" and there.get(k) != here[k]]
    if changed:
        raise ValueError(
            f"{run.path} holds a run of another configuration ({'; '.join(changed)}). Move or delete that folder, "
            "or make the change an override: its runs get a folder of their own"
        )


def make_record(setting: Setting, state: TrainState, made_by: Makers) -> dict[str, Any]:
    """Everything needed to repeat a finished run, and what came of it.

    `test_accuracy` is the headline: the last epoch's, of the averaged weights where the recipe keeps them.
    `best_test_accuracy` is chosen on the test set, and there only to compare with claims that were.
    """
    last, prefix = state.history[-1], "ema_" if state.averaged is not None else ""
    best = max(state.history, key=lambda row: row[f"{prefix}test_accuracy"])
    return {
        **setting.configuration(),
        "weights": "averaged" if prefix else "raw",
        "decides_on": setting.recipe.decides_on,
        "test_accuracy": last[f"{prefix}test_accuracy"],
        "test_loss": last[f"{prefix}test_loss"],
        "raw_test_accuracy": last["test_accuracy"],
        "val_accuracy": last[f"{prefix}val_accuracy"],
        "train_accuracy": last["train_accuracy"],
        "best_test_accuracy": best[f"{prefix}test_accuracy"],
        "best_test_epoch": best["epoch"],
        "seconds": round(sum(row["seconds"] for row in state.history), 1),
        "device": ", then ".join(made_by.devices),
        "loader": setting.loader_path,
        **(runs.provenance() | {"commit": ", then ".join(made_by.commits)}),
    }
