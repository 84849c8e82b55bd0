"""The section of what analyses found: their tables, and their figures as pictures."""

import base64
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from kdtune.contracts import Scalar
from kdtune.report.finding import Finding, FoundTable, read_findings
from kdtune.report.page.blocks import Block, Chart, Text
from kdtune.report.page.tables import Cell, Line, Listing
from kdtune.report.settings import shown

FOLDED_FROM = 12
"""Rows from which a table is folded away."""


def analyses(folder: Path | None) -> Iterator[Block]:
    """All findings beside the results of a search, by the name of the analysis.

    Args:
        folder: Of the results; None where they are not at hand, and there is nothing to show.
    """
    for finding, place in read_findings(folder) if folder else ():
        yield Text(_about(finding), lead=f"{finding.analysis}.")
        for table in finding.tables:
            yield _listing(table)
        for name in finding.figures:
            yield from _picture(finding, place / f"{name}.png")


def _about(finding: Finding) -> str:
    runs = "1 run" if len(finding.runs) == 1 else f"{len(finding.runs)} runs"
    options = ", ".join(f"{key} {shown(value)}" for key, value in finding.options.items())
    settings = f" Options: {options}." if options else ""
    return f"{finding.summary}. From {finding.source}; {runs}.{settings}"


def _listing(table: FoundTable) -> Listing:
    heads, rows = table.shown()
    return Listing(
        caption=table.title,
        columns=heads,
        lines=[
            Line(
                cells=[
                    _cell(text, own[place])
                    for text, place in zip(shown_row, table.sources(), strict=True)
                ]
            )
            for shown_row, own in zip(rows, table.rows, strict=True)
        ],
        sortable=True,
        folded=table.title if len(table.rows) > FOLDED_FROM else "",
        notes=table.notes,
    )


def _cell(text: str, value: Scalar) -> Cell:
    return Cell(text=text, sort=value, kind="text" if isinstance(value, str) else "number")


def _picture(finding: Finding, file: Path) -> Iterator[Chart]:
    """A figure in the page itself; one whose file is gone is left out."""
    if not file.is_file():
        return
    alt = f"{file.stem} of {finding.analysis}; the numbers are in the tables above."
    data = base64.b64encode(file.read_bytes()).decode()
    picture = Markup('<img src="data:image/png;base64,{}" alt="">').format(data)
    yield Chart(title=file.stem, html=picture, alt=alt)
