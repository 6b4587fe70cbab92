"""Maps: against the papers' formulas, against the grad-cam package, and every borrowed state given back."""

import copy
import functools
import itertools
import re
import warnings

import numpy as np
import pytest
import pytorch_grad_cam as package
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from helpers import models
from helpers.devices import Compute
from helpers.gradcam import maps as gradcam
from helpers.gradcam.maps import METHODS, GradCAM

PACKAGE = {
    "gradcam": package.GradCAM,
    "gradcam++": package.GradCAMPlusPlus,
    "layercam": package.LayerCAM,
    "hirescam": package.HiResCAM,
}
STAGES = {
    "resnet18": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "davidnet": ["prep", "layer1", "layer2", "layer3"],
    "speednet": ["whiten", "layer1", "layer2", "layer3"],
}
SIDES = {"resnet18": (32, 32, 16, 8, 4), "davidnet": (32, 16, 8, 4), "speednet": (31, 15, 7, 3)}  # of their maps
every_method = pytest.mark.parametrize("method", METHODS)
every_net = pytest.mark.parametrize("name", models.NETS)


def net(name="davidnet", width=8, seed=0):
    """A small net whose BatchNorms do something, in train mode but for one BatchNorm that is frozen."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = models.build(name, width=width)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.1)
    norms[0].eval()
    return model


@functools.cache
def _trained(name):
    model = net(name).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(model(pictures(16)), torch.arange(16) % 10).backward()
        optimizer.step()
    return model


def trained(name):
    """The same after a few steps on one batch."""
    return copy.deepcopy(_trained(name))


def pictures(count=3, height=32, width=32, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def state_of(model):
    """All that a map could disturb."""
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "grad": {name: p.grad if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "hooks": [
            [list(getattr(module, kind)) for kind in vars(module) if kind.endswith("_hooks")]
            for module in model.modules()
        ],
    }


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


# ---- the papers' formulas, in float64


def by_hand(method, activations, gradients):
    """One image, cell by cell, as the papers write it: activations and gradients (C, h, w) to a map (h, w)."""
    channels, height, width = activations.shape
    cells = list(itertools.product(range(height), range(width)))
    result = np.zeros((height, width))
    for k in range(channels):
        a, g = activations[k], gradients[k]
        weight = 0.0
        for i, j in cells:
            if method == "gradcam":
                weight += g[i, j] / len(cells)
            if method == "gradcam++":
                denominator = 2 * g[i, j] ** 2 + sum(a[cell] * g[i, j] ** 3 for cell in cells)
                weight += (g[i, j] ** 2 / denominator if denominator else 0.0) * max(0.0, g[i, j])
        for i, j in cells:
            if method == "layercam":
                weight = max(0.0, g[i, j])
            if method == "hirescam":
                weight = g[i, j]
            result[i, j] += weight * a[i, j]
    return result


@every_method
@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_methods_are_the_papers_formulas(method, seed, channels, side, rectified):
    rng = np.random.default_rng(seed)
    activations, gradients = rng.normal(size=(2, 2, channels, side, side + 1))
    gradients *= rng.random(gradients.shape) < 0.7  # where a max-pool took another cell, the gradient is zero
    activations = np.maximum(activations, 0) if rectified else activations
    found = METHODS[method](torch.tensor(activations), torch.tensor(gradients))
    assert found.dtype == torch.float64
    expected = [by_hand(method, a, g) for a, g in zip(activations, gradients)]
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found.numpy() / scale, expected / scale, atol=1e-9)


def test_gradcam_plus_plus_by_hand_and_where_its_denominator_is_zero():
    a = torch.tensor([[[[1.0, -5.0]], [[2.0, 0.0]]]], dtype=torch.float64)
    g = torch.tensor([[[[0.5, 0.0]], [[1.0, -1.0]]]], dtype=torch.float64)
    # channel 1: S = −4, 2·.25 − 4·.125 = 0, so α = 0; channel 2: S = 2, α = 1 / (2 + 2), and −1 is cut off
    assert METHODS["gradcam++"](a, g).tolist() == [[[0.25 * 2.0, 0.0]]]


def test_gradcam_plus_plus_survives_tiny_gradients():
    a, g = torch.rand(2, 1, 3, 4, 4)
    tiny = METHODS["gradcam++"](a, g * 1e-30)  # whose square is no float32
    torch.testing.assert_close(tiny * 1e30, METHODS["gradcam++"](a.double(), g.double() * 1e-30).float() * 1e30)
    assert tiny.max() > 0


# ---- the package, its constants copied


def package_maps(model, images, layers, method, targets=None):
    """The package's map of each layer, all from one object and before it enlarges and averages them."""
    with PACKAGE[method](model, [model.get_submodule(layer) for layer in layers]) as cam:
        cam.get_target_width_height = lambda images: None
        cam.aggregate_multi_layers = lambda maps: maps
        targets = targets and [package.utils.model_targets.ClassifierOutputTarget(target) for target in targets]
        return dict(zip(layers, (torch.from_numpy(maps[:, 0]) for maps in cam(images, targets))))


