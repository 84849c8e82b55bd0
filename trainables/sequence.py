"""Sequential distillation as a Ray Tune class trainable, one epoch a step."""

from typing import Any

from kdtune.training.sequence import SequenceTrial, parse_sequence
from trainables.durable import Durable


class Sequence(Durable[SequenceTrial]):
    """Train a chain of networks, each taught by the one before.

    Takes the flat configuration of a trial with ``chain`` in place of student and teacher, see
    :func:`~kdtune.training.sequence.parse_sequence`. A member that is stored already takes one
    step; finished members are in the store, and not in the checkpoints.

    The last report holds ``generation_keys``, what the networks are stored under, and for the
    ``role`` finalist the scores on the test split.
    """

    def build(self) -> SequenceTrial:
        """See :class:`~trainables.durable.Durable`."""
        return SequenceTrial(parse_sequence(self._flat))

    def report(self) -> dict[str, Any]:
        """One epoch, or one stored member.

        Raises:
            MemoryShortage: If memory runs out.
        """
        trial = self.trial
        metrics: dict[str, Any] = trial.next_epoch()
        if trial.finished:
            metrics |= {"done": True, "generation_keys": ",".join(trial.keys)}
            if trial.config.role == "finalist" and not trial.diverged:
                metrics |= trial.test()
        return metrics
