"""Similarity-preserving distillation (Tung and Mori, 2019, arXiv:1907.09682)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Moment, Pair, Signal, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import gram_matrix, require_one_batch
from kdtune.objectives.guided import Guided


def similarity_matrix(features: Tensor) -> Tensor:
    """How alike the samples of a batch are: the Gram matrix with rows of unit L2 norm.

    Args:
        features: ``(B, ...)``, flattened per sample.

    Returns:
        ``(B, B)``, in float32 at least; a row is 0 where all features of its sample are 0.
    """
    return functional.normalize(gram_matrix(features), dim=1, eps=1e-12)


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of squared differences of the two similarity matrices, divided by ``B ** 2`` (eq. 4).

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)``, of any width; receives no gradient.

    Returns:
        Scalar in [0, 4 / B].

    Raises:
        ValueError: If a tensor has fewer than two dimensions or the batch sizes differ.
    """
    require_one_batch(student, teacher)
    return functional.mse_loss(similarity_matrix(student), similarity_matrix(teacher.detach()))


@OBJECTIVES.register("sp")
class SimilarityPreserving(Guided):
    """``CE + beta * similarity loss`` of the maps at the end of one block."""

    sample_mean: ClassVar[bool] = False

    beta: Annotated[float, Field(ge=0)] = 3000.0
    block: Annotated[int, Field(ge=1, le=5)] = 3

    def own_taps(self) -> tuple[str, ...]:
        return (f"block{self.block}",)

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"sp": self.beta}

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        return tuple(map(_similarity_signal, self.own_taps()))

    def own_term(self, name: str, step: Step) -> Tensor:
        (tap,) = self.own_taps()
        teacher = step.of_teacher(_similarity_signal(tap))
        return functional.mse_loss(similarity_matrix(step.student.taps[tap]), teacher)


def _similarity_signal(tap: str) -> Signal:
    return Signal(
        name=f"similarity of {tap}", taps=(tap,), make=lambda taps: similarity_matrix(taps[tap])
    )
