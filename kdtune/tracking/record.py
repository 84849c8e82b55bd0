"""Everything that one search logged, read back: from its journal, or from MLflow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kdtune.tracking.events import PARENT, DatasetUse, Ended, Event, Measured, Started, Tagged


class Point(NamedTuple):
    """One value of a metric."""

    epoch: int
    value: float
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        key: Name of the run within its search (a trial's is Tune's id), empty for the search's own.
        name: What a person reads in the list of runs.
        params: Canonical texts.
        tags: Canonical texts, ``kind``, ``outcome``, ``method`` and so on among them.
        history: All values of each metric, by epoch, then by time.
        started_ms: Milliseconds since the epoch.
        ended_ms: The same; None while it runs, or if its end was never told.
        run_id: MLflow's id; empty when read from a journal.
        inputs: The datasets that it reads, by name and context.
    """

    key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    history: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    started_ms: int
    ended_ms: int | None = None
    run_id: str = ""
    inputs: Sequence[DatasetUse] = ()

    @property
    def kind(self) -> str:
        """``search``, ``teacher``, ``trial``, ``finalist``, ``baseline`` ...; empty if untold."""
        return self.tags.get("kind", "")

    @property
    def outcome(self) -> str:
        """``finished``, ``cut``, ``diverged``, ``failed`` or ``stopped``; empty while it runs."""
        return self.tags.get("outcome", "")

    def value(self, metric: str) -> float | None:
        """The latest value of a metric; None if it was never logged."""
        points = self.history.get(metric)
        return points[-1].value if points else None


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """A search and its runs.

    Attributes:
        experiment: Name of the MLflow experiment.
        tracking_uri: Where MLflow's copy is; passwords blanked out.
        search: The search's own run.
        runs: Its children, in the order in which they were started.
    """

    experiment: str
    tracking_uri: str
    search: RunRecord
    runs: Sequence[RunRecord]

    @property
    def name(self) -> str:
        """Of the search."""
        return self.search.name

    def of_kind(self, *kinds: str) -> list[RunRecord]:
        """The children of these kinds, in their order."""
        return [run for run in self.runs if run.kind in kinds]


def search_record(events: Iterable[Event], *, experiment: str, tracking_uri: str) -> SearchRecord:
    """What MLflow holds once ``events`` are written there."""
    runs: dict[str, _Run] = {PARENT: _Run(PARENT)}
    for event in events:
        runs.setdefault(event.key, _Run(event.key)).take(event)
    search = runs.pop(PARENT).record()
    children = [run.record() for run in runs.values() if run.started_ms is not None]
    return SearchRecord(
        experiment=experiment,
        tracking_uri=tracking_uri,
        search=search,
        runs=in_order(children),
    )


def in_order(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """``runs`` as they were started; within a millisecond by key."""
    return sorted(runs, key=lambda run: (run.started_ms, run.key))


def by_context(uses: Iterable[DatasetUse]) -> tuple[DatasetUse, ...]:
    """``uses`` without repetitions, in an order that does not depend on where they were."""
    return tuple(sorted(set(uses), key=lambda use: (use.name, use.context, use.digest)))


def by_epoch(points: Iterable[Point]) -> list[Point]:
    """``points`` without repetitions, the last as in MLflow: of the last epoch, the latest."""
    return sorted(set(points), key=lambda point: (point.epoch, point.time_ms, point.value))


class _Run:
    """One run, event by event."""

    def __init__(self, key: str) -> None:
        self.started_ms: int | None = None
        self._key = key
        self._name = ""
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._points: dict[str, list[Point]] = {}
        self._inputs: list[DatasetUse] = []
        self._ended_ms: int | None = None

    def take(self, event: Event) -> None:
        match event:
            case Started():
                if self.started_ms is None:
                    self.started_ms, self._name = event.time_ms, event.name
                self._ended_ms = None
                self._params = {**event.params, **self._params}
                self._tags |= event.tags
                self._inputs += event.inputs
            case Measured():
                for name, value in event.metrics.items():
                    point = Point(event.epoch, value, event.time_ms)
                    self._points.setdefault(name, []).append(point)
                self._tags |= event.tags
            case Ended():
                self._ended_ms = event.time_ms
                self._tags |= event.tags
            case Tagged():
                self._tags |= event.tags

    def record(self) -> RunRecord:
        return RunRecord(
            key=self._key,
            name=self._name,
            params=self._params,
            tags=self._tags,
            history={name: by_epoch(points) for name, points in self._points.items()},
            started_ms=self.started_ms or 0,
            ended_ms=self._ended_ms,
            inputs=by_context(self._inputs),
        )
