"""Distillation as a Ray Tune class trainable, one epoch a step."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.result import SHOULD_CHECKPOINT

from kdtune.config import parse
from kdtune.training.delivery import deliver
from kdtune.training.memory import MemoryShortage, in_parts
from kdtune.training.trial import Trial
from kdtune.training.turn import Turn
from trainables.durable import Durable

STUDENT = "student"
"""The folder of the saved student in a finalist's checkpoint."""

logger = logging.getLogger(__name__)


class Distill(Durable[Trial]):
    """Train and validate a student as its flat configuration says.

    Reports after every epoch; ``training_iteration`` is the number of epochs done. What becomes of
    the network is the configuration's ``role``: a ``trial`` is only validated, a ``finalist`` is
    scored on the test split and kept, a ``teacher`` is published to its store. The checkpoint
    with a finalist's student must not be missed. A teacher that another search trains is waited
    for, and trained here if that search dies.

    Where memory runs out, the trial goes on once with ``train.micro_batch``, from the epoch that
    failed, if its method and role allow it. Its reports then have ``train/micro_batch``; a trial
    with that value and ``train.micro_batch_from``, the epochs before it, gives the same bits.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the work starts with the first step."""
        super().setup(config)
        self._scores: dict[str, float] = {}
        self._turn: Turn | None = None

    def build(self) -> Trial:
        """See :class:`~trainables.durable.Durable`."""
        config = parse(self._flat)
        if config.role == "teacher":
            self._turn = Turn(config)
        return Trial(config)

    def cleanup(self) -> None:
        """Let go of the memory, and of the teachers that others may wait for."""
        if self._turn:
            self._turn.close()
        super().cleanup()

    def report(self) -> dict[str, Any]:
        """One epoch.

        Raises:
            MemoryShortage: If memory runs out, and there is nothing left to try.
        """
        if self.trial.config.role == "teacher" and self._turn and self._turn.stored:
            return {**self._turn.stored, "done": True}
        metrics: dict[str, Any] = self._epoch()
        if self.trial.finished:
            metrics |= {"done": True, **self._conclude(metrics)}
        elif self.trial.at_teacher:
            self._publish()
        return metrics

    @property
    def must_save(self) -> bool:
        """A finalist's student exists in its checkpoint alone."""
        return bool(self._scores)

    def save_more(self, folder: Path) -> None:
        """Of a tested finalist the student to use as well."""
        if self._scores:
            deliver(self.trial, folder / STUDENT, self._scores)

    def _epoch(self) -> dict[str, float]:
        epoch = self.trial.epoch
        try:
            return self.trial.next_epoch()
        except MemoryShortage as shortage:
            remedy = in_parts(self.trial.config, epoch)
            if not remedy:
                raise
            text = f"{shortage}; trying again with {remedy}"
            logger.warning("trial %s: %s", self.trial_id, text)
        # Not in the handler: until its end, the error keeps alive what the step had in memory.
        self.cleanup()
        self._flat |= remedy
        self.load_newest(self.latest)
        while self.trial.epoch < epoch:
            self.trial.next_epoch()
        return self.trial.next_epoch()

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
                return {"teacher_key": self._publish()}

    def _publish(self) -> str:
        key = self.trial.publish()
        if self._turn:
            self._turn.over(key)
        return key
