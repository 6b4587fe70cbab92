"""Maps of all stages: ours against the grad-cam package, same net, images and number format (fp32).

The package is used in two ways: one object for each stage, which is how it gives one map per layer, and one object for
all, by its internal `compute_cam_per_layer`.
"""

from collections.abc import Mapping

import numpy as np
import pytorch_grad_cam as package
import torch
from table import Row, Scale, Work, compare
from torch import nn

from helpers import devices, models
from helpers.gradcam import maps as gradcam

PACKAGE = {
    "gradcam": package.GradCAM,
    "gradcam++": package.GradCAMPlusPlus,
    "layercam": package.LayerCAM,
    "hirescam": package.HiResCAM,
}
OURS, PER_STAGE, PER_LAYER = "ours", "package, an object per stage", "package, compute_cam_per_layer"


def measure(scale: Scale, yardsticks: Mapping[str, float]) -> list[Row]:
    """25 images, Grad-CAM; before that, that ours and the package's maps agree."""
    model, images = net_and_images(scale)
    worst = difference(model, images)
    assert max(worst.values()) < 1e-3, f"the maps differ by up to {worst}"
    what = f"Grad-CAM: resnet18, {len(images)} images, all stages, fp32"
    works = variants(model, images)
    names = (PER_STAGE, PER_LAYER, OURS)
    ordered = {name: works[name] for name in names}
    return compare(what, ordered, scale.rounds, dict.fromkeys(works, len(images)), "image")


def net_and_images(scale: Scale) -> tuple[nn.Module, torch.Tensor]:
    with devices.seeded(0):
        compute = devices.compute(scale.compute.device, "fp32")
        model = compute.place(models.build("resnet18", 10, scale.size(64, 16))).eval()
        return model, torch.randn(scale.size(25, 2), 3, 32, 32).to(scale.compute.device)


def variants(model: nn.Module, images: torch.Tensor, method: str = "gradcam") -> dict[str, Work]:
    """What is compared, by name; every one gives one enlarged map per image and stage."""
    return {
        OURS: lambda: gradcam.GradCAM(model, gradcam.stages(model), method)(images),
        PER_STAGE: lambda: package_per_stage(model, method, images),
        PER_LAYER: lambda: package_per_layer(model, method, images, images.shape),
    }


def package_per_layer(model: nn.Module, method: str, images: torch.Tensor, size: object = None) -> list[np.ndarray]:
    """One map per stage from one object of the package: its mean over the layers is left out."""
    with PACKAGE[method](model, [model.get_submodule(stage) for stage in gradcam.stages(model)]) as cam:
        cam.aggregate_multi_layers = lambda maps: maps
        if size is None:
            cam.get_target_width_height = lambda images: None
        return [maps[:, 0] for maps in cam(images, None)]


def package_per_stage(model: nn.Module, method: str, images: torch.Tensor) -> list[np.ndarray]:
    """One object of the package for each stage."""
    maps = []
    for stage in gradcam.stages(model):
        with PACKAGE[method](model, [model.get_submodule(stage)]) as cam:
            maps.append(cam(images, None))
    return maps


def difference(model: nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Largest difference of any stage's map before enlarging, by method, with the package's constants copied."""
    passes = gradcam.GradCAM(model, gradcam.stages(model)).passes(images)
    worst = {}
    for method in gradcam.METHODS:
        theirs = package_per_layer(model, method, images)
        ours = [with_constants(*pair, method) for pair in passes.values()]
        worst[method] = max(float(np.abs(a.cpu().numpy() - b).max()) for a, b in zip(ours, theirs))
    return worst


def with_constants(activations: torch.Tensor, gradients: torch.Tensor, method: str) -> torch.Tensor:
    """A map from our passes with the package's constants: 1e-7 beside the maximum, 1e-6 beside Grad-CAM++'s squares."""
    if method == "gradcam++":
        squared, sums = gradients**2, activations.sum((2, 3), keepdim=True)
        alpha = squared / (2 * squared + sums * gradients**3 + 1e-6)
        raw = ((alpha * gradients.relu()).sum((2, 3))[:, :, None, None] * activations).sum(1)
    else:
        raw = gradcam.METHODS[method](activations, gradients)
    above = raw.relu() - raw.relu().amin((1, 2), keepdim=True)
    return above / (above.amax((1, 2), keepdim=True) + 1e-7)
