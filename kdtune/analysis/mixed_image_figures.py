"""The figures of ``mixed_images``: the KL ratio, the label disagreement, and example images."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from kdtune.analysis.base import Item
from kdtune.analysis.figures import label, look, panels
from kdtune.palette import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_WIDTH = 16
"""Letters of a class name below an example."""
CURVE_MARKERS = 12
"""About as many on a curve, however long the training."""


def ratio_figure(items: Sequence[Item]) -> "Figure":
    """The logged curves, where there are some, and the finished students beside them."""
    logged = any(item.measured.arrays["logged"].size for item in items)
    figure, axes = panels(
        columns=2 if logged else 1,
        title="How much more than an average CutMix image a picked one teaches",
        size=(5.4 if logged else 7.0, max(3.4, 1.5 + 0.28 * len(items))),
    )
    if logged:
        _curves(axes[0, 0], items)
    axis = axes[0, -1]
    axis.axvline(1, color=QUIET, linestyle="--")
    for place, item in enumerate(items):
        drawn = look(place)
        ratio = item.measured.numbers["mean_kld_ratio/train"]
        axis.plot(ratio, place, color=drawn["color"], marker=drawn["marker"], linestyle="")
    _subjects(axis, items)
    axis.margins(x=0.1)
    label(axis, x="mean KL ratio r (1: nothing gained)", y="", title="finished, in eval mode")
    return figure


def _curves(axis: "Axes", items: Sequence[Item]) -> None:
    axis.axhline(1, color=QUIET, linestyle="--")
    for place, item in enumerate(items):
        shares, ratios = item.measured.arrays["logged"]
        every = max(1, len(shares) // CURVE_MARKERS)
        drawn: dict[str, Any] = {**look(place), "markersize": 5, "markevery": every}
        axis.plot(shares, ratios, **drawn)
    axis.set_xlim(0, 1)
    label(
        axis,
        x="share of the training done",
        y="mean KL ratio r of an epoch",
        title="in training, with batch statistics",
    )


def disagreement_figure(items: Sequence[Item], policies: Sequence[str]) -> "Figure":
    """For each run and policy a dot for either share, on one line."""
    figure, axes = panels(
        title="How often the teacher does not see what the label of a mixed image says",
        size=(7.6, max(3.0, 1.8 + 0.2 * (len(policies) + 0.5) * len(items))),
    )
    axis = axes[0, 0]
    for order, policy in enumerate(policies):
        drawn = look(order)
        shares = [
            [100 * item.measured.numbers[f"{name}/{policy}"] for item in items]
            for name in ("label_disagreement", "label_outside")
        ]
        places = np.arange(len(items)) + (order - (len(policies) - 1) / 2) * 0.6 / len(policies)
        axis.hlines(places, *shares, color=drawn["color"], linewidth=1, alpha=0.6)
        for values, face, words in zip(
            shares, (drawn["color"], "white"), ("not the mixed label", "neither label"), strict=True
        ):
            axis.plot(
                values, places, marker=drawn["marker"], linestyle="", color=drawn["color"],
                markerfacecolor=face, label=f"{policy}: {words}",
            )  # fmt: skip
    _subjects(axis, items)
    axis.margins(x=0.04)
    axis.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=len(policies), fontsize="small")
    label(axis, x="mixed training images, %", y="")
    return figure


def example_figure(item: Item) -> "Figure":
    """Picked images above, images that were not picked below, with what they are said to be."""
    arrays = item.measured.arrays
    pixels, names = arrays["example_pixels"], arrays["example_names"]
    columns = pixels.shape[1]
    figure, axes = panels(
        rows=2,
        columns=columns,
        title=f"CutMix images of the largest divergence and of the smallest: {item.label}",
        size=(max(1.8, 7.0 / columns), 2.9),
    )
    for row, column in product(range(2), range(columns)):
        place, axis = (row, column), axes[row, column]
        picture = np.moveaxis(pixels[place], 0, -1)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        own, partner, seen = (_short(str(name)) for name in names[place])
        share = float(arrays["example_shares"][place])
        axis.set_xlabel(
            f"{own} ({100 * share:.0f} %)\n+ {partner} ({100 - 100 * share:.0f} %)\n"
            f"teacher: {seen}\n"
            f"KL {float(arrays['example_divergences'][place]):.2g} nats",
            fontsize=8.5,
        )
    axes[0, 0].set_ylabel("picked")
    axes[1, 0].set_ylabel("not picked")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"


def _subjects(axis: "Axes", items: Sequence[Item]) -> None:
    """The runs down the side, the first on top."""
    axis.set_yticks(range(len(items)), [item.label for item in items])
    axis.set_ylim(len(items) - 0.5, -0.5)
