"""The networks: a CIFAR zoo and every classification model of torchvision, by name.

A family of networks is one file under ``zoo/``; nothing else names it.
"""

from kdtune.models.catalog import build, check, names
from kdtune.models.count import Cost, Row, cost, describe
from kdtune.models.family import FAMILIES, Builder, Family
from kdtune.models.tap import Tap, declare_taps, run, taps

__all__ = [
    "FAMILIES",
    "Builder",
    "Cost",
    "Family",
    "Row",
    "Tap",
    "build",
    "check",
    "cost",
    "declare_taps",
    "describe",
    "names",
    "run",
    "taps",
]
