"""Contrastive representation distillation (Tian et al., 2020, arXiv:1910.10699)."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from kdtune.contracts import Moment, Pair, Signal, Step
from kdtune.objectives.base import OBJECTIVES
from kdtune.objectives.gram import at_least_float32
from kdtune.objectives.guided import Guided

TAP = "pooled"
POOLED = Signal(name=TAP, taps=(TAP,), make=lambda taps: taps[TAP])


def similarity_scores(
    embeddings: Tensor, bank: Tensor, index: Tensor, temperature: float
) -> Tensor:
    """``exp(bank[index] . embedding / temperature)``, not normalised.

    The products with the whole bank are computed and those of ``index`` picked: ``B * N`` numbers
    where fetching the rows would move ``B * (1 + K) * dim``, 40 times slower on a CPU.

    Args:
        embeddings: ``(B, dim)``, of unit length.
        bank: ``(N, dim)``; receives no gradient.
        index: ``(B, 1 + K)`` int64, rows of the bank.
        temperature: Dimensionless, > 0; the paper uses 0.07.

    Returns:
        ``(B, 1 + K)``, > 0, in float32 at least, outside autocast.

    Raises:
        ValueError: If ``temperature <= 0`` or the shapes do not fit.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    fit = embeddings.ndim == bank.ndim == index.ndim == 2
    if not fit or embeddings.shape[1] != bank.shape[1] or len(embeddings) != len(index):
        raise ValueError(
            "embeddings, bank and index must be (B, dim), (N, dim) and (B, 1 + K), got "
            f"{tuple(embeddings.shape)}, {tuple(bank.shape)} and {tuple(index.shape)}"
        )
    embeddings = at_least_float32(embeddings)
    with torch.autocast(embeddings.device.type, enabled=False):
        products = embeddings @ bank.detach().T
    return (products.gather(1, index) / temperature).exp()


