"""What must be known of a student to use its weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdtune.contracts import Scalar
from kdtune.pruning import PruneRecord
from kdtune.settings import Settings


class StudentCard(Settings):
    """The network of a student, the images it reads and where it came from.

    Attributes:
        format: Of the folder; raised when its meaning changes.
        model: Name of the network, as ``kdtune.models.build`` knows it.
        classes: Number of logits.
        class_names: One per logit.
        channels: Channels of the images.
        size: Side of the square images in pixels.
        mean: Per channel, what inputs are normalised with, for pixels in 0..1.
        std: Per channel, likewise.
        pruned: The ``PruneRecord`` as JSON; None for a network that was not pruned.
        method: Distillation method; empty if not known.
        metadata: Anything else worth keeping, such as accuracies and the seed.
        sha256: Of the weights file; :func:`~kdtune.students.save_student` fills it in.
    """

    format: Literal[1] = 1
    model: str
    classes: Annotated[int, Field(ge=2)]
    class_names: tuple[str, ...]
    channels: Annotated[int, Field(ge=1)]
    size: Annotated[int, Field(ge=1)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    pruned: str | None = None
    method: str = ""
    metadata: dict[str, Scalar] = Field(default_factory=dict)
    sha256: str = ""

    @field_validator("pruned")
    @classmethod
    def _check_record(cls, text: str | None) -> str | None:
        if text is not None:
            PruneRecord.from_json(text)
        return text

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        for key, values, count in (
            ("class_names", self.class_names, self.classes),
            ("mean", self.mean, self.channels),
            ("std", self.std, self.channels),
        ):
            if len(values) != count:
                raise ValueError(f"{key} of a student must have {count} entries, got {len(values)}")
        return self
