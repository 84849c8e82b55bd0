"""How closely students follow their teachers (Cho and Hariharan, 2019, arXiv:1910.01348)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, get_args

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from kdtune.analysis.base import ANALYSES, Analysis, Item, Measured, Presented, Subject, Table
from kdtune.analysis.figures import label, panels
from kdtune.analysis.reading import Answers, SplitName, answers, split_of
from kdtune.analysis.replicates import replicates
from kdtune.analysis.side_by_side import (
    SAMPLES,
    Column,
    circumstances,
    dots,
    dots_height,
    dots_legend,
    named,
    over_seeds,
)
from kdtune.config import TrialConfig
from kdtune.contracts import Scalar
from kdtune.objectives.soft_labels import soft_label_kl
from kdtune.registry import nearest
from kdtune.training.evaluate import agreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS: tuple[SplitName, ...] = get_args(SplitName)
TEMPERATURE = 4.0
"""Of the paper; that of the loss where neither the run nor the user names one."""


def kd_error(student_logits: Tensor, teacher_logits: Tensor) -> float:
    """Share of samples for which student and teacher name different classes (section 5.2, T2).

    Args:
        student_logits: ``(n, C)``, n >= 1.
        teacher_logits: ``(n, C)``.

    Returns:
        In [0, 1]; the labels play no part.

    Raises:
        ValueError: If the shapes differ, are not ``(n, C)``, or there is no sample.
    """
    _check(student_logits, teacher_logits)
    apart = student_logits.argmax(dim=1).ne(teacher_logits.argmax(dim=1))
    return int(apart.sum()) / len(apart)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> float:
    """Mean of KL(teacher || student) at ``temperature``, times its square, without a weight (T3).

    Args:
        student_logits: ``(n, C)``, n >= 1.
        teacher_logits: ``(n, C)``.
        temperature: Dimensionless, > 0.

    Returns:
        Nats, >= 0, in float64.

    Raises:
        ValueError: If ``temperature <= 0``, or as :func:`kd_error`.
    """
    _check(student_logits, teacher_logits)
    return soft_label_kl(student_logits.double(), teacher_logits, temperature).item()


def ce_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross entropy with the labels, without a weight (T3).

    Args:
        logits: ``(n, C)``, n >= 1.
        labels: ``(n,)`` int64.

    Returns:
        Nats, >= 0, in float64.

    Raises:
        ValueError: If the shapes do not fit or there is no sample.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            "logits and labels must be (n, C) and (n,) with n >= 1, got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    return functional.cross_entropy(logits.double(), labels).item()


def _check(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise ValueError(
            "student and teacher logits must both be (n, C), got "
            f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        )
    if not len(student_logits):
        raise ValueError("student and teacher logits must be of at least one sample, got none")


@ANALYSES.register("kd_error")
class KDError(Analysis):
    """How far finished students are from their teachers, split by split (section 5.2, T2 and T3).

    Per split: ``kd_error``, ``agreement``, ``student_error`` and ``teacher_error`` are shares in
    [0, 1]; ``kd_loss`` (times T^2) and ``ce_loss`` are unweighted means in nats. T3 prints cross
    entropies of 0.12 to 0.15 for networks with an error of 30 %, about a tenth of what one would
    expect, as if they were weighted by 0.1.

    Attributes:
        splits: Comma-separated; the paper looks at train and test.
        temperature: Of ``kd_loss``, for all runs; 0 for the one that each was trained at.
    """

    summary: ClassVar[str] = "How often, and by how much, students and teachers disagree"
    source: ClassVar[str] = "cho2019 T2, T3"
    needs_teacher: ClassVar[bool] = True

    splits: str = "train,val,test"
    temperature: Annotated[float, Field(ge=0)] = 0.0

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, text: str) -> str:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in SPLITS:
                raise ValueError(f"unknown split '{name}'{nearest(name, SPLITS)}")
        if len(set(names)) < len(names):
            raise ValueError(f"splits must be named once each, got '{text}'")
        return ",".join(split for split in SPLITS if split in names)

    @property
    def chosen(self) -> tuple[SplitName, ...]:
        """The splits, in the order train, val, test."""
        return tuple(split for split in SPLITS if split in self.splits.split(","))

    def temperature_for(self, config: TrialConfig) -> float:
        """The temperature of the loss of a run, > 0."""
        return self.temperature or float(getattr(config.objective, "temperature", TEMPERATURE))

    def measure(self, subject: Subject, peers: Sequence[Subject] = ()) -> Measured:
        if subject.teacher is None:
            raise ValueError(
                f"kd_error compares a student with its teacher, and '{subject.label}' has none; "
                "leave it out"
            )
        temperature = self.temperature_for(subject.config)
        numbers: dict[str, float] = {}
        samples = []
        for split in self.chosen:
            images = split_of(subject.dataset, split)
            student, teacher = (
                answers(model, subject, images) for model in (subject.student, subject.teacher)
            )
            of_split = _compared(student, teacher, temperature)
            numbers |= {f"{name}/{split}": value for name, value in of_split.items()}
            samples.append(len(images))
        return Measured(numbers=numbers, arrays={SAMPLES: np.array(samples)})

    def present(self, items: Sequence[Item]) -> Presented:
        notes = [*circumstances(items, self.chosen), *self._losses_explained(items)]
        return Presented(
            tables=[
                _as_table_2(items, self.chosen, notes),
                self._as_table_3(items, notes),
                self._split_by_split(items, notes),
                *over_seeds(items, [*_errors(self.chosen), *_losses(self.chosen)], notes),
            ],
            figures={"kd_error": _figure(items, self.chosen)},
        )

    def _as_table_3(self, items: Sequence[Item], notes: Sequence[str]) -> Table:
        first, last = self.chosen[0], self.chosen[-1]
        columns = [
            Column(head=f"Top-1 error (%, {last})", metric=f"student_error/{last}", scale=100),
            Column(head=f"CE ({first})", metric=f"ce_loss/{first}"),
            *_losses(self.chosen),
        ]
        return Table(
            title="Errors of the students, and their losses in nats, laid out as cho2019's table 3",
            columns=["Run", "Teacher", "Method", "T", *(column.head for column in columns)],
            rows=[
                [
                    item.label,
                    _teacher(item),
                    item.config.method,
                    self.temperature_for(item.config),
                    *(column.of(item) for column in columns),
                ]
                for item in items
            ],
            notes=notes,
        )

    def _split_by_split(self, items: Sequence[Item], notes: Sequence[str]) -> Table:
        shares = ("student_error", "teacher_error", "kd_error", "agreement")
        rows: list[list[Scalar]] = []
        for item in items:
            for place, split in enumerate(self.chosen):
                number = {
                    name: item.measured.numbers[f"{name}/{split}"]
                    for name in (*shares, "ce_loss", "kd_loss")
                }
                percents = [100 * number[name] for name in shares]
                count = int(item.measured.arrays[SAMPLES][place])
                losses = (number["ce_loss"], number["kd_loss"])
                rows.append([item.label, split, count, *percents, *losses])
        heads = ["Student error (%)", "Teacher error (%)", "KD error (%)", "Agreement (%)"]
        return Table(
            title="Students and teachers on each split, losses in nats",
            columns=["Run", "Split", "n", *heads, "CE", "KD"],
            rows=rows,
            notes=notes,
        )

    def _losses_explained(self, items: Sequence[Item]) -> list[str]:
        formula = "CE and KD are unweighted means; KD is T^2 * KL(teacher || student) at T"
        if self.temperature:
            return [f"{formula}, with T = {self.temperature:g} for all runs, as asked."]
        notes = [f"{formula}, the run's own temperature."]
        silent = [item.label for item in items if not _softens(item.config)]
        if silent:
            notes.append(f"Trained without soft labels, so that T is a default: {named(silent)}.")
        if len({self.temperature_for(item.config) for item in items}) > 1:
            notes.append(
                "KD losses at different T do not compare; the option temperature sets one."
            )
        return notes


def _compared(student: Answers, teacher: Answers, temperature: float) -> dict[str, float]:
    """The numbers of one split."""
    return {
        "kd_error": kd_error(student.logits, teacher.logits),
        "agreement": agreement(student.logits, teacher.top1),
        "kd_loss": kd_loss(student.logits, teacher.logits, temperature),
        "ce_loss": ce_loss(student.logits, student.labels),
        "student_error": _error(student),
        "teacher_error": _error(teacher),
    }


def _error(said: Answers) -> float:
    return int(said.top1.ne(said.labels).sum()) / len(said.labels)


def _softens(config: TrialConfig) -> bool:
    """Whether the run's method trains at a temperature."""
    method = config.objective
    return hasattr(method, "temperature") and getattr(method, "alpha", 1.0) > 0


