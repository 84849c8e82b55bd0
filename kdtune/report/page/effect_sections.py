"""The sections on what the trials tell beside their winner: what mattered, what early cuts cost."""

import shlex
from collections.abc import Iterator, Sequence

from kdtune.compare.effects import Effects
from kdtune.compare.honesty import Honesty
from kdtune.report.comparison_sheets import Sheet
from kdtune.report.effect_charts import importance_chart, interaction_chart, rung_chart
from kdtune.report.effect_sheets import cell_sheet, contrast_sheet, importance_sheet, rung_sheet
from kdtune.report.page.blocks import Block, Code, Text, chart
from kdtune.report.page.facts import Facts
from kdtune.report.page.tables import Cell, Line, Listing

MOST_FOR_IMPORTANCE = 200
"""Trials: with more, the many forests of the importances would take minutes."""


def what_mattered(facts: Facts, told: Effects) -> Iterator[Block]:
    """The importance of the axes, over all trials and arm by arm."""
    if len(facts.trials) > MOST_FOR_IMPORTANCE:
        yield Text("Importances of so many trials take minutes, and are told by:")
        yield Code(
            "the command that tells them", shlex.join(["kdtune", "effects", facts.record.name])
        )
    for place, each in enumerate(told.importance):
        if each.axes:
            sheet = importance_sheet(each)
            order = ", ".join(row[0].text for row in sheet.rows)
            alt = f"{sheet.title}. The most important first: {order}."
            yield chart(importance_chart(each), f"importance-{place}", alt=alt)
            yield _listing(sheet)
        else:
            yield Text(f"{each.refused[:1].upper()}{each.refused[1:]}.", lead=each.arm)


def interplay(effects: Effects) -> Iterator[Block]:
    """The interactions that papers claim, as far as these runs can tell."""
    told = [each for each in effects.interactions if each.estimates]
    if not told:
        return
    yield _listing(contrast_sheet(told))
    for place, each in enumerate(told):
        sheet = cell_sheet(each)
        yield chart(interaction_chart(each), f"interaction-{place}", alt=f"{sheet.title}.")
        yield _listing(sheet, folded="In figures")


def early_cuts(honesty: Sequence[Honesty]) -> Iterator[Block]:
    """How early values and final ones agree, and what cutting may have cost."""
    for place, each in enumerate(honesty):
        if each.rungs:
            sheet = rung_sheet(each)
            yield chart(rung_chart(each), f"rungs-{place}", alt=f"{sheet.title}.")
            yield _listing(sheet)


def _listing(sheet: Sheet, folded: str = "") -> Listing:
    kinds = ["text" if place in sheet.left else "number" for place in range(len(sheet.headings))]
    kinds[: sheet.lead] = ["head"] * sheet.lead
    return Listing(
        caption=sheet.title,
        columns=sheet.headings,
        lines=[
            Line(
                cells=[
                    Cell(text=written.text, kind=kind)
                    for written, kind in zip(row, kinds, strict=True)
                ]
            )
            for row in sheet.rows
        ],
        folded=folded,
        notes=sheet.notes,
    )
