"""Cells as printed beside what was measured for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdtune.compare import Result, measured_results, reported_results
from kdtune.compare.beside import combined_spread
from kdtune.compare.comparable import COLUMN_KEYS, Difference, alike, differences
from kdtune.contracts import Scalar
from kdtune.papers import UNSTATED, Figure, canonical_metric, figures, other_conditions
from kdtune.search.reproduction_plan import Cell, Plan
from kdtune.tracking.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One cell that was run.

    Attributes:
        cell: As planned.
        printed: Its figure, as an accuracy in [0, 1].
        measured: Over its runs that were tested; ``n`` is 0 where none was.
        apart: In what the runs differ from what the paper states; empty if they compare.
    """

    cell: Cell
    printed: Result
    measured: Result
    apart: tuple[Difference, ...]

    @property
    def difference(self) -> float | None:
        """Measured less printed; None where nothing was measured."""
        return self.measured.mean - self.printed.mean if self.measured.n else None

    @property
    def spread(self) -> float | None:
        """See :func:`kdtune.compare.beside.combined_spread`."""
        return combined_spread(self.measured, self.printed)

    @property
    def within(self) -> bool | None:
        """Whether the difference is at most the spread; None if unknown, or not comparable."""
        if self.difference is None or self.spread is None or self.apart:
            return None
        return abs(self.difference) <= self.spread

    def row(self) -> dict[str, Scalar]:
        """All of it as plain data; accuracies are shares."""
        figure, config = self.cell.figure, self.cell.config
        assert config is not None
        return {
            "cell": self.cell.number,
            "row": figure.row_label,
            "dataset": str(self.measured.settings["dataset"]),
            "teacher": "" if config.teacher is None else config.teacher.model,
            "student": config.student,
            "method": config.method,
            "metric": self.printed.metric,
            "printed": self.printed.mean,
            "printed_std": self.printed.std,
            "printed_n": self.printed.n,
            "measured": self.measured.mean if self.measured.n else None,
            "measured_std": self.measured.std,
            "measured_n": self.measured.n,
            "difference": self.difference,
            "spread": self.spread,
            "within_spread": self.within,
            "comparable": not self.apart,
            "apart": "; ".join(map(words, self.apart)),
        }


def reproduced(plan: Plan, runs: Mapping[int, Sequence[RunRecord]]) -> list[Reproduced]:
    """The cells of which something was run to its end, in their order.

    Args:
        plan: What was to be run.
        runs: Those of each cell, by its number.
    """
    found = []
    for cell in plan.cells:
        own = runs.get(cell.number)
        if own is None:
            continue
        printed = _printed(cell.figure)
        # One configuration makes one result; none where all of its runs were stopped.
        for measured in measured_results(own, printed.metric):
            apart = _apart(cell, measured, printed)
            found.append(Reproduced(cell=cell, printed=printed, measured=measured, apart=apart))
    return found


def _apart(cell: Cell, measured: Result, printed: Result) -> tuple[Difference, ...]:
    """In what the runs are otherwise than the paper says, or than its protocol where it is silent.

    What the paper uses and does not say the value of is as in the protocol. Conditions that no
    setting stands for (a chain, a statistic) are met, or the cell would not have been run.
    """
    met = other_conditions(cell.figure)
    found = {
        each.key: each
        for each in differences(measured, printed)
        if each.printed != UNSTATED and each.key not in met
    }
    for key, here in measured.settings.items():
        there = cell.protocol.get(key)
        if not alike(here, there):
            found.setdefault(key, Difference(key, here, there))
    return tuple(sorted(found.values(), key=lambda each: each.key not in COLUMN_KEYS))


def words(difference: Difference) -> str:
    """``train.epochs 20 in place of 200``."""
    here, there = (_word(each) for each in (difference.measured, difference.printed))
    return f"{difference.key} {here} in place of {there}"


def _word(value: Scalar) -> str:
    return "none" if value is None or value == "" else f"{value}"


def _printed(figure: Figure) -> Result:
    """The figure among the results of its table, which are in the same order."""
    metric = canonical_metric(figure)[0]
    of_metric = [
        each for each in figures(figure.paper, figure.table) if canonical_metric(each)[0] == metric
    ]
    return reported_results(figure.paper, figure.table, metric)[of_metric.index(figure)]
