import itertools

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.devices import Compute
from helpers.rates import range_test
from helpers.rates.rate_curves import Sweep
from helpers.training import engine
from helpers.training.settings import Setting


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch):
    monkeypatch.setenv("HELPERS_PRECISION", "fp32")


@pytest.fixture
def narrow():
    return recipes.get("davidnet-onecycle-plus", {"width": 8, "batch_size": 64})


def test_takes_the_steps_of_the_training_itself(narrow, tiny):
    """A sweep whose rates a training is planned to have sees the losses that the training sees."""
    sweep = Sweep(0.01, 0.05, 8)
    curve = range_test.for_recipe(narrow, tiny, profile="smoke", seed=3, sweep=sweep)
    setting = Setting.of(narrow, tiny, "smoke", 3)
    loader = setting.train_loader(setting.splits()["train"])
    torch.manual_seed(3)
    state = engine.TrainState(setting.recipe, 10, len(loader), setting.compute)
    state.scheduler = None
    batches, losses = [*loader.epoch(0), *loader.epoch(1), *loader.epoch(2)], []
    for lr, (images, labels) in zip(sweep.rates(), batches):
        state.optimizer.param_groups[0]["lr"] = lr
        state.model.train()
        loss, _ = engine.train_step(state, setting.normalize(images), labels, setting.recipe, setting.compute)
        losses.append(loss.item())
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-5)
    np.testing.assert_allclose(curve.lr, [lr for lr, _ in state.steps])
    assert curve.about == f"{narrow.name}, Shapes-10, seed 3"


def test_the_profile_sets_the_length_and_the_seed_the_start(narrow, tiny):
    first, second, again = (range_test.for_recipe(narrow, tiny, profile="smoke", seed=s) for s in (0, 1, 0))
    assert len(first.lr) == 20 and first.lr[0] == 1e-4
    assert np.array_equal(first.loss, again.loss) and not np.array_equal(first.loss[:5], second.loss[:5])


def test_the_callers_randomness_is_left_alone(narrow, tiny):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    range_test.for_recipe(narrow, tiny, profile="smoke", sweep=Sweep(steps=3))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", ["davidnet-onecycle", "resnet18-plateau"])
def test_validation_images_are_held_out(name, tiny):
    recipe = recipes.get(name, {"width": 8})
    setting = Setting.of(recipe, tiny, "smoke", 0)
    train, held_out = range_test._train_and_validation(setting, 5)
    assert len(held_out) == 5
    kept = {image.tobytes() for image in train.images}
    assert not kept & {image.tobytes() for image in held_out.images}
    with pytest.raises(ValueError, match="validate must lie between 0 and the validation split's"):
        range_test.for_recipe(recipe, tiny, profile="smoke", validate=10_000)


def test_a_validated_sweep_measures_the_net_of_each_step(narrow, tiny):
    """At rates of nearly nothing only BatchNorm's running statistics move, and so does the recipe's loss by hand."""
    curve = range_test.for_recipe(narrow, tiny, profile="smoke", sweep=Sweep(1e-12, 1e-11, 4), validate=12)
    setting = Setting.of(narrow, tiny, "smoke", 0)
    train, held_out = range_test._train_and_validation(setting, 12)
    loader = setting.train_loader(train)
    state = range_test._unscheduled(setting, len(loader))
    state.model.train()
    batches = (batch for epoch in itertools.count() for batch in loader.epoch(epoch))
    losses, accuracies = [], []
    for images, _ in itertools.islice(batches, 4):
        with torch.no_grad(), setting.compute.autocast():
            state.model(setting.normalize(images))  # moves the statistics, as a step of rate 0 would
        logits, labels = engine.predict(state.model, held_out, setting.normalize), torch.from_numpy(held_out.labels)
        losses.append(engine.recipe_loss(logits, labels.long(), setting.recipe).item())
        accuracies.append((logits.argmax(1) == labels).float().mean().item())
    np.testing.assert_allclose(curve.loss, losses, rtol=2e-3)
    np.testing.assert_allclose(curve.accuracy, accuracies, atol=1e-6)


def test_by_epoch_calls_a_net_that_breaks_in_its_last_step_exploded(tiny, monkeypatch):
    recipe = recipes.get("davidnet-onecycle", {"width": 8, "batch_size": 32})

    def breaks(state, *arguments):
        engine.train_epoch(state, *arguments)
        state.model.head.weight.data.fill_(float("nan"))

    monkeypatch.setattr(range_test, "train_epoch", breaks)
    curve = range_test.by_epoch(recipe, tiny, [0.01, 0.02], profile="smoke", validate=10)
    assert (curve.loss == np.inf).all() and (curve.accuracy == 0.1).all()


@pytest.mark.parametrize(
    ("rates", "validate", "said"),
    [([0.1], 10, "be two at least"), ([], 10, "be two at least"), ([0.1, 0.2], 0, "validate must be 1 or more")],
)
def test_by_epoch_says_what_it_needs(tiny, rates, validate, said):
    recipe = recipes.get("davidnet-onecycle", {"width": 8, "batch_size": 32})
    with pytest.raises(ValueError, match=said):
        range_test.by_epoch(recipe, tiny, rates, profile="smoke", validate=validate)


def test_by_epoch_restarts_or_goes_on(tiny):
    recipe = recipes.get("davidnet-onecycle", {"width": 8, "batch_size": 32})
    rates = [0.01, 0.01 + 1e-12, 0.01 + 2e-12]
    fresh = range_test.by_epoch(recipe, tiny, rates, profile="smoke", validate=10)
    going_on = range_test.by_epoch(recipe, tiny, rates, profile="smoke", validate=10, restart=False)
    assert np.ptp(fresh.loss) < 1e-4  # the same epoch three times
    assert fresh.loss[0] == going_on.loss[0] and abs(going_on.loss[2] - going_on.loss[0]) > 0.01
    assert fresh.lr.tolist() == rates


def test_by_epoch_survives_an_explosion(tiny):
    recipe = recipes.get("davidnet-onecycle", {"width": 8, "batch_size": 32})
    curve = range_test.by_epoch(recipe, tiny, [0.01, 1e25], profile="smoke", validate=10)
    assert np.isfinite(curve.loss[0]) and curve.loss[1] == np.inf and curve.accuracy[1] == 0.1


def test_by_epoch_leaves_the_schedule_out(tiny):
    plus = recipes.get("davidnet-onecycle-plus", {"width": 8, "batch_size": 32})
    setting = Setting.of(plus, tiny, "smoke", 0, Compute("cpu", "fp32"))
    state = range_test._unscheduled(setting, 5)
    assert state.averaged is None
    loader = setting.train_loader(setting.splits()["train"])
    bar = range_test.progress.EpochBar(1, 1, len(loader), hidden=True)
    range_test._one_epoch(state, setting, loader.epoch(0), tiny.test, 0.07, bar)
    assert {lr for lr, _ in state.steps} == {0.07}


@pytest.mark.parametrize("rates", [[0.1, 0.01], [0.1, 0.1, 0.2]])
def test_rates_must_rise(rates, tiny):
    with pytest.raises(ValueError, match="rates must rise"):
        range_test.by_epoch("davidnet-onecycle", tiny, rates, profile="smoke", validate=10)


def test_unknown_recipe(tiny):
    with pytest.raises(ValueError, match="unknown recipe"):
        range_test.for_recipe("davidnet", tiny, profile="smoke")
