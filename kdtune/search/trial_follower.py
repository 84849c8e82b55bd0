"""Ray Tune's many hooks, told as the four things that happen to a trial.

Tune calls its hooks in the driver's loop, and one exception in one of them ends the whole search;
so a hook does a few dictionary operations, and whatever goes wrong in it is logged once.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from kdtune.search.epochs import epoch_of
from kdtune.search.log import LoggedTrial

ERROR_CHARACTERS = 2000
logger = logging.getLogger(__name__)


def guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook that never raises: a callback's first failure is logged, later ones are not."""

    @functools.wraps(hook)
    def safe(self: "GuardedCallback", *args: Any, **info: Any) -> None:
        try:
            hook(self, *args, **info)
        except Exception:  # One misbehaving hook would end the search for all trials.
            if not self.complained:
                self.complained = True
                logger.exception("%s.%s failed", type(self).__name__, hook.__name__)

    return safe


@dataclass(kw_only=True)
class Progress:
    """What the reports of one trial said so far.

    Attributes:
        index: Place of the trial in the order of creation, from 0.
        iteration: Reports so far.
        epoch: The last one reported, from 1; 0 before any report and during a warm-up.
        value: The metric in the last report; None if it had none, or was one of a warm-up.
        best: Best finite value of the metric.
        best_epoch: Where that was.
        ended: Whether the last report said that it was the last planned one.
        diverged: Whether it said that the loss was no longer a number.
    """

    index: int = 0
    iteration: int = 0
    epoch: int = 0
    value: float | None = None
    best: float | None = None
    best_epoch: int = 0
    ended: bool = False
    diverged: bool = False

    def read(self, result: Mapping[str, Any], metric: str, mode: str) -> bool:
        """Take one report; False if it repeats an earlier one, as a retried trial does."""
        iteration = int(result["training_iteration"])
        if iteration <= self.iteration:
            return False
        self.iteration = iteration
        self.epoch = int(epoch_of(result) or 0)
        # A trainable that says nothing of its plan is taken to have ended as planned.
        self.ended = bool(result.get("finished", True))
        self.diverged = bool(result.get("diverged", False))
        value = number(result.get(metric)) if self.epoch else None
        self.value = value
        if value is not None and math.isfinite(value) and self._improves(value, mode):
            self.best, self.best_epoch = value, self.epoch
        return True

    def _improves(self, value: float, mode: str) -> bool:
        if self.best is None:
            return True
        return value < self.best if mode == "min" else value > self.best

    @property
    def outcome(self) -> str:
        """How a trial that ended without an error ended."""
        if self.diverged:
            return "diverged"
        return "finished" if self.ended else "cut"


class GuardedCallback(Callback):
    """Base of callbacks whose hooks are all :func:`guarded`."""

    complained = False


class TrialFollower(GuardedCallback):
    """Turns Tune's hooks into four: a trial started, reported, ended; and all is over.

    A retried trial starts once and reports each epoch once. Trials that Tune stops without a word
    (a time budget, Ctrl-C) are told as ``stopped`` at the end.

    Args:
        metric: The one that trials are compared by.
        mode: ``max`` or ``min``.
    """

    def __init__(self, *, metric: str, mode: str) -> None:
        self.metric = metric
        self.mode = mode
        self._running: dict[str, Progress] = {}
        self._recalled: dict[str, Progress] = {}
        self.timed_out: Callable[[str], bool] = _never
        """Whether a trial was stopped because time was over; whoever stops it says so."""

    def started(self, trial: Trial, progress: Progress) -> None:
        """A trial begins; called again after a restart of the driver."""

    def reported(self, trial_id: str, result: Mapping[str, Any], progress: Progress) -> None:
        """A trial finished an epoch, of its warm-up while ``progress.epoch`` is 0."""

    def ended(self, trial_id: str, outcome: str, progress: Progress, error: str) -> None:
        """A trial is over; ``error`` is empty unless it failed."""

    def concluded(self, *, complete: bool) -> None:
        """The Tune run is over; ``complete`` unless trials had to be stopped."""

    def recall(self, trial: LoggedTrial, index: int) -> None:
        """Know a trial of an earlier process; nothing is told of it again.

        Args:
            trial: What the log says of it.
            index: As in :class:`Progress`.
        """
        if trial.end is None:
            self._recalled[trial.trial_id] = self.progress_of(trial, index)

    def progress_of(self, trial: LoggedTrial, index: int = 0) -> Progress:
        """What the reports of a logged trial say."""
        progress = Progress(index=index)
        for result in trial.reports:
            progress.read(result, self.metric, self.mode)
        return progress

    def get_state(self) -> dict[str, Any]:
        return {"running": {key: asdict(value) for key, value in self._running.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        # Tune calls this before setup(), so nothing may start afresh there.
        self._running = {key: Progress(**value) for key, value in state["running"].items()}

    @guarded
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self._start(trials, trial)

    def _start(self, trials: list[Trial], trial: Trial) -> None:
        known = self._running.get(trial.trial_id) or self._recalled.pop(trial.trial_id, None)
        progress = known or Progress(index=trials.index(trial))
        self._running[trial.trial_id] = progress
        self.started(trial, progress)

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        progress = self._running.setdefault(trial.trial_id, Progress())
        if progress.read(result, self.metric, self.mode):
            self.reported(trial.trial_id, result, progress)

    @guarded
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        progress = self._running.pop(trial.trial_id, None)
        if progress:
            outcome = "stopped" if self.timed_out(trial.trial_id) else progress.outcome
            self.ended(trial.trial_id, outcome, progress, "")

    @guarded
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        if trial.trial_id not in self._running:  # Its actor never came up.
            self._start(trials, trial)
        progress = self._running.pop(trial.trial_id)
        self.ended(trial.trial_id, "failed", progress, error_text(trial))

    @guarded
    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        stopped, self._running = self._running, {}
        for trial_id, progress in stopped.items():
            self.ended(trial_id, "stopped", progress, "")
        self.concluded(complete=not stopped)


def _never(trial_id: str) -> bool:
    return False


def error_text(trial: Trial) -> str:
    """The end of what a failed trial said; it holds the error itself."""
    try:
        return Path(trial.error_file).read_text(errors="replace")[-ERROR_CHARACTERS:].strip()
    except (OSError, TypeError):
        return "no error text was kept"


def number(value: Any) -> float | None:
    """``value`` as a float, or None if it is not a number; numpy scalars are."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    return float(plain) if isinstance(plain, int | float) else None
