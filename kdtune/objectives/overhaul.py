"""A comprehensive overhaul of feature distillation (Heo et al., 2019, arXiv:1904.01866)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtune.contracts import Moment, Pair, Step, Traits
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.guided import Guided

RARELY_NEGATIVE = 0.001
"""A channel that is negative less often than this has too thin a tail for its mean."""


def negative_mean_margin(weight: Tensor, bias: Tensor) -> Tensor:
    """Mean of the negative values of each channel behind a batch norm.

    Behind it a channel is taken for normal, of mean ``bias`` and standard deviation ``|weight|``.
    One that is hardly ever negative gets -3 standard deviations.

    Args:
        weight: ``(C,)``, the scale of the batch norm; 0 is fine.
        bias: ``(C,)``, its shift.

    Returns:
        ``(C,)``, <= 0, without gradient, in float32 at least (computed in float64).

    Raises:
        ValueError: If the two are not vectors of one length.
    """
    if weight.ndim != 1 or weight.shape != bias.shape:
        raise ValueError(
            "weight and bias of a batch norm must both be (C,), got "
            f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    mean, deviation = bias.detach().double(), weight.detach().double().abs().clamp(min=1e-12)
    ratio = mean / deviation
    share = torch.special.ndtr(-ratio)
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    margin = torch.where(
        share > RARELY_NEGATIVE,
        mean - deviation * density / share.clamp(min=RARELY_NEGATIVE),
        -3 * deviation,
    )
    return margin.to(at_least_float32(weight).dtype)


def partial_l2(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Squared distance to ``max(teacher, margin)``, but none where both are negative enough.

    An element counts if the student is above the target or the target is above 0; what is summed
    over a sample is averaged over the batch (which the public code does outside its loss).

    Args:
        student: ``(B, C, H, W)`` before the ReLU, through the connector.
        teacher: The same shape; receives no gradient.
        margin: ``(C,)``, see :func:`negative_mean_margin`.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if student.ndim != 4 or student.shape != teacher.shape or margin.shape != student.shape[1:2]:
        raise ValueError(
            "student and teacher features must both be (B, C, H, W) and the margin (C,), got "
            f"{tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(margin.shape)}"
        )
    student, teacher = at_least_float32(student), at_least_float32(teacher.detach())
    target = torch.maximum(teacher, margin[:, None, None])
    counted = (student > target) | (target > 0)
    return ((student - target).square() * counted).sum() / len(student)


def overhaul_loss(
    students: Sequence[Tensor], teachers: Sequence[Tensor], margins: Sequence[Tensor]
) -> Tensor:
    """Partial L2 distances of ``n`` stages, stage ``i`` of 0..n-1 weighted ``2 ** (i + 1 - n)``.

    Args:
        students: Maps ``(B, C, H, W)`` in forward order, through their connectors.
        teachers: The same shapes; they receive no gradient.
        margins: ``(C,)`` each.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: If the numbers of maps differ, or as :func:`partial_l2`.
    """
    stages = list(zip(students, teachers, margins, strict=True))
    losses = [partial_l2(*stage) / 2 ** (len(stages) - 1 - i) for i, stage in enumerate(stages)]
    return torch.stack(losses).sum()


class Connectors(nn.Module):
    """Of each stage: 1x1 convolution and batch norm on the student's side, the teacher's margin.

    Args:
        widths: Channels of student and teacher, stage by stage.
        norms: Weight and bias of the teacher's batch norms, ``(C,)`` each.
    """

    def __init__(
        self, widths: Sequence[tuple[int, int]], norms: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_connector(*channels) for channels in widths)
        for stage, (weight, bias) in enumerate(norms):
            self.register_buffer(f"margin{stage}", negative_mean_margin(weight, bias))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``(B, C_s, H, W)`` of the student to ``(B, C_t, H, W)``."""
        return [stage(features) for stage, features in zip(self.stages, maps, strict=True)]

    def margins(self) -> list[Tensor]:
        """``(C_t,)`` of each stage."""
        return [self.get_buffer(f"margin{stage}") for stage in range(len(self.stages))]


def _connector(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


@OBJECTIVES.register("overhaul")
class Overhaul(Guided):
    """``CE + beta * overhaul loss`` of the first ``blocks`` stages, before their ReLU.

    The authors use 1e-3 at CIFAR size and 1e-4 at ImageNet size, and let the teacher normalise by
    the statistics of the batch. With ``alpha=1`` the task loss is ``kd`` (chandrasegaran2022,
    table B.5).
    """

    zero_at_match: ClassVar[bool] = False

    beta: Annotated[float, Field(ge=0)] = 1e-3
    blocks: Annotated[int, Field(ge=1, le=5)] = 3
    teacher_bn: Literal["batch", "eval"] = "batch"

    def own_taps(self) -> tuple[str, ...]:
        return tuple(f"block{i}_pre" for i in range(1, self.blocks + 1))

    @property
    def traits(self) -> Traits:
        return replace(super().traits, teacher_bn=self.teacher_bn)

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"overhaul": self.beta}

    def check(self, pair: Pair) -> None:
        for tap in self.own_taps():
            student, teacher = pair.student[tap].shape, pair.teacher[tap].shape
            if student[1:] != teacher[1:]:
                raise ValueError(
                    f"overhaul needs maps of one height and width, but '{tap}' has shape "
                    f"{student} in the student and {teacher} in the teacher; lower "
                    "method.blocks or choose networks that reduce the image alike"
                )
            if pair.teacher[tap].norm is None:
                raise ValueError(
                    f"overhaul takes its margin from a batch norm, and the teacher has none behind "
                    f"'{tap}' of shape {teacher} (the student's is {student}); choose a teacher "
                    "with batch norm"
                )

    def companion(self, moment: Moment, pair: Pair) -> nn.Module:
        taps = [(pair.student[tap], pair.teacher[tap]) for tap in self.own_taps()]
        return Connectors(
            widths=[(student.shape[0], teacher.shape[0]) for student, teacher in taps],
            norms=[teacher.norm for _, teacher in taps if teacher.norm is not None],
        )

    def own_term(self, name: str, step: Step) -> Tensor:
        assert step.teacher is not None
        assert isinstance(step.companion, Connectors)
        students = step.companion([step.student.taps[tap] for tap in self.own_taps()])
        teachers = [step.teacher.taps[tap] for tap in self.own_taps()]
        return overhaul_loss(students, teachers, step.companion.margins())
