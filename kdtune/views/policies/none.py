"""No augmentation: the stored pixels, normalised."""

from dataclasses import dataclass
from typing import ClassVar

from kdtune.views.policy import AUGMENTS, Draws, RawBatch, Views


@AUGMENTS.register("none")
@dataclass(frozen=True, kw_only=True)
class Plain:
    """Every epoch shows the same images, in another order."""

    mixes: ClassVar[bool] = False

    def views(self, raw: RawBatch, draws: Draws) -> Views:
        """The images themselves; draws nothing."""
        return Views(images=raw.normalise(raw.images))
