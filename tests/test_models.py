import pytest
import torch
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from helpers import models

EVAL_IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def randomised(net):
    """A net in eval mode whose BatchNorms do something."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


@pytest.mark.parametrize("name, count", [("resnet18", 11_173_962), ("davidnet", 6_573_130)])
def test_parameter_counts_are_the_published_ones(name, count):
    net = models.build(name)
    assert models.count_parameters(net) == count
    assert models.count_parameters(models.build(name, num_classes=7)) < count


@pytest.mark.parametrize("name", models.NETS)
def test_every_parameter_learns(name):
    net = models.build(name, width=8)
    net(EVAL_IMAGES).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)


@torch.no_grad()
def test_resnet18_equals_torchvision_s_blocks():
    ours = randomised(models.resnet18(width=64))
    theirs = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = torch.nn.Identity()
    tensors = iter(ours.state_dict().values())  # both list their tensors in the order of the forward pass
    theirs.load_state_dict({key: next(tensors) for key in theirs.state_dict()})
    assert next(tensors, None) is None
    torch.testing.assert_close(ours(EVAL_IMAGES), theirs.eval()(EVAL_IMAGES), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_davidnet_equals_the_assignment_written_out():
    net = randomised(models.davidnet(width=8))
    weights = iter(net.state_dict().values())

    def conv(x, pool=False):
        x = F.conv2d(x, next(weights), padding=1)
        x = F.max_pool2d(x, 2) if pool else x
        scale, shift, mean, variance, _ = (next(weights) for _ in range(5))
        return F.relu(F.batch_norm(x, mean, variance, scale, shift))

    x = conv(EVAL_IMAGES)  # prep: 8 × 32 × 32
    x = conv(x, pool=True)  # layer 1: 16 × 16 × 16
    x = x + conv(conv(x))
    x = conv(x, pool=True)  # layer 2: 32 × 8 × 8
    x = conv(x, pool=True)  # layer 3: 64 × 4 × 4
    x = x + conv(conv(x))
    x = F.max_pool2d(x, 4).flatten(1)
    expected = F.linear(x, next(weights), next(weights))
    torch.testing.assert_close(net(EVAL_IMAGES), expected)


@pytest.mark.parametrize(
    "name, sides",
    [
        ("resnet18", {"stem": 32, "layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4}),
        ("davidnet", {"prep": 32, "layer1": 16, "layer2": 8, "layer3": 4}),
    ],
)
def test_stages_have_the_sizes_the_notebooks_speak_of(name, sides):
    net, x, seen = models.build(name, width=8), EVAL_IMAGES, {}
    for stage, module in net.named_children():
        x = module(x)
        seen[stage] = x.shape
    assert {stage: seen[stage][-1] for stage in sides} == sides
    assert seen["head"] == (4, 10)
