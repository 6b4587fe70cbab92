"""Arithmetic counted without computing; checked against published figures and against hooks."""

import pytest
import torch

from helpers import models, recipes
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


def test_the_epochs_of_a_recipe_cost_what_is_worked_out_by_hand():
    """Convolutions of 2×2 and 3×3 filters, on 31, 15 and 7 pixels a side of images of 32, or 23, 11 and 5 of 24."""

    def operations(first, second, third, fourth):
        whitening = 24 * 12 * first**2  # the image needs no gradient: once forward, once backward
        groups = 9 * (24 * 64 * first**2 + 64 * 64 * second**2)
        groups += 9 * (64 * 256 * second**2 + 256 * 256 * third**2)
        groups += 9 * (256 * 256 * third**2 + 256 * 256 * fourth**2)
        return 2 * (2 * whitening + 3 * (groups + 256 * 10))

    small, large = operations(23, 11, 5, 2), operations(31, 15, 7, 3)
    assert (small, large) == (369_421_440, 708_330_624)
    sprint, resnet = recipes.get("sprint"), recipes.get("resnet18-plateau")
    assert recipes.epoch_flops(sprint) == [50_000 * small] * 2 + [50_000 * large] * 2  # 0.108 PFLOP
    assert recipes.epoch_flops(sprint, 1_000)[::3] == [1_000 * small, 1_000 * large]
    assert recipes.epoch_flops(resnet) == [45_000 * models.count_flops("resnet18", backward=True)] * 50
