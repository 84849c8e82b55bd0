"""Training without a teacher."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdtune.contracts import Moment, Step, Traits
from kdtune.objectives.base import OBJECTIVES, Objective
from kdtune.objectives.cross_entropy import cross_entropy


@OBJECTIVES.register("scratch")
class Scratch(Objective):
    """``CE``. Teachers are trained by it too, with their ``label_smoothing``."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def traits(self) -> Traits:
        return Traits(teacher=False, sample_mean=True)

    def weights(self, moment: Moment) -> Mapping[str, float]:
        return {"ce": 1.0}

    def term(self, name: str, step: Step) -> Tensor:
        return cross_entropy(step.student.logits, step.batch, self.label_smoothing)
