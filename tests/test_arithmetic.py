"""Arithmetic counted without computing; checked against published figures and against hooks."""

import pytest
import torch

from helpers import models
from helpers.figures import nets

GIGA = 1e9


@pytest.mark.parametrize("net, forward, training", [("davidnet", 0.758, 2.272), ("resnet18", 1.111, 3.329)])
def test_the_nets_cost_what_is_known_of_them(net, forward, training):
    assert models.count_flops(net) / GIGA == pytest.approx(forward, abs=6e-4)
    assert models.count_flops(net, backward=True) / GIGA == pytest.approx(training, abs=6e-4)


@pytest.mark.parametrize("net", models.NETS)
@pytest.mark.parametrize("width", [8, 64])
def test_two_operations_are_one_multiply_add(net, width):
    blocks = nets.measure_blocks(models.build(net, 10, width), torch.zeros(1, 3, 32, 32))
    assert models.count_flops(net, width) == 2 * sum(block.multiply_adds for block in blocks)


def test_backward_costs_twice_forward_but_for_the_image():
    by_hand = 2 * 9 * 3 * 64 * 32 * 32  # the first convolution needs no gradient of its input
    assert models.count_flops("davidnet", backward=True) == 3 * models.count_flops("davidnet") - by_hand


def test_counting_leaves_the_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    models.count_flops.cache_clear()
    models.count_flops("davidnet", 8, backward=True)
    assert torch.equal(torch.rand(1), expected)
