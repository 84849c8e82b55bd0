"""One training epoch, for any method."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdtune.contracts import Batch, Outputs, Signal, Step
from kdtune.models import run
from kdtune.objectives import Objective, Team
from kdtune.seeds import generator
from kdtune.training.batch_norm import batch_statistics
from kdtune.training.pick import Picked, label_disagreement, pick
from kdtune.training.plan import Phase
from kdtune.training.precision import Precision, in_float32, in_precision
from kdtune.training.signals import Heard, SharedTeacher, View, Want
from kdtune.views import ViewStream

Draws = Callable[[str], torch.Generator]
ON_MIXED = "_mixed"
"""What marks a term that is computed on mixed images besides the plain ones."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Sample means over an epoch: the weighted loss and each raw term that was computed.

    Attributes:
        loss: What was minimised.
        terms: Raw terms and other sample means, by name; ``_mixed`` marks those of mixed images.
        weights: Of the terms, as far as they are not 0.
        images: How many were trained on.
    """

    loss: float
    terms: Mapping[str, float]
    weights: Mapping[str, float]
    images: int

    def metrics(self) -> dict[str, float]:
        """Flat: each mean, and each term times its weight."""
        shares = {n: _weight(self.weights, n) for n in self.terms if _is_term(n, self.weights)}
        return {
            "train/loss": self.loss,
            **{f"train/{name}": value for name, value in self.terms.items()},
            **{f"weighted/{name}": w * self.terms[name] for name, w in shares.items()},
        }


@dataclass(frozen=True, kw_only=True)
class _Lot:
    """What a step, or a part of it, trains on.

    Attributes:
        main: Images that get all terms.
        extra: Mixed images that get some terms besides; as many.
        said_of_main: All that the terms read of the teacher, where it is known already.
        said_of_extra: The same of ``extra``.
    """

    main: Batch
    extra: Batch | None = None
    said_of_main: Outputs | None = None
    said_of_extra: Outputs | None = None

    def __len__(self) -> int:
        return len(self.main.labels)

    def parts(self, most: int | None) -> "Iterator[_Lot]":
        """Parts of nearly equal size, of ``most`` images or fewer; the lot itself for None.

        No part is one image alone, as batch statistics need two; so of 3 images there is one part.
        """
        count = 1 if most is None else min(-(-len(self) // most), len(self) // 2)
        if count <= 1:
            yield self
            return
        ends = [len(self) * part // count for part in range(count + 1)]
        for rows in map(slice, ends, ends[1:]):
            yield _Lot(
                main=self.main.rows(rows),
                extra=None if self.extra is None else self.extra.rows(rows),
                said_of_main=None if self.said_of_main is None else self.said_of_main.rows(rows),
                said_of_extra=None if self.said_of_extra is None else self.said_of_extra.rows(rows),
            )


@dataclass(kw_only=True)
class Lesson:
    """Everything that one phase of a trial trains with.

    Attributes:
        phase: Its method and rates.
        student: The network or team; put in train mode at the top of every epoch.
        teacher: Frozen, in eval mode; run only while a term that needs it has weight.
        companion: See ``Objective.companion``.
        optimizer: Over both; its rate is set before each step.
        stream: The views; the same in every trial of a search.
        seed: Of whatever the method draws in a step.
        signals: What the terms read of the teacher besides its logits, see ``Objective.signals``.
        shareable: Whether they are small enough to be shared with other trials.
        shared: Where the teacher's outputs come from; None to run it in every step.
        precision: Of the networks' forward passes.
        after_backward: Called between the gradients and the step, e.g. to add a penalty's.
    """

    phase: Phase
    student: nn.Module
    teacher: nn.Module | None
    companion: nn.Module | None
    optimizer: Optimizer
    stream: ViewStream
    seed: int
    signals: tuple[Signal, ...] = ()
    shareable: bool = True
    shared: SharedTeacher | None = None
    precision: Precision = "fp32"
    after_backward: Callable[[], None] = field(default=lambda: None)

    @property
    def objective(self) -> Objective:
        """The method."""
        return self.phase.objective

    def epoch(self, epoch: int) -> EpochResult:
        """Train one epoch, counted from 0 over the whole trial."""
        self.student.train()
        if self.companion is not None:
            self.companion.train()
        moment = self.phase.moment(epoch)
        weights = {name: w for name, w in self.objective.weights(moment).items() if w != 0}
        heard = self._heard(epoch, weights)
        sums: dict[str, Tensor] = {}
        images = 0
        for step, batch in enumerate(self.stream.epoch(epoch)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.phase.rate(epoch + step / self.stream.steps_per_epoch)
            lot, notes = self._lot(batch, weights, partial(_said, heard, step))
            self.optimizer.zero_grad(set_to_none=True)
            for number, part in enumerate(lot.parts(self.phase.micro_batch(epoch))):
                draws = partial(generator, self.seed, "method", epoch, step, *_later(number))
                terms, more = self._terms(part, weights, draws)
                loss = torch.stack([_weight(weights, n) * term for n, term in terms.items()]).sum()
                share = torch.full_like(loss, len(part) / len(lot))
                loss.backward(share)  # type: ignore[no-untyped-call]
                for name, value in {"loss": loss, **terms, **notes, **more}.items():
                    sum_before = sums.get(name, torch.zeros_like(value))
                    sums[name] = sum_before + value.detach() * len(part)
            self.after_backward()
            self.optimizer.step()
            images += len(lot)
        means = {name: value.item() / images for name, value in sums.items()}
        return EpochResult(loss=means.pop("loss"), terms=means, weights=weights, images=images)

    def _heard(self, epoch: int, weights: Mapping[str, float]) -> Heard | None:
        """What the teacher says of this epoch's views, where it is not run in each step."""
        wants = self._wants(weights)
        # In parts of a batch a teacher may round otherwise than on the whole.
        whole = self.phase.micro_batch(epoch) is None
        fixed = self.objective.traits.teacher_bn == "eval"
        if self.shared is None or not (wants and whole and fixed):
            return None
        return self.shared.epoch(epoch, wants, self._look)

    def _wants(self, weights: Mapping[str, float]) -> list[Want]:
        """What of the teacher's outputs depends on it and the stream alone, and is needed."""
        if self.teacher is None or not _distils(weights):
            return []
        policy: Any = self.stream.policy
        asked = not policy.picks or policy.criterion != "student_entropy"
        wants = []
        if policy.picks and not self.stream.plain_too:
            # What the terms read of the half that is picked depends on the student.
            wants += [Want("batch")] if asked else []
        elif not self._reads(weights):
            wants.append(Want("batch"))
        elif self.signals and self.shareable:
            wants.append(Want("batch", self.signals))
        if self.stream.plain_too and asked and self._on_mixed(weights):
            wants.append(Want("mixed"))
        return wants

    def _reads(self, weights: Mapping[str, float]) -> bool:
        """Whether a term reads more of the teacher than its logits."""
        logits_alone = {"ce", *self.objective.traits.on_mixed}
        return bool(self.objective.traits.taps) and any(n not in logits_alone for n in weights)

    def _lot(
        self, batch: Batch, weights: Mapping[str, float], said: Callable[[View], Outputs | None]
    ) -> tuple[_Lot, dict[str, Tensor]]:
        """What of a batch of the stream is trained on, and what is worth noting of the choice."""
        guided = self.teacher is not None and _distils(weights)
        on_mixed = guided and self._on_mixed(weights)
        extra = batch.mixed if on_mixed else None
        if not (self._is_pool(batch) or (self.stream.policy.picks and extra is not None)):
            return _Lot(
                main=batch,
                extra=extra,
                said_of_main=said("batch"),
                said_of_extra=None if extra is None else said("mixed"),
            ), {}
        if extra is None:
            picked = self._pick(batch, said("batch"))
            known = None if self._reads(weights) else picked.said
            return _Lot(main=picked.batch, said_of_main=known), picked.notes
        picked = self._pick(extra, said("mixed"))
        return _Lot(
            main=batch, extra=picked.batch, said_of_main=said("batch"), said_of_extra=picked.said
        ), picked.notes

    def _on_mixed(self, weights: Mapping[str, float]) -> list[str]:
        """The terms that mixed images get besides the plain ones."""
        return [name for name in self.objective.traits.on_mixed if name in weights]

    def _terms(
        self, lot: _Lot, weights: Mapping[str, float], draws: Draws
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The raw terms of a lot or a part of it, and what else is worth noting."""
        distils = _distils(weights)
        guided = self.teacher is not None and distils
        reads = self._reads(weights)
        step = self._step(lot.main, lot.said_of_main, draws, guided=guided, reads=reads)
        terms = {name: self.objective.term(name, step) for name in weights}
        notes = dict(self.objective.notes(step))
        if lot.extra is not None:
            step = self._step(lot.extra, lot.said_of_extra, draws, guided=True, reads=False)
            on_mixed = self._on_mixed(weights)
            terms |= {f"{name}{ON_MIXED}": self.objective.term(name, step) for name in on_mixed}
        if step.teacher is not None and step.batch.partner_labels is not None:
            notes |= label_disagreement(step.teacher.logits, step.batch)
        return terms, notes

    def _step(
        self, batch: Batch, said: Outputs | None, draws: Draws, *, guided: bool, reads: bool
    ) -> Step:
        """Both networks on a batch; ``said`` is what is known of the teacher's outputs."""
        taps = self.objective.traits.taps if reads else ()
        seen = said if guided else None
        if guided and said is None:
            signals = self.signals if reads else ()
            seen = self._look(batch.images, signals, taps=() if signals else taps)
        return Step(
            batch=batch,
            teacher=seen,
            student=self._run(self.student, batch.images, taps),
            companion=self.companion,
            run_student=self._run_student,
            run_teacher=None if self.teacher is None else partial(self._run, self.teacher),
            draws=draws,
        )

    def _run(self, network: nn.Module, images: Tensor, taps: tuple[str, ...] = ()) -> Outputs:
        with in_precision(self.precision, images.device):
            if isinstance(network, Team):
                outputs: Outputs = network(images)
            else:
                outputs = run(network, images, taps)
        return outputs if self.precision == "fp32" else in_float32(outputs)

    def _run_student(self, images: Tensor, *, moving: bool = True) -> Outputs:
        with nullcontext() if moving else batch_statistics(self.student):
            return self._run(self.student, images)

    @torch.no_grad()
    def _look(
        self, images: Tensor, signals: tuple[Signal, ...] = (), *, taps: tuple[str, ...] = ()
    ) -> Outputs:
        """The teacher's logits, those signals and taps, normalised as the method wants them."""
        assert self.teacher is not None
        read = dict.fromkeys([*taps, *(tap for signal in signals for tap in signal.taps)])
        own = self.objective.traits.teacher_bn == "eval"
        with nullcontext() if own else batch_statistics(self.teacher):
            outputs = self._run(self.teacher, images, tuple(read))
        return Outputs(
            logits=outputs.logits,
            taps={tap: outputs.taps[tap] for tap in taps},
            signals={signal.name: signal.make(outputs.taps) for signal in signals},
        )

    def _is_pool(self, batch: Batch) -> bool:
        """Whether ``batch`` itself is what the images to train on are picked from."""
        return self.stream.policy.picks and batch.mixed is None

    def _pick(self, pool: Batch, said: Outputs | None) -> Picked:
        policy: Any = self.stream.policy

        @torch.no_grad()
        def ask_student(images: Tensor) -> Tensor:
            return self._run_student(images, moving=False).logits

        return pick(
            pool,
            criterion=policy.criterion,
            student=ask_student,
            teacher=lambda images: (said or self._look(images)).logits,
            temperature=getattr(self.objective, "temperature", 1.0),
        )


def _said(heard: Heard | None, step: int, view: View) -> Outputs | None:
    return None if heard is None else heard.of(step, view)


def _distils(weights: Mapping[str, float]) -> bool:
    return any(name != "ce" for name in weights)


def _later(number: int) -> tuple[int, ...]:
    """Names the draws of a part; the first one's are those of a whole batch."""
    return (number,) if number else ()


def _is_term(name: str, weights: Mapping[str, float]) -> bool:
    return name.removesuffix(ON_MIXED) in weights


def _weight(weights: Mapping[str, float], term: str) -> float:
    return weights[term.removesuffix(ON_MIXED)]
