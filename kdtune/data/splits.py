"""Stratified subsets, drawn per class from a named seed."""

import torch
from torch import Tensor

from kdtune.seeds import generator


def class_shares(counts: list[int], total: int, *, leave: int = 0) -> list[int]:
    """How many of each class to take so that the classes keep their proportions.

    Largest remainder, but at least one of every class.

    Args:
        counts: Images of each class, each > ``leave``.
        total: Images wanted; clamped so that every class gives at least one and keeps ``leave``.
        leave: How many images of each class may not be taken.

    Returns:
        One count per class, which add up to the clamped total.
    """
    total = min(max(total, len(counts)), sum(counts) - leave * len(counts))
    ideal = [total * count / sum(counts) for count in counts]
    top = [count - leave for count in counts]
    shares = [min(max(int(want), 1), most) for want, most in zip(ideal, top, strict=True)]
    classes = range(len(counts))
    while sum(shares) < total:
        short = [c for c in classes if shares[c] < top[c]]
        shares[max(short, key=lambda c: ideal[c] - shares[c])] += 1
    while sum(shares) > total:
        spare = [c for c in classes if shares[c] > 1]
        shares[max(spare, key=lambda c: shares[c] - ideal[c])] -= 1
    return shares


def stratified_pick(
    labels: Tensor, total: int, seed: int, stream: str, *, leave: int = 0
) -> tuple[Tensor, Tensor]:
    """Choose about ``total`` positions, each class in proportion and present.

    The order within a class is fixed by ``(seed, stream)`` alone, so a smaller ``total`` chooses
    from the front of the same order.

    Args:
        labels: ``(n,)`` int64; every class from 0 to the largest has more than ``leave`` members.
        total: Positions wanted, see `class_shares`.
        seed: Seed of the draw.
        stream: Name of the draw, so that two draws of one seed differ.
        leave: How many members of each class are never chosen.

    Returns:
        The chosen and the other positions, int64, each ascending.
    """
    shares = class_shares(torch.bincount(labels).tolist(), total, leave=leave)
    return pick_per_class(labels, shares, seed, stream)


def pick_per_class(
    labels: Tensor, shares: list[int], seed: int, stream: str
) -> tuple[Tensor, Tensor]:
    """Choose ``shares[c]`` positions of each class c; see `stratified_pick` for the order.

    Args:
        labels: ``(n,)`` int64 in ``[0, len(shares))``.
        shares: Positions wanted of each class, at most as many as it has.
        seed: Seed of the draw.
        stream: Name of the draw.

    Returns:
        The chosen and the other positions, int64, each ascending.
    """
    counts = torch.bincount(labels, minlength=len(shares)).tolist()
    by_class = torch.argsort(labels, stable=True).split_with_sizes(counts)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, (members, share) in enumerate(zip(by_class, shares, strict=True)):
        order = torch.randperm(len(members), generator=generator(seed, stream, label))
        chosen[members[order[:share]]] = True
    return chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]
