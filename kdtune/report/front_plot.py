"""The Pareto front as a picture: what the first objective costs in each of the others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdtune.palette import COLOURS, QUIET
from kdtune.report.goals import Goal
from kdtune.report.leaderboard import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 10.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

PANEL_INCHES = (5.2, 4.0)


def front_figure(rows: Sequence[Row], goals: Sequence[Goal], title: str = "") -> "Figure":
    """One panel for each objective after the first, which is the vertical axis of all.

    Args:
        rows: The trials; only finished ones with a value for every objective are shown.
        goals: Two or more.
        title: Above the panels.
    """
    from matplotlib.figure import Figure

    width, height = PANEL_INCHES
    panels = len(goals) - 1
    figure = Figure(figsize=(width * panels, height), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for place, (axis, goal) in enumerate(zip(axes, goals[1:], strict=True)):
        points = [
            (row, further, row.value)
            for row in rows
            if row.outcome == "finished"
            and row.value is not None
            and row.further
            and (further := row.further[place]) is not None
        ]
        _panel(axis, points, across=goal, up=goals[0], line=panels == 1)
    axes[0].set_ylabel(_axis_label(goals[0]))
    axes[0].legend(loc="best", frameon=False)
    figure.suptitle(title)
    return figure


def save_front(figure: "Figure", folder: Path) -> list[Path]:
    """Write ``pareto.png`` and ``pareto.svg``; the same figure gives the same bytes."""
    import matplotlib

    files = [folder / "pareto.png", folder / "pareto.svg"]
    # Otherwise an SVG holds the time and random identifiers.
    with matplotlib.rc_context({"svg.hashsalt": "kdtune", "svg.fonttype": "none"}):
        figure.savefig(files[0], dpi=150)
        figure.savefig(files[1], metadata={"Date": None})
    return files


def _panel(
    axis: "Axes",
    points: Sequence[tuple[Row, float, float]],
    *,
    across: Goal,
    up: Goal,
    line: bool,
) -> None:
    """Dots for all, marked and numbered ones for the front."""
    others = [(x, y) for row, x, y in points if not row.front]
    front = sorted((x, y, row.trial) for row, x, y in points if row.front)
    wide, tall = across.measure.scale, up.measure.scale
    axis.scatter(
        [wide * x for x, _ in others],
        [tall * y for _, y in others],
        s=24,
        color=QUIET,
        label="other trials",
    )
    axis.plot(
        [wide * x for x, _, _ in front],
        [tall * y for _, y, _ in front],
        linestyle=":" if line else "none",
        # Between two members the cheaper one is the best there is.
        drawstyle="steps-post" if across.mode == "min" else "steps-pre",
        marker="D",
        color=COLOURS[0],
        label="Pareto front",
    )
    numbers: dict[tuple[float, float], list[int]] = {}
    for x, y, trial in front:
        numbers.setdefault((x, y), []).append(trial)
    for (x, y), trials in numbers.items():
        axis.annotate(
            ", ".join(map(str, trials)),
            (wide * x, tall * y),
            xytext=(-6, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    axis.set_xlabel(_axis_label(across))
    axis.grid(alpha=0.3)
    axis.margins(0.1)
    values = [x for _, x, _ in points]
    if values and min(values) > 0 and max(values) >= WIDE * min(values):
        axis.set_xscale("log")


def _axis_label(goal: Goal) -> str:
    """Label, unit, and which way is better."""
    unit = f" ({goal.measure.unit})" if goal.measure.unit else ""
    return f"{goal.measure.label}{unit}, {'less' if goal.mode == 'min' else 'more'} is better"
