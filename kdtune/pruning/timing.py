"""How long a network takes to answer, measured."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils.prune import BasePruningMethod

WARM_UP_SHARE = 1 / 3
"""Of the time budget, spent on passes that do not count."""

WARM_UPS = 10


def latency(
    model: nn.Module,
    *,
    channels: int,
    size: int,
    batch_size: int = 1,
    repeats: int = 50,
    budget: float = 0.15,
) -> float:
    """Median time of one forward pass in evaluation mode, on the model's own device.

    Masks are not applied meanwhile, since :func:`~kdtune.pruning.finalize` makes them part of the
    weights before delivery. Modes and buffers stay as they are. The number depends on the machine,
    its load and the number of threads: compare only what was measured side by side.

    Args:
        model: The network, pruned or not.
        channels: Channels of the images.
        size: Side of the square images in pixels.
        batch_size: Images in a pass, >= 1.
        repeats: Passes that count, at most; >= 1.
        budget: Seconds in all, > 0, after which no pass is started; there are always two, one to
            warm up and one that counts.

    Returns:
        Milliseconds per pass.

    Raises:
        ValueError: If a number is out of range.
    """
    for key, value in (("batch_size", batch_size), ("repeats", repeats)):
        if value < 1:
            raise ValueError(f"{key} of a latency must be >= 1, got {value}")
    if not budget > 0:
        raise ValueError(f"budget of a latency must be > 0 seconds, got {budget}")
    weight = next(model.parameters())
    noise = torch.randn(
        batch_size, channels, size, size, generator=torch.Generator().manual_seed(0)
    )
    images = noise.to(weight)
    start = time.perf_counter()
    with torch.no_grad(), _as_delivered(model):
        for _ in range(WARM_UPS):
            _timed(model, images)
            if time.perf_counter() - start > budget * WARM_UP_SHARE:
                break
        times = [_timed(model, images)]
        while len(times) < repeats and time.perf_counter() - start < budget:
            times.append(_timed(model, images))
    return 1e3 * statistics.median(times)


def _timed(model: nn.Module, images: torch.Tensor) -> float:
    """Seconds of one pass, to its very end on a GPU."""
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    start = time.perf_counter()
    model(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - start


@contextmanager
def _as_delivered(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without the hooks that multiply masks into weights; then as it was."""
    modes = {module: module.training for module in model.modules()}
    hooks = {module: dict(module._forward_pre_hooks) for module in modes}
    try:
        model.eval()
        for module, found in hooks.items():
            for key, hook in found.items():
                if isinstance(hook, BasePruningMethod):
                    del module._forward_pre_hooks[key]
        yield
    finally:
        for module, training in modes.items():
            module.training = training
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks.update(hooks[module])
