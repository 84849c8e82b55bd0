"""Whether a paper's order of methods is the measured one: Kendall's rank correlation."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau

from kdtune.compare.beside import Beside
from kdtune.compare.pivot import Column, Row
from kdtune.compare.result import TEACHER

FEWEST = 3


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two orders of the same rows.

    Attributes:
        column: The measured one.
        printed: The paper's.
        rows: In both, the best measured first.
        tau: Kendall's tau-b, from -1 (reversed) to 1 (the same order); None if either side ties
            them all.
        p: Two-sided, of the hypothesis that the orders are unrelated.
        incomparable: Those rows whose figures may not be compared; the orders then come from
            different experiments, as far as they are concerned.
    """

    column: Column
    printed: Column
    rows: tuple[Row, ...]
    tau: float | None
    p: float | None
    incomparable: tuple[Row, ...]


def agreements(pairs: Iterable[Beside]) -> tuple[Agreement, ...]:
    """One for each measured and printed column that share at least three ranked rows.

    Where several printed figures stand beside one cell, the one that differs from it in the fewest
    settings counts; if that is not one, the row is left out.
    """
    together: dict[tuple[Column, Column], list[Beside]] = {}
    for pair in pairs:
        together.setdefault((pair.cell.column, pair.column), []).append(pair)
    closest = {columns: _closest(group) for columns, group in together.items()}
    return tuple(
        _agreement(group, *columns) for columns, group in closest.items() if len(group) >= FEWEST
    )


def _closest(pairs: Sequence[Beside]) -> list[Beside]:
    by_row: dict[Row, list[Beside]] = {}
    for pair in pairs:
        if pair.cell.row[0] != TEACHER:
            by_row.setdefault(pair.cell.row, []).append(pair)
    found = []
    for group in by_row.values():
        fewest = min(len(pair.apart) for pair in group)
        nearest = [pair for pair in group if len(pair.apart) == fewest]
        if len(nearest) == 1:
            found += nearest
    return found


def _agreement(pairs: Sequence[Beside], column: Column, printed: Column) -> Agreement:
    ranked = sorted(pairs, key=lambda pair: pair.cell.rank or math.inf)
    ours = [pair.cell.result.mean for pair in ranked if pair.cell.result]
    outcome = kendalltau(ours, [pair.printed.mean for pair in ranked])
    known = math.isfinite(outcome.statistic)
    return Agreement(
        column=column,
        printed=printed,
        rows=tuple(pair.cell.row for pair in ranked),
        tau=float(outcome.statistic) if known else None,
        p=float(outcome.pvalue) if known else None,
        incomparable=tuple(pair.cell.row for pair in ranked if pair.apart),
    )
