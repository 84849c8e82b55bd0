"""One daemon thread that hands events to a writer in batches, and tries again after failures."""

import threading
import time

from kdtune.tracking.buffer import records
from kdtune.tracking.events import Event, Started
from kdtune.tracking.writer import Writer

LINGER_S = (0.5, 10.0)
"""Shortest and longest time that events gather before they are written together."""
LEISURE = 50
"""In between they gather for so many times as long as the last write took: the more runs are open,
and the slower the server, the more values share a call."""
FULL = 2000
"""Events that are written at once, without waiting for more."""
BACKOFF_S = (1.0, 30.0)
"""First and longest pause after a failure, doubling in between."""
CLOSING_BACKOFF_S = 0.2
CLOSING_TRIES = 3


class Worker:
    """Runs ``writer`` on a thread of its own until told to stop.

    While a server fails, events are kept and written once it is back; only :meth:`stop` gives up.

    Args:
        writer: Used by nobody else.
        room: How many records are kept for a server that fails; more are dropped, and counted.
    """

    def __init__(self, writer: Writer, *, room: int) -> None:
        self.writer = writer
        self._dropped = 0
        self._room = room
        self._unstarted: set[str] = set()
        self._linger = LINGER_S[0]
        self._queue: list[Event] = []
        self._waiting = 0
        self._stopping = False
        self._asked = False
        self._busy = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kdtune-tracking", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue one event; it is dropped if too many wait already, or its run's start was."""
        with self._changed:
            full = len(self._queue) + self._waiting >= self._room
            if full and isinstance(event, Started):
                self._unstarted.add(event.key)
            if full or event.key in self._unstarted:
                self._dropped += records(event)
                return
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

    @property
    def left(self) -> int:
        """Records that never got to the writer."""
        return self._dropped + sum(map(records, list(self._queue)))

    def _idle(self) -> bool:
        return not (self._queue or self._waiting or self._busy)

    def _run(self) -> None:
        failures = tries = 0
        while True:
            with self._changed:
                self._pause(failures)
                events, self._queue = self._queue, []
                closing, self._asked, self._busy = self._stopping, False, True
            began = time.monotonic()
            written = self._attempt(events)
            self._linger = min(max((time.monotonic() - began) * LEISURE, LINGER_S[0]), LINGER_S[1])
            failures = 0 if written else failures + 1
            tries += closing
            with self._changed:
                self._busy = False
                self._waiting = self.writer.waiting
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
                lambda: self._stopping or self._asked or len(self._queue) >= FULL, self._linger
            )

    def _attempt(self, events: list[Event]) -> bool:
        self.writer.take(events)
        try:
            self.writer.write()
        except Exception as error:  # A search never fails for its log; the report says what did.
            self.writer.note(error)
            return False
        return True
