"""A paper's table on a console, as the paper lays it out, with notes on what is damaged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from kdtune.papers.facets import NONE
from kdtune.papers.figure import Figure
from kdtune.papers.figures import figures
from kdtune.papers.layout import Arranged, Key, arrange, form_of
from kdtune.papers.layouts import LAYOUTS
from kdtune.papers.paper import PAPERS
from kdtune.papers.remarks import Remark, remarks

QUOTED, LOST = "*", "lost"


@dataclass(frozen=True)
class PaperTable:
    """A table to be printed on a rich console; wide ones are printed in parts.

    Raises:
        ValueError: On rendering, if the paper or the table is unknown.
    """

    paper: str
    table: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        arranged = arrange(figures(self.paper, self.table), LAYOUTS[self.paper][self.table])
        notes = remarks(arranged)
        yield Text.assemble((f"{self.paper} {self.table}", "bold"), f"  {arranged.layout.caption}")
        yield Text(PAPERS[self.paper].citation, style="dim")
        cells = _cells(arranged, notes)
        yield from _parts(arranged, cells, console=console, options=options)
        yield from _footnotes(arranged, notes)


def _parts(
    arranged: Arranged,
    cells: Mapping[tuple[Key, Key], str],
    *,
    console: Console,
    options: ConsoleOptions,
) -> Iterator[RenderableType]:
    """The table whole, or in parts: as many columns each as the width allows."""
    unlimited = options.update(max_width=10_000)

    def fits(columns: Sequence[Key]) -> bool:
        grid = _grid(arranged, columns, cells)
        return console.measure(grid, options=unlimited).maximum <= options.max_width

    groups = [list(group) for _, group in groupby(arranged.columns, key=lambda column: column[0])]
    if not all(map(fits, groups)):
        groups = [[column] for column in arranged.columns]
    parts = [groups[0]]
    for group in groups[1:]:
        if fits([*parts[-1], *group]):
            parts[-1] = [*parts[-1], *group]
        else:
            parts.append(group)
    for part in parts:
        yield Text()
        yield _grid(arranged, part, cells)
    yield Text()


def _grid(
    arranged: Arranged, columns: Sequence[Key], cells: Mapping[tuple[Key, Key], str]
) -> Table:
    """Some columns with all headings of the rows; a heading is said once for a group of rows."""
    layout = arranged.layout
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    over = "\n".join(facet.title for facet in layout.columns if facet.title)
    for position, facet in enumerate(layout.rows):
        last = position == len(layout.rows) - 1
        grid.add_column(facet.title or (over if last else ""), no_wrap=True, style="bold")
    for column in columns:
        grid.add_column("\n".join(column), justify="right", no_wrap=True)
    groups = len({row[0] for row in arranged.rows})
    above: Key = ("",) * len(layout.rows)
    for row in arranged.rows:
        if groups < len(arranged.rows) and row[0] != above[0]:
            grid.add_section()
        same = next((i for i, text in enumerate(row) if text != above[i]), len(row))
        held = [cells.get((row, column), NONE) for column in columns]
        if set(held) != {NONE}:
            grid.add_row(*("" if i < same else text for i, text in enumerate(row)), *held)
            above = row
    return grid


def _cells(arranged: Arranged, notes: Sequence[Remark]) -> dict[tuple[Key, Key], str]:
    marks = {
        id(figure): "".join(note.mark for note in notes if position in note.figures)
        for position, figure in enumerate(arranged.figures)
    }
    texts = dict.fromkeys(arranged.layout.lost, LOST)
    for place, held in arranged.cells.items():
        parts = (form_of(f, arranged.layout).format(_number(f) + marks[id(f)]) for f in held)
        texts[place] = "".join(parts).strip()
    return texts


def _number(figure: Figure) -> str:
    spread = f" ± {figure.printed_std}" if figure.printed_std else ""
    return figure.printed + spread + (QUOTED if _is_quoted(figure) else "")


def _is_quoted(figure: Figure) -> bool:
    return figure.conditions.get("origin") == "original_paper"


def _footnotes(arranged: Arranged, notes: Sequence[Remark]) -> Iterator[Text]:
    """Whom each remark concerns: all of a row or column, or the figures with its mark."""
    by_scope: dict[str, list[str]] = {}
    for note in notes:
        if note.of:
            by_scope.setdefault(note.of, []).append(note.text)
    for scope, texts in by_scope.items():
        yield Text.assemble((f"{scope}: ", "italic"), "; ".join(texts))
    for note in notes:
        if note.mark:
            yield Text(f"{note.mark} {note.text}")
    if any(_is_quoted(figure) for figure in arranged.figures):
        yield Text(f"{QUOTED} quoted by the paper from another one")
    if arranged.layout.lost:
        yield Text(f"{LOST}: printed, but not in the text that was read")
