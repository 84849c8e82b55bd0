"""Keeps Tune's reused actors from being thrown away while a search goes on.

``reuse_actors`` loses them in two ways, and a new one takes seconds to start. An idle actor
survives only if another trial already waits for it (one more is kept besides), so a sampler that
waits for reports before it suggests is left with a single actor. And a trial whose own actor is
starting takes over an idle one and drops its own, so trials shorter than a start never run in
parallel.
"""

import logging
from typing import Any

from ray.tune.experiment import Trial

KEEP = 1_000
logger = logging.getLogger(__name__)


class IdleActors:
    """Raises the limit of Tune's actor cache, and empties it while an actor is starting.

    Only while the sampler may suggest more trials, and while all trials ask for the same
    resources: else an idle actor of one kind would block the start of another.
    """

    def __init__(self) -> None:
        self._kind: Any = None
        self._aside: list[Any] = []
        self._off = False

    def update(self, tune_controller: Any) -> None:
        """Look after the idle actors; for a scheduler to call once per step.

        A Ray whose controller has other private parts costs idle actors, never the search.
        """
        if self._off:
            return
        try:
            self._update(unwrapped(tune_controller))
        except AttributeError:
            self._off = True
            logger.warning("idle actors are not kept with this version of Ray", exc_info=True)

    def _update(self, runner: Any) -> None:
        cache = runner._actor_cache
        trials = runner.get_live_trials()
        kind = self._wanted(runner, trials)
        if kind is not None and any(_is_starting(runner, trial) for trial in trials):
            while cache.has_cached_object(kind):
                self._aside.append(cache.pop_cached_object(kind))
        else:
            while self._aside:
                cache.cache_object(self._kind, self._aside.pop(0))
        if kind != self._kind:
            if self._kind is not None:
                cache.decrease_max(self._kind, KEEP)
            if kind is not None:
                cache.increase_max(kind, KEEP)
            self._kind = kind

    def _wanted(self, runner: Any, trials: Any) -> Any:
        """The kind of resources whose idle actors are to be kept; None for none."""
        if runner.search_alg.is_finished():
            return None
        kinds = {trial.placement_group_factory for trial in trials}
        if not kinds:
            return self._kind
        return kinds.pop() if len(kinds) == 1 else None


def unwrapped(tune_controller: Any) -> Any:
    """Tune's controller itself; the wrapper that schedulers get warns of calls it does not list."""
    return getattr(tune_controller, "_tune_controller", tune_controller)


def _is_starting(runner: Any, trial: Trial) -> bool:
    """Whether the trial has resources, and an actor of its own that is not ready yet."""
    actor = runner._trial_to_actor.get(trial)
    return (
        trial.status == Trial.PENDING
        and actor is not None
        and trial not in runner._resetting_trials
        and runner._actor_manager.is_actor_started(actor)
    )
