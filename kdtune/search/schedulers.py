"""Trial schedulers by name."""

from collections.abc import Callable
from typing import Any, Literal

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    FIFOScheduler,
    MedianStoppingRule,
)

from kdtune.registry import nearest
from kdtune.search.asha import ASHA
from kdtune.search.epochs import EPOCH, epoch_of
from kdtune.search.idle_actors import IdleActors
from kdtune.search.log import LoggedTrial
from kdtune.search.rungs import milestones

SCHEDULERS = ("asha", "hyperband", "median", "none")


class FIFO(FIFOScheduler):
    """Ray's plain queue, with idle actors kept for trials that are still to be suggested."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._idle_actors = IdleActors()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first trial that waits."""
        self._idle_actors.update(tune_controller)
        return super().choose_trial_to_run(tune_controller)

    def recall(self, trial: LoggedTrial) -> None:
        """Nothing to know of trials of an earlier process."""

    def release(self, trial_id: str) -> bool:
        """False: it holds none."""
        return False


class _Key(str):
    """A trial's id in place of the trial: a trial that starts again in another process has both."""

    @property
    def trial_id(self) -> str:
        return str(self)


class MedianStopping(FIFO, MedianStoppingRule):
    """Ray's median rule over epochs of the schedule, with idle actors kept.

    Args:
        **settings: Those of the rule, bar ``time_attr``.
    """

    def __init__(self, **settings: Any) -> None:
        MedianStoppingRule.__init__(self, time_attr=EPOCH, **settings)
        self._idle_actors = IdleActors()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continue or stop the trial; a report of a warm-up is not looked at."""
        epoch = epoch_of(result)
        if not epoch:
            return str(self.CONTINUE)
        key: Any = _Key(trial.trial_id)
        if any(known[EPOCH] == epoch for known in self._results.get(key, ())):
            return str(self.CONTINUE)  # Told again by a trial that went on from a checkpoint.
        dated = {**result, EPOCH: epoch}
        return str(MedianStoppingRule.on_trial_result(self, tune_controller, key, dated))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial is over; its last report counts if it can be compared."""
        epoch = epoch_of(result)
        if epoch and self._metric in result:
            key: Any = _Key(trial.trial_id)
            dated = {**result, EPOCH: epoch}
            MedianStoppingRule.on_trial_complete(self, tune_controller, key, dated)

    def recall(self, trial: LoggedTrial) -> None:
        """Let the reports of a trial of an earlier process count."""
        for result in trial.reports:
            epoch = epoch_of(result)
            if epoch and self._metric in result:
                self._results[_Key(trial.trial_id)].append({**result, EPOCH: epoch})


def make_scheduler(
    name: str,
    *,
    metric: str = "val/accuracy",
    mode: Literal["max", "min"] = "max",
    max_t: int = 100,
    grace_period: int = 1,
    reduction_factor: int = 3,
    brackets: int = 1,
    seed: int = 0,
    ordered: bool = True,
) -> ASHA | FIFO:
    """A scheduler by name: ``asha``, ``none``, ``median`` or ``hyperband``.

    ``asha`` is :class:`~kdtune.search.asha.ASHA`; ``hyperband`` is the same over all brackets,
    asynchronous Hyperband (Li et al., 2020, arXiv:1810.05934), as Ray's own needs more live trials
    than there are places; ``median`` is Ray's, whose cuts depend on how fast trials run; ``none``
    runs every trial to its end. Epochs are those of the schedule: a warm-up is not judged.

    Args:
        name: Which one.
        metric: The name of the result to compare.
        mode: ``"max"`` or ``"min"``.
        max_t: Epochs of a full trial; ``median`` and ``none`` do without.
        grace_period: Epochs before any trial is stopped.
        reduction_factor: One of how many trials goes on; not of ``median``.
        brackets: How many brackets, of ``asha`` alone.
        seed: Places trials in brackets.
        ordered: Whether the cuts must not depend on how long trials take; not of ``median``.

    Raises:
        ValueError: On an unknown name; the message names the nearest and all choices.
    """
    compared: dict[str, Any] = {"metric": metric, "mode": mode}

    def halving(brackets: int) -> ASHA:
        return ASHA(
            max_t=max_t,
            grace_period=grace_period,
            reduction_factor=reduction_factor,
            brackets=brackets,
            seed=seed,
            ordered=ordered,
            **compared,
        )

    rungs = milestones(grace_period=grace_period, max_t=max_t, reduction_factor=reduction_factor)
    makers: dict[str, Callable[[], ASHA | FIFO]] = {
        "asha": lambda: halving(brackets),
        "hyperband": lambda: halving(max(1, len(rungs))),
        "median": lambda: MedianStopping(grace_period=grace_period, **compared),
        "none": FIFO,
    }
    if name not in makers:
        raise ValueError(f"unknown scheduler '{name}'{nearest(name, SCHEDULERS)}")
    return makers[name]()
