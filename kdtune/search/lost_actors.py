"""Retries a trial that was handed a dead process, which Tune does not.

With ``reuse_actors`` a trial gets the process of one that is over. If that died in between, with
its node for one, Tune hears of it twice: from the actor, and from the call that was to make it
ready. One of the two it takes for the failure of a trial that waits, which it never tries again.
"""

import logging
from typing import Any

from ray.tune.experiment import Trial

from kdtune.search.idle_actors import unwrapped

logger = logging.getLogger(__name__)


class LostActors:
    """Stands between Tune's controller and the failures of its trials.

    Tune pickles its controller, and what is attached to it: an unpickled one does nothing.
    """

    def __init__(self) -> None:
        self._runner: Any = None
        self._fail: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_runner": None, "_fail": None}

    def watch(self, tune_controller: Any) -> None:
        """Look after the failures from now on; for a scheduler to call once per step.

        A Ray whose controller has other private parts costs retries, never the search.
        """
        runner = unwrapped(tune_controller)
        if runner is self._runner:
            return
        self._runner = runner
        try:
            self._fail, runner._trial_task_failure = runner._trial_task_failure, self.failed
        except AttributeError:
            logger.warning("lost actors are not looked after with this Ray", exc_info=True)

    def failed(self, trial: Trial, exception: Exception) -> None:
        """A call of the process of ``trial`` has failed."""
        runner = self._runner
        waits = trial.status == Trial.PENDING
        if waits and trial not in runner._trial_to_actor:
            return  # The second word on an actor that was given up with the first.
        if waits and trial in runner._resetting_trials:
            runner._set_trial_status(trial, Trial.RUNNING)  # As Tune does if no actor comes up.
        runner._resetting_trials.discard(trial)
        self._fail(trial, exception)