def with_constants(activations, gradients, method):
    """Our captured passes, finished with the package's constants."""
    if method == "gradcam++":
        squared = gradients**2
        alpha = squared / (2 * squared + activations.sum((2, 3), keepdim=True) * gradients**3 + 1e-6)
        raw = ((alpha * gradients.relu()).sum((2, 3))[:, :, None, None] * activations).sum(1)
    else:
        raw = METHODS[method](activations, gradients)
    above = raw.relu() - raw.relu().amin((1, 2), keepdim=True)
    return above / (above.amax((1, 2), keepdim=True) + 1e-7)


@every_net
@pytest.mark.parametrize("make, targets", [(net, None), (trained, [3, 0, 9, 3, 1])])
def test_maps_equal_the_package_s(name, make, targets):
    model, images = make(name), pictures(5)
    passes = GradCAM(model, STAGES[name]).passes(images, targets)
    for method in METHODS:
        theirs = package_maps(copy.deepcopy(model), images, STAGES[name], method, targets)
        for layer, pair in passes.items():
            assert abs(with_constants(*pair, method) - theirs[layer]).max() <= 1e-5, (method, layer)


@every_method
def test_product_maps_equal_the_package_s_where_its_constants_are_too_small_to_matter(method):
    model, images = net("davidnet"), pictures(4)
    with torch.no_grad():
        model.head.weight *= 1e4  # large gradients
    theirs = package_maps(copy.deepcopy(model), images, ["prep"], method)["prep"]
    ours = GradCAM(model, "prep", method)(images, upsample=False)["prep"]
    low = ours.amin((1, 2), keepdim=True)
    assert abs((ours - low) / (1 - low) - theirs).max() <= 1e-4


# ---- ReLUs that overwrite their input


def out_of_place(model):
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


@every_method
def test_a_relu_in_place_behind_the_layer_changes_nothing(method):
    model, images, layers = net("davidnet"), pictures(), ["prep.0", "prep.1", "layer1.0.2", "layer1.1.inner.0.1"]
    kept = GradCAM(model, layers, method).raw(images)
    plain = out_of_place(copy.deepcopy(model))
    for layer, raw in GradCAM(plain, layers, method).raw(images).items():
        assert torch.equal(raw, kept[layer])
        assert kept[layer].abs().max() > 0
    theirs = package_maps(plain, images, layers, method)
    for layer, pair in GradCAM(model, layers).passes(images).items():
        assert abs(with_constants(*pair, method) - theirs[layer]).max() <= 1e-5
        assert pair[0].min() < 0  # the BatchNorm's output, not the ReLU's


def test_layers_inside_each_other_share_one_pass():
    model, images = net("resnet18"), pictures()
    layers = ["layer2", "layer2.1", "layer2.1.norm1", "layer2.1.norm2", "layer2.1.shortcut"]
    together = GradCAM(model, layers).passes(images)
    for layer in layers:
        for found, alone in zip(together[layer], GradCAM(model, layer).passes(images)[layer]):
            assert torch.equal(found, alone)
    assert torch.equal(together["layer2"][1], together["layer2.1"][1])
    assert not torch.equal(together["layer2.1.shortcut"][0], together["layer2"][0])


