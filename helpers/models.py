"""The two nets, both for 32×32 images: ResNet18 and the custom ResNet of the assignment ("DavidNet")."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


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
    """The custom ResNet of the assignment, after David Page's "How to Train Your ResNet" (2018).

    Maps (N, 3, 32, 32) images to (N, num_classes) logits. The assignment's closing softmax is in the loss: a second one
    in the net would keep the cross-entropy of ten classes above 1.46. The child prep has `width` channels; 64 gives
    6,573,130 parameters for ten classes. Children: prep, layer1, layer2, layer3 (width, 2, 4, 8 × width channels on 32,
    16, 8, 4 pixels a side), pool, head. layer1 and layer3 carry a residual of two convolutions.
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


NETS = {"resnet18": resnet18, "davidnet": davidnet}


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


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """A net in eval mode inside the block; afterwards each of its modules has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in modes:
            module.training = training


@cache
def count_flops(net: str, width: int = 64, backward: bool = False) -> int:
    """Floating-point operations of a net of `NETS` on one 32×32 image: of the forward pass, or with the backward pass.

    Of convolutions and linear layers alone; a multiplication and its addition are two. Nothing is computed: torch's
    counter reads the shapes of tensors without memory. The backward pass costs about twice the forward one, a product
    for a layer's weights and one for its input; but the first layer's input is the image, which needs no gradient.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = build(net, width=width)
        images, labels = torch.empty(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)  # BatchNorm needs two images
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(backward):
        loss = F.cross_entropy(model(images), labels)
        if backward:
            loss.backward()
    return counter.get_total_flops() // 2
