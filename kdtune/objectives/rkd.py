"""Relational knowledge distillation (Park et al., 2019, arXiv:1904.05068)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from kdtune.contracts import Moment, Pair, Signal, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32, gram_matrix, require_one_batch
from kdtune.objectives.guided import Guided

NEAREST = 1e-6
"""Distance below which two embeddings coincide; also the distance that they are said to have."""

ROUNDING = 8
"""In units of the last place of the squared norms: what the Gram form cannot tell from 0."""


def pair_distances(embeddings: Tensor) -> Tensor:
    """Euclidean distance of every two samples, from their Gram matrix.

    Coincident samples are at the constant distance 1e-6, so no gradient passes through the square
    root at 0. That is every pair closer than 1e-6 or than the rounding of the Gram matrix, in
    float32 about a thousandth of the distance to the mean embedding.

    Args:
        embeddings: ``(B, ...)``, flattened per sample.

    Returns:
        ``(B, B)``, symmetric, in float32 at least, 0 on the diagonal.
    """
    return _pairs(centred_gram(embeddings))[0]


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the distances, each network's divided by their mean (section 3.2.1).

    Args:
        student: ``(B, ...)``; its mean distance passes gradients too.
        teacher: ``(B, ...)``, of any width; receives no gradient.

    Returns:
        Scalar >= 0, the mean over ``B ** 2`` pairs, the diagonal included; 0 for one sample.

    Raises:
        ValueError: If a tensor has fewer than two dimensions or the batch sizes differ.
    """
    require_one_batch(student, teacher)
    ours, theirs = centred_gram(student), centred_gram(teacher.detach())
    return functional.smooth_l1_loss(_in_means(ours), _in_means(theirs))


def angle_cosines(embeddings: Tensor) -> Tensor:
    """Cosine of the angle at sample ``i`` between samples ``j`` and ``k``, from the Gram matrix.

    Args:
        embeddings: ``(B, ...)``, flattened per sample.

    Returns:
        ``(B, B, B)`` indexed by i, j, k, in float32 at least; 0 where ``i`` coincides with ``j`` or
        ``k``. The batch needs ``B ** 3`` numbers and not ``B ** 2`` times the width: 8 MB at 128,
        64 MB at 256, beyond which only the distances are practical.
    """
    return _cosines(centred_gram(embeddings))


def _cosines(gram: Tensor) -> Tensor:
    distances, apart = _pairs(gram)
    squares = gram.diagonal()
    products = gram[None] - gram[:, :, None] - gram[:, None, :] + squares[:, None, None]
    inverse = torch.where(apart, distances, 1.0).reciprocal() * apart
    return products * (inverse[:, :, None] * inverse[:, None, :])


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of the cosines of all angles (section 3.2.2).

    Args:
        student: ``(B, ...)``.
        teacher: ``(B, ...)``, of any width; receives no gradient.

    Returns:
        Scalar in [0, 1.5], the mean over ``B ** 3`` triplets, degenerate ones included.

    Raises:
        ValueError: If a tensor has fewer than two dimensions or the batch sizes differ.
    """
    require_one_batch(student, teacher)
    return functional.smooth_l1_loss(angle_cosines(student), angle_cosines(teacher.detach()))


def centred_gram(embeddings: Tensor) -> Tensor:
    """Gram matrix of the embeddings around their mean: all that distances and angles depend on.

    Around the mean, least is lost to cancellation, and the mean need not pass gradients, which
    would add up to 0.

    Args:
        embeddings: ``(B, ...)``, flattened per sample.

    Returns:
        ``(B, B)``, in float32 at least.
    """
    rows = at_least_float32(embeddings.flatten(1))
    return gram_matrix(rows - rows.detach().mean(dim=0))


def _pairs(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Of a centred Gram matrix the distances, and which pairs are apart."""
    norms = gram.diagonal()
    sums = norms[:, None] + norms[None, :]
    squares = sums - 2 * gram
    own = torch.eye(len(gram), dtype=torch.bool, device=gram.device)
    rounding = ROUNDING * torch.finfo(gram.dtype).eps * sums
    apart = (squares > rounding.clamp(min=NEAREST**2)) & ~own
    distances = torch.where(apart, squares, NEAREST**2).sqrt().masked_fill(own, 0.0)
    return distances, apart


def _in_means(gram: Tensor) -> Tensor:
    distances, _ = _pairs(gram)
    pairs = max(1, len(distances) * (len(distances) - 1))
    return distances * (pairs / distances.sum().clamp(min=NEAREST))


@OBJECTIVES.register("rkd")
class RelationalDistillation(Guided):
    """``CE + distance_weight * distance loss + angle_weight * angle loss`` of one tap.

    The map at the end of block 3, flattened, is sarfraz2020's; ``pooled`` is the vector that
    HobbitLong/RepDistiller compares.
    """

    sample_mean: ClassVar[bool] = False

    distance_weight: Annotated[float, Field(ge=0)] = 25.0
    angle_weight: Annotated[float, Field(ge=0)] = 50.0
    tap: Literal["block3", "pooled"] = "block3"

    def own_taps(self) -> tuple[str, ...]:
        return (self.tap,)

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"rkd_distance": self.distance_weight, "rkd_angle": self.angle_weight}

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        return (_relations(self.tap),)

    def own_term(self, name: str, step: Step) -> Tensor:
        relation = {"rkd_distance": _in_means, "rkd_angle": _cosines}[name]
        ours = centred_gram(step.student.taps[self.tap])
        theirs = step.of_teacher(_relations(self.tap))
        return functional.smooth_l1_loss(relation(ours), relation(theirs))


@OBJECTIVES.register("rkd_d")
class DistanceDistillation(RelationalDistillation):
    """The distances of ``rkd`` alone; practical at any batch size."""

    angle_weight: Annotated[float, Field(ge=0)] = 0.0


@OBJECTIVES.register("rkd_a")
class AngleDistillation(RelationalDistillation):
    """The angles of ``rkd`` alone."""

    distance_weight: Annotated[float, Field(ge=0)] = 0.0


def _relations(tap: str) -> Signal:
    return Signal(
        name=f"centred gram of {tap}", taps=(tap,), make=lambda taps: centred_gram(taps[tap])
    )
