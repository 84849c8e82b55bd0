"""The live display of a stage: a panel on a terminal, a line every few seconds elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdtune.report.goals import ACCURACY, Goal
from kdtune.report.settings import COLOURS
from kdtune.report.stage_state import StageState, TrialState

REFRESH_PER_S = 4.0
MOST_ROWS = 6


class Display:
    """Shows one stage at a time, and leaves one line behind for each.

    ``with display.stage("Search", 20): ...`` ends the stage at the end of the block; the next call
    of :meth:`stage` would end it too.

    Args:
        console: Where to; standard output by default.
        goal: What the scores of trials are.
        every_s: Seconds between lines where the console is no terminal.
        clock: Seconds, for tests.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        goal: Goal = ACCURACY,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console()
        self._goal = goal
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.RLock()
        self._state: StageState | None = None
        self._live: Live | None = None
        self._last_line = 0.0

    def stage(self, title: str, total: int | None) -> Self:
        """Begin a stage of ``total`` trials (None if open), ending the one before it."""
        self.end_stage()
        self._state = StageState(title, total, self._clock(), goal=self._goal)
        self._last_line = self._clock()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self.console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        return self

    def end_stage(self) -> None:
        """End the stage, if there is one, and print what came of it."""
        if self._live:
            self._live.stop()
            self._live = None
        with self._lock:
            state, self._state = self._state, None
        if state:
            self.say(summary_line(state, self._clock()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_stage()

    def say(self, text: str) -> None:
        """Print a line of its own, above the panel if there is one; a log's lines never wrap."""
        whole = not self.console.is_terminal
        # Whoever reads may be gone (``| head``); the search goes on. Rich exits on a broken pipe.
        with suppress(OSError, SystemExit):
            self.console.print(text, markup=False, highlight=False, soft_wrap=whole)

    def trial_started(self, trial_id: str, label: str, epochs: int | None) -> None:
        """A trial begins; it plans ``epochs``, or None if that is unknown."""
        with self._lock:
            if self._state:
                self._state.started(trial_id, label, epochs)
        self.tick()

    def trial_reported(self, trial_id: str, epoch: int, value: float | None) -> None:
        """A trial has done ``epoch`` epochs and scores ``value``."""
        with self._lock:
            if self._state:
                self._state.reported(trial_id, epoch, value)
        self.tick()

    def trial_ended(self, trial_id: str, outcome: str, value: float | None) -> None:
        """A trial is over: ``finished``, ``cut``, ``diverged``, ``failed`` or ``stopped``."""
        with self._lock:
            if self._state:
                self._state.ended(trial_id, outcome, value)
        self.tick()

    def tick(self) -> None:
        """Print a line if there is no panel and it is time for one."""
        now = self._clock()
        if self._state and not self._live and now - self._last_line >= self._every_s:
            self._last_line = now
            self.say(status_line(self._state, now))

    def _render(self) -> RenderableType:
        with self._lock:
            return panel(self._state, self._clock()) if self._state else Text()


def panel(state: StageState, now: float) -> RenderableType:
    """The stage on a terminal: bar, counts, best trial, and the trials that run."""
    counts = Text(" · ").join(
        Text(f"{count} {name}", style=COLOURS[name]) for name, count in state.counts().items()
    )
    lines: list[RenderableType] = [_bar(state, now), counts]
    best = state.best()
    if best:
        score = f"best {state.goal.measure.quantity(best.value)}"
        text = Text(f"{score}  {best.label}", overflow="ellipsis")
        text.no_wrap = True
        text.stylize("bold", 0, len(score))
        lines.append(text)
    if state.running:
        lines += [Text(), _running(state.running, state.goal)]
    return Group(*lines)


def _bar(state: StageState, now: float) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=state.total, completed=state.over, pulse=state.total is None)
    grid.add_row(Text(state.title, style="bold"), bar, _done(state), _times(state, now))
    return grid


def _running(trials: list[TrialState], goal: Goal) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("running", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("epoch", no_wrap=True, justify="right")
    table.add_column(goal.measure.heading, no_wrap=True, justify="right")
    for trial in trials[:MOST_ROWS]:
        epochs = f"{trial.epoch}/{trial.epochs}" if trial.epochs else str(trial.epoch)
        table.add_row(trial.label, epochs, goal.measure.text(trial.value))
    hidden = len(trials) - MOST_ROWS
    if hidden > 0:
        table.add_row(Text(f"and {hidden} more", style="dim"), "", "")
    return table


def status_line(state: StageState, now: float) -> str:
    """The stage in one line, for a log."""
    counts = ", ".join(f"{count} {name}" for name, count in state.counts().items())
    parts = [f"{state.title} {_done(state)}: {counts or 'starting'}"]
    best = state.best()
    if best:
        parts.append(f"best {state.goal.measure.quantity(best.value)}")
    return "; ".join([*parts, _times(state, now)])


def summary_line(state: StageState, now: float) -> str:
    """What a stage leaves behind."""
    counts = ", ".join(f"{count} {name}" for name, count in state.counts().items())
    took = duration(now - state.began)
    line = f"{state.title}: {counts or 'nothing to do'} in {took}"
    best = state.best()
    if best is None:
        return line
    return f"{line}; best {state.goal.measure.quantity(best.value)} ({best.label})"


def _done(state: StageState) -> str:
    return f"{state.over}/{state.total}" if state.total is not None else str(state.over)


def _times(state: StageState, now: float) -> str:
    left = state.time_left(now)
    gone = f"{duration(now - state.began)} elapsed"
    return gone if left is None else f"{gone}, about {duration(left)} left"


def duration(seconds: float) -> str:
    """``0:07``, ``12:40`` or ``3:05:00``."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
