"""What analyses of several runs share: runs that differ by their seed, their table and picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtune.analysis.base import Item, Table
from kdtune.analysis.figures import look
from kdtune.analysis.reading import SplitName
from kdtune.analysis.replicates import Replicates, mean_and_std, replicates
from kdtune.contracts import Scalar
from kdtune.palette import QUIET
from kdtune.training.finetune import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES = "samples"
"""The array in which an analysis says how many images of each split it read, in their order."""

NAME_WIDTH = 34
ROW_INCHES = 0.42


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric as tables and figures show it.

    Attributes:
        head: What they call it, with the unit.
        metric: Its name among the numbers of an item, which may lack it.
        scale: What the numbers are multiplied with: 100 shows a share in percent.
    """

    head: str
    metric: str
    scale: float = 1.0

    def of(self, item: Item) -> float | None:
        """The value to be shown; None if the item has none."""
        value = item.measured.numbers.get(self.metric)
        return None if value is None else value * self.scale


def values_of(group: Replicates, column: Column) -> list[float]:
    """Of those runs that have the metric."""
    return [value for item in group.items if (value := column.of(item)) is not None]


def spread_of(group: Replicates, column: Column) -> Spread | None:
    """Mean and sample standard deviation over the runs; None if none has the metric."""
    values = values_of(group, column)
    if not values:
        return None
    mean, std = mean_and_std(values)
    return Spread(mean=mean, std=std, n=len(values))


def over_seeds(
    items: Sequence[Item], columns: Sequence[Column], notes: Sequence[str]
) -> list[Table]:
    """One table of means and deviations, or none where no configuration was repeated.

    Args:
        items: In any order.
        columns: What is averaged.
        notes: Under the table, besides what it says of itself.
    """
    groups = [group for group in replicates(items) if len(group.items) > 1]
    rows: list[list[Scalar]] = []
    for group in groups:
        row: list[Scalar] = [group.label, len(group.items)]
        for column in columns:
            spread = spread_of(group, column)
            row += [None, None] if spread is None else [spread.mean, spread.std]
        rows.append(row)
    heads = [head for column in columns for head in (f"{column.head}, mean", f"{column.head}, std")]
    table = Table(
        title="Mean and sample standard deviation over seeds",
        columns=["Configuration", "n", *heads],
        rows=rows,
        notes=[
            "The runs of a row differ by their seed alone; n of them, deviation with n - 1.",
            *notes,
        ],
    )
    return [table] if rows else []


def circumstances(items: Sequence[Item], splits: Sequence[SplitName]) -> list[str]:
    """Notes: how many images, which seeds, which mode, and what was odd about the splits."""
    sizes = []
    for place, split in enumerate(splits):
        counts = sorted({int(item.measured.arrays[SAMPLES][place]) for item in items})
        sizes.append(f"{split} {' or '.join(f'{count:,}' for count in counts)}")
    seeds = ", ".join(map(str, sorted({item.config.seed for item in items})))
    notes = [
        f"n: {', '.join(sizes)} images. Seeds: {seeds}. "
        "Eval mode, plain images without augmentation, the student as it was delivered."
    ]
    noisy = [item.label for item in items if item.config.data.label_noise > 0]
    merged = [item.label for item in items if item.config.train.on == "train+val"]
    if noisy and "train" in splits:
        notes.append(f"Noisy labels on train, as the run saw them: {named(noisy)}.")
    if merged and "val" in splits:
        notes.append(f"Trained on the validation images too: {named(merged)}.")
    return notes


def named(labels: Sequence[str], most: int = 6) -> str:
    """The labels as a list in a sentence; after the ``most``-th only how many more."""
    rest = len(labels) - most
    return ", ".join(labels[:most]) + (f" and {rest} more" if rest > 0 else "")


def wrapped(name: str, width: int) -> str:
    """A label on as many lines as it takes, its seed on one of them."""
    return textwrap.fill(name.replace("seed ", "seed\u00a0"), width)


def dots_height(groups: Sequence[Replicates]) -> float:
    """Inches that a panel of :func:`dots` needs to keep its rows apart."""
    return 1.5 + ROW_INCHES * len(groups)


def dots(axis: "Axes", groups: Sequence[Replicates], columns: Sequence[Column]) -> None:
    """A row for each configuration, in it a marker for each column, at its mean.

    Where seeds repeat, a bar reaches one standard deviation to either side and the runs are faint
    points. The columns are the legend's entries.
    """
    for place, column in enumerate(columns):
        style = look(place) | {"linestyle": "none"}
        shift = 0.2 * (place - (len(columns) - 1) / 2)
        spreads = [(row + shift, spread_of(group, column)) for row, group in enumerate(groups)]
        known = [(y, spread) for y, spread in spreads if spread is not None]
        axis.errorbar(
            [spread.mean for _, spread in known],
            [y for y, _ in known],
            xerr=[spread.std or 0.0 for _, spread in known],
            label=column.head,
            markersize=6,
            elinewidth=1.4,
            capsize=2.5,
            zorder=3,
            **style,
        )
        for row, group in enumerate(groups):
            values = values_of(group, column)
            if len(values) > 1:
                faint = style | {"markersize": 3, "alpha": 0.45}
                axis.plot(values, [row + shift] * len(values), zorder=2, **faint)
    for row in range(0, len(groups), 2):
        axis.axhspan(row - 0.5, row + 0.5, color=QUIET, alpha=0.08, linewidth=0)
    axis.set_yticks(range(len(groups)), [wrapped(group.label, NAME_WIDTH) for group in groups])
    axis.set_ylim(len(groups) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, -0.03 * high), 1.03 * high)


def dots_legend(figure: "Figure", axis: "Axes", groups: Sequence[Replicates]) -> None:
    """Below the panels: the columns of :func:`dots`, and what bars are where there are any."""
    bars = "Bars: mean and standard deviation over seeds; faint: single runs."
    repeated = any(len(group.items) > 1 for group in groups)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower left",
        ncols=len(names),
        title=bars if repeated else None,
        alignment="left",
    )
