"""Soft-label distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531)."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Outputs, Traits
from kdtune.objectives.base import OBJECTIVES, Objective
from kdtune.objectives.scratch import cross_entropy


def soft_label_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Batch mean of KL(teacher || student) at ``temperature``, times ``temperature ** 2``.

    Computed in float32 at least, outside autocast: at high temperatures the terms nearly cancel.

    Args:
        student_logits: ``(B, C)``, before softmax.
        teacher_logits: ``(B, C)``, before softmax; receives no gradient.
        temperature: Dimensionless, > 0; the papers use 1 to 64.

    Returns:
        Scalar in nats, >= 0, zero iff the softened distributions agree.

    Raises:
        ValueError: If ``temperature <= 0`` or the shapes differ or are not ``(B, C)``.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "student and teacher logits must both be (B, C), got "
            f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        )
    teacher_logits = teacher_logits.detach()
    if student_logits.element_size() < 4 or teacher_logits.element_size() < 4:
        student_logits, teacher_logits = student_logits.float(), teacher_logits.float()
    student = functional.log_softmax(student_logits / temperature, dim=1)
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


@OBJECTIVES.register("kd")
class SoftLabels(Objective):
    """``(1 - alpha) * CE + alpha * T^2 * KL(teacher || student; T)``."""

    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9

    @property
    def traits(self) -> Traits:
        return Traits(zero_at_match=True)

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": 1 - self.alpha, "kd": self.alpha}

    def term(self, name: str, batch: Batch, student: Outputs, teacher: Outputs | None) -> Tensor:
        if name == "ce":
            return cross_entropy(batch, student.logits)
        assert teacher is not None
        return soft_label_kl(student.logits, teacher.logits, self.temperature)
