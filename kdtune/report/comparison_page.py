"""A comparison as a page of HTML that stands alone, with a chart of each column."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import kdtune
from kdtune.compare.comparison import Comparison
from kdtune.compare.pivot import Column, Pivot
from kdtune.compare.result import Result
from kdtune.palette import COLOURS
from kdtune.report.chart_style import MARKERS, fragment, script, styled
from kdtune.report.comparison_sheets import sheets
from kdtune.report.comparison_words import (
    answers,
    apart_text,
    column_label,
    column_names,
    measure_of,
    row_label,
    summary,
)
from kdtune.report.goals import Measure

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Template

ROW_PIXELS, FRAME_PIXELS = 34, 120
STEP = 0.22
"""Of a row's height, between the figures of one row."""


def comparison_page(comparison: Comparison, *, command: str = "") -> str:
    """The whole page.

    Args:
        comparison: What to show.
        command: That made it, for the record.
    """
    from markupsafe import Markup

    shown = comparison.measured if comparison.measured.cells else comparison.printed
    names = column_names(shown)
    charts = [
        {
            "title": f"{names[column]} {column_label(column, shown)}".strip(),
            "html": Markup(fragment(column_chart(comparison, shown, column), f"column-{place}")),
        }
        for place, column in enumerate(shown.columns)
    ]
    page = files("kdtune.report").joinpath("page")
    return _template().render(
        title=measure_of(comparison.metric).heading,
        answers=answers(comparison),
        charts=charts,
        command=command,
        sheets=sheets(comparison),
        style=Markup(page.joinpath("page.css").read_text(encoding="utf-8")),
        behaviour=Markup(page.joinpath("page.js").read_text(encoding="utf-8")),
        library=Markup(script()),
        version=kdtune.__version__,
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kdtune", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html.j2")


def column_chart(comparison: Comparison, pivot: Pivot, column: Column) -> "go.Figure":
    """One dot a row with its standard deviation, and beside it what papers printed.

    A figure that may not be compared is hollow.
    """
    import plotly.graph_objects as go

    measure = measure_of(comparison.metric)
    cells = [
        cell for cell in reversed(pivot.of_column(column)) if cell.result and cell.result.n != 0
    ]
    places = {cell.row: place for place, cell in enumerate(cells)}
    figure = go.Figure()
    own = [(float(places[cell.row]), cell.result, "") for cell in cells if cell.result]
    figure.add_trace(_dots(own, column.paper or "measured", 0, measure))
    pairs = [pair for pair in comparison.beside if pair.cell.column == column]
    for order, paper in enumerate(dict.fromkeys(pair.printed.paper for pair in pairs), start=1):
        theirs = [
            (places[pair.cell.row] - order * STEP, pair.printed, apart_text(pair.apart))
            for pair in pairs
            if pair.printed.paper == paper
        ]
        figure.add_trace(_dots(theirs, paper, order, measure))
    ticks = list(places.values())
    figure.update_yaxes(tickvals=ticks, ticktext=[row_label(row) for row in places], showgrid=True)
    figure.update_layout(height=FRAME_PIXELS + ROW_PIXELS * len(cells), showlegend=True)
    unit = f" ({measure.unit})" if measure.unit else ""
    styled(figure, title="", x=f"{measure.label}{unit}, bars: standard deviation")
    # The page has the title as a heading, which wraps.
    return figure.update_layout(title=None, margin={"t": 24}, legend={"y": 1, "yanchor": "bottom"})


def _dots(
    dots: list[tuple[float, Result, str]], name: str, order: int, measure: Measure
) -> "go.Scatter":
    import plotly.graph_objects as go

    results = [result for _, result, _ in dots]
    colour, symbol = COLOURS[order % len(COLOURS)], MARKERS[order % len(MARKERS)]
    return go.Scatter(
        x=[measure.scale * result.mean for result in results],
        y=[place for place, _, _ in dots],
        error_x={"array": [measure.scale * (r.std or 0.0) for r in results], "thickness": 1.5},
        mode="markers",
        marker={
            "color": colour,
            "size": 9,
            "symbol": [f"{symbol}-open" if apart else symbol for _, _, apart in dots],
        },
        name=name,
        hovertext=[
            f"{summary(result, measure)}<br>{result.label} {result.table}"
            + (f"<br>not comparable: {apart}" if apart else "")
            for _, result, apart in dots
        ],
        hoverinfo="text+name",
    )
