"""RandAugment (Cubuk, Zoph, Shlens and Le, 2019, arXiv:1909.13719), with torchvision's bins."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from kdtune.views.operation_space import (
    draw_kinds,
    draw_magnitudes,
    magnitude_table,
    usual_ranges,
)
from kdtune.views.operations import operate
from kdtune.views.policies.standard import crop_and_flip
from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch

BINS = 31


@AUGMENTS.register("randaugment")
class RandAugment(Augment):
    """``num_ops`` operations of 14, one after the other, all of bin ``magnitude`` of 0..30.

    Each image draws its own operations and directions.
    """

    num_ops: Annotated[int, Field(ge=1)] = 2
    magnitude: Annotated[int, Field(ge=0, lt=BINS)] = 9

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images after the operations."""
        images = crop_and_flip(raw, draws)
        table = magnitude_table(usual_ranges(images.shape[-1]), BINS)
        for turn in range(self.num_ops):
            stream = draws(f"operation {turn}")
            kinds = draw_kinds(len(images), stream, without="Invert")
            magnitudes = draw_magnitudes(table, kinds, self.magnitude, stream)
            images = operate(images, kinds, magnitudes)
        return raw.normalise(images)
