"""Label noise and class imbalance of the training images.

Settings of Sarfraz, Arani and Zonooz (2020, "Knowledge Distillation Beyond Model Compression",
sections IV-B and IV-C). The draws depend on the data seed alone, so a teacher and its students
learn from the same images under the same labels.
"""

import math

import torch
from torch import Tensor

from kdtune.data.splits import pick_per_class
from kdtune.seeds import generator

N_MIN, N_MAX = 250, 5000
"""Images of the rarest and of the most frequent class in the paper, on CIFAR-10."""


def noisy_labels(labels: Tensor, *, rate: float, classes: int, seed: int) -> Tensor:
    """Replace each label with probability ``rate`` by a class drawn uniformly from all of them.

    The true class can be drawn too, so ``rate * (1 - 1 / classes)`` of the labels become wrong on
    average. What a smaller rate replaces, a larger one replaces by the same class.

    Args:
        labels: ``(n,)`` int64 in ``[0, classes)``; left as it is.
        rate: Probability in [0, 1].
        classes: Number of classes, at least 1.
        seed: Of the draws; the draw of position i depends on it, on i and on n.

    Returns:
        ``(n,)`` int64, a new tensor.

    Raises:
        ValueError: If ``rate`` or a label is out of range.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}")
    _check_range(labels, classes)
    draws = generator(seed, "label noise")
    chance = torch.rand(len(labels), generator=draws, dtype=torch.float64)
    other = torch.randint(classes, (len(labels),), generator=draws)
    return torch.where(chance < rate, other, labels)


def imbalanced_counts(
    classes: int, *, gamma: float, n_min: int = N_MIN, n_max: int = N_MAX
) -> list[int]:
    """Images per class under a power law: ``a / (b + c ** -gamma)``, rounded, for c = 1 to C.

    ``b = (n_min - n_max * C ** -gamma) / (n_max - n_min)`` and ``a = n_min * (b + 1)`` make the
    first class the rarest, with ``n_min`` images, and the last the most frequent, with ``n_max``.
    The paper prints ``(c - 1) ** -gamma``, which is infinite at c = 1, and floor brackets that its
    text calls rounding: here the index is shifted by one and counts are rounded to the nearest, a
    half upwards.

    Args:
        classes: C, at least 2; class c has label c - 1.
        gamma: Finite, > 0; smaller is more imbalanced. The paper uses 0.2, 0.6, 1 and 2.
        n_min: Images of the first class, at least 1.
        n_max: Images of the last class, more than ``n_min``.

    Returns:
        One count per class, ascending.

    Raises:
        ValueError: If an argument is out of range.
    """
    if not 0 < gamma < math.inf:
        raise ValueError(f"gamma must be finite and > 0, got {gamma}")
    if classes < 2:
        raise ValueError(f"imbalance needs at least 2 classes, got {classes}; leave it out")
    if not 1 <= n_min < n_max:
        raise ValueError(f"n_min and n_max must hold 1 <= n_min < n_max, got {n_min} and {n_max}")
    # 1 - c ** -gamma, which keeps its digits where gamma is small and c ** -gamma close to 1
    fall = [-math.expm1(-gamma * math.log(c)) for c in range(1, classes + 1)]
    b_plus_1 = n_max * fall[-1] / (n_max - n_min)
    return [_nearest(n_min * b_plus_1 / (b_plus_1 - each)) for each in fall]


def count_range(available: int) -> tuple[int, int]:
    """``n_min`` and ``n_max`` of `imbalanced_counts` where each class has ``available`` images.

    The paper's 250 and 5,000, or, with fewer images, both scaled together: ``n_max`` is then
    ``available`` and ``n_min`` a twentieth of it, rounded, but at least 1.

    Args:
        available: Training images of the class that has the fewest, at least 2.

    Raises:
        ValueError: If there are fewer than 2.
    """
    if available < 2:
        raise ValueError(
            f"imbalance needs at least 2 training images of every class, got {available}; "
            "lower val_fraction or leave imbalance out"
        )
    n_max = min(N_MAX, available)
    return max(1, _nearest(n_max * N_MIN / N_MAX)), n_max


def imbalanced_subset(labels: Tensor, counts: list[int], seed: int) -> Tensor:
    """Positions of a random subset that has ``counts[c]`` images of class c.

    The order within a class is fixed by ``seed``, so smaller counts choose a part of what larger
    ones choose.

    Args:
        labels: ``(n,)`` int64 in ``[0, len(counts))``.
        counts: Images wanted of each class, at least 0.
        seed: Of the draw.

    Returns:
        ``(sum(counts),)`` int64, ascending.

    Raises:
        ValueError: If a class has fewer images than wanted, or a label has no count.
    """
    _check_range(labels, len(counts))
    present = torch.bincount(labels, minlength=len(counts)).tolist()
    for label, (wanted, held) in enumerate(zip(counts, present, strict=True)):
        if not 0 <= wanted <= held:
            raise ValueError(
                f"a class must give between 0 and all of its images; class {label} has {held}, "
                f"and {wanted} are wanted"
            )
    chosen, _ = pick_per_class(labels, counts, seed, "class imbalance")
    return chosen


def _check_range(labels: Tensor, classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"labels must be in [0, {classes}), got {int(wrong[0])}")


def _nearest(count: float) -> int:
    """Exact halves occur (class 7 of 10 at gamma 1, 225 to 4,500 images is 2,362.5), and which
    way they go must not hang on the last bit of a platform's ``expm1``."""
    return math.floor(round(count, 6) + 0.5)
