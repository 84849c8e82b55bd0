"""Charts of what mattered, what acts on what, and what early values tell."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdtune.compare.honesty import Honesty, Rung
from kdtune.compare.importance import MEASURES, Importance
from kdtune.compare.interactions import Cell, Interaction
from kdtune.compare.levels import level_name
from kdtune.palette import COLOURS, QUIET
from kdtune.report.chart_style import MARKERS, styled
from kdtune.report.comparison_words import measure_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

PATTERNS = ("", "/")
"""Fill of the bars of each measure: on paper, colours may not tell them apart."""

AXIS_PX, FRAME_PX = 52, 150
DASHES = ("solid", "dash", "dot", "dashdot")
PANELS = {
    "margin": {"l": 80, "r": 20, "t": 116, "b": 76},
    "legend": {"orientation": "h", "x": 0, "y": 1.14, "yanchor": "bottom"},
}
"""Room for the titles of panels below that of the chart."""


def importance_chart(importance: Importance) -> "go.Figure":
    """A pair of bars for each axis, the most important on top, with percentiles 5 to 95.

    Args:
        importance: One that has numbers.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    order = [each.axis for each in importance.axes if each.measure == MEASURES[0]]
    for place, measure in enumerate(MEASURES):
        own = {each.axis: each for each in importance.axes if each.measure == measure}
        bars = [own[axis] for axis in order]
        figure.add_bar(
            x=[100 * bar.share for bar in bars],
            y=order,
            orientation="h",
            name=measure,
            error_x={
                "array": [100 * max(0.0, bar.high - bar.share) for bar in bars],
                "arrayminus": [100 * max(0.0, bar.share - bar.low) for bar in bars],
                "thickness": 1.5,
                "color": "#444",
            },
            marker={"color": COLOURS[place], "pattern": {"shape": PATTERNS[place]}},
            hovertext=[
                f"{bar.axis}, {measure}: {100 * bar.share:.0f} %"
                f" ({100 * bar.low:.0f} to {100 * bar.high:.0f})"
                f"<br>before all shuffled axes in {100 * bar.beats_noise:.0f} % of the draws"
                for bar in bars
            ],
            hoverinfo="text",
        )
    figure.update_layout(barmode="group", height=FRAME_PX + AXIS_PX * len(order))
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(range=[0, 100])
    when = f"at epoch {importance.epoch}" if importance.epoch else "at their end"
    return styled(
        figure,
        title=f"Importance in {' '.join(filter(None, (importance.search, importance.arm)))}",
        x=f"share of the importance (%), lines: percentiles 5 to 95; {importance.n} trials {when}",
    )


def interaction_chart(interaction: Interaction) -> "go.Figure":
    """Means with their 95 % intervals: the first factor along, the second in lines.

    A third factor is a panel for each of its levels.

    Args:
        interaction: One that has cells.
    """
    from plotly.subplots import make_subplots

    levels = [
        list(dict.fromkeys(cell.levels[place] for cell in interaction.cells))
        for place in range(len(interaction.claim.factors))
    ]
    panels = levels[2] if len(levels) > 2 else [""]
    figure = make_subplots(
        cols=len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=panels if panels != [""] else None,
        x_title=_along(interaction),
        y_title=measure_of(interaction.metric).heading,
    )
    for column, panel in enumerate(panels, start=1):
        for place, line in enumerate(levels[1]):
            cells = [
                cell for cell in interaction.cells if [*cell.levels[1:], ""][:2] == [line, panel]
            ]
            if cells:
                trace = _line(interaction, cells, place, first=column == 1)
                figure.add_trace(trace, col=column, row=1)
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=levels[0])
    claim = interaction.claim
    return styled(figure, title=f"{claim.name} ({claim.paper})").update_layout(PANELS)


def _along(interaction: Interaction) -> str:
    counts = [cell.n for cell in interaction.cells]
    span = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    what = "runs" if interaction.controlled else "configurations"
    beside = "" if interaction.controlled else ", other settings vary"
    along = interaction.claim.factors[0].name
    return f"{along} (lines: 95 % intervals; {span} {what} a point{beside})"


def _line(
    interaction: Interaction, cells: Sequence[Cell], place: int, *, first: bool
) -> "go.Scatter":
    import plotly.graph_objects as go

    measure, line = measure_of(interaction.metric), cells[0].levels[1]
    factor = interaction.claim.factors[1]
    halves = [0.0 if math.isnan(cell.half) else measure.scale * cell.half for cell in cells]
    return go.Scatter(
        x=[cell.levels[0] for cell in cells],
        y=[measure.scale * cell.mean for cell in cells],
        error_y={"array": halves, "thickness": 1.5, "width": 5},
        mode="lines+markers",
        name=level_name(factor, line),
        legendgroup=line,
        showlegend=first,
        line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)]},
        marker={"symbol": MARKERS[place % len(MARKERS)], "size": 9},
        hovertext=[
            f"{', '.join(cell.levels)}: {measure.text(cell.mean)} ({cell.n})" for cell in cells
        ],
        hoverinfo="text",
    )


def rung_chart(honesty: Honesty) -> "go.Figure":
    """A panel for each rung: the value there against the final one, a dot a finished trial.

    Args:
        honesty: One that has rungs.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    measure = measure_of(honesty.objective.metric)
    figure = make_subplots(
        cols=len(honesty.rungs),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[_rung_title(rung) for rung in honesty.rungs],
        x_title=f"{measure.heading} at the rung",
        y_title=f"{measure.heading} after epoch {honesty.epochs}",
    )
    for column, rung in enumerate(honesty.rungs, start=1):
        won = [pair.final == honesty.best for pair in rung.pairs]
        figure.add_trace(
            go.Scatter(
                x=[measure.scale * pair.early for pair in rung.pairs],
                y=[measure.scale * pair.final for pair in rung.pairs],
                mode="markers",
                marker={
                    "color": [COLOURS[1] if each else COLOURS[0] for each in won],
                    "symbol": ["star" if each else "circle" for each in won],
                    "size": [13 if each else 8 for each in won],
                    "line": {"color": QUIET, "width": 0.5},
                },
                hovertext=[
                    f"{pair.trial}: {measure.text(pair.early)} → {measure.text(pair.final)}"
                    for pair in rung.pairs
                ],
                hoverinfo="text",
                showlegend=False,
            ),
            row=1,
            col=column,
        )
    title = f"Early values and the end in {honesty.search} (star: the best)"
    return styled(figure, title=title).update_layout(PANELS)


def _rung_title(rung: Rung) -> str:
    text = f"epoch {rung.epoch}, {len(rung.pairs)} finished trials"
    if rung.tau is None:
        return text
    return f"{text}<br>tau {rung.tau.value:.2f} ({rung.tau.low:.2f} to {rung.tau.high:.2f})"
