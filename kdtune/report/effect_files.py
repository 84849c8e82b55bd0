"""Effects written to files: a page, JSON, and a table of numbers for each part."""

import json
import math
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kdtune
from kdtune.compare.effects import Effects
from kdtune.compare.interactions import Interaction
from kdtune.report.chart_style import fragment, script
from kdtune.report.effect_charts import importance_chart, interaction_chart, rung_chart
from kdtune.report.effect_sheets import (
    cell_sheet,
    contrast_sheet,
    importance_sheet,
    rung_sheet,
    untold,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kdtune.report.comparison_sheets import Sheet

Row = dict[str, Any]


def effects_page(effects: Effects, *, command: str = "") -> str:
    """A page of HTML that stands alone: every table below its chart.

    Args:
        effects: What to show.
        command: That made it, for the record.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("kdtune", "report"), autoescape=True, undefined=StrictUndefined
    )
    style = files("kdtune.report").joinpath("page", "page.css").read_text(encoding="utf-8")
    charts = [
        (sheet, Markup(fragment(chart, f"chart-{place}")) if chart else "")
        for place, (sheet, chart) in enumerate(_parts(effects))
    ]
    return environment.get_template("effects.html.j2").render(
        title=f"Effects in {', '.join(effects.searches)}",
        command=command,
        parts=charts,
        untold=untold(effects),
        style=Markup(style),
        library=Markup(script()),
        version=kdtune.__version__,
    )


def _parts(effects: Effects) -> "list[tuple[Sheet, go.Figure | None]]":
    told = [each for each in effects.interactions if each.estimates]
    return [
        *((importance_sheet(e), importance_chart(e)) for e in effects.importance if e.axes),
        *([(contrast_sheet(told), None)] if told else []),
        *((cell_sheet(each), interaction_chart(each)) for each in told),
        *((rung_sheet(each), rung_chart(each)) for each in effects.honesty if each.rungs),
    ]


def effects_json(effects: Effects, *, command: str = "") -> str:
    """Everything, numbers in full; what is not a number is null."""
    document = {
        "command": command,
        "searches": effects.searches,
        "importance": [asdict(each) for each in effects.importance],
        "interactions": [_interaction(each) for each in effects.interactions],
        "rungs": [asdict(each) for each in effects.honesty],
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def effect_tables(effects: Effects) -> dict[str, list[Row]]:
    """Rows of plain numbers: ``importance``, ``cells``, ``contrasts``, ``rungs``, ``pairs``."""
    return {
        "importance": [
            {"search": each.search, "arm": each.arm, "epoch": each.epoch, "n": each.n, **asdict(a)}
            for each in effects.importance
            for a in each.axes
        ],
        "cells": [
            {**_about(each), **_levels(each, cell["levels"]), **_without(cell, "levels")}
            for each in effects.interactions
            for cell in (cell._asdict() for cell in each.cells)
        ],
        "contrasts": [
            {**_about(each), **_without(row, "sides", "expected")}
            for each in effects.interactions
            for row in _interaction(each)["contrasts"]
        ],
        "rungs": [
            {
                "search": each.search,
                "epoch": rung.epoch,
                "reached": rung.reached,
                "finished": len(rung.pairs),
                **({f"tau_{k}": v for k, v in rung.tau._asdict().items()} if rung.tau else {}),
                **({f"rho_{k}": v for k, v in rung.rho._asdict().items()} if rung.rho else {}),
                "place_of_best": rung.place,
            }
            for each in effects.honesty
            for rung in each.rungs
        ],
        "pairs": [
            {"search": each.search, "epoch": rung.epoch, **pair._asdict()}
            for each in effects.honesty
            for rung in each.rungs
            for pair in rung.pairs
        ],
    }


def write_tables(effects: Effects, folder: Path) -> list[Path]:
    """The tables that have rows as CSV files in ``folder``, which is made if need be."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in effect_tables(effects).items():
        if rows:
            file = folder / f"{name}.csv"
            pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")
            written.append(file)
    return written


def _about(interaction: Interaction) -> Row:
    context = ("dataset", "student", "teacher", "method")
    return {
        "claim": interaction.claim.name,
        "paper": interaction.claim.paper,
        "metric": interaction.metric,
        "controlled": interaction.controlled,
        **{key: interaction.context.get(key) for key in context},
    }


def _levels(interaction: Interaction, levels: tuple[str, ...]) -> Row:
    """Factor by factor, so that claims with different ones share columns."""
    row: Row = {}
    for place, factor in enumerate(interaction.claim.factors):
        row |= {f"factor_{place + 1}": factor.name, f"level_{place + 1}": levels[place]}
    return row


def _interaction(interaction: Interaction) -> Row:
    cells = [cell._asdict() for cell in interaction.cells]
    contrasts = [
        {
            "of": " x ".join(each.contrast.of),
            "at_high": ", ".join(each.contrast.at),
            "says": each.contrast.says,
            "expected": each.contrast.expected,
            "value": each.value,
            "low": each.low,
            "high": each.high,
            "verdict": each.verdict,
            "sides": each.sides,
        }
        for each in interaction.estimates
    ]
    return {
        **_about(interaction),
        "says": interaction.claim.says,
        "factors": [factor.name for factor in interaction.claim.factors],
        "context": dict(interaction.context),
        "runs": interaction.runs,
        "beside": interaction.beside,
        "binned": interaction.binned,
        "cells": cells,
        "contrasts": contrasts,
        "missing": interaction.missing,
        "commands": interaction.commands,
    }


def _without(row: Row, *keys: str) -> Row:
    return {key: value for key, value in row.items() if key not in keys}


def _finite(value: Any) -> Any:
    """NaN as null: JSON has no word for it. Named tuples become lists."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
