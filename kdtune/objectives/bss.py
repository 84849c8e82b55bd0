"""Boundary supporting samples (Heo et al., 2019, arXiv:1805.05532).

The teacher is attacked: images that it gets right are moved just across its decision boundary, and
the student learns its soft labels there too.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdtune.contracts import Moment, Pair, Step, Traits
from kdtune.objectives.base import OBJECTIVES, Objective
from kdtune.objectives.cross_entropy import cross_entropy
from kdtune.objectives.soft_labels import soft_cross_entropy

OVERSHOOT = 1e-4
"""Added to the gap of the logits, so that a step does not stop short of the boundary."""


def base_samples(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, limit: int
) -> Tensor:
    """Positions of the samples worth attacking: both networks are right about them.

    If there are more than ``limit``, those with the largest squared difference of the
    probabilities of the wrong classes are kept, largest first.

    Args:
        student_logits: ``(B, C)``.
        teacher_logits: ``(B, C)``.
        labels: ``(B,)`` int64.
        limit: How many at most, >= 1.

    Returns:
        ``(n,)`` int64 with ``n <= limit``; empty where no sample is eligible.
    """
    right = (student_logits.argmax(dim=1) == labels) & (teacher_logits.argmax(dim=1) == labels)
    eligible = right.nonzero().squeeze(1)
    if len(eligible) <= limit:
        return eligible
    student, teacher = (
        logits.detach()[eligible].float().softmax(dim=1)
        for logits in (student_logits, teacher_logits)
    )
    squares = (teacher - student).square()
    scores = squares.scatter(1, labels[eligible, None], 0.0).sum(dim=1)
    return eligible[scores.topk(limit).indices]


def target_classes(teacher_logits: Tensor, draws: torch.Generator) -> Tensor:
    """One wrong class per sample, drawn from the teacher's probabilities over all but its top one.

    Args:
        teacher_logits: ``(B, C)`` with ``C >= 2``.
        draws: A CPU generator; ``B * C`` numbers are drawn, whatever the logits are.

    Returns:
        ``(B,)`` int64.
    """
    # The class that "arrives" first in a race of exponential times is drawn with its probability.
    times = torch.empty(teacher_logits.shape).exponential_(generator=draws)
    logits = teacher_logits.detach().float()
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    return (others - times.log().to(others.device)).argmax(dim=1)


def boundary_samples(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    *,
    low: Tensor | float,
    high: Tensor | float,
    step_size: float = 0.3,
    num_steps: int = 10,
) -> Tensor:
    """Move images towards a target class until the classifier changes its mind.

    A step goes along the gradient of ``z_target - z_top`` by the pixels, of unit L2 norm per
    sample, times ``step_size * (z_top - z_target + 1e-4)``, where ``z_top`` is the logit of the
    class predicted at first. A sample whose prediction has left that class stays where it is.

    Args:
        predict: From ``(n, C, H, W)`` images to ``(n, classes)`` logits, sample by sample: batch
            norm must use running statistics. No gradient reaches its parameters.
        images: ``(n, C, H, W)``, ``n >= 1``.
        targets: ``(n,)`` int64.
        low: Least valid pixel, a number or of a shape like ``(1, C, 1, 1)``.
        high: Largest valid pixel, likewise.
        step_size: In units of the pixels, per unit of the logits.
        num_steps: Steps at most.

    Returns:
        ``(n, C, H, W)``, detached, within ``low`` and ``high`` where they were moved.
    """
    moved = images.detach()
    top: Tensor | None = None
    for _ in range(num_steps):
        with torch.enable_grad():
            moved.requires_grad_()
            logits = predict(moved)
            top = logits.detach().argmax(dim=1) if top is None else top
            gap = (logits.gather(1, top[:, None]) - logits.gather(1, targets[:, None])).squeeze(1)
            (slope,) = torch.autograd.grad(-gap.sum(), moved)
        moved = moved.detach()
        unmoved = logits.detach().argmax(dim=1) == top
        if not unmoved.any():
            break
        length = (step_size * (gap.detach() + OVERSHOOT))[:, None, None, None]
        norm = slope.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
        stepped = (moved + length * slope / norm).clamp(low, high)
        moved = torch.where(unmoved[:, None, None, None], stepped, moved)
    return moved


def soft_share(share: float) -> float:
    """Factor of the soft labels' weight: from 1 at the start of training to 1/4 at its end.

    Args:
        share: Of the epochs, the current one included, in (0, 1].
    """
    return (1 + 3 * (1 - share)) / 4


def boundary_share(share: float) -> float:
    """Factor of the boundary term's weight: from 1 at the start to 0 at 3/4 of training.

    Args:
        share: Of the epochs, the current one included, in (0, 1].
    """
    return max(1 - 4 * share / 3, 0.0)


class PixelRange(nn.Module):
    """The values that a normalised pixel can have, per channel.

    Args:
        mean: What pixels in 0..1 were normalised with.
        std: Likewise.
    """

    low: Tensor
    high: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        shift, scale = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        self.register_buffer("low", (0 - shift) / scale)
        self.register_buffer("high", (1 - shift) / scale)


@OBJECTIVES.register("bss")
class BoundarySupport(Objective):
    """``CE + soft_weight * soft CE + boundary_weight * soft CE of the attacked images``.

    Both weights fall over training, see :func:`soft_share` and :func:`boundary_share`; the soft
    cross entropies are at ``temperature`` and not times its square. The student sees the attacked
    images as a batch of their own, which moves its running statistics once more, as in the public
    code, unless ``moving_statistics`` is False.

    The defaults are sarfraz2020's (it limits the perturbation to 16, which the public code never
    applies) with the step of bhheo/BSS_distillation, in units of normalised pixels.
    """

    temperature: Annotated[float, Field(gt=0)] = 4.0
    soft_weight: Annotated[float, Field(ge=0)] = 4.0
    boundary_weight: Annotated[float, Field(ge=0)] = 2.0
    attack_size: Annotated[int, Field(ge=1)] = 32
    num_steps: Annotated[int, Field(ge=1)] = 10
    step_size: Annotated[float, Field(gt=0)] = 0.3
    moving_statistics: bool = True

    @property
    def traits(self) -> Traits:
        return Traits(soft_labels=True, on_mixed=("soft_ce",))

    def weights(self, moment: Moment) -> Mapping[str, float]:
        share = (moment.epoch + 1) / moment.epochs
        return {
            "ce": 1.0,
            "soft_ce": self.soft_weight * soft_share(share),
            "bss": self.boundary_weight * boundary_share(share),
        }

    def term(self, name: str, step: Step) -> Tensor:
        if name == "ce":
            return cross_entropy(step.student.logits, step.batch)
        assert step.teacher is not None
        if name == "soft_ce":
            return soft_cross_entropy(step.student.logits, step.teacher.logits, self.temperature)
        return self._boundary_term(step)

    def companion(self, moment: Moment, pair: Pair) -> PixelRange:
        return PixelRange(pair.mean, pair.std)

    def _boundary_term(self, step: Step) -> Tensor:
        assert step.teacher is not None
        assert step.draws is not None
        student, teacher = step.student.logits, step.teacher.logits
        base = base_samples(student, teacher, step.batch.labels, self.attack_size)
        if len(base) == 0:
            return student[:0].sum()
        targets = target_classes(teacher, step.draws("target"))
        return self._attacked_term(step, step.batch.images[base], targets[base])

    def _attacked_term(self, step: Step, images: Tensor, targets: Tensor) -> Tensor:
        assert isinstance(step.companion, PixelRange)
        assert step.run_teacher is not None
        assert step.run_student is not None
        run_teacher = step.run_teacher
        attacked = boundary_samples(
            lambda x: run_teacher(x).logits,
            images,
            targets,
            low=step.companion.low,
            high=step.companion.high,
            step_size=self.step_size,
            num_steps=self.num_steps,
        )
        # Batch norm in train mode refuses a single value per channel, as one image may have.
        attacked = attacked.repeat(2, 1, 1, 1) if len(attacked) == 1 else attacked
        with torch.no_grad():
            teacher = run_teacher(attacked).logits
        student = step.run_student(attacked, moving=self.moving_statistics).logits
        return soft_cross_entropy(student, teacher, self.temperature)
