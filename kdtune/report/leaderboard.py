"""The trials of a search from best to worst. No clock enters: a seed gives one leaderboard.

With several objectives no order is the best one: the trials of the Pareto front come first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kdtune.contracts import Scalar
from kdtune.report.goals import ACCURACY, Goal
from kdtune.report.settings import AXES, COLOURS, describe, others, plain_table, shown

ORDER = ("finished", "cut", "stopped", "diverged", "failed")
"""From the best outcome to the worst: a trial that was cut never beats one that finished."""

ON_FRONT = "*"
"""Marks the trials that no other one beats in every objective."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial.

    Attributes:
        trial: Its number, in the order of creation.
        config: Its flat configuration.
        outcome: One of :data:`ORDER`.
        epoch: Epochs done.
        value: The first objective, by default validation accuracy; None if it was never measured.
        further: The other objectives.
        front: Whether it is on the Pareto front of several.
    """

    trial: int
    config: Mapping[str, Scalar]
    outcome: str
    epoch: int
    value: float | None
    further: tuple[float | None, ...] = ()
    front: bool = False


def ranked(rows: Sequence[Row], goal: Goal = ACCURACY) -> list[Row]:
    """Best first: the front, finished by value, then cut by epochs and value; ties in trial order.

    Args:
        rows: In any order.
        goal: What ``value`` is.
    """

    def rank(row: Row) -> tuple[bool, int, int, float, int]:
        place = ORDER.index(row.outcome) if row.outcome in ORDER else len(ORDER)
        epoch = 0 if row.outcome == "finished" else -row.epoch
        return not row.front, place, epoch, goal.cost(row.value), row.trial

    return sorted(rows, key=rank)


def leaderboard_rows(
    rows: Sequence[Row], goals: Sequence[Goal] = (ACCURACY,)
) -> list[dict[str, Scalar]]:
    """All trials, ranked, as plain data: for CSV and JSON, with full precision.

    The first column is the rank, or, with several goals, whether a trial is on their front.
    """
    extra = others([row.config for row in rows])
    several = len(goals) > 1
    return [
        {
            **({"pareto": row.front} if several else {"rank": rank}),
            "trial": row.trial,
            **{key: row.config.get(key) for key in (*AXES, *extra)},
            "outcome": row.outcome,
            "epoch": row.epoch,
            **dict(zip((goal.metric for goal in goals), _scores(row, goals), strict=True)),
        }
        for rank, row in enumerate(ranked(rows, goals[0]), start=1)
    ]


@dataclass(frozen=True)
class Leaderboard:
    """The best trials as a table that fits its console.

    One column per setting where there is room; otherwise all settings in one column. Settings
    that all trials share are left out. With several goals, the whole front is shown.
    """

    rows: Sequence[Row]
    top: int = 10
    goals: Sequence[Goal] = (ACCURACY,)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = self.wide()
        needed = Measurement.get(console, options.update(width=10_000), wide).maximum
        yield wide if needed <= options.max_width else self.narrow()

    def wide(self) -> Table:
        """A column per setting."""
        keys = self._keys()
        table = self._frame(*(AXES.get(key, key) for key in keys))
        for mark, row in self._best():
            cells = [shown(row.config.get(key)) for key in keys]
            table.add_row(mark, str(row.trial), *cells, _outcome(row), *self._scores(row))
        return table

    def narrow(self) -> Table:
        """All settings in one column, wrapped between settings."""
        keys = self._keys()
        table = self._frame("settings")
        for mark, row in self._best():
            settings = describe(row.config, keys)
            table.add_row(mark, str(row.trial), settings, _outcome(row), *self._scores(row))
        return table

    def _keys(self) -> list[str]:
        configs = [row.config for row in self.rows]
        extra = others(configs)
        axes = [key for key in AXES if any(config.get(key) is not None for config in configs)]
        return [
            *(["method"] if "method" in extra else []),
            *axes,
            *(key for key in extra if key != "method"),
        ]

    def _best(self) -> list[tuple[str, Row]]:
        """The rows to show, each with its rank or the mark of the front."""
        best = ranked(self.rows, self.goals[0])[: max(self.top, self._front)]
        if len(self.goals) > 1:
            return [(ON_FRONT if row.front else "", row) for row in best]
        return [(str(rank), row) for rank, row in enumerate(best, start=1)]

    @property
    def _front(self) -> int:
        return sum(row.front for row in self.rows)

    def _scores(self, row: Row) -> list[str]:
        scores = _scores(row, self.goals)
        return [goal.measure.text(v) for goal, v in zip(self.goals, scores, strict=True)]

    def _frame(self, *settings: str) -> Table:
        several = len(self.goals) > 1
        total = f"{len(self.rows)} trials"
        title = f"Leaderboard: {min(self.top, len(self.rows))} of {total}"
        if several:
            title = f"Pareto front ({ON_FRONT}): {self._front} of {total}"
        table = plain_table(title)
        table.add_column("" if several else "#", justify="right", no_wrap=True)
        table.add_column("trial", justify="right", no_wrap=True)
        for name in settings:
            table.add_column(name, justify="left" if len(settings) == 1 else "right")
        table.add_column("outcome", no_wrap=True)
        for goal in self.goals:
            table.add_column(goal.measure.heading, justify="right", no_wrap=not several)
        return table


def leaderboard(
    rows: Sequence[Row], top: int = 10, goals: Sequence[Goal] = (ACCURACY,)
) -> Leaderboard:
    """The ``top`` best trials, to be printed on a rich console of any width."""
    return Leaderboard(rows, top, goals)


def _scores(row: Row, goals: Sequence[Goal]) -> tuple[float | None, ...]:
    """A value per goal; a row without any has none of the others either."""
    further = row.further or (None,) * (len(goals) - 1)
    return (row.value, *further)


def _outcome(row: Row) -> Text:
    """``finished``, or ``cut@3`` with the epoch it came to."""
    words = f"cut@{row.epoch}" if row.outcome == "cut" else row.outcome
    return Text(words, style=COLOURS.get(row.outcome, ""))
