"""What a network scores on a split, in eval mode and without gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdtune.contracts import Batch


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Logits ``(n, C)`` and labels ``(n,)`` of a whole split, in its order.

    The model is put in eval mode and left there: training epochs set train mode themselves.
    """
    model.eval()
    logits, labels = [], []
    for batch in batches:
        logits.append(model(batch.images).float())
        labels.append(batch.labels)
    return torch.cat(logits), torch.cat(labels)


def scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, top-5 accuracy (shares in [0, 1]) and mean cross entropy (nats).

    Args:
        logits: ``(n, C)``; with fewer than 5 classes ``top5`` counts all of them.
        labels: ``(n,)`` int64.
    """
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices.eq(labels[:, None])
    accuracy, top5 = _share(top[:, 0]), _share(top.any(dim=1))
    return {
        "accuracy": accuracy,
        "top5": top5,
        "loss": functional.cross_entropy(logits, labels).item(),
    }


def agreement(student_logits: Tensor, teacher_top1: Tensor) -> float:
    """Share of samples on which student and teacher name the same class, in [0, 1]."""
    return _share(student_logits.argmax(dim=1).eq(teacher_top1))


def _share(hits: Tensor) -> float:
    """Of a boolean tensor, in double precision: 35 of 36 reads as 0.9722222222222222."""
    return int(hits.sum()) / hits.numel()
