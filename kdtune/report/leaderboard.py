"""The trials of a search from best to worst. No clock enters: a seed gives one leaderboard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kdtune.contracts import Scalar
from kdtune.report.settings import AXES, COLOURS, describe, others, percent, plain_table, shown

ORDER = ("finished", "cut", "stopped", "diverged", "failed")
"""From the best outcome to the worst: a trial that was cut never beats one that finished."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial.

    Attributes:
        trial: Its number, in the order of creation.
        config: Its flat configuration.
        outcome: One of :data:`ORDER`.
        epoch: Epochs done.
        value: Validation accuracy, a share in [0, 1]; None if it was never measured.
    """

    trial: int
    config: Mapping[str, Scalar]
    outcome: str
    epoch: int
    value: float | None


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Best first: finished by value, then cut by epochs and value; ties in trial order."""
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[int, int, float, int]:
    place = ORDER.index(row.outcome) if row.outcome in ORDER else len(ORDER)
    known = row.value is not None and math.isfinite(row.value)
    value = row.value if known and row.value is not None else -math.inf
    return place, 0 if row.outcome == "finished" else -row.epoch, -value, row.trial


def leaderboard_rows(rows: Sequence[Row]) -> list[dict[str, Scalar]]:
    """All trials, ranked, as plain data: for CSV and JSON, with full precision."""
    extra = others([row.config for row in rows])
    return [
        {
            "rank": rank,
            "trial": row.trial,
            **{key: row.config.get(key) for key in (*AXES, *extra)},
            "outcome": row.outcome,
            "epoch": row.epoch,
            "val/accuracy": row.value,
        }
        for rank, row in enumerate(ranked(rows), start=1)
    ]


@dataclass(frozen=True)
class Leaderboard:
    """The best trials as a table that fits its console.

    One column per setting where there is room; otherwise all settings in one column. Settings
    that all trials share are left out.
    """

    rows: Sequence[Row]
    top: int = 10

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = self.wide()
        needed = Measurement.get(console, options.update(width=10_000), wide).maximum
        yield wide if needed <= options.max_width else self.narrow()

    def wide(self) -> Table:
        """A column per setting."""
        keys = self._keys()
        table = self._frame(*(AXES.get(key, key) for key in keys))
        for rank, row in self._best():
            cells = [shown(row.config.get(key)) for key in keys]
            table.add_row(str(rank), str(row.trial), *cells, _outcome(row), percent(row.value))
        return table

    def narrow(self) -> Table:
        """All settings in one column, wrapped between settings."""
        keys = self._keys()
        table = self._frame("settings")
        for rank, row in self._best():
            settings = describe(row.config, keys)
            table.add_row(str(rank), str(row.trial), settings, _outcome(row), percent(row.value))
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

    def _best(self) -> list[tuple[int, Row]]:
        return list(enumerate(ranked(self.rows)[: self.top], start=1))

    def _frame(self, *settings: str) -> Table:
        shown_rows = min(self.top, len(self.rows))
        table = plain_table(f"Leaderboard: {shown_rows} of {len(self.rows)} trials")
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("trial", justify="right", no_wrap=True)
        for name in settings:
            table.add_column(name, justify="left" if len(settings) == 1 else "right")
        table.add_column("outcome", no_wrap=True)
        table.add_column("val acc. %", justify="right", no_wrap=True)
        return table


def leaderboard(rows: Sequence[Row], top: int = 10) -> Leaderboard:
    """The ``top`` best trials, to be printed on a rich console of any width."""
    return Leaderboard(rows, top)


def _outcome(row: Row) -> Text:
    """``finished``, or ``cut@3`` with the epoch it came to."""
    words = f"cut@{row.epoch}" if row.outcome == "cut" else row.outcome
    return Text(words, style=COLOURS.get(row.outcome, ""))
