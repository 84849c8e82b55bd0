"""Mixup (Zhang, Cisse, Dauphin and Lopez-Paz, 2018, arXiv:1710.09412)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kdtune.views.derangement import draw_derangement
from kdtune.views.policies.standard import crop_and_flip
from kdtune.views.policy import AUGMENTS, Draws, RawBatch, Views


@AUGMENTS.register("mixup")
@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Blend each standard view with another; one ``lam ~ Beta(1, 1)`` and one pairing a batch."""

    mixes: ClassVar[bool] = True

    def views(self, raw: RawBatch, draws: Draws) -> Views:
        """Blended images and the labels of their partners."""
        stream = draws("mix")
        lam = torch.rand((), generator=stream, dtype=torch.float64).item()
        permutation = draw_derangement(len(raw.labels), stream).to(raw.labels.device)
        images = raw.normalise(crop_and_flip(raw, draws))
        return Views(
            images=mixup(images, permutation, lam),
            partner_labels=raw.labels[permutation],
            lam=lam,
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
