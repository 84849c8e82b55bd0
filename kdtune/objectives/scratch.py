"""Training without a teacher: cross entropy on the labels, mixed or smoothed."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Outputs, Traits
from kdtune.objectives.base import OBJECTIVES, Objective


def cross_entropy(batch: Batch, logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Batch mean of the cross entropy with ``batch``'s labels, in nats.

    A mixed image counts ``lam`` for its own label and ``1 - lam`` for its partner's (Zhang et al.,
    2018, arXiv:1710.09412; Yun et al., 2019, arXiv:1905.04899).

    Args:
        batch: Its ``labels`` are ``(B,)`` int64.
        logits: ``(B, C)``, before softmax.
        label_smoothing: epsilon in [0, 1]; the target is ``(1 - eps) * onehot + eps / C``.

    Returns:
        Scalar >= 0.
    """
    own = functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.partner_labels is None:
        return own
    partner = functional.cross_entropy(
        logits, batch.partner_labels, label_smoothing=label_smoothing
    )
    return batch.lam * own + (1 - batch.lam) * partner


@OBJECTIVES.register("scratch")
class Scratch(Objective):
    """``CE``. Teachers are trained by it too, with their ``label_smoothing``."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def traits(self) -> Traits:
        return Traits(teacher=False)

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1.0}

    def term(self, name: str, batch: Batch, student: Outputs, teacher: Outputs | None) -> Tensor:
        return cross_entropy(batch, student.logits, self.label_smoothing)
