"""A comparison on a terminal: tables that fit its width, answers last."""

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from kdtune.compare.comparison import Comparison
from kdtune.report.comparison_sheets import Sheet, Written, sheets
from kdtune.report.comparison_words import answers
from kdtune.report.settings import plain_table

NARROWEST_HEADING = 14
GAP = 2
"""Between two columns of a plain table."""


class ComparisonView:
    """The comparison, to be printed on a rich console of any width.

    Args:
        comparison: What to show.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for sheet in sheets(self.comparison):
            for place, columns in enumerate(_blocks(sheet, options.max_width)):
                yield _table(sheet, columns, titled=place == 0)
            for note in sheet.notes:
                yield Text(note, style="dim")
            yield Text()
        for sentence in answers(self.comparison):
            yield Text(sentence)


def _table(sheet: Sheet, columns: Sequence[int], *, titled: bool) -> Table:
    table = plain_table(sheet.title if titled else "")
    for column in columns:
        words = column in sheet.left
        table.add_column(
            sheet.headings[column],
            justify="left" if words else "right",
            min_width=None if words else _width(sheet, column),
        )
    for row in sheet.rows:
        table.add_row(*(_text(row[column], _marked(sheet, column)) for column in columns))
    return table


def _marked(sheet: Sheet, column: int) -> bool:
    return any(row[column].mark for row in sheet.rows)


def _text(cell: Written, padded: bool) -> Text:
    """With its mark, or room for one where others of its column have one."""
    text = Text(cell.text, style="bold" if cell.strong else "")
    mark = f" {cell.mark}" if cell.mark else "  " if padded and cell.text else ""
    return text.append(mark, style="cyan")


def _blocks(sheet: Sheet, width: int) -> Iterator[list[int]]:
    """The columns in groups that fit ``width``, each with those that say which row it is."""
    lead = list(range(sheet.lead))
    if not sheet.splits:
        yield list(range(len(sheet.headings)))
        return
    block: list[int] = []
    for unit in _units(sheet):
        if block and sum(_width(sheet, c) + GAP for c in [*lead, *block, *unit]) - GAP > width:
            yield [*lead, *block]
            block = []
        block += unit
    yield [*lead, *block]


def _units(sheet: Sheet) -> Iterator[list[int]]:
    """Columns that stay together: figures and their ranks."""
    unit: list[int] = []
    for column in range(sheet.lead, len(sheet.headings)):
        if unit and sheet.headings[column] != "#":
            yield unit
            unit = []
        unit.append(column)
    if unit:
        yield unit


def _width(sheet: Sheet, column: int) -> int:
    cells = [len(row[column].text) + 2 * _marked(sheet, column) for row in sheet.rows]
    return max([*cells, min(len(sheet.headings[column]), NARROWEST_HEADING)])
