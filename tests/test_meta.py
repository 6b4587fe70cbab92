"""No module names a device by hand: nets, optimizers and averages train where they are placed.

The device here is "meta", whose tensors have shapes and no memory: a tensor that were on the CPU would not fit.
"""

import contextlib
from dataclasses import dataclass

import pytest
import torch

from helpers import models, recipes, training
from helpers.devices import Compute
from helpers.training import Setting, State


@dataclass(frozen=True)
class Meta(Compute):
    """A device without memory, which torch's autocast does not know."""

    def autocast(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_takes_a_step_where_its_net_is(name, tiny):
    recipe = recipes.get(name, {"width": 8, "whiten": False})  # which looks at images
    setting = Setting(recipe, tiny, "full", 0, Meta("meta", "fp32"))
    state = State(setting, 5)
    images, labels = torch.empty(6, 3, 32, 32, device="meta"), torch.zeros(6, dtype=torch.long, device="meta")
    before = [weight.device.type for weight in state.model.parameters()]
    loss, logits = training.train_step(state, images, labels, recipe, setting.compute)
    assert set(before) == {"meta"} and (loss.device.type, logits.device.type) == ("meta", "meta")
    kept = state.saved()["optimizer"]["state"].values()
    assert {momentum.device.type for one in kept for momentum in one.values() if torch.is_tensor(momentum)} == {"meta"}
    assert state.average is None or state.average.module.head.weight.device.type == "meta"


@pytest.mark.parametrize("net", models.NETS)
def test_six_views_are_where_the_images_are(net):
    model = models.build(net, width=8).to("meta")
    views = training.six_views(torch.empty(2, 3, 32, 32, device="meta"))
    assert {model(view).device.type for view in views} == {"meta"}
