"""How each trial of a stage ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.experiment import Trial

from kdtune.search.callbacks import GuardedCallback, Progress, error_text, guarded


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
    epoch: int
    value: float | None
    result: Mapping[str, Any]
    error: str = ""


class OutcomeCallback(GuardedCallback):
    """Remembers which trials Tune completed: those that it stops all at once are not among them."""

    def __init__(self) -> None:
        self.completed: set[str] = set()

    @guarded
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        self.completed.add(trial.trial_id)

    def outcomes(self, trials: Sequence[Trial], metric: str) -> list[Outcome]:
        """The outcome of each trial, in order."""
        return [self._outcome(trial, metric) for trial in trials]

    def _outcome(self, trial: Trial, metric: str) -> Outcome:
        result = trial.last_result or {}
        progress = Progress()
        if "training_iteration" in result:
            progress.read(result, metric, "max")
        failed = trial.status == Trial.ERROR
        kind = progress.outcome if trial.trial_id in self.completed else "stopped"
        return Outcome(
            trial_id=trial.trial_id,
            config=dict(trial.config),
            kind="failed" if failed else kind,
            epoch=progress.epoch,
            value=progress.value,
            result=dict(result),
            error=error_text(trial) if failed else "",
        )
