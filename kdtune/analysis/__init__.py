"""Analyses of finished runs: what the papers explain their figures by, as numbers and pictures.

An analysis is one file, which registers itself; nothing else names it.
"""

from kdtune import discovery
from kdtune.analysis.base import (
    ANALYSES,
    Analysis,
    Item,
    Measured,
    Presented,
    Subject,
    Table,
)

discovery.import_submodules(__name__, __path__)

__all__ = ["ANALYSES", "Analysis", "Item", "Measured", "Presented", "Subject", "Table"]
