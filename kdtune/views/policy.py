"""What an augmentation policy is: a function from stored pixels and named draws to views."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from kdtune.registry import Registry

Draws = Callable[[str], torch.Generator]
"""The CPU generator of one purpose in this step. Different names, independent numbers: a policy
that mixes on top of crops asks for ``"crop and flip"`` and gets the crops that others get."""


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """What a policy starts from.

    Attributes:
        images: ``(B, C, S, S)`` uint8, as stored, on the device of the step.
        labels: ``(B,)`` int64 on the same device.
        flip: Whether a horizontal flip keeps the label in this dataset.
        normalise: Pixels in 0..255, uint8 or float32, to float32 of zero mean and unit variance
            over the training split; a policy applies it once.
    """

    images: Tensor
    labels: Tensor
    flip: bool
    normalise: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Views:
    """What a policy makes.

    Attributes:
        images: ``(B, C, S, S)`` float32, normalised.
        partner_labels: ``(B,)`` int64 of the images mixed in; None if the policy does not mix.
        lam: Share of an image's own label, in [0, 1].
    """

    images: Tensor
    partner_labels: Tensor | None = None
    lam: float = 1.0


class Augment(Protocol):
    """A policy: a frozen dataclass, fully defaulted, whose fields are what a search may tune."""

    mixes: ClassVar[bool]
    """Whether `views` sets ``partner_labels``; such a policy needs at least two images."""

    def views(self, raw: RawBatch, draws: Draws) -> Views:
        """The views of one batch; a pure function of its arguments."""
        ...


AUGMENTS: Registry[type[Augment]] = Registry("augment")
