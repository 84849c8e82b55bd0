"""Finished runs, loaded as analyses look at them."""

from dataclasses import dataclass

import torch
from torch import nn

from kdtune.analysis import Subject
from kdtune.config import TrialConfig, teacher_trial
from kdtune.search.finished_runs import FinishedRun
from kdtune.students import load_student
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.data import load_trial_data
from kdtune.training.device import resolve_device
from kdtune.training.layout import arranged
from kdtune.training.teacher import identity_of, obtain_teacher, stored_teacher
from kdtune.training.trial import Trial


def load_subject(run: FinishedRun, device: torch.device) -> Subject:
    """Networks and data of a run.

    Raises:
        ValueError: If the student is damaged, the teacher is not in its store any more, or the
            data are not those of the run.
        FileNotFoundError: If the data are gone.
    """
    student, _ = load_student(run.student)
    return Subject(
        label=run.label,
        config=run.config,
        student=_frozen(arranged(student, device)),
        teacher=_teacher(run.config, device),
        dataset=load_trial_data(run.config),
        device=device,
        history={
            name: [(point.epoch, point.value) for point in points]
            for name, points in run.record.history.items()
        },
        at_epoch=TrainedAgain(config=run.config, device=device),
    )


@dataclass(frozen=True, kw_only=True)
class TrainedAgain:
    """See ``Subject.at_epoch``: a trial is a function of its configuration, epoch by epoch."""

    config: TrialConfig
    device: torch.device

    def __call__(self, epoch: int) -> nn.Module:
        threads = torch.get_num_threads()
        try:
            trial = Trial(self.config)
            while trial.epoch < epoch and not trial.finished:
                trial.next_epoch()
        finally:
            torch.set_num_threads(threads)
        if trial.epoch != epoch or epoch < 0:
            raise ValueError(f"epochs must be in [0, {trial.epoch}] for this run, got {epoch}")
        return _frozen(arranged(trial.student, self.device))


def _teacher(config: TrialConfig, device: torch.device) -> nn.Module | None:
    if config.teacher is None:
        return None
    if config.teacher.weights:
        return obtain_teacher(config, device, _never).model
    trial = teacher_trial(config)
    # It was trained where the run was, which need not be where it is looked at.
    there = config.train.device
    where = resolve_device(there).type if there == "auto" else there
    key = key_of(identity_of(trial, where))
    store = TeacherStore(config.store)
    try:
        return stored_teacher(store.root, key, load_trial_data(trial), device).model
    except KeyError:
        raise ValueError(
            f"the teacher of this run, '{config.teacher.model}' with key '{key}', is not in "
            f"'{store.root}' any more; import it there ('kdtune teachers import'), or train it "
            "again with the run's own command"
        ) from None


def _never(config: TrialConfig) -> None:
    raise AssertionError("a teacher with given weights is never trained")


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)
