"""How far classes are from each other in a network's features, and how that changes.

Chandrasegaran et al., 2022 (arXiv:2206.14532), section 4 and appendix K.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdtune.analysis.class_sets import Flags, Numbers

PAIRS_AT_ONCE = 2**22
"""Distances of samples in memory at a time: 32 MB."""


def class_centroids(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of each class.

    Args:
        features: ``(n, D)``.
        labels: ``(n,)`` int64 in ``[0, classes)``.
        classes: Number of classes, C.

    Returns:
        ``(C, D)`` float64.

    Raises:
        ValueError: If a class has no sample.
    """
    counts = _counts(labels, classes)
    sums = features.new_zeros(classes, features.shape[1], dtype=torch.float64)
    return sums.index_add_(0, labels, features.double()) / counts[:, None]


def centroid_distances(centroids: Tensor) -> Tensor:
    """Euclidean distance of every two centroids: ``(C, D)`` to ``(C, C)`` float64."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(centroids.double(), centroids.double(), compute_mode=exact)


def mean_pair_distances(
    features: Tensor, labels: Tensor, classes: int, targets: Sequence[int]
) -> Tensor:
    """Mean Euclidean distance of all pairs of a target's sample and another class's (appendix K).

    The paper projects features first and does not say how; here they are as they are.

    Args:
        features: ``(n, D)``.
        labels: ``(n,)`` int64 in ``[0, classes)``.
        classes: Number of classes, C.
        targets: Classes, T of them.

    Returns:
        ``(T, C)`` float64; where a target meets itself, every sample's distance 0 to itself counts.

    Raises:
        ValueError: If a class has no sample.
    """
    counts, rows = _counts(labels, classes), features.double()
    sums = rows.new_zeros(len(targets), classes)
    for place, target in enumerate(targets):
        own = rows[labels == target]
        step = max(1, PAIRS_AT_ONCE // len(own))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            sums[place].index_add_(0, labels[some], torch.cdist(own, rows[some]).sum(dim=0))
        sums[place] /= len(own)
    return sums / counts


def relative_distances(distances: Numbers, members: Flags) -> Numbers:
    """Of each target to each class, in parts of its distances to all members of P.

    Args:
        distances: ``(T, C)``, by target in rows.
        members: ``(T, C)``, each target's P without the target.

    Returns:
        ``(T, C)``, 0 outside P; rows sum to 1, whatever the unit of the features.

    Raises:
        ValueError: If all distances of a target are 0.
    """
    inside = np.where(members, distances, 0.0)
    sums = inside.sum(axis=1, keepdims=True)
    if not (sums > 0).all():
        raise ValueError("relative distances need a class that is apart from the target, got none")
    relative: Numbers = inside / sums
    return relative


def diffusion_index(low: Numbers, high: Numbers, members: Flags) -> Numbers:
    """Mean change from ``low`` to ``high`` over a set, in percent of ``low`` (equation 1).

    Args:
        low: ``(T, C)``, relative distances at the lower temperature, by target in rows.
        high: ``(T, C)``, at the higher one.
        members: ``(T, C)``, each target's set, not empty.

    Returns:
        ``(T,)`` in percent, at least -100; negative where the target came closer.

    Raises:
        ValueError: If a distance in a set is 0 at the lower temperature.
    """
    if not (low[members] > 0).all():
        raise ValueError("a change relative to a distance of 0 means nothing; classes coincide")
    change = np.where(members, high - low, 0.0) / np.where(members, low, 1.0)
    percent: Numbers = 100 * change.sum(axis=1) / members.sum(axis=1)
    return percent


def _counts(labels: Tensor, classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=classes)
    if not counts.all():
        missing = int((counts == 0).nonzero()[0])
        raise ValueError(
            f"every class needs a sample, but class {missing} has none in a split of "
            f"{len(labels)}; take a larger split"
        )
    return counts.double()
