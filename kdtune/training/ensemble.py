"""What several networks say together: the mean of their probabilities."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kdtune.training.evaluate import scores


def ensemble_log_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean over the members of ``softmax(logits)``, at temperature 1.

    Computed without leaving the logarithm, so that no probability underflows to 0.

    Args:
        logits: ``(n, C)`` of each member, for the same images in the same order.

    Returns:
        ``(n, C)``; the rows' exponentials sum to 1.

    Raises:
        ValueError: If there is no member or the shapes differ.
    """
    shapes = {tuple(each.shape) for each in logits}
    if len(shapes) != 1:
        raise ValueError(
            f"an ensemble needs logits of one shape from every member, got {sorted(shapes)}"
        )
    logs = torch.stack([each.log_softmax(dim=1) for each in logits])
    return logs.logsumexp(dim=0) - math.log(len(logits))


def ensemble_scores(logits: Sequence[Tensor], labels: Tensor) -> dict[str, float]:
    """What :func:`~kdtune.training.evaluate.scores` measures, of the members together.

    Args:
        logits: ``(n, C)`` of each member.
        labels: ``(n,)`` int64.
    """
    return scores(ensemble_log_probabilities(logits), labels)
