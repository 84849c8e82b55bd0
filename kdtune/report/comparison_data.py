"""A comparison as plain data, at full precision and with every flag: one table, or one document."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdtune.compare.comparable import COLUMN_KEYS, Difference
from kdtune.compare.comparison import Comparison
from kdtune.compare.pivot import Cell, Column, Pivot, Row
from kdtune.compare.result import Result
from kdtune.contracts import Scalar
from kdtune.report.comparison_words import answers, apart_text
from kdtune.tracking.canonical import canonical

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "kdtune.comparison/1"
Data = dict[str, Any]


def comparison_document(comparison: Comparison) -> Data:
    """Everything, as JSON takes it; columns are referred to by their place in the lists."""
    ours, theirs = comparison.measured, comparison.printed
    return {
        "schema": SCHEMA,
        "metric": comparison.metric,
        "by": list(comparison.by),
        "against": comparison.against,
        "answers": answers(comparison),
        "measured": _pivot(ours),
        "printed": _pivot(theirs),
        "tests": [
            {
                "column": ours.columns.index(test.column),
                "row": list(test.row),
                "reference": None if test.reference is None else list(test.reference),
                "seeds": list(test.seeds),
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "p": test.p,
                "p_corrected": test.corrected,
                "why": test.why,
            }
            for test in comparison.tests
        ],
        "beside": [
            {
                "column": ours.columns.index(pair.cell.column),
                "row": list(pair.cell.row),
                "printed_column": theirs.columns.index(pair.column),
                "printed": _result(pair.printed),
                "difference": pair.difference,
                "spread": pair.spread,
                "within_spread": pair.within,
                "comparable": pair.comparable,
                "apart": [_apart(each) for each in pair.apart],
            }
            for pair in comparison.beside
        ],
        "unplaced": comparison.unplaced,
        "agreement": [
            {
                "column": ours.columns.index(each.column),
                "printed_column": theirs.columns.index(each.printed),
                "tau": each.tau,
                "p": each.p,
                "rows": [list(row) for row in each.rows],
                "incomparable": [list(row) for row in each.incomparable],
            }
            for each in comparison.agreements
        ],
    }


def comparison_frame(comparison: Comparison) -> "pd.DataFrame":
    """One row a figure: its cell, what it was made with, its test, and what it stands beside.

    A printed figure has one row for each measured column that it stands beside. Settings have a
    column each, ``settings.temperature`` and so on; what is of several types becomes text.
    """
    import pandas as pd

    rows = [
        {**_of_cell(comparison, pivot, cell), **_of_result(cell, result), **further}
        for pivot in (comparison.measured, comparison.printed)
        for column in pivot.columns
        for cell in pivot.of_column(column)
        for result in cell.results
        for further in _further(comparison, cell, result)
    ]
    frame = pd.DataFrame(rows)
    for name in frame.columns:
        kinds = {type(value) for value in frame[name] if not _missing(value)}
        if len(kinds - {int, float}) > (0 if kinds & {int, float} else 1):
            frame[name] = [None if _missing(v) else canonical(v) for v in frame[name]]
    settings = sorted(name for name in frame.columns if name.startswith("settings."))
    first = [name for name in frame.columns if name not in settings]
    return frame[[*first, *settings]].convert_dtypes()


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _of_cell(comparison: Comparison, pivot: Pivot, cell: Cell) -> Data:
    column = cell.column
    return {
        "source": "reported" if pivot is comparison.printed else "measured",
        "paper": column.paper,
        "metric": comparison.metric,
        "column": pivot.columns.index(column),
        **{key: getattr(column, key) for key in COLUMN_KEYS},
        **{f"row.{key}": value for key, value in zip(pivot.by, cell.row, strict=True)},
    }


def _of_result(cell: Cell, result: Result) -> Data:
    counts = result is cell.result
    return {
        **{k: v for k, v in _result(result).items() if k not in ("settings", "source", "paper")},
        "values": json.dumps(dict(result.values)) if result.values else None,
        "outcomes": json.dumps(dict(result.outcomes)) if result.outcomes else None,
        "run_ids": ",".join(result.run_ids) or None,
        "counts": counts,
        "chosen_by": cell.chosen_by if counts else "",
        "rank": cell.rank if counts else None,
        **{f"settings.{key}": value for key, value in sorted(result.settings.items())},
    }


def _further(comparison: Comparison, cell: Cell, result: Result) -> list[Data]:
    """The test of a measured figure; what a printed one stands beside, or one row of nothing."""
    if result.source == "measured":
        return [_of_test(comparison, cell) if result is cell.result else {}]
    return [
        {
            "beside_column": comparison.measured.columns.index(pair.cell.column),
            "beside_row": " | ".join(map(str, pair.cell.row)),
            "printed_difference": pair.difference,
            "spread": pair.spread,
            "within_spread": pair.within,
            "comparable": pair.comparable,
            "apart": apart_text(pair.apart) or None,
            **_of_order(comparison, pair.cell.column, pair.column),
        }
        for pair in comparison.beside
        if pair.printed is result and pair.column == cell.column
    ] or [{}]


def _of_test(comparison: Comparison, cell: Cell) -> Data:
    for test in comparison.tests:
        if (test.column, test.row) == (cell.column, cell.row):
            return {
                "reference": None
                if test.reference is None
                else " | ".join(map(str, test.reference)),
                "shared_seeds": len(test.seeds),
                "difference": test.difference,
                "difference_low": test.low,
                "difference_high": test.high,
                "p": test.p,
                "p_corrected": test.corrected,
                "untested": test.why or None,
            }
    return {}


def _of_order(comparison: Comparison, ours: Column, theirs: Column) -> Data:
    for each in comparison.agreements:
        if (each.column, each.printed) == (ours, theirs):
            return {"kendall_tau": each.tau, "kendall_p": each.p, "kendall_rows": len(each.rows)}
    return {}


def _pivot(pivot: Pivot) -> Data:
    return {
        "columns": [_column(column) for column in pivot.columns],
        "rows": [list(row) for row in pivot.rows],
        "mean_ranks": [_mean_rank(pivot, row) for row in pivot.rows],
        "cells": [
            {
                "column": place,
                "row": list(cell.row),
                "result": None if cell.result is None else _result(cell.result),
                "others": [_result(result) for result in cell.others],
                "chosen_by": cell.chosen_by,
                "rank": cell.rank,
            }
            for place, column in enumerate(pivot.columns)
            for cell in pivot.of_column(column)
        ],
    }


def _mean_rank(pivot: Pivot, row: Row) -> Data | None:
    found = pivot.mean_rank(row)
    return None if found is None else {"rank": found[0], "columns": found[1]}


def _column(column: Column) -> Data:
    return {
        "paper": column.paper,
        **{key: getattr(column, key) for key in COLUMN_KEYS},
        "protocol": dict(column.protocol),
    }


def _result(result: Result) -> Data:
    found = vars(result)
    plain = {key: value for key, value in found.items() if not isinstance(value, Mapping | tuple)}
    return {
        **plain,
        "mean": result.mean if math.isfinite(result.mean) else None,
        "settings": dict(result.settings),
        "values": {str(seed): value for seed, value in result.values.items()},
        "outcomes": dict(result.outcomes),
        "run_ids": list(result.run_ids),
    }


def _apart(difference: Difference) -> dict[str, Scalar]:
    return difference._asdict()
