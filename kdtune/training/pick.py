"""CutMix-pick: of a pool of mixed images, train on those that would teach most.

Wang et al., 2020 (arXiv:2012.02909), section 3.2. The pool is twice the batch; the student's
scores leave its batch norm as it was, and the teacher's logits of the pool are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Batch, Outputs
from kdtune.objectives.soft_labels import softened

Criterion = Literal["kld", "teacher_entropy", "student_entropy"]
Look = Callable[[Tensor], Tensor]
"""From images ``(B, C, H, W)`` to logits ``(B, classes)``, without gradients."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """The better half of a pool.

    Attributes:
        batch: The images to train on.
        teacher_logits: ``(B, classes)`` of those images, where the pool was shown to the teacher.
        kld_ratio: See :func:`mean_kld_ratio`; None unless both networks saw the pool.
    """

    batch: Batch
    teacher_logits: Tensor | None
    kld_ratio: Tensor | None

    @property
    def said(self) -> Outputs | None:
        """What is known of the teacher's outputs."""
        return None if self.teacher_logits is None else Outputs(logits=self.teacher_logits)

    @property
    def notes(self) -> dict[str, Tensor]:
        """What is worth logging of the choice."""
        return {} if self.kld_ratio is None else {"mean_kld_ratio": self.kld_ratio}


def divergences(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of each sample at ``temperature``, not times its square.

    Args:
        student_logits: ``(B, C)``.
        teacher_logits: ``(B, C)``.
        temperature: Dimensionless, > 0.

    Returns:
        ``(B,)`` float64 in nats, >= 0.

    Raises:
        ValueError: If ``temperature <= 0`` or the shapes differ or are not ``(B, C)``.
    """
    student, teacher = softened(student_logits, teacher_logits, temperature)
    return functional.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


def entropies(logits: Tensor) -> Tensor:
    """Entropy of each sample's softmax at temperature 1: ``(B, C)`` to ``(B,)``, in nats."""
    log_probabilities = functional.log_softmax(logits.float(), dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def largest(scores: Tensor, keep: int) -> Tensor:
    """Positions ``(keep,)`` of the largest scores, ascending; of equal ones the first."""
    order = torch.argsort(scores, descending=True, stable=True)
    return order[:keep].sort().values


def mean_kld_ratio(divergence: Tensor, picked: Tensor) -> Tensor:
    """Mean divergence of the picked samples over that of the pool (wang2020, eq. 3).

    Args:
        divergence: ``(n,)`` of the pool.
        picked: Positions in it.

    Returns:
        Scalar >= 1 for the largest ones; 1 if all are equal, also if all are 0.
    """
    whole = divergence.mean()
    return torch.where(whole > 0, divergence[picked].mean() / whole, torch.ones_like(whole))


def label_disagreement(teacher_logits: Tensor, batch: Batch) -> dict[str, Tensor]:
    """How often the teacher sees something else in mixed images than their labels say.

    Args:
        teacher_logits: ``(B, C)`` of the mixed images.
        batch: The mixed batch; a tie of 0.5 counts for the image's own label.

    Returns:
        Scalars in [0, 1]: ``label_disagreement``, the share whose top class is not the label of
        the larger part (wang2020, section 4.3), and ``label_outside``, the share whose top class is
        neither label.
    """
    assert batch.partner_labels is not None
    assert batch.lam is not None
    top = teacher_logits.argmax(dim=1)
    larger = torch.where(batch.lam >= 0.5, batch.labels, batch.partner_labels)
    outside = top.ne(batch.labels) & top.ne(batch.partner_labels)
    return {
        "label_disagreement": top.ne(larger).float().mean(),
        "label_outside": outside.float().mean(),
    }


def pick(
    pool: Batch,
    *,
    criterion: Criterion,
    student: Look,
    teacher: Look | None,
    temperature: float,
) -> Picked:
    """The half of ``pool`` with the largest scores.

    Args:
        pool: Mixed images, an even number of them.
        criterion: ``kld`` at ``temperature``, or the entropy of one network at temperature 1.
        student: Asked by ``kld`` and ``student_entropy``; must not change the student.
        teacher: Asked by ``kld`` and ``teacher_entropy``.
        temperature: Dimensionless, > 0.
    """
    taught = said = ratio = None
    if criterion != "student_entropy":
        assert teacher is not None
        taught = teacher(pool.images)
    if criterion != "teacher_entropy":
        said = student(pool.images)
    if taught is not None and said is not None:
        scores = divergences(said, taught, temperature)
    else:
        logits = said if taught is None else taught
        assert logits is not None
        scores = entropies(logits)
    rows = largest(scores, len(pool.labels) // 2)
    if criterion == "kld":
        ratio = mean_kld_ratio(scores, rows)
    return Picked(
        batch=pool.rows(rows),
        teacher_logits=None if taught is None else taught[rows],
        kld_ratio=ratio,
    )
