"""The nouns that cross borders between the parts; nothing here depends on any part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # Whoever asks for a flat configuration need not wait for torch.
    import torch
    from torch import Tensor, nn

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
        lam: ``(B,)`` float32, the share of an image's own label, in [0, 1]; None as above.
        mixed: A second batch made of the same images by mixing, trained on besides this one.
    """

    index: Tensor
    images: Tensor
    labels: Tensor
    partner_labels: Tensor | None = None
    lam: Tensor | None = None
    mixed: Batch | None = None

    def rows(self, rows: Tensor | slice) -> Batch:
        """Those samples alone, without what is mixed of them besides."""
        partners, lam = self.partner_labels, self.lam
        return Batch(
            index=self.index[rows],
            images=self.images[rows],
            labels=self.labels[rows],
            partner_labels=None if partners is None else partners[rows],
            lam=None if lam is None else lam[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one network says of a batch.

    Attributes:
        logits: ``(B, classes)``.
        taps: The feature taps asked for.
        members: The logits of each network of a team; empty for a network alone.
        signals: What was made of a teacher's taps, by :attr:`Signal.name`.
    """

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    members: tuple[Tensor, ...] = ()
    signals: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, rows: Tensor | slice) -> Outputs:
        """What was said of those samples alone."""
        return Outputs(
            logits=self.logits[rows],
            taps={name: tap[rows] for name, tap in self.taps.items()},
            members=tuple(member[rows] for member in self.members),
            signals={name: signal[rows] for name, signal in self.signals.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Something small that is computed from a teacher's taps, and read in place of them.

    It depends on nothing but the teacher and the images, so every trial that shows them to it can
    share what the first one computed.

    Attributes:
        name: Names the formula with all of its parameters: equal names, equal values.
        taps: What it is computed from.
        make: The formula; from the taps by name to ``(B, ...)``.
    """

    name: str
    taps: tuple[str, ...]
    make: Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A tap as a network has it, known before the first step.

    Attributes:
        shape: Of one sample: ``(C, H, W)``, or ``(D,)`` for a vector.
        activation: ``post`` if the non-linearity has been applied, else ``pre``.
        signed: Whether values below zero can occur.
        norm: Weight and bias ``(C,)`` of the batch norm behind a ``pre`` tap, where there is one.
    """

    shape: tuple[int, ...]
    activation: Literal["pre", "post"] = "post"
    signed: bool = False
    norm: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a method may know of a trial before its first step.

    Attributes:
        student: The taps that the method's traits name, of the student.
        teacher: The same of the teacher; empty without one.
        labels: ``(N,)`` int64 of the training split, in the order that ``Batch.index`` counts.
        classes: How many there are.
        mean: Per channel, what inputs were normalised with, for pixels in 0..1.
        std: Per channel, likewise.
    """

    student: Mapping[str, Feature]
    teacher: Mapping[str, Feature]
    labels: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in its training a student is, at the start of an epoch.

    Attributes:
        phase: ``warmup`` before the schedule, ``train``, or ``finetune`` after pruning.
        epoch: From 0; ``train`` and ``finetune`` count on together, ``warmup`` for itself.
        epochs: How many epochs there are in that count.
        first_drop: Epoch at which the learning rate first drops; None if it has no steps.
    """

    phase: Literal["warmup", "train", "finetune"] = "train"
    epoch: int = 0
    epochs: int = 1
    first_drop: int | None = None


class RunStudent(Protocol):
    """See ``Step.run_student``."""

    def __call__(self, images: Tensor, *, moving: bool = True) -> Outputs: ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that the terms of one step may use.

    Attributes:
        batch: What is trained on.
        student: Its outputs in train mode, with gradients.
        teacher: The frozen teacher's outputs, without; None for a method that has none.
        companion: The method's own module, see ``Objective.companion``.
        run_student: A further forward pass of ``(B, C, H, W)`` images, normalised by their own
            statistics; moves the running ones of batch norm once more unless ``moving`` is False.
        run_teacher: A further forward pass of the teacher; gradients reach the images.
        draws: The CPU generator of one purpose in this step; the same name gives the same numbers.
    """

    batch: Batch
    student: Outputs
    teacher: Outputs | None = None
    companion: nn.Module | None = None
    run_student: RunStudent | None = None
    run_teacher: Callable[[Tensor], Outputs] | None = None
    draws: Callable[[str], torch.Generator] | None = None

    def of_teacher(self, signal: Signal) -> Tensor:
        """A signal of the teacher, without gradient; whether it was computed here does not show."""
        assert self.teacher is not None
        known = self.teacher.signals.get(signal.name)
        return signal.make(self.teacher.taps).detach() if known is None else known


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method needs of the training loop.

    Attributes:
        teacher: Whether there is a teacher at all.
        taps: Names of the feature taps read from both networks.
        zero_at_match: Whether every distillation term is 0 when student and teacher agree.
        teacher_bn: What normalises the teacher's features: its running statistics, or those of
            the batch; its buffers stay as they are either way.
        soft_labels: Whether the teacher's logits are a target. Mixed images are then trained on
            besides the plain ones, by the terms of ``on_mixed`` alone, unless told otherwise.
        on_mixed: The terms that such mixed images get.
        team: Whether several networks are trained together.
        sample_mean: Whether every term is a mean over the samples of a batch, so that the mean of
            its values on parts of the batch, weighted by their sizes, is the same. Only such a
            method can train on a batch in parts; one that compares the samples of a batch cannot.
    """

    teacher: bool = True
    taps: tuple[str, ...] = ()
    zero_at_match: bool = False
    teacher_bn: Literal["eval", "batch"] = "eval"
    soft_labels: bool = False
    on_mixed: tuple[str, ...] = ()
    team: bool = False
    sample_mean: bool = False


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """A stretch of epochs before the schedule of a trial, with a schedule of its own.

    Attributes:
        epochs: Its length.
        lr: Learning rate.
        milestones: Rising shares of ``epochs``, in (0, 1), at which the rate drops.
        lr_factor: What a drop multiplies it with.
    """

    epochs: int
    lr: float
    milestones: tuple[float, ...] = (0.6, 0.8)
    lr_factor: float = 0.1
