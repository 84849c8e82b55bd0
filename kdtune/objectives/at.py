"""Attention transfer (Zagoruyko and Komodakis, 2017, arXiv:1612.03928), in its mean form."""

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Moment, Pair, Signal, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.guided import Guided


def attention_map(features: Tensor) -> Tensor:
    """Where a network looks: channel mean of squares, flattened, of unit L2 norm per sample.

    Args:
        features: ``(B, C, H, W)``; signed maps need no absolute value, as they are squared.

    Returns:
        ``(B, H * W)``, rows of norm 1 (0 where all features are 0), in float32 at
        least.
    """
    energy = at_least_float32(features).pow(2).mean(dim=1).flatten(1)
    return functional.normalize(energy, dim=1, eps=1e-12)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two attention maps, over samples and positions.

    The larger map is average-pooled to the size of the smaller one first. The weight of about
    1000 that the literature uses belongs to this mean form, not to the norm of the difference.

    Args:
        student: ``(B, C_s, H_s, W_s)``.
        teacher: ``(B, C_t, H_t, W_t)``; receives no gradient.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: If a map is not four-dimensional or the batch sizes differ.
    """
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher):
        raise ValueError(
            "attention maps need (B, C, H, W) features of one batch, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    student, teacher = shrunk(student, teacher.shape[-1]), shrunk(teacher, student.shape[-1])
    return functional.mse_loss(attention_map(student), attention_map(teacher.detach()))


def shrunk(features: Tensor, side: int) -> Tensor:
    """``(B, C, H, W)`` averaged to at most ``side`` rows and columns."""
    return functional.adaptive_avg_pool2d(features, side) if features.shape[-1] > side else features


def attention_signal(tap: str, side: int) -> Signal:
    """A teacher's attention map of a tap, for a student whose map has ``side`` rows and columns."""
    return Signal(
        name=f"attention of {tap} at most {side}x{side}",
        taps=(tap,),
        make=lambda taps: attention_map(shrunk(taps[tap], side)),
    )


@OBJECTIVES.register("at")
class AttentionTransfer(Guided):
    """``CE + beta * sum over blocks of the attention loss``."""

    beta: Annotated[float, Field(ge=0)] = 1000.0
    blocks: Annotated[int, Field(ge=1, le=5)] = 3

    def own_taps(self) -> tuple[str, ...]:
        return tuple(f"block{i}" for i in range(1, self.blocks + 1))

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"at": self.beta}

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        return tuple(attention_signal(tap, pair.student[tap].shape[-1]) for tap in self.own_taps())

    def own_term(self, name: str, step: Step) -> Tensor:
        losses = [self._loss(step, tap) for tap in self.own_taps()]
        return torch.stack(losses).sum()

    def _loss(self, step: Step, tap: str) -> Tensor:
        student = step.student.taps[tap]
        teacher = step.of_teacher(attention_signal(tap, student.shape[-1]))
        side = math.isqrt(teacher.shape[1])
        return functional.mse_loss(attention_map(shrunk(student, side)), teacher)


@OBJECTIVES.register("at_kd")
class AttentionTransferAndSoftLabels(AttentionTransfer):
    """``0.1 CE + 0.9 T^2 KL + beta * attention`` (cho2019, section 4)."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
