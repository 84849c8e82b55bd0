"""Soft labels as the whole method, to the end (kd) or until an epoch (eskd)."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from kdtune.contracts import Moment, Traits
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.guided import Guided


@OBJECTIVES.register("kd")
class SoftLabels(Guided):
    """``(1 - alpha) * CE + alpha * T^2 * KL(teacher || student; T)``."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9

    @property
    def traits(self) -> Traits:
        return replace(super().traits, soft_labels=True)


@OBJECTIVES.register("eskd")
class EarlyStoppedDistillation(SoftLabels):
    """``kd`` until ``stop_epoch``, then cross entropy alone (cho2019, section 5.3).

    The paper does not print the epoch; by default it is the first drop of the learning rate.
    """

    def stops_at(self, moment: Moment) -> int:
        stop = moment.first_drop if self.stop_epoch is None else self.stop_epoch
        if stop is None:
            raise ValueError(
                "eskd stops where the learning rate first drops, and this schedule has no drops; "
                "give method.stop_epoch or train.schedule=step"
            )
        return stop
