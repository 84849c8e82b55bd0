"""What the papers printed for the same student, data and method, beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdtune.compare import measured_results, reported_results
from kdtune.compare.beside import combined_spread
from kdtune.compare.comparable import Difference, differences
from kdtune.compare.comparison import of_tasks
from kdtune.compare.result import Result
from kdtune.report.page.facts import TEST, Arm, Facts


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A printed figure beside an arm of the search.

    Attributes:
        arm: The arm.
        figure: What was printed.
        apart: In what the protocols differ, as far as the paper tells.
        difference: Measured less printed, in shares.
        spread: Of both, combined; None if that of one is not known.
    """

    arm: Arm
    figure: Result
    apart: Sequence[Difference]
    difference: float
    spread: float | None


def beside_papers(facts: Facts) -> list[Printed]:
    """The printed figures of each tested arm's student, data and method, the most alike first."""
    measured = {result.label: result for result in measured_results(facts.record.runs, TEST)}
    printed = reported_results(metric=TEST)
    found = [
        _beside(arm, measured[arm.name], figure)
        for arm in facts.arms
        if arm.scores and not arm.same_as and arm.name in measured
        for figure in of_tasks(printed, [measured[arm.name]])
        if _alike(measured[arm.name], figure)
    ]
    return sorted(found, key=lambda each: len(each.apart))


def _alike(own: Result, figure: Result) -> bool:
    """Whether both are of one method, and name no different teachers."""
    teachers = {result.settings.get("teacher") for result in (own, figure)} - {None}
    same = own.settings.get("method") == figure.settings.get("method")
    return same and len(teachers) < 2 and not figure.role


def _beside(arm: Arm, own: Result, figure: Result) -> Printed:
    return Printed(
        arm=arm,
        figure=figure,
        apart=differences(own, figure),
        difference=own.mean - figure.mean,
        spread=combined_spread(own, figure),
    )
