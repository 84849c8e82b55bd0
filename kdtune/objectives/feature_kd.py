"""Feature distillation in its simplest form (park2020, equation 2).

Park, Yoo and Kwak, 2020: On the Orthogonality of Knowledge Distillation with Other Techniques.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kdtune.contracts import Moment, Pair, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.guided import Guided

TAP = "last_map"


def normalised_l1(
    student: Tensor, teacher: Tensor, reduction: Literal["sum", "mean"] = "sum"
) -> Tensor:
    """L1 distance of the features, each sample flattened and of unit L2 norm; batch mean.

    Args:
        student: ``(B, ...)``, through the regressor.
        teacher: The same shape; receives no gradient.
        reduction: Over the elements of a sample: their sum, as in the paper, or their mean.

    Returns:
        Scalar in [0, 2 * sqrt(D)] for ``D`` elements a sample, divided by ``D`` for the mean.

    Raises:
        ValueError: If the shapes differ or the reduction is unknown.
    """
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            "student and teacher features must both be (B, ...) of one shape, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    ours, theirs = (
        functional.normalize(at_least_float32(features.flatten(1)), dim=1, eps=1e-12)
        for features in (student, teacher.detach())
    )
    distances = (theirs - ours).abs()
    return distances.sum(dim=1).mean() if reduction == "sum" else distances.mean()


@OBJECTIVES.register("feature_kd")
class FeatureDistillation(Guided):
    """``CE + beta * normalised L1`` of the last maps, the student's through a 1x1 convolution.

    The paper keeps ``beta`` to its supplement. The default is the weight 500 that the same group
    uses with the mean form (Jangho-Kim/Factor-Transfer-pytorch), divided by the 4,096 elements of
    the last map of a ResNet-56 and rounded; search it on a log scale around that. With
    ``reduction="mean"`` a weight of the same strength is larger by the number of elements.
    """

    zero_at_match: ClassVar[bool] = False

    beta: Annotated[float, Field(ge=0)] = 0.1
    reduction: Literal["sum", "mean"] = "sum"

    def own_taps(self) -> tuple[str, ...]:
        return (TAP,)

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"feature": self.beta}

    def check(self, pair: Pair) -> None:
        student, teacher = pair.student[TAP].shape, pair.teacher[TAP].shape
        if student[1:] != teacher[1:]:
            raise ValueError(
                f"feature_kd needs last maps of one height and width, got {student} of the "
                f"student and {teacher} of the teacher; choose networks that reduce the image alike"
            )

    def companion(self, moment: Moment, pair: Pair) -> nn.Module:
        # With a bias: the teacher's map is behind a ReLU, so its channels are not centred.
        return nn.Conv2d(pair.student[TAP].shape[0], pair.teacher[TAP].shape[0], kernel_size=1)

    def own_term(self, name: str, step: Step) -> Tensor:
        assert step.teacher is not None
        assert step.companion is not None
        student = step.companion(step.student.taps[TAP])
        return normalised_l1(student, step.teacher.taps[TAP], self.reduction)
