"""Several stages in one Tune run, so that warm actors pass from each to the next.

Starting an actor means importing torch and Ray, which costs more than a small trial; a search
whose teachers, trials and finalists share one run pays it once.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from kdtune.search.callbacks import RunLabel
from kdtune.search.idle_actors import IdleActors


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
        trial_ids: Of the trials so far, in the order in which they were suggested.
    """

    title: str
    searcher: Searcher
    scheduler: TrialScheduler
    trials: int
    label: Callable[[int, Mapping[str, Any]], RunLabel]
    budget_s: float | None = None
    trial_ids: list[str] = field(default_factory=list)
    started: float = 0.0

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.budget_s is not None and time.monotonic() - self.started > self.budget_s


class Relay(Searcher):
    """Hands out the trials of one leg after the other.

    A leg begins when all trials of the one before it are over; only then is it built, so that it
    may follow from their results.

    Args:
        legs: Yields the legs.
        on_leg: Told of each leg as it begins.
        max_concurrent: How many trials live at once.

    Attributes:
        leg: The leg that is run, the last one at the end; None before the first suggestion.
    """

    def __init__(
        self, legs: Iterator[Leg], *, on_leg: Callable[[Leg], object], max_concurrent: int
    ) -> None:
        super().__init__()
        self._legs = legs
        self._on_leg = on_leg
        self._max_concurrent = max_concurrent
        self.leg: Leg | None = None
        self._owners: dict[str, Leg] = {}
        self._open: set[str] = set()

    def leg_of(self, trial_id: str) -> Leg:
        """The leg that a trial belongs to."""
        return self._owners[trial_id]

    def label(self, trial_id: str, config: Mapping[str, Any]) -> RunLabel:
        """How a trial's run is called and tagged."""
        leg = self._owners[trial_id]
        return leg.label(leg.trial_ids.index(trial_id), config)

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **_: Any) -> bool:
        """Nothing to set: each leg brings its own metric and space."""
        return not config

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """True: the relay itself keeps to its limit."""
        return max_concurrent == self._max_concurrent

    def suggest(  # type: ignore[override]  # Ray's own type leaves out its FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """The next trial of the leg, or the first of the next leg once this one is over."""
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
            self.leg = following
            following.started = time.monotonic()
            self._on_leg(following)

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
        """Write the state of the searcher whose leg is run."""
        if self.leg is not None:
            self.leg.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Read what :meth:`save` wrote."""
        if self.leg is not None:
            self.leg.searcher.restore(checkpoint_path)

    def _from_leg(self, trial_id: str) -> dict[str, Any] | str | None:
        leg = self.leg
        if leg is None or len(leg.trial_ids) >= leg.trials or leg.expired:
            return str(self.FINISHED)
        config = leg.searcher.suggest(trial_id)
        if not isinstance(config, dict):
            return config
        leg.trial_ids.append(trial_id)
        self._owners[trial_id] = leg
        self._open.add(trial_id)
        return config


class RelayScheduler(TrialScheduler):
    """Passes every decision to the scheduler of the trial's leg; ends trials of an expired leg.

    Args:
        relay: Knows the legs.
    """

    _supports_buffered_results = False

    def __init__(self, relay: Relay) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._relay = relay
        self._idle_actors = IdleActors()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing to set: each leg's scheduler knows its metric."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        decision = self._scheduler(trial).on_trial_result(tune_controller, trial, result)
        expired = self._relay.leg_of(trial.trial_id).expired
        return str(self.STOP if expired else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._scheduler(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self._scheduler(trial).on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        self._idle_actors.update(tune_controller)
        if self._relay.leg is None:
            return None
        chosen: Trial | None = self._relay.leg.scheduler.choose_trial_to_run(tune_controller)
        return chosen

    def debug_string(self) -> str:
        return "" if self._relay.leg is None else str(self._relay.leg.scheduler.debug_string())

    def _scheduler(self, trial: Trial) -> TrialScheduler:
        return self._relay.leg_of(trial.trial_id).scheduler
