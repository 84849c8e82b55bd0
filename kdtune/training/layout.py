"""How the weights of a network lie in memory, which decides how its convolutions are computed."""

import torch
from torch import nn

LANES = 16
"""Floats in the widest register of a CPU."""


def arranged(network: nn.Module, device: torch.device) -> nn.Module:
    """``network`` on ``device``, in the order that is fastest there; changes it in place.

    On a CPU that is channels last: convolutions read it without reordering. On a GPU it is left as
    it is, since in float32 neither order is always faster.
    """
    order = torch.contiguous_format
    if device.type == "cpu" and channels_last_is_safe(network):
        order = torch.channels_last
    return network.to(device).to(memory_format=order)


def channels_last_is_safe(network: nn.Module) -> bool:
    """Whether no convolution is of the kind that writes beyond its memory.

    With channels last, oneDNN's gradient of a strided 1x1 convolution of few input channels does
    (torch 2.15 on AVX2: below 8; "double free or corruption" some steps later). The line is drawn
    at the widest register, to be safe on CPUs that were not at hand.
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.in_channels % LANES
        for layer in network.modules()
    )
