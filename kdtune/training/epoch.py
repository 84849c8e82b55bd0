"""One training epoch, for any method."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdtune.contracts import Batch, Outputs, Step
from kdtune.models import run
from kdtune.objectives import Objective, Team
from kdtune.seeds import generator
from kdtune.training.batch_norm import batch_statistics
from kdtune.training.pick import Picked, label_disagreement, pick
from kdtune.training.plan import Phase
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
        said_of_main: ``(B, classes)``, the teacher's logits where they are known already.
        said_of_extra: The same of ``extra``.
    """

    main: Batch
    extra: Batch | None = None
    said_of_main: Tensor | None = None
    said_of_extra: Tensor | None = None

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
                said_of_main=None if self.said_of_main is None else self.said_of_main[rows],
                said_of_extra=None if self.said_of_extra is None else self.said_of_extra[rows],
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
        after_backward: Called between the gradients and the step, e.g. to add a penalty's.
    """

    phase: Phase
    student: nn.Module
    teacher: nn.Module | None
    companion: nn.Module | None
    optimizer: Optimizer
    stream: ViewStream
    seed: int
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
        sums: dict[str, Tensor] = {}
        images = 0
        for step, batch in enumerate(self.stream.epoch(epoch)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.phase.rate(epoch + step / self.stream.steps_per_epoch)
            lot, notes = self._lot(batch, weights)
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

    def _lot(self, batch: Batch, weights: Mapping[str, float]) -> tuple[_Lot, dict[str, Tensor]]:
        """What of a batch of the stream is trained on, and what is worth noting of the choice."""
        guided = self.teacher is not None and _distils(weights)
        on_mixed = guided and self._on_mixed(weights)
        extra = batch.mixed if on_mixed else None
        if not (self._is_pool(batch) or (self.stream.policy.picks and extra is not None)):
            return _Lot(main=batch, extra=extra), {}
        picked = self._pick(batch if extra is None else extra)
        notes = {} if picked.kld_ratio is None else {"mean_kld_ratio": picked.kld_ratio}
        if extra is None:
            return _Lot(main=picked.batch, said_of_main=picked.teacher_logits), notes
        return _Lot(main=batch, extra=picked.batch, said_of_extra=picked.teacher_logits), notes

    def _on_mixed(self, weights: Mapping[str, float]) -> list[str]:
        """The terms that mixed images get besides the plain ones."""
        return [name for name in self.objective.traits.on_mixed if name in weights]

    def _terms(
        self, lot: _Lot, weights: Mapping[str, float], draws: Draws
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The raw terms of a lot or a part of it, and what else is worth noting."""
        distils = _distils(weights)
        guided = self.teacher is not None and distils
        taps = self.objective.traits.taps if distils else ()
        step = self._step(lot.main, taps, lot.said_of_main, draws, guided=guided)
        terms = {name: self.objective.term(name, step) for name in weights}
        notes = dict(self.objective.notes(step))
        if lot.extra is not None:
            step = self._step(lot.extra, (), lot.said_of_extra, draws, guided=True)
            on_mixed = self._on_mixed(weights)
            terms |= {f"{name}{ON_MIXED}": self.objective.term(name, step) for name in on_mixed}
        if step.teacher is not None and step.batch.partner_labels is not None:
            notes |= label_disagreement(step.teacher.logits, step.batch)
        return terms, notes

    def _step(
        self,
        batch: Batch,
        taps: tuple[str, ...],
        said: Tensor | None,
        draws: Draws,
        *,
        guided: bool,
    ) -> Step:
        """Both networks on a batch; ``said`` are the teacher's logits where they are known."""
        seen = None
        if guided:
            known = None if taps else said
            seen = self._look(batch.images, taps) if known is None else Outputs(logits=known)
        return Step(
            batch=batch,
            teacher=seen,
            student=_run(self.student, batch.images, taps),
            companion=self.companion,
            run_student=self._run_student,
            run_teacher=None if self.teacher is None else partial(_run, self.teacher, taps=()),
            draws=draws,
        )

    def _run_student(self, images: Tensor, *, moving: bool = True) -> Outputs:
        with nullcontext() if moving else batch_statistics(self.student):
            return _run(self.student, images, ())

    @torch.no_grad()
    def _look(self, images: Tensor, taps: tuple[str, ...] = ()) -> Outputs:
        """The teacher's outputs, normalised as the method wants them."""
        assert self.teacher is not None
        if self.objective.traits.teacher_bn == "eval":
            return run(self.teacher, images, taps)
        with batch_statistics(self.teacher):
            return run(self.teacher, images, taps)

    def _is_pool(self, batch: Batch) -> bool:
        """Whether ``batch`` itself is what the images to train on are picked from."""
        return self.stream.policy.picks and batch.mixed is None

    def _pick(self, pool: Batch) -> Picked:
        policy: Any = self.stream.policy

        @torch.no_grad()
        def ask_student(images: Tensor) -> Tensor:
            return self._run_student(images, moving=False).logits

        return pick(
            pool,
            criterion=policy.criterion,
            student=ask_student,
            teacher=lambda images: self._look(images).logits,
            temperature=getattr(self.objective, "temperature", 1.0),
        )


def _run(network: nn.Module, images: Tensor, taps: tuple[str, ...]) -> Outputs:
    if isinstance(network, Team):
        outputs: Outputs = network(images)
        return outputs
    return run(network, images, taps)


def _distils(weights: Mapping[str, float]) -> bool:
    return any(name != "ce" for name in weights)


def _later(number: int) -> tuple[int, ...]:
    """Names the draws of a part; the first one's are those of a whole batch."""
    return (number,) if number else ()


def _is_term(name: str, weights: Mapping[str, float]) -> bool:
    return name.removesuffix(ON_MIXED) in weights


def _weight(weights: Mapping[str, float], term: str) -> float:
    return weights[term.removesuffix(ON_MIXED)]
