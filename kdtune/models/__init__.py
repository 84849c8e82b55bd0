"""The networks: a CIFAR zoo and every classification model of torchvision, by name.

A family of networks is one file under ``zoo/``; nothing else names it.
"""

from kdtune.models.catalog import blueprint, build, check, names
from kdtune.models.count import Cost, Row, cost, describe
from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.split import split_after
from kdtune.models.tap import (
    Tap,
    declare_taps,
    norm_of,
    run,
    tap_shapes,
    taps,
)

__all__ = [
    "FAMILIES",
    "Builder",
    "Cost",
    "Family",
    "Row",
    "Tap",
    "blueprint",
    "build",
    "check",
    "cost",
    "declare_taps",
    "describe",
    "names",
    "norm_of",
    "run",
    "split_after",
    "tap_shapes",
    "taps",
]
