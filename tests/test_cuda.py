"""What only a GPU can show; `make check-gpu` runs it. CHECK_DEVICE=cpu rehearses it on a machine that has none."""

import dataclasses
import os

import pytest
import torch
from test_fit import stop_at, untimed

from helpers import devices, gradcam, models, rates, recipes, training
from helpers.training import Setting, State, fit, run_of

DEVICE = os.environ.get("CHECK_DEVICE", "cuda")
T4_BYTES = 15e9
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]
CPU = devices.Compute("cpu", "fp32")


def compute(precision=None, loader=None):
    return devices.compute(DEVICE, precision, loader)


@pytest.fixture(autouse=True)
def on_the_gpu(monkeypatch):
    monkeypatch.setenv("HELPERS_DEVICE", DEVICE)  # which the other tests set to "cpu"


def narrow(name, **changes):
    return dataclasses.replace(recipes.get(name), width=16, batch_size=32, epochs=2, small_epochs=0, **changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("net", models.NETS)
def test_logits_are_the_cpu_s_but_for_rounding(net, precision):
    with devices.seeded(0):
        model, images = models.build(net, width=16).eval(), torch.randn(8, 3, 32, 32)
    expected = model(images)
    there = compute(precision)
    with torch.no_grad(), there.autocast():
        found = there.place(model)(images.to(there.device, memory_format=there.memory_format)).float().cpu()
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < {"fp32": 5e-3, "bf16": 0.1, "fp16": 0.02}[precision]  # fp32 includes TF32, of 10 bits


@pytest.mark.parametrize("loader", ["albumentations", "device"])
@pytest.mark.parametrize("name", ["davidnet-onecycle-plus", "resnet18-onecycle"])
def test_a_stopped_run_ends_as_an_undisturbed_one(name, loader, tiny, monkeypatch, tmp_path):
    recipe, there = narrow(name), compute(loader=loader)
    whole = fit(recipe, tiny, profile="full", root=tmp_path / "whole", compute=there, hidden=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("checkpoint.pt", 1, patch)
        fit(recipe, tiny, profile="full", compute=there, hidden=True)
    again = fit(recipe, tiny, profile="full", compute=there, hidden=True)
    assert untimed(again.history) == untimed(whole.history)
    assert all(map(torch.equal, again.model.state_dict().values(), whole.model.state_dict().values()))


@pytest.mark.parametrize("to_gpu", [True, False], ids=["CPU to GPU", "GPU to CPU"])
def test_a_run_goes_on_on_the_other_device(to_gpu, tiny, monkeypatch):
    recipe, places = narrow("davidnet-onecycle-plus"), [CPU, compute(loader="albumentations")]
    first, then = places if to_gpu else places[::-1]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at("checkpoint.pt", 1, patch)
        fit(recipe, tiny, profile="full", compute=first, hidden=True)
    fitted = fit(recipe, tiny, profile="full", compute=then, hidden=True)
    assert len(fitted.history) == 2 and all(value.isfinite().all() for value in fitted.model.state_dict().values())
    told = dict.fromkeys(place.describe() for place in (first, then))
    assert run_of(fitted.record).record()["device"] == ", then ".join(told)


def test_the_fast_net_trains_with_muon(tiny):
    fitted = fit(narrow("sprint", logit_scale=1 / 64), tiny, profile="full", compute=compute(), hidden=True)
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert 0 <= fitted.record["six_view_accuracy"] <= 1


@pytest.mark.parametrize("name", ["davidnet-onecycle-plus", "resnet18-onecycle", "speedrun"])
def test_a_step_of_full_size_fits_a_t4(name, tiny):
    """Peak memory of three steps, average and momenta included, in bytes; a T4 has 15 GB to give."""
    recipe = recipes.get(name, {} if DEVICE == "cuda" else {"width": 16, "batch_size": 16})
    setting = Setting(recipe, tiny, "full", 0, compute())
    state = State(setting, 3)
    images = torch.randn(recipe.batch_size, 3, 32, 32).to(setting.compute.device)
    labels = torch.zeros(recipe.batch_size, dtype=torch.long, device=setting.compute.device)
    for _ in range(3):
        training.train_step(state, images, labels, recipe, setting.compute)
    if DEVICE == "cuda":
        assert torch.cuda.max_memory_reserved() < T4_BYTES


def test_maps_are_the_cpu_s_but_for_rounding():
    with devices.seeded(0):
        model, images = models.resnet18(width=16).eval(), torch.randn(6, 3, 32, 32)
    maps = []
    for there in (CPU, compute("fp32")):
        with gradcam.GradCAM(there.place(model), ["layer4"]) as cam:
            maps.append(cam(images.to(there.device), range(6))["layer4"].cpu())
    assert (maps[0] - maps[1]).abs().mean() < 0.02


def test_a_range_test_ends_and_leaves_the_net_alone(tiny):
    curve = rates.of_recipe(narrow("davidnet-onecycle"), tiny, profile="full", sweep=rates.Sweep(1e-4, 1, 20))
    assert len(curve.lr) >= 5 and curve.loss[0] > 0
