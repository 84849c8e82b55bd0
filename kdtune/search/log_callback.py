"""Writes what happens to trials to the log that a search goes on from."""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from kdtune.search.epochs import EPOCH
from kdtune.search.interruption import Interruption
from kdtune.search.log import Ended, Event, Reported, Saved, SearchLog
from kdtune.search.trial_follower import Progress, TrialFollower, guarded, number

LOOKED_AT = (TRAINING_ITERATION, EPOCH, "finished", "diverged", "time/epoch_s")
"""What samplers, schedulers and callbacks read of a report, besides the objectives."""

TUNES_OWN = ("experiment_tag", "trial_id", "date", "timestamp", "hostname", "node_ip", "pid")


class LogCallback(TrialFollower):
    """Notes reports, checkpoints and ends; the relay notes the suggestions.

    A search that cannot note what it does would do it twice: it is stopped in order instead. The
    log is never ahead of the journal, or the journal would never get what it lacks.

    Args:
        log: Where to.
        objectives: Names of the metrics that are optimised, the first of which trials compare by.
        mode: ``max`` or ``min``, of the first.
        elapsed_s: How long the leg of a trial has run.
        journal_error: What keeps the journal from taking anything; empty as long as it does.
        interruption: Asked for a stop if log or journal take no more. Once one is asked for, no
            trial counts as failed: its process may have got the same signal.
    """

    def __init__(
        self,
        log: SearchLog,
        *,
        objectives: Sequence[str],
        mode: str,
        elapsed_s: Callable[[str], float],
        journal_error: Callable[[], str],
        interruption: Interruption,
    ) -> None:
        super().__init__(metric=objectives[0], mode=mode)
        self._log = log
        self._keys = (*LOOKED_AT, *objectives)
        self._elapsed_s = elapsed_s
        self._journal_error = journal_error
        self._interruption = interruption
        self._trials: dict[str, Trial] = {}

    def started(self, trial: Trial, progress: Progress) -> None:
        self._trials[trial.trial_id] = trial

    def reported(self, trial_id: str, result: Mapping[str, Any], progress: Progress) -> None:
        looked_at = {key: number(result[key]) for key in self._keys if key in result}
        self._put(Reported(trial_id=trial_id, result=looked_at, at_s=self._elapsed_s(trial_id)))

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        if outcome == "stopped" or (outcome == "failed" and self._interruption.asked):
            return
        result = _scalars(self._trials.pop(trial_id).last_result or {})
        at_s = self._elapsed_s(trial_id)
        self._put(Ended(trial_id=trial_id, kind=outcome, result=result, error=error, at_s=at_s))

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        super().on_trial_result(iteration, trials, trial, result)
        if self.timed_out(trial.trial_id):
            result[SHOULD_CHECKPOINT] = True  # It goes on if the search gets more time.

    @guarded
    def on_checkpoint(
        self, iteration: int, trials: list[Trial], trial: Trial, checkpoint: Any, **_: Any
    ) -> None:
        done = trial.last_result.get(TRAINING_ITERATION)
        if done:
            name = PurePosixPath(checkpoint.path).name
            self._put(Saved(trial_id=trial.trial_id, checkpoint=name, iteration=int(done)))

    def _put(self, event: Event) -> None:
        reason = self._journal_error()
        try:
            if reason:
                raise OSError(errno.EIO, reason, str(self._log.path.parent))
            self._log.put(event)
        except OSError as error:
            self._interruption.fault(error)


def _scalars(result: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report is a number or a text, less what Tune adds and is known anyway."""
    own = {key: value for key, value in result.items() if key not in TUNES_OWN}
    plain = {key: v.item() if hasattr(v, "item") else v for key, v in own.items()}
    return {key: value for key, value in plain.items() if isinstance(value, str | int | float)}
