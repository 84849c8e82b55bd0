"""Distillation as a Ray Tune class trainable, one epoch a step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from kdtune.config import parse
from kdtune.training.delivery import deliver
from kdtune.training.trial import Trial

STUDENT = "student"
"""The folder of the saved student in a finalist's checkpoint."""


class Distill(tune.Trainable):
    """Train and validate a student as its flat configuration says.

    Reports after every epoch; ``training_iteration`` is the number of epochs done. Actors may be
    reused (``reuse_actors=True``): a trial is built afresh from its configuration in its first
    step, so nothing of an earlier trial can leak in, and a bad configuration is that trial's error
    alone.

    What becomes of the network is the configuration's ``role``: a ``trial`` is only validated, a
    ``finalist`` is scored on the test split and kept, a ``teacher`` is published to its store.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the work starts with the first step."""
        self._flat = dict(config)
        self._trial: Trial | None = None
        self._scores: dict[str, float] = {}

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
            metrics |= {"done": True, **self._conclude(metrics)}
        return metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trial's whole state; of a tested finalist the student to use as well."""
        self.trial.save(Path(checkpoint_dir))
        if self._scores:
            deliver(self.trial, Path(checkpoint_dir) / STUDENT, self._scores)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue a trial, bit for bit."""
        self.trial.load(Path(checkpoint))

    def cleanup(self) -> None:
        """Let go of the trial's memory."""
        self._trial = None

    def _conclude(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What the role of the trial adds to its last report."""
        match self.trial.config.role:
            case "trial":
                return {}
            case "finalist":
                tested = self.trial.test()
                self._scores = {"val/accuracy": metrics["val/accuracy"], **tested}
                return {**tested, SHOULD_CHECKPOINT: True}
            case "teacher":
                return {"teacher_key": self.trial.publish()}
