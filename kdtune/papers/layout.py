"""How the figures of a table stand on the page: what makes a row, a column, and a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdtune.papers.facets import Facet, value_of
from kdtune.papers.figure import Figure

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one table is laid out.

    Attributes:
        caption: What it holds, in our own words.
        rows: Headings of a row.
        columns: Headings of a column, one above the other.
        within: What tells figures of one cell apart, if several stand in one.
        cell: Value of ``within`` -> how the figure is written, in order.
        together: Whether rows with the same first heading stand together.
        first: Heading of the column that comes first, if not that of the first figure.
        lost: Cells that hold a figure in print, but not in the text that was read.
    """

    caption: str
    rows: tuple[Facet, ...]
    columns: tuple[Facet, ...]
    within: str = "metric"
    cell: Mapping[str, str] = field(default_factory=dict)
    together: bool = False
    first: str = ""
    lost: frozenset[tuple[Key, Key]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """A table in its rows and columns, by first appearance unless its layout says otherwise.

    Attributes:
        layout: What it was arranged by.
        rows, columns: Their headings.
        cells: What stands in a row and column; the order is that in which it is written.
        figures: All of them, in the paper's order.
    """

    layout: Layout
    figures: Sequence[Figure]
    rows: Sequence[Key]
    columns: Sequence[Key]
    cells: Mapping[tuple[Key, Key], Sequence[Figure]]


def arrange(figures: Sequence[Figure], layout: Layout) -> Arranged:
    """Put figures into their cells.

    Raises:
        ValueError: If two figures would stand in one place.
    """
    cells: dict[tuple[Key, Key], list[Figure]] = {}
    for figure in figures:
        row = tuple(facet.text(figure) for facet in layout.rows)
        column = tuple(facet.text(figure) for facet in layout.columns)
        cells.setdefault((row, column), []).append(figure)
    order = list(layout.cell)
    for (row, column), held in cells.items():
        if len(held) == 1:
            continue
        places = {value_of(figure, layout.within): figure for figure in held}
        if len(places) < len(held) or not set(places) <= set(order):
            raise ValueError(f"several figures share the cell {row} x {column}: {list(places)}")
        held.sort(key=lambda figure: order.index(value_of(figure, layout.within)))
    rows = list(dict.fromkeys(row for row, _ in cells))
    if layout.together:
        groups = list(dict.fromkeys(row[0] for row in rows))
        rows.sort(key=lambda row: groups.index(row[0]))
    columns = list(dict.fromkeys(column for _, column in cells))
    columns.sort(key=lambda column: column[0] != layout.first)
    return Arranged(layout=layout, figures=figures, rows=rows, columns=columns, cells=cells)


def form_of(figure: Figure, layout: Layout) -> str:
    """How a figure is written in its cell."""
    return layout.cell.get(value_of(figure, layout.within), "{}")
