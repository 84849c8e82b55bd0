"""An orderly stop: who asked for it, and when all is safe."""

import errno
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray.tune import Stopper

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C; what clusters send before they take a machine away; a lost terminal; SLURM's notice."""

GRACE_S = 20.0
"""How long trials may take to the end of their epoch; Kubernetes kills 30 s after SIGTERM."""


class Interruption(Stopper):
    """Ends a Tune run in order: on a signal, or when the search can no longer note what it does.

    Once it is asked for, trials are paused with a checkpoint as they report. All is over when the
    last one is, or after ``grace_s`` seconds; what was not saved by then is trained again.

    Args:
        grace_s: See above.
        taken_over: Whether another process works on the search by now, this one having been out of
            reach for too long.

    Attributes:
        signal: The number of the signal; 0 if there was none.
        error: What made it impossible to go on, if that was the reason.
        settled: Whether no trial runs any more; set by whoever knows the trials.
    """

    def __init__(
        self, *, grace_s: float = GRACE_S, taken_over: Callable[[], bool] | None = None
    ) -> None:
        self.signal = 0
        self.error: OSError | None = None
        self.settled = False
        self._grace_s = grace_s
        self._taken_over = taken_over
        self._deadline = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process: Tune pickles what it is given."""
        return {**self.__dict__, "_taken_over": None}

    @property
    def asked(self) -> bool:
        """Whether the search is to stop."""
        return bool(self.signal or self.error)

    def request(self, signal_number: int) -> None:
        """Stop, as a signal says so."""
        self.signal = signal_number
        self._deadline = time.monotonic() + self._grace_s

    def fault(self, error: OSError) -> None:
        """Stop, as something cannot be written."""
        self.error = self.error or error
        self._deadline = time.monotonic() + self._grace_s

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No report ends its trial."""
        return False

    def stop_all(self) -> bool:
        """Whether Tune is to end."""
        if self._taken_over and self._taken_over() and not self.asked:
            self.fault(OSError(errno.EBUSY, "another process has taken the search over"))
        return self.asked and (self.settled or time.monotonic() > self._deadline)


@contextmanager
def stopped_by_signals(interruption: Interruption) -> Iterator[None]:
    """Turn the first of :data:`SIGNALS` into an orderly stop; a second one acts at once.

    Belongs around the connection to Ray, which takes seconds to start.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def stop(number: int, frame: FrameType | None) -> None:
        interruption.request(number)
        # Ray's native handler, which calls this one while Ray starts, aborts three seconds later.
        signal.alarm(0)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
