"""The nouns that cross borders between the parts; nothing here depends on any part."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

Scalar = str | int | float | bool | None
"""What a flat configuration holds: JSON scalars."""

FlatConfig = Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The views of one training step.

    Attributes:
        index: ``(B,)`` int64, positions in the training split.
        images: ``(B, C, H, W)`` float32, augmented and normalised.
        labels: ``(B,)`` int64.
        partner_labels: ``(B,)`` int64 of the images mixed in, or None when nothing was mixed.
        lam: Share of ``labels`` in a mixed image, in [0, 1]; 1 when nothing was mixed.
    """

    index: Tensor
    images: Tensor
    labels: Tensor
    partner_labels: Tensor | None = None
    lam: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one network says of a batch: ``logits`` ``(B, classes)`` and the taps asked for."""

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method needs of the training loop.

    Attributes:
        teacher: Whether there is a teacher at all.
        taps: Names of the feature taps read from both networks.
        zero_at_match: Whether every distillation term is 0 when student and teacher agree.
    """

    teacher: bool = True
    taps: tuple[str, ...] = ()
    zero_at_match: bool = False


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of epochs of one trial, ``start`` (inclusive) to ``stop`` (exclusive).

    Attributes:
        name: ``train``, or ``finetune`` after pruning.
        start: First epoch, counted from 0.
        stop: One past the last epoch.
        prune: Whether the student is pruned before the first epoch of the phase.
    """

    name: str
    start: int
    stop: int
    prune: bool = False
