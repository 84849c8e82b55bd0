"""Which of the analysed runs differ in nothing but the seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdtune.analysis.base import Item


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What was run with one or more seeds.

    Attributes:
        name: The label of its only item, or what the labels of all have before ``seed 3``.
        items: At least one, in the order asked for.
    """

    name: str
    items: Sequence[Item]


def configurations(items: Sequence[Item]) -> list[Configuration]:
    """The items by their configuration without ``seed``, in the order of first appearance."""
    groups: dict[object, list[Item]] = {}
    for item in items:
        flat = {key: value for key, value in item.config.flat().items() if key != "seed"}
        groups.setdefault(tuple(sorted(flat.items())), []).append(item)
    return [Configuration(name=_name(group), items=group) for group in groups.values()]


def _name(group: Sequence[Item]) -> str:
    first, *more = (item.label for item in group)
    if not more:
        return first
    stems = {re.sub(r"[ ,]*\bseed \d+$", "", label) for label in (first, *more)}
    return stems.pop() if len(stems) == 1 else f"{first} and {len(more)} more"
