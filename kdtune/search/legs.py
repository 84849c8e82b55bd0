"""Several stages in one Tune run, so that warm actors pass from each to the next.

Starting an actor means importing torch and Ray, which costs more than a small trial; a search
whose teachers, trials and finalists share one run pays it once. A leg that an earlier process
began goes on where that one was: sampler and scheduler are told again what they were told.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from kdtune.contracts import FlatConfig
from kdtune.search.callbacks import RunLabel
from kdtune.search.idle_actors import IdleActors, unwrapped
from kdtune.search.interruption import Interruption
from kdtune.search.log import Ended, History, LoggedTrial, Reported, SearchLog, Suggested
from kdtune.search.lost_actors import LostActors


class LegSearcher(Protocol):
    """A Tune searcher that can be asked again what it was asked before."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None: ...

    def suggest_again(self, trial_id: str, config: FlatConfig) -> None: ...

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None: ...

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None: ...


class LegScheduler(Protocol):
    """A Tune scheduler that can be told of trials of an earlier process, and lets go of held ones.

    ``release`` says whether it held the trial, and holds it no longer.
    """

    def recall(self, trial: LoggedTrial) -> None: ...

    def release(self, trial_id: str) -> bool: ...

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None: ...

    def debug_string(self) -> str: ...


@dataclass(kw_only=True)
class Leg:
    """One stage: its trials, and who decides on them.

    Attributes:
        title: What a person calls it.
        searcher: Hands out the configurations.
        scheduler: Decides which of its trials go on.
        trials: How many it has at most.
        label: Name, kind and tags of a trial's run, by its place in the leg and its configuration.
        budget_s: Seconds after which it starts no trial and ends those that run.
        recalled: Its trials of earlier processes, in the order in which they were suggested.
        used_s: Seconds that it ran in earlier processes.
        trial_ids: Of the trials so far, in the order in which they were suggested.
    """

    title: str
    searcher: LegSearcher
    scheduler: LegScheduler
    trials: int
    label: Callable[[int, Mapping[str, Any]], RunLabel]
    budget_s: float | None = None
    recalled: Sequence[LoggedTrial] = ()
    used_s: float = 0.0
    trial_ids: list[str] = field(default_factory=list)
    started: float = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began, less those in which no process ran it."""
        return self.used_s + time.monotonic() - self.started

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.budget_s is not None and self.elapsed_s > self.budget_s


class Relay(Searcher):
    """Hands out the trials of one leg after the other.

    A leg begins when all trials of the one before it are over; only then is it built, so that it
    may follow from their results. Every suggestion is in the log before anyone acts on it.

    Args:
        legs: Yields the legs.
        on_leg: Told of each leg as it begins.
        max_concurrent: How many trials live at once.
        interruption: Once it is asked for, no trial starts.
        log: Where suggestions are noted; None if the legs are not gone on with by others.
        history: What earlier processes did.
        on_recall: Told of each trial of an earlier process when its leg begins.

    Attributes:
        leg: The leg that is run, the last one at the end; None before the first suggestion.
    """

    def __init__(
        self,
        legs: Iterator[Leg],
        *,
        on_leg: Callable[[Leg], object],
        max_concurrent: int,
        interruption: Interruption,
        log: SearchLog | None = None,
        history: History | None = None,
        on_recall: Callable[[LoggedTrial], object] | None = None,
    ) -> None:
        super().__init__()
        self._legs = legs
        self._on_leg = on_leg
        self._max_concurrent = max_concurrent
        self.interruption = interruption
        self._log = log
        self._history = history or History()
        self._on_recall = on_recall or (lambda trial: None)
        self.leg: Leg | None = None
        self._owners: dict[str, Leg] = {}
        self._open: set[str] = set()
        self._unfinished: deque[LoggedTrial] = deque()
        self._timed_out: set[str] = set()

    def leg_of(self, trial_id: str) -> Leg:
        """The leg that a trial belongs to."""
        return self._owners[trial_id]

    def label(self, trial_id: str, config: Mapping[str, Any]) -> RunLabel:
        """How a trial's run is called and tagged."""
        leg = self._owners[trial_id]
        return leg.label(leg.trial_ids.index(trial_id), config)

    def time_is_over(self, trial_id: str) -> bool:
        """Whether a trial that has just reported must stop for its leg's budget; remembered."""
        if self._owners[trial_id].expired:
            self._timed_out.add(trial_id)
        return trial_id in self._timed_out

    def timed_out(self, trial_id: str) -> bool:
        """Whether a trial was stopped for its leg's budget."""
        return trial_id in self._timed_out

    def elapsed_s(self, trial_id: str) -> float:
        """Seconds that the leg of a trial has run."""
        return self._owners[trial_id].elapsed_s

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **_: Any) -> bool:
        """Nothing to set: each leg brings its own metric and space."""
        return not config

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """True: the relay itself keeps to its limit."""
        return max_concurrent == self._max_concurrent

    def next_unfinished(self) -> LoggedTrial | None:
        """A trial of an earlier process that is still to be run to its end; each is given once."""
        if self.interruption.asked or not self._unfinished:
            return None
        return self._unfinished.popleft()

    def suggest(  # type: ignore[override]  # Ray's own type leaves out its FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next trial of the leg, or the first of the next leg once this one is over."""
        if self.interruption.asked:
            return str(self.FINISHED)  # Tune would block for minutes on "not now" without trials.
        if len(self._open) >= self._max_concurrent:
            return None
        while True:
            config = self._from_leg(trial_id)
            if config != self.FINISHED:
                return config
            if self._open:
                return None
            following = next(self._legs, None)
            if following is None:
                return str(self.FINISHED)
            self._begin(following)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Passed on to the leg."""
        self._owners[trial_id].searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Passed on to the leg."""
        self._open.discard(trial_id)
        self._owners[trial_id].searcher.on_trial_complete(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save for Ray: the log has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore from Ray."""

    def _from_leg(self, trial_id: str) -> dict[str, Any] | str | None:
        leg = self.leg
        if self._unfinished:
            return None
        if leg is None or len(leg.trial_ids) >= leg.trials or leg.expired:
            return str(self.FINISHED)
        config = leg.searcher.suggest(trial_id)
        if not isinstance(config, dict):
            return config
        if not self._noted(leg, trial_id, config):
            return None
        self._own(trial_id, leg)
        self._open.add(trial_id)
        return config

    def _noted(self, leg: Leg, trial_id: str, config: Mapping[str, Any]) -> bool:
        """Whether a suggestion is in the log; if it cannot be, the search is stopped."""
        at_s = leg.elapsed_s
        event = Suggested(leg=leg.title, trial_id=trial_id, config=dict(config), at_s=at_s)
        try:
            if self._log:
                self._log.put(event)
        except OSError as error:
            self.interruption.fault(error)
            return False
        return True

    def _own(self, trial_id: str, leg: Leg) -> None:
        leg.trial_ids.append(trial_id)
        self._owners[trial_id] = leg

    def _begin(self, leg: Leg) -> None:
        self.leg = leg
        leg.started = time.monotonic()
        self._on_leg(leg)
        for trial in leg.recalled:
            self._own(trial.trial_id, leg)
        self._tell_again(leg)
        for trial in leg.recalled:
            leg.scheduler.recall(trial)
            self._on_recall(trial)
            if trial.end is None:
                self._open.add(trial.trial_id)
                self._unfinished.append(trial)

    def _tell_again(self, leg: Leg) -> None:
        """All that the sampler of a leg was asked and told, in its order."""
        last: dict[str, Mapping[str, Any]] = {}
        own = set(leg.trial_ids)
        for event in self._history.events if own else ():
            match event:
                case Suggested() if event.trial_id in own:
                    leg.searcher.suggest_again(event.trial_id, event.config)
                case Reported() if event.trial_id in own:
                    last[event.trial_id] = event.result
                    leg.searcher.on_trial_result(event.trial_id, dict(event.result))
                case Ended() if event.trial_id in own:
                    failed = event.kind == "failed"
                    result = None if failed else dict(last.get(event.trial_id, {}))
                    leg.searcher.on_trial_complete(event.trial_id, result, failed)


class RelayScheduler(TrialScheduler):
    """Passes every decision to the scheduler of the trial's leg.

    Ends trials of an expired leg; once a stop is asked for, pauses each with a checkpoint.

    Args:
        relay: Knows the legs.
    """

    _supports_buffered_results = False

    def __init__(self, relay: Relay) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._relay = relay
        self._idle_actors = IdleActors()
        self._lost_actors = LostActors()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing to set: each leg's scheduler knows its metric."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = self._scheduler(trial).on_trial_result(tune_controller, trial, result)
        if decision == self.STOP or self._relay.time_is_over(trial.trial_id):
            return str(self.STOP)
        return str(self.PAUSE if self._relay.interruption.asked else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._scheduler(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        self._lost_actors.watch(tune_controller)
        if self._relay.interruption.asked:
            self._wind_down(unwrapped(tune_controller))
            return None
        self._idle_actors.update(tune_controller)
        if self._relay.leg is None:
            return None
        chosen: Trial | None = self._relay.leg.scheduler.choose_trial_to_run(tune_controller)
        return chosen

    def debug_string(self) -> str:
        return "" if self._relay.leg is None else str(self._relay.leg.scheduler.debug_string())

    def _wind_down(self, runner: Any) -> None:
        """Pause the trials that no report will come from, and note when none runs any more."""
        running = [t for t in runner.get_live_trials() if t.status == Trial.RUNNING]
        for trial in running:
            if self._scheduler(trial).release(trial.trial_id):
                runner.pause_trial(trial, should_checkpoint=True)
        self._relay.interruption.settled = not running

    def _scheduler(self, trial: Trial) -> Any:
        return self._relay.leg_of(trial.trial_id).scheduler
