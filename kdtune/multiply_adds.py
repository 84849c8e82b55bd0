"""Multiply-adds of a network, counted by running it once."""

import torch
from torch import nn


def multiply_adds(model: nn.Module, *, channels: int, size: int) -> int:
    """Multiply-adds of one image through the convs and linear layers of ``model``.

    Counted on the model's own device (meta is fine); its modes and buffers stay as they are.

    Args:
        model: Any network of images.
        channels: Channels of the image.
        size: Side of the square image in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode  # Brings Triton, which takes a while.

    weight = next(model.parameters())
    image = torch.zeros(1, channels, size, size, device=weight.device, dtype=weight.dtype)
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model.eval()(image)
    finally:
        for module, training in modes.items():
            module.training = training
    return int(counter.get_total_flops()) // 2
