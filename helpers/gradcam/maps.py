"""Class activation maps: where in an image the evidence for a class lay, at any layer of a convolutional net.

A is a layer's output, (N, C, h, w), and G = ∂y/∂A with y the logit of each image's class. A method turns the two into
one number per cell; what is positive is drawn. In eval mode no image of a batch knows of the others, so one forward
pass and one backward pass from the sum of the logits serve all images and all layers.
"""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from helpers import files
from helpers.devices import Compute
from helpers.models import evaluating

Layers = str | Sequence[str]
Targets = Sequence[int] | np.ndarray | torch.Tensor
Maps = dict[str, torch.Tensor]

SCALE = 2.0**8  # keeps small gradients of fp16 from vanishing; a power of two changes no digit of the others


def gradcam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ αₖ Aₖ with αₖ the mean of Gₖ over the cells (Selvaraju et al. 2017, equations 1 and 2, before the ReLU).

    Activations and gradients are (N, C, h, w), in any float format. The result is (N, h, w): evidence for the class
    where it is positive, against the class where it is negative.
    """
    return _weighted(gradients.mean((2, 3)), activations)


def gradcam_plus_plus(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ wₖ Aₖ with wₖ = Σ αₖ ReLU(Gₖ) over the cells (Chattopadhay et al. 2018, α by equation 19).

    α = G² / (2 G² + S G³) with S the sum of Aₖ over its cells. G² cancels, which spares small gradients an underflow:
    α = 1 / (2 + S G), and 0 where that divides by zero. Where the paper's score is exp(y), the factor exp(y) that all
    weights of an image share is left out; normalising removes it. Arguments and result as in `gradcam`.
    """
    denominator = 2 + activations.sum((2, 3), keepdim=True) * gradients
    alpha = torch.where(denominator == 0, 0, 1 / denominator)
    return _weighted((alpha * gradients.relu()).sum((2, 3)), activations)


def layercam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ ReLU(Gₖ) Aₖ, cell by cell (Jiang et al. 2021, LayerCAM). Arguments and result as in `gradcam`."""
    return (gradients.relu() * activations).sum(1)


def hirescam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Σₖ Gₖ Aₖ, cell by cell (Draelos & Carin 2020, HiResCAM). Arguments and result as in `gradcam`."""
    return (gradients * activations).sum(1)


METHODS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "hirescam": hirescam,
}


class GradCAM:
    """Maps of one net at some of its layers.

        with GradCAM(model, ["layer3", "layer4"]) as cam:
            maps = cam(images)

    Hooks are there during a call only. The `with` block marks where maps are drawn and has nothing to clean up, so a
    call outside of it works too. A call leaves the net as it was, after an error too: weights and their `.grad` and
    `requires_grad`, BatchNorm's buffers, each module's train or eval mode, hooks.

    Args:
        model: a net from (N, 3, H, W) images to (N, K) logits; it is run in eval mode.
        layers: one or several names of modules, such as "layer3" or "layer4.0.norm1".
        method: one of METHODS.
        compute: number format and layout of the passes; default that of the images and of the caller's autocast.
    """

    def __init__(self, model: nn.Module, layers: Layers, method: str = "gradcam", compute: Compute | None = None):
        files.choice("method", method, METHODS)
        self.model, self.method, self.compute = model, method, compute
        self.layers = _named(model, [layers] if isinstance(layers, str) else layers)

    def __enter__(self) -> "GradCAM":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, images: torch.Tensor, targets: Targets | None = None, upsample: bool = True) -> Maps:
        """Draw the map of every image at every layer: by the layer's name, (N, H, W) float32 in [0, 1].

        A map is the positive part of the raw map over its maximum, or all zeros where nothing is positive. The layer's
        maximum is 1; between cells, enlarging may miss it.

        Args:
            images: (N, 3, H, W) float, normalised as in training.
            targets: N classes, 0 to K − 1, one for each image; default what the net predicts.
            upsample: enlarge the maps to (H, W), bilinearly; else they keep their layer's cells, (N, h, w).
        """
        maps = {name: positive_share(raw) for name, raw in self.raw(images, targets).items()}
        return {name: enlarge(cells, images.shape[2:]) for name, cells in maps.items()} if upsample else maps

    def raw(self, images: torch.Tensor, targets: Targets | None = None) -> Maps:
        """The method's sums before ReLU and normalising, (N, h, w) float32 of either sign, for every layer."""
        return {name: METHODS[self.method](*pair) for name, pair in self.passes(images, targets).items()}

    def passes(self, images: torch.Tensor, targets: Targets | None = None) -> dict[str, tuple[torch.Tensor, ...]]:
        """Activations and gradients of every layer, each (N, C, h, w) float32: one forward and one backward pass.

        Any of METHODS makes raw maps of them, so that several methods can share the two passes.
        """
        _check_images(images)
        with torch.inference_mode(False), torch.no_grad(), evaluating(self.model):
            logits, activations = self._forward(images)
            classes = classes_of(logits, targets)
            score = logits.gather(1, classes[:, None]).float().sum()
            found = torch.autograd.grad(SCALE * score, list(activations.values()), allow_unused=True)
            gradients = dict(zip(activations, found))
            self._check_gradients(gradients)
            return {n: (a.detach().float(), gradients[n].float() / SCALE) for n, a in activations.items()}

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, Maps]:
        """Logits and the layers' outputs, whose graph begins at the first of these layers and not at the images."""
        parameter = next(self.model.parameters(), images)
        images = (images.clone() if images.is_inference() else images).to(parameter.device)
        if self.compute is not None:
            images = images.contiguous(memory_format=self.compute.memory_format)
        outputs: Maps = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.compute.autocast() if self.compute else contextlib.nullcontext())
            for name, module in self.layers.items():
                hook = module.register_forward_hook(self._keeper(name, outputs))
                stack.callback(hook.remove)
            logits = self.model(images)
        if missed := [name for name in self.layers if name not in outputs]:
            raise ValueError(f"the forward pass never calls {', '.join(missed)}; {_advice(self.model)}")
        return logits, outputs

    def _keeper(self, name: str, outputs: Maps) -> Callable[..., torch.Tensor]:
        """A forward hook that keeps a layer's output and sends a copy on, which a ReLU in place may overwrite."""

        def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            if name in outputs:
                raise ValueError(
                    f"the forward pass calls {name!r} twice, so it has no single map; {_advice(self.model)}"
                )
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            if isinstance(shape, str) or len(shape) != 4 or shape[2] * shape[3] < 2:
                raise ValueError(
                    f"{name!r} puts out {shape}, not (N, C, h, w) with several cells; {_advice(self.model)}"
                )
            torch.set_grad_enabled(True)  # from here on; the caller's mode comes back after the pass
            # A tensor of its own, even where a module hands on its input, which others may use as well
            outputs[name] = output.view_as(output) if output.requires_grad else output.detach().requires_grad_()
            return outputs[name].clone()

        return keep

    def _check_gradients(self, gradients: dict[str, torch.Tensor | None]) -> None:
        for name, gradient in gradients.items():
            if gradient is None:
                raise ValueError(f"{name!r} has no effect on the logits; {_advice(self.model)}")
            if not gradient.isfinite().all():
                raise FloatingPointError(
                    f"the gradient at {name!r} is not finite; draw the maps in fp32, or check the net"
                )


