"""How each trial of a stage ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial

from kdtune.search.log import LoggedTrial
from kdtune.search.trial_follower import Progress, TrialFollower, number


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
        seconds: Its epochs took, added up.
        error: What went wrong, for a failed trial.
    """

    trial_id: str
    config: Mapping[str, Any]
    kind: str
    epoch: int
    value: float | None
    result: Mapping[str, Any]
    seconds: float = 0.0
    error: str = ""


class OutcomeCallback(TrialFollower):
    """Remembers how every trial ended, while Tune knows only whether it raised an error."""

    def __init__(self, *, metric: str, mode: str) -> None:
        super().__init__(metric=metric, mode=mode)
        self._trials: dict[str, Trial] = {}
        self._seconds: dict[str, float] = {}
        self._ends: dict[str, Outcome] = {}

    def outcome(self, trial_id: str) -> Outcome | None:
        """How a trial ended; None if it was never started."""
        return self._ends.get(trial_id)

    def recall(self, trial: LoggedTrial, index: int) -> None:
        """Know how a trial of an earlier process ended, or how long it has taken so far."""
        super().recall(trial, index)
        seconds = sum(number(result.get("time/epoch_s")) or 0.0 for result in trial.reports)
        self._seconds[trial.trial_id] = seconds
        if trial.end is not None:
            progress = self.progress_of(trial)
            self._ends[trial.trial_id] = Outcome(
                trial_id=trial.trial_id,
                config=trial.config,
                kind=trial.end.kind,
                epoch=progress.epoch,
                value=progress.value,
                result=trial.end.result,
                seconds=seconds,
                error=trial.end.error,
            )

    def started(self, trial: Trial, progress: Progress) -> None:
        """Keep the trial: its last report is read when it is over."""
        self._trials[trial.trial_id] = trial

    def reported(self, trial_id: str, result: Mapping[str, Any], progress: Progress) -> None:
        """Add up the time."""
        taken = number(result.get("time/epoch_s")) or 0.0
        self._seconds[trial_id] = self._seconds.get(trial_id, 0.0) + taken

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        """Keep the outcome."""
        trial = self._trials[trial_id]
        self._ends[trial_id] = Outcome(
            trial_id=trial_id,
            config=dict(trial.config),
            kind=outcome,
            epoch=progress.epoch,
            value=progress.value,
            result=dict(trial.last_result or {}),
            seconds=self._seconds.get(trial_id, 0.0),
            error=error,
        )
