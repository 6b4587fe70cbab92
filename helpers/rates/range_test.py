"""Learning-rate range test (Smith 2017, section 3.3) of a recipe, under the settings of its real training."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from helpers import devices, models, recipes
from helpers.data import Batch, Dataset, DeviceLoader, Images, Normalize, TrainLoader, eval_batches, split_validation
from helpers.rates.finder import range_test
from helpers.rates.rate_curves import Curve, Sweep
from helpers.recipes import Recipe
from helpers.training import progress
from helpers.training.engine import (
    TrainingDiverged,
    TrainState,
    check_finite,
    evaluate,
    make_optimizer,
    recipe_loss,
    train_epoch,
)
from helpers.training.settings import Setting


def default_sweep(profile: str) -> Sweep:
    """1e-4 to 10, multiplied at every step, in as many steps as the profile gives."""
    return Sweep(steps=recipes.resolve_profile(profile).finder_steps)


def for_recipe(
    recipe: Recipe | str,
    dataset: Dataset | str = "auto",
    *,
    profile: str = "auto",
    seed: int = 0,
    sweep: Sweep | None = None,
    validate: int = 0,
) -> Curve:
    """Test the rates of a recipe just as it trains: same first weights, batches, augmentation, optimizer and loss.

    Only the recipe's own rate and schedule are ignored.

    Args:
        recipe, dataset, profile, seed: as in `training.fit`.
        sweep: the rates; default `default_sweep`.
        validate: measure on so many held-out images after every step, instead of on the training batch before it;
            they belong to the validation split and are not trained on.
    """
    setting = Setting.of(recipe, dataset, profile, seed)
    return of_setting(setting, sweep or default_sweep(setting.profile), validate)


def of_setting(setting: Setting, sweep: Sweep, validate: int = 0) -> Curve:
    """The range test of `for_recipe`, of a setting that has been looked up."""
    recipe, compute = setting.recipe, setting.compute
    train, held_out = _train_and_validation(setting, validate)
    with devices.seeded(setting.seed):
        model = compute.place(models.build(recipe.net, len(setting.dataset.classes), recipe.width))
        curve = range_test(
            model,
            make_optimizer(model, recipe),
            _every_epoch(setting.train_loader(train), setting.normalize),
            sweep,
            loss=functools.partial(recipe_loss, recipe=recipe),
            validation=list(_normalized(eval_batches(held_out), setting.normalize)) if validate else None,
            compute=compute,
        )
    return dataclasses.replace(curve, about=_about(setting))


def by_epoch(
    recipe: Recipe | str,
    dataset: Dataset | str,
    rates: Sequence[float],
    *,
    profile: str = "auto",
    seed: int = 0,
    restart: bool = True,
    validate: int,
) -> Curve:
    """Train one epoch at each rate, and measure on held-out images after it; no average of the weights is kept.

    The curve has one point per rate; after an explosion the loss is infinite and the accuracy that of a guess.

    Args:
        recipe, dataset, profile, seed: as in `for_recipe`.
        rates: (S,) positive, rising.
        restart: begin each epoch with the first weights and the same batches, so that only the rate differs; False
            goes on from one rate to the next, as in Smith's test, and lets later rates profit from earlier ones.
        validate: held-out images to measure on.
    """
    if len(rates) < 2 or list(rates) != sorted(set(rates)):
        raise ValueError(f"rates must rise, and be two at least, not {list(rates)}")
    setting = Setting.of(recipe, dataset, profile, seed)
    sweep = Sweep(min(rates), max(rates), len(rates))
    if validate < 1:
        raise ValueError(f"validate must be 1 or more, not {validate}: an epoch is judged by held-out images")
    train, held_out = _train_and_validation(setting, validate)
    loader, points = setting.train_loader(train), []
    for number, lr in enumerate(rates):
        if restart or not number:
            state = _unscheduled(setting, len(loader))
        bar = progress.EpochBar(number + 1, len(rates), len(loader))
        points.append(_one_epoch(state, setting, loader.epoch(0 if restart else number), held_out, lr, bar))
    losses, accuracies = np.array(points).T
    return Curve(np.array(rates, dtype=np.float64), losses, accuracies, sweep, _about(setting))


def _one_epoch(
    state: TrainState, setting: Setting, batches: Iterable[Batch], held_out: Images, lr: float, bar: progress.EpochBar
) -> tuple[float, float]:
    """Loss and accuracy on held-out images after an epoch at one rate."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    try:
        train_epoch(state, batches, setting.normalize, setting.recipe, bar)
        loss, accuracy = evaluate(state.model, held_out, setting.normalize, setting.recipe.logit_scale)
        check_finite(loss, state)  # the last step may have broken the net
        return loss, accuracy
    except TrainingDiverged:
        return float("inf"), 1 / len(setting.dataset.classes)
    finally:
        bar.close()


def _unscheduled(setting: Setting, steps: int) -> TrainState:
    """The recipe's net and optimizer before their first step, with nothing that moves the rate between epochs."""
    recipe = dataclasses.replace(setting.recipe, schedule="plateau", watches="last batch", min_lr=0.0, ema_epochs=0.0)
    with devices.seeded(setting.seed):
        return TrainState(recipe, len(setting.dataset.classes), steps, setting.compute)


def _train_and_validation(setting: Setting, validate: int) -> tuple[Images, Images]:
    """The images to train on, and `validate` of those held out; recipes that hold none out do so here."""
    if not setting.recipe.holdout and validate:
        recipe = dataclasses.replace(setting.recipe, holdout=len(setting.dataset.train) // 10)
        setting = dataclasses.replace(setting, recipe=recipe)
    splits = setting.splits()
    held_out = splits.get("val", splits["train"].take([]))
    if not 0 <= validate <= len(held_out):
        raise ValueError(f"validate must lie between 0 and the validation split's {len(held_out)}, not {validate}")
    return splits["train"], held_out.take(split_validation(held_out.labels, validate)[1])


def _about(setting: Setting) -> str:
    return f"{setting.recipe.name}, {setting.dataset.title}, seed {setting.seed}"


def _every_epoch(loader: TrainLoader | DeviceLoader, normalize: Normalize) -> Iterator[Batch]:
    """The batches of a training that never ends, as the net takes them."""
    return _normalized(itertools.chain.from_iterable(map(loader.epoch, itertools.count())), normalize)


def _normalized(batches: Iterable[Batch], normalize: Normalize) -> Iterator[Batch]:
    for images, labels in batches:
        yield normalize(images), labels.to(normalize.compute.device)
