"""Fine-tuning of a finished student as a Ray Tune class trainable, one epoch a step."""

from typing import Any

from kdtune.training.finetune import finetune_trial, with_errors
from kdtune.training.trial import Trial
from trainables.distill import Distill


class Finetune(Distill):
    """Train on another dataset what ``init`` names, and report errors beside accuracies.

    Takes the flat configuration of a trial; what it leaves out is as cho2019 fine-tunes, see
    :data:`~kdtune.training.finetune.RECIPE`. All else is as in :class:`~trainables.Distill`.
    """

    def build(self) -> Trial:
        """See :class:`~trainables.durable.Durable`."""
        return Trial(finetune_trial(self._flat))

    def report(self) -> dict[str, Any]:
        """One epoch; raises as that of :class:`~trainables.Distill`."""
        return {**with_errors(super().report())}
