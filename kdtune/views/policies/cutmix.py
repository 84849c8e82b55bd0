"""CutMix (Yun et al., 2019, arXiv:1905.04899), applied to every batch."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.views.derangement import draw_derangement
from kdtune.views.policies.standard import standard_views
from kdtune.views.policy import AUGMENTS, Draws, Mixing, RawBatch

Box = tuple[int, int, int, int]
"""``(y1, y2, x1, x2)`` in pixels, ``y2`` and ``x2`` exclusive."""


@AUGMENTS.register("cutmix")
class CutMix(Mixing):
    """Paste a box of another standard view; one box and one pairing a batch.

    ``lam ~ Beta(1, 1)`` sets the size of the box, and is then set to the share of pixels that
    really stayed, as the border may have clipped the box.
    """

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images."""
        return standard_views(raw, draws)

    def mix(self, batch: Batch, draws: Draws) -> Batch:
        """Patched images and the labels of the images the patches came from."""
        return patched_batch(batch, draws("mix"))


def patched_batch(batch: Batch, stream: torch.Generator) -> Batch:
    """``batch`` with a box of each image replaced by that of another image.

    Args:
        batch: At least two images; not changed.
        stream: CPU generator that ``lam``, the centre of the box and the pairing are drawn from.
    """
    height, width = batch.images.shape[-2:]
    lam = torch.rand((), generator=stream, dtype=torch.float64).item()
    center_y = int(torch.randint(height, (), generator=stream))
    center_x = int(torch.randint(width, (), generator=stream))
    permutation = draw_derangement(len(batch.labels), stream).to(batch.labels.device)
    box = cutmix_box(height, width, lam, center_y, center_x)
    share = kept_share(height, width, box)
    return replace(
        batch,
        images=cutmix(batch.images, permutation, box),
        partner_labels=batch.labels[permutation],
        lam=torch.full_like(batch.labels, share, dtype=torch.float32),
    )


def cutmix_box(height: int, width: int, lam: float, center_y: int, center_x: int) -> Box:
    """The box that leaves about ``lam`` of the image, clipped at the border.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        lam: Share of the image to keep, in [0, 1]; the sides are ``int(side * sqrt(1 - lam))``.
        center_y: Row of the centre, in ``[0, height)``.
        center_x: Column of the centre, in ``[0, width)``.

    Returns:
        ``(y1, y2, x1, x2)``, ``y2`` and ``x2`` exclusive; empty if a side is below 2.
    """
    half_y = int(height * math.sqrt(1 - lam)) // 2
    half_x = int(width * math.sqrt(1 - lam)) // 2
    return (
        max(center_y - half_y, 0),
        min(center_y + half_y, height),
        max(center_x - half_x, 0),
        min(center_x + half_x, width),
    )


def kept_share(height: int, width: int, box: Box) -> float:
    """``1 - area of the box / area of the image``, the label share ``lam`` after clipping."""
    y1, y2, x1, x2 = box
    return 1 - (y2 - y1) * (x2 - x1) / (height * width)


def cutmix(images: Tensor, permutation: Tensor, box: Box) -> Tensor:
    """Replace the box in each image by the same box of ``images[permutation]``.

    Args:
        images: ``(B, C, H, W)`` of any type; not changed.
        permutation: ``(B,)`` int64.
        box: ``(y1, y2, x1, x2)``, one for the batch.

    Returns:
        ``(B, C, H, W)``, the same type.
    """
    y1, y2, x1, x2 = box
    mixed = images.clone()
    mixed[:, :, y1:y2, x1:x2] = images[permutation, :, y1:y2, x1:x2]
    return mixed
