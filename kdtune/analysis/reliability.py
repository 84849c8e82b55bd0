"""Reliability diagrams: accuracy by confidence, and how often each confidence occurs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdtune.analysis.base import Item
from kdtune.analysis.figures import STYLES, label, look, panels
from kdtune.analysis.side_by_side import wrapped
from kdtune.palette import COLOURS, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A_FIGURE, A_ROW = 12, 4
"""Most diagrams in a figure, and in a row of it."""

LETTERS_AN_INCH = 12
"""That a panel's title has room for."""

FEW = 10
"""Images, below which the accuracy of a bin says little."""

SERIES = {
    "student_bins": "student",
    "student_scaled_bins": "student at T",
    "teacher_bins": "teacher",
}


def reliability_figures(items: Sequence[Item]) -> "Mapping[str, Figure]":
    """One diagram for each item, at most twelve in a figure.

    Args:
        items: Their arrays are ``(3, bins)``: samples, mean confidence and accuracy of each bin;
            ``student_bins``, ``student_scaled_bins`` and, with a teacher, ``teacher_bins``.

    Returns:
        ``reliability``, or ``reliability_1`` and so on where one figure does not hold them all.
    """
    pages = [items[start : start + A_FIGURE] for start in range(0, len(items), A_FIGURE)]
    if len(pages) == 1:
        return {"reliability": _page(pages[0])}
    return {f"reliability_{number}": _page(page) for number, page in enumerate(pages, 1)}


def _page(items: Sequence[Item]) -> "Figure":
    across = min(A_ROW, len(items))
    down = -(-len(items) // across)
    inches = max(3.0, 6.4 / across)
    figure, axes = panels(
        2 * down,
        across,
        title="How often networks are right on test, by how sure they are",
        size=(inches, 2.1),
        share_x=True,
    )
    axes[0, 0].get_gridspec().set_height_ratios([2.9, 1] * down)
    for place in range(down * across):
        row, column = divmod(place, across)
        upper, lower = axes[2 * row, column], axes[2 * row + 1, column]
        if place >= len(items):
            upper.set_axis_off()
            lower.set_axis_off()
            continue
        _diagram(upper, items[place])
        _histogram(lower, items[place])
        lower.tick_params(labelbottom=True)
        first = column == 0
        name = wrapped(items[place].label, int(LETTERS_AN_INCH * inches))
        label(
            upper, x="", y="accuracy" if first else "", title=f"{name}\n{_in_words(items[place])}"
        )
        label(lower, x="confidence", y="images (%)" if first else "")
    seen = {
        text: handle
        for axis in axes[::2].flat
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    # In one row they are as wide as two panels and more.
    in_row = len(seen) if across > 2 else 3
    figure.legend(seen.values(), seen.keys(), loc="outside lower left", ncols=in_row)
    return figure


def _diagram(axis: "Axes", item: Item) -> None:
    axis.plot([0, 1], [0, 1], color=QUIET, linewidth=1.2, label="perfectly calibrated")
    for place, (key, name) in enumerate(SERIES.items()):
        if key in item.measured.arrays:
            count, confidence, accuracy = item.measured.arrays[key]
            filled, few = count > 0, (count > 0) & (count < FEW)
            series: dict[str, Any] = look(place) | {"linestyle": STYLES[place], "markersize": 5}
            axis.plot(confidence[filled], accuracy[filled], label=name, linewidth=1, **series)
            hollow = series | {"linestyle": "none", "markerfacecolor": "white"}
            axis.plot(confidence[few], accuracy[few], **hollow)
    hollow = {"marker": "o", "linestyle": "none", "color": QUIET, "markerfacecolor": "white"}
    axis.plot([], [], label=f"bins of fewer than {FEW} images", **hollow)
    axis.set_xlim(-0.03, 1.03)
    axis.set_ylim(-0.03, 1.03)


def _histogram(axis: "Axes", item: Item) -> None:
    """Of the student as it is."""
    count = item.measured.arrays["student_bins"][0]
    edges = np.arange(len(count) + 1) / len(count)
    axis.stairs(100 * count / count.sum(), edges, fill=True, color=COLOURS[0], alpha=0.5)
    axis.set_ylim(0, 100)


def _in_words(item: Item) -> str:
    number = item.measured.numbers
    before, after = 100 * number["ece/test"], 100 * number["ece_scaled/test"]
    return f"ECE {before:.1f} %; {after:.1f} % at T = {number['temperature/val']:.2g}"