def contrast_loss(scores: Tensor, samples: int) -> Tensor:
    """Noise-contrastive loss of one side: is a pair of the same sample, or one of K by chance?

    With ``c = K / N``, the batch mean of
    ``-log(o_0 / (o_0 + c + 1e-7)) - sum over k of log(c / (o_k + c + 1e-7))``.

    Args:
        scores: ``o``, ``(B, 1 + K)``, >= 0, already divided by the constant Z; the sample itself
            is in column 0.
        samples: ``N``, the size of the training split.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ValueError: If there is no column of negatives or ``samples < 1``.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores must be (B, 1 + K) with K >= 1, got {tuple(scores.shape)}")
    if samples < 1:
        raise ValueError(f"samples must be >= 1, got {samples}")
    scores = at_least_float32(scores)
    positive, negatives = scores[:, 0], scores[:, 1:]
    chance = negatives.shape[1] / samples
    log_own = (positive / (positive + chance + 1e-7)).log()
    # The logarithm of c / (o + c + 1e-7): nearly all are close to 0, where log1p is exact.
    log_others = -torch.log1p((negatives + 1e-7) / chance)
    return -(log_own + log_others.sum(dim=1)).mean()


def moved_rows(rows: Tensor, embeddings: Tensor, momentum: float) -> Tensor:
    """``momentum * rows + (1 - momentum) * embeddings``, brought to unit length; no gradient.

    Args:
        rows: ``(B, dim)`` of a bank.
        embeddings: ``(B, dim)``, the new ones of the same samples.
        momentum: Share of the old, in [0, 1).
    """
    mixed = momentum * rows + (1 - momentum) * embeddings.detach()
    return functional.normalize(mixed, dim=1, eps=1e-12)


class OtherClasses:
    """Draws training samples of other classes than a given sample's.

    Args:
        labels: ``(N,)`` int64, of two classes at least.
    """

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels.cpu().numpy()
        self._by_class = np.argsort(self._labels, kind="stable")
        self._counts = np.bincount(self._labels)
        self._starts = np.cumsum(self._counts) - self._counts

    def draw(self, index: Tensor, *, count: int, generator: torch.Generator) -> Tensor:
        """``(B, count)`` int64 positions, each row uniform over the samples of other classes.

        No position comes twice in a row, unless there are fewer than ``count`` to choose from;
        then they are drawn with replacement. Rows are independent.

        Args:
            index: ``(B,)`` int64, the samples.
            count: Draws for each, >= 1.
            generator: Of the CPU; it gives one number.

        Returns:
            On the device of ``index``.
        """
        # NumPy draws a subset several times faster than torch, and without sorting all N.
        seed = torch.randint(2**63 - 1, (), generator=generator).item()
        draws = np.random.default_rng(int(seed))
        rows = [self._row(label, count, draws) for label in self._labels[index.cpu().numpy()]]
        return torch.from_numpy(np.stack(rows)).to(index.device)

    def _row(self, label: int, count: int, draws: np.random.Generator) -> np.ndarray:
        start, own = self._starts[label], self._counts[label]
        others = len(self._by_class) - own
        row = draws.choice(others, count, replace=count > others, shuffle=False)
        row += own * (row >= start)  # steps over the block of the sample's own class
        return self._by_class[row]


class ContrastMemory(nn.Module):
    """Two embeddings, and what every training sample's were when it was last seen.

    Args:
        student_width: ``D_s`` of the student's pooled features.
        teacher_width: ``D_t`` of the teacher's.
        labels: ``(N,)`` int64 of the training split.
        dim: Of the embeddings.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    student_total: Tensor
    teacher_total: Tensor

    def __init__(self, *, student_width: int, teacher_width: int, labels: Tensor, dim: int) -> None:
        super().__init__()
        self.embed_student = nn.Linear(student_width, dim)
        self.embed_teacher = nn.Linear(teacher_width, dim)
        self.others = OtherClasses(labels)
        bound = math.sqrt(3 / dim)  # rows of about unit length
        for side in ("student", "teacher"):
            bank = torch.empty(len(labels), dim).uniform_(-bound, bound)
            self.register_buffer(f"{side}_bank", bank)
            # The constant Z that scores are divided by; 0 until the first batch has set it.
            self.register_buffer(f"{side}_total", torch.zeros(()))

    @property
    def samples(self) -> int:
        """``N``."""
        return len(self.student_bank)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, D_s)`` and ``(B, D_t)`` to embeddings ``(B, dim)`` of unit length."""
        ours, theirs = self.embed_student(student), self.embed_teacher(teacher.detach())
        return (
            functional.normalize(at_least_float32(ours), dim=1, eps=1e-12),
            functional.normalize(at_least_float32(theirs), dim=1, eps=1e-12),
        )

    def fix_totals(self, student_scores: Tensor, teacher_scores: Tensor) -> None:
        """Z = ``N`` times the mean score, of the first batch for good."""
        self.student_total = self._fixed(self.student_total, student_scores)
        self.teacher_total = self._fixed(self.teacher_total, teacher_scores)

    def _fixed(self, total: Tensor, scores: Tensor) -> Tensor:
        return torch.where(total > 0, total, scores.detach().mean() * self.samples)

    def remember(self, index: Tensor, student: Tensor, teacher: Tensor, *, momentum: float) -> None:
        """Move the rows of a batch towards its embeddings.

        Into new tensors: the gradients of the step still need the banks as they were.

        Args:
            index: ``(B,)`` int64; of a sample that is there twice the last one counts.
            student: ``(B, dim)``.
            teacher: ``(B, dim)``.
            momentum: See :func:`moved_rows`.
        """
        places = torch.arange(len(index), device=index.device)
        # Twins write the same values, so that no device has to choose between them.
        last = index.new_zeros(self.samples).scatter_reduce(0, index, places, "amax")[index]
        self.student_bank = self.student_bank.index_copy(
            0, index, moved_rows(self.student_bank[index], student[last], momentum)
        )
        self.teacher_bank = self.teacher_bank.index_copy(
            0, index, moved_rows(self.teacher_bank[index], teacher[last], momentum)
        )


@OBJECTIVES.register("crd")
class ContrastiveRepresentation(Guided):
    """``CE + beta * contrast``, of each network's embeddings with the memory of the other's.

    The combination with soft labels that RepDistiller runs is ``alpha=1, ce_weight=1``.
    ``nce_temperature`` belongs to the contrast, ``temperature`` to soft labels.
    """

    zero_at_match: ClassVar[bool] = False
    sample_mean: ClassVar[bool] = False

    beta: Annotated[float, Field(ge=0)] = 0.8
    dim: Annotated[int, Field(ge=1)] = 128
    negatives: Annotated[int, Field(ge=1)] = 16384
    # Below, the exponential of 1 / temperature leaves float32.
    nce_temperature: Annotated[float, Field(ge=0.02)] = 0.07
    bank_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def own_taps(self) -> tuple[str, ...]:
        return (TAP,)

    def own_weights(self, moment: Moment) -> Mapping[str, float]:
        return {"crd": self.beta}

    def check(self, pair: Pair) -> None:
        student, teacher = pair.student[TAP].shape, pair.teacher[TAP].shape
        if len(student) != 1 or len(teacher) != 1:
            raise ValueError(
                f"crd embeds pooled vectors (D,), got {student} of the student and {teacher} of "
                "the teacher"
            )
        present = torch.unique(pair.labels)
        if len(present) < 2:
            raise ValueError(
                "crd contrasts a sample with those of other classes, but the "
                f"{len(pair.labels)} training samples have the labels {present.tolist()} alone"
            )

    def companion(self, moment: Moment, pair: Pair) -> nn.Module:
        return ContrastMemory(
            student_width=pair.student[TAP].shape[0],
            teacher_width=pair.teacher[TAP].shape[0],
            labels=pair.labels,
            dim=self.dim,
        )

    def signals(self, pair: Pair) -> tuple[Signal, ...]:
        return (POOLED,)

    def own_term(self, name: str, step: Step) -> Tensor:
        """The contrast of both sides; it moves the memory, so it is asked for once a step."""
        assert step.draws is not None
        memory = step.companion
        assert isinstance(memory, ContrastMemory)
        own = step.batch.index
        others = memory.others.draw(own, count=self.negatives, generator=step.draws("negatives"))
        index = torch.cat([own[:, None], others], dim=1)
        student, teacher = memory(step.student.taps[TAP], step.of_teacher(POOLED))
        # Crosswise: an embedding of one network against what the other one said.
        student_scores = similarity_scores(
            student, memory.teacher_bank, index, self.nce_temperature
        )
        teacher_scores = similarity_scores(
            teacher, memory.student_bank, index, self.nce_temperature
        )
        memory.fix_totals(student_scores, teacher_scores)
        loss = contrast_loss(student_scores / memory.student_total, memory.samples)
        loss = loss + contrast_loss(teacher_scores / memory.teacher_total, memory.samples)
        memory.remember(own, student, teacher, momentum=self.bank_momentum)
        return loss
