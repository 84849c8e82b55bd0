"""All settings of all trials at once: parallel coordinates, one line a trial.

Plain lines rather than plotly's own parallel coordinates: those need WebGL, are a pixel wide, and
hide how many trials share a choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtune.contracts import Scalar
from kdtune.palette import SEQUENTIAL
from kdtune.report.chart_style import styled
from kdtune.report.page.charts import add_highlight, axis_title
from kdtune.report.page.facts import Facts, Trial
from kdtune.report.settings import MISSING, describe, shown

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_AXES = 9
"""More stand too close for their labels."""
BANDS = 10
"""Groups of lines of one colour: 500 lines drawn one by one would take seconds."""
PALEST = 0.93
"""Of the scale, so that the worst trials are still seen on white."""
SPREAD = 0.6
"""Share of the room of a choice over which its trials are spread, so that their number shows."""
FEW_VALUES = 6
"""Numbers with at most so many values are drawn as choices."""
LOG_FROM = 10.0
"""Ratio of the largest to the smallest number from which an axis is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One upright: where each trial crosses it, in [0, 1], and its ticks."""

    title: str
    places: Sequence[float]
    ticks: Mapping[float, str]


def parallel_chart(facts: Facts) -> "go.Figure | None":
    """Settings of all trials with a value, coloured by the first objective; None for fewer than 2.

    Trials that did not finish are drawn thin, at the value that they had last.
    """
    import plotly.graph_objects as go

    trials = [trial for trial in facts.trials if trial.row.value is not None]
    keys = [key for key in facts.keys if _common(key, trials)][:MOST_AXES]
    if len(trials) < 2 or not keys:
        return None
    values = [facts.goal.measure.scale * float(trial.row.value or 0.0) for trial in trials]
    axes = [axis(key, [trial.row.config.get(key) for trial in trials]) for key in keys]
    axes.append(_numbers(axis_title(facts.goal), values))
    low, high = min(values), max(values)
    groups: dict[tuple[bool, int], list[int]] = {}
    for place, (trial, value) in enumerate(zip(trials, values, strict=True)):
        band = min(BANDS - 1, int(BANDS * (value - low) / (high - low or 1.0)))
        groups.setdefault((trial.row.outcome == "finished", band), []).append(place)
    told = [
        f"trial {t.row.trial}, {t.row.outcome}: {facts.goal.measure.quantity(t.row.value)}"
        f"<br>{describe(t.row.config, keys)}"
        for t in trials
    ]
    figure = go.Figure()
    scale = _scale(better_is_more=facts.goal.mode == "max")
    for (finished, band), places in sorted(groups.items()):
        figure.add_scatter(
            **_lines(places, axes, told),
            line={"color": scale[band], "width": 2.5 if finished else 1.2},
            opacity=0.95 if finished else 0.75,
        )
    add_highlight(figure)
    _frame(figure, axes)
    _colour_bar(figure, scale, low, high)
    styled(figure, title="All trials: their settings and what they scored")
    return figure.update_layout(margin={"l": 20, "b": 8})


def _common(key: str, trials: Sequence[Trial]) -> bool:
    """Whether at least half of the trials have a setting; those of few arms tell little here."""
    return 2 * sum(trial.row.config.get(key) is not None for trial in trials) >= len(trials)


def axis(key: str, values: Sequence[Scalar]) -> Axis:
    """Where the values of one setting lie; None is a place of its own, below the others."""
    given = [value for value in values if value is not None]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in given)
    title = key.replace("_", "<br>").replace(".", ".<br>")
    if numbers and len(set(given)) > FEW_VALUES:
        return _numbers(title, [None if v is None else float(v) for v in values])
    options: list[Scalar] = sorted(set(given), key=_rank)
    if None in values:
        options.insert(0, None)
    return _choices(title, values, options)


def _rank(value: Scalar) -> tuple[float, str]:
    """Numbers by size, words by letter."""
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _choices(title: str, values: Sequence[Scalar], options: Sequence[Scalar]) -> Axis:
    """Each option has its share of the upright; its trials are spread there, the best on top."""
    room = 1 / len(options)
    middle = {option: (place + 0.5) * room for place, option in enumerate(options)}
    members = {option: [i for i, v in enumerate(values) if v == option] for option in options}
    places = [0.0] * len(values)
    for option, own in members.items():
        for rank, trial in enumerate(own):
            off = 0.5 - (rank + 0.5) / len(own)
            places[trial] = middle[option] + SPREAD * room * off
    return Axis(
        title=title,
        places=places,
        ticks={place: shown(option) for option, place in middle.items()},
    )


def _numbers(title: str, values: Sequence[float | None]) -> Axis:
    """A range with round ticks, logarithmic where it is wide; what is missing lies below it."""
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator

    given = np.array([value for value in values if value is not None])
    low, high = float(given.min()), float(given.max())
    wide = low > 0 and high >= LOG_FROM * low
    bend = np.log if wide else np.asarray
    locator = LogLocator(subs=(1, 2, 5), numticks=20) if wide else MaxNLocator(5)
    floor = 0.12 if None in values else 0.0

    def place(value: float) -> float:
        share = (bend(value) - bend(low)) / (bend(high) - bend(low) or 1.0)
        return float(floor + (1 - floor) * share)

    ticks = {place(t): f"{t:.4g}" for t in locator.tick_values(low, high) if low <= t <= high}
    if floor:
        ticks[0.0] = MISSING
    return Axis(title=title, places=[0.0 if v is None else place(v) for v in values], ticks=ticks)


def _scale(*, better_is_more: bool) -> list[str]:
    """A colour for each band of values, the best ones darkest."""
    from plotly.colors import sample_colorscale

    shades = [PALEST * (1 - band / (BANDS - 1)) for band in range(BANDS)]
    colours: list[str] = sample_colorscale(SEQUENTIAL, shades)
    return colours if better_is_more else colours[::-1]


def _lines(places: Sequence[int], axes: Sequence[Axis], told: Sequence[str]) -> dict[str, object]:
    """The trials at ``places`` as one trace, with a gap between two of them."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str | None] = []
    for place in places:
        x += [*range(len(axes)), None]
        y += [*(round(axis.places[place], 4) for axis in axes), None]
        text += [*[told[place]] * len(axes), None]
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "hovertext": text,
        "hoverinfo": "text",
        "showlegend": False,
    }


def _frame(figure: "go.Figure", axes: Sequence[Axis]) -> None:
    for number, axis in enumerate(axes):
        figure.add_vline(x=number, line={"color": "#888", "width": 1}, layer="below")
        for place, text in axis.ticks.items():
            figure.add_annotation(
                x=number,
                y=place,
                text=text,
                showarrow=False,
                xanchor="right",
                xshift=-3,
                font={"size": 11},
                bgcolor="rgba(255,255,255,0.75)",
                borderpad=1,
            )
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[axis.title for axis in axes],
        side="top",
        range=[-0.5, len(axes) - 0.8],
        showline=False,
        ticks="",
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.04, 1.04], fixedrange=True)
    figure.update_layout(height=460, hovermode="closest")


def _colour_bar(figure: "go.Figure", scale: Sequence[str], low: float, high: float) -> None:
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        marker={
            "color": [low],
            "cmin": low,
            "cmax": high,
            "colorscale": list(scale),
            "showscale": True,
            "colorbar": {"thickness": 12, "len": 0.9, "outlinewidth": 0},
        },
    )
