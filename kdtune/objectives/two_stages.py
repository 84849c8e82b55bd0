"""What the methods share that imitate features first and then distil soft labels."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from kdtune.contracts import Moment, Warmup
from kdtune.objectives.guided import Guided


class TwoStages(Guided):
    """A warm-up on the method's own terms, without labels; then ``kd`` with a new optimiser.

    The warm-up lasts ``warmup_share`` times the epochs of the schedule, one at least (sarfraz2020:
    100 before 200), at a rate of ``warmup_lr`` that drops tenfold at 0.6 and 0.8 of it.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    warmup_share: Annotated[float, Field(gt=0)] = 0.5
    warmup_lr: Annotated[float, Field(gt=0)] = 0.001

    @abstractmethod
    def warmup_weights(self) -> Mapping[str, float]:
        """The weights of the method's own terms in the warm-up."""

    def warmup(self, epochs: int) -> Warmup:
        return Warmup(epochs=max(1, round(self.warmup_share * epochs)), lr=self.warmup_lr)

    def weights(self, moment: Moment) -> Mapping[str, float]:
        if moment.phase == "warmup":
            return self.warmup_weights()
        return super().weights(moment)
