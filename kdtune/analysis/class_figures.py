"""Pictures of what networks make of each class."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdtune.analysis import figures
from kdtune.analysis.base import Item
from kdtune.analysis.confusion import Shares, mean_shares
from kdtune.analysis.replicates import Replicates, replicates
from kdtune.palette import COLOURS, QUIET, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST_CLASSES = 40
"""Rows of a dot plot; of more classes those with the lowest accuracy are shown."""
MOST_SERIES = 12
"""Series that can be told apart; more are drawn as one cloud with its median."""
MOST_PANELS = 12
RUN_PANELS = 6
"""More runs than that are shown as means over seeds."""
WRITTEN = 12
"""Classes up to which a cell of a matrix holds its value."""
NAMED = 40
"""Classes up to which every row of a matrix is named."""
TITLES = {"val": "Validation images", "train": "Training images"}


def accuracies(
    groups: Sequence[Replicates], names: Sequence[str], shown: Sequence[int]
) -> "Figure":
    """Top-1 of each class on validation and training images, a dot for each configuration.

    Args:
        groups: Of items with ``(C, C)`` confusion counts ``val`` and ``train``.
        names: Of all classes.
        shown: The classes to show, of which not more than 40 are.
    """
    values = {
        split: np.array([np.diagonal(mean_shares(g.items, split)) for g in groups])
        for split in TITLES
    }
    rows = _lowest(values["val"], shown)
    cut = f" ({len(rows)} lowest of {len(shown)} classes)" if len(rows) < len(shown) else ""
    dense = 0.07 * len(groups) if len(groups) <= MOST_SERIES else 0.0
    height = 1.2 + len(rows) * max(0.28, dense)
    figure, axes = figures.panels(
        1,
        2,
        title=f"Accuracy differs between classes{cut}",
        size=(4.6, height),
        share_x=True,
        share_y=True,
    )
    for axis, (split, title) in zip(axes[0], TITLES.items(), strict=True):
        _dots(axis, values[split][:, rows], [group.label for group in groups])
        figures.label(axis, x="Top-1 accuracy (%)", y="", title=title)
    axes[0, 0].set_ylabel("Class")
    axes[0, 0].set_yticks(range(len(rows)), [names[label] for label in rows])
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if len(groups) > 1:
        figure.legend(handles, labels, loc="outside right center", fontsize=9)
    return figure


def _lowest(values: Shares, shown: Sequence[int]) -> list[int]:
    if len(shown) <= MOST_CLASSES:
        return list(shown)
    mean = values[:, list(shown)].mean(axis=0)
    order = np.argsort(mean, kind="stable")[:MOST_CLASSES]
    return [shown[place] for place in order]


def _dots(axis: "Axes", values: Shares, labels: Sequence[str]) -> None:
    """Side by side within the row of a class, as many as can be told apart."""
    places = np.arange(values.shape[1])
    if len(labels) > MOST_SERIES:
        for row in values:
            axis.scatter(100 * row, places, s=14, color=QUIET, alpha=0.5, label="_")
        axis.collections[0].set_label(f"one of {len(labels)} configurations")
        middle = 100 * np.nanmedian(values, axis=0)
        axis.scatter(middle, places, s=50, color=COLOURS[0], marker="D", label="their median")
        return
    for place, (label, row) in enumerate(zip(labels, values, strict=True)):
        look = figures.look(place)
        shift = 0.7 * ((place + 0.5) / len(labels) - 0.5)
        filled = place < len(COLOURS)
        axis.scatter(
            100 * row,
            places + shift,
            s=34,
            marker=look["marker"],
            edgecolors=look["color"],
            facecolors=look["color"] if filled else "none",
            label=label,
            zorder=3,
        )
    for border in places[:-1] + 0.5:
        axis.axhline(border, color=QUIET, linewidth=0.5, alpha=0.4)
    axis.grid(visible=False, axis="y")


def confusions(items: Sequence[Item], names: Sequence[str], shown: Sequence[int]) -> "Figure":
    """Row-normalised confusion on validation: a panel for each run, or for each configuration.

    Colours are of what is off the diagonal, which would hide it; the diagonal is grey.
    """
    if len(items) <= RUN_PANELS:
        matrices = [(i.label, mean_shares([i], "val")) for i in items]
        what = ""
    else:
        matrices = [(g.label, mean_shares(g.items, "val")) for g in replicates(items)]
        what = ", mean over the seeds of a configuration"
    drawn = matrices[:MOST_PANELS]
    if len(drawn) < len(matrices):
        what += f", the first {len(drawn)} of {len(matrices)}"
    columns = min(3, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure, axes = figures.panels(
        rows, columns, title=f"Which classes are taken for which{what}", size=(4.6, 4.3)
    )
    cut = [(label, 100 * shares[np.ix_(shown, shown)]) for label, shares in drawn]
    most = max(1.0, *(float(np.nanmax(_beside(matrix), initial=0.0)) for _, matrix in cut))
    number = "" if len(shown) <= NAMED else " (place in the class set)"
    for axis in axes.flat[len(cut) :]:
        axis.set_visible(False)
    for axis, (label, matrix) in zip(axes.flat, cut, strict=False):
        image = _matrix(axis, matrix, most, [names[label] for label in shown])
        figures.label(axis, x="Taken for (grey: right)", y=f"Class{number}", title=label)
    bar = figure.colorbar(image, ax=axes, shrink=0.7 if rows > 1 else 0.9)
    bar.set_label("Share of a class's validation images (%)")
    return figure


def _beside(matrix: Shares) -> Shares:
    """What is off the diagonal; NaN on it."""
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def _matrix(axis: "Axes", matrix: Shares, most: float, names: Sequence[str]) -> "AxesImage":
    beside = _beside(matrix)
    axis.set_facecolor("#e4e4e4")
    axis.grid(visible=False)
    image = axis.imshow(beside, cmap=SEQUENTIAL, vmin=0, vmax=most)
    if len(names) <= NAMED:
        small = 9 if len(names) <= WRITTEN else 6
        upright = 90 if max(map(len, names)) > 3 else 0
        axis.set_xticks(range(len(names)), names, rotation=upright, fontsize=small)
        axis.set_yticks(range(len(names)), names, fontsize=small)
    if len(names) <= WRITTEN:
        for (row, column), value in np.ndenumerate(matrix):
            dark = row != column and value < 0.55 * most
            if value > 0 or (row == column and value == 0):
                axis.text(
                    column,
                    row,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if dark else "black",
                )
    return image
