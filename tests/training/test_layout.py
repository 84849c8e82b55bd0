"""How networks lie in memory: fast where it is safe."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

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


def gradient(network: nn.Module, images: Tensor) -> Tensor:
    """Of all weights, one after the other."""
    functional.cross_entropy(network.train()(images), torch.arange(16) % 10).backward()
    return torch.cat(
        [p.grad.double().flatten() for p in network.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_2", "vgg8"])
def test_channels_last_are_no_further_from_the_gradient_in_float64(name: str) -> None:
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    exact = gradient(build(name).double(), images.double())
    found = gradient(arranged(build(name), CPU), images)
    assert (found - exact).norm() < 2e-3 * exact.norm()


def test_a_pruned_network_can_be_arranged_again() -> None:
    network = arranged(build("resnet20"), CPU)
    prune(network, method="l1_filter", ratio=0.3, channels=3, size=32)
    assert is_channels_last(arranged(network, CPU))
    network.train()(torch.randn(4, 3, 32, 32)).sum().backward()


@pytest.mark.parametrize("name", ["resnet8", "resnet8x0.25", "mobilenetv2"])
def test_the_optimiser_moves_weights_of_any_order_as_the_loop_does(name: str) -> None:
    networks = [arranged(build(name), CPU).train() for _ in range(2)]
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    for network, at_once in zip(networks, (True, False), strict=True):
        optimizer = SGD(network.parameters(), foreach=at_once, **options)
        for step in range(3):
            # The same gradients for both, whatever rounding would make of the networks.
            for place, parameter in enumerate(network.parameters()):
                draws = torch.Generator().manual_seed(100 * step + place)
                parameter.grad = torch.randn(parameter.shape, generator=draws).to(parameter)
                if parameter.ndim == 4:
                    order = torch.channels_last if place % 2 else torch.contiguous_format
                    parameter.grad = parameter.grad.contiguous(memory_format=order)
            optimizer.step()
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
