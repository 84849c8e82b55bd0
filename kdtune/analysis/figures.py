"""How the figures of analyses look: one style, legible in print and to the colour-blind."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdtune.palette import COLOURS, QUIET
from kdtune.replacing import replace_file

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^", "X", "P", "*", "v")
"""One for each of ``COLOURS``: what colour says, shape says too."""

STYLES = ("-", "--", ":", "-.")
"""Of lines, after the colours are used up."""

PANEL_INCHES = (4.6, 3.6)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.color": QUIET,
    "legend.frameon": False,
    "figure.titlesize": 12,
    # Otherwise an SVG holds random identifiers, or letters as curves.
    "svg.hashsalt": "kdtune",
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib in the house style, for what draws and what saves."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    title: str,
    size: tuple[float, float] = PANEL_INCHES,
    share_x: bool = False,
    share_y: bool = False,
) -> "tuple[Figure, np.ndarray]":
    """An empty figure and its axes ``(rows, columns)``; draw within :func:`style`.

    Args:
        rows, columns: Of panels.
        title: What the figure shows, as a sentence.
        size: Of one panel in inches.
        share_x, share_y: Whether all panels have one scale.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)
    figure.suptitle(title, x=0.01, ha="left")
    return figure, axes


def look(place: int) -> dict[str, Any]:
    """Colour, marker and line style of the ``place``-th series, from 0; they repeat after 32."""
    turn, colour = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[colour],
        "marker": MARKERS[colour],
        "linestyle": STYLES[turn % len(STYLES)],
    }


def label(axis: "Axes", *, x: str, y: str, title: str = "") -> None:
    """Name both axes, with units, and the panel."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_title(title)


def save(figures: "Mapping[str, Figure]", folder: Path) -> list[Path]:
    """Write each figure as PNG and SVG; the same figure gives the same bytes."""
    files = []
    with style():
        for name, figure in figures.items():
            png, svg = io.BytesIO(), io.BytesIO()
            figure.savefig(png, format="png", dpi=150)
            figure.savefig(svg, format="svg", metadata={"Date": None})
            for drawn, kind in ((png, "png"), (svg, "svg")):
                files.append(folder / f"{name}.{kind}")
                replace_file(files[-1], drawn.getvalue())
    return files
