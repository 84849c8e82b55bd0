"""Subjects that differ by their seed alone, and what to call those that differ otherwise."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from kdtune.analysis.base import Item
from kdtune.contracts import FlatConfig, Scalar


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """The items of one configuration, which differ by their seed.

    Attributes:
        label: What its items' labels share, ``finalist 1``; of one item alone its own.
        items: At least one, in the order asked for.
    """

    label: str
    items: tuple[Item, ...]


def replicates(items: Sequence[Item]) -> list[Replicates]:
    """Items by configuration, in the order in which configurations first occur.

    A seed that comes twice is the same run again, which makes n no larger: it starts a group of its
    own.
    """
    groups = _together(items, ("seed",))
    labels = [_shared_label(group) for group in groups]
    return [
        Replicates(label=label if labels.count(label) == 1 else group[0].label, items=tuple(group))
        for label, group in zip(labels, groups, strict=True)
    ]


def series(items: Sequence[Item], axis: str) -> list[Replicates]:
    """Items by configuration, apart from the seed and the key ``axis`` that a picture shows.

    They are called by their own labels where each has one value of ``axis``, else by what differs.
    """
    ignored = ("seed", axis)
    groups = _together(items, ignored)
    if len(replicates(items)) == len(groups):
        return replicates(items)
    flats = [group[0].config.flat() for group in groups]
    names = told_apart([{k: v for k, v in flat.items() if k not in ignored} for flat in flats])
    return [
        Replicates(label=name, items=tuple(group))
        for name, group in zip(names, groups, strict=True)
    ]


def seeds_of(items: Sequence[Item]) -> str:
    """``seed 0``, or ``seeds 0, 1, 2``."""
    seeds = sorted({item.config.seed for item in items})
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def told_apart(flats: Sequence[FlatConfig]) -> list[str]:
    """A name for each configuration: its method, and what differs from others of that method."""
    names = []
    for flat in flats:
        alike = [other for other in flats if other["method"] == flat["method"]]
        keys = sorted({key for other in alike for key in other})
        telling = [key for key in keys if len({repr(other.get(key)) for other in alike}) > 1]
        said = [f"{key} {flat[key]}" for key in telling if key in flat]
        names.append(", ".join([str(flat["method"]), *said]))
    return names


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation, which one value alone has none of."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def percent_spread(shares: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation in percent; None where not every run has the share."""
    if not all(map(math.isfinite, shares)):
        return None, None
    return mean_and_std([100 * float(share) for share in shares])


def spread_columns(
    head: str, runs: Sequence[Sequence[float]]
) -> list[tuple[str, list[float | None]]]:
    """Heads and cells of shares in percent: the mean over runs, and of several their deviation.

    Args:
        head: Of the column.
        runs: A row of shares for each run of a configuration.
    """
    spreads = [percent_spread(shares) for shares in zip(*runs, strict=True)]
    means = [mean for mean, _ in spreads]
    if len(runs) == 1:
        return [(head, means)]
    return [(f"{head}, mean", means), (f"{head}, std", [std for _, std in spreads])]


def spread_explained(groups: Sequence[Replicates]) -> str:
    """A note for a table of such columns: what they are, n and the seeds."""
    counts = "; ".join(f"n = {len(group.items)} of {group.label}" for group in groups)
    seeds = seeds_of([item for group in groups for item in group.items]).capitalize()
    return (
        "Mean and, of several, sample standard deviation over the n runs of a configuration, which "
        f"differ by their seed: {counts}. {seeds}."
    )


def seed_rows(
    items: Sequence[Item], cells: Callable[[Item], Sequence[Scalar]], lead: int
) -> list[list[Scalar]]:
    """A row for each item, and two behind those of a configuration with several seeds.

    Args:
        items: In any order; the rows of a configuration are put together.
        cells: The cells of an item behind its label; of numbers the mean and the sample standard
            deviation are taken over those items that have one.
        lead: How many cells at their start describe the item, and are no measurement.
    """
    rows: list[list[Scalar]] = []
    for group in replicates(items):
        own = [list(cells(item)) for item in group.items]
        rows += [[item.label, *row] for item, row in zip(group.items, own, strict=True)]
        if len(own) > 1:
            columns = list(zip(*own, strict=True))
            said = [c[0] if len(set(c)) == 1 else None for c in columns[:lead]]
            spreads = [_spread(column) for column in columns[lead:]]
            count = f"{len(own)} seeds"
            rows.append([f"{group.label}: mean of {count}", *said, *(m for m, _ in spreads)])
            rows.append([f"{group.label}: sample std of {count}", *said, *(s for _, s in spreads)])
    return rows


def _together(items: Sequence[Item], ignored: Collection[str]) -> list[list[Item]]:
    """Items whose configurations differ in the ``ignored`` keys only, in order of occurrence."""
    groups: dict[tuple[str, int], list[Item]] = {}
    times: Counter[str] = Counter()
    for item in items:
        flat = sorted(item.config.flat().items())
        kept = repr([(key, value) for key, value in flat if key not in ignored])
        groups.setdefault((kept, times[repr(flat)]), []).append(item)
        times[repr(flat)] += 1
    return list(groups.values())


def _spread(column: Sequence[Scalar]) -> tuple[float | None, float | None]:
    values = [float(value) for value in column if isinstance(value, int | float)]
    return mean_and_std(values) if values else (None, None)


def _shared_label(group: Sequence[Item]) -> str:
    parts = [item.label.split(", ") for item in group]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    return ", ".join(shared) or f"{group[0].label} and {len(group) - 1} more"
