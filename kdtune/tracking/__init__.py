"""The results sink: what a search does, in a journal and in MLflow, without holding it up."""

from kdtune.tracking.canonical import canonical, canonical_params
from kdtune.tracking.journal import JournalDamaged, read_events, read_journal
from kdtune.tracking.location import (
    default_tracking_uri,
    resolve_tracking_uri,
    without_credentials,
)
from kdtune.tracking.provenance import git_state, versions
from kdtune.tracking.reading import read_runs, read_search
from kdtune.tracking.record import Point, RunRecord, SearchRecord
from kdtune.tracking.replay import replay
from kdtune.tracking.sink import MLflowSink
from kdtune.tracking.sink_report import SinkReport

__all__ = [
    "JournalDamaged",
    "MLflowSink",
    "Point",
    "RunRecord",
    "SearchRecord",
    "SinkReport",
    "canonical",
    "canonical_params",
    "default_tracking_uri",
    "git_state",
    "read_events",
    "read_journal",
    "read_runs",
    "read_search",
    "replay",
    "resolve_tracking_uri",
    "versions",
    "without_credentials",
]
