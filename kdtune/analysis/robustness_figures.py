"""Pictures of label noise and class imbalance."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdtune.analysis import figures
from kdtune.analysis.base import Item
from kdtune.analysis.confusion import Counts, Shares
from kdtune.analysis.replicates import mean_and_std, replicates, series
from kdtune.palette import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MEASURES = {
    "recovered/train": ("Wrongly labelled, recovered", "Called by their true label (%)"),
    "memorised/train": ("Wrongly labelled, memorised", "Called by their wrong label (%)"),
    "accuracy/test": ("Test images", "Top-1 accuracy (%)"),
}
KIND_LABELS = ("recovered", "memorised")
MOST_NAMED = 24
"""Classes up to which each is named below its accuracy."""
MOST_PANELS = 6


def label_noise(items: Sequence[Item]) -> "Figure":
    """How much of the wrong labels is recovered and memorised, by noise level.

    Lines over the level for each configuration otherwise equal, where there are several levels;
    else a row for each configuration.
    """
    levels = {item.config.data.label_noise for item in items}
    if len(levels) > 1:
        return _over_levels(items)
    return _at_one_level([i for i in items if "recovered/train" in i.measured.numbers])


def _over_levels(items: Sequence[Item]) -> "Figure":
    figure, axes = figures.panels(
        1, 3, title="What label noise leaves of the true labels", size=(4.0, 3.8), share_x=True
    )
    for axis, (name, (title, unit)) in zip(axes[0], MEASURES.items(), strict=True):
        for place, group in enumerate(series(items, "data.label_noise")):
            _line(axis, name, group.items, label=group.label, **figures.look(place))
        figures.label(axis, x="Label noise (%)", y=unit, title=title)
        axis.set_ylim(-3, 103)
    axes[0, 0].set_xticks(sorted({100 * item.config.data.label_noise for item in items}))
    axes[0, 0].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _legend(figure, axes[0, 2:])
    return figure


def _legend(figure: "Figure", axes: "Sequence[Axes] | NDArray[Any]") -> None:
    """One for all panels, beside them."""
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside right center", fontsize=9)


def _line(axis: "Axes", name: str, group: Sequence[Item], **look: str) -> None:
    """Mean over seeds at each level, with the sample standard deviation."""
    at: dict[float, list[float]] = {}
    for item in sorted(group, key=lambda item: item.config.data.label_noise):
        if name in item.measured.numbers:
            level = 100 * item.config.data.label_noise
            at.setdefault(level, []).append(100 * item.measured.numbers[name])
    spreads = [mean_and_std(values) for values in at.values()]
    style: Mapping[str, Any] = look
    axis.errorbar(
        list(at), [m for m, _ in spreads], yerr=[s or 0.0 for _, s in spreads], capsize=3, **style
    )


def _at_one_level(items: Sequence[Item]) -> "Figure":
    groups = replicates(items)
    level = items[0].config.data.label_noise
    figure, axes = figures.panels(
        title=f"What students make of wrong labels, at {100 * level:g} % label noise",
        size=(7.0, 1.6 + 0.34 * len(groups)),
    )
    axis: Axes = axes[0, 0]
    places = np.arange(len(groups))
    ends = []
    for place, kind in enumerate(KIND_LABELS):
        values = [
            mean_and_std([100 * item.measured.numbers[f"{kind}/train"] for item in group.items])
            for group in groups
        ]
        ends.append([mean for mean, _ in values])
        look: Mapping[str, Any] = {**figures.look(place), "linestyle": "none"}
        axis.errorbar(
            ends[-1],
            places,
            xerr=[std or 0.0 for _, std in values],
            label=kind,
            capsize=3,
            markersize=8,
            **look,
        )
    axis.hlines(places, ends[0], ends[1], color=QUIET, linewidth=2, alpha=0.5, zorder=1)
    axis.set_yticks(places, [group.label for group in groups])
    axis.set_ylim(len(groups) - 0.5, -0.5)
    axis.set_xlim(-3, 103)
    figures.label(axis, x="Share of the wrongly labelled training images (%)", y="")
    figure.legend(loc="outside right center")
    return figure


def mean_accuracy(items: Sequence[Item]) -> Shares:
    """``(C,)`` test accuracy of each class in [0, 1], mean over items; NaN without test images."""
    each = [item.measured.arrays["class_accuracy"].astype(np.float64) for item in items]
    mean: Shares = np.stack(each).mean(axis=0)
    return mean


def by_class_size(groups: Sequence[Sequence[Item]]) -> "Figure":
    """Test accuracy of each class, the rarest first, before bars of its training images.

    Args:
        groups: A panel each, of items with the same classes and numbers of training images.
    """
    drawn = groups[:MOST_PANELS]
    cut = "" if len(drawn) == len(groups) else f" (the first {len(drawn)} of {len(groups)})"
    columns = min(2, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure, axes = figures.panels(
        rows,
        columns,
        title=f"Test accuracy of classes by the number of their training images{cut}",
        size=(6.4, 4.2),
    )
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    everything = series([item for items in drawn for item in items], "data.imbalance")
    for axis, items in zip(axes.flat, drawn, strict=False):
        _bars(axis, items[0])
        here = {item.label for item in items}
        for place, group in enumerate(everything):
            own = [item for item in group.items if item.label in here]
            if own:
                _curve(axis, own, label=group.label, **figures.look(place))
    _legend(figure, list(axes.flat[: len(drawn)]))
    return figure


def _bars(axis: "Axes", item: Item) -> None:
    """The training images of each class, the most frequent one's bar as high as 100 %."""
    images, order = _rarest_first(item)
    names = [str(item.measured.arrays["names"][label]) for label in order]
    behind = axis.twinx()
    behind.bar(range(len(order)), images[order], color=QUIET, alpha=0.25, width=0.8)
    behind.set_ylabel("Training images (bars)")
    behind.set_ylim(-0.03 * images.max(), 1.03 * images.max())
    behind.grid(visible=False)
    behind.spines["right"].set_visible(True)
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.set_ylim(-3, 103)
    if len(order) <= MOST_NAMED:
        upright = 90 if max(map(len, names)) > 3 else 0
        axis.set_xticks(range(len(order)), names, rotation=upright)
    gamma = item.config.data.imbalance
    figures.label(
        axis,
        x="Class, the rarest first",
        y="Top-1 accuracy (%)",
        title="" if gamma is None else f"Imbalance gamma {gamma:g}",
    )


def _curve(axis: "Axes", items: Sequence[Item], **look: str) -> None:
    _, order = _rarest_first(items[0])
    style: Mapping[str, Any] = look
    axis.plot(range(len(order)), 100 * mean_accuracy(items)[order], **style)


def _rarest_first(item: Item) -> tuple[Counts, Counts]:
    """The training images of each class, and the classes in rising order of them."""
    images = item.measured.arrays["images"].astype(np.int64)
    return images, np.argsort(images, kind="stable")
