"""Projected gradient descent (Madry et al., 2017, arXiv:1706.06083), in units of pixels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kdtune.seeds import generator


def pgd(
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """Images near ``images`` of a larger cross entropy: steps along the sign of its gradient.

    The gradient is that of the sum over the batch. Its sign is that of the mean's, and in eval mode
    each image's part is its own, so an image comes out as it would alone, up to the rounding of
    gradients that are nearly 0; divided by the batch size, small ones would be lost.

    Args:
        logits_of: From pixels ``(B, C, H, W)`` to logits ``(B, classes)``, sample by sample.
        images: ``(B, C, H, W)`` in 0..1.
        labels: ``(B,)`` int64, the classes to get away from.
        epsilon: Largest change of a pixel, in units of 0..1.
        step_size: Of each step, in the same units.
        steps: How many.
        start: ``(B, C, H, W)`` added first, within ``epsilon``; None starts at the images.

    Returns:
        ``(B, C, H, W)`` without gradient, within ``epsilon`` of ``images`` and in 0..1 after every
        step. A start may lie outside of 0..1 until the first one, as in Zhang et al.'s TRADES.
    """
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    found = (images if start is None else images + start).detach()
    for _ in range(steps):
        found.requires_grad_()
        loss = functional.cross_entropy(logits_of(found), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, found)
        found = (found.detach() + step_size * gradient.sign()).clamp(low, high)
    return found.detach()


def random_starts(index: Tensor, shape: Sequence[int], *, epsilon: float, seed: int) -> Tensor:
    """Uniform in the ball, each image's own: the same whatever else is attacked.

    Args:
        index: ``(n,)`` int64, positions of the images in their dataset, which name the draws.
        shape: Of one image.
        epsilon: Radius of the ball.
        seed: Of the draws.

    Returns:
        ``(n, *shape)`` float32 in ``[-epsilon, epsilon)``, on the CPU.
    """
    draws = [
        torch.rand(tuple(shape), generator=generator(seed, "attack start", place))
        for place in index.tolist()
    ]
    return (2 * torch.stack(draws) - 1) * epsilon
