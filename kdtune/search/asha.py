"""Asynchronous successive halving (Li et al., 2020, arXiv:1810.05934) for Ray Tune.

It stops like Ray's ``ASHAScheduler`` and differs where that one goes wrong: a value that is not
finite stops its trial, rungs are whole numbers, a value counts at its own rung only, a trial keeps
its bracket, and the cuts need not depend on how fast trials run.
"""

import json
import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Literal

from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.result import DEFAULT_METRIC
from ray.tune.schedulers import TrialScheduler

from kdtune.search.epochs import EPOCH, epoch_of
from kdtune.search.idle_actors import IdleActors, unwrapped
from kdtune.search.log import LoggedTrial
from kdtune.search.rungs import Bracket, milestones
from kdtune.seeds import derive

logger = logging.getLogger(__name__)

Verdict = str
_OVER = (Trial.TERMINATED, Trial.ERROR)


@dataclass
class _Entry:
    """What is known of one trial.

    Attributes:
        order: Its place among all trials, from 0.
        bracket: Which bracket it runs in.
        reached: The highest rung that it has reached; -1 before the first.
        judged: The highest rung that it was judged at.
    """

    order: int
    bracket: int
    reached: int = -1
    judged: int = -1


class ASHA(TrialScheduler):
    """Stops a trial at a rung unless it is among the best ``1 / reduction_factor`` there.

    With ``ordered``, a trial is judged against exactly those earlier trials of its bracket that
    reached the rung, as if trials ran one after the other. While an earlier one may still reach
    it, the trial is held: its actor waits, idle. The earliest live trial is never held. If all
    running trials are held and the one they wait for has no actor, they go on after ``patience``
    seconds without it. Otherwise a trial is judged at once against all values recorded so far.
    A report at epoch 0, as from a warm-up before the schedule, is never judged.

    Args:
        metric: The name of the result to compare; may be left to ``tune.run``.
        mode: ``"max"`` or ``"min"``; may be left to ``tune.run``.
        max_t: Epochs after which every trial is stopped.
        grace_period: Epochs before any trial is stopped: the first rung.
        reduction_factor: One of how many trials passes a rung; also the ratio between rungs.
        brackets: How many brackets; bracket ``s`` starts at rung ``s``. A trial's bracket
            follows from the seed and its place in the order.
        seed: See ``brackets``.
        ordered: Whether the cuts must not depend on how long trials take.
        patience: Seconds, see above.
        time_attr: The name of the result that counts epochs; reports without it are counted.

    Raises:
        ValueError: If an argument is out of range; the message names the rule.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        *,
        metric: str | None = None,
        mode: Literal["max", "min"] | None = None,
        max_t: int = 100,
        grace_period: int = 1,
        reduction_factor: int = 3,
        brackets: int = 1,
        seed: int = 0,
        ordered: bool = True,
        patience: float = 60.0,
        time_attr: str = EPOCH,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        _check_arguments(mode, max_t, grace_period, reduction_factor)
        levels = milestones(
            grace_period=grace_period, max_t=max_t, reduction_factor=reduction_factor
        )
        if not 1 <= brackets <= len(levels):
            raise ValueError(
                f"brackets must be from 1 to {len(levels)}, the number of rungs {levels}, "
                f"got {brackets}"
            )
        self._metric = metric
        self._mode = mode
        self._max_t = max_t
        self._seed = seed
        self._ordered = ordered
        self._patience = patience
        self._time_attr = time_attr
        self._brackets = [Bracket(levels[s:], 1 / reduction_factor) for s in range(brackets)]
        self._entries: dict[str, _Entry] = {}
        self._live: dict[str, Trial] = {}
        self._held: set[str] = set()
        self._waived: set[str] = set()
        self._stalled_since: float | None = None
        self._num_stopped = 0
        self._idle_actors = IdleActors()

    # What Tune asks and tells

    @property
    def metric(self) -> str:
        """What Tune should look for in every report: nothing, so that no report ends the search."""
        return DEFAULT_METRIC

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from Tune where this scheduler has none.

        Returns:
            False if Tune's contradict this scheduler's own, which Tune words as an error.

        Raises:
            ValueError: If neither side names them.
        """
        if (metric and self._metric not in (None, metric)) or (
            mode and self._mode not in (None, mode)
        ):
            return False
        self._metric = self._metric or metric
        self._mode = self._mode or ("min" if mode == "min" else "max" if mode else None)
        if self._metric is None or self._mode is None:
            raise ValueError(
                f"ASHA needs a metric and a mode, got {self._metric!r} and {self._mode!r}; "
                "give them to ASHA or to tune.run"
            )
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A new trial, or a known one that starts again: then it keeps its place and bracket."""
        self._entry(trial.trial_id)
        if trial.status not in _OVER:
            self._live[trial.trial_id] = trial

    def on_trial_result(
        self, tune_controller: Any, trial: Trial, result: dict[str, Any]
    ) -> Verdict:
        """Record the report; continue, stop, or hold the trial until it can be judged."""
        entry = self._entry(trial.trial_id)
        self._waived.discard(trial.trial_id)
        epoch = epoch_of(result, self._time_attr)
        if epoch is None or epoch <= 0:
            return str(self.CONTINUE)
        self._record(entry, epoch, result)
        if epoch >= self._max_t or self._is_broken(result):
            return self._count(str(self.STOP))
        if entry.judged == entry.reached:
            return str(self.CONTINUE)
        if self._ordered and self._must_wait(entry):
            self._held.add(trial.trial_id)
            return str(self.NOOP)
        return self._judge(entry)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial is over; its last report counts at its rung like any other."""
        epoch = epoch_of(result, self._time_attr)
        if epoch is not None:
            self._record(self._entry(trial.trial_id), epoch, result)
        self._forget(trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial failed; if Tune tries it again, :meth:`on_trial_add` follows."""
        self._forget(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial was taken out before it ran on."""
        self._forget(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Settle the held trials, then name the first that waits for an actor.

        Tune calls this once per step, outside of its own handling of a trial: the one safe place
        to stop or continue another trial.
        """
        self._idle_actors.update(tune_controller)
        self._settle(tune_controller)
        if self._is_stalled():
            self._settle(tune_controller)
        for status in (Trial.PENDING, Trial.PAUSED):
            waiting = [t for t in self._live.values() if t.status == status]
            if waiting:
                return min(waiting, key=lambda trial: self._entries[trial.trial_id].order)
        return None

    @property
    def rungs(self) -> list[tuple[int, ...]]:
        """The epochs of the rungs of each bracket."""
        return [bracket.levels for bracket in self._brackets]

    def rung_of(self, trial_id: str) -> int:
        """The epoch of the last rung that a trial was judged at; 0 if it was at none."""
        entry = self._entries.get(trial_id)
        if entry is None or entry.judged < 0:
            return 0
        return self.rungs[entry.bracket][entry.judged]

    def recall(self, trial: LoggedTrial) -> None:
        """Know the reports of a trial of an earlier process; call in the order of suggestions.

        It was judged at a rung if anything followed that report. If not, it is when it reports
        the next time.
        """
        entry = self._entry(trial.trial_id)
        for result in trial.reports:
            entry.judged = entry.reached
            epoch = epoch_of(result, self._time_attr)
            if epoch is not None and epoch > 0:
                self._record(entry, epoch, dict(result))
        if trial.end is not None:
            entry.judged = entry.reached
            self._num_stopped += trial.end.kind == "cut"

    def release(self, trial_id: str) -> bool:
        """Whether the trial was held; it is no longer."""
        held = trial_id in self._held
        self._held.discard(trial_id)
        return held

    def debug_string(self) -> str:
        """One line for Tune's status table."""
        return f"ASHA: {self._num_stopped} trials stopped, {len(self._held)} held"

    # State

    def get_state(self) -> dict[str, Any]:
        """Places, brackets and rungs as JSON, for a search that goes on in another process."""
        return {
            "trials": {
                trial_id: [entry.order, entry.bracket, entry.reached, entry.judged]
                for trial_id, entry in self._entries.items()
            },
            "scores": [
                [list(map(list, rung.items())) for rung in bracket.scores]
                for bracket in self._brackets
            ],
            "stopped": self._num_stopped,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`get_state`, before Tune adds the trials again."""
        self._entries = {trial_id: _Entry(*entry) for trial_id, entry in state["trials"].items()}
        for bracket, rungs in zip(self._brackets, state["scores"], strict=True):
            bracket.scores = [{int(order): score for order, score in rung} for rung in rungs]
        self._num_stopped = state["stopped"]

    def save(self, checkpoint_path: str) -> None:
        """Write :meth:`get_state` to a file."""
        with open(checkpoint_path, "w", encoding="utf-8") as file:
            json.dump(self.get_state(), file)

    def restore(self, checkpoint_path: str) -> None:
        """Read a file of :meth:`save`."""
        with open(checkpoint_path, encoding="utf-8") as file:
            self.set_state(json.load(file))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the trials themselves, which belong to one running Tune."""
        idle = {"_live": {}, "_held": set(), "_idle_actors": IdleActors()}
        return {**self.__dict__, **idle, "_stalled_since": None}

    # Private: the books

    def _entry(self, trial_id: str) -> _Entry:
        if trial_id not in self._entries:
            order = len(self._entries)
            self._entries[trial_id] = _Entry(order, self._draw_bracket(order))
        return self._entries[trial_id]

    def _draw_bracket(self, order: int) -> int:
        """A bracket with probability proportional to ``exp(number of its rungs)``, as in Ray."""
        weights = [math.exp(len(b.levels) - len(self._brackets[0].levels)) for b in self._brackets]
        left = derive(self._seed, "bracket", order) / 2**63 * sum(weights)
        for bracket, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return bracket
        return len(weights) - 1

    def _record(self, entry: _Entry, epoch: float, result: dict[str, Any]) -> None:
        """Note the rung that this report is the first to reach, and the value there."""
        bracket = self._brackets[entry.bracket]
        rung = bracket.rung_at(epoch)
        if rung > entry.reached:
            entry.reached = rung
            score = self._score(result)
            if score is not None:
                bracket.record(rung, entry.order, score)

    def _score(self, result: dict[str, Any]) -> float | None:
        """The metric, higher being better; None if it is missing or not finite."""
        try:
            value = float(result[self._metric])  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            return None
        return (-value if self._mode == "min" else value) if math.isfinite(value) else None

    def _is_broken(self, result: dict[str, Any]) -> bool:
        return self._metric in result and self._score(result) is None

    def _forget(self, trial: Trial) -> None:
        self._live.pop(trial.trial_id, None)
        self._held.discard(trial.trial_id)
        self._waived.discard(trial.trial_id)

    def _count(self, verdict: Verdict) -> Verdict:
        self._num_stopped += verdict == self.STOP
        return verdict

    # Private: verdicts

    def _judge(self, entry: _Entry) -> Verdict:
        entry.judged = entry.reached
        bracket = self._brackets[entry.bracket]
        passes = bracket.passes(entry.reached, entry.order, before=self._ordered)
        return self._count(str(self.CONTINUE if passes else self.STOP))

    def _must_wait(self, entry: _Entry) -> bool:
        """Whether an earlier live trial of the bracket may still reach this one's rung."""
        for trial_id, trial in self._live.items():
            other = self._entries[trial_id]
            if (
                other.order < entry.order
                and other.bracket == entry.bracket
                and other.reached < entry.reached
                and trial_id not in self._waived
                and trial.status not in _OVER
            ):
                return True
        return False

    def _settle(self, tune_controller: Any) -> None:
        """Act on the held trials that can be judged by now, earliest first."""
        runner = unwrapped(tune_controller)
        for trial_id in sorted(self._held, key=lambda held: self._entries[held].order):
            trial, entry = self._live[trial_id], self._entries[trial_id]
            if trial.status != Trial.RUNNING:
                self._held.discard(trial_id)
            elif trial not in runner._trial_to_actor:
                # No call was under way that could have told Tune.
                lost = TuneError(f"the actor of trial {trial} was lost while the trial was held")
                runner._trial_task_failure(trial, lost)
            elif not trial.is_saving and not self._must_wait(entry):
                self._held.discard(trial_id)
                if self._judge(entry) == self.STOP:
                    runner.stop_trial(trial)
                else:
                    runner._schedule_trial_train(trial)

    def _is_stalled(self) -> bool:
        """Whether waiting has lasted too long for a trial without an actor; then give it up."""
        running = {t.trial_id for t in self._live.values() if t.status == Trial.RUNNING}
        if not self._held or running != self._held:
            self._stalled_since = None
            return False
        now = time.monotonic()
        self._stalled_since = now if self._stalled_since is None else self._stalled_since
        if now - self._stalled_since < self._patience:
            return False
        self._stalled_since = None
        waived = {t.trial_id for t in self._live.values() if t.status != Trial.RUNNING}
        self._waived |= waived
        logger.warning(
            "ASHA goes on without trials %s, which have had no actor for %g s; "
            "the cuts that follow may not be reproducible",
            ", ".join(sorted(waived)) or "(none)",
            self._patience,
        )
        return True


def _check_arguments(
    mode: str | None, max_t: int, grace_period: int, reduction_factor: int
) -> None:
    if mode not in (None, "max", "min"):
        raise ValueError(f"mode must be 'max' or 'min', got '{mode}'")
    if not (isinstance(reduction_factor, int) and reduction_factor >= 2):
        raise ValueError(f"reduction_factor must be a whole number >= 2, got {reduction_factor}")
    for name, value in (("grace_period", grace_period), ("max_t", max_t)):
        if not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name} must be a whole number >= 1, got {value}")
    if grace_period > max_t:
        raise ValueError(f"grace_period must be at most max_t = {max_t}, got {grace_period}")
