"""The nets, for 32×32 images: ResNet18, the custom ResNet ("DavidNet"), and a fast one."""

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

PATCH = 2  # pixels a side, of the patches that a speednet whitens
DIRECTIONS = 3 * PATCH * PATCH  # numbers in a patch; each of its directions gets two filters
FLATTEST = 5e-4  # added to the variance of every direction, so that the noise of flat ones is not blown up


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut: the basic block of He et al. 2015, section 4.1 (projection shortcut B).

    Maps (N, inputs, H, W) to (N, outputs, H/stride, W/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x), inplace=True)


class AddResidual(nn.Module):
    """x + inner(x): the shortcut of the custom ResNet, with no ReLU after the sum."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def resnet18(num_classes: int = 10, width: int = 64) -> nn.Sequential:
    """ResNet18 with a 3×3 stride-1 stem and no first max-pool, so that 32×32 images keep their detail.

    Maps (N, 3, 32, 32) images to (N, num_classes) logits; the loss applies the softmax. The stem has `width` channels;
    64 gives 11,173,962 parameters for ten classes. Children: stem, layer1 … layer4 (width, 2, 4, 8 × width channels on
    32, 16, 8, 4 pixels a side), pool, head.
    """
    stages = OrderedDict(stem=_conv_norm_relu(3, width))
    inputs = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width, 8 * width), start=1):
        stride = 1 if stage == 1 else 2
        stages[f"layer{stage}"] = nn.Sequential(ResidualBlock(inputs, outputs, stride), ResidualBlock(outputs, outputs))
        inputs = outputs
    stages["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    stages["head"] = nn.Linear(inputs, num_classes)
    return nn.Sequential(stages)


def davidnet(num_classes: int = 10, width: int = 64) -> nn.Sequential:
    """The custom ResNet, after David Page's "How to Train Your ResNet" (2018).

    Maps (N, 3, 32, 32) images to (N, num_classes) logits. Softmax is in the loss; a second one would keep that above
    1.46. Children: prep, layer1 to layer3, 1 and 3 with a residual of two convolutions, pool, head; width, 2, 4 and
    8 × width channels on 32, 16, 8 and 4 pixels a side. A width of 64 gives 6,573,130 parameters.
    """
    return nn.Sequential(
        OrderedDict(
            prep=_conv_norm_relu(3, width),
            layer1=nn.Sequential(_conv_norm_relu(width, 2 * width, nn.MaxPool2d(2)), _residual(2 * width)),
            layer2=_conv_norm_relu(2 * width, 4 * width, nn.MaxPool2d(2)),
            layer3=nn.Sequential(_conv_norm_relu(4 * width, 8 * width, nn.MaxPool2d(2)), _residual(8 * width)),
            pool=nn.Sequential(nn.MaxPool2d(4), nn.Flatten()),
            head=nn.Linear(8 * width, num_classes),
        )
    )


def speednet(num_classes: int = 10, width: int = 64) -> nn.Sequential:
    """A net that learns fast, after airbench94 (Jordan 2024, arXiv 2404.00498, section 3), whose whitening has a bias.

    Maps (N, 3, 32, 32) or (N, 3, 24, 24) images to (N, num_classes) logits, for a logit scale of 1 / (4 · width).
    Children: whiten (24 filters, for the function of this name), layer1 to layer3 (width, 4 and 4 × width channels on
    15, 7, 3 pixels a side), pool, head. Convolutions begin by handing on what they get; BatchNorm's scales are fixed.
    """
    net = nn.Sequential(
        OrderedDict(
            whiten=nn.Sequential(nn.Conv2d(3, 2 * DIRECTIONS, PATCH, bias=False), nn.GELU()),
            layer1=_conv_group(2 * DIRECTIONS, width),
            layer2=_conv_group(width, 4 * width),
            layer3=_conv_group(4 * width, 4 * width),
            pool=nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
            head=nn.Linear(4 * width, num_classes, bias=False),
        )
    )
    net.head.weight.data.div_(net.head.weight.std())
    return net


@torch.no_grad()
def whiten(net: nn.Sequential, images: torch.Tensor) -> None:
    """Set and fix a speednet's first filters so that 2×2 patches of normalised images (N, 3, H, W) come out white.

    A patch's 12 numbers become their projections on the eigenvectors of the covariance, each over its deviation:
    uncorrelated, and of equal variance. Their negatives come, too, since a GELU follows.
    """
    filters = net.whiten[0].weight
    patches = F.unfold(images.cpu().double(), PATCH).transpose(1, 2).flatten(0, 1)  # (N · places, 12)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    white = (directions / (variances + FLATTEST).sqrt()).T.reshape(-1, *filters.shape[1:])
    filters.copy_(torch.cat([white, -white])).requires_grad_(False)


NETS = {"resnet18": resnet18, "davidnet": davidnet, "speednet": speednet}


def build(name: str, num_classes: int = 10, width: int = 64) -> nn.Sequential:
    """Build a net by its name in NETS."""
    return NETS[name](num_classes, width)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _conv_norm_relu(inputs: int, outputs: int, *pool: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, *pool, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _residual(channels: int) -> AddResidual:
    return AddResidual(nn.Sequential(_conv_norm_relu(channels, channels), _conv_norm_relu(channels, channels)))


def _conv_group(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, the first followed by a pooling that halves the side."""
    first = _conv_norm_gelu(inputs, outputs, nn.MaxPool2d(2))
    return nn.Sequential(*first, *_conv_norm_gelu(outputs, outputs))


def _conv_norm_gelu(inputs: int, outputs: int, *pool: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:inputs])  # hands its input on; filters beyond that keep their random weights
    norm = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)  # its statistics follow fast, for runs of few steps
    norm.weight.requires_grad_(False)
    return nn.Sequential(conv, *pool, norm, nn.GELU())


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """A net in eval mode inside the block; afterwards each of its modules has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in modes:
            module.training = training


def copied(whole: Any) -> Any:
    """A deep copy of a net, or of it and its optimizer; of outputs that hooks left on its modules, numbers alone."""
    own = torch.Tensor.__deepcopy__  # which refuses what has a graph
    torch.Tensor.__deepcopy__ = lambda kept, memo: own(kept, memo) if kept.is_leaf else kept.detach().clone()
    try:
        return copy.deepcopy(whole)
    finally:
        torch.Tensor.__deepcopy__ = own


@cache
def count_flops(net: str, width: int = 64, backward: bool = False, side: int = 32) -> int:
    """Floating-point operations of a net of `NETS` on one square image: of the forward pass, or with the backward pass.

    Of convolutions and linear layers alone; a multiplication and its addition are two. Nothing is computed.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = build(net, width=width)
        images, labels = torch.empty(2, 3, side, side), torch.zeros(2, dtype=torch.long)  # BatchNorm needs two images
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        loss = F.cross_entropy(model(images), labels)
        if backward:
            loss.backward()
    return counter.get_total_flops() // 2
