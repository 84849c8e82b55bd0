"""What the papers printed, as results in the names and units of measured ones."""

from kdtune.compare.result import QUOTED, TEACHER, Result
from kdtune.contracts import Scalar
from kdtune.papers import (
    Figure,
    canonical_metric,
    canonical_settings,
    figures,
    other_conditions,
    selection,
)

OF_THE_TABLE = ("role", "pair", "origin", "paired_with")
"""Conditions that say where a figure stands and where it comes from, not how it was made."""

OF_PRUNING = ("pruner", "remaining", "phase")


def reported_results(
    paper: str | None = None, table: str | None = None, metric: str = "test/accuracy"
) -> list[Result]:
    """The printed figures of one metric, in the papers' order.

    What a paper says of a figure and kdtune has no setting for, such as ``generation``, is among
    the settings under the paper's word for it: it keeps figures apart.

    Raises:
        ValueError: If the paper or the table is unknown.
    """
    found = figures(paper, table)
    return [_result(figure) for figure in found if canonical_metric(figure)[0] == metric]


def reported_metrics(paper: str | None = None, table: str | None = None) -> list[str]:
    """The metrics that are printed, sorted.

    Raises:
        ValueError: If the paper or the table is unknown.
    """
    return sorted({canonical_metric(figure)[0] for figure in figures(paper, table)})


def _result(figure: Figure) -> Result:
    metric, value, std = canonical_metric(figure)
    settings = canonical_settings(figure)
    # A network that is not pruned is printed once for each way to prune it.
    of_the_table = OF_THE_TABLE + (OF_PRUNING if settings.get("prune_ratio") == 0 else ())
    further: dict[str, Scalar] = {
        key: told for key, told in other_conditions(figure).items() if key not in of_the_table
    }
    as_printed = metric.startswith("reported/")
    return Result(
        source="reported",
        settings={**further, **settings},
        metric=metric,
        mean=value,
        std=std,
        n=figure.n_runs,
        # What was an error is an accuracy by now.
        higher_is_better=figure.higher_is_better if as_printed else True,
        paper=figure.paper,
        table=figure.table,
        label=figure.row_label,
        role=_role(figure),
        selection=selection(figure),
        note=figure.note,
    )


def _role(figure: Figure) -> str:
    if str(figure.conditions.get("role", "")).startswith(TEACHER):
        return TEACHER
    return QUOTED if figure.conditions.get("origin") == "original_paper" else ""
