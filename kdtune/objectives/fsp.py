"""The flow between layers (Yim et al., 2017, A Gift from Knowledge Distillation), in two stages."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Pair, Signal, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.two_stages import TwoStages

Pooling = Literal["average", "max"]

TAPS = ("stem", "block1", "block2", "block3")


def fsp_matrix(first: Tensor, second: Tensor, pool: Pooling = "average") -> Tensor:
    """``G[b, i, j]``: mean over positions of channel ``i`` of one map times ``j`` of the other.

    The larger map is pooled to the size of the smaller one first.

    Args:
        first: ``(B, C_1, H_1, W_1)``.
        second: ``(B, C_2, H_2, W_2)`` of the same network and batch.
        pool: The paper takes the maximum; the public codes that later work compares with, the
            average.

    Returns:
        ``(B, C_1, C_2)``, in float32 at least, outside autocast.

    Raises:
        ValueError: If a map is not four-dimensional, the batch sizes differ or the pooling is
            unknown.
    """
    if first.ndim != 4 or second.ndim != 4 or len(first) != len(second):
        raise ValueError(
            "an FSP matrix needs two (B, C, H, W) maps of one batch, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}"
        )
    if pool not in ("average", "max"):
        raise ValueError(f"pool must be 'average' or 'max', got {pool!r}")
    resize = functional.adaptive_avg_pool2d if pool == "average" else functional.adaptive_max_pool2d
    size = min(first.shape[-2], second.shape[-2]), min(first.shape[-1], second.shape[-1])
    rows, columns = (
        features if features.shape[-2:] == size else resize(features, size)
        for features in (at_least_float32(first), at_least_float32(second))
    )
    with torch.autocast(rows.device.type, enabled=False):
        return rows.flatten(2) @ columns.flatten(2).mT / (size[0] * size[1])


def fsp_loss(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], pool: Pooling = "average"
) -> Tensor:
    """Mean squared difference of the FSP matrices of two networks, over all their entries.

    Args:
        student: Two maps ``(B, C_1, H, W)`` and ``(B, C_2, H, W)``, see :func:`fsp_matrix`.
        teacher: Two maps with the same channels, of any size; they receive no gradient.
        pool: See :func:`fsp_matrix`.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: If the matrices differ in shape, or as :func:`fsp_matrix`.
    """
    ours = fsp_matrix(*student, pool)
    theirs = fsp_matrix(teacher[0].detach(), teacher[1].detach(), pool)
    if ours.shape != theirs.shape:
        raise ValueError(
            "FSP matrices of student and teacher must have one shape (B, C_1, C_2), got "
            f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
        )
    return functional.mse_loss(ours, theirs)


@OBJECTIVES.register("fsp")
class FlowOfSolution(TwoStages):
    """Stage 1: three FSP losses. Stage 2: ``kd``.

    The matrices are those of the stem with block 1, block 1 with block 2 and block 2 with block 3;
    their weights are sarfraz2020's 1, 3, 1.
    """

    weight1: Annotated[float, Field(ge=0)] = 1.0
    weight2: Annotated[float, Field(ge=0)] = 3.0
    weight3: Annotated[float, Field(ge=0)] = 1.0
    pool: Pooling = "average"

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not any(self.warmup_weights().values()):
            raise ValueError("weight1, weight2 or weight3 must be > 0, got 0 for all")
        return self

    def own_taps(self) -> tuple[str, ...]:
        return TAPS

    def warmup_weights(self) -> Mapping[str, float]:
        return {"fsp1": self.weight1, "fsp2": self.weight2, "fsp3": self.weight3}

    def check(self, pair: Pair) -> None:
        for tap in TAPS:
            student, teacher = pair.student[tap].shape, pair.teacher[tap].shape
            if student[0] != teacher[0]:
                raise ValueError(
                    "fsp needs the same channels in student and teacher at every tap, but "
                    f"'{tap}' has shape {student} in the student and {teacher} in the teacher; "
                    "choose networks of one family and width"
                )

    def own_term(self, name: str, step: Step) -> Tensor:
        signal = self._flow(int(name.removeprefix("fsp")))
        return functional.mse_loss(signal.make(step.student.taps), step.of_teacher(signal))

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        return tuple(self._flow(end) for end in range(1, len(TAPS)))

    def _flow(self, end: int) -> Signal:
        """The matrix between a stage and the one before it."""
        first, second = TAPS[end - 1 : end + 1]
        return Signal(
            name=f"flow from {first} to {second}, {self.pool}",
            taps=(first, second),
            make=lambda taps: fsp_matrix(taps[first], taps[second], self.pool),
        )
