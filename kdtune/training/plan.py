"""What a trial does when, as data: the phases that its configuration asks for."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from kdtune.config import TrainSettings, TrialConfig
from kdtune.contracts import Moment, Warmup
from kdtune.objectives import OBJECTIVES, Objective
from kdtune.training.schedules import first_drop, learning_rate

Name = Literal["warmup", "train", "finetune"]
Guide = Literal["teacher", "unpruned", "nobody"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of epochs of one trial; each starts with a fresh optimiser and companion.

    Attributes:
        name: ``warmup`` before the schedule, ``train``, or ``finetune`` after pruning.
        start: First epoch of the trial, counted from 0.
        stop: One past the last epoch.
        objective: What is minimised.
        guide: Who teaches; ``unpruned`` is the student as it was right before pruning.
        train: Its learning rates, counted from ``origin``.
        origin: The epoch of the trial that ``train`` counts as its epoch 0.
        lr: A constant rate in place of them; None for the schedule's.
    """

    name: Name
    start: int
    stop: int
    objective: Objective
    guide: Guide
    train: TrainSettings
    origin: int = 0
    lr: float | None = None

    @property
    def prunes(self) -> bool:
        """Whether the student is pruned before the first epoch."""
        return self.name == "finetune"

    def moment(self, epoch: int) -> Moment:
        """Where the method is in ``epoch`` of the trial."""
        return Moment(
            phase=self.name,
            epoch=epoch - self.origin,
            epochs=self.train.epochs,
            first_drop=first_drop(self.train),
        )

    def rate(self, epoch: float) -> float:
        """The learning rate at a fractional epoch of the trial."""
        return learning_rate(self.train, epoch - self.origin) if self.lr is None else self.lr

    def micro_batch(self, epoch: int) -> int | None:
        """How many images of a batch are trained on at a time in ``epoch``; None for all."""
        return self.train.micro_batch if epoch >= (self.train.micro_batch_from or 0) else None


class _Task(NamedTuple):
    objective: Objective
    guide: Guide


def phases(config: TrialConfig) -> tuple[Phase, ...]:
    """The phases of a trial, in order, without gaps.

    A method with a warm-up trains it first; those epochs come on top of ``train.epochs``. With
    ``prune_ratio`` > 0 the student is trained for the share ``prune.at`` of the epochs, then
    pruned, then fine-tuned for the rest, at the rates of the same schedule or at ``prune.lr``.
    A run of a single epoch is pruned before it. ``prune.phase`` says which of the two stretches
    distils; the other minimises cross entropy. ``train.snapshots`` ends the training with the
    last of them.
    """
    epochs = config.train.epochs
    first, then = _tasks(config)
    last = config.train.published[-1]
    cut = min(epochs - 1, max(1, round(config.prune.at * epochs))) if then else last
    warmup = first.objective.warmup(epochs) if cut else None
    lead = warmup.epochs if warmup else 0
    plan = []
    if warmup:
        slow = _warmup_settings(config.train, warmup)
        plan.append(_phase("warmup", 0, lead, first, slow, origin=0))
    if cut:
        plan.append(_phase("train", lead, lead + cut, first, config.train, origin=lead))
    if then:
        tuned = _phase("finetune", lead + cut, lead + epochs, then, config.train, origin=lead)
        plan.append(replace(tuned, lr=config.prune.lr))
    return tuple(plan)


def phase_at(plan: tuple[Phase, ...], epoch: int) -> Phase:
    """The phase that ``epoch`` (from 0) belongs to."""
    return next(phase for phase in plan if phase.start <= epoch < phase.stop)


def _tasks(config: TrialConfig) -> tuple[_Task, _Task | None]:
    """What is trained before pruning and after it; without pruning there is no after."""
    distil = _Task(config.objective, "nobody" if config.teacher is None else "teacher")
    labels = _Task(OBJECTIVES.get("scratch")(), "nobody")
    if config.prune_ratio == 0:
        return distil, None
    match config.prune.phase:
        case "pre_distill":
            return distil, labels
        case "post_distill":
            return labels, distil
        case "pre_post":
            return distil, distil
        case "self_distill":
            return distil, _Task(config.objective, "unpruned")
    # "finetune" of a method without a teacher keeps its own terms (smoothed labels, for one).
    return (distil, distil) if config.teacher is None else (labels, labels)


def _phase(
    name: Name, start: int, stop: int, task: _Task, train: TrainSettings, *, origin: int
) -> Phase:
    return Phase(
        name=name,
        start=start,
        stop=stop,
        objective=task.objective,
        guide=task.guide,
        train=train,
        origin=origin,
    )


def _warmup_settings(train: TrainSettings, warmup: Warmup) -> TrainSettings:
    return train.model_copy(
        update={
            "epochs": warmup.epochs,
            "lr": warmup.lr,
            "schedule": "step",
            "milestones": ",".join(map(str, warmup.milestones)),
            "lr_factor": warmup.lr_factor,
            "warmup_epochs": 0,
        }
    )
