"""Cutout (DeVries and Taylor, 2017, arXiv:1708.04552): a square of each standard view is blanked.

The published sides, 16 for CIFAR-10 and 8 for CIFAR-100, belong to 32x32 images.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from kdtune.views.policies.standard import standard_views
from kdtune.views.policy import AUGMENTS, Augment, Draws, RawBatch


@AUGMENTS.register("cutout")
class Cutout(Augment):
    """One square of ``side`` pixels an image, half the image's side if None, clipped at the border.

    Its centre is uniform over the pixels. It is filled with 0 after normalisation, the mean colour.
    """

    side: Annotated[int, Field(ge=1)] | None = None

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images with a square of zeros."""
        images = standard_views(raw, draws)
        count, size = len(images), images.shape[-1]
        side = size // 2 if self.side is None else self.side
        centers = torch.randint(size, (2, count), generator=draws("cutout"))
        tops, lefts = (centers - side // 2).to(images.device)
        return images.masked_fill_(square_mask(tops, lefts, side, size), 0)


def square_mask(tops: Tensor, lefts: Tensor, side: int, size: int) -> Tensor:
    """Where each image's square lies.

    Args:
        tops: ``(B,)`` int64, first row of the square; may lie outside of the image.
        lefts: ``(B,)`` int64, first column.
        side: Of the square, in pixels.
        size: Height and width of the images, in pixels.

    Returns:
        ``(B, 1, size, size)`` bool.
    """
    places = torch.arange(size, device=tops.device)
    rows, columns = (
        (places >= first[:, None]) & (places < first[:, None] + side) for first in (tops, lefts)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]
