"""A comparison as sheets of written cells, which terminal, page and LaTeX show in their ways."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kdtune.compare.agreement import Agreement
from kdtune.compare.comparison import Comparison
from kdtune.compare.paired import CORRECTION, PairedTest
from kdtune.compare.pivot import Cell, Column, Pivot
from kdtune.report.comparison_words import (
    IN_LABELS,
    apart_text,
    cell_remarks,
    cell_text,
    column_label,
    column_names,
    heading,
    letters,
    measure_of,
    points,
    probability,
    protocol_apart,
    recipes,
    row_label,
    short_labels,
    summary,
)
from kdtune.report.goals import Measure
from kdtune.report.settings import MISSING, describe, shown


class Written(NamedTuple):
    """A cell as text; ``mark`` is the letter of a footnote, ``strong`` the best of a column."""

    text: str
    mark: str = ""
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table.

    Attributes:
        name: For links and labels: ``measured``, ``tests`` ...
        title: What it shows, as a heading.
        headings: One a column.
        rows: As many cells each.
        left: Columns of words; all others hold numbers.
        lead: How many columns, from the left, say which row it is.
        splits: Whether it may be cut into blocks of columns where there is little room.
        notes: Below it, footnotes with their letters among them.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Written, ...], ...]
    left: frozenset[int] = frozenset()
    lead: int = 1
    splits: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class _Footnotes:
    """Letters for remarks, the same for the same."""

    remarks: dict[str, str] = field(default_factory=dict)

    def mark(self, remarks: Iterable[str]) -> str:
        text = "; ".join(dict.fromkeys(remarks))
        if not text:
            return ""
        return self.remarks.setdefault(text, letters(len(self.remarks), string.ascii_lowercase))

    def notes(self) -> list[str]:
        return [f"{mark}  {text}" for text, mark in self.remarks.items()]


def sheets(comparison: Comparison) -> list[Sheet]:
    """All that has something to show; printed figures are laid out if nothing is measured."""
    found = []
    if comparison.measured.cells:
        found = [
            pivot_sheet(comparison, comparison.measured, "Measured"),
            recipe_sheet(comparison),
            paired_sheet(comparison),
            beside_sheet(comparison),
            agreement_sheet(comparison),
        ]
    elif comparison.printed.cells:
        found = [pivot_sheet(comparison, comparison.printed, "Printed")]
    return [sheet for sheet in found if sheet.rows]


def pivot_sheet(comparison: Comparison, pivot: Pivot, title: str) -> Sheet:
    """Rows by columns: mean, deviation and n of each cell, and its rank."""
    measure, notes = measure_of(comparison.metric), _Footnotes()
    names, (shared, labels) = column_names(pivot), short_labels(pivot)
    ranked = {column for column in pivot.columns if any(c.rank for c in pivot.of_column(column))}
    means = [pivot.mean_rank(row) for row in pivot.rows]
    across = any(mean and mean[1] > 1 for mean in means)
    headings = [heading(key) for key in pivot.by] + (["mean # (of)"] if across else [])
    for column in pivot.columns:
        headings.append(f"{names[column]} {labels[column]}".strip())
        headings += ["#"] if column in ranked else []
    rows = []
    for row, mean in zip(pivot.rows, means, strict=True):
        cells = [Written(shown(value)) for value in row]
        cells += [Written(f"{mean[0]:.3g} ({mean[1]})" if mean else MISSING)] if across else []
        for column in pivot.columns:
            cell = pivot.cells.get((row, column))
            cells.append(_figure(cell, measure, notes))
            cells += [Written(_rank(cell))] if column in ranked else []
        rows.append(tuple(cells))
    parts = [f"{title}: {measure.heading}, mean ± std (n)", "# is the rank" if ranked else ""]
    return Sheet(
        name=title.lower(),
        title="; ".join(filter(None, [*parts, shared])),
        headings=tuple(headings),
        rows=tuple(rows),
        left=frozenset(range(len(pivot.by))),
        lead=len(pivot.by),
        splits=True,
        notes=(*_protocols(pivot, names), *notes.notes()),
    )


def _figure(cell: Cell | None, measure: Measure, notes: _Footnotes) -> Written:
    if cell is None:
        return Written("")
    mark = notes.mark(cell_remarks(cell))
    return Written(cell_text(cell, measure), mark, strong=cell.rank == 1)


def _rank(cell: Cell | None) -> str:
    return "" if cell is None or cell.rank is None else f"{cell.rank:g}"


def _protocols(pivot: Pivot, names: dict[Column, str]) -> list[str]:
    """In what columns of the same networks were run differently: their ranks stay apart."""
    found = []
    for column in pivot.columns:
        apart = {k: v for k, v in protocol_apart(column, pivot) if k not in IN_LABELS}
        if apart:
            found.append(f"{names[column]}  {describe(apart, apart)}")
    return found


def recipe_sheet(comparison: Comparison) -> Sheet:
    """What each measured cell was run with."""
    pivot, names = comparison.measured, column_names(comparison.measured)
    rows = [
        (
            *_where(cell.column, names),
            Written(row_label(cell.row)),
            Written(text),
            Written(cell.result.label if cell.result else ""),
        )
        for cell, text in recipes(pivot)
    ]
    return _sheet(
        "recipes",
        "What they were run with",
        ("row", "settings", "from"),
        rows,
        names=names,
        words=(0, 1, 2),
    )


def paired_sheet(comparison: Comparison) -> Sheet:
    """Paired differences from the reference, with their intervals and p-values."""
    measure, names = measure_of(comparison.metric), column_names(comparison.measured)
    notes = _Footnotes()
    rows = [
        (
            *_where(test.column, names),
            Written(row_label(test.row), notes.mark([_untested(test)] if test.why else [])),
            Written("" if test.reference is None else row_label(test.reference)),
            Written(str(len(test.seeds))),
            Written(points(test.difference, measure)),
            Written(_interval(test, measure)),
            Written(probability(test.p)),
            Written(
                probability(test.corrected),
                strong=test.corrected is not None and test.corrected < 0.05,
            ),
        )
        for test in comparison.tests
    ]
    # One that stands in several columns was corrected as one.
    tested = (test for test in comparison.tests if test.p is not None)
    made = len({(test.row, test.reference, test.difference, test.p) for test in tested})
    over = f"all {made} tests" if made > 1 else "this one test"
    explained = (
        f"Two-sided paired t-tests over the seeds that both share (n of them); p* is p after "
        f"{CORRECTION} over {over}. They take the differences to be normal.",
    )
    return _sheet(
        "tests",
        f"Against {comparison.against}",
        ("row", "against", "n", "difference", "95 % interval", "p", "p*"),
        rows,
        names=names,
        words=(0, 1),
        notes=(*(explained if made else ()), *notes.notes()),
    )


def _untested(test: PairedTest) -> str:
    return f"no test: {test.why}"


def _interval(test: PairedTest, measure: Measure) -> str:
    if test.low is None:
        return MISSING
    return f"{points(test.low, measure)} to {points(test.high, measure)}"


def beside_sheet(comparison: Comparison) -> Sheet:
    """Each printed figure beside the measured one that it fits."""
    measure, names = measure_of(comparison.metric), column_names(comparison.measured)
    notes = _Footnotes()
    rows = []
    for pair in comparison.beside:
        if pair.cell.result is None:
            continue
        remarks = [f"not comparable: {apart_text(pair.apart)}"] if pair.apart else []
        remarks += [pair.printed.note] if pair.printed.note else []
        rows.append(
            (
                *_where(pair.cell.column, names),
                Written(row_label(pair.cell.row)),
                Written(summary(pair.cell.result, measure)),
                Written(summary(pair.printed, measure)),
                Written(f"{pair.printed.paper} {pair.printed.table}"),
                Written(points(pair.difference, measure)),
                Written(_verdict(pair.within, pair.comparable), notes.mark(remarks)),
            )
        )
    further = (
        f"{comparison.unplaced} printed figures fit several of these rows and stand beside none: "
        "tell the rows apart with --by"
    )
    return _sheet(
        "beside",
        "Beside what was printed",
        ("row", "measured", "printed", "where", "difference", "within spread"),
        rows,
        names=names,
        words=(0, 3, 5),
        notes=(
            "The spread is the root of the sum of both squared standard deviations.",
            *notes.notes(),
            *([further] if comparison.unplaced else []),
        ),
    )


def _verdict(within: bool | None, comparable: bool) -> str:
    if not comparable:
        return "not comparable"
    return {True: "yes", False: "no", None: "no spread known"}[within]


def agreement_sheet(comparison: Comparison) -> Sheet:
    """Whether papers order the rows as they were measured."""
    names, notes = column_names(comparison.measured), _Footnotes()
    rows = [
        (
            *_where(each.column, names),
            Written(
                column_label(each.printed, comparison.printed),
                notes.mark(_incomparable(each)),
            ),
            Written(MISSING if each.tau is None else f"{each.tau:+.2f}"),
            Written(probability(each.p)),
            Written(str(len(each.rows))),
            Written(" > ".join(row_label(row) for row in each.rows)),
        )
        for each in comparison.agreements
    ]
    return _sheet(
        "order",
        "Kendall's tau between the measured order and the papers'",
        ("paper", "tau", "p", "rows", "measured order"),
        rows,
        names=names,
        words=(0, 4),
        notes=tuple(notes.notes()),
    )


def _incomparable(agreement: Agreement) -> list[str]:
    if not agreement.incomparable:
        return []
    if len(agreement.incomparable) == len(agreement.rows):
        return ["none of its figures may be compared with ours: an order under other conditions"]
    rows = ", ".join(row_label(row) for row in agreement.incomparable)
    return [f"not comparable among these: {rows}"]


def _where(column: Column, names: dict[Column, str]) -> tuple[Written, ...]:
    return (Written(names[column]),) if names[column] else ()


def _sheet(
    name: str,
    title: str,
    headings: Sequence[str],
    rows: Sequence[tuple[Written, ...]],
    *,
    names: dict[Column, str],
    words: Sequence[int],
    notes: Sequence[str] = (),
) -> Sheet:
    """A sheet whose first column says which column of the pivot, where there are several."""
    shift = int(any(names.values()))
    return Sheet(
        name=name,
        title=title,
        headings=(*([""] * shift), *headings),
        rows=tuple(rows),
        left=frozenset([*range(shift), *(place + shift for place in words)]),
        lead=1 + shift,
        notes=tuple(notes),
    )
