"""Tables and figures of the diffusion index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kdtune.analysis import figures
from kdtune.analysis.base import Item, Table
from kdtune.analysis.class_sets import Numbers
from kdtune.contracts import Scalar
from kdtune.palette import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS: tuple[Literal["train", "val"], ...] = ("train", "val")
KINDS = ("similar", "dissimilar")
MOST_ROWS = 150
"""Of all panels of the figure by class together; beyond, the table by class has to do."""

MOST_WORDS = 2
"""Settings that a comparison is called by; beyond, a run's label."""

ONE: dict[str, Any] = {"alpha": 0.35, "markersize": 4, "markeredgewidth": 0}
MEAN: dict[str, Any] = {"markersize": 6.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
"""How the marks of single values and of their means look."""

X_LABEL = "change of relative distance to other classes, %"
BUILT_IN_SIGNS = (
    "The relative distances of a target sum to 1, so opposite signs are partly built in: see the "
    "changes of the distances as they are."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """Two runs that differ in temperature alone, and how distances changed.

    Attributes:
        low: The run of the lower temperature.
        high: The run of the higher one.
        index: Diffusion index by target class, ``(T,)`` in percent, of ``similar/train`` ..
        raw: The same of distances as they are, not relative to any sum.
    """

    low: Item
    high: Item
    index: Mapping[str, Numbers]
    raw: Mapping[str, Numbers]

    @property
    def targets(self) -> list[str]:
        """Names of the target classes."""
        arrays = self.high.measured.arrays
        return [str(name) for name in arrays["class_names"][arrays["targets"]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """The changes of one pair of configurations, one for each seed.

    Attributes:
        name: Says which, among those shown together.
        changes: At least one.
    """

    name: str
    changes: Sequence[Change]

    @property
    def targets(self) -> list[str]:
        """Names of the target classes."""
        return self.changes[0].targets

    def by_class(self, what: str) -> Numbers:
        """The index ``(seeds, T)`` of ``similar/train`` .., in percent."""
        return np.stack([change.index[what] for change in self.changes])

    def by_seed(self, what: str, *, raw: bool = False) -> Numbers:
        """Means over target classes ``(seeds,)``, in percent."""
        values = [(change.raw if raw else change.index)[what].mean() for change in self.changes]
        return np.array(values)


def temperature(item: Item) -> float | None:
    """Of the distillation; None for a run that has none."""
    found = item.config.flat().get("temperature")
    return None if found is None else float(found)


def pairs(items: Sequence[Item]) -> list[tuple[Item, Item]]:
    """Each run and the one of the lowest temperature that agrees with it in all else.

    Returns:
        Lower and higher, in the order given among those that agree.
    """
    groups: dict[tuple[tuple[str, Scalar], ...], list[tuple[float, Item]]] = {}
    for item in items:
        heat = temperature(item)
        if heat is not None:
            rest = item.config.flat()
            del rest["temperature"]
            groups.setdefault(tuple(sorted(rest.items())), []).append((heat, item))
    found = []
    for group in groups.values():
        least, low = min(group, key=lambda entry: entry[0])
        found += [(low, item) for heat, item in group if heat > least]
    return found


def comparisons(changes: Sequence[Change]) -> list[Comparison]:
    """Changes that differ in seed alone, together; in the order of their first."""
    groups: dict[tuple[object, ...], list[Change]] = {}
    for change in changes:
        ends = (temperature(change.low), temperature(change.high))
        groups.setdefault((ends, tuple(sorted(_rest(change).items()))), []).append(change)
    firsts = [group[0] for group in groups.values()]
    rests = [_rest(first) for first in firsts]
    keys = sorted({key for rest in rests for key in rest})
    varied = [key for key in keys if len({rest.get(key) for rest in rests}) > 1]
    return [
        Comparison(name=_name(first, varied), changes=group)
        for first, group in zip(firsts, groups.values(), strict=True)
    ]


def tables(items: Sequence[Item], changes: Sequence[Change], setting: str) -> list[Table]:
    """Over seeds, by run and by target class; then the distances, and the sets' agreement.

    Args:
        items: All runs.
        changes: Of those that differ in temperature alone.
        setting: A note on how all of it was measured.
    """
    found = comparisons(changes)
    made = [_over_seeds(found, setting), _by_run(changes, setting), _by_class(found, setting)]
    shown = [*(made if changes else []), _distances(items, setting)]
    if "agreement_similar" in items[0].measured.arrays:
        shown.append(_agreement(items[0]))
    return shown


def _over_seeds(found: Sequence[Comparison], setting: str) -> Table:
    rows: list[list[Scalar]] = []
    for each in found:
        for split in SPLITS:
            row: list[Scalar] = [each.name, len(each.changes), split]
            for raw in (False, True):
                for kind in KINDS:
                    row += _mean_and_spread(each.by_seed(f"{kind}/{split}", raw=raw))
            signs = [each.by_class(f"{kind}/{split}") for kind in KINDS]
            row.append(float(100 * ((signs[0] < 0) & (signs[1] > 0)).mean()))
            rows.append(row)
    heads = ("similar", "dissimilar", "similar, raw", "dissimilar, raw")
    return Table(
        title="Change of the distances of classes with temperature: mean over target classes, in "
        "percent of the lower temperature's",
        columns=[
            *("temperatures", "n", "split"),
            *(column for head in heads for column in (head, f"{head}, std")),
            "targets with similar < 0 < dissimilar, %",
        ],
        rows=rows,
        notes=(
            setting,
            "Mean and sample standard deviation over n seeds. Similar and dissimilar are the "
            "diffusion index; raw is the change of the distances as they are.",
            BUILT_IN_SIGNS,
        ),
    )


def _by_run(changes: Sequence[Change], setting: str) -> Table:
    rows: list[list[Scalar]] = []
    for change in changes:
        for split in SPLITS:
            means = [float(change.index[f"{kind}/{split}"].mean()) for kind in KINDS]
            seed = change.high.config.seed
            rows.append([change.low.label, change.high.label, seed, split, *means])
    return Table(
        title="Diffusion index of each pair of runs, in percent: mean over target classes",
        columns=("lower temperature", "higher temperature", "seed", "split", *KINDS),
        rows=rows,
        notes=(setting, BUILT_IN_SIGNS),
    )


def _by_class(found: Sequence[Comparison], setting: str) -> Table:
    places = [f"{kind}/{split}" for split in SPLITS for kind in KINDS]
    rows: list[list[Scalar]] = []
    for each in found:
        means = [each.by_class(place).mean(axis=0) for place in places]
        for number, target in enumerate(each.targets):
            rows.append([each.name, target, *(float(mean[number]) for mean in means)])
    return Table(
        title="Diffusion index of each target class, in percent: mean over seeds",
        columns=("temperatures", "target class", *(place.replace("/", ", ") for place in places)),
        rows=rows,
        notes=(setting, BUILT_IN_SIGNS),
    )


def _distances(items: Sequence[Item], setting: str) -> Table:
    rows: list[list[Scalar]] = []
    for item in items:
        for split in SPLITS:
            near, far = (item.measured.numbers[f"distance_{kind}/{split}"] for kind in KINDS)
            start = [item.label, temperature(item), item.config.seed, split]
            rows.append([*start, near, far, near / far])
    return Table(
        title="Distance of target classes to others, in the unit of the features",
        columns=("run", "temperature", "seed", "split", *KINDS, "similar / dissimilar"),
        rows=rows,
        notes=(
            setting,
            "A diffusion index takes two runs that differ in temperature alone.",
        ),
    )


def _agreement(item: Item) -> Table:
    arrays = item.measured.arrays
    names = arrays["class_names"][arrays["targets"]]
    shares = zip(arrays["agreement_similar"], arrays["agreement_dissimilar"], strict=True)
    return Table(
        title="Share of the hierarchy's classes that the classes chosen by distance contain, in "
        "percent",
        columns=("target class", *KINDS),
        rows=[
            [str(name), *(100 * float(share) for share in pair)]
            for name, pair in zip(names, shares, strict=True)
        ],
        notes=(
            "Distances of centroids on the validation split of the independent network. A set by "
            "distance that is smaller than the hierarchy's cannot contain all of it.",
        ),
    )


def charts(changes: Sequence[Change]) -> "dict[str, Figure]":
    """The index of every comparison, and of every class where that is not too long."""
    found = comparisons(changes)
    if not found:
        return {}
    drawn = {"diffusion_index": _overview(found)}
    if sum(len(each.targets) for each in found) <= MOST_ROWS:
        drawn["diffusion_index_by_class"] = _classes(found)
    return drawn


def _overview(found: Sequence[Comparison]) -> "Figure":
    figure, axes = figures.panels(
        1,
        len(SPLITS),
        title="Diffusion index: how target classes move with temperature (negative: closer)",
        size=(4.9, 1.7 + 0.45 * len(found)),
        share_x=True,
        share_y=True,
    )
    for axis, split in zip(axes[0], SPLITS, strict=True):
        dots = [[each.by_class(f"{kind}/{split}").mean(axis=0) for each in found] for kind in KINDS]
        _dots(axis, [each.name for each in found], dots)
        figures.label(axis, x=X_LABEL, y="", title=split)
    _legend(figure, axes[0, 0], "one target class", "mean")
    return figure


def _classes(found: Sequence[Comparison]) -> "Figure":
    longest = max(len(each.targets) for each in found)
    figure, axes = figures.panels(
        len(found),
        len(SPLITS),
        title="Diffusion index of each target class (negative: closer)",
        size=(4.9, 1.2 + max(0.17, 0.24 - 0.001 * longest) * longest),
        share_x=True,
        share_y=len(found) == 1,
    )
    for row, each in zip(axes, found, strict=True):
        for axis, split in zip(row, SPLITS, strict=True):
            dots = [list(each.by_class(f"{kind}/{split}").T) for kind in KINDS]
            _dots(axis, each.targets, dots)
            title = f"{each.name}: {split}"
            figures.label(axis, x="", y="target class" if axis is row[0] else "", title=title)
    for axis in axes[-1]:
        axis.set_xlabel(X_LABEL)
    replicated = any(len(each.changes) > 1 for each in found)
    _legend(figure, axes[0, 0], *(("one seed", "mean over seeds") if replicated else ()))
    return figure


def _dots(axis: "Axes", names: Sequence[str], dots: Sequence[Sequence[Numbers]]) -> None:
    """Similar above dissimilar in each named row: all values faintly, their mean boldly."""
    axis.axvline(0, color=QUIET, linewidth=1, zorder=1)
    for place, rows in enumerate(dots):
        for number, values in enumerate(rows):
            heights = np.full(len(values), number + (0.18 if place else -0.18))
            axis.plot(values, heights, **_mark(place), **ONE)
            axis.plot([values.mean()], heights[:1], **_mark(place), **MEAN)
    axis.set_yticks(range(len(names)), names, fontsize=9 if len(names) <= 40 else 7)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="x", labelbottom=True)


def _legend(figure: "Figure", axis: "Axes", faint: str = "", bold: str = "") -> None:
    for place, kind in enumerate(KINDS):
        name = f"{kind} classes"
        axis.plot([], [], label=f"{name}, {bold}" if bold else name, **_mark(place), **MEAN)
        if faint:
            axis.plot([], [], label=f"{name}, {faint}", **_mark(place), **ONE)
    figure.legend(loc="outside lower center", ncols=len(KINDS))


def _mark(place: int) -> dict[str, Any]:
    return {**figures.look(place), "linestyle": "none"}


def _rest(change: Change) -> dict[str, Scalar]:
    """Of both configurations, but for what differs within a comparison."""
    flat = change.high.config.flat()
    return {key: value for key, value in flat.items() if key not in ("seed", "temperature")}


def _name(change: Change, varied: Sequence[str]) -> str:
    rest = _rest(change)
    words = [f"{key} {rest[key]}" for key in varied if key in rest]
    start = f"T {temperature(change.low):g} → {temperature(change.high):g}"
    return ", ".join([start, *(words if len(words) <= MOST_WORDS else [change.high.label])])


def _mean_and_spread(values: Numbers) -> list[Scalar]:
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    return [float(values.mean()), spread]
