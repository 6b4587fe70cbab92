"""Class activation maps: where in an image the evidence for a class lay, at any layer of a convolutional net.

A is a layer's output, (N, C, h, w), and G = ∂y/∂A with y the logit of each image's class. A method turns the two into
one number per cell, (N, h, w): evidence for the class where it is positive, against the class where it is negative.
In eval mode no image knows of the others, so one backward pass from the sum of the logits serves all images and layers.
"""

import contextlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from helpers import files
from helpers.devices import Compute
from helpers.models import evaluating

Targets = Sequence[int] | np.ndarray | torch.Tensor
Maps = dict[str, torch.Tensor]  # by the layer's name

CHUNK = 100  # images whose activations and gradients are in memory together
SCALE = 2.0**8  # keeps small gradients of fp16 from vanishing; a power of two changes no digit of the others


def gradcam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ αₖ Aₖ with αₖ the mean of Gₖ over the cells (Selvaraju et al. 2017, equations 1 and 2, before the ReLU)."""
    return (gradients.mean((2, 3), keepdim=True) * activations).sum(1)


def gradcam_plus_plus(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ wₖ Aₖ with wₖ = Σ αₖ ReLU(Gₖ) over the cells (Chattopadhay et al. 2018, α by equation 19).

    α = G² / (2 G² + S G³) with S the sum of Aₖ over its cells. G² cancels, which spares small gradients an underflow:
    α = 1 / (2 + S G), and 0 where that divides by zero. Where the paper's score is exp(y), the factor exp(y) that all
    weights of an image share is left out; normalising removes it.
    """
    denominator = 2 + activations.sum((2, 3), keepdim=True) * gradients
    alpha = torch.where(denominator == 0, 0, 1 / denominator)
    return ((alpha * gradients.relu()).sum((2, 3), keepdim=True) * activations).sum(1)


def layercam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ ReLU(Gₖ) Aₖ, cell by cell (Jiang et al. 2021, LayerCAM)."""
    return (gradients.relu() * activations).sum(1)


def hirescam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ Gₖ Aₖ, cell by cell (Draelos & Carin 2020, HiResCAM)."""
    return (gradients * activations).sum(1)


METHODS = {"gradcam": gradcam, "gradcam++": gradcam_plus_plus, "layercam": layercam, "hirescam": hirescam}


