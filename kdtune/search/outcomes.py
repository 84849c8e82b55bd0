"""How each trial of a stage ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.experiment import Trial

from kdtune.search.trial_follower import Progress, TrialFollower, error_text


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one trial.

    Attributes:
        trial_id: Tune's.
        config: Its flat configuration.
        kind: ``finished``, ``cut``, ``diverged``, ``failed`` or ``stopped``.
        epoch: The last one reported, from 1; 0 if none was.
        value: The metric there.
        result: The last report, whole.
        error: What went wrong, for a failed trial.
    """

    trial_id: str
    config: Mapping[str, Any]
    kind: str
    epoch: int = 0
    value: float | None = None
    result: Mapping[str, Any]
    error: str = ""


class OutcomeCallback(TrialFollower):
    """Remembers how every trial ended, while Tune knows only whether it raised an error."""

    def __init__(self, *, metric: str, mode: str) -> None:
        super().__init__(metric=metric, mode=mode)
        self._ends: dict[str, tuple[str, Progress, str]] = {}

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        """Keep it for :meth:`outcomes`."""
        self._ends[trial_id] = (outcome, progress, error)

    def outcomes(self, trials: Sequence[Trial]) -> list[Outcome]:
        """The outcome of each of ``trials``, in their order."""
        return [self._outcome(trial) for trial in trials]

    def _outcome(self, trial: Trial) -> Outcome:
        known = Outcome(
            trial_id=trial.trial_id,
            config=dict(trial.config),
            kind="stopped",
            result=dict(trial.last_result or {}),
        )
        if trial.trial_id in self._ends:
            kind, progress, error = self._ends[trial.trial_id]
            return replace(
                known, kind=kind, epoch=progress.epoch, value=progress.value, error=error
            )
        if trial.status == Trial.ERROR:  # Its actor never came up, so no hook told of it.
            return replace(known, kind="failed", error=error_text(trial))
        return known
