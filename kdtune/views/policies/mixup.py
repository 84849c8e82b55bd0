"""Mixup (Zhang, Cisse, Dauphin and Lopez-Paz, 2018, arXiv:1710.09412)."""

from dataclasses import replace

import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.views.derangement import draw_derangement
from kdtune.views.policies.standard import standard_views
from kdtune.views.policy import AUGMENTS, Draws, Mixing, RawBatch


@AUGMENTS.register("mixup")
class Mixup(Mixing):
    """Blend each standard view with another; one ``lam ~ Beta(1, 1)`` and one pairing a batch."""

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images."""
        return standard_views(raw, draws)

    def mix(self, batch: Batch, draws: Draws) -> Batch:
        """Blended images and the labels of their partners."""
        stream = draws("mix")
        lam = torch.rand((), generator=stream, dtype=torch.float64).item()
        permutation = draw_derangement(len(batch.labels), stream).to(batch.labels.device)
        return replace(
            batch,
            images=mixup(batch.images, permutation, lam),
            partner_labels=batch.labels[permutation],
            lam=torch.full_like(batch.labels, lam, dtype=torch.float32),
        )


def mixup(images: Tensor, permutation: Tensor, lam: float) -> Tensor:
    """``lam * images + (1 - lam) * images[permutation]``.

    Args:
        images: ``(B, C, H, W)`` float.
        permutation: ``(B,)`` int64.
        lam: Share of the image itself, in [0, 1].

    Returns:
        ``(B, C, H, W)``. The products are rounded before they are added, on every device alike.
    """
    return (lam * images).add_((1 - lam) * images[permutation])
