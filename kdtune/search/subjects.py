"""Finished runs, loaded as analyses look at them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from kdtune.analysis import Subject
from kdtune.config import TrialConfig, teacher_trial
from kdtune.search.finished_runs import FinishedRun
from kdtune.students import load_student
from kdtune.teachers.store import TeacherStore, key_of
from kdtune.training.data import load_trial_data
from kdtune.training.device import prepare, resolve_device
from kdtune.training.layout import arranged
from kdtune.training.plan import phases
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


@contextmanager
def prepared(device: torch.device, threads: int) -> Iterator[None]:
    """Inside, this process computes as :func:`prepare` says; afterwards as before."""
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads()
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    try:
        prepare(device, threads)
        yield
    finally:
        torch.set_num_threads(before)
        cudnn.deterministic, cudnn.benchmark = deterministic, benchmark


@dataclass(kw_only=True)
class TrainedAgain:
    """See ``Subject.at_epoch``: a trial is a function of its configuration, epoch by epoch.

    Epochs that are asked for in rising order are taken from one training, which waits in between.
    """

    config: TrialConfig
    device: torch.device
    _waiting: Trial | None = field(default=None, init=False, repr=False)

    def __call__(self, epoch: int) -> nn.Module:
        self._require(epoch, phases(self.config)[-1].stop)
        settings = self.config.train
        with prepared(resolve_device(settings.device), settings.threads):
            trial = self._before(epoch)
            while trial.epoch < epoch and not trial.finished:
                trial.next_epoch()
        self._require(epoch, trial.epoch)  # It may have diverged.
        if not trial.finished:
            self._waiting = trial
        return _frozen(arranged(copy.deepcopy(trial.student), self.device))

    def _before(self, epoch: int) -> Trial:
        """The trial that waits, unless it is past ``epoch``; none waits any more."""
        trial, self._waiting = self._waiting, None  # One that fails cannot be used again.
        return trial if trial and trial.epoch <= epoch else Trial(self.config)

    @staticmethod
    def _require(epoch: int, last: int) -> None:
        if not 0 <= epoch <= last:
            raise ValueError(f"epochs must be in [0, {last}] for this run, got {epoch}")


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
