"""What was printed as runs: one a cell, under the names of measured runs."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtune.papers.canonical import (
    canonical_metric,
    canonical_settings,
    other_conditions,
    selection,
)
from kdtune.papers.facets import METRICS, in_line
from kdtune.papers.figure import Figure
from kdtune.papers.figures import figures
from kdtune.papers.layouts import LAYOUTS

if TYPE_CHECKING:
    from kdtune.contracts import Scalar

OF_A_FIGURE = ("statistic", "relative_to")
"""Conditions that tell figures of one run apart, not runs."""

_TAGS = ("dataset", "method", "teacher", "student", "augment")
"""Settings that are tags too, as of measured runs."""


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """The figures of one table that one training gave.

    Attributes:
        key: Tells it from the paper's other runs; a function of what the cell is, not of its place.
        name: For people: table, row and column.
        settings: Canonical keys and values, as the paper states them.
        tags: Where it is printed, what else the paper says of it, and what is uncertain.
        metrics: Canonical ones with their ``_std``; as printed under ``reported/``.
    """

    key: str
    name: str
    settings: Mapping[str, "Scalar"]
    tags: Mapping[str, "Scalar"]
    metrics: Mapping[str, float]


def reported_runs(paper: str) -> list[ReportedRun]:
    """The runs of a paper, in the order of its figures.

    Raises:
        ValueError: If the paper is unknown.
    """
    cells: dict[str, list[Figure]] = {}
    for figure in figures(paper):
        cells.setdefault(_identity(figure), []).append(figure)
    return [_run(identity, held) for identity, held in cells.items()]


def _identity(figure: Figure) -> str:
    conditions = (f"{k}={v}" for k, v in figure.conditions.items() if k not in OF_A_FIGURE)
    cell = (figure.table, figure.dataset, figure.teacher, figure.student, figure.method)
    return ";".join((*cell, *conditions))


def _run(identity: str, cell: Sequence[Figure]) -> ReportedRun:
    first = cell[0]
    settings = canonical_settings(first)
    notes = dict.fromkeys(part for figure in cell for part in figure.note.split("; ") if part)
    others = other_conditions(first).items()
    tags: dict[str, Scalar] = {
        "source": "reported",
        "kind": "reported",
        "paper": first.paper,
        "table": first.table,
        "row": first.row_label,
        **{name: settings[name] for name in _TAGS if name in settings},
        "printed_method": first.method,
        "n_runs": next((figure.n_runs for figure in cell if figure.n_runs), None),
        "selection": selection(first) or None,
        "note": "; ".join(notes) or None,
        **{f"condition.{name}": value for name, value in others if name not in OF_A_FIGURE},
    }
    return ReportedRun(
        key=f"{first.table}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}",
        name=_name(first),
        settings=settings,
        tags={name: value for name, value in tags.items() if value is not None},
        metrics=dict(value for figure in cell for value in _metrics(figure)),
    )


def _name(figure: Figure) -> str:
    """``cho2019 T8: ESKD, ResNet-34 (50)``: the headings of the cell, but for the metric's."""
    layout = LAYOUTS[figure.paper][figure.table]
    headings = (facet.text(figure) for facet in (*layout.rows, *layout.columns))
    said = [in_line(text) for text in headings if text not in ("", METRICS.get(figure.metric))]
    quoted = " (quoted)" if "origin" in figure.conditions else ""
    return f"{figure.paper} {figure.table}: {', '.join(said)}{quoted}"


def _metrics(figure: Figure) -> Iterator[tuple[str, float]]:
    name, value, std = canonical_metric(figure)
    median = "_median" if figure.conditions.get("statistic") == "median" else ""
    printed = f"reported/{figure.metric}{median}"
    for metric, mean, spread in ((name, value, std), (printed, figure.value, figure.std)):
        yield metric, mean
        if spread is not None:
            yield f"{metric}_std", spread
