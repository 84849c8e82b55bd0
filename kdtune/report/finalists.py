"""Finalists beside their baselines: test accuracy over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from kdtune.contracts import Scalar
from kdtune.report.goals import Goal
from kdtune.report.settings import MISSING, describe, percent, plain_table

BASELINE = "no teacher"


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) of ``n`` values; no deviation of one value."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{percent(self.mean)} ± {percent(self.std)} ({self.n})"


def summarise(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation and number of ``values``.

    Raises:
        ValueError: If there is none, or one is NaN or infinite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a summary needs at least one value, all finite, got {list(values)}")
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), std, len(values))


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm of the comparison scored.

    Attributes:
        arm: ``finalist 1``, ``no teacher``, ``published recipe``, ``teacher``.
        config: Flat configuration; may be empty.
        values: Test accuracy per seed, shares in [0, 1]; empty if every run failed.
        runs: How many runs there were, failed ones included; None if none failed.
        same_as: The arm whose runs these are, if not its own.
        costs: Means of the further objectives of a search with several.
    """

    arm: str
    values: Sequence[float]
    config: Mapping[str, Scalar] = field(default_factory=dict)
    runs: int | None = None
    same_as: str = ""
    costs: Mapping[Goal, float | None] = field(default_factory=dict)

    @property
    def summary(self) -> Summary | None:
        """None if there is nothing to summarise."""
        return summarise(self.values) if self.values else None

    @property
    def score(self) -> str:
        """Mean, deviation and n; also the number of runs where some failed."""
        if self.summary is None:
            return "failed"
        lost = self.runs is not None and self.runs != self.summary.n
        return str(self.summary).removesuffix(")") + (f" of {self.runs})" if lost else ")")


def finalist_rows(arms: Sequence[ArmResult]) -> list[dict[str, Scalar]]:
    """All arms as plain data, with full precision; differences are shares, not percentages."""
    rows: list[dict[str, Scalar]] = []
    for arm in arms:
        summary = arm.summary
        scores: dict[str, Scalar] = {"mean": None, "std": None, "n": 0}
        if summary:
            scores = {"mean": summary.mean, "std": summary.std, "n": summary.n}
        row = {"arm": arm.arm, **{f"test/accuracy_{k}": v for k, v in scores.items()}}
        costs = {goal.metric: cost for goal, cost in arm.costs.items()}
        rows.append({**row, "difference": difference(arm, arms), **costs, **arm.config})
    return rows


def difference(arm: ArmResult, arms: Sequence[ArmResult]) -> float | None:
    """Mean of ``arm`` less the mean of the student without a teacher; None for that one itself."""
    base = next((other.summary for other in arms if other.arm == BASELINE), None)
    if base is None or arm.summary is None or arm.arm in (BASELINE, "teacher"):
        return None
    return arm.summary.mean - base.mean


@dataclass(frozen=True)
class Finalists:
    """The arms as a table that fits its console; settings wrap where there is little room."""

    arms: Sequence[ArmResult]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = plain_table("Test accuracy, mean ± std over seeds (number of seeds)")
        table.add_column("", no_wrap=True)
        table.add_column("settings")
        table.add_column("test acc. %", justify="right", no_wrap=True)
        table.add_column(f"vs {BASELINE}", justify="right")
        goals = list(dict.fromkeys(goal for arm in self.arms for goal in arm.costs))
        for goal in goals:
            table.add_column(goal.measure.heading, justify="right")
        for arm in self.arms:
            change = difference(arm, self.arms)
            points = MISSING if change is None else f"{100 * change:+.2f}"
            settings = f"= {arm.same_as}" if arm.same_as else describe(arm.config)
            costs = [goal.measure.text(arm.costs.get(goal)) for goal in goals]
            table.add_row(Text(arm.arm, style="bold"), settings, arm.score, points, *costs)
        yield table


def finalists(arms: Sequence[ArmResult]) -> Finalists:
    """The comparison, to be printed on a rich console of any width."""
    return Finalists(arms)