class Fork(nn.Module):
    """Uses the images and a layer's output twice, once through an identity."""

    def __init__(self):
        super().__init__()
        self.first, self.skip, self.side, self.head = (
            nn.Conv2d(1, 1, 1),
            nn.Identity(),
            nn.Conv2d(1, 1, 1),
            nn.Linear(1, 2),
        )

    def forward(self, x):
        y = self.first(x)
        return self.head((3 * self.skip(y) + 4 * y + self.side(x)).sum((2, 3)))


def test_an_identity_has_the_gradient_of_its_own_path():
    model = Fork()
    passes = GradCAM(model, ["first", "skip"]).passes(torch.ones(1, 1, 2, 2), [1])
    weight = model.head.weight[1].expand(1, 1, 2, 2)
    torch.testing.assert_close(passes["skip"][1], 3 * weight)
    torch.testing.assert_close(passes["first"][1], 7 * weight)
    assert torch.equal(passes["skip"][0], passes["first"][0])
    with torch.inference_mode():
        images = torch.ones(1, 1, 2, 2)  # may not enter a graph
        torch.testing.assert_close(GradCAM(model, "skip").passes(images, [1])["skip"][1], 3 * weight)


# ---- what comes out


@every_net
@every_method
def test_maps_of_every_stage(name, method):
    model, images = net(name), pictures(4)
    with GradCAM(model, STAGES[name], method) as cam:
        large, small = cam(images), cam(images, upsample=False)
    assert list(large) == list(small) == STAGES[name] == gradcam.stages(model)
    for stage, side in zip(STAGES[name], SIDES[name]):
        assert small[stage].shape == (4, side, side) and large[stage].shape == (4, 32, 32)
        assert large[stage].dtype == small[stage].dtype == torch.float32
        assert not large[stage].requires_grad
        assert small[stage].amin() >= 0 and set(small[stage].amax((1, 2)).tolist()) <= {0.0, 1.0}
        expected = F.interpolate(small[stage][:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(large[stage], expected)
    assert small[STAGES[name][0]].amax() == 1


def test_the_default_target_is_the_prediction():
    name = "davidnet"
    model, images = trained(name), pictures(6) + 4 * pictures(6, 1, 1, seed=1)  # each of another colour
    predicted = copy.deepcopy(model).eval()(images).argmax(1)
    assert len(set(predicted.tolist())) > 1
    cam = GradCAM(model, STAGES[name][-2:])
    default = cam.raw(images)
    for targets in (predicted, predicted.tolist(), predicted.numpy(), tuple(predicted.int())):
        assert same(default, cam.raw(images, targets))
    with warnings.catch_warnings(action="error"):  # torch warns of arrays that cannot be written to
        assert same(default, cam.raw(images, np.frombuffer(predicted.numpy().tobytes(), np.int64)))
    other = cam.raw(images, (predicted + 1) % 10)
    assert all((other[layer] != default[layer]).flatten(1).any(1).all() for layer in default)


@every_method
def test_a_batch_s_maps_are_those_of_its_images(method, monkeypatch):
    model, images, targets = net("resnet18"), pictures(5), [1, 2, 3, 4, 5]
    cam = GradCAM(model, STAGES["resnet18"], method)
    whole, small = cam(images, targets), cam(images, upsample=False)
    singles = [cam(images[i : i + 1], targets[i : i + 1]) for i in range(5)]
    monkeypatch.setattr(gradcam, "CHUNK", 2)  # three passes
    chunked, small_chunked = cam(images, np.array(targets)), cam(images, upsample=False)
    for layer, maps in whole.items():
        torch.testing.assert_close(maps, torch.cat([single[layer] for single in singles]), atol=1e-4, rtol=0)
        torch.testing.assert_close(maps, chunked[layer], atol=1e-4, rtol=0)
        torch.testing.assert_close(small[layer], small_chunked[layer], atol=1e-4, rtol=0)


def test_no_image_has_no_map():
    with torch.no_grad():
        assert GradCAM(net(), "layer1")(pictures(0))["layer1"].shape == (0, 32, 32)


@pytest.mark.parametrize("height, width", [(32, 64), (40, 24)])
def test_other_sizes(height, width):
    maps = GradCAM(net("resnet18"), ["stem", "layer3"])(pictures(2, height, width))
    assert {value.shape for value in maps.values()} == {(2, height, width)}


def test_layout_of_the_images_changes_nothing():
    model, images = net("resnet18"), pictures(4)
    cam = GradCAM(model, STAGES["resnet18"])
    plain = cam(images)
    wide = torch.zeros(4, 3, 32, 64)
    wide[..., ::2] = images
    strided = wide[..., ::2]
    turned = images.contiguous(memory_format=torch.channels_last)
    assert not strided.is_contiguous() and not turned.is_contiguous()
    for other in (strided, turned):
        for layer, maps in cam(other).items():
            torch.testing.assert_close(maps, plain[layer], atol=1e-4, rtol=0)


@given(st.integers(2, 20), st.integers(1, 70))
def test_enlarged_maps_stay_in_zero_to_one(cells, side):
    enlarged = gradcam.enlarge(torch.ones(1, cells, cells), (side, side + 3))
    assert enlarged.shape == (1, side, side + 3)
    assert enlarged.amin() > 0.999 and enlarged.amax() <= 1


def test_compute_lays_out_the_images():
    model, seen = net(width=16), []
    model.prep.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for layout in (torch.channels_last, torch.contiguous_format):
        GradCAM(model, "layer2", compute=Compute("cpu", "fp32", layout))(pictures())
        assert seen[-1].is_contiguous(memory_format=layout)


# ---- empty maps


@every_method
def test_a_map_without_evidence_is_zeros(method):
    model, images = net("davidnet"), pictures(3)
    with torch.no_grad():
        model.head.weight[4] = 0  # no channel speaks for class 4, every channel for class 5
        model.head.weight[5] = 1
    found = GradCAM(model, STAGES["davidnet"], method)(images, [4, 5, 4])
    assert found["layer3"][1].any()
    for maps in found.values():
        assert maps.isfinite().all() and not maps[::2].any()


@given(st.floats(1e-45, 1e38), st.integers(0, 100))
def test_positive_share_is_in_zero_to_one_at_any_size(size, seed):
    raw = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed)) * size
    raw[1] = -raw[1].abs()
    share = gradcam.positive_share(raw)
    assert share.isfinite().all() and share.amin() >= 0 and share.amax() <= 1
    assert not share[1].any()
    assert share[0].amax() == float(raw[0].amax() > 0)


