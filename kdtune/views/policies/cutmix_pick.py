"""CutMix-pick: of twice as many patched images, train on those the teacher has most to say about.

Wang, Lohit, Jones and Fu, 2020, arXiv:2012.02909. The policy makes the pool; the training loop,
which knows both networks, scores it by ``criterion`` and keeps the better half.
"""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.views.policies.cutmix import patched_batch
from kdtune.views.policies.standard import standard_views
from kdtune.views.policy import AUGMENTS, Draws, Mixing, RawBatch


@AUGMENTS.register("cutmix_pick")
class CutMixPick(Mixing):
    """Two CutMix batches of the same standard views as one pool; the first is that of ``cutmix``.

    ``criterion`` is what a picked image has much of: the divergence of the student from the
    teacher (``kld``), or the entropy of either network's prediction.
    """

    picks: ClassVar[bool] = True

    criterion: Literal["kld", "teacher_entropy", "student_entropy"] = "kld"

    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """Cropped and flipped images."""
        return standard_views(raw, draws)

    def mix(self, batch: Batch, draws: Draws) -> Batch:
        """The pool: ``2B`` patched images, row ``i`` and row ``B + i`` of the same image."""
        halves = [patched_batch(batch, draws(name)) for name in ("mix", "mix again")]
        fields = ("index", "images", "labels", "partner_labels", "lam")
        joined: dict[str, Any] = {
            name: torch.cat([getattr(half, name) for half in halves]) for name in fields
        }
        return replace(batch, **joined)
