"""Everything that one search logged, read back: from its journal, or from MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


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
        history: All values of each metric, in the order in which they were logged.
        started_ms: Milliseconds since the epoch.
        ended_ms: The same; None while it runs, or if its end was never told.
        run_id: MLflow's id; empty when read from a journal.
    """

    key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    history: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    started_ms: int
    ended_ms: int | None = None
    run_id: str = ""

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
