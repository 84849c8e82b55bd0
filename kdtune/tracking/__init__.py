"""The results sink: what a search does, written to MLflow without holding it up."""

from kdtune.tracking.canonical import canonical, canonical_params
from kdtune.tracking.location import (
    default_tracking_uri,
    resolve_tracking_uri,
    without_credentials,
)
from kdtune.tracking.provenance import git_state, versions
from kdtune.tracking.sink import MLflowSink, SinkReport

__all__ = [
    "MLflowSink",
    "SinkReport",
    "canonical",
    "canonical_params",
    "default_tracking_uri",
    "git_state",
    "resolve_tracking_uri",
    "versions",
    "without_credentials",
]
