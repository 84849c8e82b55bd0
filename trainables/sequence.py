"""Sequential distillation as a Ray Tune class trainable, one epoch a step."""

from pathlib import Path
from typing import Any

from ray import tune

from kdtune.training.sequence import SequenceTrial, parse_sequence


class Sequence(tune.Trainable):
    """Train a chain of networks, each taught by the one before.

    Takes the flat configuration of a trial with ``chain`` in place of student and teacher, see
    :func:`~kdtune.training.sequence.parse_sequence`. A member that is stored already takes one
    step. Actors may be reused, as those of :class:`~trainables.Distill`.

    The last report holds ``generation_keys``, what the networks are stored under, and for the
    ``role`` finalist the scores on the test split.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the work starts with the first step."""
        self._flat = dict(config)
        self._trial: SequenceTrial | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become the sequence of ``new_config``; never refuses, as a refusal can hang Tune."""
        self.setup(new_config)
        return True

    @property
    def trial(self) -> SequenceTrial:
        """The running sequence.

        Raises:
            ValueError: If the configuration or the data are not valid.
        """
        if self._trial is None:
            self._trial = SequenceTrial(parse_sequence(self._flat))
        return self._trial

    def step(self) -> dict[str, Any]:
        """One epoch, or one stored member."""
        trial = self.trial
        metrics: dict[str, Any] = trial.next_epoch()
        if trial.finished:
            metrics |= {"done": True, "generation_keys": ",".join(trial.keys)}
            if trial.config.role == "finalist" and not trial.diverged:
                metrics |= trial.test()
        return metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the whole state; finished members are in the store."""
        self.trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Continue a sequence, bit for bit."""
        self.trial.load(Path(checkpoint))

    def cleanup(self) -> None:
        """Let go of the memory."""
        self._trial = None
