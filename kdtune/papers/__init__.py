"""What five papers printed: figures, tables and protocols, as packaged data."""

from kdtune.papers.canonical import (
    UNSTATED,
    canonical_metric,
    canonical_settings,
    other_conditions,
    selection,
)
from kdtune.papers.figure import Figure
from kdtune.papers.figures import figures, protocol, tables
from kdtune.papers.networks import network_name
from kdtune.papers.paper import PAPERS, Paper

__all__ = [
    "PAPERS",
    "UNSTATED",
    "Figure",
    "Paper",
    "canonical_metric",
    "canonical_settings",
    "figures",
    "network_name",
    "other_conditions",
    "protocol",
    "selection",
    "tables",
]
