"""What waits to be written for one run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdtune.tracking.events import Ended, Event, Measured, Started

METRICS_PER_CALL = 800
ENTRIES_PER_CALL = 100

Point = tuple[str, float, int, int]
"""Metric name, value, time in ms, epoch: the order in which MLflow's ``Metric`` takes them."""


@dataclass(frozen=True)
class Parcel:
    """What one call of ``log_batch`` carries, within MLflow's limits."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]


@dataclass
class Buffer:
    """Events of one run, merged; each part leaves it once it is written."""

    started: Started | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    ended: Ended | None = None

    def take(self, event: Event) -> None:
        """Add one event behind what waits already."""
        match event:
            case Started():
                self.started, self.ended = event, None
                self.params |= event.params
            case Measured():
                stamp = (event.time_ms, event.epoch)
                self.points += [(key, value, *stamp) for key, value in event.metrics.items()]
                self.tags |= event.tags
            case Ended():
                self.ended = event
                self.tags |= event.tags

    def skip(self, floors: Mapping[str, int]) -> int:
        """Forget points at or below the epoch that ``floors`` gives for their metric; how many."""
        before = len(self.points)
        self.points = [p for p in self.points if p[3] > floors.get(p[0], -1)]
        return before - len(self.points)

    def parcel(self) -> Parcel | None:
        """The next call's load, which stays here until :meth:`sent`; None when all is sent."""
        if not (self.params or self.tags or self.points):
            return None
        return Parcel(self.points[:METRICS_PER_CALL], _first(self.params), _first(self.tags))

    def sent(self, parcel: Parcel) -> None:
        """Forget what ``parcel`` carried."""
        del self.points[: len(parcel.points)]
        for key in parcel.params:
            del self.params[key]
        for key in parcel.tags:
            del self.tags[key]


def _first(entries: dict[str, str]) -> dict[str, str]:
    return dict(list(entries.items())[:ENTRIES_PER_CALL])
