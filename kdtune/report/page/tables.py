"""The tables of the page as plain rows; a cell knows what it is sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from kdtune.contracts import Scalar
from kdtune.report.page.answer import difference, points, recommended
from kdtune.report.page.facts import Facts, Trial, in_a_line
from kdtune.report.settings import MISSING, describe, percent, shown

MOST_COLUMNS = 10
"""Settings with a column each; more share one."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: As shown.
        sort: What the column is sorted by: a number, or the text; None comes last.
        kind: ``number``, ``text``, ``head`` or the outcome of a trial.
    """

    text: str
    sort: Scalar = None
    kind: str = "number"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row; ``marked`` is what the reader should find first."""

    cells: Sequence[Cell]
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A table.

    Attributes:
        caption: What it is of.
        columns: Their titles.
        lines: Its rows.
        sortable: Whether a click on a title sorts it.
        folded: Title under which it is folded away; empty to show it at once.
        notes: Sentences below it.
    """

    kind: ClassVar = "table"
    caption: str
    columns: Sequence[str]
    lines: Sequence[Line]
    sortable: bool = False
    folded: str = ""
    notes: Sequence[str] = ()


def trials_table(facts: Facts) -> Listing:
    """The leaderboard: every trial, the best first."""
    wide = len(facts.keys) <= MOST_COLUMNS
    titles = [key.replace("_", " ") for key in facts.keys] if wide else ["settings"]
    arms = any(trial.arm for trial in facts.trials)
    several = len(facts.goals) > 1
    best = recommended(facts)
    chosen = facts.trial_of(best) if best else None
    lines = []
    for rank, trial in enumerate(facts.trials, start=1):
        row = trial.row
        first = Cell(text="front" if row.front else "", sort=not row.front, kind="text")
        scores = zip(facts.goals, (row.value, *row.further), strict=True)
        lines.append(
            Line(
                marked=trial is chosen,
                cells=[
                    first if several else Cell(text=str(rank), sort=rank),
                    Cell(text=str(row.trial), sort=row.trial, kind="head"),
                    *([Cell(text=trial.arm, sort=trial.arm, kind="text")] if arms else []),
                    *_settings(facts, trial, wide=wide),
                    Cell(text=row.outcome, sort=row.outcome, kind=row.outcome),
                    Cell(text=str(row.epoch), sort=row.epoch),
                    *(Cell(text=goal.measure.text(value), sort=value) for goal, value in scores),
                ],
            )
        )
    return Listing(
        caption="All trials, the best first",
        sortable=True,
        columns=[
            "Pareto" if several else "rank",
            "trial",
            *(["arm"] if arms else []),
            *titles,
            "outcome",
            "epochs",
            *(goal.measure.heading for goal in facts.goals),
        ],
        lines=lines,
    )


def arms_table(facts: Facts) -> Listing:
    """Finalists and baselines: test accuracy, and what is gained over no teacher."""
    best, base = recommended(facts), facts.no_teacher
    lines = []
    for arm in facts.arms:
        gap = difference(arm.scores, base.scores) if base and arm != base else None
        summary = arm.summary
        seen = fmean(arm.chosen_by.values()) if arm.chosen_by else None
        runs = f"{len(arm.scores)}" + (f" of {arm.runs}" if arm.runs > len(arm.scores) else "")
        lines.append(
            Line(
                marked=best is not None and arm.name == best.name,
                cells=[
                    Cell(text=arm.name, sort=arm.name, kind="head"),
                    Cell(
                        text=f"= {arm.same_as}" if arm.same_as else in_a_line(arm.config),
                        kind="text",
                    ),
                    Cell(text=facts.goal.measure.text(seen), sort=seen),
                    Cell(text=percent(summary.mean) if summary else "failed"),
                    Cell(text=percent(summary.std) if summary else MISSING),
                    Cell(text=runs),
                    Cell(text=points(gap.mean) if gap else MISSING),
                    Cell(text=gap.interval if gap and gap.interval else MISSING),
                ],
            )
        )
    return Listing(
        caption="Each arm over its seeds; differences in percentage points, seed by seed",
        notes=(
            "Intervals are Student's t over the differences by seed, each for itself: of several "
            "finalists, one may leave zero out by chance.",
        ),
        columns=[
            *("arm", "settings", facts.goal.measure.heading, "test acc. %", "± std", "n"),
            *("vs no teacher", "95 % interval"),
        ],
        lines=lines,
    )


def seeds_table(facts: Facts) -> Listing:
    """Test accuracy of every run of every arm."""
    seeds = sorted({seed for arm in facts.arms for seed in arm.scores})
    own = [arm for arm in facts.arms if not arm.same_as]
    return Listing(
        caption="Test accuracy in percent by seed",
        folded="Every seed",
        columns=["arm", *(f"seed {seed}" for seed in seeds)],
        lines=[
            Line(
                cells=[
                    Cell(text=arm.name, kind="head"),
                    *(Cell(text=percent(arm.scores.get(seed))) for seed in seeds),
                ]
            )
            for arm in own
        ],
    )


def _settings(facts: Facts, trial: Trial, *, wide: bool) -> list[Cell]:
    config = trial.row.config
    if not wide:
        return [Cell(text=describe(config, facts.keys), kind="text")]
    values = [config.get(key) for key in facts.keys]
    return [
        Cell(text=shown(v), sort=v, kind="text" if isinstance(v, str | bool) else "number")
        for v in values
    ]
