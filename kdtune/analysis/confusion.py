"""Which classes a network takes for which."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdtune.analysis.base import Item

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def confusion_counts(predicted: Counts, labels: Counts, classes: int) -> Counts:
    """How many images of each class were given to each class.

    Args:
        predicted: ``(n,)`` in ``[0, classes)``.
        labels: ``(n,)`` in ``[0, classes)``.
        classes: C.

    Returns:
        ``(C, C)`` int64: of the images of class i (row), those that were called j (column).

    Raises:
        ValueError: If there are not as many predictions as labels, or a class is out of range.
    """
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise ValueError(
            f"predictions and labels must both be (n,), got {predicted.shape} and {labels.shape}"
        )
    named = np.concatenate([predicted, labels])
    if named.size and not (named.min() >= 0 and named.max() < classes):
        raise ValueError(f"classes must be in [0, {classes}), got {named.min()} to {named.max()}")
    cells = np.bincount(labels * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes).astype(np.int64)


def confusion_shares(counts: Counts) -> Shares:
    """``(C, C)`` float64 in [0, 1], each row divided by its sum; NaN for a class without images."""
    images = counts.sum(axis=1, keepdims=True)
    return np.where(images > 0, counts / np.maximum(images, 1), np.nan)


def class_accuracy(counts: Counts) -> Shares:
    """``(C,)`` float64 in [0, 1], top-1 of each class; NaN for a class without images."""
    return np.diagonal(confusion_shares(counts)).copy()


def held_counts(item: Item, split: str) -> Counts:
    """The ``(C, C)`` counts that an item holds of a split."""
    return item.measured.arrays[split].astype(np.int64)


def mean_shares(items: Sequence[Item], split: str) -> Shares:
    """``(C, C)``, the mean over items of the shares of the counts that they hold of a split."""
    each = np.stack([confusion_shares(held_counts(item, split)) for item in items])
    mean: Shares = each.mean(axis=0)
    return mean


def group_confusion(shares: Shares, group: Sequence[int]) -> float:
    """Share of a class's images that are taken for another class of a group, mean over its classes.

    Args:
        shares: ``(C, C)`` of :func:`confusion_shares`.
        group: At least two different classes.

    Returns:
        In [0, 1], the plain mean over the classes that have images; NaN if none has.
    """
    within = shares[np.ix_(group, group)]
    others = within.sum(axis=1) - np.diagonal(within)
    present = others[~np.isnan(others)]
    return float(present.mean()) if present.size else float("nan")


def most_confused(shares: Shares, among: Sequence[int], count: int) -> list[tuple[int, int]]:
    """The pairs of classes with the largest :func:`group_confusion`, the largest first.

    Args:
        shares: ``(C, C)`` of :func:`confusion_shares`.
        among: The classes that may be paired.
        count: How many pairs; all if there are fewer. Of equal ones the first in class order.

    Returns:
        Pairs ``(i, j)`` with i < j; none of classes without images.
    """
    pairs = list(combinations(sorted(among), 2))
    if not pairs:
        return []
    first, second = np.array(pairs).T
    both = np.stack([shares[first, second], shares[second, first]])
    known = ~np.isnan(both)
    size = np.where(known, both, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    order = np.argsort(np.where(known.any(axis=0), -size, np.inf), kind="stable")
    return [pairs[place] for place in order[:count] if known[:, place].any()]
