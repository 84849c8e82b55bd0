"""What a search decided and saw, on disk as it happens: what it goes on from after any death.

Ray's own restore brings back neither a scheduler's rungs nor what a sampler was told last, as both
are snapshots. A log has every event in its order, so sampler and scheduler can be told it all again
and stand where they stood. One line an event, each with a sum and written in one piece: a process
that is killed leaves at most its last line cut short.
"""

import json
import os
import shlex
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kdtune.contracts import FlatConfig

FILE = "search.log"
FORMAT = 1


class LogDamaged(ValueError):
    """A line of a log that is not its last one is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A search begins.

    Attributes:
        asked: Arguments of :func:`~kdtune.search.requesting.build_request`; empty for a request
            that was made in Python.
        digest: Of the space; see :func:`~kdtune.search.resuming.digest_of`.
        search_id: Of its runs in MLflow.
        workers: How many trials its sampler takes to run at once.
        format: Version of this file's format.
    """

    asked: Mapping[str, Any]
    digest: str
    search_id: str
    workers: int
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class Grown:
    """From here on the search has so many trials, and so many seconds for them (None: no limit)."""

    trials: int
    time_budget_s: float | None


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """A trial of a leg; ``at_s`` is how long the leg has run then, all processes together."""

    leg: str
    trial_id: str
    config: FlatConfig
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One report of a trial: what samplers, schedulers and callbacks look at."""

    trial_id: str
    result: Mapping[str, Any]
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A trial has a checkpoint: the name of its folder, and how many reports came before."""

    trial_id: str
    checkpoint: str
    iteration: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial is over for good.

    Attributes:
        trial_id: Tune's.
        kind: ``finished``, ``cut``, ``diverged`` or ``failed``; one that was stopped goes on.
        result: The scalars of its last report.
        error: What went wrong, for a failed one.
        at_s: As in :class:`Suggested`.
    """

    trial_id: str
    kind: str
    result: Mapping[str, Any]
    error: str
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Retried:
    """A trial that failed for good is to be tried again all the same."""

    trial_id: str


@dataclass(frozen=True, kw_only=True)
class Concluded:
    """A process has done all that was asked of the search."""


Event = Begun | Grown | Suggested | Reported | Saved | Ended | Retried | Concluded
_EVENTS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind
    for kind in (Begun, Grown, Suggested, Reported, Saved, Ended, Retried, Concluded)
}


@dataclass(frozen=True, kw_only=True)
class LoggedTrial:
    """All that the log says of one trial; ``end`` is None while it is not over."""

    trial_id: str
    leg: str
    config: FlatConfig
    reports: tuple[Mapping[str, Any], ...] = ()
    checkpoints: tuple[Saved, ...] = ()
    end: Ended | None = None


@dataclass(frozen=True)
class History:
    """What a search has been through; that of a new one is empty."""

    events: tuple[Event, ...] = ()
    trials: Mapping[str, LoggedTrial] = field(default_factory=dict)

    @property
    def begun(self) -> Begun | None:
        """How the search began; None if it never did."""
        return next((event for event in self.events if isinstance(event, Begun)), None)

    @property
    def grown(self) -> Grown | None:
        """How large it is now, if it is larger than at first."""
        return next((e for e in reversed(self.events) if isinstance(e, Grown)), None)

    @property
    def concluded(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.events) and isinstance(self.events[-1], Concluded)

    def of(self, leg: str) -> list[LoggedTrial]:
        """The trials of a leg, in the order in which they were suggested."""
        return [trial for trial in self.trials.values() if trial.leg == leg]

    def used_s(self, leg: str) -> float:
        """Seconds that a leg has run."""
        own = {trial.trial_id for trial in self.of(leg)}
        timed = [e for e in self.events if isinstance(e, Suggested | Reported | Ended)]
        return max((event.at_s for event in timed if event.trial_id in own), default=0.0)

    @property
    def failures(self) -> list[Retried]:
        """What would let each failed trial be tried again.

        Their ends remain events: the sampler made its later suggestions knowing of them.
        """
        return [
            Retried(trial_id=trial.trial_id)
            for trial in self.trials.values()
            if trial.end is not None and trial.end.kind == "failed"
        ]


def history_of(events: tuple[Event, ...]) -> History:
    """The same events sorted by trial."""
    trials: dict[str, LoggedTrial] = {}
    for event in events:
        match event:
            case Suggested():
                trials[event.trial_id] = LoggedTrial(
                    trial_id=event.trial_id, leg=event.leg, config=event.config
                )
            case Reported():
                trial = trials[event.trial_id]
                # One that failed, and reports again, is being tried again.
                reports = (*trial.reports, event.result)
                trials[event.trial_id] = replace(trial, reports=reports, end=None)
            case Saved():
                trial = trials[event.trial_id]
                trials[event.trial_id] = replace(trial, checkpoints=(*trial.checkpoints, event))
            case Ended():
                trials[event.trial_id] = replace(trials[event.trial_id], end=event)
            case Retried():
                trials[event.trial_id] = replace(trials[event.trial_id], end=None)
    return History(events, trials)


class SearchLog:
    """Appends to the log of a search; made with the first event.

    Args:
        folder: Of the search.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._file: int | None = None
        self._size = 0

    def put(self, event: Event) -> None:
        """Hand one event to the operating system.

        Raises:
            OSError: If it does not take it; the log is then as it was.
        """
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            # What a killed process left of its last line would spoil ours.
            self._size = self._sound_length()
            os.ftruncate(self._file, self._size)
        data = _line(event)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._size + written)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(data)

    def close(self) -> None:
        """Let go of the file; a later :meth:`put` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _sound_length(self) -> int:
        return self.path.read_bytes().rfind(b"\n") + 1


def read_log(folder: Path) -> History:
    """The history of a search; empty if it has no log.

    Raises:
        LogDamaged: If a line before the last one cannot be read.
        ValueError: If another version wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        return History()
    return history_of(tuple(_events(path)))


def _events(path: Path) -> Iterator[Event]:
    *lines, _cut_short = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            event = _event(line)
        except (ValueError, KeyError, TypeError):
            raise LogDamaged(
                f"line {number} of {len(lines)} in '{path}' is damaged: its checksum does not fit; "
                f"take the file from a backup, or go on from what came before: "
                f"sed -i '{number},$d' {shlex.quote(str(path))}"
            ) from None
        if isinstance(event, Begun) and event.format != FORMAT:
            raise ValueError(f"'{path}' has format {event.format}, this kdtune reads {FORMAT}")
        yield event


def _line(event: Event) -> bytes:
    said = {"event": type(event).__name__.lower(), **asdict(event)}
    text = json.dumps(said, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _event(line: bytes) -> Event:
    checksum, _, text = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(text):
        raise ValueError(line)
    said = json.loads(text)
    return _EVENTS[said.pop("event")](**said)
