"""What waits to be written for one run."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kdtune.tracking.events import (
    STATUS,
    Attached,
    DatasetUse,
    Ended,
    Event,
    Measured,
    Started,
    Tagged,
)

METRICS_PER_CALL = 800
ENTRIES_PER_CALL = 100
TEXT_PER_CALL = 300_000
"""Bytes of parameters, and again of tags, that go into one call: a server takes 1 MB in all."""

RUNNING = "RUNNING"


class Entry(NamedTuple):
    """One value of a metric, in the order in which MLflow's ``Metric`` takes its parts."""

    name: str
    value: float
    time_ms: int
    epoch: int


@dataclass(frozen=True)
class Parcel:
    """What one call of ``log_batch`` carries, within MLflow's limits."""

    entries: list[Entry]
    params: dict[str, str]
    tags: dict[str, str]

    def __len__(self) -> int:
        return len(self.entries) + len(self.params) + len(self.tags)


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run that MLflow has already.

    Attributes:
        run_id: MLflow's id.
        status: ``RUNNING``, ``FINISHED`` ...
        ended_ms: When it ended; None while it runs.
        params, tags: Its own.
        latest: The latest value of each of its metrics.
        inputs: Name and digest of each dataset that it reads.
    """

    run_id: str
    status: str
    ended_ms: int | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    latest: Mapping[str, Entry]
    inputs: Collection[tuple[str, str]]


@dataclass
class Buffer:
    """Events of one run, merged; each part leaves it once it is written."""

    started: Started | None = None
    ended: Ended | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    inputs: list[DatasetUse] = field(default_factory=list)
    attached: list[Attached] = field(default_factory=list)

    def __len__(self) -> int:
        """How many records wait: a value, parameter, tag, input or file; a run's start or end."""
        parts = (self.params, self.tags, self.entries, self.inputs, self.attached)
        return sum(map(len, parts)) + bool(self.started) + bool(self.ended)

    @property
    def status(self) -> tuple[str, int | None]:
        """What the run's status is to be, and when it ended."""
        if self.ended:
            return STATUS[self.ended.outcome], self.ended.time_ms
        return RUNNING, None

    def take(self, event: Event) -> None:
        """Add one event behind what waits already."""
        match event:
            case Started():
                self.started, self.ended = self.started or event, None
                self.params = {**event.params, **self.params}
                self.tags |= event.tags
                self.inputs += [use for use in event.inputs if use not in self.inputs]
            case Measured():
                stamp = (event.time_ms, event.epoch)
                self.entries += [Entry(name, x, *stamp) for name, x in event.metrics.items()]
                self.tags |= event.tags
            case Ended():
                self.ended = event
                self.tags |= event.tags
            case Tagged():
                self.tags |= event.tags
            case Attached():
                self.attached.append(event)

    def leave_out(self, found: FoundRun, history: Callable[[str], Collection[Entry]]) -> int:
        """Forget what the run has already, files excepted; how many records that is.

        Args:
            found: The run.
            history: All values of one of its metrics.
        """
        before = len(self)
        self.params = {name: text for name, text in self.params.items() if name not in found.params}
        self.tags = {n: text for n, text in self.tags.items() if found.tags.get(n) != text}
        self.inputs = [u for u in self.inputs if (u.name, u.digest) not in found.inputs]
        there = set(found.latest.values())
        missing = {entry.name for entry in self.entries if entry not in there}
        there.update(*(history(name) for name in missing & set(found.latest)))
        self.entries = [e for e in dict.fromkeys(self.entries) if e not in there]
        if self.status == (found.status, found.ended_ms):
            self.started = self.ended = None
        return before - len(self)

    def parcel(self) -> Parcel | None:
        """The next call's load, which stays here until :meth:`sent`; None when all is sent."""
        if not (self.params or self.tags or self.entries):
            return None
        return Parcel(self.entries[:METRICS_PER_CALL], _first(self.params), _first(self.tags))

    def sent(self, parcel: Parcel) -> None:
        """Forget what ``parcel`` carried."""
        del self.entries[: len(parcel.entries)]
        for key in parcel.params:
            del self.params[key]
        for key in parcel.tags:
            del self.tags[key]


def _first(entries: Mapping[str, str]) -> dict[str, str]:
    """As many entries as one call may carry."""
    taken: dict[str, str] = {}
    room = TEXT_PER_CALL
    for key, text in entries.items():
        room -= len(json.dumps(text))
        if len(taken) == ENTRIES_PER_CALL or room < 0:
            break
        taken[key] = text
    return taken


def records(event: Event) -> int:
    """How many records one event is."""
    buffer = Buffer()
    buffer.take(event)
    return len(buffer)
