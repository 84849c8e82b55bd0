"""Pruning of convolutional networks: one method a file, joined by a registry.

A network declares which filters may go through an attribute ``prunable`` on its blocks: the paths,
relative to the block, of convs whose filters can be removed without changing what the block gives
to the rest of the network.
"""

from kdtune.discovery import import_submodules
from kdtune.pruning.count import pruned_cost
from kdtune.pruning.gain import surplus
from kdtune.pruning.pruner import (
    PRUNERS,
    SLIMMING_STRENGTH,
    Cut,
    Pruner,
    PruneRecord,
    finalize,
    prune,
    regulariser,
    replay,
)
from kdtune.pruning.skip_lists import SKIP_LISTS
from kdtune.pruning.timing import latency

import_submodules(__name__, __path__)

__all__ = [
    "PRUNERS",
    "SKIP_LISTS",
    "SLIMMING_STRENGTH",
    "Cut",
    "PruneRecord",
    "Pruner",
    "finalize",
    "latency",
    "prune",
    "pruned_cost",
    "regulariser",
    "replay",
    "surplus",
]
