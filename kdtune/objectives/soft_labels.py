"""Soft-label distillation (Hinton, Vinyals and Dean, 2015, arXiv:1503.02531)."""

import torch
from torch import Tensor
from torch.nn import functional


def soft_label_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Batch mean of KL(teacher || student) at ``temperature``, times ``temperature ** 2``.

    Computed in float64: at high temperatures the terms nearly cancel, and float32 is then wrong in
    the fourth digit.

    Args:
        student_logits: ``(B, C)``, before softmax.
        teacher_logits: ``(B, C)``, before softmax; receives no gradient.
        temperature: Dimensionless, > 0; the papers use 1 to 64.

    Returns:
        Scalar in nats, >= 0, zero iff the softened distributions agree.

    Raises:
        ValueError: If ``temperature <= 0`` or the shapes differ or are not ``(B, C)``.
    """
    student, teacher = softened(student_logits, teacher_logits, temperature)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (divergence * temperature**2).to(value_type(student_logits))


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """Batch mean of ``-sum p_teacher log p_student`` at ``temperature``, not times its square.

    Its gradient is that of the divergence without the square; its value is larger by the entropy
    of the teacher. Times ``temperature ** 2`` it is the loss that cho2019 and chandrasegaran2022
    print.

    Args:
        student_logits: ``(B, C)``, before softmax.
        teacher_logits: ``(B, C)``, before softmax; receives no gradient.
        temperature: Dimensionless, > 0.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ValueError: As :func:`soft_label_kl`.
    """
    student, teacher = softened(student_logits, teacher_logits, temperature)
    return -(teacher.exp() * student).sum(dim=1).mean().to(value_type(student_logits))


def softened(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities ``(B, C)`` float64 at ``temperature``; the teacher's without gradient.

    Raises:
        ValueError: As :func:`soft_label_kl`.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "student and teacher logits must both be (B, C), got "
            f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        )
    return (
        functional.log_softmax(student_logits.double() / temperature, dim=1),
        functional.log_softmax(teacher_logits.detach().double() / temperature, dim=1),
    )


def value_type(logits: Tensor) -> torch.dtype:
    """The type of a loss of ``logits``: theirs, float32 at least."""
    return torch.promote_types(logits.dtype, torch.float32)
