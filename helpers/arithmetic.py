"""What a training costs in arithmetic, counted and not timed: the same on every machine."""

from functools import cache

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers import models


@cache
def forward_flops(net: str, width: int = 64) -> int:
    """Floating-point operations of one forward pass of a net of `models.NETS` on one 32×32 image, ten classes.

    Convolutions and linear layers only, where a multiplication and its addition are two operations. Nothing is
    computed: torch's counter reads the shapes of tensors without memory.
    """
    return _counted(net, width, backward=False)


@cache
def training_flops(net: str, width: int = 64) -> int:
    """Floating-point operations of forward and backward pass on one 32×32 image.

    About three times the forward pass: every layer needs one product more for its weights and one for its input. But
    the first layer's input is the image, which needs no gradient.
    """
    return _counted(net, width, backward=True)


def _counted(net: str, width: int, backward: bool) -> int:
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = models.build(net, width=width)
        images, labels = torch.empty(2, 3, 32, 32), torch.zeros(2, dtype=torch.long)  # BatchNorm needs two images
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(backward):
        logits = model(images)
        if backward:
            F.cross_entropy(logits, labels).backward()
    return counter.get_total_flops() // 2
