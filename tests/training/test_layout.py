"""How networks lie in memory: fast where it is safe."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdtune import models
from kdtune.pruning import prune
from kdtune.training.layout import arranged, channels_last_is_safe

CPU = torch.device("cpu")


def build(name: str, seed: int = 0) -> nn.Module:
    return models.build(name, classes=10, channels=3, size=32, seed=seed)


def is_channels_last(network: nn.Module) -> bool:
    kernels = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1]
    return all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


@pytest.mark.parametrize("name", ["resnet20", "wrn_16_2", "resnet8x4", "vgg8", "mobilenetv2"])
def test_a_network_of_the_usual_width_lies_channels_last(name: str) -> None:
    assert is_channels_last(arranged(build(name), CPU))


@pytest.mark.parametrize("name", ["resnet8x0.125", "resnet8x0.25"])
def test_a_network_with_a_narrow_strided_shortcut_does_not(name: str) -> None:
    network = arranged(build(name), CPU)
    assert not channels_last_is_safe(network)
    assert all(p.is_contiguous() for p in network.parameters())


def test_what_is_dangerous_is_a_strided_pointwise_convolution_of_few_channels() -> None:
    def of(channels: int, kernel: int, stride: int) -> bool:
        return channels_last_is_safe(nn.Sequential(nn.Conv2d(channels, 16, kernel, stride)))

    assert not of(6, 1, 2)
    assert not of(17, 1, 2)
    assert of(16, 1, 2)
    assert of(6, 1, 1)
    assert of(6, 3, 2)


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_2", "vgg8"])
def test_the_order_in_memory_changes_no_result(name: str) -> None:
    plain, other = build(name).train(), arranged(build(name), CPU).train()
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for network in (plain, other):
        functional.cross_entropy(network(images), torch.arange(16) % 10).backward()
    torch.testing.assert_close(plain(images), other(images), rtol=1e-4, atol=1e-4)
    # Of all weights together: of a bias before batch norm the gradient is rounding alone.
    ours, theirs = (
        torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        for net in (plain, other)
    )
    assert (ours - theirs).norm() < 1e-3 * ours.norm()


def test_a_pruned_network_can_be_arranged_again() -> None:
    network = arranged(build("resnet20"), CPU)
    prune(network, method="l1_filter", ratio=0.3, channels=3, size=32)
    assert is_channels_last(arranged(network, CPU))
    network.train()(torch.randn(4, 3, 32, 32)).sum().backward()
