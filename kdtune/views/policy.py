"""What an augmentation policy is: a function from stored pixels and named draws to views."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kdtune.contracts import Batch
from kdtune.registry import Registry
from kdtune.settings import Settings

Draws = Callable[[str], torch.Generator]
"""The CPU generator of one purpose in this step. Different names, independent numbers: a policy
that goes on from crops asks for ``"crop and flip"`` and gets the crops that others get."""


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """What a policy starts from.

    Attributes:
        images: ``(B, C, S, S)`` uint8, as stored, on the device of the step.
        flip: Whether a horizontal flip keeps the label in this dataset.
        normalise: Pixels in 0..255, uint8 or float32, to float32 of zero mean and unit variance
            over the training split; a policy applies it once.
    """

    images: Tensor
    flip: bool
    normalise: Callable[[Tensor], Tensor]


class Augment(Settings):
    """A policy; the fields of a subclass are what a search may tune."""

    mixes: ClassVar[bool] = False
    """Whether images are mixed with others of the batch, see `Mixing`."""
    picks: ClassVar[bool] = False
    """Whether the mixed batch is a pool of 2B images, of which the training loop keeps B."""

    @abstractmethod
    def views(self, raw: RawBatch, draws: Draws) -> Tensor:
        """The views of one batch, before any mixing; a pure function of its arguments.

        Returns:
            ``(B, C, S, S)`` float32, normalised, in the order of ``raw``.
        """


class Mixing(Augment):
    """A policy that makes, from the views of a batch, images of two labels each."""

    mixes: ClassVar[bool] = True

    @abstractmethod
    def mix(self, batch: Batch, draws: Draws) -> Batch:
        """The views of ``batch`` mixed among themselves; a pure function of its arguments.

        Args:
            batch: What `views` made, at least two images; not changed.
            draws: The same draws as for `views`.

        Returns:
            With ``partner_labels`` and ``lam``, in the order of ``batch``; twice that one after
            the other if the policy `picks`.
        """


AUGMENTS: Registry[type[Augment]] = Registry("augment")
