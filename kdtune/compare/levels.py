"""The levels of a factor: numbers as they are or in bins, and the two sides of a contrast."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdtune.compare.claims import Factor, Level

MOST = 5
"""Numbers with more values than that are binned."""

BINS = 3


class Levels(NamedTuple):
    """A factor among some runs.

    Attributes:
        of: The level of each run, as people read it.
        order: All levels, rising, or the low side first.
        low, high: The sides of a contrast; one of them is empty where there is no contrast.
        binned: Whether numbers were put into bins of about as many runs each.
    """

    of: list[str]
    order: list[str]
    low: tuple[str, ...]
    high: tuple[str, ...]
    binned: bool = False


def levels_of(factor: Factor, found: Sequence[Level]) -> Levels:
    """The levels of ``factor`` where the runs are at ``found``, none of them None."""
    numbers = [level for level in found if isinstance(level, float)]
    if len(numbers) == len(found):
        return _of_numbers(numbers)
    texts = [str(level) for level in found]
    named = [name for name in factor.low if name in texts]
    order = [*named, *sorted({*texts} - {*named})]
    low = tuple(named[:1])
    return Levels(texts, order, low, tuple(name for name in order if name not in low))


def level_name(factor: Factor, level: str) -> str:
    """A level where it stands alone: ``kd``, but ``label smoothing 0.1``."""
    return level if factor.low else f"{factor.name} {level}"


def one_sided(factor: Factor, levels: Levels) -> str:
    """Which runs there would have to be where a side is missing."""
    there = " or ".join(levels.order)
    if factor.low and not levels.low:
        return f"runs whose {factor.name} is {factor.low[0]} (there is {there})"
    return f"runs whose {factor.name} is not {there}"


def _of_numbers(numbers: Sequence[float]) -> Levels:
    distinct = sorted(set(numbers))
    binned = len(distinct) > MOST
    if binned:
        edges = np.quantile(numbers, np.arange(1, BINS) / BINS)
        place = np.searchsorted(edges, numbers, side="left")
        spans = [np.array(numbers)[place == each] for each in range(BINS)]
        names = [f"{span.min():.3g} to {span.max():.3g}" if span.size else "" for span in spans]
        texts, order = [names[each] for each in place], [name for name in names if name]
    else:
        texts, order = [f"{each:g}" for each in numbers], [f"{each:g}" for each in distinct]
    low = tuple(order[:1]) if len(order) > 1 else ()
    return Levels(texts, order, low, tuple(order[-1:]), binned)
