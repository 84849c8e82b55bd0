"""The sections on what the trials tell beside their winner: what mattered, what early cuts cost."""

from collections.abc import Iterator, Sequence

from kdtune.compare.effects import Effects
from kdtune.compare.honesty import Honesty
from kdtune.compare.importance import Importance
from kdtune.report.comparison_sheets import Sheet
from kdtune.report.effect_charts import importance_chart, interaction_chart, rung_chart
from kdtune.report.effect_sheets import cell_sheet, contrast_sheet, importance_sheet, rung_sheet
from kdtune.report.page.blocks import Block, Text, chart
from kdtune.report.page.tables import Cell, Line, Listing


def what_mattered(importance: Sequence[Importance]) -> Iterator[Block]:
    """The importance of the axes, over all trials and arm by arm."""
    for place, each in enumerate(importance):
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