def stages(model: nn.Module) -> list[str]:
    """Names of a net's children with spatial output, in order: those before the first that flattens.

    For `helpers.models` these are stem and layer1 to layer4, or prep and layer1 to layer3.
    """
    names = []
    for name, child in model.named_children():
        if any(isinstance(module, nn.Flatten | nn.Linear) for module in child.modules()):
            break
        names.append(name)
    return names


def in_batches(
    cam: GradCAM, images: torch.Tensor, targets: Targets | None = None, upsample: bool = True, size: int = 100
) -> Maps:
    """What `cam(images, targets, upsample)` returns, drawn for `size` images at a time to bound the memory."""
    if targets is not None and len(targets) != len(images):
        raise ValueError(f"targets must be one for each of the {len(images)} images, not {len(targets)}")
    chunks = [slice(start, start + size) for start in range(0, max(1, len(images)), size)]
    parts = [cam(images[chunk], None if targets is None else targets[chunk], upsample) for chunk in chunks]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


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


def classes_of(logits: torch.Tensor, targets: Targets | None) -> torch.Tensor:
    """Targets, checked against logits (N, K), or their predictions: (N,) int64, 0 to K − 1, on the logits' device."""
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"the net must put out logits (N, K), not {found}")
    if not logits.isfinite().all():
        raise FloatingPointError("the logits are not finite; check the images, and the net's weights and number format")
    if targets is None:
        return logits.argmax(1)
    given = targets if isinstance(targets, torch.Tensor) else np.array(targets)  # a copy: a file's labels are read-only
    classes = torch.as_tensor(given, device=logits.device)
    whole = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    if classes.shape != logits.shape[:1] or not whole:
        found = f"{tuple(classes.shape)} {classes.dtype}"
        raise ValueError(f"targets must be one whole number for each of the {len(logits)} images, not {found}")
    if wrong := sorted({k for k in classes.tolist() if not 0 <= k < logits.shape[1]}):
        raise ValueError(f"targets must lie in 0..{logits.shape[1] - 1}, not {', '.join(map(str, wrong))}")
    return classes.long()


def _weighted(weights: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
    """Σₖ weightsₖ Aₖ of (N, C) and (N, C, h, w)."""
    return (weights[:, :, None, None] * activations).sum(1)


def _named(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The layers by name, the path of a module inside the model."""
    modules = dict(model.named_modules())
    if not layers:
        raise ValueError(f"name at least one layer; {_advice(model)}")
    for name in layers:
        if name not in modules:
            raise ValueError(f"the net has no layer {name!r}; {_advice(model, str(name))}")
    return {name: modules[name] for name in layers}


def _advice(model: nn.Module, wanted: str = "") -> str:
    """Which layers may be asked for, near the path that was."""
    modules = dict(model.named_modules())
    while wanted and not (wanted in modules and list(modules[wanted].children())):
        wanted = wanted.rpartition(".")[0]
    children = [f"{wanted}.{name}".lstrip(".") for name, _ in modules[wanted].named_children()]
    return f"choose from {', '.join((not wanted and stages(model)) or children)}, or a module inside one of these"


def _check_images(images: torch.Tensor) -> None:
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not len(images) or not images.is_floating_point():
        found = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"images must be a float tensor (N, 3, H, W), normalised as in training, not {found}")
