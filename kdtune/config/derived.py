"""Configurations that follow from another: its teacher's, and the same without distillation."""

from collections.abc import Iterable, Sequence

from kdtune.config.errors import ConfigError
from kdtune.config.keys import chosen, routes
from kdtune.config.parsing import SHORTCUTS, parse
from kdtune.config.sections import TrialConfig
from kdtune.contracts import FlatConfig, Scalar
from kdtune.views import AUGMENTS


def teacher_trial(config: TrialConfig) -> TrialConfig:
    """The trial that trains ``config``'s teacher: a student without a teacher of its own.

    Raises:
        ConfigError: If the method has no teacher, or its weights come from a file.
    """
    teacher = config.teacher
    if teacher is None or teacher.epochs is None:
        raise ConfigError(f"there is no teacher to train for method '{config.method}'")
    snapshot = teacher.early_stop == "snapshot"
    short = teacher.stops_early and not snapshot
    shared = {key: value for key, value in config.flat().items() if key.startswith("data.")}
    options = {f"augment.{key}": value for key, value in teacher.views.model_dump().items()}
    return parse(
        {
            **shared,
            "role": "teacher",
            "teacher.store": config.store,
            "dataset": config.dataset,
            "student": teacher.model,
            "method": "scratch",
            "method.label_smoothing": teacher.label_smoothing,
            "seed": teacher.seed,
            "augment": teacher.augment,
            **options,
            "train.epochs": teacher.epochs if short else teacher.full_epochs,
            "train.snapshots": str(teacher.epochs) if snapshot else "",
            "train.batch_size": teacher.batch_size,
            "train.lr": teacher.lr,
            "train.momentum": teacher.momentum,
            "train.nesterov": teacher.nesterov,
            "train.weight_decay": teacher.weight_decay,
            "train.schedule": "early_stop" if short else "step",
            "train.milestones": teacher.milestones,
            "train.lr_factor": teacher.lr_factor,
            "train.threads": config.train.threads,
            "train.device": config.train.device,
        }
    )


def as_finalist(flat: FlatConfig, changes: FlatConfig) -> dict[str, Scalar]:
    """The same trial as one that is tested and kept: its teacher runs in every step, in float32.

    Args:
        flat: Of a trial.
        changes: Further keys to set.
    """
    return {**{k: v for k, v in flat.items() if k not in SHORTCUTS}, "role": "finalist", **changes}


def publishing(trial: TrialConfig, epochs: Sequence[int]) -> TrialConfig:
    """The same training, which publishes its network after ``epochs`` and ends with the last.

    Args:
        trial: Of a teacher.
        epochs: Rising; of one alone the trial is what identifies that teacher.
    """
    whole = tuple(epochs) == (trial.train.epochs,)
    text = "" if whole else ",".join(map(str, epochs))
    return parse({**trial.flat(), "train.snapshots": text})


def apart(trial: TrialConfig) -> list[TrialConfig]:
    """A trial for each teacher that ``trial`` publishes, the earliest first."""
    return [publishing(trial, (epochs,)) for epochs in trial.train.published]


def together(trials: Iterable[TrialConfig]) -> list[TrialConfig]:
    """As few trainings as publish all these teachers: snapshots of one run share it."""
    runs: dict[str, list[TrialConfig]] = {}
    for trial in trials:
        runs.setdefault(repr(publishing(trial, (trial.train.epochs,))), []).append(trial)
    return [
        publishing(run[0], sorted({epochs for trial in run for epochs in trial.train.published}))
        for run in runs.values()
    ]


def without_teacher(flat: FlatConfig) -> dict[str, Scalar]:
    """The same trial trained on labels alone: no distillation, no teacher, all else equal.

    What only distillation gives a meaning is left to its default: the phase of pruning, and mixed
    images beside the plain ones. A policy that picks images asks the student alone.
    """
    choice = chosen(flat)
    found = routes(choice)
    gone = ("teacher", "teacher_views", "objective")
    given = {key: value for key, value in flat.items() if value is not None}
    # A key that does not exist stays, for the parser to refuse.
    kept = {k: v for k, v in given.items() if k not in found or found[k].section not in gone}
    for key in ("augment.batches", "prune.phase"):
        kept.pop(key, None)
    assert choice.augment is not None
    if AUGMENTS.get(choice.augment).picks:
        kept["augment.criterion"] = "student_entropy"
    return {**kept, "method": "scratch"}
