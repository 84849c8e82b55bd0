"""Distillation as a Ray Tune class trainable, one epoch a step."""

from pathlib import Path
from typing import Any

from ray import tune

from kdtune.config import parse
from kdtune.teachers.store import TeacherStore
from kdtune.training.teacher import publish_teacher
from kdtune.training.trial import Trial


class Distill(tune.Trainable):
    """Train and validate a student as its flat configuration says.

    Reports after every epoch; ``training_iteration`` is the number of epochs done. Actors may be
    reused (``reuse_actors=True``): a trial is built afresh from its configuration in its first
    step, so nothing of an earlier trial can leak in, and a bad configuration is that trial's error
    alone.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the work starts with the first step."""
        self._flat = dict(config)
        self._trial: Trial | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become the trial of ``new_config``; never refuses, as a refusal can hang Tune."""
        self.setup(new_config)
        return True

    @property
    def trial(self) -> Trial:
        """The running trial.

        Raises:
            ValueError: If the configuration, the data or the teacher are not valid.
        """
        if self._trial is None:
            self._trial = Trial(parse(self._flat))
        return self._trial

    def step(self) -> dict[str, Any]:
        """One epoch."""
        metrics: dict[str, Any] = self.trial.next_epoch()
        if self.trial.finished:
            metrics |= self.conclude()
            metrics["done"] = True
        return metrics

    def conclude(self) -> dict[str, Any]:
        """What is added to the last report; for subclasses."""
        return {}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's whole state."""
        self.trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue a trial, bit for bit."""
        self.trial.load(Path(checkpoint))

    def cleanup(self) -> None:
        """Let go of the trial's memory."""
        self._trial = None


class Finalist(Distill):
    """A configuration trained once more, whose last state is scored on the test split."""

    def conclude(self) -> dict[str, Any]:
        return dict(self.trial.test())


class TrainTeacher(Distill):
    """A teacher, trained as a student without a teacher and published when done.

    ``teacher.store`` names the folder; every other key is of the teacher's own trial, as
    ``kdtune.config.teacher_trial`` gives it.
    """

    def setup(self, config: dict[str, Any]) -> None:
        flat = dict(config)
        self._store = TeacherStore(flat.pop("teacher.store", ""))
        super().setup(flat)

    def conclude(self) -> dict[str, Any]:
        trial = self.trial
        if trial.diverged:
            raise ValueError(
                f"the teacher {trial.config.student} diverged in epoch {trial.epoch}; lower "
                f"teacher.lr, now {trial.config.train.lr}"
            )
        key = publish_teacher(
            self._store, trial.config, trial.dataset, trial.device, trial.student.state_dict()
        )
        return {"teacher_key": key}
