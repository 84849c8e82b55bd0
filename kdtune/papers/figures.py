"""The figures and protocols that are packaged, read once."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from kdtune.papers.figure import Figure
from kdtune.papers.paper import PAPERS
from kdtune.papers.schema import split_condition, typed
from kdtune.registry import nearest

REPORTED = Path(__file__).with_name("reported.parquet")
PROTOCOLS = Path(__file__).with_name("protocols.json")

_TEXTS = (
    *("paper", "table", "row_label", "dataset", "teacher", "student", "method", "condition"),
    *("metric", "printed", "printed_std", "note"),
)
_VALUES = ("value", "std", "n_runs", "higher_is_better")


def figures(paper: str | None = None, table: str | None = None) -> tuple[Figure, ...]:
    """What was printed: all, of one paper, or of one of its tables; in the papers' order.

    Raises:
        ValueError: If the paper or the table is unknown, or a table is asked for without a paper.
    """
    if paper is None:
        if table is not None:
            raise ValueError(f"table '{table}' needs a paper; papers: {', '.join(PAPERS)}")
        return _all()
    known = tables(paper)
    if table is not None and table not in known:
        raise ValueError(f"unknown table '{table}' of {paper}{nearest(table, known)}")
    return tuple(f for f in _all() if f.paper == paper and table in (None, f.table))


def tables(paper: str) -> list[str]:
    """The keys of a paper's tables: those of the text, of the appendices, then figures.

    Raises:
        ValueError: If the paper is unknown.
    """
    _check(paper)
    return sorted({figure.table for figure in _all() if figure.paper == paper}, key=_place)


def protocol(paper: str) -> dict[str, Any]:
    """The settings that a paper states, as data; None where it is silent. Not to be changed.

    Raises:
        ValueError: If the paper is unknown.
    """
    _check(paper)
    return dict(_protocols()[paper])


def _check(paper: str) -> None:
    if paper not in PAPERS:
        raise ValueError(f"unknown paper '{paper}'{nearest(paper, PAPERS)}")


def _place(table: str) -> tuple[bool, str, int]:
    letters = table.rstrip("0123456789")
    return letters == "F", letters, int(table.removeprefix(letters))


@cache
def _protocols() -> dict[str, Any]:
    return dict(json.loads(PROTOCOLS.read_text(encoding="utf-8")))


@cache
def _all() -> tuple[Figure, ...]:
    import pyarrow.parquet as pq

    # Not read_table, which would import pandas to no purpose.
    rows = pq.ParquetFile(REPORTED).read(columns=[*_TEXTS, *_VALUES]).to_pylist()
    return tuple(Figure(**row, conditions=_conditions(row["condition"])) for row in rows)


def _conditions(text: str) -> dict[str, Any]:
    return {key: typed(key, value) for key, value in split_condition(text).items()}
