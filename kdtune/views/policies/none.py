"""No augmentation: the stored pixels, normalised."""

from torch import Tensor

from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch


@AUGMENTS.register("none")
class Plain(Augment):
    """Every epoch shows the same images, in another order."""

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """The images themselves; draws nothing."""
        return raw.normalise(raw.images)
