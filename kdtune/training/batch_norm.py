"""Batch norm that uses the statistics of the batch and leaves its own alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, every batch norm of ``model`` normalises by the batch; no buffer of it changes."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(layer.training, layer.track_running_stats) for layer in layers]
    try:
        for layer in layers:
            # Without tracking, a layer in train mode neither reads nor writes its buffers.
            layer.training, layer.track_running_stats = True, False
        yield
    finally:
        for layer, (training, tracking) in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = training, tracking
