"""One daemon thread that hands events to a writer in batches, and tries again after failures."""

import threading
import time

from kdtune.tracking.events import Event
from kdtune.tracking.writer import Writer

LINGER_S = 0.5
"""How long events gather before they are written together."""
FULL = 2000
"""Events that are written at once, without waiting for more."""
MOST_WAITING = 500_000
"""Events kept in memory for a server that does not answer; later ones are lost."""
BACKOFF_S = (1.0, 30.0)
"""First and longest pause after a failure, doubling in between."""
CLOSING_BACKOFF_S = 0.2
CLOSING_TRIES = 3


class Worker:
    """Runs ``writer`` on a thread of its own until told to stop.

    While a server fails, events are kept and written once it is back; only :meth:`stop` gives up.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._queue: list[Event] = []
        self._waiting = 0
        self._stopping = False
        self._asked = False
        self._busy = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kdtune-tracking", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue one event; it is dropped if too many wait already."""
        with self._changed:
            if len(self._queue) + self._waiting < MOST_WAITING:
                self._queue.append(event)
            if len(self._queue) in (1, FULL):
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Write now; whether everything put so far was dealt with within ``timeout_s``."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()
            return self._changed.wait_for(self._idle, timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Write what waits, giving up after ``timeout_s`` or a few failures, and end the thread."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _idle(self) -> bool:
        return not (self._queue or self._waiting or self._busy)

    def _run(self) -> None:
        failures = tries = 0
        while True:
            with self._changed:
                self._pause(failures)
                events, self._queue = self._queue, []
                closing, self._asked, self._busy = self._stopping, False, True
            written = self._attempt(events)
            failures = 0 if written else failures + 1
            tries += closing
            with self._changed:
                self._busy = False
                self._waiting = 0 if written else self._waiting + len(events)
                self._changed.notify_all()
                if closing and not self._queue and (written or tries >= CLOSING_TRIES):
                    return

    def _pause(self, failures: int) -> None:
        """Rest until there is something to do, and then until more has gathered."""
        self._changed.wait_for(
            lambda: self._queue or self._waiting or self._stopping or self._asked
        )
        if self._stopping:
            self._changed.wait(CLOSING_BACKOFF_S if failures else 0)
        elif failures:
            first, longest = BACKOFF_S
            delay = min(longest, first * 2.0 ** min(failures - 1, 16))
            self._changed.wait_for(lambda: self._stopping or self._asked, delay)
        else:
            self._changed.wait_for(
                lambda: self._stopping or self._asked or len(self._queue) >= FULL, LINGER_S
            )

    def _attempt(self, events: list[Event]) -> bool:
        self.writer.take(events)
        try:
            self.writer.write()
        except Exception as error:  # A search never fails for its log; the report says what did.
            self.writer.note(error)
            return False
        return True
