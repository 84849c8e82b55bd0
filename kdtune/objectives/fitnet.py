"""Hints from the middle of the teacher (Romero et al., 2015, arXiv:1412.6550), in two stages."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kdtune.contracts import Feature, Moment, Pair, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.two_stages import TwoStages


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over all elements.

    The original is half the sum of the squares, so its weights do not carry over.

    Args:
        student: ``(B, C, H, W)``, through the regressor.
        teacher: The same shape; receives no gradient.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            "student and teacher features must have one shape, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    return functional.mse_loss(at_least_float32(student), at_least_float32(teacher.detach()))


def regressor(student: Feature, teacher: Feature) -> nn.Sequential:
    """What brings a student's map to the shape of its teacher's: convolution and batch norm.

    The convolution is 1x1 at equal size, 3x3 with stride 2 if the teacher's map is half as large
    (rounded up), and a transposed 4x4 with stride 2 if it is twice as large. A ReLU follows only
    where the teacher's map is behind one: a raw residual sum has values below 0 to be reached.

    Args:
        student: Of shape ``(C_s, H_s, W_s)``.
        teacher: Of shape ``(C_t, H_t, W_t)``.

    Raises:
        ValueError: If the sizes are related in none of these ways.
    """
    inputs, outputs = student.shape[0], teacher.shape[0]
    # The batch norm takes the mean away, so a bias before it would do nothing.
    layers: dict[str, nn.Module] = {
        "same": nn.Conv2d(inputs, outputs, 1, bias=False),
        "half": nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        "double": nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
    }
    convolution = layers[relative_size(student.shape, teacher.shape)]
    rectified = teacher.activation == "post" and not teacher.signed
    return nn.Sequential(
        convolution, nn.BatchNorm2d(outputs), nn.ReLU() if rectified else nn.Identity()
    )


def relative_size(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> Literal["same", "half", "double"]:
    """How large a teacher's map is, measured in its student's; both shapes are ``(C, H, W)``.

    Raises:
        ValueError: If it is none of these.
    """
    ours, theirs = student[1:], teacher[1:]
    if theirs == ours:
        return "same"
    if theirs == tuple((side + 1) // 2 for side in ours):
        return "half"
    if theirs == tuple(2 * side for side in ours):
        return "double"
    raise ValueError(
        f"a hint of shape {teacher} must be as large as the student's map, half or twice as large; "
        f"the map has shape {student}; choose another block or other networks"
    )


@OBJECTIVES.register("fitnet")
class HintTraining(TwoStages):
    """Stage 1: the hint loss at the end of one block. Stage 2: ``kd``."""

    zero_at_match: ClassVar[bool] = False

    block: Annotated[int, Field(ge=1, le=5)] = 2

    def own_taps(self) -> tuple[str, ...]:
        return (f"block{self.block}",)

    def warmup_weights(self) -> Mapping[str, float]:
        return {"hint": 1.0}

    def check(self, pair: Pair) -> None:
        (tap,) = self.own_taps()
        relative_size(pair.student[tap].shape, pair.teacher[tap].shape)

    def companion(self, moment: Moment, pair: Pair) -> nn.Module | None:
        (tap,) = self.own_taps()
        if moment.phase != "warmup":
            return None
        return regressor(pair.student[tap], pair.teacher[tap])

    def own_term(self, name: str, step: Step) -> Tensor:
        assert step.teacher is not None
        assert step.companion is not None
        (tap,) = self.own_taps()
        return hint_loss(step.companion(step.student.taps[tap]), step.teacher.taps[tap])
