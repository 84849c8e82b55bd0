"""The charts of the page: learning curves, finalists over seeds, the Pareto front."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdtune.palette import COLOURS, QUIET
from kdtune.report.chart_style import MARKERS, styled
from kdtune.report.goals import Goal
from kdtune.report.page.answer import difference, points, recommended
from kdtune.report.page.facts import Arm, Facts, Trial, in_a_line

if TYPE_CHECKING:
    import plotly.graph_objects as go

CHOSEN, OTHERS = COLOURS[1], COLOURS[0]
MOST_CURVES = 8
"""Finished trials with a colour of their own: as many as can be told apart."""
MOST_POINTS = 60
"""Of a curve; more are not seen, and make the page large."""
ROW_PX, FRAME_PX = 44, 110
"""Height of an arm of the comparison, and of all that is around them."""


def score_chart(facts: Facts) -> "go.Figure":
    """Test accuracy of every arm: each seed, mean and standard deviation."""
    import plotly.graph_objects as go

    figure = go.Figure()
    best = recommended(facts)
    arms = _tested(facts)
    for arm in arms:
        colour, name = _colour(arm, best), arm_label(arm, best)
        figure.add_scatter(
            x=[100 * score for score in arm.scores.values()],
            y=[name] * len(arm.scores),
            mode="markers",
            marker={"color": colour, "size": 8, "opacity": 0.45, "symbol": "circle"},
            hovertext=[f"{name}, seed {seed}" for seed in arm.scores],
            hovertemplate="%{hovertext}: %{x:.2f} %<extra></extra>",
        )
        assert arm.summary
        mean, std = arm.summary.mean, arm.summary.std
        figure.add_scatter(
            x=[100 * mean],
            y=[name],
            mode="markers",
            error_x={"array": [100 * (std or 0)], "thickness": 2, "width": 6},
            marker={"color": colour, "size": 12, "symbol": "diamond"},
            hovertext=[f"{name}: {arm.summary} %<br>{in_a_line(arm.config)}"],
            hoverinfo="text",
        )
    teacher = best.teacher if best else None
    if teacher is not None:
        figure.add_vline(
            x=100 * teacher,
            line={"dash": "dash", "color": QUIET, "width": 1.5},
            annotation={"text": "its teacher", "xanchor": "right", "font": {"color": "#555"}},
        )
    _rows(figure, len(arms))
    scores = [score for arm in arms for score in arm.scores.values()]
    low, high = min(scores), max([*scores, teacher or 0.0])
    room = 0.08 * (high - low) or 0.01
    figure.update_xaxes(range=[100 * (low - room), 100 * (high + room)])
    return styled(
        figure, title="Test accuracy of each seed, with mean and deviation", x="test accuracy (%)"
    )


def difference_chart(facts: Facts) -> "go.Figure | None":
    """What every arm scores more than the student without a teacher, seed by seed."""
    import plotly.graph_objects as go

    base, best = facts.no_teacher, recommended(facts)
    if base is None:
        return None
    figure = go.Figure()
    arms = _tested(facts)
    for arm in arms:
        gap = difference(arm.scores, base.scores)
        if gap is None:
            continue
        name = arm_label(arm, best)
        half = 0.0 if gap.high is None or arm is base else gap.high - gap.mean
        figure.add_scatter(
            x=[100 * gap.mean],
            y=[name],
            mode="markers",
            error_x={"array": [100 * half], "thickness": 2, "width": 6},
            marker={"color": _colour(arm, best), "size": 12, "symbol": "diamond"},
            hovertext=[f"{name}: {points(gap.mean)} points, 95 %: {gap.interval} (n = {gap.n})"],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1.5})
    _rows(figure, len(arms))
    return styled(
        figure,
        title="Gain over no teacher, with its 95 % interval",
        x="points of test accuracy",
    )


def curve_chart(facts: Facts) -> "go.Figure | None":
    """The first objective of every trial by epoch; a cross where one was cut."""
    import plotly.graph_objects as go

    measure = facts.goal.measure
    figure = go.Figure()
    drawn = [trial for trial in facts.trials if trial.curve]
    if not drawn:
        return None
    named = [t for t in drawn if t.row.outcome in ("finished", "running")][:MOST_CURVES]
    rest = [trial for trial in drawn if trial not in named]
    for outcome in dict.fromkeys(trial.row.outcome for trial in rest):
        members = [trial for trial in rest if trial.row.outcome == outcome]
        figure.add_scatter(
            **_lines(members, measure.scale),
            name=f"{len(members)} {'more ' if outcome == 'finished' else ''}{outcome}",
            line={"color": QUIET, "width": 1},
            opacity=0.6,
            legendgroup=outcome,
        )
        if outcome != "finished":
            ends = [trial.curve[-1] for trial in members]
            figure.add_scatter(
                x=[end.epoch for end in ends],
                y=[measure.scale * end.value for end in ends],
                mode="markers",
                marker={
                    "color": "#555555",
                    "symbol": "x-thin",
                    "size": 7,
                    "line": {"color": "#555555", "width": 1.5},
                },
                legendgroup=outcome,
                showlegend=False,
                hovertext=[_told(trial) for trial in members],
                hovertemplate="%{hovertext}: %{y:.4g} at epoch %{x}<extra></extra>",
            )
    for place, trial in reversed(list(enumerate(named))):
        figure.add_scatter(
            **_lines([trial], measure.scale),
            name=f"trial {trial.row.trial}",
            line={"color": COLOURS[place], "width": 2},
            marker={"symbol": MARKERS[place], "size": 6},
        )
        figure.data[-1].mode = "lines+markers" if len(trial.curve) <= MOST_POINTS else "lines"
    add_highlight(figure)
    figure.update_layout(legend={"traceorder": "reversed"}, hovermode="closest")
    return styled(
        figure, title=f"{facts.measured.capitalize()} by epoch", x="epoch", y=axis_title(facts.goal)
    )


def front_chart(facts: Facts, goal: Goal) -> "go.Figure":
    """The finished trials by the first objective and another, the Pareto front marked.

    Args:
        facts: Of a search with several objectives.
        goal: One of the objectives after the first.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    up, place = facts.goal, list(facts.goals).index(goal) - 1
    scored = [t for t in facts.finished if t.row.further[place] is not None]
    for front, colour, symbol, size in ((False, QUIET, "circle", 8), (True, OTHERS, "diamond", 11)):
        members = [trial for trial in scored if trial.row.front is front]
        members.sort(key=lambda trial: trial.row.further[place] or 0.0)
        figure.add_scatter(
            x=[goal.measure.scale * (trial.row.further[place] or 0.0) for trial in members],
            y=[up.measure.scale * (trial.row.value or 0.0) for trial in members],
            mode="lines+markers+text" if front and len(facts.goals) == 2 else "markers+text",
            # Between two members the cheaper one is the best there is.
            line={"shape": "hv" if goal.mode == "min" else "vh", "dash": "dot"},
            text=[str(trial.row.trial) if front else "" for trial in members],
            textposition="top left",
            marker={"color": colour, "symbol": symbol, "size": size},
            name="Pareto front" if front else "other trials",
            hovertext=[_told(trial) for trial in members],
            hovertemplate="%{hovertext}<br>%{x:.6g}, %{y:.4g}<extra></extra>",
        )
    return styled(
        figure,
        title=f"{facts.measured.capitalize()} against {goal.measure.label}",
        x=axis_title(goal),
        y=axis_title(up),
    )


