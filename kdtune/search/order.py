"""A virtual clock that makes a parallel search forget how fast its machines were.

Trials run at different speeds, so the order in which their results arrive, and with it what a
sampler knows when it is asked, changes from run to run. The clock replays the search on
``workers`` imaginary workers that all take one unit of time for one epoch. What a suggestion may
know follows from the epochs that trials ran, and from nothing else.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Start:
    """A trial that starts on the virtual clock.

    Attributes:
        index: Its place in the order of suggestions, from 0.
        time: When it starts, in epochs.
        known: Trials that ended by then and that no earlier start knew, by (end, index).
    """

    index: int
    time: int
    known: tuple[int, ...]


@dataclass
class VirtualClock:
    """Starts and ends of trials on ``workers`` virtual workers; the unit is one epoch.

    The first ``workers`` trials start at 0 and know nothing. Every later one starts when the
    worker that frees first becomes free, and knows all trials that ended by then. Real time
    decides only when that moment is certain: while a running trial could still end at or before
    it, :meth:`next_start` is None.
    """

    workers: int
    _starts: list[int] = field(default_factory=list)
    _seen: list[int] = field(default_factory=list)
    _ends: dict[int, int] = field(default_factory=dict)
    _last: list[int] = field(default_factory=list)
    _unknown: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"a search needs at least 1 worker, got {self.workers}")

    def next_start(self) -> int | None:
        """When the next trial starts, or None while a running trial could still change that.

        Never None when no trial is running.
        """
        if len(self._starts) < self.workers:
            return 0
        free = [self._ends[index] for index in self._last if index in self._ends]
        if not free:
            return None
        time = min(free)
        running = (index for index in self._last if index not in self._ends)
        if any(self._reach(index) <= time for index in running):
            return None
        return time

    def begin(self) -> Start:
        """Start the next trial; only when :meth:`next_start` says when."""
        time = self.next_start()
        assert time is not None, "the next start is not certain yet"
        index = len(self._starts)
        if index < self.workers:
            self._last.append(index)
            known: tuple[int, ...] = ()
        else:
            free = next(w for w, last in enumerate(self._last) if self._ends.get(last) == time)
            self._last[free] = index
            known = self._take(time)
        self._starts.append(time)
        self._seen.append(0)
        return Start(index, time, known)

    def saw(self, index: int, epochs: int) -> None:
        """A running trial has reported its epoch ``epochs``, counted from 1."""
        self._seen[index] = max(self._seen[index], epochs)

    def end(self, index: int) -> None:
        """A trial is over after the last epoch it reported, however it ended.

        One that reported none takes one unit of time too: so the trials that start together need
        not wait for each other's first report.
        """
        if index not in self._ends:
            self._ends[index] = self._reach(index)
            self._unknown.append((self._ends[index], index))

    def drain(self) -> tuple[int, ...]:
        """All ended trials that no start knew, by (end, index); for the end of a search."""
        return self._take(None)

    def _reach(self, index: int) -> int:
        """The end of an ended trial; the earliest end of a running one."""
        return self._starts[index] + max(self._seen[index], 1)

    def _take(self, time: int | None) -> tuple[int, ...]:
        ended = sorted(self._unknown)
        known = [pair for pair in ended if time is None or pair[0] <= time]
        self._unknown = ended[len(known) :]
        return tuple(index for _, index in known)
