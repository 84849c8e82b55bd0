"""Cross entropy on the labels, mixed or smoothed."""

from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch


def cross_entropy(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Batch mean of the cross entropy with ``batch``'s labels, in nats.

    A mixed image counts ``lam`` for its own label and ``1 - lam`` for its partner's (Zhang et al.,
    2018, arXiv:1710.09412; Yun et al., 2019, arXiv:1905.04899).

    Args:
        logits: ``(B, C)``, before softmax.
        batch: Its ``labels`` are ``(B,)`` int64.
        label_smoothing: epsilon in [0, 1]; the target is ``(1 - eps) * onehot + eps / C``.

    Returns:
        Scalar >= 0.
    """
    if batch.partner_labels is None or batch.lam is None:
        return functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    own, partner = (
        functional.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
        for labels in (batch.labels, batch.partner_labels)
    )
    return (batch.lam * own + (1 - batch.lam) * partner).mean()