# ---- the state given back


def disturb(model):
    """Grads, a frozen weight, hooks of the owner, mixed modes: all to be kept."""
    model(pictures(2)).square().sum().backward()
    model.head.weight.requires_grad_(False)
    model.layer1.register_forward_hook(lambda module, inputs, output: None)
    model.layer2.register_full_backward_hook(lambda module, incoming, outgoing: None)
    model.layer3.eval()
    return model


@every_net
@every_method
def test_the_net_is_as_it_was(name, method):
    model = disturb(net(name))
    before = state_of(model)
    assert any(before["modes"]) and not all(before["modes"])
    with GradCAM(model, STAGES[name], method) as cam:
        assert same(state_of(model), before)
        cam(pictures(), [1, 2, 3])
        assert same(state_of(model), before)
    assert same(state_of(model), before)
    assert torch.is_grad_enabled()


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize("place", ["prep", "layer2.1", "head"])
def test_the_net_is_as_it_was_after_an_error_in_the_forward_pass(place):
    model = disturb(net("davidnet"))

    def fail(*_):
        raise Broken

    model.get_submodule(place).register_forward_pre_hook(fail)
    before, random = state_of(model), torch.get_rng_state()
    with pytest.raises(Broken), GradCAM(model, STAGES["davidnet"]) as cam:
        cam(pictures())
    assert same(state_of(model), before) and torch.is_grad_enabled()
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("place", ["layer3", "prep"])
def test_the_net_is_as_it_was_after_an_error_in_the_backward_pass(place):
    class Fail(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise Broken

    model = disturb(net("davidnet"))
    model.get_submodule(place).register_forward_hook(lambda module, inputs, output: Fail.apply(output))
    before = state_of(model)
    with pytest.raises(Broken), GradCAM(model, ["prep.2", "layer1"]) as cam:
        cam(pictures())
    assert same(state_of(model), before) and torch.is_grad_enabled()


def test_the_net_is_as_it_was_after_wrong_requests():
    model = disturb(net("davidnet"))
    before = state_of(model)
    with GradCAM(model, ["prep", "head"]) as cam, pytest.raises(ValueError, match="'head' has no map"):
        cam(pictures())
    with GradCAM(model, ["prep"]) as cam, pytest.raises(ValueError, match=r"0\.\.9"):
        cam(pictures(), [0, 1, 10])
    assert same(state_of(model), before) and torch.is_grad_enabled()


def test_the_images_are_left_alone():
    images = pictures().requires_grad_()
    before = images.detach().clone()
    GradCAM(net(), "layer2")(images)
    assert torch.equal(images, before) and images.requires_grad and images.grad is None


# ---- under the caller's modes


@every_net
def test_works_without_gradients_and_with_frozen_weights(name):
    model, images = net(name), pictures()
    expected = GradCAM(model, STAGES[name])(images)
    cam = GradCAM(model, STAGES[name])
    with torch.no_grad():
        assert same(cam(images), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert same(cam(images.clone()), expected)
        assert torch.is_inference_mode_enabled()
    model.requires_grad_(False)
    assert same(cam(images), expected)
    with torch.no_grad():
        assert same(GradCAM(model, STAGES[name][-1:])(images), {STAGES[name][-1]: expected[STAGES[name][-1]]})
    assert not any(p.requires_grad for p in model.parameters())


@every_method
def test_in_bf16(method):
    model, images = net("davidnet", width=16), pictures(8)
    full = GradCAM(model, STAGES["davidnet"], method, Compute("cpu", "fp32"))(images, range(8))
    half = GradCAM(model, STAGES["davidnet"], method, Compute("cpu", "bf16"))(images, range(8))
    with torch.autocast("cpu", torch.bfloat16):
        ambient = GradCAM(model, STAGES["davidnet"], method)(images, range(8))
    for layer, maps in full.items():
        assert half[layer].dtype == torch.float32
        assert not torch.equal(half[layer], maps)
        assert abs(half[layer] - maps).mean() < 0.05
        assert abs(ambient[layer] - maps).mean() < 0.05
    whole = GradCAM(model.bfloat16(), ["layer2"], method)(images.bfloat16(), range(8))["layer2"]
    assert whole.dtype == torch.float32 and abs(whole - full["layer2"]).mean() < 0.1


def test_a_training_step_around_it_keeps_its_gradients():
    """Weights that autocast has cast without a graph must not be taken for the step's."""
    model, images = net("davidnet"), pictures(4)
    with torch.autocast("cpu", torch.bfloat16):
        GradCAM(model, "layer3")(images)
        loss = model(images).float().square().sum()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_one_forward_and_one_backward_pass_and_no_gradient_of_weights():
    model, images = net("resnet18"), pictures(7)
    calls, seen = [], []
    for module in (model.stem, model.head):
        module.register_forward_hook(lambda *_: calls.append("forward"))
    model.layer4.register_full_backward_hook(lambda *_: calls.append("backward"))
    for parameter in model.parameters():
        parameter.register_hook(seen.append)
    GradCAM(model, STAGES["resnet18"])(images)
    assert calls == ["forward", "forward", "backward"] and seen == []


def test_the_graph_begins_at_the_first_layer_asked_for():
    model, recorded = net("resnet18"), {}
    for name in ("layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: recorded.update({name: output.requires_grad})
        )
    GradCAM(model, "layer3.1")(pictures())
    assert recorded == {"layer2": False, "layer3": True, "layer4": True}


# ---- wrong requests


def test_unknown_method_lists_the_methods():
    with pytest.raises(ValueError, match=r"'gradcam2'; allowed: gradcam, gradcam\+\+, layercam, hirescam"):
        GradCAM(net(), "layer1", method="gradcam2")


@pytest.mark.parametrize("layers", [["layer1", "layer9"], ["layer1.5"], "head.0", [3], []])
def test_unknown_layers_list_the_layers(layers):
    said = re.escape(f"{layers!r} has no map") + ".*choose from prep, layer1, layer2, layer3, or"
    with pytest.raises(ValueError, match=said):
        GradCAM(net(), layers)


@pytest.mark.parametrize("layer", ["head", "pool", "pool.0", "pool.1"])
def test_layer_without_spatial_output(layer):
    with pytest.raises(ValueError, match=f"'{layer}' has no map.*prep, layer1, layer2, layer3"):
        GradCAM(net(), ["prep", layer])(pictures())


@pytest.mark.parametrize(
    "targets, said",
    [
        ([0, 1], r"3 whole numbers, a class for each image, not \[0, 1\]"),
        ([0, 1, 2, 3], r"not \[0, 1, 2, 3\]"),
        ([[0, 1, 2]], r"not \[\[0, 1, 2\]\]"),
        ([0.0, 1.0, 2.0], "whole numbers"),
        ([True, False, True], "whole numbers"),
        ([0, -1, 2], r"in 0\.\.9, not tensor\(\[ 0, -1"),
        (torch.tensor([11, 10, 3]), r"in 0\.\.9, not tensor\(\[11, 10"),
        (["cat", "dog", "ship"], r"not \['cat', 'dog', 'ship'\]"),
        (np.array(["cat", "dog", "ship"]), "3 whole numbers"),
        ([0, None, 2], r"not \[0, None, 2\]"),
        ([None, None, None], "3 whole numbers"),
        (3, "not 3"),
        ("cat", "not cat"),
    ],
)
def test_wrong_targets(targets, said):
    with pytest.raises(ValueError, match=said):
        GradCAM(net(), "layer1")(pictures(), targets)


def test_no_target_is_passed_over_in_chunks(monkeypatch):
    monkeypatch.setattr(gradcam, "CHUNK", 2)
    for targets in ([0] * 3, [0] * 5, [0] * 6):
        with pytest.raises(ValueError):
            GradCAM(net(), "layer1")(pictures(4), targets)


def test_numbers_that_are_none():
    model = net()
    with pytest.raises(FloatingPointError, match="not finite; check images and weights"):
        GradCAM(model, "layer1")(torch.full((1, 3, 32, 32), torch.nan))
    model.layer3.register_forward_hook(lambda module, inputs, output: output + (0 * output).sqrt())  # infinite slope
    with pytest.raises(FloatingPointError, match="gradients are not finite"):
        GradCAM(model, "layer2")(pictures())


class Odd(nn.Module):
    """Calls one layer twice, one without effect, and one that puts out a pair."""

    def __init__(self):
        super().__init__()
        self.twice, self.idle = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.once, self.pair = nn.Conv2d(3, 3, 1), Pair()

    def forward(self, x):
        self.idle(x)
        return self.once(self.twice(self.twice(self.pair(x)[0]))).mean((2, 3))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("layer", ["twice", "idle", "pair"])
def test_layers_that_have_no_single_map(layer):
    model = Odd()
    before = state_of(model)
    if layer == "idle":  # torch's own words
        expected, said = RuntimeError, "to not have been used in the graph"
    else:
        expected, said = ValueError, f"'{layer}' has no map.*choose from twice, idle, once, pair"
    with pytest.raises(expected, match=said):
        GradCAM(model, ["once", layer])(pictures())
    assert same(state_of(model), before)
