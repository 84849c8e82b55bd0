"""Printed figures beside the measured ones: how far apart, and whether that can be told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdtune.compare.comparable import Difference, alike, differences
from kdtune.compare.pivot import Cell, Column, Pivot, Row
from kdtune.compare.result import Result


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One printed figure beside one measured cell.

    Attributes:
        cell: The measured one; its result counts.
        column: The printed one.
        printed: The figure.
        apart: In what they differ beyond the figures; empty if they may be compared.
        difference: Measured less printed.
        spread: See :func:`combined_spread`.
    """

    cell: Cell
    column: Column
    printed: Result
    apart: tuple[Difference, ...]
    difference: float
    spread: float | None

    @property
    def comparable(self) -> bool:
        """Whether nothing that both state differs."""
        return not self.apart

    @property
    def within(self) -> bool | None:
        """Whether the difference is at most the spread; None if unknown, or not comparable.

        That is no test: it says whether the chance of single runs could hide the difference.
        """
        if self.spread is None or not self.comparable:
            return None
        return abs(self.difference) <= self.spread


def combined_spread(one: Result, other: Result) -> float | None:
    """The root of the sum of the squared standard deviations; None without both.

    It is the deviation of the difference between one run of each: a difference below it could be
    the chance of two single runs. It does not shrink with their number, as a test's margin would.
    """
    if one.std is None or other.std is None:
        return None
    return math.hypot(one.std, other.std)


def besides(measured: Pivot, printed: Pivot) -> tuple[Beside, ...]:
    """Each printed figure beside the one measured cell that it fits, in the order of the cells.

    It fits a cell of the same task if it states none of the row's keys otherwise. A figure that
    fits several rows of a column, since its paper is silent on what tells them apart, stands
    beside none: :func:`unplaced` counts them.
    """
    found = []
    for column in measured.columns:
        cells = measured.of_column(column)
        placed = [
            _beside(fitting[0], theirs, result)
            for theirs in _same_task(column, printed)
            for cell in printed.of_column(theirs)
            if len(fitting := _fitting(cell.row, cells)) == 1
            for result in cell.results
        ]
        for own in cells:
            # Without a teacher a figure is printed once, and stands in the columns of several.
            pairs = {id(pair.printed): pair for pair in placed if pair.cell is own}
            found += sorted(pairs.values(), key=lambda pair: len(pair.apart))
    return tuple(found)


def unplaced(measured: Pivot, printed: Pivot) -> int:
    """How many printed figures fit several rows of a measured column."""
    return sum(
        len(cell.results)
        for column in measured.columns
        for theirs in _same_task(column, printed)
        for cell in printed.of_column(theirs)
        if len(_fitting(cell.row, measured.of_column(column))) > 1
    )


def _same_task(column: Column, printed: Pivot) -> list[Column]:
    return [other for other in printed.columns if other.same_task(column)]


def _fitting(row: Row, cells: Sequence[Cell]) -> list[Cell]:
    """The cells with a figure whose rows say nothing else; the same row alone, if it is there."""
    counted = [cell for cell in cells if cell.result is not None and cell.result.n]
    same = [cell for cell in counted if cell.row == row]
    return same or [cell for cell in counted if _agrees(row, cell.row)]


def _agrees(printed: Row, measured: Row) -> bool:
    pairs = zip(printed, measured, strict=True)
    return all(there is None or alike(there, here) for there, here in pairs)


def _beside(cell: Cell, column: Column, printed: Result) -> Beside:
    assert cell.result is not None
    return Beside(
        cell=cell,
        column=column,
        printed=printed,
        apart=differences(cell.result, printed),
        difference=cell.result.mean - printed.mean,
        spread=combined_spread(cell.result, printed),
    )
