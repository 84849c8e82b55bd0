"""TrivialAugmentWide (Mueller and Hutter, 2021, arXiv:2103.10158), with torchvision's bins."""

import torch
from torch import Tensor

from kdtune.views.operation_space import draw_kinds, draw_magnitudes, magnitude_table, wide_ranges
from kdtune.views.operations import operate
from kdtune.views.policies.standard import crop_and_flip
from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch

BINS = 31


@AUGMENTS.register("trivialaugment")
class TrivialAugment(Augment):
    """One operation of 14 at one of 31 magnitudes, both uniform, for each image; no option."""

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images after the operation."""
        images = crop_and_flip(raw, draws)
        table = magnitude_table(wide_ranges(images.shape[-1]), BINS)
        stream = draws("operation 0")
        kinds = draw_kinds(len(images), stream, without="Invert")
        bins = torch.randint(BINS, kinds.shape, generator=stream)
        magnitudes = draw_magnitudes(table, kinds, bins, stream)
        return raw.normalise(operate(images, kinds, magnitudes))
