"""Permutations that leave nothing in its place, so that every image is mixed with another."""

import torch
from torch import Tensor


def draw_derangement(count: int, draws: torch.Generator) -> Tensor:
    """A uniform permutation of ``count`` positions without a fixed point.

    Redrawn until there is none, about 2.7 times on average (as MingSun-Tse/Good-DA-in-KD does).

    Args:
        count: At least 2.
        draws: CPU generator; advanced by a number of draws that depends on luck, so give it a
            stream of its own or use it last.

    Returns:
        ``(count,)`` int64 on the CPU.

    Raises:
        ValueError: If ``count < 2``.
    """
    if count < 2:
        raise ValueError(f"mixing needs a batch of at least 2 images, got {count}")
    places = torch.arange(count)
    while True:
        permutation = torch.randperm(count, generator=draws)
        if not torch.any(permutation == places):
            return permutation