def _teacher(item: Item) -> str:
    assert item.config.teacher is not None
    return item.config.teacher.model


def _errors(splits: Sequence[SplitName]) -> list[Column]:
    return [
        Column(head=f"KD error (%, {split})", metric=f"kd_error/{split}", scale=100)
        for split in splits
    ]


def _losses(splits: Sequence[SplitName]) -> list[Column]:
    return [Column(head=f"KD ({split})", metric=f"kd_loss/{split}") for split in splits]


def _as_table_2(items: Sequence[Item], splits: Sequence[SplitName], notes: Sequence[str]) -> Table:
    columns = _errors(splits)
    return Table(
        title="How often students and teachers name different classes, laid out as cho2019's "
        "table 2, in percent",
        columns=["Run", "Student", "Teacher", *(column.head for column in columns)],
        rows=[
            [item.label, item.config.student, _teacher(item), *(c.of(item) for c in columns)]
            for item in items
        ],
        notes=notes,
    )


def _figure(items: Sequence[Item], splits: Sequence[SplitName]) -> "Figure":
    groups = replicates(items)
    figure, ((errors, losses),) = panels(
        columns=2,
        title="How far students are from their teachers on what they learned from, and elsewhere",
        size=(4.6, dots_height(groups)),
        share_y=True,
    )
    by_split = [
        Column(head=split, metric=column.metric, scale=column.scale)
        for split, column in zip(splits, _errors(splits), strict=True)
    ]
    dots(errors, groups, by_split)
    label(errors, x="KD error (% of images)", y="", title="Other class than the teacher's")
    dots(losses, groups, _losses(splits))
    label(losses, x="KD loss, T² · KL (nats)", y="", title="Distance of the softened outputs")
    dots_legend(figure, errors, groups)
    return figure