def add_highlight(figure: "go.Figure") -> None:
    """A trace for the line under the pointer; ``page.js`` fills it."""
    figure.add_scatter(
        x=[],
        y=[],
        mode="lines",
        meta="highlight",
        line={"color": "#000", "width": 4},
        hoverinfo="skip",
        showlegend=False,
    )


def arm_label(arm: Arm, best: Arm | None) -> str:
    """The arm's name, marked where it is the chosen one or shares its runs."""
    if best and arm.name == best.name:
        return f"{arm.name}<br>(chosen)"
    return arm.name + (f"<br>= {arm.same_as}" if arm.same_as else "")


def axis_title(goal: Goal) -> str:
    """Label and unit of an objective."""
    unit = f" ({goal.measure.unit})" if goal.measure.unit else ""
    return goal.measure.label + unit


def _tested(facts: Facts) -> list[Arm]:
    return [arm for arm in facts.arms if arm.scores]


def _colour(arm: Arm, best: Arm | None) -> str:
    if best and best.name in (arm.name, arm.same_as):
        return CHOSEN
    return "#555555" if arm.baseline else OTHERS


def _rows(figure: "go.Figure", count: int) -> None:
    """A chart with a row for each arm, the first on top."""
    figure.update_layout(showlegend=False, height=FRAME_PX + ROW_PX * count)
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=True)


def _lines(trials: Sequence[Trial], scale: float) -> dict[str, object]:
    """Curves as one trace, with a gap between two trials."""
    x: list[int | None] = []
    y: list[float | None] = []
    told: list[str | None] = []
    for trial in trials:
        step = -(-len(trial.curve) // MOST_POINTS)
        kept = [p for place, p in enumerate(trial.curve) if place % step == 0]
        kept += [] if kept[-1] == trial.curve[-1] else [trial.curve[-1]]
        x += [*(point.epoch for point in kept), None]
        y += [*(float(f"{scale * point.value:.5g}") for point in kept), None]
        told += [*[_told(trial)] * len(kept), None]
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "hovertext": told,
        "hovertemplate": "%{hovertext}: %{y:.4g} at epoch %{x}<extra></extra>",
    }


def _told(trial: Trial) -> str:
    return f"trial {trial.row.trial}, {trial.row.outcome}"