class GradCAM(contextlib.AbstractContextManager):
    """Maps of a net, from (N, 3, H, W) images to (N, K) logits, at layers by their names, such as "layer4.0.norm1".

        with GradCAM(model, ["layer3", "layer4"]) as cam:
            maps = cam(images)

    The `with` block marks where maps are drawn; a call outside works too, and leaves weights, their `.grad`, buffers,
    modes and hooks as they were. Number format and layout are those of `compute`, else the images' and the caller's.
    """

    def __init__(
        self, model: nn.Module, layers: str | Sequence[str], method: str = "gradcam", compute: Compute | None = None
    ):
        files.choice("method", method, METHODS)
        names, modules = [layers] if isinstance(layers, str) else layers, dict(model.named_modules())
        if not names or not set(names) <= modules.keys():
            raise _without_map(model, layers)
        self.model, self.method, self.compute = model, method, compute
        self.layers = {name: modules[name] for name in names}

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, images: torch.Tensor, targets: Targets | None = None, upsample: bool = True) -> Maps:
        """The map of every image (N, 3, H, W), normalised as in training, at every layer: (N, H, W) float32 in [0, 1].

        `targets` are N classes, by default what the net predicts. A map is the positive part of the raw map over its
        maximum, or all zeros where nothing is positive, enlarged bilinearly, or (N, h, w) without `upsample`. The
        layer's maximum is 1; between cells, enlarging may miss it.
        """
        maps = {name: positive_share(raw) for name, raw in self.raw(images, targets).items()}
        return {name: enlarge(cells, images.shape[2:]) for name, cells in maps.items()} if upsample else maps

    def raw(self, images: torch.Tensor, targets: Targets | None = None) -> Maps:
        """The method's sums before ReLU and normalising, (N, h, w) float32 of either sign, for every layer."""
        chunks = images.split(CHUNK)
        wanted = [None] * len(chunks) if targets is None else class_numbers(targets, len(images)).split(CHUNK)
        passes = (self.passes(*pair) for pair in zip(chunks, wanted, strict=True))
        parts = [{name: METHODS[self.method](*pair) for name, pair in found.items()} for found in passes]
        return {name: torch.cat([part[name] for part in parts]) for name in self.layers}

    def passes(self, images: torch.Tensor, targets: Targets | None = None) -> dict[str, tuple[torch.Tensor, ...]]:
        """Every layer's activations and gradients, (N, C, h, w) float32, from which each of METHODS makes raw maps."""
        outputs: Maps = {}  # their graph begins at the first of these layers and not at the images
        with torch.inference_mode(False), torch.no_grad(), evaluating(self.model), contextlib.ExitStack() as hooks:
            for name, module in self.layers.items():
                hooks.enter_context(module.register_forward_hook(partial(self._keep, name, outputs)))
            logits = logits_of(self.model, images.clone() if images.is_inference() else images, self.compute)
            score = logits.gather(1, _classes(logits, targets)[:, None]).float().sum()
            gradients = torch.autograd.grad(SCALE * score, list(outputs.values()))
            pairs = [(a.detach().float(), g.float() / SCALE) for a, g in zip(outputs.values(), gradients)]
        if not all(values.isfinite().all() for pair in pairs for values in pair):
            raise FloatingPointError("values or gradients are not finite; check images and weights, or use fp32")
        return dict(zip(outputs, pairs))

    def _keep(self, name: str, outputs: Maps, module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        """As a forward hook: keep a layer's output, and send a copy on, which a ReLU in place may overwrite."""
        shape = getattr(output, "shape", ())  # a module may put out anything
        if name in outputs or len(shape) != 4 or shape[2] * shape[3] < 2:
            raise _without_map(self.model, name)
        torch.set_grad_enabled(True)  # from here on; the caller's mode comes back after the pass
        # A tensor of its own, even where a module hands on its input, which others may use as well
        outputs[name] = output.view_as(output) if output.requires_grad else output.detach().requires_grad_()
        return outputs[name].clone()


def stages(model: nn.Module) -> list[str]:
    """Names of a net's children with spatial output, in order, such as prep and layer1 to layer3 of DavidNet."""
    flat = nn.Flatten | nn.Linear
    return [name for name, child in model.named_children() if not any(isinstance(m, flat) for m in child.modules())]


def positive_share(raw: torch.Tensor) -> torch.Tensor:
    """ReLU of raw maps (N, h, w), each over its maximum, in [0, 1]; zeros where nothing is positive.

    No minimum is subtracted: 0 keeps meaning "no evidence", as in the papers.
    """
    positive = raw.relu()
    peak = positive.amax((1, 2), keepdim=True)
    return torch.where(peak > 0, positive / peak, 0)


def enlarge(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps (N, h, w) resampled bilinearly to (N, *size); cells are areas, so corners are not aligned."""
    return F.interpolate(maps[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)


def logits_of(model: nn.Module, images: torch.Tensor, compute: Compute | None = None) -> torch.Tensor:
    """What a net puts out for images (N, 3, H, W), on its device, in the layout and number format of `compute`."""
    images = images.to(next(model.parameters(), images).device)
    if compute is None:
        return model(images)
    with compute.autocast():
        return model(images.contiguous(memory_format=compute.memory_format))


def _classes(logits: torch.Tensor, targets: Targets | None) -> torch.Tensor:
    """Targets, checked against logits (N, K), or their predictions: (N,) int64, 0 to K − 1, on the logits' device."""
    if targets is None:
        return logits.argmax(1)
    classes, kinds = class_numbers(targets, len(logits)).to(logits.device), logits.shape[1]
    if not ((classes >= 0) & (classes < kinds)).all():
        raise ValueError(f"targets must be classes in 0..{kinds - 1}, not {classes}")
    return classes


def class_numbers(targets: Targets, count: int) -> torch.Tensor:
    """Targets of so many images as a tensor (count,) int64; those that are no whole numbers are a ValueError."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # names, None
        classes = targets if isinstance(targets, torch.Tensor) else torch.tensor(targets)
        if classes.shape == (count,) and not classes.is_floating_point() and classes.dtype != torch.bool:
            return classes.long()
    raise ValueError(f"targets must be {count} whole numbers, a class for each image, not {targets}")


def _without_map(model: nn.Module, layer: object) -> ValueError:
    needs = "a layer is the name of a module that the net calls once and that puts out (N, C, h, w), with several cells"
    choice = f"choose from {', '.join(stages(model))}, or a module inside one of these"
    return ValueError(f"{layer!r} has no map: {needs}; {choice}")
